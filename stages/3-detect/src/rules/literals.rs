//! Literals of a rule that mean something on a chain, turned into values once, at load.
//!
//! In: a parsed expression. Out: the same expression with `"0x..."`, `sig("...")`, `event("...")`, `slot("...")`, `u("...")`,
//! `ether("...")`, `before("...")` and `after("...")` replaced by names of [`Constant`]s, and so are the signatures of
//! `args(call, "...")` and `event_args(log, "...")`, so that nothing is hashed or parsed per transaction. Must never:
//! let a literal through that can match nothing, such as an address of 19 bytes.

use super::decoded::{Layout, Schema};
use super::fault::Mistake;
use super::lists::Items;
use super::readings::{READINGS_MAX, Reading, Side};
use super::records::Facts;
use super::sieve::{self, Sieve};
use super::tree::parts;
use super::values::{Amount, Octets};
use alloy_primitives::{Address, B256, Bytes, Selector, U256, hex, keccak256};
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::value::CowVal;
use cordon_model::units::parse_wad;
use std::sync::Arc;

/// Before the number of a constant; no name that can be written starts like this.
pub(super) const PREFIX: &str = "@constant";

/// A value that stands in the text of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Constant {
    Octets(Octets),
    Amount(Amount),
    /// Known once a transaction is there.
    Reading(Reading),
    /// How the arguments of a function or an event are read.
    Layout(Arc<Layout>),
    /// A list with only the elements that pass.
    Sieve(Sieve),
    /// The sum of an amount of these.
    Total(Sieve, &'static str),
}

impl Constant {
    /// The value in an execution; `None` where it is a reading that failed or was not taken.
    pub(super) fn value<'v>(&'v self, facts: &'v Facts<'_>) -> Option<CowVal<'v, 'v>> {
        Some(match self {
            Self::Octets(octets) => CowVal::Borrowed(octets),
            Self::Amount(amount) => CowVal::Borrowed(amount),
            Self::Reading(reading) => CowVal::owned(Octets::Data(reading.answer(facts.execution())?.clone())),
            Self::Layout(layout) => {
                let (layout, budget) = (Arc::clone(layout), facts.shared_budget());
                CowVal::owned(Schema { layout, budget, place: None })
            }
            Self::Sieve(sieve) => {
                CowVal::owned(Items::of(sieve.rows(facts).copied(), &facts.shared_budget()))
            }
            Self::Total(sieve, field) => CowVal::owned(Amount(sieve::sum(sieve, field, facts))),
        })
    }

    /// The reading, if it is one.
    pub(super) fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Reading(reading) => Some(reading),
            Self::Octets(_) | Self::Amount(_) | Self::Layout(_) | Self::Sieve(_) | Self::Total(..) => None,
        }
    }

    /// The constant of this name.
    pub(super) fn find<'c>(constants: &'c [Self], name: &str) -> Option<&'c Self> {
        constants.get(Self::place(name)?)
    }

    /// The number of the constant of this name.
    pub(super) fn place(name: &str) -> Option<usize> {
        name.strip_prefix(PREFIX)?.parse().ok()
    }
}

/// Replaces the literals of `expression` and returns their values. Where a number stands left of an operator, it
/// changes sides: an amount knows how to deal with a number, a number does not know what an amount is.
pub(super) fn lift(expression: &mut IdedExpr) -> Result<Vec<Constant>, Mistake> {
    let mut constants = Vec::new();
    visit(expression, &mut constants)?;
    let readings = constants.iter().filter(|constant| constant.reading().is_some()).count();
    if readings > READINGS_MAX {
        return Err(Mistake::at(
            expression.id,
            format!("{readings} readings, expected at most {READINGS_MAX}"),
        ));
    }
    Ok(constants)
}

fn visit(node: &mut IdedExpr, constants: &mut Vec<Constant>) -> Result<(), Mistake> {
    if let Some(constant) = constant(node)? {
        node.expr = Expr::Ident(format!("{PREFIX}{}", constants.len()));
        constants.push(constant);
        return Ok(());
    }
    if let Expr::Call(call) = &mut node.expr {
        layout(call, constants)?;
    }
    parts(node).into_iter().try_for_each(|part| visit(part, constants))?;
    if let Expr::Call(call) = &mut node.expr {
        protects(call);
        turn(call);
    }
    Ok(())
}

fn constant(node: &IdedExpr) -> Result<Option<Constant>, Mistake> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) if text.inner().starts_with("0x") => {
            octets(text.inner()).map(Constant::Octets).map(Some).map_err(|why| Mistake::at(node.id, why))
        }
        Expr::Call(call) if call.target.is_none() => {
            let parse = match call.func_name.as_str() {
                "sig" => selector,
                "event" => topic,
                "slot" => slot,
                "u" => whole,
                "ether" => ether,
                "before" => return reading(node.id, Side::Before, call).map(Some),
                "after" => return reading(node.id, Side::After, call).map(Some),
                _ => return Ok(None),
            };
            let [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] = call.args.as_slice()
            else {
                let why = format!("{} takes one text in quotes", call.func_name);
                return Err(Mistake::at(node.id, why));
            };
            parse(text.inner()).map(Some).map_err(|why| Mistake::at(node.id, why))
        }
        _ => Ok(None),
    }
}

/// Puts a constant in the place of the signature of `args` and `event_args`.
fn layout(call: &mut CallExpr, constants: &mut Vec<Constant>) -> Result<(), Mistake> {
    let parse = match call.func_name.as_str() {
        "args" => Layout::function,
        "event_args" => Layout::event,
        _ => return Ok(()),
    };
    let [_, signature] = call.args.as_mut_slice() else { return Ok(()) };
    let Expr::Literal(LiteralValue::String(text)) = &signature.expr else {
        let why = format!("{} takes its signature as a text in quotes", call.func_name);
        return Err(Mistake::at(signature.id, why));
    };
    let layout = parse(text.inner()).map_err(|why| Mistake::at(signature.id, why))?;
    signature.expr = Expr::Ident(format!("{PREFIX}{}", constants.len()));
    constants.push(Constant::Layout(Arc::new(layout)));
    Ok(())
}

fn reading(id: u64, side: Side, call: &CallExpr) -> Result<Constant, Mistake> {
    let text = |node: &IdedExpr| match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    };
    let texts: Option<Vec<String>> = call.args.iter().map(text).collect();
    let texts = texts.ok_or_else(|| {
        Mistake::at(id, format!("{} takes texts in quotes only: it is asked before the rule", call.func_name))
    })?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Reading::parse(side, &texts).map(Constant::Reading).map_err(|why| Mistake::at(id, why))
}

/// The value of hex digits, by their length. Zero bytes and the lengths that nothing on a chain has are refused.
pub(super) fn octets(text: &str) -> Result<Octets, String> {
    let bytes = hex::decode(text).map_err(|_| format!("'{text}' is not hex of whole bytes"))?;
    let letters = |upper: fn(&char) -> bool| text.chars().skip(2).any(|letter| upper(&letter));
    match bytes.len() {
        4 => Ok(Octets::Selector(Selector::from_slice(&bytes))),
        20 if letters(char::is_ascii_lowercase)
            && letters(char::is_ascii_uppercase)
            && Address::parse_checksummed(text, None).is_err() =>
        {
            Err(format!(
                "the EIP-55 checksum of '{text}' does not hold; write it in lower case, or correct it"
            ))
        }
        20 => Ok(Octets::Address(Address::from_slice(&bytes))),
        32 => Ok(Octets::Word(B256::from_slice(&bytes))),
        0 => Ok(Octets::Data(Bytes::new())),
        length => Err(format!(
            "'{text}' has {length} bytes: expected 4 (a selector), 20 (an address), 32 (a topic or slot) or none"
        )),
    }
}

/// A signature as it is hashed: a name and types in brackets, no spaces, no names of parameters, no short types.
pub(super) fn canonical(text: &str) -> Result<&str, String> {
    let shape = || {
        let (name, types) = text.split_once('(')?;
        let types = types.strip_suffix(')')?;
        let name_fits = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        let known = |part: &str| part.is_empty() || is_type(part);
        (name_fits && types.split([',', '(', ')', '[', ']']).all(known)).then_some(text)
    };
    shape().ok_or_else(|| {
        format!(
            "'{text}' is not a signature such as 'transfer(address,uint256)': full types, no spaces, no names"
        )
    })
}

fn is_type(part: &str) -> bool {
    let bits = |text: &str, step: u16, max: u16| {
        text.parse::<u16>().is_ok_and(|bits| bits > 0 && bits <= max && bits % step == 0)
    };
    let sized =
        part.strip_prefix("uint").or_else(|| part.strip_prefix("int")).is_some_and(|size| bits(size, 8, 256))
            || part.strip_prefix("bytes").is_some_and(|size| size.is_empty() || bits(size, 1, 32));
    // A number alone is the length of an array.
    sized || matches!(part, "address" | "bool" | "string" | "function") || part.parse::<u32>().is_ok()
}

fn selector(text: &str) -> Result<Constant, String> {
    let [a, b, c, d, ..] = keccak256(canonical(text)?).0;
    Ok(Constant::Octets(Octets::Selector(Selector::new([a, b, c, d]))))
}

fn topic(text: &str) -> Result<Constant, String> {
    Ok(Constant::Octets(Octets::Word(keccak256(canonical(text)?))))
}

/// The slot of a name by the rule of ERC-1967: its hash less one.
fn slot(text: &str) -> Result<Constant, String> {
    let hash = U256::from_be_bytes(keccak256(text).0);
    Ok(Constant::Octets(Octets::Word(hash.wrapping_sub(U256::ONE).into())))
}

fn whole(text: &str) -> Result<Constant, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| U256::from_str_radix(text, 10).ok()).flatten();
    number
        .map(|number| Constant::Amount(Amount(number)))
        .ok_or_else(|| format!("'{text}' is not a whole number of at most 256 bits"))
}

fn ether(text: &str) -> Result<Constant, String> {
    parse_wad(text)
        .map(|wei| Constant::Amount(Amount(wei)))
        .ok_or_else(|| format!("'{text}' is not a decimal number with at most 18 digits after the point"))
}

/// `protects(x)` is `x in protocol.contracts`.
fn protects(call: &mut CallExpr) {
    if call.func_name == "protects" && call.target.is_none() && call.args.len() == 1 {
        let protocol = IdedExpr { id: 0, expr: Expr::Ident("protocol".to_owned()) };
        let contracts = cel::common::ast::SelectExpr {
            operand: Box::new(protocol),
            field: "contracts".to_owned(),
            test: false,
        };
        call.func_name = operators::IN.to_owned();
        call.args.push(IdedExpr { id: 0, expr: Expr::Select(contracts) });
    }
}

fn turn(call: &mut CallExpr) {
    let turned = match call.func_name.as_str() {
        operators::EQUALS | operators::NOT_EQUALS | operators::ADD | operators::MULTIPLY => {
            call.func_name.as_str()
        }
        operators::LESS => operators::GREATER,
        operators::LESS_EQUALS => operators::GREATER_EQUALS,
        operators::GREATER => operators::LESS,
        operators::GREATER_EQUALS => operators::LESS_EQUALS,
        _ => return,
    };
    let number =
        |node: &IdedExpr| matches!(&node.expr, Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_)));
    if let [left, right] = call.args.as_mut_slice()
        && number(left)
        && !number(right)
    {
        std::mem::swap(left, right);
        call.func_name = turned.to_owned();
    }
}
