//! Blocks made ready to be executed again and again, so that the cost of facts can be measured against the bare EVM.
//!
//! In: a block with its witness. Out: how long one execution of it took. Preparing and copying state, and freeing the
//! executions that are handed out, are outside of what is measured. Must never: hand out the time of an execution that did
//! not reach the gas of the header; a fast wrong answer is no measurement.

use crate::block_run::{BlockReplay, BlockRun, run_transactions};
use crate::error::ReplayError;
use crate::machine::{self, Machine, Mode};
use crate::protocol::begin_block;
use crate::replay::witness_db;
use crate::rules::BlockRules;
use crate::state::{Db, WitnessState};
use crate::watch::Watch;
use cordon_model::block::Block;
use revm::ExecuteCommitEvm as _;
use revm::context::TxEnv;
use std::sync::Arc;

/// A block ready to run any number of times: all state in memory, codes analysed, the protocol's own calls done.
#[derive(Debug)]
pub struct Prepared {
    block: Arc<Block>,
    rules: BlockRules,
    db: Db,
    txs: Vec<TxEnv>,
}

/// One execution of all transactions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lap {
    /// Time that this thread spent computing, in nanoseconds.
    pub cpu_ns: u64,
}

impl Lap {
    /// The time that this thread spends on `work`, with its result.
    pub fn of<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let started = clock_ns();
        let result = work();
        (Self { cpu_ns: clock_ns().saturating_sub(started) }, result)
    }
}

impl Prepared {
    /// Makes a block ready.
    ///
    /// # Errors
    /// [`ReplayError`] where the block has no witness, or one with a gap or unknown rules.
    pub fn new(block: Arc<Block>) -> Result<Self, ReplayError> {
        let witness = block.witness.as_ref().ok_or(ReplayError::NoState { number: block.number })?;
        let (_, rules) = witness_db(&block)?;
        let db = WitnessState::new(witness.clone()).preloaded()?;
        let mut machine = Machine::new(db, machine::block_env(&block, &rules), &rules, Mode::Mined);
        begin_block(&mut machine, &block, &rules)?;
        let txs = block.transactions.iter().map(machine::tx_env).collect();
        let db = machine.into_db();
        Ok(Self { block, rules, db, txs })
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// revm as it is: each transaction executed and committed, nothing else.
    ///
    /// # Errors
    /// [`ReplayError`] where a transaction cannot be executed, or the gas differs from the header's.
    pub fn bare(&self) -> Result<Lap, ReplayError> {
        let (db, txs) = (self.db.clone(), self.txs.clone());
        let cfg = machine::configuration(&self.rules, Mode::Mined);
        let mut evm = machine::plain_evm(db, machine::block_env(&self.block, &self.rules), cfg, &self.rules);
        let mut gas_used = 0u64;
        let started = clock_ns();
        for (tx, transaction) in txs.into_iter().zip(&self.block.transactions) {
            let result =
                evm.transact_commit(tx).map_err(|error| machine::evm_error(transaction.hash, error))?;
            gas_used = gas_used.saturating_add(result.tx_gas_used());
        }
        let cpu_ns = clock_ns().saturating_sub(started);
        self.same_gas(gas_used)?;
        Ok(Lap { cpu_ns })
    }

    /// Our replay, comparison with receipts and header included.
    ///
    /// # Errors
    /// As [`Self::bare`].
    pub fn watched(&self, watch: &Watch) -> Result<(Lap, BlockReplay), ReplayError> {
        let mut machine = self.machine();
        let started = clock_ns();
        let replay = run_transactions(&mut machine, &self.block, &self.rules, watch)?;
        let cpu_ns = clock_ns().saturating_sub(started);
        self.same_gas(replay.gas_used)?;
        Ok((Lap { cpu_ns }, replay))
    }

    /// Our replay with the time of every single transaction.
    ///
    /// # Errors
    /// As [`Self::bare`].
    pub fn each(&self, watch: &Watch) -> Result<Vec<Lap>, ReplayError> {
        let mut machine = self.machine();
        let mut run = BlockRun::new(&mut machine, &self.block, &self.rules, watch);
        let mut laps = Vec::with_capacity(self.txs.len());
        for (index, transaction) in (0u32..).zip(&self.block.transactions) {
            let started = clock_ns();
            run.transaction(index, transaction)?;
            laps.push(Lap { cpu_ns: clock_ns().saturating_sub(started) });
        }
        self.same_gas(run.finish().gas_used)?;
        Ok(laps)
    }

    fn machine(&self) -> Machine {
        let env = machine::block_env(&self.block, &self.rules);
        Machine::new(self.db.clone(), env, &self.rules, Mode::Mined)
    }

    fn same_gas(&self, gas_used: u64) -> Result<(), ReplayError> {
        if gas_used == self.block.gas_used {
            return Ok(());
        }
        let (number, stated) = (self.block.number, self.block.gas_used);
        Err(ReplayError::Evm {
            tx_hash: Default::default(),
            reason: format!("block {number}: gas used {gas_used}, header states {stated}"),
        })
    }
}

/// Time that this thread has spent computing, in nanoseconds: what other programs do on the machine does not count.
#[cfg(unix)]
fn clock_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// Time since the first call, in nanoseconds, where the system has no clock for threads.
#[cfg(not(unix))]
fn clock_ns() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
