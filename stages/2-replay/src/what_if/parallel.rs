//! Many what-ifs at once: each plan and its transactions on a branch of its own, several branches at a time.
//!
//! In: a fork and cases. Out: what each case came to, in the order of the cases. Must never: let one case see another,
//! or start more threads than its bound.

use super::Fork;
use crate::error::ReplayError;
use crate::watch::{Views, no_views};
use alloy_primitives::Address;
use cordon_model::block::Transaction;
use cordon_model::execution::{Detail, Execution};
use cordon_model::plan::Call;
use futures::StreamExt as _;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// Most cases that run at the same time. A case keeps one core busy, or waits for the node, which hardly answers more
/// than this many at once; beyond, threads of the runtime would only lie idle.
pub const MAX_WHAT_IF_THREADS: usize = 16;

/// One question "what if": a plan's calls, and then transactions that were mined or are pending.
#[derive(Clone)]
pub struct Case {
    /// Calls in order, each with its sender. A call that fails does not end the case; its execution says so.
    pub plan: Vec<(Address, Call)>,
    /// Transactions after the plan, in order.
    pub transactions: Vec<Transaction>,
    /// Views to ask about each transaction.
    pub views: Views,
}

impl Case {
    /// A case that asks no views.
    #[must_use]
    pub fn new(plan: Vec<(Address, Call)>, transactions: Vec<Transaction>) -> Self {
        Self { plan, transactions, views: no_views() }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("plan", &self.plan)
            .field("transactions", &self.transactions)
            .finish_non_exhaustive()
    }
}

/// What a case came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One execution per call of the plan.
    pub plan: Vec<Execution>,
    /// One execution per transaction.
    pub transactions: Vec<Execution>,
    /// The state after the case, for further questions.
    pub after: Fork,
}

/// Runs every case on a branch of its own, as many at once as there are cores (at most [`MAX_WHAT_IF_THREADS`]). What
/// one branch reads from the node serves all others. The base stays as it is; results are in the order of the cases.
pub async fn what_if(base: &Fork, cases: Vec<Case>) -> Vec<Result<Outcome, ReplayError>> {
    what_if_on(base, cases, available_parallelism().unwrap_or(NonZeroUsize::MIN)).await
}

/// The same on a given number of threads, at most [`MAX_WHAT_IF_THREADS`].
pub async fn what_if_on(
    base: &Fork,
    cases: Vec<Case>,
    threads: NonZeroUsize,
) -> Vec<Result<Outcome, ReplayError>> {
    futures::stream::iter(cases)
        .map(|case| run(base.branch(), case))
        .buffered(threads.get().min(MAX_WHAT_IF_THREADS))
        .collect()
        .await
}

/// Runs a case on a thread that may block, in one go.
async fn run(branch: Fork, case: Case) -> Result<Outcome, ReplayError> {
    let (plan, transactions) = branch
        .job(move |inner| {
            let mut plan = Vec::with_capacity(case.plan.len());
            for (from, call) in case.plan {
                let transaction = inner.synthetic(from, call);
                plan.push(inner.execute(transaction, &no_views(), Detail::Watch)?);
            }
            let mut transactions = Vec::with_capacity(case.transactions.len());
            for transaction in case.transactions {
                transactions.push(inner.execute(transaction, &case.views, Detail::Watch)?);
            }
            Ok((plan, transactions))
        })
        .await?;
    Ok(Outcome { plan, transactions, after: branch })
}
