//! What a fork costs, and how many plans can be tried in a second.
//!
//! In: sizes, or a block with its witness. Out: times in nanoseconds, and sums. Must never: compare two ways of forking
//! that do not give the same state.

use super::{count, median, nanoseconds};
use crate::error::ReplayError;
use crate::rules::Rules;
use crate::state::{Db, Source, WitnessState};
use crate::what_if::{Case, Fork, what_if_on};
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::block::{Block, Witness};
use cordon_model::plan::Call;
use cordon_model::units::{BlockRef, ChainId};
use revm::context::BlockEnv;
use revm::database::CacheDB;
use revm::state::AccountInfo;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

/// Branches per sample: one takes less than reading the clock, a thousand take long enough.
const BRANCHES: u32 = 1_000;

/// Cost of taking a branch of a large state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkCost {
    /// Accounts written in the state.
    pub accounts: u64,
    /// Slots written in the state, spread over the accounts.
    pub slots: u64,
    /// Samples of which each figure is the median.
    pub rounds: u32,
    /// The first branch, which shares what was private before, in nanoseconds.
    pub first_branch_ns: u64,
    /// Every further branch, in nanoseconds.
    pub branch_ns: u64,
    /// A branch after one more slot was written, in nanoseconds.
    pub branch_after_write_ns: u64,
    /// A deep copy of the same state, in nanoseconds.
    pub copy_ns: u64,
}

/// Measures branches of a state with so many accounts and slots, `rounds` times each.
///
/// # Errors
/// [`ReplayError`] where there is no runtime.
pub async fn fork_cost(accounts: u32, slots: u32, rounds: u32) -> Result<ForkCost, ReplayError> {
    let state = state(accounts, slots)?;
    let (mut first, mut further, mut written, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        let started = Instant::now();
        let copy = state.clone();
        copies.push(nanoseconds(started.elapsed()));
        let mut fork = fork(copy)?;

        let started = Instant::now();
        let branch = fork.branch();
        first.push(nanoseconds(started.elapsed()));
        drop(branch);

        let started = Instant::now();
        let branches: Vec<Fork> = (0..BRANCHES).map(|_| fork.branch()).collect();
        further.push(nanoseconds(started.elapsed()) / u64::from(BRANCHES));

        fork.set_storage(address(0), U256::from(round), U256::from(round)).await?;
        let started = Instant::now();
        let branch = fork.branch();
        written.push(nanoseconds(started.elapsed()));
        drop((branch, branches));
    }
    Ok(ForkCost {
        accounts: u64::from(accounts),
        slots: u64::from(slots),
        rounds: rounds.max(1),
        first_branch_ns: median(first),
        branch_ns: median(further),
        branch_after_write_ns: median(written),
        copy_ns: median(copies),
    })
}

fn address(n: u32) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn state(accounts: u32, slots: u32) -> Result<Db, ReplayError> {
    let witness = WitnessState::new(Arc::new(Witness::default()));
    let mut db = CacheDB::new(Source::Witness(witness));
    for n in 0..accounts {
        db.insert_account_info(address(n), AccountInfo::from_balance(U256::from(n)));
    }
    for n in 0..slots {
        let owner = address(n.checked_rem(accounts).unwrap_or(0));
        db.insert_account_storage(owner, U256::from(n), U256::from(n))?;
    }
    Ok(db)
}

fn fork(db: Db) -> Result<Fork, ReplayError> {
    let rules = Rules::new(ChainId(1), Some("osaka"))?.resolve(0, 0);
    Ok(Fork::from_parts(db, BlockEnv::default(), rules, BlockRef { number: 0, hash: B256::ZERO }, 0))
}

/// How fast plans were tried against transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// Cases that ran at the same time.
    pub threads: u64,
    /// Plans that were tried, each on a branch of its own.
    pub plans: u64,
    /// Transactions that were replayed after each plan.
    pub transactions: u64,
    /// Gas of the transactions of one plan.
    pub gas_used: u64,
    /// Time for all of it, in nanoseconds.
    pub elapsed_ns: u64,
}

impl Throughput {
    /// Transactions replayed per second, over all plans.
    #[must_use]
    pub fn transactions_per_s(&self) -> u64 {
        let all = u128::from(self.plans).saturating_mul(u128::from(self.transactions));
        let per_s = all.saturating_mul(1_000_000_000).checked_div(u128::from(self.elapsed_ns));
        per_s.map_or(0, |per_s| u64::try_from(per_s).unwrap_or(u64::MAX))
    }
}

/// Tries a plan of one call so many times, each time with all transactions of the block after it, on a number of
/// threads (at most [`MAX_WHAT_IF_THREADS`](crate::MAX_WHAT_IF_THREADS)).
///
/// # Errors
/// [`ReplayError`] where the block has no witness, or where two branches come to different gas.
pub async fn throughput(
    block: &Block,
    plans: usize,
    threads: NonZeroUsize,
) -> Result<Throughput, ReplayError> {
    let base = Fork::on_witness(block)?;
    let plan = block.transactions.first().map(|transaction| {
        let call = Call { to: Some(transaction.from), value_wei: U256::ZERO, data: Default::default() };
        (transaction.from, call)
    });
    let case = Case::new(plan.into_iter().collect(), block.transactions.clone());
    let gas_used = gas_of(what_if_on(&base, vec![case.clone()], threads).await, None)?;
    let cases = vec![case; plans];
    let started = Instant::now();
    let outcomes = what_if_on(&base, cases, threads).await;
    let elapsed_ns = nanoseconds(started.elapsed());
    gas_of(outcomes, Some(gas_used))?;
    Ok(Throughput {
        threads: count(threads.get().min(crate::MAX_WHAT_IF_THREADS)),
        plans: count(plans),
        transactions: count(block.transactions.len()),
        gas_used,
        elapsed_ns,
    })
}

/// Gas of every outcome's transactions, which must be the same.
fn gas_of(
    outcomes: Vec<Result<crate::what_if::Outcome, ReplayError>>,
    mut expected: Option<u64>,
) -> Result<u64, ReplayError> {
    for outcome in outcomes {
        let gas_used = outcome?.transactions.iter().map(|execution| execution.gas_used).sum();
        if *expected.get_or_insert(gas_used) != gas_used {
            let reason = format!("branches of one state used {gas_used} and {expected:?} gas");
            return Err(ReplayError::Evm { tx_hash: B256::ZERO, reason });
        }
    }
    Ok(expected.unwrap_or(0))
}
