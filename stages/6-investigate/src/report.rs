//! The investigation of an incident, and of a single transaction.
//!
//! In: [`Investigation`]. Out: `Report` or `TxReport`. The same input gives the same report, byte for byte.

use crate::call_tree::call_lines;
use crate::flows::{Tally, flows, prices, tally};
use crate::interfaces::Interfaces;
use crate::labels::Labels;
use crate::parties::parties;
use crate::root_cause::root_cause;
use crate::timeline::timeline;
use alloy_primitives::{B256, U256};
use cordon_model::execution::Execution;
use cordon_model::finding::{Evidence, Finding};
use cordon_model::incident::Incident;
use cordon_model::log::Record;
use cordon_model::protocol::Protocol;
use cordon_model::report::{Flow, ProfitAndLoss, Report, TxReport};
use std::collections::BTreeMap;

/// All that an investigation looks at.
#[derive(Debug, Clone, Copy)]
pub struct Investigation<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// The protocol that was hurt.
    pub protocol: &'a Protocol,
    /// Executions of the incident's transactions, in any order; failed attempts included. Share rates are priced by
    /// the views that the earliest of them was asked.
    pub executions: &'a [Execution],
    /// Records that concern the incident, in order.
    pub records: &'a [Record],
    /// Known interfaces.
    pub interfaces: &'a Interfaces,
    /// Names of addresses.
    pub labels: &'a Labels,
}

/// Investigates an incident.
#[must_use]
pub fn investigate(input: &Investigation<'_>) -> Report {
    let mut executions: Vec<Execution> = input.executions.to_vec();
    executions.sort_by_key(|execution| (execution.tx.block.number, execution.tx.index));
    let findings = input.incident.findings.as_slice();

    let movements: Vec<Flow> = executions.iter().flat_map(flows).collect();
    let tally = tally(&movements, &prices(input.protocol, &executions), input.labels);
    let parties = parties(findings, &executions, input.protocol, &tally, input.labels);
    // From here on, people read of the attacker and of attack contracts, not of addresses alone.
    let labels = input.labels.with_roles(&parties);
    let mut root_cause = root_cause(findings, &executions, input.interfaces, &labels);
    for asset in &tally.uncountable {
        root_cause.grounds.push(format!(
            "{} is left out of profit and loss: it reports transfers that no real token can hold",
            labels.symbol(*asset)
        ));
    }
    Report {
        incident: input.incident.id,
        protocol: input.incident.protocol.clone(),
        root_cause,
        loss_wad: loss(findings, &tally, input.protocol),
        transactions: executions
            .iter()
            .map(|execution| inspect(execution, input.interfaces, &labels))
            .collect(),
        parties,
        timeline: timeline(&executions, input.records, input.interfaces, &labels),
        profit_and_loss: named(tally.rows, &labels),
    }
}

fn named(mut rows: Vec<ProfitAndLoss>, labels: &Labels) -> Vec<ProfitAndLoss> {
    for row in &mut rows {
        row.label = labels.get(row.account).map(str::to_owned);
    }
    rows
}

/// Inspects one transaction, without an incident.
#[must_use]
pub fn inspect(execution: &Execution, interfaces: &Interfaces, labels: &Labels) -> TxReport {
    TxReport {
        tx: execution.tx,
        timestamp_s: execution.timestamp_s,
        from: execution.transaction.from,
        status: execution.status.clone(),
        calls: call_lines(execution, interfaces, labels),
        flows: flows(execution),
    }
}

/// The report as JSON text.
#[must_use]
pub fn report_json(report: &Report) -> String {
    serde_json::to_string_pretty(report)
        .expect("a report holds only strings, numbers and lists, which always serialise")
}

/// The loss of the protected system: what the detectors measured, which accounts for what the system owes, once per
/// transaction; where no detector measured value, the net outflow of the protected contracts.
fn loss(findings: &[Finding], tally: &Tally, protocol: &Protocol) -> U256 {
    let mut measured: BTreeMap<B256, U256> = BTreeMap::new();
    for finding in findings {
        if let Evidence::ValueLoss { loss_wad, .. } = &finding.evidence {
            let largest = measured.entry(finding.tx.hash).or_default();
            *largest = (*largest).max(*loss_wad);
        }
    }
    let total = measured.values().fold(U256::ZERO, |sum, loss| sum.saturating_add(*loss));
    if !total.is_zero() {
        return total;
    }
    let protected = tally.rows.iter().filter(|row| protocol.protects(row.account));
    let net = protected.fold(alloy_primitives::I256::ZERO, |sum, row| sum.saturating_add(row.value_wad));
    if net.is_negative() { net.unsigned_abs() } else { U256::ZERO }
}
