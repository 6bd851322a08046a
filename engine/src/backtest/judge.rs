//! One file judged: its transactions, the findings on each, and whether they would have woken somebody.
//!
//! In: a file. Out: a [`Verdict`]. Must never: pass over a transaction silently. What could not be read or executed is in
//! the verdict with its reason.

use super::history;
use super::rules::Rules;
use super::states::Trees;
use crate::config::signatures;
use crate::error::EngineError;
use alloy_primitives::{B256, Keccak256, keccak256};
use cordon_decide::Policy;
use cordon_detect::detectors::known_attack::KnownAttackConfig;
use cordon_detect::{DetectorConfig, DetectorSet, anyone, public_contracts};
use cordon_ingest::{History, Recorded, read_recording};
use cordon_model::execution::Execution;
use cordon_model::finding::{Finding, Score};
use cordon_model::units::{BlockRef, ChainId, TxRef};
use cordon_replay::{Watch, no_views, read_block_facts, read_call_tree, read_reproduction, replay_witness};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a recording is, and with it how much is known of its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A block executed again on its own state: everything is known.
    Block,
    /// A block as a client noted it: calls, logs and differences, see [`read_block_facts`].
    Facts,
    /// The calls of one transaction.
    CallTree,
    /// One transaction executed again on a state from just before it, in agreement with its calls.
    ExecutedState,
    /// An attack that a test carries out again. It is not a transaction.
    Reproduction,
    /// Everything that touched a protocol, up to its exploit: the protocol's own calls, its storage and movements.
    History,
    /// A block that a node gave, executed again on the node's state: everything is known.
    NodeBlock,
}

impl RecordKind {
    /// Whether it is told as a history: a run of transactions without a gap.
    pub(super) fn is_history(self) -> bool {
        matches!(self, Self::History | Self::NodeBlock)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "blocks executed again",
            Self::Facts => "blocks as noted by a client",
            Self::CallTree => "trees of calls",
            Self::ExecutedState => "executed again on a recorded state",
            Self::Reproduction => "reproductions by tests",
            Self::History => "histories of protocols",
            Self::NodeBlock => "blocks of a node",
        })
    }
}

/// What one file came to.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// `None` where it could not be judged.
    pub(super) kind: Option<RecordKind>,
    /// The history that its transactions belong to, where they have an order among others: a protocol's, or a chain's.
    pub(super) stream: Option<String>,
    pub(super) transactions: Vec<Judged>,
    /// Why the file, or a part of it, could not be judged.
    pub(super) unjudged: Option<Unjudged>,
}

impl From<Unjudged> for Verdict {
    fn from(reason: Unjudged) -> Self {
        Self { unjudged: Some(reason), ..Self::default() }
    }
}

/// Why a file could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unjudged {
    /// Something is wrong with this file.
    File(String),
    /// Something that many files have in common, so that they are counted and not listed; with what is particular here.
    Kind { reason: String, detail: Option<String> },
}

impl Unjudged {
    pub(super) fn kind(reason: impl Into<String>) -> Self {
        Self::Kind { reason: reason.into(), detail: None }
    }
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Judged {
    pub(super) tx: B256,
    /// Block in which it was mined, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<u64>,
    /// How strong its findings are together.
    pub(super) strength: Score,
    pub(super) is_attack: bool,
    /// True where it ran any code of others.
    pub(super) is_call: bool,
    pub(super) succeeded: bool,
    pub(super) truncated: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Finding>,
    /// Detectors without which it would have been no alarm.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) decisive: BTreeSet<String>,
    pub(super) is_alarm: bool,
    /// Rules that could not be judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unknown_rules: Vec<String>,
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
            // Where the block is not known, its number is zero; no transaction is in the first block of a chain.
            block: Some(execution.tx.block.number).filter(|number| *number > 0),
            strength: policy.strength(&findings),
            is_attack,
            is_call: execution.frames.len() > 1 || !execution.transaction.input.is_empty(),
            succeeded: execution.status.is_success(),
            truncated: execution.truncated,
            is_alarm: policy.is_alarming(&findings),
            decisive: decisive(&findings, policy),
            findings,
            unknown_rules: Vec::new(),
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

/// What a file holds, ready to be judged.
enum Held {
    /// Transactions that stand by themselves.
    Single(RecordKind, Vec<Execution>),
    /// Transactions of which each is judged by those before it.
    History(History),
}

/// The detectors at their defaults and the rules that were named, and the default policy.
#[derive(Debug)]
pub(super) struct Judge {
    detectors: DetectorSet,
    policy: Policy,
    rules: Rules,
    /// Of all that verdicts depend on, beside the recordings and the program.
    settings_hash: B256,
}

impl Judge {
    pub(super) fn new(rule_files: &[PathBuf], signature_files: &[PathBuf]) -> Result<Self, EngineError> {
        let mut configs = DetectorConfig::all();
        let rules = Rules::read(rule_files, &mut configs)?;
        configs.extend(known_attacks(signature_files)?);
        let detectors = DetectorSet::from_configs(&configs, Vec::new())?;
        let policy = Policy::default();
        let settings_hash = settings_hash(&configs, &policy);
        Ok(Self { detectors, policy, rules, settings_hash })
    }

    /// Of detectors, rules and policy.
    pub(super) fn settings_hash(&self) -> B256 {
        self.settings_hash
    }

    /// Strength from which it is an alarm.
    pub(super) fn alarm_score(&self) -> Score {
        Score(self.policy.alarm_score)
    }

    /// The rules, with nothing counted yet.
    pub(super) fn into_rules(self) -> Rules {
        self.rules
    }

    pub(super) fn file(&self, path: &Path, is_attack: bool, trees: &Trees) -> Verdict {
        let (kind, executions) = match read(path, is_attack, trees) {
            Ok(Held::Single(kind, executions)) => (kind, executions),
            Ok(Held::History(history)) => {
                let verdict = history::judge(&history, is_attack, (&self.detectors, &self.policy));
                let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
                return Verdict { stream: name, ..verdict };
            }
            Err(reason) => return Verdict::from(reason),
        };
        self.executions(kind, &executions, is_attack)
    }

    /// Transactions that stand by themselves: those of one block, or a single one.
    pub(super) fn executions(&self, kind: RecordKind, executions: &[Execution], is_attack: bool) -> Verdict {
        let public = public_contracts(executions);
        let protocols: Vec<_> = executions.iter().map(|execution| anyone(execution, &public)).collect();
        let inspect = |(execution, protocol)| self.detectors.inspect_for(protocol, execution);
        let found = executions.iter().zip(&protocols).map(inspect).collect();
        let findings = self.detectors.name_ordinary(executions, found);
        let judged = executions.iter().zip(&protocols).zip(findings);
        let judged = judged.map(|((execution, protocol), found)| {
            let rules = self.rules.detector().filter(|_| execution.status.is_success());
            let unknown_rules = rules.map(|rules| rules.unknown(protocol, execution)).unwrap_or_default();
            Judged { unknown_rules, ..Judged::new(execution, is_attack, found, &self.policy) }
        });
        let in_order = matches!(kind, RecordKind::Block | RecordKind::Facts | RecordKind::NodeBlock);
        let first = executions.first().filter(|_| in_order);
        let stream = first.map(|execution| format!("chain {}", execution.tx.chain_id));
        Verdict { kind: Some(kind), stream, transactions: judged.collect(), unjudged: None }
    }
}

/// Detectors with their settings, rules by the texts of their files, and the policy. Their debug forms name every field in a fixed
/// order.
fn settings_hash(configs: &[DetectorConfig], policy: &Policy) -> B256 {
    let mut hash = Keccak256::new();
    for config in configs {
        match config {
            DetectorConfig::Rules(rules) => {
                rules.sets.iter().for_each(|set| hash.update(format!("{:?}\n", set.file())));
            }
            other => hash.update(format!("{other:?}\n")),
        }
    }
    hash.update(format!("{policy:?}"));
    hash.finalize()
}

/// The detector of known attacks with these files; none is as well.
fn known_attacks(files: &[PathBuf]) -> Result<Option<DetectorConfig>, EngineError> {
    let mut known = KnownAttackConfig { files: files.to_vec(), ..KnownAttackConfig::default() };
    for file in files {
        known.sets.push(signatures::load(file, &[]).map_err(|why| EngineError::Argument {
            what: "signatures",
            found: file.display().to_string(),
            expected: format!("a signature file that can be used\n{why}"),
        })?);
    }
    Ok((!files.is_empty()).then_some(DetectorConfig::KnownAttack(known)))
}

/// The transactions of a file that stand by themselves.
///
/// # Errors
/// Why there are none, in words.
pub(super) fn executions(path: &Path, is_attack: bool, trees: &Trees) -> Result<Vec<Execution>, String> {
    match read(path, is_attack, trees) {
        Ok(Held::Single(_, executions)) => Ok(executions),
        Ok(Held::History(_)) => Err("a history of a protocol does not tell who called".to_owned()),
        Err(Unjudged::File(reason) | Unjudged::Kind { reason, .. }) => Err(reason),
    }
}

fn read(path: &Path, is_attack: bool, trees: &Trees) -> Result<Held, Unjudged> {
    let failed = |error: &dyn std::error::Error| Unjudged::File(chain_of(error));
    match read_recording(path).map_err(|error| failed(&error))? {
        Recorded::Block(_) | Recorded::Facts(_) if is_attack => {
            Err(Unjudged::kind("a block does not say which of its transactions is an attack"))
        }
        Recorded::Block(block) => {
            let replayed = replay_witness(&block, &Watch::everything(no_views()));
            let replayed = replayed.map_err(|error| failed(&error))?;
            match replayed.mismatches.first() {
                Some(mismatch) => {
                    Err(Unjudged::File(format!("replay differs from the chain: {}", mismatch.what)))
                }
                None => Ok(Held::Single(RecordKind::Block, replayed.executions)),
            }
        }
        Recorded::Facts(text) => read_block_facts(&text)
            .map(|executions| Held::Single(RecordKind::Facts, executions))
            .map_err(|error| failed(&error)),
        Recorded::State(_) if !is_attack => {
            Err(Unjudged::kind("a state before an attack is no ordinary transaction"))
        }
        Recorded::State(text) => {
            trees.execute(path, &text).map(|one| Held::Single(RecordKind::ExecutedState, vec![one]))
        }
        Recorded::Reproduction(text) => read_reproduction(&text)
            .map(|executions| Held::Single(RecordKind::Reproduction, executions))
            .map_err(|error| failed(&error)),
        Recorded::Unlabelled(text) => read_call_tree(&text, place(path, &text))
            .map(|one| Held::Single(RecordKind::CallTree, vec![one]))
            .map_err(|error| failed(&error)),
        Recorded::History(history) => Ok(Held::History(history)),
        Recorded::Other { format } => Err(Unjudged::kind(format!("format '{format}' is not judged"))),
    }
}

/// What is known of where an archived transaction was mined: its hash, where the file is named by it. Otherwise the text
/// itself stands for it, so that the same transaction is the same one in two places.
pub(crate) fn place(path: &Path, text: &str) -> TxRef {
    let hash = named_hash(path).unwrap_or_else(|| keccak256(text));
    let block = BlockRef { number: 0, hash: B256::ZERO };
    TxRef { chain_id: ChainId(0), block, index: 0, hash }
}

/// The transaction by whose hash a file is named.
pub(super) fn named_hash(path: &Path) -> Option<B256> {
    path.file_name()?.to_str()?.split('.').next()?.parse().ok()
}

/// An error with its causes, on one line.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
