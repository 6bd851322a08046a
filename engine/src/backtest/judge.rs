//! One file judged: its transactions, the findings on each, and whether they would have woken somebody.
//!
//! In: a file. Out: a [`Verdict`]. Must never: pass over a transaction silently. What could not be read or executed is in
//! the verdict with its reason.

use super::history;
use crate::error::EngineError;
use alloy_primitives::map::AddressSet;
use alloy_primitives::{B256, keccak256};
use cordon_decide::Policy;
use cordon_detect::{DetectorConfig, DetectorSet, anyone, public_contracts};
use cordon_ingest::{Recorded, read_recording};
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::units::{BlockRef, ChainId, TxRef};
use cordon_replay::{Watch, no_views, read_call_tree, replay_witness};
use std::collections::BTreeSet;
use std::path::Path;

/// What one file came to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) transactions: Vec<Judged>,
    /// Why the file, or a part of it, could not be judged.
    pub(super) unjudged: Option<String>,
}

impl Verdict {
    pub(super) fn unjudged(reason: String) -> Self {
        Self { transactions: Vec::new(), unjudged: Some(reason) }
    }
}

/// One transaction.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) tx: B256,
    pub(super) is_attack: bool,
    /// True where it ran any code of others.
    pub(super) is_call: bool,
    pub(super) succeeded: bool,
    pub(super) truncated: bool,
    pub(super) findings: Vec<Finding>,
    /// Detectors without which it would have been no alarm.
    pub(super) decisive: BTreeSet<String>,
    pub(super) is_alarm: bool,
}

impl Judged {
    pub(super) fn new(
        execution: &Execution,
        is_attack: bool,
        findings: Vec<Finding>,
        policy: &Policy,
    ) -> Self {
        Self {
            tx: execution.tx.hash,
            is_attack,
            is_call: execution.frames.len() > 1 || !execution.transaction.input.is_empty(),
            succeeded: execution.status.is_success(),
            truncated: execution.truncated,
            is_alarm: policy.is_alarming(&findings),
            decisive: decisive(&findings, policy),
            findings,
        }
    }
}

fn decisive(findings: &[Finding], policy: &Policy) -> BTreeSet<String> {
    if !policy.is_alarming(findings) {
        return BTreeSet::new();
    }
    let is_needed = |detector: &&str| {
        let others = findings.iter().filter(|finding| finding.detector != **detector);
        !policy.is_alarming(&others.cloned().collect::<Vec<_>>())
    };
    let detectors: BTreeSet<&str> = findings.iter().map(|finding| finding.detector.as_str()).collect();
    detectors.into_iter().filter(is_needed).map(str::to_owned).collect()
}

/// The detectors at their defaults, and the default policy.
#[derive(Debug)]
pub(super) struct Judge {
    detectors: DetectorSet,
    policy: Policy,
}

impl Judge {
    pub(super) fn new() -> Result<Self, EngineError> {
        let detectors = DetectorSet::from_configs(&DetectorConfig::all(), Vec::new())?;
        Ok(Self { detectors, policy: Policy::default() })
    }

    pub(super) fn file(&self, path: &Path, is_attack: bool) -> Verdict {
        let recorded = match read_recording(path) {
            Ok(Recorded::History(history)) => return history::judge(&history, is_attack, &self.policy),
            Ok(recorded) => recorded,
            Err(error) => return Verdict::unjudged(chain_of(&error)),
        };
        match executions(recorded, path, is_attack) {
            Ok(executions) => {
                let public = public_contracts(&executions);
                let judge = |execution| self.judge(execution, is_attack, &public);
                let transactions = executions.iter().map(judge).collect();
                Verdict { transactions, unjudged: None }
            }
            Err(reason) => Verdict::unjudged(reason),
        }
    }

    fn judge(&self, execution: &Execution, is_attack: bool, public: &AddressSet) -> Judged {
        let findings = self.detectors.inspect_for(&anyone(execution, public), execution);
        Judged::new(execution, is_attack, findings, &self.policy)
    }
}

/// The transactions of a recording that stand by themselves.
fn executions(recorded: Recorded, path: &Path, is_attack: bool) -> Result<Vec<Execution>, String> {
    match recorded {
        Recorded::Block(_) if is_attack => {
            Err("a block does not say which of its transactions is an attack".to_owned())
        }
        Recorded::Block(block) => {
            let replayed = replay_witness(&block, &Watch::everything(no_views()));
            let replayed = replayed.map_err(|error| chain_of(&error))?;
            match replayed.mismatches.first() {
                Some(mismatch) => Err(format!("replay differs from the chain: {}", mismatch.what)),
                None => Ok(replayed.executions),
            }
        }
        Recorded::Unlabelled(text) => {
            read_call_tree(&text, place(path, &text)).map(|one| vec![one]).map_err(|error| chain_of(&error))
        }
        Recorded::History(_) => Err("a history is judged as a whole".to_owned()),
        Recorded::Other { format } => Err(format!("format '{format}' is not judged")),
    }
}

/// What is known of where an archived transaction was mined: its hash, where the file is named by it. Otherwise the text
/// itself stands for it, so that the same transaction is the same one in two places.
fn place(path: &Path, text: &str) -> TxRef {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let hash = stem.parse().unwrap_or_else(|_| keccak256(text));
    let block = BlockRef { number: 0, hash: B256::ZERO };
    TxRef { chain_id: ChainId(0), block, index: 0, hash }
}

/// An error with its causes, on one line.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
