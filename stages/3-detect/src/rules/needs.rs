//! What a transaction must hold before a rule is worth its evaluation.
//!
//! In: a checked expression. Out: the topics or selectors of which one must be there. It is read off the parts of the
//! outermost `&&`: where one of them is `logs.exists(l, l.topic0 == event("..."))`, no transaction without that event
//! can make the rule hold. Must never: pass over a rule that might hold; what is not understood is always evaluated.

use super::literals::Constant;
use super::values::Octets;
use alloy_primitives::map::{HashMap, HashSet};
use alloy_primitives::{B256, Selector};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use cordon_model::execution::Execution;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing is known; always evaluate.
    #[default]
    Unknown,
    /// One log with one of these first topics.
    Topics(Vec<B256>),
    /// One call of one of these functions.
    Selectors(Vec<Selector>),
}

/// What a transaction holds.
#[derive(Debug)]
pub(super) struct Present {
    topics: HashSet<B256>,
    selectors: HashSet<Selector>,
}

impl Present {
    pub(super) fn of(execution: &Execution) -> Self {
        let topics = execution.logs.iter().filter_map(|log| log.topics.first().copied());
        let selectors = execution.frames.iter().filter_map(|frame| frame.selector());
        Self { topics: topics.collect(), selectors: selectors.collect() }
    }
}

impl Needs {
    pub(super) fn of(expression: &IdedExpr, constants: &[Constant]) -> Self {
        match &expression.expr {
            Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
                let parts = call.args.iter().map(|part| Self::of(part, constants));
                parts.into_iter().find(|part| *part != Self::Unknown).unwrap_or_default()
            }
            Expr::Call(call) if call.func_name == operators::LOGICAL_OR => {
                let mut parts = call.args.iter().map(|part| Self::of(part, constants));
                let first = parts.next().unwrap_or_default();
                parts.fold(first, Self::either)
            }
            Expr::Comprehension(walk) => Self::walked(walk, constants),
            _ => Self::Unknown,
        }
    }

    fn either(self, other: Self) -> Self {
        match (self, other) {
            (Self::Topics(mut a), Self::Topics(b)) => {
                a.extend(b);
                Self::Topics(a)
            }
            (Self::Selectors(mut a), Self::Selectors(b)) => {
                a.extend(b);
                Self::Selectors(a)
            }
            _ => Self::Unknown,
        }
    }

    /// `list.exists(x, condition)`: starts at false, and each step is `result || condition`.
    fn walked(walk: &ComprehensionExpr, constants: &[Constant]) -> Self {
        let is_accu = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if *name == walk.accu_var);
        let starts_false =
            matches!(&walk.accu_init.expr, Expr::Literal(LiteralValue::Boolean(b)) if !*b.inner());
        let (Expr::Ident(list), Expr::Call(step)) = (&walk.iter_range.expr, &walk.loop_step.expr) else {
            return Self::Unknown;
        };
        let [accu, condition] = step.args.as_slice() else { return Self::Unknown };
        let exists =
            starts_false && step.func_name == operators::LOGICAL_OR && is_accu(accu) && is_accu(&walk.result);
        match list.as_str() {
            "logs" if exists => Self::condition(condition, &walk.iter_var, "topic0", constants),
            "calls" if exists => Self::condition(condition, &walk.iter_var, "selector", constants),
            _ => Self::Unknown,
        }
    }

    fn condition(node: &IdedExpr, item: &str, field: &str, constants: &[Constant]) -> Self {
        let Expr::Call(call) = &node.expr else { return Self::Unknown };
        let mut parts = call.args.iter().map(|part| Self::condition(part, item, field, constants));
        match call.func_name.as_str() {
            operators::LOGICAL_AND => parts.find(|part| *part != Self::Unknown).unwrap_or_default(),
            operators::LOGICAL_OR => {
                let first = parts.next().unwrap_or_default();
                parts.fold(first, Self::either)
            }
            operators::EQUALS | operators::IN => Self::compared(call, item, field, constants),
            _ => Self::Unknown,
        }
    }

    /// `x.topic0 == constant`, either way round, or `x.topic0 in [constant, constant]`.
    fn compared(call: &CallExpr, item: &str, field: &str, constants: &[Constant]) -> Self {
        let is_field = |node: &IdedExpr| {
            matches!(&node.expr, Expr::Select(select) if !select.test && select.field == field
                && matches!(&select.operand.expr, Expr::Ident(name) if name == item))
        };
        let values: Vec<&IdedExpr> = match call.args.as_slice() {
            [found, value] if is_field(found) => match &value.expr {
                Expr::List(list) if call.func_name == operators::IN => list.elements.iter().collect(),
                _ if call.func_name == operators::EQUALS => vec![value],
                _ => return Self::Unknown,
            },
            [value, found] if is_field(found) && call.func_name == operators::EQUALS => vec![value],
            _ => return Self::Unknown,
        };
        let mut topics = Vec::new();
        let mut selectors = Vec::new();
        for value in &values {
            let Expr::Ident(name) = &value.expr else { return Self::Unknown };
            match Constant::find(constants, name) {
                Some(Constant::Octets(Octets::Word(word))) => topics.push(*word),
                Some(Constant::Octets(Octets::Selector(selector))) => selectors.push(*selector),
                _ => return Self::Unknown,
            }
        }
        match (field, topics.len() == values.len(), selectors.len() == values.len()) {
            ("topic0", true, _) => Self::Topics(topics),
            ("selector", _, true) => Self::Selectors(selectors),
            _ => Self::Unknown,
        }
    }

    pub(super) fn are_met(&self, present: &Present) -> bool {
        match self {
            Self::Unknown => true,
            Self::Topics(topics) => topics.iter().any(|topic| present.topics.contains(topic)),
            Self::Selectors(known) => known.iter().any(|selector| present.selectors.contains(selector)),
        }
    }
}

/// The rules to evaluate, found by what a transaction holds: its cost follows the transaction and not the number of
/// rules.
#[derive(Debug, Clone)]
pub(super) struct Index<P> {
    all: Vec<P>,
    always: Vec<P>,
    by_topic: HashMap<B256, Vec<P>>,
    by_selector: HashMap<Selector, Vec<P>>,
}

impl<P: Copy + Ord> Index<P> {
    /// Of rules in their order, each with its needs.
    pub(super) fn of(rules: impl Iterator<Item = (P, Needs)>) -> Self {
        let (by_topic, by_selector) = (HashMap::default(), HashMap::default());
        let mut index = Self { all: Vec::new(), always: Vec::new(), by_topic, by_selector };
        for (place, needs) in rules {
            index.all.push(place);
            match needs {
                Needs::Unknown => index.always.push(place),
                Needs::Topics(topics) => {
                    topics.into_iter().for_each(|topic| index.by_topic.entry(topic).or_default().push(place));
                }
                Needs::Selectors(known) => {
                    known
                        .into_iter()
                        .for_each(|selector| index.by_selector.entry(selector).or_default().push(place));
                }
            }
        }
        index
    }

    /// Every rule, in the order given.
    pub(super) fn all(&self) -> Vec<P> {
        self.all.clone()
    }

    /// The rules that might hold, in the order given.
    pub(super) fn worth_a_look(&self, present: &Present) -> Vec<P> {
        let by_topic = present.topics.iter().filter_map(|topic| self.by_topic.get(topic));
        let by_selector = present.selectors.iter().filter_map(|selector| self.by_selector.get(selector));
        let mut found: Vec<P> = by_topic.chain(by_selector).flatten().chain(&self.always).copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
