//! How strong the findings on a protocol's transactions are, and from which strength on something is done about them.
//!
//! In: nothing. Out: plain values. A strength is no probability; what it means for a protocol is told by how often its
//! ordinary use reaches it, which is why every strength is recorded, whether or not it woke anybody.

use crate::finding::{AttackClass, Score};
use crate::units::{ProtocolId, TxRef};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// What the findings on one transaction came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Transaction.
    pub tx: TxRef,
    /// How strong its findings are together.
    pub strength: Score,
    /// What the strongest of them points to.
    pub class: AttackClass,
    /// Who spoke, in the order of names, each once.
    pub detectors: Vec<String>,
}

/// From which strength on something is done about a protocol's transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Protocol.
    pub protocol: ProtocolId,
    /// An incident is opened and people are told.
    pub page: Score,
    /// A granted lever may act by itself.
    pub act: Score,
}

/// By what transactions are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judging {
    /// Keccak-256 of the configuration of all detectors but the operator's rules: strengths of before it changed say nothing of
    /// those after.
    pub detectors: B256,
    /// What is protected, in the order of the configuration.
    pub protocols: Vec<ProtocolId>,
    /// Calibrated thresholds; a protocol that is not named goes by the policy.
    pub thresholds: Vec<Thresholds>,
}
