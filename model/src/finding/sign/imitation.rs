//! A transaction is like a known attack.

use crate::units::Bps;
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imitation {
    /// Signature of the known attack.
    pub signature: String,
    /// Its transaction.
    pub known_tx: B256,
    /// What its signature says of it.
    pub text: String,
    /// In which way it is alike.
    pub likeness: ImitationKind,
}

/// In which way a transaction is like a known attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImitationKind {
    /// A contract of the sender's side runs the very code.
    SameCode {
        /// The contract.
        contract: Address,
    },
    /// A contract of the sender's side runs the same instructions with other constants.
    SameInstructions {
        /// The contract.
        contract: Address,
        /// How many.
        instructions: u32,
    },
    /// The sender's side took the same steps in the same order.
    SameSteps {
        /// How many.
        steps: u32,
    },
    /// It took mostly the same steps.
    SimilarSteps {
        /// How many runs of steps they share, of all that either has.
        similarity_bps: Bps,
    },
}

impl fmt::Display for Imitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signature, known_tx, text, likeness } = self;
        match likeness {
            ImitationKind::SameCode { contract } => write!(f, "{contract} runs the code of"),
            ImitationKind::SameInstructions { contract, instructions } => {
                write!(f, "{contract} runs the {instructions} instructions, with other constants, of")
            }
            ImitationKind::SameSteps { steps } => {
                write!(f, "the sender's side took, in the same order, the {steps} steps of")
            }
            ImitationKind::SimilarSteps { similarity_bps } => {
                write!(f, "the sender's side took steps that are by {similarity_bps} those of")
            }
        }?;
        write!(f, " the known attack {signature} ({known_tx})")?;
        if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
    }
}
