//! Signatures of recorded attacks.
//!
//! In: recordings as the back-test reads them. Out: a signature for each that has something to be recognised by. Must never: take the
//! code of the contract that was called first: a recording does not say whether it is the attacker's or his victim's.

use super::{Learned, NOTHING_TELLING};
use crate::backtest::{Tell, over_recordings};
use crate::error::EngineError;
use alloy_primitives::map::AddressSet;
use cordon_detect::detectors::known_attack::KnownAttackConfig;
use cordon_detect::signatures::Observed;
use cordon_detect::{DetectorConfig, DetectorSet, anyone};
use cordon_model::execution::Execution;
use cordon_model::finding::AttackClass;
use cordon_model::signature::{Provenance, Signature};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Signatures of every recorded attack below these paths, each transaction once. `tell` is told how many files are done, of how
/// many.
///
/// # Errors
/// A path that cannot be read.
pub fn learn_from_recordings(paths: &[PathBuf], tell: Tell<'_>) -> Result<Learned, EngineError> {
    let detectors = DetectorSet::from_configs(&DetectorConfig::all(), Vec::new())?;
    let learn = |path: &Path, executions: &[Execution]| {
        let learned = |execution: &Execution| signature(path, execution, &detectors);
        executions.iter().map(learned).collect::<Vec<_>>()
    };
    let (learned, mut notes) = over_recordings((paths, true), tell, &learn)?;
    let (mut signatures, mut seen): (Vec<Signature>, _) = (Vec::new(), BTreeSet::new());
    for one in learned.into_iter().flatten() {
        match one {
            Ok(signature) if seen.insert(signature.name.clone()) => signatures.push(signature),
            Ok(_) => {}
            Err(note) => notes.push(note),
        }
    }
    Ok(Learned::of(signatures, notes))
}

/// The signature of a recorded attack, where everybody but the sender's side counts as protected.
fn signature(path: &Path, execution: &Execution, detectors: &DetectorSet) -> Result<Signature, String> {
    let note = |why: &str| format!("{}, transaction {}: {why}", path.display(), execution.tx.hash);
    if !execution.status.is_success() {
        return Err(note("it failed, so that it did nothing"));
    }
    let protocol = anyone(execution, &AddressSet::default());
    let strongest =
        detectors.inspect_for(&protocol, execution).into_iter().max_by_key(|finding| finding.score);
    let class = strongest.map_or(AttackClass::ControlFlow, |finding| finding.class);
    let provenance = Provenance {
        chain_id: execution.tx.chain_id,
        tx: execution.tx.hash,
        incident: None,
        text: "learned from a recording".to_owned(),
    };
    let observed = observed(execution);
    let name = name(execution);
    let limits = KnownAttackConfig::default().limits();
    observed.signature(name, class, provenance, &limits).ok_or_else(|| note(NOTHING_TELLING))
}

/// What can be known again of a recorded attack.
pub(super) fn observed(execution: &Execution) -> Observed {
    let mut observed = Observed::of(&anyone(execution, &AddressSet::default()), execution);
    observed.codes.retain(|code| code.is_new);
    observed
}

/// A recorded attack is named by its transaction.
pub(super) fn name(execution: &Execution) -> String {
    let hash = execution.tx.hash.to_string();
    format!("tx-{}", hash.get(2..18).unwrap_or_default())
}
