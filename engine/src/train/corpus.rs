//! The codes to learn from, each once.
//!
//! In: files. Out: a [`Corpus`] in an order that does not depend on theirs. Must never: take a code for an attacker's because of
//! anything but where it was found; or count copies.

use super::TrainingSet;
use crate::backtest::place;
use crate::error::{EngineError, chain};
use alloy_primitives::{B256, hex, keccak256};
use cordon_detect::bytecode::{Features, classes, runtime_in};
use cordon_detect::senders_creations;
use cordon_ingest::{Recorded, read_recording, recordings, unknown_files};
use cordon_replay::{AttackState, read_call_tree};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Fewest instructions of a code that is learned from. Proxies by EIP-1167 have 22, delegations by EIP-7702 two or three, and neither
/// says anything of its owner.
const INSTRUCTIONS_MIN: usize = 32;

/// Where a code was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In a file of its own, as hexadecimal text; where it is creation code, the runtime code inside it.
    File,
    /// Created by the sender's side within an attack.
    CreatedInAttack,
    /// In a state from just before an attack, where whoever kept it calls it the attack's or the attacker's.
    NamedInState,
    /// Run or looked at by the transactions of a block.
    Block,
}

/// One code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) is_attacker: bool,
    pub(super) origin: Origin,
    /// When the attack was, Unix seconds, where that is known.
    pub(super) attacked_at_s: Option<u64>,
    /// Hash of its instructions' classes: two codes with the same are the same contract.
    pub(super) fingerprint: B256,
    pub(super) classes: Vec<u8>,
    pub(super) features: Features,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    /// In the order of their fingerprints.
    pub(super) codes: Vec<Code>,
    /// Codes found, copies and short ones included, by where.
    pub(super) found: BTreeMap<Origin, u64>,
    /// Copies and short ones among them.
    pub(super) left_out: u64,
    /// Attackers' codes that ordinary blocks run as well.
    pub(super) in_both: u64,
    /// Files that could not be used, with the reason.
    pub(super) unused: Vec<String>,
    by_fingerprint: BTreeMap<B256, Code>,
}

impl Corpus {
    pub(super) fn read(set: &TrainingSet, progress: &dyn Fn(&str)) -> Result<Self, EngineError> {
        let corpus = Self::gathered(set, progress)?;
        let attackers = corpus.codes.iter().filter(|code| code.is_attacker).count();
        let ordinary = corpus.codes.len().saturating_sub(attackers);
        for (what, count) in [("attackers' codes", attackers), ("ordinary codes", ordinary)] {
            if count < 2 {
                let expected =
                    format!("at least two different ones of {INSTRUCTIONS_MIN} instructions or more");
                return Err(EngineError::Argument { what, found: count.to_string(), expected });
            }
        }
        Ok(corpus)
    }

    /// What there is, however little.
    pub(super) fn gathered(set: &TrainingSet, progress: &dyn Fn(&str)) -> Result<Self, EngineError> {
        let mut corpus = Self::default();
        for path in &set.attackers {
            corpus.each_file(path, progress, Self::attackers_in)?;
        }
        for path in &set.benign {
            corpus.each_file(path, progress, Self::codes_of_block)?;
        }
        corpus.codes = std::mem::take(&mut corpus.by_fingerprint).into_values().collect();
        Ok(corpus)
    }

    /// Whether two trainings had the same codes under the same labels.
    pub(super) fn hash(&self) -> B256 {
        let parts = self
            .codes
            .iter()
            .flat_map(|code| code.fingerprint.0.into_iter().chain([u8::from(code.is_attacker)]));
        keccak256(parts.collect::<Vec<u8>>())
    }

    fn each_file(
        &mut self,
        path: &Path,
        progress: &dyn Fn(&str),
        take: fn(&mut Self, &Path) -> Result<(), String>,
    ) -> Result<(), EngineError> {
        let mut files = recordings(path).map_err(EngineError::Archive)?;
        files.extend(unknown_files(path).map_err(EngineError::Archive)?);
        progress(&format!("{} files below {}", files.len(), path.display()));
        for file in files {
            if let Err(reason) = take(self, &file) {
                self.unused.push(format!("{}: {reason}", file.display()));
            }
        }
        Ok(())
    }

    fn attackers_in(&mut self, file: &Path) -> Result<(), String> {
        if file.extension().is_some_and(|ending| ending == "evm") {
            let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
            let code = hex::decode(text.trim()).map_err(|error| format!("no hexadecimal code: {error}"))?;
            let code = runtime_in(&code).unwrap_or(&code);
            self.take(code, (Origin::File, None));
            return Ok(());
        }
        match read_recording(file).map_err(|error| chain(&error))? {
            Recorded::Unlabelled(text) => self.created_in(file, &text),
            Recorded::State(text) => self.named_in(&text),
            _ => Err("neither a code, nor a tree of calls, nor a state before an attack".to_owned()),
        }
    }

    fn created_in(&mut self, file: &Path, text: &str) -> Result<(), String> {
        let execution = read_call_tree(text, place(file, text)).map_err(|error| chain(&error))?;
        for creation in senders_creations(&execution) {
            let output = execution.frame(creation.frame).map(|frame| &frame.output);
            if let Some(code) = output.filter(|code| keccak256(code) == creation.code_hash) {
                self.take(code, (Origin::CreatedInAttack, None));
            }
        }
        Ok(())
    }

    fn named_in(&mut self, text: &str) -> Result<(), String> {
        let state = AttackState::read(text).map_err(|error| chain(&error))?;
        for (_, name, code) in state.named_codes() {
            // "Attack_Contract", "Attacker", "attacker".
            if name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("attack")) {
                self.take(code, (Origin::NamedInState, Some(state.timestamp_s())));
            }
        }
        Ok(())
    }

    fn codes_of_block(&mut self, file: &Path) -> Result<(), String> {
        let Recorded::Block(block) = read_recording(file).map_err(|error| chain(&error))? else {
            return Err("no block with its codes".to_owned());
        };
        let witness = block.witness.ok_or_else(|| "a block without codes".to_owned())?;
        witness.codes.values().for_each(|code| self.take(code, (Origin::Block, None)));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn take_for_test(&mut self, ordinary: &[u8]) {
        self.by_fingerprint =
            std::mem::take(&mut self.codes).into_iter().map(|one| (one.fingerprint, one)).collect();
        self.take(ordinary, (Origin::Block, None));
        self.codes = std::mem::take(&mut self.by_fingerprint).into_values().collect();
    }

    fn take(&mut self, code: &[u8], (origin, attacked_at_s): (Origin, Option<u64>)) {
        let found = self.found.entry(origin).or_default();
        *found = found.saturating_add(1);
        let classes = classes(code);
        if classes.len() < INSTRUCTIONS_MIN {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let (fingerprint, is_attacker) = (keccak256(&classes), origin != Origin::Block);
        if let Some(known) = self.by_fingerprint.get_mut(&fingerprint) {
            self.left_out = self.left_out.saturating_add(1);
            // Attackers are read first; what ordinary blocks run as well stays theirs.
            self.in_both = self.in_both.saturating_add(u64::from(known.is_attacker && !is_attacker));
            known.attacked_at_s = known.attacked_at_s.into_iter().chain(attacked_at_s).min();
            return;
        }
        let features = Features::of(code);
        let code = Code { is_attacker, origin, attacked_at_s, fingerprint, classes, features };
        self.by_fingerprint.insert(fingerprint, code);
    }
}
