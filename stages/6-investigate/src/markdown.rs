//! Reports as Markdown, for people who decide, pay or sue.
//!
//! In: a `Report` or `TxReport`, and names. Out: Markdown whose order and wording are stable. Addresses are written in
//! full with their names beside them. Text from the chain is escaped for where it stands: in tables and prose against
//! markup, in call trees (code blocks) against control characters and the end of the block.

use crate::flows::{Prices, tally};
use crate::labels::{Labels, role_name};
use crate::text::{markdown_text, utc};
use alloy_primitives::Address;
use cordon_model::execution::Status;
use cordon_model::report::{Flow, ProfitAndLoss, Report, TxReport};
use cordon_model::units::{format_signed_units, format_units};
use std::fmt::{Display, Write};

/// Most rows of a table of accounts or movements; the JSON report holds all.
const ROWS_MAX: usize = 200;

/// The report of an incident.
#[must_use]
pub fn report_markdown(report: &Report, labels: &Labels) -> String {
    let labels = labels.with_roles(&report.parties);
    let mut page = Page::default();
    page.line(format!("# Incident {}: {}", report.incident, markdown_text(&report.protocol.0)));
    page.blank();
    page.line(format!("**Root cause.** {}", markdown_text(&report.root_cause.summary)));
    page.blank();
    let classes: Vec<String> = report.root_cause.classes.iter().map(ToString::to_string).collect();
    page.line(format!(
        "**Kind of attack.** {}",
        if classes.is_empty() { "not known".to_owned() } else { classes.join(", ") }
    ));
    page.blank();
    page.line(format!("**Loss of the protected system.** {} in value", format_units(report.loss_wad, 18)));
    page.blank();
    page.line(format!("**Transactions.** {}", report.transactions.len()));
    page.heading("Grounds");
    for ground in &report.root_cause.grounds {
        page.line(format!("- {}", markdown_text(ground)));
    }
    page.heading("Parties");
    let rows = report.parties.iter().map(|party| {
        vec![
            role_name(party.role).to_owned(),
            code(party.address),
            name(&labels, party.address),
            markdown_text(&party.why),
        ]
    });
    page.table(&["Part", "Account", "Name", "Grounds"], rows);
    page.heading("Profit and loss");
    page.line("Over all transactions below. Native coin and ERC-20 tokens as their transfers tell; transaction fees are not included. The zero address stands for tokens minted and burned, so that each asset adds up to zero. Value counts priced assets only.");
    page.blank();
    page.profit_and_loss(&report.profit_and_loss, &labels, true);
    page.heading("Timeline");
    let rows = report
        .timeline
        .iter()
        .map(|entry| vec![entry.block.to_string(), utc(entry.timestamp_s), markdown_text(&entry.what)]);
    page.table(&["Block", "Time", "What happened"], rows);
    for (number, transaction) in report.transactions.iter().enumerate() {
        page.heading(&format!("Transaction {} of {}", number.saturating_add(1), report.transactions.len()));
        page.transaction(transaction, &labels);
    }
    page.text
}

/// The report of a single transaction.
#[must_use]
pub fn tx_markdown(report: &TxReport, labels: &Labels) -> String {
    let mut page = Page::default();
    page.line(format!("# Transaction {}", report.tx.hash));
    page.blank();
    page.transaction(report, labels);
    page.blank();
    page.line("Net change per account, transaction fees not included:");
    page.blank();
    page.profit_and_loss(&tally(&report.flows, &Prices::new(), labels).rows, labels, false);
    page.text
}

fn code(item: impl Display) -> String {
    format!("`{item}`")
}

fn name(labels: &Labels, address: Address) -> String {
    labels.get(address).map(markdown_text).unwrap_or_default()
}

fn account(labels: &Labels, address: Address) -> String {
    labels
        .get(address)
        .map_or_else(|| code(address), |name| format!("{} {}", code(address), markdown_text(name)))
}

/// Markdown in the making.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }

    fn blank(&mut self) {
        self.line("");
    }

    fn heading(&mut self, heading: &str) {
        self.blank();
        self.line(format!("## {heading}"));
        self.blank();
    }

    fn table(&mut self, columns: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
        if rows.len() == 0 {
            self.line("None.");
            return;
        }
        let hidden = rows.len().saturating_sub(ROWS_MAX);
        self.line(format!("| {} |", columns.join(" | ")));
        self.line(format!("|{}", " --- |".repeat(columns.len())));
        for row in rows.take(ROWS_MAX) {
            self.line(format!("| {} |", row.join(" | ")));
        }
        if hidden > 0 {
            self.blank();
            self.line(format!("{hidden} more rows are in the JSON report."));
        }
    }

    fn profit_and_loss(&mut self, rows: &[ProfitAndLoss], labels: &Labels, with_value: bool) {
        let changes = |row: &ProfitAndLoss| {
            let all =
                row.deltas.iter().map(|delta| markdown_text(&labels.change(delta.asset, delta.delta_raw)));
            all.collect::<Vec<_>>().join("<br>")
        };
        let cells = rows.iter().map(|row| {
            let mut cells = vec![code(row.account), name(labels, row.account), changes(row)];
            if with_value {
                cells.push(format_signed_units(row.value_wad, 18));
            }
            cells
        });
        let columns = ["Account", "Name", "Change", "Value"];
        self.table(if with_value { &columns } else { &columns[..3] }, cells);
    }

    fn transaction(&mut self, report: &TxReport, labels: &Labels) {
        let ended = match &report.status {
            Status::Success => "succeeded",
            Status::Revert { .. } => "reverted (the reason stands in the first call)",
            Status::Halt { .. } => "halted (the reason stands in the first call)",
        };
        self.line(format!("- Hash: {}", code(report.tx.hash)));
        self.line(format!(
            "- Mined: chain {}, block {} at position {}, {}",
            report.tx.chain_id,
            report.tx.block.number,
            report.tx.index,
            utc(report.timestamp_s)
        ));
        self.line(format!("- Sender: {}", account(labels, report.from)));
        self.line(format!("- Outcome: {ended}"));
        self.blank();
        self.line("Movements of value that lasted:");
        self.blank();
        let rows = report.flows.iter().map(|flow: &Flow| {
            let amount = markdown_text(&labels.amount(flow.asset, flow.amount_raw));
            vec![account(labels, flow.from), account(labels, flow.to), amount]
        });
        self.table(&["From", "To", "Amount"], rows);
        self.blank();
        self.line("Calls:");
        self.blank();
        self.line("```text");
        for call in &report.calls {
            // The depth of a call is bounded by the EVM (1024); the page is bounded a little tighter.
            let indent = usize::try_from(call.depth).unwrap_or(INDENT_MAX).min(INDENT_MAX);
            self.line(format!("{}{}", "  ".repeat(indent), call.text));
        }
        self.line("```");
    }
}

/// Deepest indentation of a call tree: beyond it, lines would be blank on any screen.
const INDENT_MAX: usize = 40;
