//! `cordon replay`: archived blocks executed again and compared with what the chain recorded.
//!
//! In: a block file or a folder of them. Out: totals, every mismatch by transaction, and on request the speed beside
//! bare revm on the same blocks in the same run. Must never: call a block equal that it could not execute.

use crate::error::EngineError;
use cordon_ingest::Archive;
use cordon_model::block::Block;
use cordon_replay::{BenchReport, Totals, no_views};
use serde::Serialize;
use std::path::Path;

/// Most mismatches that are listed one by one; the total counts all of them.
const MISMATCHES_LISTED_MAX: usize = 1_000;

/// What a replay of an archive found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ArchiveReport {
    /// Blocks executed.
    pub blocks: u64,
    /// Transactions executed.
    pub transactions: u64,
    /// Gas used by all of them.
    pub gas_used: u64,
    /// Differences found.
    pub mismatches: u64,
    /// Files of another format that were passed over.
    pub files_skipped: usize,
    /// The differences, one line each.
    pub details: Vec<String>,
    /// Speed, where it was asked for.
    pub bench: Option<Speed>,
}

/// Speed of our replay beside bare revm, median over interleaved rounds of one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Speed {
    /// Rounds measured.
    pub rounds: u32,
    /// Bare revm, million gas a second.
    pub bare_mgas_per_s: u64,
    /// Our replay with all facts, million gas a second.
    pub replay_mgas_per_s: u64,
    /// Our time over bare time, in thousandths.
    pub ratio_permille: u64,
}

/// Replays every block under `path`; `bench_rounds` also measures speed.
///
/// # Errors
/// A file that cannot be read, or a block that cannot be executed at all.
pub fn replay(path: &Path, bench_rounds: Option<u32>) -> Result<ArchiveReport, EngineError> {
    let archive = Archive::open(path).map_err(EngineError::Archive)?;
    if archive.is_empty() {
        return Err(EngineError::NoBlocks { path: path.to_owned(), skipped: archive.skipped() });
    }
    let mut report = ArchiveReport { files_skipped: archive.skipped(), ..ArchiveReport::default() };
    let mut totals = Totals::default();
    let mut kept: Vec<Block> = Vec::new();
    let views = no_views();
    for block in archive.blocks() {
        let block = block.map_err(EngineError::Archive)?;
        let replayed = totals.add(&block, &views)?;
        for mismatch in
            replayed.mismatches.iter().take(MISMATCHES_LISTED_MAX.saturating_sub(report.details.len()))
        {
            let place =
                mismatch.tx_hash.map_or_else(|| "block".to_owned(), |hash| format!("transaction {hash}"));
            report
                .details
                .push(format!("chain {} block {}: {place}: {}", block.chain_id, block.number, mismatch.what));
        }
        if bench_rounds.is_some() {
            kept.push(block);
        }
    }
    (report.blocks, report.transactions) = (totals.blocks, totals.transactions);
    (report.gas_used, report.mismatches) = (totals.gas_used, totals.mismatches);
    if let Some(rounds) = bench_rounds {
        report.bench = Some(speed(&cordon_replay::bench(&kept, rounds.max(1))?));
    }
    Ok(report)
}

fn speed(bench: &BenchReport) -> Speed {
    Speed {
        rounds: bench.rounds,
        bare_mgas_per_s: bench.bare_mgas_per_s(),
        replay_mgas_per_s: bench.replay_mgas_per_s(),
        ratio_permille: bench.ratio_permille,
    }
}
