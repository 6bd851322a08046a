//! The chain itself as a source of alarms: what was seen of it, judged and told.
//!
//! In: observations that somebody took beside the loop, and what the loop itself noticed (blocks that left, replays that
//! differ, blocks that wait). Out: alarms in the log with their notices, findings confirmed, holds reconsidered. Must
//! never: fail a block for what an observation lacks.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::journal::Entries;
use cordon_detect::network::{Change, NetworkMonitors};
use cordon_model::log::ChainEvent;
use cordon_model::network::observation::{Observation, ReplaySight};
use cordon_model::units::BlockRef;

/// Blocks and differences that are kept between two observations. A reorganisation is never followed deeper than the
/// cursor remembers, and of many differences the first ones tell what is wrong.
const NOTED_MAX: usize = 256;

/// What the loop noticed since the last observation.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    reverted: Vec<BlockRef>,
    replay: ReplaySight,
}

impl Noted {
    /// A block left the chain.
    pub(crate) fn reverted(&mut self, block: BlockRef) {
        if self.reverted.len() < NOTED_MAX {
            self.reverted.push(block);
        }
    }

    /// A block was executed again; `difference` where it did not come out as the chain states.
    pub(crate) fn replayed(&mut self, block: BlockRef, difference: Option<&str>) {
        self.replay.blocks = self.replay.blocks.saturating_add(1);
        if let Some(what) = difference.filter(|_| self.replay.mismatches.len() < NOTED_MAX) {
            self.replay.mismatches.push((block, what.to_owned()));
        }
    }
}

impl Engine {
    /// Judges the chain itself with these monitors. Alarms that stand in the log are taken over.
    #[must_use]
    pub fn with_monitors(mut self, mut monitors: NetworkMonitors) -> Self {
        let standing: Vec<_> = self.journal.chain().alarms.values().cloned().collect();
        monitors.restore(&standing);
        self.monitors = Some(monitors);
        self
    }

    /// Takes an observation: alarms, confirmations of findings, and the end of a hold follow from it.
    ///
    /// # Errors
    /// [`EngineError`] where the log fails. What a node does not answer is not an error here.
    pub async fn observe(&mut self, mut seen: Observation) -> Result<(), EngineError> {
        let (safe, finalized) = (seen.safe, seen.finalized);
        let noted = std::mem::take(&mut self.noted);
        seen.reverted = noted.reverted;
        seen.replay = (noted.replay.blocks > 0).then_some(noted.replay);
        seen.backlog_blocks = seen
            .head
            .zip(self.cursor.head())
            .map(|(newest, judged)| newest.block.number.saturating_sub(judged.number));
        let changes = self.monitors.as_mut().map(|monitors| monitors.observe(&seen)).unwrap_or_default();
        let chain: Vec<ChainEvent> = changes.into_iter().map(event).collect();
        if !chain.is_empty() {
            self.journal.append(self.stamp, Entries { chain, ..Entries::default() }).await?;
        }
        if self.awaits_finality() {
            self.confirm(safe, finalized).await?;
        }
        let was_held = self.hold_reason().is_some();
        match self.reconsider().await {
            Err(error) if error.is_of_the_log() => return Err(error),
            Err(error) => tracing::warn!(%error, "whether the hold is over is not known"),
            Ok(()) => {}
        }
        // What was held goes on at once, and not with the next block.
        if was_held && self.hold_reason().is_none() { self.respond().await } else { Ok(()) }
    }
}

fn event(change: Change) -> ChainEvent {
    match change {
        Change::Raised(alarm) => ChainEvent::AlarmRaised { alarm },
        Change::Cleared { kind, subject } => ChainEvent::AlarmCleared { kind, subject },
    }
}
