//! Repeated calls: one transaction works the protocol over and over.
//!
//! In: calls. Out: a finding where one function of a protected contract is called many times by the sender's side, or
//! where the transaction is very long. Must never: speak of an attack by itself. Batches of payments repeat as well.
//!
//! Rounding and precision attacks, mint-and-redeem loops and price pumps repeat one step until it pays. Source: 45 of 93
//! archived attacks are a finding, against 18 of 6,041 ordinary calls (`cordon backtest`); the first published record signals
//! of this kind are "repeats of one selector" and "calls" (detection by maxima over twelve attacked protocols, CrossGuard
//! data set). Limits: what is spread over several transactions, or over several functions that do the same.

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::SendersSide;
use alloy_primitives::{Address, Selector};
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Half of what opens an incident: together with another detector it does, alone it does not.
const SCORE: Score = Score(300);

/// Configuration of [`RepeatedCalls`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepeatedCallsConfig {
    /// Calls of one function of one protected contract, by the sender's side, from which on it is a finding. Default 10:
    /// chosen on half of the archived attacks and 30 ordinary blocks (docs/detection.md).
    pub repeats_min: u32,
    /// Calls of the whole transaction from which on it is a finding, where the sender's side calls protected contracts at
    /// least [`ENTRIES_MIN`] times. Default 100: chosen as the other.
    pub frames_min: u32,
}

/// Calls of protected contracts by the sender's side that make a long transaction his own work. Below that it is the
/// contracts he called that work long: aggregators and settlements reach hundreds of calls for a single order.
pub const ENTRIES_MIN: u32 = 5;

impl Default for RepeatedCallsConfig {
    fn default() -> Self {
        Self { repeats_min: 10, frames_min: 100 }
    }
}

impl RepeatedCallsConfig {
    /// The detector.
    ///
    /// # Errors
    /// A threshold that every transaction reaches.
    pub fn build(&self) -> Result<RepeatedCalls, ConfigError> {
        let above_one = |key, value: u32| {
            let wrong = || ConfigError { key, value: value.to_string(), expected: "2 or more" };
            (value > 1).then_some(value).ok_or_else(wrong)
        };
        Ok(RepeatedCalls {
            repeats_min: above_one("repeated-calls.repeats_min", self.repeats_min)?,
            frames_min: above_one("repeated-calls.frames_min", self.frames_min)?,
        })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RepeatedCalls {
    repeats_min: u32,
    frames_min: u32,
}

impl Detector for RepeatedCalls {
    fn name(&self) -> &'static str {
        "repeated-calls"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let counts = entries(protocol, execution);
        let entries = counts.values().fold(0u32, |sum, count| sum.saturating_add(*count));
        // Of equals the one with the lowest address and selector, so that the answer does not depend on an order.
        let most = counts.into_iter().reduce(|most, next| if next.1 > most.1 { next } else { most });
        let Some(((contract, function), times)) = most else { return Vec::new() };
        let frames = u32::try_from(execution.frames.len()).unwrap_or(u32::MAX);
        let is_long = frames >= self.frames_min && entries >= ENTRIES_MIN;
        if times < self.repeats_min && !is_long {
            return Vec::new();
        }
        vec![
            Statement {
                class: AttackClass::ControlFlow,
                contract,
                score: SCORE,
                evidence: Evidence::RepeatedCalls { contract, function, times, frames },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

/// How often the sender's side called each function of each protected contract.
fn entries(protocol: &Protocol, execution: &Execution) -> BTreeMap<(Address, Option<Selector>), u32> {
    let side = SendersSide::of(protocol, execution);
    let mut counts = BTreeMap::new();
    for frame in side.entries(protocol, execution) {
        let count: &mut u32 = counts.entry((frame.address, frame.selector())).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn judged(execution: &Execution) -> Vec<Finding> {
        RepeatedCallsConfig::default().build().unwrap().inspect(&World::protocol(), execution)
    }

    fn calls(times: u32, contract: Address) -> Execution {
        let mut script = World::new().script();
        for _ in 0..times {
            script.call(contract, 1, |_| {});
        }
        script.finish(&[])
    }

    #[test]
    fn the_tenth_call_of_one_function_is_a_finding() {
        assert_eq!(judged(&calls(9, LENDING_VAULT)), []);
        let findings = judged(&calls(10, LENDING_VAULT));
        let expected = Evidence::RepeatedCalls {
            contract: LENDING_VAULT,
            function: Some(selector(1)),
            times: 10,
            frames: 11,
        };
        assert_eq!(findings.iter().map(|finding| &finding.evidence).collect::<Vec<_>>(), [&expected]);
        assert_eq!(findings[0].score, SCORE);
    }

    #[test]
    fn spreading_the_calls_over_own_contracts_changes_nothing() {
        let mut script = World::new().script();
        for number in 1..=10 {
            let helper = Address::repeat_byte(number);
            script.create(helper, |script| script.call(LENDING_VAULT, 1, |_| {}));
        }
        assert_eq!(judged(&script.finish(&[])).len(), 1);
    }

    #[test]
    fn calls_of_others_contracts_do_not_count() {
        assert_eq!(judged(&calls(500, BOB)), []);
    }

    #[test]
    fn a_protocol_that_calls_itself_often_does_not_make_its_user_a_suspect() {
        let mut script = World::new().script();
        script.call(LENDING_VAULT, 1, |script| {
            for _ in 0..50 {
                script.call(COLLATERAL_VAULT, 2, |_| {});
            }
        });
        assert_eq!(judged(&script.finish(&[])), []);
    }

    #[test]
    fn a_very_long_transaction_is_a_finding_where_it_uses_the_protocol() {
        let long = |own: u8, others: usize| {
            let mut script = World::new().script();
            (0..own).for_each(|function| script.call(LENDING_VAULT, function, |_| {}));
            (0..others).for_each(|_| script.call(BOB, 2, |_| {}));
            judged(&script.finish(&[])).len()
        };
        assert_eq!((long(5, 94), long(5, 93), long(4, 200)), (1, 0, 0));
        assert_eq!(judged(&calls(99, BOB)), []);
    }

    #[test]
    fn what_was_undone_does_not_count() {
        let mut script = World::new().script();
        for _ in 0..30 {
            script.reverted(LENDING_VAULT, 1, |_| {});
        }
        assert_eq!(judged(&script.finish(&[])), []);
    }

    #[test]
    fn a_threshold_of_one_is_refused() {
        let config = RepeatedCallsConfig { repeats_min: 1, ..RepeatedCallsConfig::default() };
        let error = config.build().unwrap_err().to_string();
        assert_eq!(error, "repeated-calls.repeats_min = '1': expected 2 or more");
    }
}
