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
mod types;
mod values;

pub use abi::AbiFile;
pub use fault::RuleError;
pub use file::{RULE_FILE_BYTES_MAX, RuleSet};

use crate::detector::{Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use alloy_primitives::Address;
use cel::{Context, Env, Value};
use cordon_model::execution::{Detail, Execution, ViewCall};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use lists::{ELEMENTS_MAX, LIST_MAX};
use literals::Constant;
use needs::{Index, Needs, Present};
use records::{Facts, Scope};
use serde::Deserialize;
use sieve::Gates;
use std::path::PathBuf;
use std::sync::Arc;

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
    expression: cel::IdedExpr,
    constants: Vec<Constant>,
    needs: Needs,
    gates: Gates,
    /// What it names of that which not every record tells, see [`is_known`]. Where it names several, the one that is
    /// known least often.
    beyond_calls: Option<&'static str>,
}

impl Rule {
    /// Whether the rule holds; words where that could not be found out.
    fn holds(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<bool, String> {
        if let Some(list) = self.beyond_calls.filter(|list| !is_known(list, facts.detail())) {
            return Err(format!("the record has no {list}"));
        }
        if let Some(reading) = facts.unanswered(&self.constants) {
            return Err(format!("there is no answer to {reading}"));
        }
        if sieve::is_shut(&self.gates, &self.constants, facts) {
            return Ok(false);
        }
        facts.budget().renew();
        let scope = Scope { facts, constants: &self.constants };
        let mut context = Context::with_env(Arc::clone(env));
        context.set_variable_resolver(&scope);
        let found = context.resolve(&self.expression);
        if facts.budget().is_spent() {
            return Err(format!("it walks more than {ELEMENTS_MAX} elements"));
        }
        match found {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it gives {}, expected a yes or no", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The lists that not every record tells, those that are known least often first.
const BEYOND_CALLS: [&str; 3] = ["reads", "logs", "changes"];

/// Whether records of this detail hold such a list: an archived tree of calls has neither logs nor storage, and a node's
/// traces do not say which slots were read.
fn is_known(list: &str, detail: Detail) -> bool {
    if list == "reads" { detail.knows_accesses() } else { detail.knows_logs() }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct UserRules {
    sets: Vec<Arc<RuleSet>>,
    index: Index<Place>,
    /// Whether any rule has readings.
    asks: bool,
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
        let mut rules = sets.iter().flat_map(|set| &set.rules);
        let asks = rules.any(|rule| rule.constants.iter().any(|constant| constant.reading().is_some()));
        Self { sets, index, asks }
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
        let rules = self.worth_a_look(protocol, execution);
        rules.map(|(set, rule)| (rule, rule.holds(&set.env, &facts))).collect()
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
        let constants = self.worth_a_look(protocol, execution).flat_map(|(_, rule)| &rule.constants);
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
                Ok(true) => opinion.findings.push(finding(rule, protocol, execution)),
                Ok(false) => {}
                Err(why) => opinion.gaps.push(format!("rule '{}' could not be judged: {why}", rule.id)),
            }
        }
        opinion
    }
}

fn finding(rule: &Rule, protocol: &Protocol, execution: &Execution) -> Finding {
    let statement = Statement {
        class: AttackClass::UserRule,
        contract: concerned(protocol, execution),
        score: rule.score,
        evidence: Evidence::Rule {
            rule: rule.id.clone(),
            title: rule.title.clone(),
            explanation: rule.explanation.clone(),
        },
    };
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
