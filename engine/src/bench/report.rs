//! What a measurement found, for people and as one JSON object.
//!
//! In: figures. Out: serialisable structures and lines of text. Must never: hide that the machine was too busy to judge.

use super::figures::{Decimal, SPREAD_MAX};
use cordon_model::units::ChainId;
use serde::Serialize;

/// The whole measurement. Every ratio is CPU time over that of bare revm in the same round, median over the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Blocks measured.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Million gas that they used.
    pub mgas: Decimal,
    /// Bare revm, million gas per second of one thread.
    pub bare_mgas_per_s: u64,
    /// All facts of all transactions, compared with the chain, and matched against a thousand addresses.
    pub watch_ratio: Decimal,
    /// The same where only transactions that touch one of the thousand addresses are delivered.
    pub filtered_ratio: Decimal,
    /// All facts in full detail.
    pub full_ratio: Decimal,
    /// Rounds.
    pub rounds: u32,
    /// Ninth decile of the bare rounds over the first.
    pub bare_spread: Decimal,
    /// False where that spread says that something else was running: then no ratio should be judged.
    pub is_quiet: bool,
    /// Load of the machine over the last minute.
    pub load_average: Option<Decimal>,
    /// Transactions of the comparison of first and second sight.
    pub cliff_transactions: u64,
    /// Slowest transaction at first sight over the slowest of the same ones at second sight.
    pub cliff_ratio: Decimal,
    /// The block of at least a million gas with the highest ratio.
    pub worst_block: Option<WorstBlock>,
    /// The sets that the performance goals name.
    pub sets: Vec<Group>,
    /// Per chain and hardfork.
    pub hardforks: Vec<Group>,
    /// Agreement with the chains.
    pub checked: Vec<Checked>,
    /// Patterns written to make a recorder suffer.
    pub adversarial: Vec<PatternReport>,
    /// One transaction with more than a million frames.
    pub trace_bomb: PatternReport,
    /// Most memory that the process held, in bytes.
    pub peak_rss_bytes: Option<u64>,
}

/// Figures of some of the blocks.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Which blocks.
    pub name: String,
    /// How many.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Million gas that they used.
    pub mgas: Decimal,
    /// Bare revm, million gas per second of one thread.
    pub bare_mgas_per_s: u64,
    /// With all facts, million gas per second.
    pub watch_mgas_per_s: u64,
    /// With all facts, transactions per second.
    pub watch_transactions_per_s: u64,
    /// All facts over bare.
    pub watch_ratio: Decimal,
    /// Filtered over bare.
    pub filtered_ratio: Decimal,
    /// Full detail over bare.
    pub full_ratio: Decimal,
    /// Part of the transactions that the filter delivers.
    pub filtered_share: Decimal,
    /// The block of at least a million gas with the highest ratio.
    pub worst_block: Option<WorstBlock>,
}

/// One block's ratio.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WorstBlock {
    /// Its chain.
    pub chain_id: ChainId,
    /// Its number.
    pub number: u64,
    /// All facts over bare.
    pub watch_ratio: Decimal,
}

/// Agreement with one chain, in transactions.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Checked {
    /// The chain.
    pub chain_id: ChainId,
    /// Gas and status as the chain recorded them.
    pub matched: u64,
    /// Different, on a chain whose fee for data on layer 1 is not modelled.
    pub explained: u64,
    /// Different without an explanation.
    pub wrong: u64,
    /// Blocks with any difference; they are not measured.
    pub blocks_left_out: u64,
}

impl Checked {
    pub(super) fn new(chain_id: ChainId) -> Self {
        Self { chain_id, matched: 0, explained: 0, wrong: 0, blocks_left_out: 0 }
    }
}

/// What an adversarial pattern came to.
#[derive(Debug, Clone, Serialize)]
pub struct PatternReport {
    /// Its name.
    pub name: String,
    /// All facts over bare.
    pub watch_ratio: Decimal,
    /// Full detail over bare.
    pub full_ratio: Decimal,
    /// Gas of the block.
    pub gas_used: u64,
    /// Frames kept over all its transactions.
    pub frames_kept: u64,
    /// Size of the largest execution's facts, in bytes.
    pub facts_bytes_per_tx: u64,
    /// Whether a bound cut a record, and so flagged it.
    pub is_truncated: bool,
    /// Whether all transactions ran to their end.
    pub is_success: bool,
}

impl BenchReport {
    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<44} {:>6} {:>7} {:>9} {:>7} {:>7} {:>7} {:>7} {:>6}",
            "", "blocks", "txs", "bare Mg/s", "txs/s", "watch", "filter", "full", "share"
        )];
        lines.extend(self.sets.iter().chain(&self.hardforks).map(Group::line));
        lines.push(format!(
            "all: {} blocks, {} transactions, {} Mgas, bare {} Mgas/s; watch {}, filtered {}, full {}",
            self.blocks,
            self.transactions,
            self.mgas,
            self.bare_mgas_per_s,
            self.watch_ratio,
            self.filtered_ratio,
            self.full_ratio
        ));
        lines.extend(self.sets.iter().filter_map(|set| {
            let WorstBlock { chain_id, number, watch_ratio } = set.worst_block?;
            Some(format!("worst block, {}: {number} of chain {chain_id}, {watch_ratio}", set.name))
        }));
        lines.extend(self.adversarial.iter().chain([&self.trace_bomb]).map(PatternReport::line));
        lines.push(format!(
            "slowest of {} transactions at first sight over second sight: {}",
            self.cliff_transactions, self.cliff_ratio
        ));
        lines.extend(self.checked.iter().map(Checked::line));
        lines.push(self.conditions());
        lines
    }

    fn conditions(&self) -> String {
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let rss =
            self.peak_rss_bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MB", bytes >> 20));
        let verdict = if self.is_quiet { "usable" } else { "UNUSABLE, the machine was too busy" };
        format!(
            "{} rounds, spread of bare {} (at most {SPREAD_MAX}: {verdict}), load {load}, peak memory {rss}",
            self.rounds, self.bare_spread
        )
    }
}

impl Group {
    fn line(&self) -> String {
        format!(
            "{:<44} {:>6} {:>7} {:>9} {:>7} {:>7} {:>7} {:>7} {:>6}",
            self.name,
            self.blocks,
            self.transactions,
            self.bare_mgas_per_s,
            self.watch_transactions_per_s,
            self.watch_ratio,
            self.filtered_ratio,
            self.full_ratio,
            self.filtered_share
        )
    }
}

impl PatternReport {
    fn line(&self) -> String {
        let cut = if self.is_truncated { "cut and flagged" } else { "whole" };
        format!(
            "{:<44} watch {}, full {}, {} frames kept, facts at most {} kB per transaction, {cut}",
            self.name,
            self.watch_ratio,
            self.full_ratio,
            self.frames_kept,
            self.facts_bytes_per_tx >> 10
        )
    }
}

impl Checked {
    fn line(&self) -> String {
        let Self { chain_id, matched, explained, wrong, blocks_left_out } = self;
        format!(
            "chain {chain_id}: {matched} transactions as recorded, {explained} explained, {wrong} wrong, \
             {blocks_left_out} blocks left out"
        )
    }
}
