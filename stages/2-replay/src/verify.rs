//! Replays an archive and counts what agrees, and measures what the facts cost.
//!
//! In: blocks with witnesses. Out: [`Totals`] and a [`BenchReport`]. Parsing is not part of any figure here.

use crate::error::ReplayError;
use crate::inspector::Recorder;
use crate::machine::{self, Machine, Mode};
use crate::protocol::begin_block;
use crate::replay::{BlockReplay, Views, no_views, replay_witness, run_transactions, witness_db};
use crate::rules::BlockRules;
use crate::state::{Db, WitnessState};
use cordon_model::block::Block;
use revm::context::{Context, TxEnv};
use revm::{ExecuteCommitEvm as _, MainBuilder as _, MainContext as _};
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
    pub fn add(&mut self, block: &Block, views: &Views) -> Result<BlockReplay, ReplayError> {
        let started = Instant::now();
        let replayed = replay_witness(block, views)?;
        self.elapsed_ns = self.elapsed_ns.saturating_add(nanoseconds(started.elapsed()));
        self.blocks = self.blocks.saturating_add(1);
        self.transactions = self.transactions.saturating_add(count(replayed.executions.len()));
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
    mut on_block: impl FnMut(&Block, &BlockReplay, Duration),
) -> Result<Totals, ReplayError> {
    let mut totals = Totals::default();
    let views = no_views();
    for block in blocks {
        let before_ns = totals.elapsed_ns;
        let replayed = totals.add(&block, &views)?;
        on_block(&block, &replayed, Duration::from_nanos(totals.elapsed_ns.saturating_sub(before_ns)));
    }
    Ok(totals)
}

/// Cost of the facts: our replay against the bare EVM on the same blocks, in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchReport {
    /// Blocks per round.
    pub blocks: u64,
    /// Transactions per round.
    pub transactions: u64,
    /// Gas per round.
    pub gas_used: u64,
    /// Rounds measured.
    pub rounds: u32,
    /// Median time of a round of the bare EVM, in nanoseconds.
    pub bare_ns: u64,
    /// Median time of a round of our replay with all facts, in nanoseconds.
    pub replay_ns: u64,
    /// Median over rounds of our time divided by the bare time of the same round, in thousandths.
    pub ratio_permille: u64,
}

impl BenchReport {
    /// Million gas per second of the bare EVM, rounded down.
    #[must_use]
    pub fn bare_mgas_per_s(&self) -> u64 {
        mgas_per_s(self.gas_used, self.bare_ns)
    }

    /// Million gas per second of our replay, rounded down.
    #[must_use]
    pub fn replay_mgas_per_s(&self) -> u64 {
        mgas_per_s(self.gas_used, self.replay_ns)
    }
}

/// A block ready to run any number of times.
struct Prepared<'a> {
    block: &'a Block,
    rules: BlockRules,
    db: Db,
    txs: Vec<TxEnv>,
}

/// Measures both, block by block in turn, `rounds` times after one round that is not counted. Preparing and copying
/// state, and freeing results, is outside the measured parts.
///
/// # Errors
/// [`ReplayError`] where a block has no witness, or where either execution does not reach the gas of the header: a
/// fast wrong answer is no measurement.
pub fn bench(blocks: &[Block], rounds: u32) -> Result<BenchReport, ReplayError> {
    crate::machine::warm_up();
    let prepared: Vec<Prepared<'_>> = blocks.iter().map(prepare).collect::<Result<_, _>>()?;
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (mut bare_ns, mut ours_ns) = (0u64, 0u64);
        for block in &prepared {
            // Whoever runs second finds warm caches, so the order alternates.
            if round % 2 == 0 {
                bare_ns = bare_ns.saturating_add(run_bare(block)?);
                ours_ns = ours_ns.saturating_add(run_ours(block)?);
            } else {
                ours_ns = ours_ns.saturating_add(run_ours(block)?);
                bare_ns = bare_ns.saturating_add(run_bare(block)?);
            }
        }
        if round > 0 {
            bare.push(bare_ns);
            ours.push(ours_ns);
            ratios.push(ours_ns.saturating_mul(1_000).checked_div(bare_ns).unwrap_or(0));
        }
    }
    Ok(BenchReport {
        blocks: count(blocks.len()),
        transactions: count(blocks.iter().map(|block| block.transactions.len()).sum()),
        gas_used: blocks.iter().map(|block| block.gas_used).sum(),
        rounds,
        bare_ns: median(bare),
        replay_ns: median(ours),
        ratio_permille: median(ratios),
    })
}

fn prepare(block: &Block) -> Result<Prepared<'_>, ReplayError> {
    let witness = block.witness.as_ref().ok_or(ReplayError::NoState { number: block.number })?;
    let (_, rules) = witness_db(block)?;
    let db = WitnessState::new(witness.clone()).preloaded()?;
    let mut machine = Machine::new(db, machine::block_env(block, &rules), &rules, Mode::Mined);
    begin_block(&mut machine, block, &rules)?;
    let txs = block.transactions.iter().map(machine::tx_env).collect();
    Ok(Prepared { block, rules, db: machine.into_db(), txs })
}

fn run_bare(prepared: &Prepared<'_>) -> Result<u64, ReplayError> {
    let (db, txs) = (prepared.db.clone(), prepared.txs.clone());
    let mut evm = Context::mainnet()
        .with_db(db)
        .with_cfg(machine::configuration(&prepared.rules, Mode::Mined))
        .with_block(machine::block_env(prepared.block, &prepared.rules))
        .build_mainnet_with_inspector(Recorder::default());
    let mut results = Vec::with_capacity(txs.len());
    let started = Instant::now();
    for tx in txs {
        results.push(evm.transact_commit(tx));
    }
    let elapsed_ns = nanoseconds(started.elapsed());
    let mut gas_used = 0u64;
    for (result, transaction) in results.into_iter().zip(&prepared.block.transactions) {
        let result = result.map_err(|error| machine::evm_error(transaction.hash, error))?;
        gas_used = gas_used.saturating_add(result.tx_gas_used());
    }
    same_gas(prepared.block, gas_used)?;
    Ok(elapsed_ns)
}

fn run_ours(prepared: &Prepared<'_>) -> Result<u64, ReplayError> {
    let env = machine::block_env(prepared.block, &prepared.rules);
    let mut machine = Machine::new(prepared.db.clone(), env, &prepared.rules, Mode::Mined);
    let views = no_views();
    let started = Instant::now();
    let replayed = run_transactions(&mut machine, prepared.block, &prepared.rules, &views)?;
    let elapsed_ns = nanoseconds(started.elapsed());
    same_gas(prepared.block, replayed.gas_used)?;
    Ok(elapsed_ns)
}

fn same_gas(block: &Block, gas_used: u64) -> Result<(), ReplayError> {
    if gas_used == block.gas_used {
        return Ok(());
    }
    Err(ReplayError::Evm {
        tx_hash: Default::default(),
        reason: format!("block {}: gas used {gas_used}, header states {}", block.number, block.gas_used),
    })
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
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
