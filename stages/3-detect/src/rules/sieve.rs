//! Conditions on one element of a list that need no interpreter.
//!
//! In: a checked expression. Out: the same one, where `transfers.filter(t, protects(t.from) && f(t))` walks a [`Sieve`] of the
//! transfers from protected accounts and asks `f(t)` of those only; and which sieves must let something through before the
//! rule can hold. The interpreter takes a microsecond for what is some nanoseconds here, and most elements fail at the first
//! condition. Must never: change what an expression means. Taken out are only conditions that cannot fail with an error, so
//! that the order in which `&&` asks them does not matter.

use super::literals::{Constant, PREFIX};
use super::records::{Facts, Plain, Row};
use super::tree::parts;
use super::types::{Record, Type, Variable};
use super::values::Octets;
use alloy_primitives::U256;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelBool;
use cordon_model::protocol::Protocol;

#[cfg(test)]
mod tests;

/// So many elements that are tested here count as one that the interpreter walks, which takes at least as long.
const CHEAPER: usize = 16;

/// How an amount stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    Equal,
    Greater,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Flag,
    Protected,
    OneOf(Vec<Octets>),
    Text(String),
    Amount(Order, U256),
}

/// A field and what it must be, or must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    field: &'static str,
    wanted: Wanted,
    /// True where the opposite is wanted.
    is_not: bool,
}

/// A list of the transaction, with only those elements that pass every test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sieve {
    list: Variable,
    tests: Vec<Test>,
}

impl Test {
    fn passes(&self, row: &Row<'_>, protocol: &Protocol) -> bool {
        let holds = match (row.plain(self.field), &self.wanted) {
            (Some(Plain::Flag(flag)), Wanted::Flag) => flag,
            (Some(Plain::Octets(Octets::Address(address))), Wanted::Protected) => protocol.protects(address),
            (Some(Plain::Octets(found)), Wanted::OneOf(values)) => {
                values.iter().any(|value| value.as_slice() == found.as_slice())
            }
            (Some(Plain::Text(text)), Wanted::Text(wanted)) => text == wanted,
            (Some(Plain::Amount(amount)), Wanted::Amount(order, beside)) => match order {
                Order::Less => amount < *beside,
                Order::Equal => amount == *beside,
                Order::Greater => amount > *beside,
            },
            // Nothing is equal to nothing that is asked for.
            _ => false,
        };
        holds != self.is_not
    }
}

impl Sieve {
    /// The elements that pass, in order; nothing where the rule's budget is spent, which is then on record.
    pub(super) fn rows<'f, 'e>(&'f self, facts: &'f Facts<'e>) -> impl Iterator<Item = &'f Row<'e>> {
        let rows = facts.rows(self.list).unwrap_or_default();
        let rows = if facts.budget().take(rows.len().div_ceil(CHEAPER)) { rows } else { &[] };
        let protocol = facts.protocol();
        rows.iter().filter(move |row| self.tests.iter().all(|test| test.passes(row, protocol)))
    }
}

/// Adds up a field of the elements that pass.
pub(super) fn sum(sieve: &Sieve, field: &str, facts: &Facts<'_>) -> U256 {
    let amounts = sieve.rows(facts).filter_map(|row| match row.plain(field) {
        Some(Plain::Amount(amount)) => Some(amount),
        _ => None,
    });
    amounts.fold(U256::ZERO, U256::saturating_add)
}

/// Which sieves must let something through: one of each of these.
pub(super) type Gates = Vec<Vec<usize>>;

/// Takes the conditions out of an expression and says which sieves decide about it.
pub(super) fn take(expression: &mut IdedExpr, constants: &mut Vec<Constant>) -> Gates {
    // A variable of a loop that is called like a list is not that list.
    if shadows(expression) {
        return Gates::new();
    }
    visit(expression, constants);
    gates(expression, constants)
}

fn shadows(node: &mut IdedExpr) -> bool {
    let is_list = |walk: &ComprehensionExpr| Variable::named(&walk.iter_var).is_some();
    matches!(&node.expr, Expr::Comprehension(walk) if is_list(walk)) || parts(node).into_iter().any(shadows)
}

/// True where one gate lets nothing through, so that the rule cannot hold.
pub(super) fn is_shut(gates: &Gates, constants: &[Constant], facts: &Facts<'_>) -> bool {
    let lets_something = |place: &usize| match constants.get(*place) {
        Some(Constant::Sieve(sieve)) => sieve.rows(facts).next().is_some(),
        _ => true,
    };
    gates.iter().any(|gate| !gate.iter().any(lets_something))
}

fn gates(node: &IdedExpr, constants: &[Constant]) -> Gates {
    match &node.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.iter().flat_map(|part| gates(part, constants)).collect()
        }
        Expr::Call(call) if call.func_name == operators::LOGICAL_OR => {
            let parts = call.args.iter().map(|part| gates(part, constants).into_iter().next());
            let all: Option<Vec<Vec<usize>>> = parts.collect();
            all.map(|gates| vec![gates.concat()]).unwrap_or_default()
        }
        Expr::Comprehension(walk) if is_exists(walk) => {
            let Expr::Ident(name) = &walk.iter_range.expr else { return Gates::new() };
            match Constant::place(name) {
                Some(place) if matches!(constants.get(place), Some(Constant::Sieve(_))) => vec![vec![place]],
                _ => Gates::new(),
            }
        }
        _ => Gates::new(),
    }
}

fn is_name(node: &IdedExpr, wanted: &str) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == wanted)
}

/// `list.exists(x, condition)`: starts at false, and each step is `result || condition`.
pub(super) fn is_exists(walk: &ComprehensionExpr) -> bool {
    let starts_false = matches!(&walk.accu_init.expr, Expr::Literal(LiteralValue::Boolean(b)) if !*b.inner());
    let Expr::Call(step) = &walk.loop_step.expr else { return false };
    let adds = step.args.len() == 2 && step.args.first().is_some_and(|first| is_name(first, &walk.accu_var));
    starts_false && step.func_name == operators::LOGICAL_OR && adds && is_name(&walk.result, &walk.accu_var)
}

fn visit(node: &mut IdedExpr, constants: &mut Vec<Constant>) {
    if let Expr::Comprehension(walk) = &mut node.expr {
        sift(walk, constants);
    }
    parts(node).into_iter().for_each(|part| visit(part, constants));
    if let Some(place) = whole(node).or_else(|| total(node, constants)) {
        node.expr = Expr::Ident(format!("{PREFIX}{place}"));
    }
}

/// Moves what can be moved from the condition of a walk into its list.
fn sift(walk: &mut ComprehensionExpr, constants: &mut Vec<Constant>) {
    let Expr::Ident(name) = &walk.iter_range.expr else { return };
    let Some((list, record)) = Variable::named(name).and_then(|list| Some((list, list.rows()?))) else {
        return;
    };
    let is_exists = is_exists(walk);
    let Some(condition) = condition(walk, is_exists) else { return };
    let item = Item { name: &walk.iter_var, record, constants };
    let (mut tests, mut rest) = (Vec::new(), Vec::new());
    split(condition, &item, &mut tests, &mut rest);
    if tests.is_empty() {
        return;
    }
    let id = condition.id;
    let rest = rest.into_iter().cloned().reduce(|a, b| IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: operators::LOGICAL_AND.to_owned(),
            target: None,
            args: vec![a, b],
        }),
    });
    let yes = || IdedExpr { id, expr: Expr::Literal(LiteralValue::Boolean(CelBool::from(true))) };
    let rest = rest.unwrap_or_else(yes);
    if let Expr::Call(step) = &mut walk.loop_step.expr
        && let Some(place) = step.args.get_mut(usize::from(is_exists))
    {
        *place = rest;
        walk.iter_range.expr = Expr::Ident(format!("{PREFIX}{}", constants.len()));
        constants.push(Constant::Sieve(Sieve { list, tests }));
    }
}

/// What a walk asks of each element, where an element that fails it changes nothing: of `exists`, `exists_one`, `filter`, and
/// `map` with a condition.
fn condition(walk: &ComprehensionExpr, is_exists: bool) -> Option<&IdedExpr> {
    let Expr::Call(step) = &walk.loop_step.expr else { return None };
    match step.args.as_slice() {
        [_, condition] if is_exists => Some(condition),
        [condition, _, otherwise]
            if step.func_name == operators::CONDITIONAL && is_name(otherwise, &walk.accu_var) =>
        {
            Some(condition)
        }
        _ => None,
    }
}

/// `sieve.filter(x, true)` is the sieve itself.
fn whole(node: &IdedExpr) -> Option<usize> {
    let Expr::Comprehension(walk) = &node.expr else { return None };
    let (Expr::Ident(list), Expr::Call(step)) = (&walk.iter_range.expr, &walk.loop_step.expr) else {
        return None;
    };
    let [condition, added, _] = step.args.as_slice() else { return None };
    let is_yes = matches!(&condition.expr, Expr::Literal(LiteralValue::Boolean(b)) if *b.inner());
    let keeps_it = appended(added, &walk.accu_var).is_some_and(|one| is_name(one, &walk.iter_var));
    let place = Constant::place(list)?;
    (step.func_name == operators::CONDITIONAL && is_yes && keeps_it && is_name(&walk.result, &walk.accu_var))
        .then_some(place)
}

/// `x` of `result + [x]`.
fn appended<'n>(node: &'n IdedExpr, accu: &str) -> Option<&'n IdedExpr> {
    let Expr::Call(call) = &node.expr else { return None };
    match call.args.as_slice() {
        [first, IdedExpr { expr: Expr::List(list), .. }]
            if call.func_name == operators::ADD && is_name(first, accu) =>
        {
            list.elements.first().filter(|_| list.elements.len() == 1)
        }
        _ => None,
    }
}

/// `sum(sieve.map(x, x.amount))`, as one value.
fn total(node: &IdedExpr, constants: &mut Vec<Constant>) -> Option<usize> {
    let Expr::Call(call) = &node.expr else { return None };
    let [IdedExpr { expr: Expr::Comprehension(walk), .. }] = call.args.as_slice() else { return None };
    if call.func_name != "sum" || call.target.is_some() || !is_name(&walk.result, &walk.accu_var) {
        return None;
    }
    let Expr::Ident(list) = &walk.iter_range.expr else { return None };
    let one = appended(&walk.loop_step, &walk.accu_var)?;
    let sieve = match constants.get(Constant::place(list)?)? {
        Constant::Sieve(sieve) => sieve.clone(),
        _ => return None,
    };
    let item = Item { name: &walk.iter_var, record: sieve.list.rows()?, constants };
    let (field, found) = item.field(one)?;
    let place = constants.len();
    (found == Type::AMOUNT).then(|| constants.push(Constant::Total(sieve, field)))?;
    Some(place)
}

/// The element that a walk is at.
struct Item<'i> {
    name: &'i str,
    record: Record,
    constants: &'i [Constant],
}

/// The parts of an `&&`: those that a test can decide, and the others.
fn split<'n>(node: &'n IdedExpr, item: &Item<'_>, tests: &mut Vec<Test>, rest: &mut Vec<&'n IdedExpr>) {
    match &node.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.iter().for_each(|part| split(part, item, tests, rest));
        }
        _ => match item.test(node) {
            Some(test) => tests.push(test),
            None => rest.push(node),
        },
    }
}

impl Item<'_> {
    /// `x.field`, with the field's type.
    fn field(&self, node: &IdedExpr) -> Option<(&'static str, Type)> {
        let Expr::Select(select) = &node.expr else { return None };
        let known = self.record.fields().iter().find(|(name, _)| *name == select.field)?;
        (!select.test && is_name(&select.operand, self.name)).then_some(*known)
    }

    fn test(&self, node: &IdedExpr) -> Option<Test> {
        if let Some((field, found)) = self.field(node) {
            return (found == Type::BOOL).then_some(Test { field, wanted: Wanted::Flag, is_not: false });
        }
        let Expr::Call(call) = &node.expr else { return None };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [inner]) => {
                let test = self.test(inner)?;
                Some(Test { is_not: !test.is_not, ..test })
            }
            (name, [a, b]) => match self.field(a) {
                Some((field, found)) => self.beside(name, field, found, b),
                None if matches!(name, operators::EQUALS | operators::NOT_EQUALS) => {
                    let (field, found) = self.field(b)?;
                    self.beside(name, field, found, a)
                }
                None => None,
            },
            _ => None,
        }
    }

    /// `x.field operator value`.
    fn beside(&self, operator: &str, field: &'static str, found: Type, value: &IdedExpr) -> Option<Test> {
        let (wanted, is_not) = match operator {
            operators::EQUALS => (self.equal(found, value)?, false),
            operators::NOT_EQUALS => (self.equal(found, value)?, true),
            operators::IN if found == Type::HEX => (self.among(value)?, false),
            _ if found != Type::AMOUNT => return None,
            operators::LESS => (Wanted::Amount(Order::Less, self.amount(value)?), false),
            operators::GREATER => (Wanted::Amount(Order::Greater, self.amount(value)?), false),
            operators::LESS_EQUALS => (Wanted::Amount(Order::Greater, self.amount(value)?), true),
            operators::GREATER_EQUALS => (Wanted::Amount(Order::Less, self.amount(value)?), true),
            _ => return None,
        };
        Some(Test { field, wanted, is_not })
    }

    fn equal(&self, found: Type, value: &IdedExpr) -> Option<Wanted> {
        match (found, &value.expr) {
            (Type::HEX, _) => Some(Wanted::OneOf(vec![self.octets(value)?])),
            (Type::AMOUNT, _) => Some(Wanted::Amount(Order::Equal, self.amount(value)?)),
            (Type::TEXT, Expr::Literal(LiteralValue::String(text))) => {
                Some(Wanted::Text(text.inner().to_owned()))
            }
            _ => None,
        }
    }

    fn among(&self, list: &IdedExpr) -> Option<Wanted> {
        match &list.expr {
            Expr::List(list) => {
                let values: Option<Vec<Octets>> = list.elements.iter().map(|one| self.octets(one)).collect();
                values.map(Wanted::OneOf)
            }
            Expr::Select(select)
                if select.field == "contracts" && !select.test && is_name(&select.operand, "protocol") =>
            {
                Some(Wanted::Protected)
            }
            _ => None,
        }
    }

    fn octets(&self, node: &IdedExpr) -> Option<Octets> {
        match self.constant(node)? {
            Constant::Octets(octets) => Some(octets.clone()),
            _ => None,
        }
    }

    fn amount(&self, node: &IdedExpr) -> Option<U256> {
        match &node.expr {
            Expr::Literal(LiteralValue::Int(number)) => u64::try_from(*number.inner()).ok().map(U256::from),
            Expr::Literal(LiteralValue::UInt(number)) => Some(U256::from(*number.inner())),
            _ => match self.constant(node)? {
                Constant::Amount(amount) => Some(amount.0),
                _ => None,
            },
        }
    }

    fn constant(&self, node: &IdedExpr) -> Option<&Constant> {
        match &node.expr {
            Expr::Ident(name) => Constant::find(self.constants, name),
            _ => None,
        }
    }
}
