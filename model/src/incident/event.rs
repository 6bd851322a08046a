//! What can happen to an incident: the vocabulary of its log.
//!
//! In: what detectors, the fork, the chain and people say. Out: [`IncidentEvent`]. The list is closed; a new kind of
//! event is a new version of the log's vocabulary.

use crate::allocation::Allocation;
use crate::finding::Finding;
use crate::incident::Severity;
use crate::plan::{Certainty, Plan, Receipt, Verification};
use crate::remedy::Remedy;
use crate::simulation::Simulation;
use crate::units::{BlockRef, ChainId, FindingId, IncidentId, PlanHash, ProtocolId};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

/// What can happen to an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentEvent {
    /// Opened by a first finding.
    Detected {
        /// Incident.
        incident: IncidentId,
        /// Chain.
        chain_id: ChainId,
        /// Protocol.
        protocol: ProtocolId,
        /// The finding.
        finding: Box<Finding>,
    },
    /// A further finding on the same attack.
    FindingAdded {
        /// The finding.
        finding: Box<Finding>,
    },
    /// The block of a finding left the canonical chain.
    FindingWithdrawn {
        /// Which finding.
        finding: FindingId,
    },
    /// The block of a finding became more certain: what was said of an unconfirmed block is confirmed.
    FindingConfirmed {
        /// Which finding.
        finding: FindingId,
        /// How certain its block is now.
        certainty: Certainty,
    },
    /// Severity was set or raised.
    Triaged {
        /// How bad.
        severity: Severity,
        /// On which grounds.
        rationale: String,
    },
    /// A plan was tried on a fork.
    Simulated {
        /// What the fork said.
        simulation: Box<Simulation>,
    },
    /// Cordon cannot go on by itself: no lever is ready, no option stops the attack, or a step keeps failing.
    NeedsPerson {
        /// Why, for people.
        why: String,
    },
    /// A plan was chosen for execution.
    PlanChosen {
        /// The plan.
        plan: Box<Plan>,
        /// Why this one.
        rationale: String,
    },
    /// Policy or a person allowed the plan; a person may allow what the policy refused.
    PlanApproved {
        /// Which plan.
        plan: PlanHash,
    },
    /// The plan may not be executed; the rule is named.
    PlanRefused {
        /// Which plan.
        plan: PlanHash,
        /// Rule that forbids it.
        rule: String,
    },
    /// A step was mined.
    StepLanded {
        /// Where and how.
        receipt: Receipt,
    },
    /// The block of a step left the canonical chain; the step is open again.
    StepReverted {
        /// Which plan.
        plan: PlanHash,
        /// Which step.
        step: u32,
        /// Block that left.
        block: BlockRef,
    },
    /// A step cannot be sent or is stuck, and a person should look.
    StepHeld {
        /// Which plan.
        plan: PlanHash,
        /// Which step.
        step: u32,
        /// Why, for people.
        why: String,
    },
    /// The effects of a step were asked on chain.
    EffectsChecked {
        /// What was found.
        verification: Verification,
    },
    /// The plan landed without effect, or can never land; another one has to take its place.
    PlanFailed {
        /// Which plan.
        plan: PlanHash,
        /// Why, for people.
        why: String,
    },
    /// Every step of the plan landed and took effect.
    PlanCompleted {
        /// Which plan.
        plan: PlanHash,
    },
    /// The investigation is written.
    Investigated {
        /// Root cause in one sentence.
        root_cause: String,
        /// Value lost, wad.
        loss_wad: U256,
        /// Keccak-256 of the report's JSON.
        report_hash: B256,
    },
    /// A fix was judged.
    RemedyJudged {
        /// The fix and its proof.
        remedy: Box<Remedy>,
    },
    /// Who is owed what is settled.
    AllocationSettled {
        /// The allocation.
        allocation: Box<Allocation>,
        /// Root of its claim tree.
        merkle_root: B256,
    },
    /// A victim was paid.
    ClaimPaid {
        /// Who.
        account: Address,
        /// How much, raw.
        amount_raw: U256,
        /// By which transaction.
        tx_hash: B256,
    },
    /// Not an attack after all.
    FalseAlarm,
    /// Opened again.
    Reopened,
    /// Done.
    Closed,
}

impl IncidentEvent {
    /// The event's name, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Detected { .. } => "detected",
            Self::FindingAdded { .. } => "finding added",
            Self::FindingWithdrawn { .. } => "finding withdrawn",
            Self::FindingConfirmed { .. } => "finding confirmed",
            Self::Triaged { .. } => "triaged",
            Self::Simulated { .. } => "simulated",
            Self::NeedsPerson { .. } => "needs a person",
            Self::PlanChosen { .. } => "plan chosen",
            Self::PlanApproved { .. } => "plan approved",
            Self::PlanRefused { .. } => "plan refused",
            Self::StepLanded { .. } => "step landed",
            Self::StepReverted { .. } => "step reverted",
            Self::StepHeld { .. } => "step held",
            Self::EffectsChecked { .. } => "effects checked",
            Self::PlanFailed { .. } => "plan failed",
            Self::PlanCompleted { .. } => "plan completed",
            Self::Investigated { .. } => "investigated",
            Self::RemedyJudged { .. } => "remedy judged",
            Self::AllocationSettled { .. } => "allocation settled",
            Self::ClaimPaid { .. } => "claim paid",
            Self::FalseAlarm => "false alarm",
            Self::Reopened => "reopened",
            Self::Closed => "closed",
        }
    }
}
