//! `cordon bench forks` and `cordon bench cold`: what a fork costs, how many what-ifs fit into a second, and what reading
//! a chain's state from a node takes.
//!
//! In: an archived block, or a node and a range of its blocks. Out: counts, and times of one run. Counts are exact and
//! repeat; times are of this machine and moment. Must never: compare a guess with a copy that was made in another run.

use crate::error::EngineError;
use crate::node;
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, Archive, ChainSource, JsonRpc, StartAt};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_replay::measure::{cold, what_if};
use cordon_replay::{ReadAhead, Rules};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

/// Accounts and slots of the state that is forked: what some hundred blocks leave behind.
const FORKED: (u32, u32) = (10_000, 100_000);
/// Times that each kind of fork is taken; the median counts.
const FORK_ROUNDS: u32 = 51;
/// Plans that are tried, each against every transaction of the block.
const PLANS: usize = 64;

/// Cost of forks, and throughput of what-ifs.
#[derive(Debug, Clone, Serialize)]
pub struct ForkReport {
    /// Accounts and slots of the state that was forked.
    pub accounts: u64,
    /// Slots.
    pub slots: u64,
    /// A branch, nanoseconds.
    pub branch_ns: u64,
    /// A branch of a branch that was written to, nanoseconds.
    pub branch_after_write_ns: u64,
    /// A deep copy of the same state, nanoseconds.
    pub copy_ns: u64,
    /// Block whose transactions were tried.
    pub block: u64,
    /// Throughput on one thread and on all.
    pub what_if: Vec<WhatIfReport>,
}

/// Throughput of what-ifs.
#[derive(Debug, Clone, Serialize)]
pub struct WhatIfReport {
    /// Threads.
    pub threads: u64,
    /// Plans tried.
    pub plans: u64,
    /// Transactions tried with each plan.
    pub transactions: u64,
    /// Plans times transactions per second.
    pub transactions_per_s: u64,
}

/// What reading state took for a range of blocks.
#[derive(Debug, Clone, Serialize)]
pub struct ColdReport {
    /// How much was read ahead.
    pub read_ahead: &'static str,
    /// Blocks.
    pub blocks: u64,
    /// Transactions.
    pub transactions: u64,
    /// Differences from headers and receipts.
    pub mismatches: u64,
    /// Values that nobody knew before, per block.
    pub cold_reads_per_block: u64,
    /// Waits for the node, per thousand transactions.
    pub round_trips_per_1000_transactions: u64,
    /// Values that were known when the EVM asked, in thousandths.
    pub hit_permille: u64,
    /// Values that came from earlier blocks' own results, in thousandths.
    pub carried_permille: u64,
    /// Time of all blocks, nanoseconds.
    pub elapsed_ns: u64,
}

/// Measures forks and what-ifs on the largest block under `path`.
///
/// # Errors
/// A file that cannot be read, or a block that cannot be executed.
pub async fn forks(path: &Path) -> Result<ForkReport, EngineError> {
    let block = largest(path)?;
    let cost = what_if::fork_cost(FORKED.0, FORKED.1, FORK_ROUNDS).await?;
    let all = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut what_ifs = Vec::new();
    for threads in [NonZeroUsize::MIN, all] {
        let done = what_if::throughput(&block, PLANS, threads).await?;
        let transactions_per_s = done.transactions_per_s();
        let what_if::Throughput { threads, plans, transactions, .. } = done;
        what_ifs.push(WhatIfReport { threads, plans, transactions, transactions_per_s });
    }
    Ok(ForkReport {
        accounts: cost.accounts,
        slots: cost.slots,
        branch_ns: cost.branch_ns,
        branch_after_write_ns: cost.branch_after_write_ns,
        copy_ns: cost.copy_ns,
        block: block.number,
        what_if: what_ifs,
    })
}

fn largest(path: &Path) -> Result<Block, EngineError> {
    let archive = Archive::open(path).map_err(EngineError::Archive)?;
    let mut largest: Option<Block> = None;
    for block in archive.blocks() {
        let block = block.map_err(EngineError::Archive)?;
        if largest.as_ref().is_none_or(|known| known.transactions.len() < block.transactions.len()) {
            largest = Some(block);
        }
    }
    largest.ok_or_else(|| EngineError::NoBlocks { path: path.to_owned(), skipped: archive.skipped() })
}

/// Replays a range of a node's blocks from nothing, once for each depth of reading ahead.
///
/// # Errors
/// A node that does not answer or lacks the state, or a range that it does not have.
pub async fn cold_reads(
    rpc: &str,
    hardfork: Option<&str>,
    range: RangeInclusive<u64>,
) -> Result<Vec<ColdReport>, EngineError> {
    let (provider, chain_id) = node::connect(rpc).await?;
    let rules = Rules::new(chain_id, hardfork).map_err(cordon_replay::ReplayError::from)?;
    let config = json_rpc::Config {
        start: StartAt::Block(*range.start()),
        end: Some(*range.end()),
        ..json_rpc::Config::new(chain_id)
    };
    let mut source = JsonRpc::from_provider(provider.clone(), config);
    let (mut cursor, mut blocks) = (Cursor::new(chain_id), Vec::new());
    while let Advance::Update(ChainUpdate::Applied(block)) = source.advance(&cursor).await? {
        cursor.push(block.block_ref());
        blocks.push(Arc::new(*block));
    }
    let mut reports = Vec::new();
    for (depth, name) in
        [(ReadAhead::Off, "off"), (ReadAhead::Named, "named"), (ReadAhead::Guessed, "guessed")]
    {
        let total = cold::cold(provider.clone(), rules.clone(), &blocks, depth).await?.total();
        reports.push(ColdReport {
            read_ahead: name,
            blocks: total.blocks,
            transactions: total.transactions,
            mismatches: total.mismatches,
            cold_reads_per_block: total.cold_reads_per_block(),
            round_trips_per_1000_transactions: total.round_trips_per_1000_transactions(),
            hit_permille: total.hit_permille(),
            carried_permille: total.carried_permille(),
            elapsed_ns: total.elapsed_ns,
        });
    }
    Ok(reports)
}
