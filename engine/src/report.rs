//! The investigation of an incident, as far as the engine knows it.
//!
//! In: an incident, its records, the executions of its transactions. Out: a [`Report`], recorded by its hash. Must
//! never: report on transactions that it could not execute without saying so.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entry;
use crate::respond::{attack_transactions, in_chain_order, suspicious_transactions};
use crate::trials::{Trials, views};
use alloy_primitives::keccak256;
use cordon_investigate::{Investigation, Labels, report_json};
use cordon_model::execution::Execution;
use cordon_model::incident::{Incident, IncidentEvent};
use cordon_model::log::{Record, StreamId};
use cordon_model::protocol::Protocol;
use cordon_model::report::Report;
use cordon_model::units::IncidentId;
use std::path::Path;

/// Most transactions that a report describes one by one; its totals cover the same ones and say so.
const REPORTED_TRANSACTIONS_MAX: usize = 50;

impl Engine {
    /// The report on an incident as it stands now.
    ///
    /// # Errors
    /// [`EngineError`] where the log or the chain cannot be read.
    pub async fn report(&self, id: IncidentId) -> Result<Option<Report>, EngineError> {
        let Some((incident, protocol)) = self.known(id) else { return Ok(None) };
        let executions = self.executions(&incident, &protocol).await?;
        let stored = self.journal.log().read(StreamId::incident(id)).await?;
        let records: Vec<Record> = stored.into_iter().map(|stored| stored.record).collect();
        let investigation = Investigation {
            incident: &incident,
            protocol: &protocol,
            executions: &executions,
            records: &records,
            interfaces: &self.interfaces,
            labels: &Labels::of(&protocol),
        };
        Ok(Some(cordon_investigate::investigate(&investigation)))
    }

    /// Writes the report's essentials into the incident.
    pub(crate) async fn write_report(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some(report) = self.report(id).await? else { return Ok(()) };
        if let Some((folder, incident)) = self.reports.as_ref().zip(self.journal.incident(id)) {
            write_files(folder, &report, &self.labels(incident))?;
        }
        let event = IncidentEvent::Investigated {
            root_cause: report.root_cause.summary.clone(),
            loss_wad: report.loss_wad,
            report_hash: keccak256(report_json(&report)),
        };
        self.record(
            id,
            vec![Entry::by("investigate", "the attack's transactions were executed and read", event)],
        )
        .await
    }

    /// Executions of the incident's transactions: those still held, and the others executed again.
    async fn executions(
        &self,
        incident: &Incident,
        protocol: &Protocol,
    ) -> Result<Vec<Execution>, EngineError> {
        let trials: Trials<'_> = self.trials(protocol);
        let mut executions = Vec::new();
        let attack = attack_transactions(incident);
        let others = suspicious_transactions(incident).into_iter().filter(|tx| !attack.contains(tx));
        let reported = attack.iter().copied().chain(others).take(REPORTED_TRANSACTIONS_MAX);
        for tx in &in_chain_order(reported) {
            if let Some(execution) = self.history.execution(tx) {
                executions.push(execution.clone());
            } else if let (Some(transaction), Some(mut fork)) =
                (trials.transaction(tx), trials.fork_before(tx).await?)
            {
                let mut execution = fork.transaction(&transaction, views(&self.detectors)).await?;
                execution.tx = *tx;
                executions.push(execution);
            } else {
                tracing::warn!(tx = %tx.hash, "is no longer at hand and is missing from the report");
            }
        }
        Ok(executions)
    }
}

/// The report as `<incident>.md` and `<incident>.json`. They come before the record, so that a record never speaks of
/// a report that is not there.
fn write_files(folder: &Path, report: &Report, labels: &Labels) -> Result<(), EngineError> {
    let file = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| EngineError::File { doing, path, source }
    };
    std::fs::create_dir_all(folder).map_err(file("create", folder))?;
    let (markdown, json) = (cordon_investigate::report_markdown(report, labels), report_json(report));
    for (extension, text) in [("md", markdown), ("json", json)] {
        let path = folder.join(format!("{}.{extension}", report.incident));
        std::fs::write(&path, text).map_err(file("write", &path))?;
    }
    Ok(())
}
