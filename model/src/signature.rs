//! What is remembered of an attack, so that its imitators are known again.
//!
//! In: nothing but values. Out: [`Signature`]s, and the [`SignatureFile`] by which one installation gives them to another. Must
//! never: hold an address, an amount or a name of the attacker's as something to be recognised by: an imitator has others.

use crate::execution::FrameKind;
use crate::finding::AttackClass;
use crate::units::{ChainId, IncidentId};
use alloy_primitives::{B256, Selector};
use serde::{Deserialize, Serialize};

/// Version of signature files that this build writes and reads.
pub const SIGNATURE_FORMAT: u32 = 1;

/// Signatures as they are handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFile {
    /// Format, [`SIGNATURE_FORMAT`].
    pub format: u32,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// One attack, as far as an imitator would repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Name for people, the only one of it in its file.
    pub name: String,
    /// Kind of attack.
    pub class: AttackClass,
    /// Where it was learned.
    pub provenance: Provenance,
    /// Code of the contracts that stood on the sender's side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<CodeMark>,
    /// What the sender's side did with the contracts of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

/// Where a signature was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Chain of the attack; zero where the recording does not tell.
    pub chain_id: ChainId,
    /// Transaction.
    pub tx: B256,
    /// Incident of the log that it was learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// What people say of it.
    pub text: String,
}

/// Runtime code by two hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeMark {
    /// Keccak-256 of the code.
    pub code_hash: B256,
    /// Keccak-256 of its instructions without constants and metadata.
    pub opcodes_hash: B256,
    /// How many instructions that are.
    pub instructions: u32,
}

/// What one transaction did across the border of the sender's side, without addresses and amounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Calls across the border that may change something, in order, repetitions left out.
    pub steps: Vec<Step>,
    /// False where the record was cut, or too long: then it is the beginning of a shape, which is like others and equal to none.
    pub whole: bool,
    /// What the sender's side gained and lost; nothing where the record does not tell all movements of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<Vec<Flow>>,
}

/// One call across the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Who was called.
    pub callee: Callee,
    /// Its function; `None` for a payment, a creation or the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Selector>,
    /// Kind of call.
    pub kind: FrameKind,
    /// How many calls across the border were open. Calls within one side do not count, so that a contract in between changes
    /// nothing.
    pub depth: u16,
}

/// Where a called account stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callee {
    /// On the sender's side.
    Own,
    /// Among the protected contracts.
    Protected,
    /// Anywhere else.
    Foreign,
}

/// So many assets of one kind that the sender's side gained or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Which kind of asset.
    pub asset: FlowAsset,
    /// Gained or lost.
    pub direction: Direction,
    /// How many different ones.
    pub assets: u16,
}

/// Who stands behind an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowAsset {
    /// The chain's own coin.
    Native,
    /// A token that a contract of the sender's side issues.
    Own,
    /// Any other token.
    Others,
}

/// Which way an asset went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the sender's side.
    Gained,
    /// Away from it.
    Lost,
}
