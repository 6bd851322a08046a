//! The drill's report: what happened, what Cordon did, what it was worth, and where every unit is.
//!
//! In: the stage and the undefended run of the same seed. Out: [`DrillReport`] as JSON and Markdown, the same bytes
//! for the same seed. Measured times are kept apart, since they differ from run to run.

use super::Drill;
use super::books::{Ledger, ledger};
use super::stage::Stage;
use super::tell::DrillEvent;
use crate::error::EngineError;
use crate::render::{self, Names};
use crate::respond::attack_transactions;
use alloy_primitives::{Address, I256};
use cordon_model::incident::{Incident, Standing};
use cordon_model::log::StreamId;
use cordon_model::plan::Purpose;
use cordon_model::report::Report;
use cordon_model::units::{BlockRef, format_signed_units, format_units};
use cordon_range::{Scorecard, World};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

type Tell<'a> = &'a mut (dyn FnMut(DrillEvent) + Send);

/// What the drill found.
#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    /// Scenario.
    pub scenario: &'static str,
    /// Seed.
    pub seed: u64,
    /// Whether Cordon watched.
    pub defended: bool,
    /// Whether everything ended as it should.
    pub verdict: Verdict,
    /// Incidents as they ended.
    pub incidents: Vec<Incident>,
    /// Blocks from the first attack to its detection and to the verified containment.
    pub latency: Option<Latency>,
    /// The attacker's profit in dollars, raw, with Cordon.
    pub attacker_profit_raw: I256,
    /// The attacker's profit in dollars, raw, without Cordon.
    pub undefended_profit_raw: I256,
    /// The investigation.
    pub investigation: Option<Report>,
    /// Where every unit of every token is.
    pub ledgers: Vec<Ledger>,
    /// Everything that was told, line by line.
    pub timeline: Vec<String>,
    /// Longest time for one block, which differs from run to run and is in no file.
    #[serde(skip)]
    pub slowest: Option<(u64, Duration)>,
    #[serde(skip)]
    investigation_markdown: String,
    #[serde(skip)]
    names: Names,
}

/// Whether the drill ended as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should.
    AsExpected,
    /// Not as it should; what is wrong.
    Unexpected(Vec<String>),
}

/// Latency in blocks.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Block of the first attack transaction.
    pub attacked_at: u64,
    /// Block in whose judgement the incident was opened.
    pub detected_at: u64,
    /// Block in which the containment landed.
    pub contained_at: u64,
}

impl DrillReport {
    pub(super) fn undefended(drill: Drill, world: &World, tell: Tell<'_>) -> Result<Self, EngineError> {
        let card = world.scorecard()?;
        tell(DrillEvent::chapter("Nobody was watching"));
        tell(DrillEvent::Result { lines: card.to_string().lines().map(str::to_owned).collect() });
        let mut report = Self::empty(drill, &card, &card);
        report.timeline = card.to_string().lines().map(str::to_owned).collect();
        Ok(report)
    }

    pub(super) async fn defended(
        drill: Drill,
        mut stage: Stage,
        shadow: &World,
        tell: Tell<'_>,
    ) -> Result<Self, EngineError> {
        let (card, undefended) = (stage.world.scorecard()?, shadow.scorecard()?);
        let mut report = Self::empty(drill, &card, &undefended);
        report.incidents = stage.engine.incidents().cloned().collect();
        report.slowest = Some(stage.slowest);
        if let Some(incident) = report.incidents.first().cloned() {
            report.latency = latency(&stage, &incident).await?;
            report.investigation = stage.engine.report(incident.id).await?;
            let labels = stage.engine.labels(&incident);
            report.investigation_markdown = report
                .investigation
                .as_ref()
                .map(|report| cordon_investigate::report_markdown(report, &labels))
                .unwrap_or_default();
            report.ledgers = draw_up(&stage, &incident).await?;
            report.names = stage.names.clone();
        }
        report.verdict = verdict(&report, drill);
        stage.tell(DrillEvent::chapter("What it was worth"), tell);
        stage.tell(DrillEvent::Result { lines: report.summary() }, tell);
        report.timeline = stage.timeline;
        Ok(report)
    }

    fn empty(drill: Drill, card: &Scorecard, undefended: &Scorecard) -> Self {
        Self {
            scenario: drill.scenario.name(),
            seed: drill.seed,
            defended: drill.defended,
            verdict: Verdict::AsExpected,
            incidents: Vec::new(),
            latency: None,
            attacker_profit_raw: card.attacker_profit_dusd_raw,
            undefended_profit_raw: undefended.attacker_profit_dusd_raw,
            investigation: None,
            ledgers: Vec::new(),
            names: Names::default(),
            timeline: Vec::new(),
            slowest: None,
            investigation_markdown: String::new(),
        }
    }

    /// Loss that Cordon prevented, raw dollars.
    #[must_use]
    pub fn prevented_raw(&self) -> I256 {
        self.undefended_profit_raw.saturating_sub(self.attacker_profit_raw)
    }

    /// The result in a few lines.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        if !self.defended {
            return vec![format!(
                "the attacker took {} dUSD",
                format_signed_units(self.undefended_profit_raw, 18)
            )];
        }
        let dollars = |raw: I256| format!("{} dUSD", format_signed_units(raw, 18));
        let mut lines = vec![
            format!("incidents                      {}", self.incidents.len()),
            format!("attacker took without Cordon   {}", dollars(self.undefended_profit_raw)),
            format!("attacker took with Cordon      {}", dollars(self.attacker_profit_raw)),
            format!("loss prevented                 {}", dollars(self.prevented_raw())),
        ];
        if let Some(latency) = self.latency {
            let Latency { attacked_at, detected_at, contained_at } = latency;
            lines.push(format!(
                "attacked, detected, contained  blocks {attacked_at}, {detected_at}, {contained_at}"
            ));
        }
        for ledger in &self.ledgers {
            let (supply, accounts) = (format_units(ledger.supply_raw, 18), ledger.lines.len());
            lines.push(format!(
                "accounted for                  {supply} {} over {accounts} accounts, to the last unit",
                ledger.symbol
            ));
        }
        match &self.verdict {
            Verdict::AsExpected => lines.push("the drill ended as it should".to_owned()),
            Verdict::Unexpected(problems) => {
                lines.push("the drill did NOT end as it should:".to_owned());
                lines.extend(problems.iter().map(|problem| format!("  {problem}")));
            }
        }
        lines
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# Drill `{}`, seed {}\n\n", self.scenario, self.seed);
        block(&mut text, &self.summary());
        for incident in &self.incidents {
            options(&mut text, incident, &self.names);
            fixes(&mut text, incident);
            payments(&mut text, incident);
        }
        for ledger in &self.ledgers {
            accounts(&mut text, ledger);
        }
        if !self.investigation_markdown.is_empty() {
            text.push_str(&self.investigation_markdown);
            text.push('\n');
        }
        text.push_str("## Timeline of the drill\n\n");
        block(&mut text, &self.timeline);
        text
    }
}

async fn latency(stage: &Stage, incident: &Incident) -> Result<Option<Latency>, EngineError> {
    let records = stage.log.read(StreamId::incident(incident.id)).await?;
    let detected_at = records.first().map(|stored| stored.record.at_block);
    Ok(detected_at.and_then(|detected_at| latency_of(incident, detected_at)))
}

fn latency_of(incident: &Incident, detected_at: u64) -> Option<Latency> {
    let attacked_at = attack_transactions(incident).first()?.block.number;
    let contained = incident.plans.values().filter(|record| record.plan.purpose == Purpose::Contain);
    let contained_at =
        contained.flat_map(|record| record.receipts.values()).map(|receipt| receipt.block.number).max()?;
    Some(Latency { attacked_at, detected_at, contained_at })
}

async fn draw_up(stage: &Stage, incident: &Incident) -> Result<Vec<Ledger>, EngineError> {
    let snapshot = incident.allocation.as_ref().map(|allocation| allocation.snapshot);
    let head = stage.world.chain().head();
    let head = BlockRef { number: head.number, hash: head.hash };
    let labels = stage.engine.labels(incident);
    let suspects: Vec<Address> =
        incident.findings.iter().flat_map(|finding| finding.suspects.clone()).collect();
    let facts = stage.world.facts();
    let name = |account: Address| {
        let actor =
            stage.world.accounts().iter().find(|actor| actor.address == account).map(|actor| actor.name);
        let known = labels.get(account).map(str::to_owned).or_else(|| actor.map(str::to_owned));
        known.unwrap_or_else(|| {
            if account == facts.treasury.holder {
                "treasury".to_owned()
            } else if suspects.contains(&account) {
                format!("suspect {account}")
            } else {
                account.to_string()
            }
        })
    };
    let mut ledgers = Vec::new();
    for asset in &facts.assets {
        let asset = (asset.token, asset.symbol);
        ledgers.push(ledger(&stage.engine, asset, snapshot.unwrap_or(head), head, &name).await?);
    }
    Ok(ledgers)
}

fn verdict(report: &DrillReport, drill: Drill) -> Verdict {
    let mut problems = Vec::new();
    let attacked = report.undefended_profit_raw.is_positive();
    match (attacked, report.incidents.as_slice()) {
        (false, []) => {}
        (false, incidents) => problems.push(format!("{} incidents on honest use", incidents.len())),
        (true, [incident]) => {
            if incident.standing != Standing::Closed {
                problems.push(format!("the incident is {} and not closed", incident.state()));
            }
            let owed = incident.allocation.as_ref().map_or(0, |a| a.entitlements.len());
            if incident.paid_raw.len() != owed {
                problems.push(format!("{} of {owed} claims were paid", incident.paid_raw.len()));
            }
        }
        (true, incidents) => {
            problems.push(format!("{} incidents, expected one for one attack", incidents.len()))
        }
    }
    if attacked && drill.defended && !report.prevented_raw().is_positive() {
        problems.push("no loss was prevented".to_owned());
    }
    if problems.is_empty() { Verdict::AsExpected } else { Verdict::Unexpected(problems) }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("writing to a string cannot fail");
}

fn block(text: &mut String, lines: &[String]) {
    text.push_str("```\n");
    for entry in lines {
        line(text, format_args!("{}", entry.replace("```", "'''")));
    }
    text.push_str("```\n\n");
}

fn options(text: &mut String, incident: &Incident, names: &Names) {
    line(
        text,
        format_args!(
            "## Options tried on forks\n\n| option | stops the attack | honest transactions that would fail |\n|---|---|---|"
        ),
    );
    for simulation in &incident.simulations {
        let stops = if simulation.contains_attack() { "yes" } else { "no" };
        let working = simulation.honest.iter().filter(|trial| trial.works_without).count();
        let title = names.apply(&render::plain(&simulation.plan.title)).replace('|', "\\|");
        line(text, format_args!("| {title} | {stops} | {} of {working} |", simulation.honest_broken()));
    }
    text.push('\n');
}

fn fixes(text: &mut String, incident: &Incident) {
    line(text, format_args!("## Fixes judged\n\n| candidate | verdict |\n|---|---|"));
    for remedy in &incident.remedies {
        let verdict = match &remedy.verdict {
            cordon_model::remedy::Verdict::Proven => "proven".to_owned(),
            cordon_model::remedy::Verdict::Refused(rules) => {
                let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
                format!("refused: {}", rules.join("; "))
            }
        };
        line(text, format_args!("| {} | {verdict} |", render::plain(&remedy.candidate).replace('|', "\\|")));
    }
    text.push('\n');
}

fn payments(text: &mut String, incident: &Incident) {
    let Some(allocation) = &incident.allocation else { return };
    line(text, format_args!("## Reimbursement\n\n| account | lost | owed | paid |\n|---|---|---|---|"));
    for entitlement in &allocation.entitlements {
        let paid = incident.paid_raw.get(&entitlement.account).copied().unwrap_or_default();
        line(
            text,
            format_args!(
                "| {} | {} | {} | {} |",
                entitlement.account,
                format_units(entitlement.loss_raw, 18),
                format_units(entitlement.amount_raw, 18),
                format_units(paid, 18)
            ),
        );
    }
    text.push('\n');
}

fn accounts(text: &mut String, ledger: &Ledger) {
    line(
        text,
        format_args!(
            "## Where every {} is\n\nFrom block {} to block {}; each line and the sum hold to the last unit.\n",
            ledger.symbol, ledger.from.number, ledger.to.number
        ),
    );
    line(text, format_args!("| account | before | received | sent | after |\n|---|---|---|---|---|"));
    for entry in &ledger.lines {
        line(
            text,
            format_args!(
                "| {} | {} | {} | {} | {} |",
                render::plain(&entry.name).replace('|', "\\|"),
                format_units(entry.before_raw, 18),
                format_units(entry.received_raw, 18),
                format_units(entry.sent_raw, 18),
                format_units(entry.after_raw, 18)
            ),
        );
    }
    text.push('\n');
}
