//! The verdict on a fix.
//!
//! In: the candidate, the live layout, and what the fork said: the upgrade, the attack with both codes, honest
//! transactions with both codes. Out: `Remedy`. Every rule is applied and every broken one is listed, so that one
//! judgement tells all that has to be mended. Must never: stop at the first objection, or take an attack that fails by
//! itself for a proof.
//!
//! Honest transactions are compared by what people outside can see: whether they succeed, what they move, and which logs
//! the protected contracts leave must be the same. Logs of other contracts and return data are compared and listed, but
//! do not refuse a fix: a contract that reports the vault's state in the middle of a borrow reports another state once
//! the fix keeps the books right there. Not compared: gas (a fix may cost some), the reason of a failure (a transaction
//! that failed before harms nobody by failing otherwise), and raw storage (a fix may keep new facts; a wrong layout
//! shows in logs, transfers or failures, and in the layout check).

use crate::artifact::Artifact;
use crate::layout::{StorageLayout, compare};
use alloy_primitives::{Address, B256, Bytes};
use cordon_model::execution::{Execution, Transfer};
use cordon_model::plan::Plan;
use cordon_model::remedy::{HonestDifference, LayoutChange, Remedy, RemedyRule, Verdict};
use cordon_model::simulation::AttackTrial;
use cordon_model::units::{Asset, IncidentId};
use std::collections::BTreeSet;

/// All that a fix is judged on.
#[derive(Debug, Clone)]
pub struct Trials<'a> {
    /// Incident that it is for.
    pub incident: IncidentId,
    /// The candidate.
    pub candidate: &'a Artifact,
    /// Layout of the implementation that runs now.
    pub live_layout: &'a StorageLayout,
    /// Proxy to upgrade.
    pub proxy: Address,
    /// Contracts of the protected system, whose logs must not change.
    pub protected: BTreeSet<Address>,
    /// Why the upgrade failed on the fork; `None` where it succeeded.
    pub upgrade_error: Option<String>,
    /// Attack transactions, each with the live and with the fixed code.
    pub attack: Vec<AttackTrial>,
    /// Honest transactions, each with the live and with the fixed code.
    pub honest: Vec<HonestComparison>,
    /// The upgrade.
    pub plan: Plan,
}

/// One honest transaction, executed with both codes on the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HonestComparison {
    /// The transaction.
    pub tx_hash: B256,
    /// With the live code.
    pub old: HonestOutcome,
    /// With the fixed code.
    pub new: HonestOutcome,
}

/// What others can see of an executed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HonestOutcome {
    /// Whether it ran to its end.
    pub success: bool,
    /// What its own call returned; empty where it failed.
    pub return_data: Bytes,
    /// Logs in order: contract, topics, data.
    pub logs: Vec<Log>,
    /// Movements of value in order.
    pub transfers: Vec<Movement>,
    /// Whether a bound cut the record short, so that nothing can be said.
    pub truncated: bool,
}

/// A movement of value without its place in the transaction, which a fix may shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// What moved.
    pub asset: Asset,
    /// Sender.
    pub from: Address,
    /// Receiver.
    pub to: Address,
    /// Amount, raw.
    pub amount_raw: alloy_primitives::U256,
}

impl HonestOutcome {
    /// The outcome of an execution.
    #[must_use]
    pub fn of(execution: &Execution) -> Self {
        let success = execution.status.is_success();
        let returned = execution.frame(0).filter(|_| success).map(|frame| frame.output.clone());
        let logs = execution.logs.iter().map(|log| (log.address, log.topics.clone(), log.data.clone()));
        Self {
            success,
            return_data: returned.unwrap_or_default(),
            logs: logs.collect(),
            transfers: execution.transfers.iter().map(Movement::from).collect(),
            truncated: execution.truncated,
        }
    }

    /// What differs from this outcome in `new`, and whether that breaks anything; `None` where they are the same.
    #[must_use]
    pub fn difference(&self, new: &Self, protected: &BTreeSet<Address>) -> Option<Difference> {
        if self.truncated || new.truncated {
            return Some(Difference::breaking("the record was cut short, so it cannot be compared"));
        }
        match (self.success, new.success) {
            (true, false) => {
                return Some(Difference::breaking("works with the live code and fails with the fix"));
            }
            (false, true) => {
                return Some(Difference::breaking("fails with the live code and works with the fix"));
            }
            (false, false) => return None,
            (true, true) => {}
        }
        let own = |logs: &[Log]| -> Vec<Log> {
            logs.iter().filter(|(address, _, _)| protected.contains(address)).cloned().collect()
        };
        let mut breaking = Vec::new();
        if self.transfers != new.transfers {
            breaking.push(format!(
                "transfers ({} before, {} now)",
                self.transfers.len(),
                new.transfers.len()
            ));
        }
        if own(&self.logs) != own(&new.logs) {
            breaking.push("logs of the protected contracts".to_owned());
        }
        if !breaking.is_empty() {
            return Some(Difference::breaking(&format!("differs in {}", breaking.join(", "))));
        }
        let mut harmless = Vec::new();
        if self.logs != new.logs {
            harmless.push("logs of other contracts");
        }
        if self.return_data != new.return_data {
            harmless.push("return data");
        }
        let what = format!("differs in {} only", harmless.join(", "));
        (!harmless.is_empty()).then_some(Difference { what, breaking: false })
    }
}

/// A log without its place: contract, topics, data.
type Log = (Address, Vec<B256>, Bytes);

/// What differs between two outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// Whether the protected system itself behaves differently.
    pub breaking: bool,
}

impl Difference {
    fn breaking(what: &str) -> Self {
        Self { what: what.to_owned(), breaking: true }
    }
}

impl From<&Transfer> for Movement {
    fn from(transfer: &Transfer) -> Self {
        Self { asset: transfer.asset, from: transfer.from, to: transfer.to, amount_raw: transfer.amount_raw }
    }
}

/// Applies every rule. The plan is part of the remedy only where all of them held.
#[must_use]
pub fn judge(trials: Trials<'_>) -> Remedy {
    let layout = compare(trials.live_layout, &trials.candidate.layout);
    let differences = |comparison: &HonestComparison| {
        let found = comparison.old.difference(&comparison.new, &trials.protected)?;
        Some(HonestDifference { tx_hash: comparison.tx_hash, what: found.what, breaking: found.breaking })
    };
    let honest_differences: Vec<HonestDifference> = trials.honest.iter().filter_map(differences).collect();
    let rules = [
        (RemedyRule::LayoutCompatible, !layout.iter().any(|change| change.breaking)),
        (RemedyRule::UpgradeSucceeds, trials.upgrade_error.is_none()),
        (RemedyRule::AttackTakesNothing, !trials.attack.iter().any(|trial| trial.with.is_harmful())),
        (RemedyRule::AttackReproduced, trials.attack.iter().any(|trial| trial.without.is_harmful())),
        (RemedyRule::HonestUnchanged, !honest_differences.iter().any(|difference| difference.breaking)),
        (RemedyRule::HonestReplayed, !trials.honest.is_empty()),
    ];
    let broken: Vec<RemedyRule> = rules.into_iter().filter(|(_, held)| !held).map(|(rule, _)| rule).collect();
    let verdict = if broken.is_empty() { Verdict::Proven } else { Verdict::Refused(broken) };
    Remedy {
        incident: trials.incident,
        candidate: trials.candidate.contract_name.clone(),
        init_code_hash: trials.candidate.init_code_hash(),
        proxy: trials.proxy,
        plan: (verdict == Verdict::Proven).then_some(trials.plan),
        verdict,
        layout,
        attack: trials.attack,
        honest_differences,
        honest_replayed: trials.honest.len(),
    }
}

/// One sentence per broken rule, with what broke it. `upgrade_error` is what the fork said; the remedy does not keep it.
#[must_use]
pub fn reasons(remedy: &Remedy, upgrade_error: Option<&str>) -> Vec<String> {
    let Verdict::Refused(rules) = &remedy.verdict else {
        return Vec::new();
    };
    rules.iter().map(|rule| reason(*rule, remedy, upgrade_error)).collect()
}

fn reason(rule: RemedyRule, remedy: &Remedy, upgrade_error: Option<&str>) -> String {
    match rule {
        RemedyRule::LayoutCompatible => {
            let text = |change: &LayoutChange| format!("{}: {}", change.label, change.what);
            let breaking = remedy.layout.iter().filter(|change| change.breaking);
            format!("the storage layout is not compatible: {}", listed(breaking.map(text)))
        }
        RemedyRule::UpgradeSucceeds => {
            format!("the upgrade fails on a fork: {}", upgrade_error.unwrap_or("no reason was given"))
        }
        RemedyRule::AttackTakesNothing => {
            let harmful = remedy.attack.iter().filter(|trial| trial.with.is_harmful());
            let hashes = harmful.map(|trial| trial.tx_hash.to_string());
            format!("the attack still takes value with the fix: {}", listed(hashes))
        }
        RemedyRule::AttackReproduced => format!(
            "none of {} attack transactions does harm with the live code, so their failure proves nothing",
            remedy.attack.len()
        ),
        RemedyRule::HonestReplayed => "no honest transaction is at hand to be replayed".to_owned(),
        RemedyRule::HonestUnchanged => {
            let text = |difference: &HonestDifference| format!("{} {}", difference.tx_hash, difference.what);
            let breaking: Vec<String> =
                remedy.honest_differences.iter().filter(|difference| difference.breaking).map(text).collect();
            format!(
                "{} of {} honest transactions behave differently: {}",
                breaking.len(),
                remedy.honest_replayed,
                listed(breaking.into_iter())
            )
        }
    }
}

/// Most examples in one sentence; the remedy holds all of them.
const EXAMPLES_MAX: usize = 5;

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let shown: Vec<&str> = items.iter().take(EXAMPLES_MAX).map(String::as_str).collect();
    let more = items.len().saturating_sub(shown.len());
    if more == 0 { shown.join("; ") } else { format!("{}; and {more} more", shown.join("; ")) }
}
