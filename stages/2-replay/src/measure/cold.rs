//! How a replay fares that starts with nothing but a node.
//!
//! In: consecutive blocks and the node that has their state. Out: per block and in sum, what was read and how often the
//! node was waited for. Must never: call a replay fast that does not agree with the chain; mismatches stand beside.

use super::{count, nanoseconds, permille};
use crate::ahead::ReadAhead;
use crate::error::ReplayError;
use crate::replay::Replayer;
use crate::rules::Rules;
use crate::state::ReadStats;
use crate::watch::{Watch, no_views};
use alloy_provider::DynProvider;
use cordon_model::block::Block;
use std::sync::Arc;
use std::time::Instant;

/// One block of a cold replay, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ColdBlock {
    /// Blocks in the sum.
    pub blocks: u64,
    /// Height of the (last) block.
    pub number: u64,
    /// Transactions.
    pub transactions: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Differences from headers and receipts.
    pub mismatches: u64,
    /// Time from the block at hand to its executions, in nanoseconds.
    pub elapsed_ns: u64,
    /// What reading state took.
    pub reads: ReadStats,
}

impl ColdBlock {
    /// Values that the node was asked for, per block.
    #[must_use]
    pub fn cold_reads_per_block(&self) -> u64 {
        self.reads.cold().checked_div(self.blocks).unwrap_or(0)
    }

    /// Times that the node was waited for, per thousand transactions.
    #[must_use]
    pub fn round_trips_per_1000_transactions(&self) -> u64 {
        permille(self.reads.round_trips, self.transactions)
    }

    /// First reads that earlier blocks answered, in thousandths: what applying our own post-state saves.
    #[must_use]
    pub fn carried_permille(&self) -> u64 {
        permille(self.reads.carried, self.reads.reads())
    }

    /// First reads for which the EVM did not have to wait, in thousandths.
    #[must_use]
    pub fn hit_permille(&self) -> u64 {
        permille(self.reads.hits(), self.reads.reads())
    }
}

/// A cold replay of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdReport {
    /// How much was read ahead.
    pub read_ahead: ReadAhead,
    /// Every block, in order.
    pub blocks: Vec<ColdBlock>,
}

impl ColdReport {
    /// The sum of all blocks.
    #[must_use]
    pub fn total(&self) -> ColdBlock {
        let mut total = ColdBlock::default();
        for block in &self.blocks {
            total.blocks = total.blocks.saturating_add(block.blocks);
            total.number = block.number;
            total.transactions = total.transactions.saturating_add(block.transactions);
            total.gas_used = total.gas_used.saturating_add(block.gas_used);
            total.mismatches = total.mismatches.saturating_add(block.mismatches);
            total.elapsed_ns = total.elapsed_ns.saturating_add(block.elapsed_ns);
            total.reads.add(&block.reads);
        }
        total
    }
}

/// Replays blocks one after the other with a replayer that knows nothing at the start.
///
/// # Errors
/// [`ReplayError`] of the first block that could not be replayed at all.
pub async fn cold(
    provider: DynProvider,
    rules: Rules,
    blocks: &[Arc<Block>],
    read_ahead: ReadAhead,
) -> Result<ColdReport, ReplayError> {
    let mut replayer = Replayer::for_node(provider, rules).reading_ahead(read_ahead);
    let mut report = ColdReport { read_ahead, blocks: Vec::with_capacity(blocks.len()) };
    for block in blocks {
        let started = Instant::now();
        let replayed = replayer.replay(Arc::clone(block), Watch::everything(no_views())).await?;
        report.blocks.push(ColdBlock {
            blocks: 1,
            number: block.number,
            transactions: count(block.transactions.len()),
            gas_used: replayed.gas_used,
            mismatches: count(replayed.mismatches.len()),
            elapsed_ns: nanoseconds(started.elapsed()),
            reads: replayer.last_reads().unwrap_or_default(),
        });
    }
    Ok(report)
}
