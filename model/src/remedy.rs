//! A fix and its proof.
//!
//! In: a candidate implementation, the live one, the attack, and honest history. Out: [`Remedy`], either proven
//! (with a plan) or refused with every rule that it broke.

use crate::plan::Plan;
use crate::simulation::AttackTrial;
use crate::units::IncidentId;
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A judged fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Incident it is for.
    pub incident: IncidentId,
    /// Name of the candidate contract.
    pub candidate: String,
    /// Hash of the candidate's init code.
    pub init_code_hash: B256,
    /// Proxy to upgrade.
    pub proxy: Address,
    /// Verdict.
    pub verdict: Verdict,
    /// Storage layout findings, harmless ones included.
    pub layout: Vec<LayoutChange>,
    /// Attack transactions, each with the live and with the fixed code.
    pub attack: Vec<AttackTrial>,
    /// Honest transactions that behave differently with the fixed code.
    pub honest_differences: Vec<HonestDifference>,
    /// Number of honest transactions replayed.
    pub honest_replayed: usize,
    /// The upgrade, where the fix is proven.
    pub plan: Option<Plan>,
}

/// Whether a fix is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every rule held.
    Proven,
    /// These rules were broken.
    Refused(Vec<RemedyRule>),
}

/// Rules that a fix must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemedyRule {
    /// The storage layout stays compatible with the live one.
    LayoutCompatible,
    /// The upgrade itself succeeds on a fork.
    UpgradeSucceeds,
    /// The attack, replayed on the state before it, takes nothing.
    AttackTakesNothing,
    /// At least one attack transaction does harm on the live code: otherwise the replay proves nothing.
    AttackReproduced,
    /// Honest transactions behave the same.
    HonestUnchanged,
    /// At least one honest transaction was replayed: otherwise nothing is known of honest use.
    HonestReplayed,
}

impl fmt::Display for RemedyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LayoutCompatible => "the storage layout must stay compatible with the live one",
            Self::UpgradeSucceeds => "the upgrade must succeed on a fork",
            Self::AttackTakesNothing => "the replayed attack must take nothing",
            Self::AttackReproduced => "the replayed attack must do harm on the live code",
            Self::HonestUnchanged => "honest transactions must behave the same",
            Self::HonestReplayed => "at least one honest transaction must have been replayed",
        })
    }
}

/// One difference between two storage layouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutChange {
    /// Variable concerned.
    pub label: String,
    /// What changed.
    pub what: String,
    /// Whether state would be read wrongly.
    pub breaking: bool,
}

/// An honest transaction that behaves differently with the fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HonestDifference {
    /// The transaction.
    pub tx_hash: B256,
    /// What differs.
    pub what: String,
    /// Whether the protected system itself behaves differently: success, movements of value, its own logs. Other
    /// contracts' logs and return data may report what the fix is meant to change.
    pub breaking: bool,
}
