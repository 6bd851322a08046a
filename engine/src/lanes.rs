//! What became of the transactions on the signers' lanes, told to the incidents.
//!
//! In: lanes. Out: `StepLanded` and `StepReverted`. The lanes themselves are read, and not only the news of one poll,
//! so that a receipt which an earlier process recorded and did not pass on is passed on now. Must never: sign.

use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::journal::Entry;
use cordon_contain::LaneUpdate;
use cordon_model::incident::{Incident, IncidentEvent, Standing};

impl Engine {
    /// Asks every lane what became of its transactions, and tells the incidents.
    pub(crate) async fn poll_lanes(&mut self) -> Result<(), EngineError> {
        let at = cordon_contain::Stamp { at_s: self.stamp.at_s, at_block: self.stamp.at_block };
        let mut updates = Vec::new();
        for (account, sender) in &self.senders {
            match sender.poll(at).await {
                Ok(found) => updates.extend(found),
                Err(error) => {
                    let error = EngineError::from(error);
                    if error.is_of_the_log() {
                        return Err(error);
                    }
                    tracing::warn!(%account, error = %chain(&error), "lane could not be polled");
                }
            }
        }
        for update in updates {
            match update {
                LaneUpdate::Held { plan, step, why, .. } => {
                    let holds = |incident: &&Incident| incident.plans.contains_key(&plan);
                    let id = self.journal.incidents().find(holds).map(|incident| incident.id);
                    let told = match id {
                        Some(id) => self.held(id, plan, step, &why).await,
                        None => Ok(()),
                    };
                    match told {
                        Err(error) if !error.is_of_the_log() => tracing::warn!(%plan, step, %why, "held"),
                        told => told?,
                    }
                }
                LaneUpdate::Signed { .. } | LaneUpdate::Resent { .. } => tracing::info!(?update, "lane"),
                LaneUpdate::Mined { .. } | LaneUpdate::Unmined { .. } => {}
            }
        }
        self.reconcile().await
    }

    /// Brings the incidents in line with the lanes. It reads the lanes themselves and not the updates of one poll, so
    /// that a receipt which an earlier process recorded and did not pass on is passed on now.
    async fn reconcile(&mut self) -> Result<(), EngineError> {
        for account in self.senders.keys().copied().collect::<Vec<_>>() {
            let Some(sender) = self.senders.get(&account) else { continue };
            let lane = sender.lane().await?;
            for entry in lane.entries() {
                let (plan, step) = (entry.intent.plan, entry.intent.step);
                let Some(incident) = self.journal.incident(entry.intent.incident) else { continue };
                if incident.standing != Standing::Open {
                    continue;
                }
                let told = incident.plans.get(&plan).and_then(|record| record.receipts.get(&step));
                let (id, event, why) = match (told, &entry.mined) {
                    (None, Some(receipt)) => (
                        incident.id,
                        IncidentEvent::StepLanded { receipt: receipt.clone() },
                        "its transaction was mined",
                    ),
                    (Some(known), mined) if mined.as_ref() != Some(known) => (
                        incident.id,
                        IncidentEvent::StepReverted { plan, step, block: known.block },
                        "its block left the canonical chain",
                    ),
                    (Some(_), _) | (None, None) => continue,
                };
                match self.record(id, vec![Entry::by("contain", why, event)]).await {
                    Err(error) if !error.is_of_the_log() => {
                        tracing::error!(incident = %id, error = %chain(&error), "lane and incident disagree");
                    }
                    told => told?,
                }
            }
        }
        Ok(())
    }
}
