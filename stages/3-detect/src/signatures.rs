//! Signatures of known attacks: made from executions, read from files, compared with executions.
//!
//! In: executions, and the texts of signature files. Out: [`Signature`]s, and what a transaction has in common with known ones. Must
//! never: read a file (whoever configures Cordon does), or trust one: a file comes from somebody else and is checked when it is loaded.
//!
//! Two things are recognised. *Code*: the contracts on the sender's side run the same code as those of a known attack, byte by byte or
//! without constants and metadata. *Shape*: the sender's side does the same with the contracts of others, step by step, or mostly.

mod file;
mod likeness;
mod opcodes;
mod shape;

pub use file::{SIGNATURE_FILE_BYTES_MAX, SIGNATURES_MAX, SignatureError, SignatureSet};
pub use likeness::{Likeness, Limits, Memory, Resemblance};
pub use shape::STEPS_MAX;

use crate::parties::{SendersSide, is_creation};
use alloy_primitives::{Address, B256};
use cordon_model::execution::{Execution, Frame};
use cordon_model::finding::AttackClass;
use cordon_model::protocol::Protocol;
use cordon_model::signature::{CodeMark, Provenance, Shape, Signature};
use std::collections::BTreeSet;

/// Most different codes of one transaction that are looked at. Each costs a pass over its bytes; attacks create a handful of kinds of
/// contracts, however many of each.
pub const CODES_MAX: usize = 16;

/// A code that was seen on the sender's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenCode {
    /// A contract that runs it.
    pub contract: Address,
    /// Its marks.
    pub mark: CodeMark,
    /// True where the transaction itself created the contract. Others are called first, and run everybody's code as often as not.
    pub is_new: bool,
}

/// What of a transaction can be known again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Codes of the sender's side, each once, those of new contracts first.
    pub codes: Vec<SeenCode>,
    /// The shape; nothing where the record does not know who called.
    pub shape: Option<Shape>,
}

impl Observed {
    /// What can be known again of this execution.
    #[must_use]
    pub fn of(protocol: &Protocol, execution: &Execution) -> Self {
        Self::within(protocol, execution, &|_| true)
    }

    /// The same without codes that no signature of the memory can know.
    #[must_use]
    pub fn beside(protocol: &Protocol, execution: &Execution, memory: &Memory) -> Self {
        Self::within(protocol, execution, &|instructions| memory.knows_length(instructions))
    }

    fn within(protocol: &Protocol, execution: &Execution, is_wanted: &dyn Fn(u32) -> bool) -> Self {
        let side = SendersSide::of(protocol, execution);
        let shape = shape::shape(protocol, execution, &side);
        Self { codes: codes(execution, &side, is_wanted), shape }
    }

    /// One hash of all steps in order; nothing where the shape is not known, or not whole.
    #[must_use]
    pub fn shape_hash(&self) -> Option<B256> {
        self.shape.as_ref().and_then(shape::hash)
    }

    /// A signature of it; nothing where it has nothing by which it could be told from ordinary use.
    #[must_use]
    pub fn signature(
        self,
        name: String,
        class: AttackClass,
        provenance: Provenance,
        limits: &Limits,
    ) -> Option<Signature> {
        let codes: BTreeSet<CodeMark> = self.codes.into_iter().map(|code| code.mark).collect();
        let codes = codes.into_iter().filter(|mark| mark.instructions >= limits.instructions_min).collect();
        let shape = self.shape.filter(|shape| limits.tells(shape));
        let signature = Signature { name, class, provenance, codes, shape };
        (!signature.codes.is_empty() || signature.shape.is_some()).then_some(signature)
    }
}

/// The codes of the sender's side: of the contract that is called first, where it is his and its code is known, and of those that
/// the transaction created. Only of contracts that call others': whoever calls a token has its code on his side, and it is everybody's.
fn codes(execution: &Execution, side: &SendersSide, is_wanted: &dyn Fn(u32) -> bool) -> Vec<SeenCode> {
    let acting: BTreeSet<Address> = shape::crossings(execution, side).map(|frame| frame.caller).collect();
    let called = execution.transaction.to.filter(|called| side.has(*called));
    let called = called.map(|address| (address, &execution.called_code, false));
    let is_kept = |frame: &&Frame| is_creation(frame) && !frame.reverted && side.has(frame.address);
    let created = execution.frames.iter().filter(is_kept).map(|frame| (frame.address, &frame.output, true));
    let mut seen = BTreeSet::new();
    let mut codes = Vec::new();
    for (contract, code, is_new) in created.chain(called) {
        // The same code again is not walked again.
        if code.is_empty() || !acting.contains(&contract) || !seen.insert(code.as_ref()) {
            continue;
        }
        codes.extend(opcodes::mark(code, is_wanted).map(|mark| SeenCode { contract, mark, is_new }));
        if seen.len() == CODES_MAX {
            break;
        }
    }
    codes
}

#[cfg(test)]
mod tests;
