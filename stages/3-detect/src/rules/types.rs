//! What the parts of a rule are, and whether they fit together.
//!
//! In: an expression whose literals were lifted. Out: its type, or the first [`Mistake`]. CEL finds a wrong name only
//! when it comes to it, and the second half of `a && b` may never be come to before the day of the attack; so every
//! part is looked at once, at load. Must never: let two things be compared that can never be equal.

mod fields;

use super::decoded::Kind;
use super::fault::Mistake;
use super::functions::FUNCTIONS;
use super::literals::Constant;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

/// Most loops in one another. Two lists can be compared, and a third looked up.
const LOOPS_MAX: usize = 3;

/// What a part of a rule is: one thing, or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    one: One,
    list: bool,
}

/// One thing. A list of lists is a list of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum One {
    Any,
    Bool,
    Int,
    Text,
    Hex,
    Amount,
    Signed,
    Signature,
    Record(Record),
}

/// Things with fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Tx,
    Block,
    Protocol,
    Call,
    Log,
    Transfer,
    Change,
    Read,
}

/// What a rule can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Tx,
    Block,
    Protocol,
    Calls,
    Logs,
    Transfers,
    Changes,
    Reads,
    Created,
}

const VARIABLES: [(&str, Variable); 9] = [
    ("tx", Variable::Tx),
    ("block", Variable::Block),
    ("protocol", Variable::Protocol),
    ("calls", Variable::Calls),
    ("logs", Variable::Logs),
    ("transfers", Variable::Transfers),
    ("changes", Variable::Changes),
    ("reads", Variable::Reads),
    ("created", Variable::Created),
];

impl Variable {
    pub(super) fn named(name: &str) -> Option<Self> {
        VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }

    /// What it is a list of, where that is something with fields.
    pub(super) fn rows(self) -> Option<Record> {
        match self.of() {
            Type { one: One::Record(record), list: true } => Some(record),
            _ => None,
        }
    }

    fn of(self) -> Type {
        match self {
            Self::Tx => Type::record(Record::Tx),
            Self::Block => Type::record(Record::Block),
            Self::Protocol => Type::record(Record::Protocol),
            Self::Calls => Type::CALL.listed(),
            Self::Logs => Type::LOG.listed(),
            Self::Transfers => Type::record(Record::Transfer).listed(),
            Self::Changes => Type::record(Record::Change).listed(),
            Self::Reads => Type::record(Record::Read).listed(),
            Self::Created => Type::HEXES,
        }
    }
}

impl Type {
    pub(super) const ANY: Self = Self::new(One::Any);
    pub(super) const ANYTHINGS: Self = Self::ANY.listed();
    pub(super) const BOOL: Self = Self::new(One::Bool);
    pub(super) const INT: Self = Self::new(One::Int);
    pub(super) const TEXT: Self = Self::new(One::Text);
    pub(super) const HEX: Self = Self::new(One::Hex);
    const HEXES: Self = Self::HEX.listed();
    pub(super) const AMOUNT: Self = Self::new(One::Amount);
    pub(super) const SIGNED: Self = Self::new(One::Signed);
    pub(super) const SIGNATURE: Self = Self::new(One::Signature);
    pub(super) const CALL: Self = Self::record(Record::Call);
    pub(super) const LOG: Self = Self::record(Record::Log);

    const fn new(one: One) -> Self {
        Self { one, list: false }
    }

    const fn record(record: Record) -> Self {
        Self::new(One::Record(record))
    }

    /// A list of this.
    pub(super) const fn listed(self) -> Self {
        Self { one: if self.list { One::Any } else { self.one }, list: true }
    }

    fn element(self) -> Option<Self> {
        match self {
            Self { one, list: true } => Some(Self::new(one)),
            Self::ANY => Some(Self::ANY),
            _ => None,
        }
    }

    fn is(self, wanted: Self) -> bool {
        self == wanted
            || self == Self::ANY
            || wanted == Self::ANY
            || (self.list && wanted.list && (self.one == One::Any || wanted.one == One::Any))
    }

    /// Both may be `self`, or either may be.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self { one: One::Any, list: true }, b) if b.list => b,
            (a, Self { one: One::Any, list: true }) if a.list => a,
            _ => Self::ANY,
        }
    }

    fn shown(self) -> String {
        let one = match self.one {
            One::Any => "anything",
            One::Bool => "a yes or no",
            One::Int => "a number",
            One::Text => "text",
            One::Hex => "hex (an address, selector, word or bytes)",
            One::Amount => "an amount",
            One::Signed => "a signed amount",
            One::Signature => "a signature in quotes",
            One::Record(record) => record.name(),
        };
        if self.list { format!("a list of {one}") } else { one.to_owned() }
    }
}

/// What an expression has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    YesNo,
    /// An amount, or a number.
    Number,
    Hex,
}

impl Wanted {
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::YesNo => "a yes or no",
            Self::Number => "an amount or a number",
            Self::Hex => "hex",
        }
    }

    fn takes(self, found: Type) -> bool {
        match self {
            Self::YesNo => found.is(Type::BOOL),
            Self::Number => found.is(Type::AMOUNT) || found.is(Type::INT),
            Self::Hex => found.is(Type::HEX),
        }
    }
}

/// Checks that the expression gives what is wanted, and that its parts fit together.
pub(super) fn check(expression: &IdedExpr, constants: &[Constant], wanted: Wanted) -> Result<(), Mistake> {
    let found = Checker { constants, locals: Vec::new(), loops: 0 }.infer(expression)?;
    if wanted.takes(found) {
        return Ok(());
    }
    let what = match wanted {
        Wanted::YesNo => "the rule gives",
        Wanted::Number | Wanted::Hex => "this gives",
    };
    Err(Mistake::at(expression.id, format!("{what} {}, expected {}", found.shown(), wanted.shown())))
}

struct Checker<'c> {
    constants: &'c [Constant],
    locals: Vec<(String, Type)>,
    loops: usize,
}

impl<'c> Checker<'c> {
    fn infer(&mut self, node: &IdedExpr) -> Result<Type, Mistake> {
        match &node.expr {
            Expr::Literal(literal) => literal_type(node.id, literal),
            Expr::Ident(name) => self.name(node.id, name),
            Expr::Select(select) => {
                let operand = self.infer(&select.operand)?;
                let field = field(node.id, operand, &select.field)?;
                Ok(if select.test { Type::BOOL } else { field })
            }
            Expr::Call(call) => {
                let found = self.call(node.id, call)?;
                Ok(self.decoded(node)?.map_or(found, Kind::type_of))
            }
            Expr::Comprehension(walk) => self.walk(walk),
            Expr::List(list) => {
                let mut of = None;
                for element in &list.elements {
                    let found = self.infer(element)?;
                    of = Some(of.map_or(found, |known: Type| known.join(found)));
                }
                Ok(of.unwrap_or(Type::ANY).listed())
            }
            // A map of CEL is walked in an order that differs from run to run.
            Expr::Map(_) => Err(Mistake::at(node.id, "rules have no maps")),
            Expr::Struct(_) | Expr::Unspecified => Err(Mistake::at(node.id, "this is not an expression")),
        }
    }

    fn name(&self, id: u64, name: &str) -> Result<Type, Mistake> {
        if let Some(constant) = Constant::find(self.constants, name) {
            return Ok(match constant {
                Constant::Octets(_) | Constant::Reading(_) => Type::HEX,
                Constant::Amount(_) => Type::AMOUNT,
                Constant::Layout(_) => Type::SIGNATURE,
                // These are made after the check.
                Constant::Sieve(_) | Constant::Total(..) => Type::ANY,
            });
        }
        let local = self.locals.iter().rev().find(|(known, _)| known == name).map(|(_, found)| *found);
        local.or_else(|| Variable::named(name).map(Variable::of)).ok_or_else(|| {
            let known = VARIABLES.map(|(known, _)| known).join(", ");
            Mistake::at(id, format!("there is no '{name}'; there are {known}"))
        })
    }

    /// What the arguments of a call or log are, and what stands at a place of them that is written as a number.
    fn decoded(&self, node: &IdedExpr) -> Result<Option<&'c Kind>, Mistake> {
        let Expr::Call(call) = &node.expr else { return Ok(None) };
        match (call.func_name.as_str(), call.args.as_slice()) {
            ("args" | "event_args", [_, IdedExpr { expr: Expr::Ident(name), .. }]) => {
                Ok(match Constant::find(self.constants, name) {
                    Some(Constant::Layout(layout)) => Some(layout.kind()),
                    _ => None,
                })
            }
            (operators::INDEX, [list, IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(place)) }]) => {
                let Some(kind) = self.decoded(list)? else { return Ok(None) };
                let place = usize::try_from(*place.inner());
                let place = place.map_err(|_| Mistake::at(*id, "a place is counted from 0"))?;
                kind.at(place).map(Some).map_err(|why| Mistake::at(*id, why))
            }
            _ => Ok(None),
        }
    }

    fn walk(&mut self, walk: &ComprehensionExpr) -> Result<Type, Mistake> {
        let range = self.infer(&walk.iter_range)?;
        let element = range.element().ok_or_else(|| {
            Mistake::at(walk.iter_range.id, format!("{} is not a list to walk", range.shown()))
        })?;
        self.loops = self.loops.saturating_add(1);
        if self.loops > LOOPS_MAX {
            return Err(Mistake::at(
                walk.iter_range.id,
                format!("more than {LOOPS_MAX} loops in one another"),
            ));
        }
        let start = self.infer(&walk.accu_init)?;
        let depth = self.locals.len();
        self.locals.push((walk.iter_var.clone(), element));
        self.locals.push((walk.accu_var.clone(), start));
        self.infer(&walk.loop_cond)?;
        let stepped = self.infer(&walk.loop_step)?;
        self.locals.truncate(depth);
        self.locals.push((walk.accu_var.clone(), start.join(stepped)));
        let result = self.infer(&walk.result);
        self.locals.truncate(depth);
        self.loops = self.loops.saturating_sub(1);
        result
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Result<Type, Mistake> {
        let mut given = Vec::new();
        for operand in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
            given.push(self.infer(operand)?);
        }
        match (call.func_name.as_str(), given.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
                bools(id, &[*a, *b]).map(|()| Type::BOOL)
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [a]) => {
                bools(id, &[*a]).map(|()| Type::BOOL)
            }
            (operators::CONDITIONAL, [condition, a, b]) => bools(id, &[*condition]).map(|()| a.join(*b)),
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => equals(id, *a, *b).map(|()| Type::BOOL),
            (operators::IN, [a, list]) => {
                let element = list
                    .element()
                    .ok_or_else(|| Mistake::at(id, format!("{} is not a list to look in", list.shown())))?;
                equals(id, element, *a).map(|()| Type::BOOL)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [a, b],
            ) => ordered(id, *a, *b).map(|()| Type::BOOL),
            (operators::ADD, [a, b]) if a.list && b.list => Ok(a.join(*b)),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [a, b],
            ) => numbers(id, *a, *b),
            (operators::NEGATE, [a]) if a.is(Type::INT) => Ok(Type::INT),
            (operators::INDEX, [list, index]) => {
                numbers(id, *index, Type::INT)?;
                let why = || Mistake::at(id, format!("{} has no places", list.shown()));
                list.element().ok_or_else(why)
            }
            ("size", [of]) if of.list || of.is(Type::TEXT) || of.is(Type::HEX) => Ok(Type::INT),
            ("contains" | "startsWith" | "endsWith", [a, b]) if a.is(Type::TEXT) && b.is(Type::TEXT) => {
                Ok(Type::BOOL)
            }
            (name, given) => function(id, name, given),
        }
    }
}

fn literal_type(id: u64, literal: &LiteralValue) -> Result<Type, Mistake> {
    match literal {
        LiteralValue::Boolean(_) => Ok(Type::BOOL),
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Ok(Type::INT),
        LiteralValue::String(_) => Ok(Type::TEXT),
        LiteralValue::Null => Ok(Type::ANY),
        LiteralValue::Bytes(_) => Ok(Type::HEX),
        LiteralValue::Double(_) => {
            Err(Mistake::at(id, "rules have no broken numbers; multiply instead, or write ether(\"1.5\")"))
        }
    }
}

fn field(id: u64, operand: Type, name: &str) -> Result<Type, Mistake> {
    let record = match operand {
        Type::ANY => return Ok(Type::ANY),
        Type { one: One::Record(record), list: false } => record,
        other => return Err(Mistake::at(id, format!("{} has no fields", other.shown()))),
    };
    let found = record.fields().iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
    found.ok_or_else(|| {
        let known = record.fields().iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        Mistake::at(id, format!("{} has no '{name}'; it has {known}", record.name()))
    })
}

fn function(id: u64, name: &str, given: &[Type]) -> Result<Type, Mistake> {
    let shown = |types: &[Type]| types.iter().map(|found| found.shown()).collect::<Vec<_>>().join(", ");
    let Some(known) = FUNCTIONS.iter().find(|function| function.name == name) else {
        let names = FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>().join(", ");
        let what = format!(
            "'{name}' does not take ({}); functions are {names}, protects, sig, event, slot, u, ether, before, after, size, contains, startsWith, endsWith",
            shown(given)
        );
        return Err(Mistake::at(id, what));
    };
    let fits = known.takes.len() == given.len() && known.takes.iter().zip(given).all(|(a, b)| b.is(*a));
    if fits {
        return Ok(known.gives);
    }
    let what = format!("'{name}' takes ({}), found ({})", shown(known.takes), shown(given));
    Err(Mistake::at(id, what))
}

fn bools(id: u64, given: &[Type]) -> Result<(), Mistake> {
    let wrong = given.iter().find(|found| !found.is(Type::BOOL));
    wrong.map_or(Ok(()), |found| {
        Err(Mistake::at(id, format!("expected a yes or no on each side, found {}", found.shown())))
    })
}

/// Both sides are numbers of which one may be below the other.
fn ordered(id: u64, a: Type, b: Type) -> Result<(), Mistake> {
    match (a, b) {
        (Type::SIGNED, Type::SIGNED | Type::INT | Type::AMOUNT | Type::ANY) => Ok(()),
        (Type::INT | Type::AMOUNT, Type::SIGNED) => Err(Mistake::at(id, SIGNED_ON_THE_LEFT)),
        (Type::ANY, Type::SIGNED) => Ok(()),
        (a, b) => numbers(id, a, b).map(|_| ()),
    }
}

const SIGNED_ON_THE_LEFT: &str = "a signed amount beside another number: write the signed one on the left";

/// Both sides are numbers; the result is an amount where one is.
fn numbers(id: u64, a: Type, b: Type) -> Result<Type, Mistake> {
    match (a, b) {
        (Type::INT, Type::AMOUNT) => {
            Err(Mistake::at(id, "a number and an amount: write the amount on the left"))
        }
        (Type::AMOUNT, Type::AMOUNT | Type::INT) => Ok(Type::AMOUNT),
        (Type::INT, Type::INT) => Ok(Type::INT),
        (Type::ANY, _) | (_, Type::ANY) => Ok(Type::ANY),
        (Type::SIGNED, _) | (_, Type::SIGNED) => {
            Err(Mistake::at(id, "a signed amount is only compared; abs(...) makes an amount of it"))
        }
        (a, b) => {
            Err(Mistake::at(id, format!("expected two numbers, found {} and {}", a.shown(), b.shown())))
        }
    }
}

/// The two may be equal, and the left one knows how to compare itself with the right one.
fn equals(id: u64, a: Type, b: Type) -> Result<(), Mistake> {
    match (a, b) {
        (Type::AMOUNT, Type::INT) | (Type::SIGNED, Type::INT | Type::AMOUNT) => Ok(()),
        (Type::INT | Type::AMOUNT, Type::SIGNED) => Err(Mistake::at(id, SIGNED_ON_THE_LEFT)),
        (Type::INT, Type::AMOUNT) => Err(Mistake::at(
            id,
            "a number and an amount: write the amount on the left, as u(\"...\") in a list",
        )),
        (Type { one: One::Record(_), list: false }, _) => {
            Err(Mistake::at(id, format!("{} cannot be compared as a whole; compare its fields", a.shown())))
        }
        (a, b) if a.is(b) => Ok(()),
        (a, b) => Err(Mistake::at(id, format!("{} never equals {}", a.shown(), b.shown()))),
    }
}
