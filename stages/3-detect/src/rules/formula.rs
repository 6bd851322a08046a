//! One expression of a rule, ready to be evaluated.
//!
//! In: text of a rule file. Out: a yes or no, an amount, or bytes, for one transaction. Must never: take what could not be
//! evaluated for an answer.

use super::abi::Names;
use super::fault::{Mistake, Start, caret};
use super::functions::BYTES;
use super::lists::ELEMENTS_MAX;
use super::literals::Constant;
use super::needs::Needs;
use super::records::{Facts, Scope};
use super::sieve::Gates;
use super::types::Wanted;
use super::{literals, shortcuts, sieve, types};
use alloy_primitives::U256;
use cel::common::ast::{CallExpr, Expr, IdedExpr};
use cel::{Context, Env, Program, Value};
use cordon_model::execution::Detail;
use std::sync::Arc;
use toml::Spanned;

/// Most characters of an expression: five screens of text.
const EXPRESSION_CHARS_MAX: usize = 4_096;

/// Most brackets in one another. Rules of people have six.
const BRACKETS_MAX: usize = 24;

/// Most operators and dots, `&&` and `||` apart. The parser goes down once for each of a chain; this many are known to
/// fit into the smallest stack that a thread of Cordon has (2 MiB), by the test of hostile expressions.
const LINKS_MAX: usize = 400;

/// The lists that not every record tells, those that are known least often first.
const BEYOND_CALLS: [&str; 3] = ["reads", "logs", "changes"];

/// Whether records of this detail hold such a list: an archived tree of calls has neither logs nor storage, and a node's
/// traces do not say which slots were read.
fn is_known(list: &str, detail: Detail) -> bool {
    if list == "reads" { detail.knows_accesses() } else { detail.knows_logs() }
}

/// Where the text of an expression comes from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) env: &'a Env,
    /// The whole file, for places in errors.
    pub(super) file: &'a str,
    /// Names that its ABIs declare.
    pub(super) names: &'a Names,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Formula {
    pub(super) expression: IdedExpr,
    pub(super) constants: Vec<Constant>,
    pub(super) gates: Gates,
    /// What it names of that which not every record tells, see [`is_known`]. Where it names several, the one that is
    /// known least often.
    pub(super) beyond_calls: Option<&'static str>,
}

impl Formula {
    /// The condition of a rule, with what must be there for it to hold.
    pub(super) fn when(source: Source<'_>, text: &Spanned<String>) -> Result<(Self, Needs), String> {
        Self::compile(source, ("when", text), Wanted::YesNo)
    }

    /// Another expression of a rule, under its key.
    pub(super) fn of(
        source: Source<'_>,
        text: (&str, &Spanned<String>),
        wanted: Wanted,
    ) -> Result<Self, String> {
        Self::compile(source, text, wanted).map(|(formula, _)| formula)
    }

    fn compile(
        source: Source<'_>,
        (key, text): (&str, &Spanned<String>),
        wanted: Wanted,
    ) -> Result<(Self, Needs), String> {
        let Source { env, file, names } = source;
        let start = Start::of(file, text.span());
        let program = parse(env, (key, text.get_ref()), start)?;
        let mut expression: IdedExpr = program.expression().clone();
        let shown = |mistake: Mistake| mistake.shown(&program, start);
        names.expand(&mut expression).map_err(shown)?;
        let mut constants = literals::lift(&mut expression).map_err(shown)?;
        types::check(&expression, &constants, wanted).map_err(shown)?;
        let needs = Needs::of(&expression, &constants);
        let gates = sieve::take(&mut expression, &mut constants);
        shortcuts::take(&mut expression);
        if wanted != Wanted::YesNo {
            expression = as_bytes(expression);
        }
        let beyond_calls = BEYOND_CALLS.into_iter().find(|list| program.references().has_variable(list));
        Ok((Self { expression, constants, gates, beyond_calls }, needs))
    }

    /// Whether it holds; words where that could not be found out.
    pub(super) fn holds(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<bool, String> {
        self.can_be_told(facts)?;
        if sieve::is_shut(&self.gates, &self.constants, facts) {
            return Ok(false);
        }
        match self.value(env, facts)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(unwanted(&other, Wanted::YesNo)),
        }
    }

    /// The amount or number that it gives.
    pub(super) fn natural(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<U256, String> {
        let bytes = self.octets(env, facts)?;
        U256::try_from_be_slice(&bytes).ok_or_else(|| "it gives more than a word".to_owned())
    }

    /// The bytes that it gives; none where it gives null.
    pub(super) fn octets(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<Vec<u8>, String> {
        self.can_be_told(facts)?;
        match self.value(env, facts)? {
            Value::Bytes(bytes) => Ok(bytes.to_vec()),
            other => Err(unwanted(&other, Wanted::Hex)),
        }
    }

    /// Words where the record or a view lacks what it names.
    fn can_be_told(&self, facts: &Facts<'_>) -> Result<(), String> {
        if let Some(list) = self.beyond_calls.filter(|list| !is_known(list, facts.detail())) {
            return Err(format!("the record has no {list}"));
        }
        match facts.unanswered(&self.constants) {
            Some(reading) => Err(format!("there is no answer to {reading}")),
            None => Ok(()),
        }
    }

    fn value(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<Value, String> {
        facts.budget().renew();
        let scope = Scope { facts, constants: &self.constants };
        let mut context = Context::with_env(Arc::clone(env));
        context.set_variable_resolver(&scope);
        let found = context.resolve(&self.expression);
        if facts.budget().is_spent() {
            return Err(format!("it walks more than {ELEMENTS_MAX} elements"));
        }
        found.map_err(|error| error.to_string())
    }
}

fn unwanted(found: &Value, wanted: Wanted) -> String {
    format!("it gives {}, expected {}", found.type_of(), wanted.shown())
}

/// The expression, as bytes: its value leaves CEL by a type that CEL has.
fn as_bytes(expression: IdedExpr) -> IdedExpr {
    let (id, func_name) = (expression.id, BYTES.to_owned());
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target: None, args: vec![expression] }) }
}

/// Parses an expression of bounded length and depth.
fn parse(env: &Env, (key, text): (&str, &str), start: Start) -> Result<Program, String> {
    let length = text.chars().count();
    if length > EXPRESSION_CHARS_MAX {
        return Err(format!("{key}: {length} characters, expected at most {EXPRESSION_CHARS_MAX}"));
    }
    bounded(key, text)?;
    env.compile(text).map_err(|errors| {
        let Some(first) = errors.errors.first() else { return format!("{key}: not an expression") };
        let line_number = usize::try_from(first.pos.0).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(first.pos.1).unwrap_or(0).saturating_sub(1);
        let line = text.lines().nth(line_number).unwrap_or("");
        caret(start, (line_number, column), line, &first.msg)
    })
}

/// Refuses what would take the parser deeper than the stack: it goes down once for every bracket, and once for every
/// link of a chain such as `a.b.c` or `1 + 1 + 1`. Counted are characters outside of texts.
fn bounded(key: &str, text: &str) -> Result<(), String> {
    let (mut depth, mut links, mut quote, mut escaped) = (0usize, 0usize, None, false);
    for (place, letter) in text.chars().enumerate() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(' | '[' | '{') => depth = depth.saturating_add(1),
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '.' | '+' | '-' | '*' | '/' | '%' | '!' | '?' | '<' | '>' | '=') => {
                links = links.saturating_add(1);
            }
            (None, _) => {}
        }
        let at = place.saturating_add(1);
        if depth > BRACKETS_MAX {
            return Err(format!(
                "{key}: more than {BRACKETS_MAX} brackets in one another, at character {at}"
            ));
        }
        if links > LINKS_MAX {
            return Err(format!("{key}: more than {LINKS_MAX} operators and dots, at character {at}"));
        }
    }
    Ok(())
}
