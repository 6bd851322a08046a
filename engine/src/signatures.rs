//! `cordon signatures`: attacks that are known, so that imitators are known again.
//!
//! In: recorded attacks, or incidents of the log and a node. Out: a signature file, and how well such files recognise. Must never: learn
//! from an incident that people called a false alarm, or from a record that was cut without saying so.

mod evaluate;
mod incidents;
mod log;
mod recordings;

pub use evaluate::{Evaluation, evaluate};
pub use incidents::Incidents;
pub use log::{Source, learn_from_log};
pub use recordings::learn_from_recordings;

use cordon_model::signature::{SIGNATURE_FORMAT, Signature, SignatureFile};

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The signatures.
    pub file: SignatureFile,
    /// What gave none, and why; one line each.
    pub notes: Vec<String>,
}

impl Learned {
    fn of(signatures: Vec<Signature>, notes: Vec<String>) -> Self {
        Self { file: SignatureFile { format: SIGNATURE_FORMAT, signatures }, notes }
    }

    /// One line for each signature, then the notes.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |signature: &Signature| {
            let Signature { name, class, codes, shape, .. } = signature;
            let steps = shape.as_ref().map_or_else(
                || "no shape".to_owned(),
                |shape| {
                    let cut = if shape.whole { "" } else { ", cut" };
                    format!("{} steps{cut}", shape.steps.len())
                },
            );
            format!("{name}: {class}, {} codes, {steps}", codes.len())
        };
        self.file.signatures.iter().map(line).chain(self.notes.iter().cloned()).collect()
    }
}

/// What makes a transaction nothing to be recognised by, for people.
const NOTHING_TELLING: &str = "its code and its steps are too short to be told from ordinary use";

#[cfg(test)]
mod tests;
