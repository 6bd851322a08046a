//! The log of one signer: every intent before it is signed, every signature before it is sent.
//!
//! In: what the gate allowed. Out: [`LaneEvent`]s on the stream of the signing account. The stream gives each
//! nonce to exactly one step of one plan, so that however often a step is signed again (after a crash, or with a
//! higher fee) at most one of its transactions can ever be mined.

use crate::plan::{Call, Receipt};
use crate::units::{BlockRef, ChainId, IncidentId, PlanHash};
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

/// Permission to sign one step with one nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Incident for which it is done.
    pub incident: IncidentId,
    /// Plan.
    pub plan: PlanHash,
    /// Position of the step in the plan.
    pub step: u32,
    /// Chain.
    pub chain_id: ChainId,
    /// Signing account.
    pub from: Address,
    /// The nonce that belongs to this step alone.
    pub nonce: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// The call.
    pub call: Call,
}

/// What happened on a signer's lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneEvent {
    /// The gate allowed it; recorded before anything is signed.
    IntentRecorded {
        /// What may be signed.
        intent: Intent,
    },
    /// It was signed; recorded before it is sent. A later one with the same nonce replaces it.
    Signed {
        /// Nonce of the intent.
        nonce: u64,
        /// Transaction hash.
        tx_hash: B256,
        /// The signed EIP-2718 envelope.
        raw: Bytes,
        /// EIP-1559 fee cap.
        max_fee_per_gas_wei: u128,
        /// EIP-1559 tip cap.
        max_priority_fee_per_gas_wei: u128,
        /// Newest block when it was signed.
        at_block: u64,
    },
    /// One of the nonce's transactions was mined.
    Mined {
        /// Nonce of the intent.
        nonce: u64,
        /// Where and how.
        receipt: Receipt,
    },
    /// The block that contained it left the canonical chain; it is open again.
    Unmined {
        /// Nonce of the intent.
        nonce: u64,
        /// Block that left.
        block: BlockRef,
    },
}
