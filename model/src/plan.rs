//! What is to be done on chain, fixed before it is approved.
//!
//! In: a planner's decision. Out: [`Plan`], immutable and named by its hash, so that what was approved is what is
//! sent. A plan leaves no choice to the one who executes it; a change makes another plan.

use crate::execution::ViewCall;
use crate::units::{BlockRef, CapabilityId, ChainId, IncidentId, PlanHash};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Steps to take on one chain for one incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Incident it belongs to.
    pub incident: IncidentId,
    /// What it is for.
    pub purpose: Purpose,
    /// Chain it acts on.
    pub chain_id: ChainId,
    /// One line for people.
    pub title: String,
    /// Lever it pulls, for a containment.
    pub capability: Option<CapabilityId>,
    /// How many plans for this purpose ended before it in the incident: a containment that failed, or was undone, is
    /// done again by another plan with another hash.
    pub attempt: u32,
    /// Steps in order; a step starts when the one before it took effect.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Hash of the plan's canonical text (its JSON with fields in declaration order).
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        let text = serde_json::to_vec(self)
            .expect("a plan holds only strings, numbers and lists, which always serialise");
        PlanHash(keccak256(text))
    }
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Stop the attack.
    Contain,
    /// Remove its cause.
    Eradicate,
    /// Pay the victims back and put the books in order.
    Reimburse,
    /// Open again.
    Reopen,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contain => "containment",
            Self::Eradicate => "fix",
            Self::Reimburse => "reimbursement",
            Self::Reopen => "reopening",
        })
    }
}

/// One transaction of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// One line for people.
    pub name: String,
    /// Account that must send it.
    pub from: Address,
    /// The call itself.
    pub call: Call,
    /// What must hold before it is sent.
    pub preconditions: Vec<Check>,
    /// What must hold after it landed.
    pub effects: Vec<Check>,
    /// How it is undone.
    pub undo: Undo,
}

/// A call or a creation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// Receiver; `None` creates a contract.
    pub to: Option<Address>,
    /// Native coin sent along.
    pub value_wei: U256,
    /// Calldata or init code.
    pub data: Bytes,
}

/// How a step is undone, or why it cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// By this call, sent by this account.
    Call {
        /// Account that may undo it, where it is known.
        from: Option<Address>,
        /// The undoing call.
        call: Call,
    },
    /// Not at all.
    NoUndo {
        /// Why not.
        why: String,
    },
}

/// A condition on chain state that anybody can ask again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// One line for people.
    pub what: String,
    /// The question.
    pub view: ViewCall,
    /// The answer that is wanted.
    pub expect: Expectation,
}

/// The answer that a check wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Exactly this return data.
    Returns(Bytes),
    /// A first word of at least this value.
    AtLeast(U256),
    /// That the call fails.
    Reverts,
}

impl Expectation {
    /// Whether an answer (`None` for a failed call) is the wanted one.
    #[must_use]
    pub fn holds(&self, answer: Option<&Bytes>) -> bool {
        match (self, answer) {
            (Self::Returns(wanted), Some(found)) => wanted == found,
            (Self::AtLeast(least), Some(found)) => {
                crate::execution::word(found).is_some_and(|word| word >= *least)
            }
            (Self::Reverts, found) => found.is_none(),
            (Self::Returns(_) | Self::AtLeast(_), None) => false,
        }
    }
}

/// A step that was mined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Plan.
    pub plan: PlanHash,
    /// Position of the step in the plan.
    pub step: u32,
    /// Transaction that carried it.
    pub tx_hash: B256,
    /// Block that contains it.
    pub block: BlockRef,
    /// Position in the block.
    pub index: u32,
    /// Contract it created, if any.
    pub created: Option<Address>,
    /// Gas used.
    pub gas_used: u64,
    /// Fee paid, wei.
    pub fee_wei: U256,
    /// Whether it succeeded.
    pub success: bool,
}

/// How certain a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The newest block.
    Latest,
    /// Safe head of the consensus layer.
    Safe,
    /// Finalised.
    Finalized,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latest => "latest",
            Self::Safe => "safe",
            Self::Finalized => "finalised",
        })
    }
}

/// The effects of a step, asked again after it landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Plan.
    pub plan: PlanHash,
    /// Position of the step in the plan.
    pub step: u32,
    /// Block on whose state the questions were asked.
    pub block: BlockRef,
    /// How certain that block was.
    pub certainty: Certainty,
    /// Each effect and whether it held.
    pub effects: Vec<(String, bool)>,
}

impl Verification {
    /// True where every effect held; a step without effects proves nothing and does not pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.effects.is_empty() && self.effects.iter().all(|(_, held)| *held)
    }
}
