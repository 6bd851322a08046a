//! Rules over several transactions: how often, how much, or how many different ones within a time.
//!
//! In: the window of a rule file, a transaction for which the rule's condition holds, and what was counted before. Out: what to count,
//! and whether it is too much. Must never: count by itself; the log does, and takes back what left the chain.

use super::formula::{Formula, Source};
use super::literals::Constant;
use super::records::Facts;
use super::types::Wanted;
use alloy_primitives::{B256, U256, keccak256};
use cel::Env;
use cordon_model::tally::{Tallies, Tally};
use serde::Deserialize;
use std::sync::Arc;
use toml::Spanned;

/// Shortest and longest window: a minute, below which a block is no part of it on most chains, and a week.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=604_800;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    seconds: u64,
    by: Option<Spanned<String>>,
    sum: Option<Spanned<String>>,
    distinct: Option<Spanned<String>>,
    above: Spanned<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    seconds: u64,
    /// A window for each value of this.
    by: Option<Formula>,
    measure: Measured,
    above: Formula,
    /// What sets its series apart from those of every other rule, and of what this rule was before it was changed.
    series: B256,
}

#[derive(Debug)]
enum Measured {
    Transactions,
    Sum(Formula),
    Distinct(Formula),
}

/// What one transaction adds to a window, and the limit that holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) tally: Tally,
    limit: U256,
    /// Whose window it is.
    pub(super) by: Vec<u8>,
}

/// A window with more in it than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excess {
    pub(super) total: U256,
    pub(super) limit: U256,
    pub(super) window_s: u64,
}

impl RawWindow {
    pub(super) fn ready(self, source: Source<'_>, (id, when): (&str, &str)) -> Result<Window, String> {
        if !SECONDS.contains(&self.seconds) {
            let (least, most) = (SECONDS.start(), SECONDS.end());
            return Err(format!("window.seconds {}: expected {least} to {most}", self.seconds));
        }
        let texts =
            [&self.by, &self.sum, &self.distinct].map(|text| text.as_ref().map(|text| text.get_ref()));
        let series = keccak256(format!("{:?}", (id, when, self.seconds, texts)));
        let formula = |key: &str, text: &Spanned<String>, wanted| Formula::of(source, (key, text), wanted);
        let measure = match (&self.sum, &self.distinct) {
            (None, None) => Measured::Transactions,
            (Some(sum), None) => Measured::Sum(formula("window.sum", sum, Wanted::Number)?),
            (None, Some(distinct)) => Measured::Distinct(formula("window.distinct", distinct, Wanted::Hex)?),
            (Some(_), Some(_)) => return Err("window: expected sum or distinct, not both".to_owned()),
        };
        let by = self.by.map(|by| formula("window.by", &by, Wanted::Hex)).transpose()?;
        let above = formula("window.above", &self.above, Wanted::Number)?;
        Ok(Window { seconds: self.seconds, by, measure, above, series })
    }
}

impl Window {
    /// Every constant of its expressions.
    pub(super) fn constants(&self) -> impl Iterator<Item = &Constant> {
        let measured = match &self.measure {
            Measured::Transactions => None,
            Measured::Sum(formula) | Measured::Distinct(formula) => Some(formula),
        };
        let formulas = [self.by.as_ref(), measured, Some(&self.above)].into_iter().flatten();
        formulas.flat_map(|formula| &formula.constants)
    }

    /// What the transaction adds.
    pub(super) fn count(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Result<Count, String> {
        let by = self.by.as_ref().map_or(Ok(Vec::new()), |by| by.octets(env, facts))?;
        let (amount, value) = match &self.measure {
            Measured::Transactions => (U256::ONE, B256::ZERO),
            Measured::Sum(sum) => (sum.natural(env, facts)?, B256::ZERO),
            Measured::Distinct(distinct) => (U256::ONE, word(&distinct.octets(env, facts)?)),
        };
        let limit = self.above.natural(env, facts)?;
        let tally = Tally { value, ..Tally::of(self.key(&by), self.seconds, amount) };
        Ok(Count { tally, limit, by })
    }

    /// The series of one value of `by`.
    pub(super) fn key(&self, by: &[u8]) -> B256 {
        keccak256([self.series.as_slice(), by].concat())
    }

    /// Whether it is too much, with what was counted before.
    pub(super) fn exceeded(&self, count: &Count, before: &Tallies, now_s: u64) -> Option<Excess> {
        let Count { tally, limit, .. } = count;
        // From the second after, so that a window of an hour holds an hour.
        let from_s = now_s.saturating_sub(self.seconds).saturating_add(1);
        let total = match &self.measure {
            Measured::Transactions | Measured::Sum(_) => {
                before.sum(tally.key, from_s).saturating_add(tally.amount)
            }
            Measured::Distinct(_) => {
                let mut values = before.values(tally.key, from_s);
                values.insert(tally.value);
                U256::from(values.len())
            }
        };
        (total > *limit).then_some(Excess { total, limit: *limit, window_s: self.seconds })
    }
}

/// A value as a word; what is longer by its hash.
pub(super) fn word(bytes: &[u8]) -> B256 {
    if bytes.len() <= 32 { B256::left_padding_from(bytes) } else { keccak256(bytes) }
}

#[cfg(test)]
mod tests;
