//! Use of a protocol that exceeds, in several ways at once, everything it was ever used for.
//!
//! In: what one transaction did inside a protocol, and the protocol's [`Baseline`]. Out: what it measures, and a finding
//! where it is the first of its kind in several aspects. Must never: learn. The baseline is a fold over what was judged
//! before, so that the same chain gives the same findings for ever.
//!
//! A single record is ordinary: of `n` exchangeable transactions the newest is the largest with probability `1 / n`, so that
//! each aspect gives about `ln n` records over the life of a protocol whatever happens. Three at once are not: an exploit
//! calls in an order that nobody used, and more, deeper, or for more than anybody did.

mod call_depth;
mod call_order;
mod calls;
mod outflow;
mod reach;
mod transfers;
mod writes;

use crate::detector::{Comparison, Detector, Statement};
use crate::detectors::ConfigError;
use alloy_primitives::Address;
use cordon_model::baseline::{Aspect, Baseline, Measure};
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use reach::Reach;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Name in findings.
const NAME: &str = "baseline";

/// Every aspect, in the order of [`Aspect`].
const ASPECTS: [fn(&Reach<'_>) -> Vec<Measure>; 6] = [
    call_order::measure,
    calls::measure,
    call_depth::measure,
    transfers::measure,
    writes::measure,
    outflow::measure,
];

/// Score of a transaction that is first in as many aspects as suffice for an alarm. That of the default policy.
const ALARM: Score = Score(600);

/// Score of one that is first in one aspect less: together with another detector it alarms.
const JOINT: Score = Score(300);

/// More for each further aspect, up to the full score.
const MORE: u16 = 100;

/// How rare so many records at once must be among transactions that are exchangeable and aspects that are independent,
/// before anything is said: one in a thousand. They are neither, so this is no false-alarm rate; it keeps a protocol quiet
/// of which hardly anything is known (9 transactions for three aspects, 31 for two).
const ODDS_MIN: u64 = 1_000;

/// How much is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaselineConfig {
    /// Aspects in which a transaction must exceed everything before it to raise an alarm, from 2 to 6. Three of the six: over
    /// histories of twelve exploited protocols, four of ten raw signals separated the exploits at 0.09 % false alarms,
    /// and those ten are six groups of which the members of one rise together.
    pub firsts_min: u16,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        Self { firsts_min: 3 }
    }
}

impl BaselineConfig {
    /// # Errors
    /// A number of aspects that cannot be reached, or that every second new user reaches.
    pub fn build(self) -> Result<BaselineDetector, ConfigError> {
        let aspects = u16::try_from(ASPECTS.len()).unwrap_or(u16::MAX);
        if (2..=aspects).contains(&self.firsts_min) {
            return Ok(BaselineDetector(self));
        }
        let (key, value) = ("baseline.firsts_min", self.firsts_min.to_string());
        Err(ConfigError { key, value, expected: "a number of aspects from 2 to 6" })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct BaselineDetector(BaselineConfig);

impl Detector for BaselineDetector {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Nothing: without a past nothing is unusual.
    fn inspect(&self, _: &Protocol, _: &Execution) -> Vec<Finding> {
        Vec::new()
    }

    fn compares(&self) -> bool {
        true
    }

    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let reach = Reach::of(protocol, execution);
        let measures: Vec<Measure> = ASPECTS.iter().flat_map(|measure| measure(&reach)).collect();
        let firsts = baseline.firsts(&measures);
        let aspects: BTreeSet<Aspect> = firsts.iter().map(|first| first.measure.aspect).collect();
        let aspects = u16::try_from(aspects.len()).unwrap_or(u16::MAX);
        let finding = self.0.score(aspects, baseline.transactions()).map(|score| {
            let contract = reach.first().unwrap_or(Address::ZERO);
            let evidence =
                Evidence::Unprecedented { transactions: baseline.transactions(), firsts: firsts.clone() };
            Statement { class: AttackClass::ControlFlow, contract, score, evidence }
                .by(NAME, protocol, execution)
        });
        Comparison { findings: finding.into_iter().collect(), firsts, ..Comparison::default() }
    }
}

impl BaselineConfig {
    fn score(&self, aspects: u16, transactions: u64) -> Option<Score> {
        let odds = transactions.saturating_add(1).saturating_pow(u32::from(aspects));
        let (more, is_joint) =
            (aspects.checked_sub(self.firsts_min), aspects.saturating_add(1) == self.firsts_min);
        match more {
            _ if odds < ODDS_MIN => None,
            Some(more) => Some(Score(ALARM.0.saturating_add(more.saturating_mul(MORE)).min(Score::MAX.0))),
            None => is_joint.then_some(JOINT),
        }
    }
}

#[cfg(test)]
mod tests;
