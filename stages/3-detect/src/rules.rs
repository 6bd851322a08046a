//! User rules: what an operator wants to be told of, in one line of CEL each.
//!
//! In: the texts of rule files. Out: a detector that speaks where a rule holds. A rule is parsed, checked for types,
//! tried on a sample and on its own tests when it is loaded; a file with a wrong rule is not loaded at all. Must never:
//! read a file (whoever configures Cordon does), or take a rule that could not be judged for one that did not hold.
//!
//! The language, its variables and functions: `docs/rules.md`.

mod abi;
mod cases;
mod decoded;
mod fault;
mod file;
mod formula;
mod functions;
mod lists;
mod literals;
mod needs;
mod readings;
mod records;
mod shortcuts;
mod sieve;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod values;
mod window;

pub use abi::AbiFile;
pub(crate) use decoded::bounded;
pub use fault::RuleError;
pub use file::{RULE_FILE_BYTES_MAX, RuleSet};

use crate::detector::{Comparison, Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use alloy_primitives::{Address, Bytes};
use cordon_model::baseline::Baseline;
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::{Counted, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use formula::Formula;
use lists::LIST_MAX;
use literals::Constant;
use needs::{Index, Needs, Present};
use records::Facts;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use window::{Count, Excess, Window};

/// Configuration of [`UserRules`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesConfig {
    /// Rule files, relative to the configuration.
    pub files: Vec<PathBuf>,
    /// What stands in them; whoever reads the configuration fills it in.
    #[serde(skip)]
    pub sets: Vec<Arc<RuleSet>>,
}

impl RulesConfig {
    /// The detector.
    ///
    /// # Errors
    /// No files, files that were not read, or two rules of one id.
    pub fn build(&self) -> Result<UserRules, ConfigError> {
        let wrong = |value: String, expected| ConfigError { key: "rules.files", value, expected };
        if self.files.is_empty() {
            return Err(wrong(String::new(), "at least one rule file"));
        }
        if self.sets.len() != self.files.len() {
            return Err(wrong(format!("{} files", self.files.len()), "files that were read"));
        }
        let mut ids: Vec<&str> = self.sets.iter().flat_map(|set| set.ids()).collect();
        ids.sort_unstable();
        let mut neighbours = ids.iter().zip(ids.iter().skip(1));
        if let Some((twice, _)) = neighbours.find(|(a, b)| a == b) {
            return Err(wrong((*twice).to_owned(), "rule ids that no other rule has, in any file"));
        }
        Ok(UserRules::new(self.sets.clone()))
    }
}

/// One rule, ready to be judged.
#[derive(Debug)]
struct Rule {
    id: String,
    title: String,
    explanation: String,
    score: Score,
    when: Formula,
    needs: Needs,
    /// Where it speaks of several transactions.
    window: Option<Window>,
}

impl Rule {
    /// Every constant of its expressions.
    fn constants(&self) -> impl Iterator<Item = &Constant> {
        self.when.constants.iter().chain(self.window.iter().flat_map(Window::constants))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct UserRules {
    sets: Vec<Arc<RuleSet>>,
    index: Index<Place>,
    /// Whether any rule has readings.
    asks: bool,
    /// Whether any rule has a window.
    counts: bool,
}

/// Which set, and which of its rules.
type Place = (usize, usize);

impl UserRules {
    fn new(sets: Vec<Arc<RuleSet>>) -> Self {
        let places = |(set, rules): (usize, &Arc<RuleSet>)| {
            let needs = rules.rules.iter().map(|rule| rule.needs.clone());
            needs.enumerate().map(|(rule, needs)| ((set, rule), needs)).collect::<Vec<_>>()
        };
        let index = Index::of(sets.iter().enumerate().flat_map(places));
        let rules = || sets.iter().flat_map(|set| &set.rules);
        let asks = rules().any(|rule| rule.constants().any(|constant| constant.reading().is_some()));
        let counts = rules().any(|rule| rule.window.is_some());
        Self { sets, index, asks, counts }
    }

    /// The rules that might hold, each with its set.
    fn worth_a_look(
        &self,
        protocol: &Protocol,
        execution: &Execution,
    ) -> impl Iterator<Item = (&RuleSet, &Rule)> {
        let places = if execution.detail.knows_logs() {
            self.index.worth_a_look(Present::of(protocol, execution))
        } else {
            self.index.all()
        };
        places.into_iter().filter_map(|(set, rule): Place| {
            let set = self.sets.get(set)?;
            Some((set.as_ref(), set.rules.get(rule)?))
        })
    }

    /// Every rule's id and score, in the order of the files.
    pub fn scores(&self) -> impl Iterator<Item = (&str, Score)> {
        self.sets.iter().flat_map(|set| &set.rules).map(|rule| (rule.id.as_str(), rule.score))
    }

    /// The ids of the rules that could not be judged for this transaction.
    #[must_use]
    pub fn unknown(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let judged = self.judged(protocol, execution).into_iter();
        judged.filter(|(_, holds)| holds.is_err()).map(|(rule, _)| rule.id.clone()).collect()
    }

    fn judged(&self, protocol: &Protocol, execution: &Execution) -> Vec<(&Rule, Result<bool, String>)> {
        let facts = Facts::new(protocol, execution);
        let rules = self.worth_a_look(protocol, execution).filter(|(_, rule)| rule.window.is_none());
        rules.map(|(set, rule)| (rule, rule.when.holds(&set.env, &facts))).collect()
    }
}

impl Detector for UserRules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        if !self.asks {
            return Vec::new();
        }
        let constants = self.worth_a_look(protocol, execution).flat_map(|(_, rule)| rule.constants());
        constants.filter_map(Constant::reading).map(|reading| reading.call.clone()).collect()
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let cut =
            Facts::cut(execution).map(|(list, length)| format!("rules see {LIST_MAX} of {length} {list}"));
        let mut opinion = Opinion { findings: Vec::new(), gaps: cut.into_iter().collect() };
        for (rule, holds) in self.judged(protocol, execution) {
            match holds {
                Ok(true) => {
                    let (rule_id, title) = (rule.id.clone(), rule.title.clone());
                    let explanation = rule.explanation.clone();
                    let evidence = Evidence::Rule { rule: rule_id, title, explanation };
                    opinion.findings.push(finding(rule, evidence, protocol, execution));
                }
                Ok(false) => {}
                Err(why) => opinion.gaps.push(unjudged(rule, &why)),
            }
        }
        opinion
    }

    fn compares(&self) -> bool {
        self.counts
    }

    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let mut comparison = Comparison::default();
        if !self.counts {
            return comparison;
        }
        let (facts, before) = (Facts::new(protocol, execution), baseline.tallies());
        for (set, rule) in self.worth_a_look(protocol, execution) {
            let Some(window) = &rule.window else { continue };
            let count = match rule.when.holds(&set.env, &facts) {
                Ok(false) => continue,
                Ok(true) => window.count(&set.env, &facts),
                Err(why) => Err(why),
            };
            let count = match count {
                Ok(count) => count,
                Err(why) => {
                    comparison.gaps.push(unjudged(rule, &why));
                    continue;
                }
            };
            if !before.has_room(count.tally.key) {
                comparison.gaps.push(unjudged(rule, "nothing more can be counted for the protocol"));
            }
            if let Some(excess) = window.exceeded(&count, before, execution.timestamp_s) {
                let evidence = Evidence::Sign(Sign::Counted(rule.counted(&count, excess)));
                comparison.findings.push(finding(rule, evidence, protocol, execution));
            }
            comparison.tallies.push(count.tally);
        }
        comparison
    }
}

impl Rule {
    fn counted(&self, count: &Count, excess: Excess) -> Counted {
        let Excess { total, limit, window_s } = excess;
        let (rule, title) = (self.id.clone(), self.title.clone());
        let by = (!count.by.is_empty()).then(|| Bytes::copy_from_slice(&count.by));
        Counted { rule, title, explanation: self.explanation.clone(), by, window_s, total, limit }
    }
}

fn unjudged(rule: &Rule, why: &str) -> String {
    format!("rule '{}' could not be judged: {why}", rule.id)
}

fn finding(rule: &Rule, evidence: Evidence, protocol: &Protocol, execution: &Execution) -> Finding {
    let (class, contract) = (AttackClass::UserRule, concerned(protocol, execution));
    let statement = Statement { class, contract, score: rule.score, evidence };
    // Each rule has findings of its own; of all of them together one detector speaks.
    let finding = statement.by(&format!("rules/{}", rule.id), protocol, execution);
    Finding { detector: "rules".to_owned(), ..finding }
}

/// The protected contract that the transaction reaches first; a rule speaks of the transaction as a whole.
fn concerned(protocol: &Protocol, execution: &Execution) -> Address {
    let called = execution.frames.iter().map(|frame| frame.address);
    let logged = execution.logs.iter().map(|log| log.address);
    let reached = called.chain(logged).find(|address| protocol.protects(*address));
    let first = || protocol.contracts.first().map(|contract| contract.address);
    reached.or_else(first).unwrap_or_default()
}
