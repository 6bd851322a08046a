//! Known attack: the transaction does again what an attack did before.
//!
//! In: signatures of known attacks, code of the sender's side, and its calls. Out: one finding that names the attack it is like. Must
//! never: alarm alone on a likeness that ordinary use has as well.
//!
//! Over 69 % of attacks resemble an earlier one, often within hours or days (GenDetect, 2026). The same code or the same
//! instructions in a new contract, or the same steps in the same order, alarm alone, where they are long enough; those of a contract
//! that was there, few steps, or mostly the same ones, alarm only with
//! another detector. Limits: other steps, an order of its own, padding, and another compiler are another attack (docs/detection.md).

use crate::detector::{Detector, Statement, enters_from_outside};
use crate::detectors::ConfigError;
use crate::signatures::{Likeness, Limits, Memory, Observed, Resemblance, SignatureSet};
use alloy_primitives::Address;
use cordon_model::execution::{Execution, Frame, FrameKind};
use cordon_model::finding::sign::{Imitation, ImitationKind, Sign};
use cordon_model::finding::{Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::Bps;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// What opens an incident by itself.
const EXACT: Score = Score(600);

/// Half of that: together with another detector it does, alone it does not.
const SIMILAR: Score = Score(300);

/// Fewest steps of an exact shape that counts with another detector. Of 20,876 ordinary transactions 106 have a shape of so many steps
/// that somebody else has as well, 189 one of three steps (`cordon signatures evaluate`); a fifth of 93 archived attacks has 4 to 7.
const STEPS_MIN: u32 = 4;

/// Fewest different runs of three steps of both shapes for a similarity, so many as the shortest shape has that alarms alone.
const GRAMS_MIN: u32 = 6;

/// Configuration of [`KnownAttack`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnownAttackConfig {
    /// Signature files, relative to the configuration.
    pub files: Vec<PathBuf>,
    /// Fewest steps of a shape that alarms alone. Default 8: of 20,876 ordinary transactions 10 have a shape of so many steps that
    /// somebody else has as well, 18 one of six, and none has that of one of 93 archived attacks (`cordon signatures evaluate`).
    pub steps_min: u32,
    /// Fewest instructions of the code of a new contract that alarms alone. Default 1,000: of seven codes of 200 or more that ordinary
    /// transactions created, five are somebody else's as well, of two of 1,000 none. The code of a contract that was there before
    /// alarms only with another detector: 155 of 765 of 1,000 or more are somebody else's (`cordon signatures evaluate`).
    pub instructions_min: u32,
    /// Least similarity of the steps that is a finding. Default 3000, least at which none of 20,876 ordinary
    /// transactions is similar to one of 93 archived attacks; four of these are to each other (`cordon signatures evaluate`).
    pub similarity_min_bps: Bps,
    /// What stands in the files; whoever reads the configuration fills it in.
    #[serde(skip)]
    pub sets: Vec<Arc<SignatureSet>>,
}

impl Default for KnownAttackConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            steps_min: 8,
            instructions_min: 1_000,
            similarity_min_bps: Bps(3_000),
            sets: Vec::new(),
        }
    }
}

impl KnownAttackConfig {
    /// From where on a likeness is a finding.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self { steps_min, instructions_min, similarity_min_bps, .. } = *self;
        let (steps_alone_min, steps_min) = (steps_min, steps_min.min(STEPS_MIN));
        Limits { steps_min, steps_alone_min, instructions_min, similarity_min_bps, grams_min: GRAMS_MIN }
    }

    /// The detector.
    ///
    /// # Errors
    /// No files, files that were not read, or a bound that ordinary use reaches.
    pub fn build(&self) -> Result<KnownAttack, ConfigError> {
        let wrong = |key, value: String, expected| Err(ConfigError { key, value, expected });
        if self.files.is_empty() {
            return wrong("known-attack.files", String::new(), "at least one signature file");
        }
        if self.sets.len() != self.files.len() {
            let found = format!("{} files", self.files.len());
            return wrong("known-attack.files", found, "files that were read");
        }
        if self.steps_min < 2 {
            return wrong("known-attack.steps_min", self.steps_min.to_string(), "2 or more");
        }
        if self.instructions_min < 2 {
            return wrong("known-attack.instructions_min", self.instructions_min.to_string(), "2 or more");
        }
        if !(1..=10_000).contains(&self.similarity_min_bps.0) {
            let found = self.similarity_min_bps.0.to_string();
            return wrong("known-attack.similarity_min_bps", found, "1 to 10000");
        }
        let signatures = self.sets.iter().flat_map(|set| set.signatures()).map(Arc::clone);
        Ok(KnownAttack { memory: Memory::of(signatures), limits: self.limits() })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct KnownAttack {
    memory: Memory,
    limits: Limits,
}

impl Detector for KnownAttack {
    fn name(&self) -> &'static str {
        "known-attack"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let Some(contract) = hurt(protocol, execution) else { return Vec::new() };
        let observed = Observed::beside(protocol, execution, &self.memory);
        let Some(resemblance) = self.memory.nearest(&observed, &self.limits) else { return Vec::new() };
        let Resemblance { signature, likeness, .. } = resemblance;
        let score = if likeness.alarms_alone(&self.limits) { EXACT } else { SIMILAR };
        let likeness = match likeness {
            Likeness::SameCode { contract, .. } => ImitationKind::SameCode { contract },
            Likeness::SameInstructions { contract, instructions, .. } => {
                ImitationKind::SameInstructions { contract, instructions }
            }
            Likeness::SameShape { steps } => ImitationKind::SameSteps { steps },
            Likeness::Similar { similarity_bps } => ImitationKind::SimilarSteps { similarity_bps },
        };
        let imitation = Imitation {
            signature: signature.name.clone(),
            known_tx: signature.provenance.tx,
            text: signature.provenance.text.clone(),
            likeness,
        };
        let evidence = Evidence::Sign(Sign::Imitation(imitation));
        let statement = Statement { class: signature.class, contract, score, evidence };
        vec![statement.by(self.name(), protocol, execution)]
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        if !execution.truncated || hurt(protocol, execution).is_none() {
            return Vec::new();
        }
        vec!["the record was cut: its steps are compared as far as they go, and equal none".to_owned()]
    }
}

/// The first protected contract that the transaction calls from outside. One that calls none only brushes the protocol.
fn hurt(protocol: &Protocol, execution: &Execution) -> Option<Address> {
    let enters = |frame: &&Frame| frame.kind == FrameKind::Call && enters_from_outside(protocol, frame);
    execution.frames.iter().find(enters).map(|frame| frame.address)
}

#[cfg(test)]
mod tests;
