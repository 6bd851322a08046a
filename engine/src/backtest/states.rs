//! States from just before attacks, executed again where the attack's calls are at hand.
//!
//! In: the files of a corpus, and the text of one state. Out: the execution, or why there is none. Must never: judge an
//! execution that the recorded calls do not confirm; the calls themselves are judged then.

use super::Task;
use super::judge::{Unjudged, chain_of, named_hash, place};
use super::kept::file_hash;
use alloy_primitives::{B256, Keccak256};
use cordon_ingest::{Recorded, read_recording};
use cordon_model::execution::Execution;
use cordon_replay::{AttackState, AttackStateError, read_call_tree};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The trees of calls among the attacks, by transaction.
#[derive(Debug, Default)]
pub(super) struct Trees(BTreeMap<B256, PathBuf>);

impl Trees {
    /// The attacks' files that are named by a transaction, as archives of calls are.
    pub(super) fn among(tasks: &[Task]) -> Self {
        let attacks = tasks.iter().filter(|task| task.is_attack);
        Self(attacks.filter_map(|task| Some((named_hash(&task.path)?, task.path.clone()))).collect())
    }

    /// Of all of them: a state is judged with one of them, and which one it names itself.
    pub(super) fn hash(&self) -> B256 {
        let mut hash = Keccak256::new();
        for (tx, path) in &self.0 {
            hash.update(tx);
            hash.update(path.to_string_lossy().as_bytes());
            // One that cannot be read is another one when it can.
            hash.update(file_hash(path).unwrap_or_default());
        }
        hash.finalize()
    }

    /// Executes the attack of a state again.
    pub(super) fn execute(&self, path: &Path, text: &str) -> Result<Execution, Unjudged> {
        let state = AttackState::read(text).map_err(|error| Unjudged::File(chain_of(&error)))?;
        let Some(tx) = state.tx_hash() else {
            return Err(Unjudged::kind("states before attacks that name no transaction"));
        };
        let Some(tree) = self.0.get(&tx) else {
            return Err(Unjudged::kind(
                "states before attacks whose calldata is not known, for want of the transaction's calls",
            ));
        };
        let tree = read_tree(tree)?;
        state.execute(&tree).map_err(|error| refused(path, &error))
    }
}

fn read_tree(path: &Path) -> Result<Execution, Unjudged> {
    let unread = |error: &dyn std::error::Error| {
        Unjudged::File(format!("its calls in {} cannot be read: {}", path.display(), chain_of(error)))
    };
    match read_recording(path).map_err(|error| unread(&error))? {
        Recorded::Unlabelled(text) => {
            read_call_tree(&text, place(path, &text)).map_err(|error| unread(&error))
        }
        _ => Err(Unjudged::File(format!(
            "{} is named by its transaction and is no tree of calls",
            path.display()
        ))),
    }
}

/// The reason without what is particular to the case, and the case.
fn refused(path: &Path, error: &AttackStateError) -> Unjudged {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let particular = match error {
        AttackStateError::NoCode { address } => address.to_string(),
        AttackStateError::Differs { frame, what } => format!("frame {frame}: {what}"),
        AttackStateError::UnknownChain { .. }
        | AttackStateError::NoCall
        | AttackStateError::Replay(_)
        | AttackStateError::Refused { .. } => chain_of(error),
    };
    Unjudged::Kind {
        reason: format!("states before attacks of which the calls are judged instead: {error}"),
        detail: Some(format!("{name}: {particular}")),
    }
}
