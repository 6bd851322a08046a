//! What follows from an incident: the playbook's steps, as far as Cordon does them itself.
//!
//! In: the incidents as the log tells them, the newest block. Out: events; the steps themselves are in `options`
//! (which containment), `plans` (sending and verifying) and `lanes` (what became of transactions). Every step reads from
//! the log whether it is done, so it can be interrupted anywhere and taken up again. Must never: let a failing step
//! keep another incident, or the next block, from being looked at.

use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::journal::{Entries, Entry, Stamp};
use cordon_decide::{StepKind, Who};
use cordon_model::finding::{Evidence, Finding};
use cordon_model::incident::{Incident, IncidentEvent, Standing};
use cordon_model::protocol::Protocol;
use cordon_model::units::{IncidentId, TxRef};
use std::collections::BTreeSet;

/// Most rounds over the playbook for one incident and block: there are fewer steps than that.
const ROUNDS_MAX: usize = 16;

/// Failures of a response in a row after which people are told. The watcher tries again after a pause that doubles
/// from a quarter of a second, so this is eight seconds of a node that does not work.
const FAILURES_UNTOLD_MAX: u32 = 6;

impl Engine {
    /// Does what is due for every open incident. A failure is tried again, see [`Engine::is_unfinished`], except where
    /// the log itself fails.
    pub(crate) async fn respond(&mut self) -> Result<(), EngineError> {
        self.poll_lanes().await?;
        let open = self.journal.incidents().filter(|incident| incident.standing == Standing::Open);
        let ids: Vec<IncidentId> = open.map(|incident| incident.id).collect();
        self.failures.retain(|id, _| ids.contains(id));
        for id in ids {
            match self.respond_to(id).await {
                Ok(()) => {
                    self.failures.remove(&id);
                }
                Err(error) if error.is_of_the_log() => return Err(error),
                Err(error) => self.failed(id, &chain(&error)).await?,
            }
        }
        Ok(())
    }

    /// True where a response failed, or is held, and waits to be tried again.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !self.failures.is_empty() || self.hold_reason().is_some()
    }

    /// Tries again what failed, and takes up what people wrote into the log meanwhile.
    ///
    /// # Errors
    /// [`EngineError`] where the log fails.
    pub async fn retry(&mut self) -> Result<(), EngineError> {
        let news = self.journal.refresh().await?;
        if news || self.is_unfinished() { self.respond().await } else { Ok(()) }
    }

    /// Plans come first: what was allowed is sent and verified even where the next step of the playbook fails.
    async fn respond_to(&mut self, id: IncidentId) -> Result<(), EngineError> {
        for _ in 0..ROUNDS_MAX {
            let Some(before) = self.journal.incident(id).cloned() else { return Ok(()) };
            self.raise_severity(id).await?;
            self.execute_plans(id).await?;
            let Some(incident) = self.journal.incident(id) else { return Ok(()) };
            let due = self.playbook.pending(incident).into_iter().filter(|(_, who)| *who == Who::Cordon);
            for (kind, _) in due.collect::<Vec<_>>() {
                self.take(id, kind).await?;
            }
            if self.journal.incident(id) == Some(&before) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A response failed and will be tried again; after a few failures people are told, because the attack goes on.
    async fn failed(&mut self, id: IncidentId, error: &str) -> Result<(), EngineError> {
        tracing::warn!(incident = %id, error, "the response failed and will be tried again");
        let failures = self.failures.get(&id).copied().unwrap_or_default().saturating_add(1);
        self.failures.insert(id, failures);
        if failures == FAILURES_UNTOLD_MAX {
            let why = format!("the response failed {failures} times in a row: {error}");
            return self.ask_for_person(id, why).await;
        }
        Ok(())
    }

    /// Records once per reason that a person is needed, so that people are told.
    pub(crate) async fn ask_for_person(&mut self, id: IncidentId, why: String) -> Result<(), EngineError> {
        if self.journal.incident(id).is_none_or(|incident| incident.needs_person.as_ref() == Some(&why)) {
            return Ok(());
        }
        tracing::warn!(incident = %id, why, "a person is needed");
        let event = IncidentEvent::NeedsPerson { why };
        self.record(id, vec![Entry::by("engine", "it cannot go on by itself", event)]).await
    }

    async fn take(&mut self, id: IncidentId, kind: StepKind) -> Result<(), EngineError> {
        match kind {
            StepKind::Triage => self.raise_severity(id).await,
            StepKind::SimulateOptions => self.simulate_options(id).await,
            StepKind::Contain => self.choose_containment(id).await,
            StepKind::Investigate => self.write_report(id).await,
            // A playbook may name Cordon for these, but they need an artifact, funds or a decision that it has not.
            StepKind::Eradicate | StepKind::Reimburse | StepKind::Reopen | StepKind::Close => Ok(()),
        }
    }

    pub(crate) async fn record(&mut self, id: IncidentId, entries: Vec<Entry>) -> Result<(), EngineError> {
        Ok(self.journal.append(self.stamp, Entries::of(id, entries)).await?)
    }

    async fn raise_severity(&mut self, id: IncidentId) -> Result<(), EngineError> {
        let Some(incident) = self.journal.incident(id) else { return Ok(()) };
        let (severity, rationale) = cordon_decide::triage(incident, &self.policy);
        if incident.severity.is_some_and(|known| known >= severity) {
            return Ok(());
        }
        let event = IncidentEvent::Triaged { severity, rationale };
        self.record(id, vec![Entry::by("decide", "severity follows from the findings", event)]).await
    }

    /// An incident and its protocol, as they stand.
    pub(crate) fn known(&self, id: IncidentId) -> Option<(Incident, Protocol)> {
        let incident = self.journal.incident(id)?;
        Some((incident.clone(), self.protocol(incident)?.clone()))
    }

    /// Newest block that was judged.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// All transactions of an incident's findings, in the order of the chain.
pub(crate) fn suspicious_transactions(incident: &Incident) -> Vec<TxRef> {
    in_chain_order(incident.findings.iter().map(|finding| finding.tx))
}

/// Those that stand for the attack: by which value left, or all where none did. Something strange that came before, or joined
/// later, must not stand for it.
pub(crate) fn attack_transactions(incident: &Incident) -> Vec<TxRef> {
    let losing = by_which_value_left(incident.findings.iter());
    if losing.is_empty() { suspicious_transactions(incident) } else { losing }
}

/// The transactions of those findings that measured a loss, in the order of the chain.
pub(crate) fn by_which_value_left<'f>(findings: impl Iterator<Item = &'f Finding>) -> Vec<TxRef> {
    let loses = |finding: &&Finding| matches!(finding.evidence, Evidence::ValueLoss { .. });
    in_chain_order(findings.filter(loses).map(|finding| finding.tx))
}

/// Transactions in the order of the chain, each once.
pub(crate) fn in_chain_order(txs: impl Iterator<Item = TxRef>) -> Vec<TxRef> {
    let ordered: BTreeSet<(u64, u32, TxRef)> = txs.map(|tx| (tx.block.number, tx.index, tx)).collect();
    ordered.into_iter().map(|(_, _, tx)| tx).collect()
}
