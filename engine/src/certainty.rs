//! Alerts on unconfirmed blocks, confirmed as their blocks become safe and final.
//!
//! In: which blocks the chain calls safe and finalised. Out: a confirmation per finding, in one batch with the blocks
//! that it rests on. Withdrawing is the business of reorganisations. Must never: confirm a finding by a block that is
//! not on the chain that was judged; a node that is on another branch confirms nothing.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::{Entries, Entry};
use cordon_model::finding::Finding;
use cordon_model::incident::{Incident, IncidentEvent, Standing};
use cordon_model::log::ChainEvent;
use cordon_model::plan::Certainty;
use cordon_model::units::BlockRef;

impl Engine {
    /// True where a finding of an open incident stands on a block that is not final yet.
    #[must_use]
    pub fn awaits_finality(&self) -> bool {
        let open = self.journal.incidents().filter(|incident| incident.standing == Standing::Open);
        let is_final = |incident: &Incident, finding: &Finding| {
            incident.certainty.get(&finding.id) == Some(&Certainty::Finalized)
        };
        open.into_iter().any(|incident| incident.findings.iter().any(|finding| !is_final(incident, finding)))
    }

    /// Takes the chain's word on what is safe and final, and confirms the findings that stand there.
    ///
    /// # Errors
    /// [`EngineError`] where the log fails.
    pub async fn confirm(
        &mut self,
        safe: Option<BlockRef>,
        finalized: Option<BlockRef>,
    ) -> Result<(), EngineError> {
        let (safe, finalized) =
            (safe.filter(|b| self.has_judged(*b)), finalized.filter(|b| self.has_judged(*b)));
        let reached = |finding: &Finding| {
            let covers = |block: Option<BlockRef>| block.is_some_and(|b| finding.tx.block.number <= b.number);
            match (covers(finalized), covers(safe)) {
                (true, _) => Some(Certainty::Finalized),
                (false, true) => Some(Certainty::Safe),
                (false, false) => None,
            }
        };
        let mut incidents = Vec::new();
        for incident in self.journal.incidents().filter(|incident| incident.standing == Standing::Open) {
            let news = incident.findings.iter().filter_map(|finding| {
                let certainty = reached(finding)?;
                let known = incident.certainty.get(&finding.id);
                (known < Some(&certainty)).then_some((finding.id, certainty))
            });
            let confirmed: Vec<Entry> = news
                .map(|(finding, certainty)| {
                    let event = IncidentEvent::FindingConfirmed { finding, certainty };
                    Entry::by("engine", format!("its block is {certainty} by the chain's own rule"), event)
                })
                .collect();
            if !confirmed.is_empty() {
                incidents.push((incident.id, confirmed));
            }
        }
        if incidents.is_empty() {
            return Ok(());
        }
        let chain = vec![ChainEvent::Finality { safe, finalized }];
        Ok(self.journal.append(self.stamp, Entries { incidents, chain, cursor: None }).await?)
    }

    /// True where the block lies on the chain that was judged: its hash is remembered, or it lies below all that is.
    fn has_judged(&self, block: BlockRef) -> bool {
        let Some(head) = self.cursor.head().filter(|head| block.number <= head.number) else { return false };
        let remembered = self.cursor.recent.iter().find(|known| known.number == block.number);
        let oldest = self.cursor.recent.first().map_or(head.number, |oldest| oldest.number);
        remembered.map_or(block.number < oldest, |known| known.hash == block.hash)
    }
}
