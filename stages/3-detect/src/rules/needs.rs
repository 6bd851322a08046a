//! What a transaction must hold before a rule is worth its evaluation.
//!
//! In: a checked expression. Out: the topics or selectors of which one must be there. It is read off the parts of the
//! outermost `&&`: where one of them is `logs.exists(l, l.topic0 == event("..."))`, no transaction without that event
//! can make the rule hold, and where it says `l.protected &&` none in which only others emit it. Must never: pass over a rule that might hold; what is not understood is always evaluated.

use super::literals::Constant;
use super::sieve::is_exists;
use super::values::Octets;
use alloy_primitives::map::{HashMap, HashSet};
use alloy_primitives::{Address, B256, Selector};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, operators};
use cordon_model::execution::Execution;
use cordon_model::protocol::Protocol;
use std::hash::Hash;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing is known; always evaluate.
    #[default]
    Unknown,
    /// One log with one of these first topics.
    Topics(Vec<B256>, Whose),
    /// One call of one of these functions.
    Selectors(Vec<Selector>, Whose),
}

/// Whose log or call it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Whose {
    Anyones,
    Protected,
}

impl Whose {
    fn fits(self, is_protected: bool) -> bool {
        self == Self::Anyones || is_protected
    }
}

/// What a transaction holds: first topics and selectors, each with whether it is a protected contract's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'e> {
    protocol: &'e Protocol,
    execution: &'e Execution,
}

impl<'e> Present<'e> {
    pub(super) fn of(protocol: &'e Protocol, execution: &'e Execution) -> Self {
        Self { protocol, execution }
    }

    fn topics(self) -> impl Iterator<Item = (B256, Address)> {
        self.execution.logs.iter().filter_map(|log| Some((*log.topics.first()?, log.address)))
    }

    fn selectors(self) -> impl Iterator<Item = (Selector, Address)> {
        self.execution.frames.iter().filter_map(|frame| Some((frame.selector()?, frame.address)))
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
            (Self::Topics(mut a, whose), Self::Topics(b, others)) => {
                a.extend(b);
                Self::Topics(a, whose.min(others))
            }
            (Self::Selectors(mut a, whose), Self::Selectors(b, others)) => {
                a.extend(b);
                Self::Selectors(a, whose.min(others))
            }
            _ => Self::Unknown,
        }
    }

    fn walked(walk: &ComprehensionExpr, constants: &[Constant]) -> Self {
        let (Expr::Ident(list), Expr::Call(step)) = (&walk.iter_range.expr, &walk.loop_step.expr) else {
            return Self::Unknown;
        };
        let [_, condition] = step.args.as_slice() else { return Self::Unknown };
        if !is_exists(walk) {
            return Self::Unknown;
        }
        let item = walk.iter_var.as_str();
        let whose = if wants_protected(condition, item) { Whose::Protected } else { Whose::Anyones };
        let found = match list.as_str() {
            "logs" => Self::condition(condition, item, "topic0", constants),
            "calls" => Self::condition(condition, item, "selector", constants),
            _ => return Self::Unknown,
        };
        match found {
            Self::Topics(topics, _) => Self::Topics(topics, whose),
            Self::Selectors(selectors, _) => Self::Selectors(selectors, whose),
            Self::Unknown => Self::Unknown,
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
            ("topic0", true, _) => Self::Topics(topics, Whose::Anyones),
            ("selector", _, true) => Self::Selectors(selectors, Whose::Anyones),
            _ => Self::Unknown,
        }
    }

    pub(super) fn are_met(&self, present: Present<'_>) -> bool {
        let fits = |whose: &Whose, address| whose.fits(present.protocol.protects(address));
        match self {
            Self::Unknown => true,
            Self::Topics(topics, whose) => {
                present.topics().any(|(topic, address)| topics.contains(&topic) && fits(whose, address))
            }
            Self::Selectors(known, whose) => present
                .selectors()
                .any(|(selector, address)| known.contains(&selector) && fits(whose, address)),
        }
    }
}

/// `x.protected`, alone or as a part of the outermost `&&`.
fn wants_protected(node: &IdedExpr, item: &str) -> bool {
    match &node.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.iter().any(|part| wants_protected(part, item))
        }
        Expr::Select(select) => {
            let is_item = matches!(&select.operand.expr, Expr::Ident(name) if name == item);
            !select.test && select.field == "protected" && is_item
        }
        _ => false,
    }
}

/// The rules to evaluate, found by what a transaction holds: its cost follows the transaction and not the number of
/// rules.
#[derive(Debug, Clone)]
pub(super) struct Index<P> {
    all: Vec<P>,
    always: Vec<P>,
    by_topic: Keyed<B256, P>,
    by_selector: Keyed<Selector, P>,
}

/// Rules by what they need one of, in the order given.
#[derive(Debug, Clone)]
struct Keyed<K, P>(HashMap<K, Vec<(P, Whose)>>);

impl<K: Eq + Hash + Copy, P: Copy> Keyed<K, P> {
    fn insert(&mut self, keys: Vec<K>, place: P, whose: Whose) {
        keys.into_iter().for_each(|key| self.0.entry(key).or_default().push((place, whose)));
    }

    /// The rules that need what is there. A key is looked at twice at most, however often it is there.
    fn collect(&self, there: impl Iterator<Item = (K, Address)>, protocol: &Protocol, found: &mut Vec<P>) {
        let mut seen: HashSet<(K, bool)> = HashSet::default();
        for (key, address) in there {
            let Some(rules) = self.0.get(&key) else { continue };
            let is_protected = protocol.protects(address);
            if seen.insert((key, is_protected)) {
                let fit = rules.iter().filter(|(_, whose)| whose.fits(is_protected));
                found.extend(fit.map(|(place, _)| *place));
            }
        }
    }
}

impl<P: Copy + Ord> Index<P> {
    /// Of rules in their order, each with its needs.
    pub(super) fn of(rules: impl Iterator<Item = (P, Needs)>) -> Self {
        let (by_topic, by_selector) = (Keyed(HashMap::default()), Keyed(HashMap::default()));
        let mut index = Self { all: Vec::new(), always: Vec::new(), by_topic, by_selector };
        for (place, needs) in rules {
            index.all.push(place);
            match needs {
                Needs::Unknown => index.always.push(place),
                Needs::Topics(topics, whose) => index.by_topic.insert(topics, place, whose),
                Needs::Selectors(known, whose) => index.by_selector.insert(known, place, whose),
            }
        }
        index
    }

    /// Every rule, in the order given.
    pub(super) fn all(&self) -> Vec<P> {
        self.all.clone()
    }

    /// The rules that might hold, in the order given.
    pub(super) fn worth_a_look(&self, present: Present<'_>) -> Vec<P> {
        let mut found = self.always.clone();
        self.by_topic.collect(present.topics(), present.protocol, &mut found);
        self.by_selector.collect(present.selectors(), present.protocol, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}
