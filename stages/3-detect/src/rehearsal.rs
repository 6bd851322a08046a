//! What is tried because of a transaction, and what came of it.
//!
//! In: calls that a detector names. Out: the same with the executions that somebody made of them on the state after the
//! transaction's block. Must never: be taken for something that happened.

use alloy_primitives::{Address, B256};
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::plan::Call;
use cordon_model::units::{Due, ProtocolId};

/// Calls to be tried one after the other, each on what the one before it left. One that fails ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Names it among those of its transaction.
    pub id: B256,
    /// Time or height at which they are made, where that is still to come.
    pub due: Due,
    /// The calls. None are tried where a detector only wants to be asked again.
    pub calls: Vec<CallFrom>,
}

/// A call and who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFrom {
    /// Account that calls; a contract can be meant, which calls in its own name.
    pub from: Address,
    /// The call.
    pub call: Call,
}

/// A rehearsal that a set asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Protocol it is held for.
    pub protocol: ProtocolId,
    /// Name of the detector that wants it.
    pub name: &'static str,
    /// The detector's place in its set.
    pub(crate) detector: usize,
    /// What is to be tried.
    pub rehearsal: Rehearsal,
}

/// A rehearsal that was held.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// What was tried.
    pub rehearsal: Rehearsal,
    /// What the calls did, in order, up to the first that failed.
    pub executions: Vec<Execution>,
    /// What all detectors say of these, as if they had happened.
    pub findings: Vec<Finding>,
}
