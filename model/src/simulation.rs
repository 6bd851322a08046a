//! What a fork said about a plan before it was sent.
//!
//! In: replayed transactions with and without the plan's calls. Out: [`Simulation`]. Only a replay of the attack
//! counts as proof of containment: a flag that reads "paused" does not.

use crate::plan::Plan;
use crate::units::{BlockRef, FindingId};
use alloy_primitives::{Address, B256, Selector, U256};
use serde::{Deserialize, Serialize};

/// A plan tried on a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// The plan that was tried.
    pub plan: Plan,
    /// Newest block of the state it was tried on.
    pub head: BlockRef,
    /// Findings that stood for the attack when it was tried; a later finding asks for another trial.
    pub covers: Vec<FindingId>,
    /// Whether every call of the plan succeeded, and the reason where one did not.
    pub plan_error: Option<String>,
    /// The attack's transactions, each with and without the plan.
    pub attack: Vec<AttackTrial>,
    /// Honest transactions, each with and without the plan.
    pub honest: Vec<HonestTrial>,
}

impl Simulation {
    /// True where the plan could be executed and every trial that did harm without it does none with it, and at
    /// least one trial did harm without it: an attack that fails anyway proves nothing.
    #[must_use]
    pub fn contains_attack(&self) -> bool {
        let harmful = self.attack.iter().filter(|trial| trial.without.is_harmful()).count();
        self.plan_error.is_none() && harmful > 0 && self.attack.iter().all(|trial| !trial.with.is_harmful())
    }

    /// Number of honest transactions that work without the plan and fail with it.
    #[must_use]
    pub fn honest_broken(&self) -> usize {
        self.honest.iter().filter(|trial| trial.works_without && !trial.works_with).count()
    }
}

/// Where the attack was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// On the state just before the attack first ran.
    BeforeAttack,
    /// On the newest state: the attack run once more.
    Head,
}

/// One attack transaction, replayed twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackTrial {
    /// The transaction.
    pub tx_hash: B256,
    /// State on which it was replayed.
    pub ground: Ground,
    /// Outcome without the plan.
    pub without: TrialOutcome,
    /// Outcome with the plan.
    pub with: TrialOutcome,
}

/// What a replayed attack transaction did to the protected system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialOutcome {
    /// Whether it ran to its end.
    pub success: bool,
    /// Value that the protected system lost, wad.
    pub loss_wad: U256,
    /// Revert reason or halt, for people.
    pub error: Option<String>,
}

impl TrialOutcome {
    /// True where it took something.
    #[must_use]
    pub fn is_harmful(&self) -> bool {
        self.success && !self.loss_wad.is_zero()
    }
}

/// One honest transaction, replayed twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HonestTrial {
    /// The transaction.
    pub tx_hash: B256,
    /// Its sender.
    pub from: Address,
    /// Contract it called.
    pub to: Option<Address>,
    /// Function it called.
    pub selector: Option<Selector>,
    /// Whether it works without the plan.
    pub works_without: bool,
    /// Whether it works with the plan.
    pub works_with: bool,
}
