//! Replays an archive and counts what agrees.
//!
//! In: blocks with witnesses. Out: [`Totals`]. Parsing is not part of any figure here.

use crate::block_run::BlockReplay;
use crate::error::ReplayError;
use crate::replay::replay_witness;
use crate::watch::Watch;
use cordon_model::block::Block;
use std::time::{Duration, Instant};

/// What replaying an archive came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks replayed.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Gas they used.
    pub gas_used: u64,
    /// Differences from headers and receipts.
    pub mismatches: u64,
    /// Time spent replaying, in nanoseconds.
    pub elapsed_ns: u64,
}

impl Totals {
    /// Replays one more block and adds it.
    ///
    /// # Errors
    /// [`ReplayError`] where the block has no witness, or one with a gap or unknown rules.
    pub fn add(&mut self, block: &Block, watch: &Watch) -> Result<BlockReplay, ReplayError> {
        let started = Instant::now();
        let replayed = replay_witness(block, watch)?;
        self.elapsed_ns = self.elapsed_ns.saturating_add(nanoseconds(started.elapsed()));
        self.blocks = self.blocks.saturating_add(1);
        self.transactions = self.transactions.saturating_add(count(block.transactions.len()));
        self.gas_used = self.gas_used.saturating_add(replayed.gas_used);
        self.mismatches = self.mismatches.saturating_add(count(replayed.mismatches.len()));
        Ok(replayed)
    }

    /// Million gas per second, rounded down.
    #[must_use]
    pub fn mgas_per_s(&self) -> u64 {
        mgas_per_s(self.gas_used, self.elapsed_ns)
    }
}

/// Replays blocks that bring a witness; `on_block` sees each with its replay and the time that it took.
///
/// # Errors
/// [`ReplayError`] of the first block that could not be replayed at all.
pub fn verify(
    blocks: impl IntoIterator<Item = Block>,
    watch: &Watch,
    mut on_block: impl FnMut(&Block, &BlockReplay, Duration),
) -> Result<Totals, ReplayError> {
    let mut totals = Totals::default();
    for block in blocks {
        let before_ns = totals.elapsed_ns;
        let replayed = totals.add(&block, watch)?;
        on_block(&block, &replayed, Duration::from_nanos(totals.elapsed_ns.saturating_sub(before_ns)));
    }
    Ok(totals)
}

fn mgas_per_s(gas_used: u64, elapsed_ns: u64) -> u64 {
    gas_used.saturating_mul(1_000).checked_div(elapsed_ns).unwrap_or(0)
}

fn nanoseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
