//! "What if": plans tried on forks before anything is sent.
//!
//! In: a plan, the attack's transactions, honest ones. Out: a [`Simulation`]. The attack is replayed on the state just
//! before it first ran and once more on the newest state, each time with and without the plan; honest transactions
//! are replayed on the newest state with and without it. Must never send anything.

use crate::error::EngineError;
use crate::history::History;
use alloy_primitives::U256;
use alloy_provider::DynProvider;
use cordon_detect::DetectorSet;
use cordon_investigate::{Interfaces, Labels};
use cordon_model::block::{Block, Transaction};
use cordon_model::execution::{Execution, Status};
use cordon_model::plan::Plan;
use cordon_model::protocol::Protocol;
use cordon_model::simulation::{AttackTrial, Ground, HonestTrial, Simulation, TrialOutcome};
use cordon_model::units::TxRef;
use cordon_replay::{Fork, Rules, Views, no_views};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most attack transactions that are replayed for one simulation, oldest first. The first ones show what the attack
/// is; each costs four executions, and containment must not wait for the thirtieth.
const ATTACK_TRIALS_MAX: usize = 3;

/// Most honest transactions that are replayed for one simulation, newest first: enough to meet every common function,
/// few enough to take milliseconds.
const HONEST_TRIALS_MAX: usize = 40;

/// Everything that a trial needs to know.
#[derive(Debug)]
pub(crate) struct Trials<'a> {
    pub(crate) provider: &'a DynProvider,
    pub(crate) rules: &'a Rules,
    pub(crate) detectors: &'a Arc<DetectorSet>,
    pub(crate) protocol: &'a Protocol,
    pub(crate) history: &'a History,
    pub(crate) interfaces: &'a Interfaces,
    pub(crate) labels: Labels,
}

impl Trials<'_> {
    /// Tries a plan against the attack and against honest use.
    pub(crate) async fn simulate(
        &self,
        plan: Plan,
        head: &Block,
        attack: &[TxRef],
    ) -> Result<Simulation, EngineError> {
        let suspects: BTreeSet<TxRef> = attack.iter().copied().collect();
        let current = self.fork(head)?;
        let mut planned = current.branch();
        let plan_error = self.apply(&mut planned, &plan).await?;
        let mut trials = Vec::new();
        for tx in attack.iter().take(ATTACK_TRIALS_MAX) {
            trials.extend(self.before(tx, &plan).await?);
        }
        if let Some(transaction) = attack.last().and_then(|tx| self.transaction(tx)) {
            trials.push(self.attack_trial(Ground::Head, &transaction, &current, &planned).await?);
        }
        let mut honest = Vec::new();
        for execution in self.history.honest(&suspects, u64::MAX, HONEST_TRIALS_MAX) {
            honest.push(honest_trial(&execution.transaction, &current, &planned).await?);
        }
        Ok(Simulation {
            plan,
            head: head.block_ref(),
            covers: Vec::new(),
            plan_error,
            attack: trials,
            honest,
        })
    }

    /// A fork of the state after a block.
    pub(crate) fn fork(&self, block: &Block) -> Result<Fork, EngineError> {
        Ok(Fork::at_node(self.provider.clone(), self.rules, block)?)
    }

    /// A fork of the state just before a transaction, its block's earlier transactions applied; `None` where the
    /// block is no longer held.
    pub(crate) async fn fork_before(&self, tx: &TxRef) -> Result<Option<Fork>, EngineError> {
        let Some(block) = self.history.block(tx.block) else { return Ok(None) };
        let provider = Some(self.provider.clone());
        Ok(Some(Fork::before(provider, self.rules, Arc::clone(block), tx.index).await?))
    }

    /// The transaction as it was mined, if its block is still held.
    pub(crate) fn transaction(&self, tx: &TxRef) -> Option<Transaction> {
        let block = self.history.block(tx.block)?;
        block.transactions.get(usize::try_from(tx.index).ok()?).cloned()
    }

    async fn before(&self, tx: &TxRef, plan: &Plan) -> Result<Option<AttackTrial>, EngineError> {
        let (Some(transaction), Some(fork)) = (self.transaction(tx), self.fork_before(tx).await?) else {
            return Ok(None);
        };
        let mut planned = fork.branch();
        // The authority may not have been able to act back then; a plan that fails there proves nothing there.
        if self.apply(&mut planned, plan).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(self.attack_trial(Ground::BeforeAttack, &transaction, &fork, &planned).await?))
    }

    /// One attack transaction on two grounds.
    pub(crate) async fn attack_trial(
        &self,
        ground: Ground,
        transaction: &Transaction,
        without: &Fork,
        with: &Fork,
    ) -> Result<AttackTrial, EngineError> {
        let without = self.outcome(transaction, without).await?;
        let with = self.outcome(transaction, with).await?;
        Ok(AttackTrial { tx_hash: transaction.hash, ground, without, with })
    }

    pub(crate) async fn outcome(
        &self,
        transaction: &Transaction,
        on: &Fork,
    ) -> Result<TrialOutcome, EngineError> {
        let execution = on.branch().transaction(transaction, self.views()).await?;
        let success = execution.status.is_success();
        let loss_wad = if success { cordon_detect::loss_wad(self.protocol, &execution) } else { U256::ZERO };
        Ok(TrialOutcome { success, loss_wad, error: self.failure(&execution) })
    }

    /// Runs a plan's calls on a fork; the answer names the step that failed and why, where one did.
    pub(crate) async fn apply(&self, fork: &mut Fork, plan: &Plan) -> Result<Option<String>, EngineError> {
        for step in &plan.steps {
            let execution = fork.call(step.from, &step.call).await?;
            if let Some(reason) = self.failure(&execution) {
                return Ok(Some(format!("step '{}' fails: {reason}", step.name)));
            }
        }
        Ok(None)
    }

    /// Why an execution failed, for people; `None` where it succeeded.
    pub(crate) fn failure(&self, execution: &Execution) -> Option<String> {
        match &execution.status {
            Status::Success => None,
            Status::Revert { output } => Some(self.interfaces.reason(output, &self.labels)),
            Status::Halt { reason } => Some(reason.clone()),
        }
    }

    pub(crate) fn views(&self) -> Views {
        views(self.detectors)
    }
}

/// The questions of all detectors.
pub(crate) fn views(detectors: &Arc<DetectorSet>) -> Views {
    let detectors = Arc::clone(detectors);
    Arc::new(move |execution: &Execution| detectors.views(execution))
}

async fn honest_trial(
    transaction: &Transaction,
    without: &Fork,
    with: &Fork,
) -> Result<HonestTrial, EngineError> {
    let works_without = without.branch().transaction(transaction, no_views()).await?.status.is_success();
    let works_with =
        works_without && with.branch().transaction(transaction, no_views()).await?.status.is_success();
    let selector =
        transaction.input.get(..4).and_then(|bytes| alloy_primitives::Selector::try_from(bytes).ok());
    let (tx_hash, from, to) = (transaction.hash, transaction.from, transaction.to);
    Ok(HonestTrial { tx_hash, from, to, selector, works_without, works_with })
}
