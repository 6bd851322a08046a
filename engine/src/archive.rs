//! `cordon replay`: archived blocks executed again and compared with what the chain recorded.
//!
//! In: a block file or a folder of them. Out: totals, and every mismatch by transaction. Must never: call a block
//! equal that it could not execute.

use crate::error::EngineError;
use cordon_ingest::Archive;
use cordon_replay::{Totals, Watch, no_views};
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
}

/// Replays every block under `path`.
///
/// # Errors
/// A file that cannot be read, or a block that cannot be executed at all.
pub fn replay(path: &Path) -> Result<ArchiveReport, EngineError> {
    let archive = Archive::open(path).map_err(EngineError::Archive)?;
    if archive.is_empty() {
        return Err(EngineError::NoBlocks { path: path.to_owned(), skipped: archive.skipped() });
    }
    let mut report = ArchiveReport { files_skipped: archive.skipped(), ..ArchiveReport::default() };
    let mut totals = Totals::default();
    let watch = Watch::everything(no_views());
    for block in archive.blocks() {
        let block = block.map_err(EngineError::Archive)?;
        let replayed = totals.add(&block, &watch)?;
        for mismatch in
            replayed.mismatches.iter().take(MISMATCHES_LISTED_MAX.saturating_sub(report.details.len()))
        {
            let place =
                mismatch.tx_hash.map_or_else(|| "block".to_owned(), |hash| format!("transaction {hash}"));
            report
                .details
                .push(format!("chain {} block {}: {place}: {}", block.chain_id, block.number, mismatch.what));
        }
    }
    (report.blocks, report.transactions) = (totals.blocks, totals.transactions);
    (report.gas_used, report.mismatches) = (totals.gas_used, totals.mismatches);
    Ok(report)
}
