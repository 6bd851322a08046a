//! Oracle: a protected contract moves value at an answer of a price feed that is no price, cannot be true, or is not what
//! the operator expects.
//!
//! In: the return data of feeds inside the transaction (`latestRoundData`, `latestAnswer`), and where a node can be asked
//! the feeds' decimals and bounds. Out: one finding per protected contract, the strongest. Must never: judge a price that
//! was only looked at, or one that the sender's side asked for itself.
//!
//! An answer counts where a protected contract asked for it, directly or through contracts that are not on the sender's
//! side, within a call of a protected contract in which something moved.
//!
//! | what | score | because |
//! |---|---|---|
//! | below zero, or zero from a feed that has decimals | 600 | nothing of value costs nothing, so whatever was computed with it is wrong |
//! | at or beyond the aggregator's own `minAnswer` or `maxAnswer` | 600 | the true price may be anywhere beyond, and everybody may trade at the bound |
//! | further from the operator's `reference`, or from his `second` feed, than he allows | 300 to 700 by distance, full at five times what he allows | he said what is ordinary |
//! | dated after its own block | 300 | no clock of the chain was there yet |
//! | older than the operator says of this feed | 300 | he said what was promised |
//! | older than `stale_after_s`, or carried over from an earlier round | 200 | a stale price is an error of the protocol, and seldom an attack; it adds up to nothing alone |
//!
//! The monitor `network::oracle` looks at the configured feeds once a block, whether or not somebody uses them, and warns of
//! a stalled or bounded feed beforehand. This detector looks at every feed that a protected contract goes by, configured or
//! not, at the moment when value moves.
//!
//! # Benign twins
//!
//! Uptime feeds of sequencers answer 0 and 1, and for months: they have no decimals. Where decimals are not known, an
//! answer of 0 or 1 says nothing. Adapters that have no time of update answer 0 there, which says nothing either.
//!
//! # Source and limits
//!
//! Venus and Blizz, May 2022 (the feed of LUNA stood at its minimum of 0.10 while the market paid 0.01, and lenders took the
//! difference as collateral); Compound, November 2020 (DAI at 1.30); Synthetix, June 2019 (a feed of sKRW a thousand times
//! too high). Not seen: prices of pools, which are `price-manipulation`'s; feeds with interfaces of their own (Pyth,
//! Maker); a wrong price that is plausible and not configured. Recordings without return data leave a gap.

mod answers;
mod expectations;

pub use expectations::FeedConfig;

use crate::detector::{Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use crate::valuation::Readings;
use alloy_primitives::{Address, Bytes, I256, Selector, U256};
use answers::{Answer, Answers, Round};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::{PriceFault, Sign, WrongPrice};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::Bps;
use expectations::{Expectation, ask, checked, heard};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A price that cannot be one opens an incident alone.
const SCORE_IMPOSSIBLE: Score = Score(600);
/// Half of what opens an incident; also the least of a deviation.
const SCORE_WEAK: Score = Score(300);
/// What a deviation of [`FULL_TIMES`] what is allowed adds to that.
const SCORE_SPAN: u16 = 400;
/// Below what adds up to an alarm under the default policy.
const SCORE_STALE: Score = Score(200);

/// Deviation at which the score is full, in times of what is allowed.
const FULL_TIMES: u32 = 5;

/// Feeds of one transaction whose decimals and bounds are asked for. Health checks over a whole portfolio ask about thirty.
const FEEDS_ASKED_MAX: usize = 64;

/// `decimals()`.
const DECIMALS: Selector = Selector::new([0x31, 0x3c, 0xe5, 0x67]);
/// `minAnswer()` of Chainlink's aggregators.
const MIN_ANSWER: Selector = Selector::new([0x22, 0xad, 0xbc, 0x78]);
/// `maxAnswer()` of the same.
const MAX_ANSWER: Selector = Selector::new([0x70, 0xda, 0x2f, 0x67]);

/// Configuration of [`Oracle`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OracleConfig {
    /// Age from which on an answer is stale, seconds. Default 90000 (25 h): Chainlink's longest common heartbeat is 24 h, and
    /// an update may wait for an hour on a full chain.
    pub stale_after_s: u64,
    /// What is expected of single feeds. None by default.
    pub feeds: Vec<FeedConfig>,
}

impl Default for OracleConfig {
    fn default() -> Self {
        Self { stale_after_s: 90_000, feeds: Vec::new() }
    }
}

impl OracleConfig {
    /// The detector.
    ///
    /// # Errors
    /// A feed twice, and values that mean nothing.
    pub fn build(&self) -> Result<Oracle, ConfigError> {
        Ok(Oracle { stale_after_s: self.stale_after_s, expected: checked(&self.feeds)? })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Oracle {
    stale_after_s: u64,
    expected: BTreeMap<Address, Expectation>,
}

impl Detector for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let answers = Answers::of(protocol, execution);
        let feeds: BTreeSet<Address> = answers.all.iter().map(|answer| answer.feed).collect();
        let seconds = feeds.iter().filter_map(|feed| self.expected.get(feed)?.second).map(ask);
        let asked = feeds.iter().take(FEEDS_ASKED_MAX);
        let bounds = asked.flat_map(|feed| [DECIMALS, MIN_ANSWER, MAX_ANSWER].map(|what| plain(*feed, what)));
        seconds.chain(bounds).collect()
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let answers = Answers::of(protocol, execution);
        let readings = Readings::of(execution);
        let mut worst: BTreeMap<Address, (Score, WrongPrice)> = BTreeMap::new();
        for answer in &answers.all {
            let Some((score, fault)) = self.fault(answer, &answers, &readings, execution) else { continue };
            if worst.get(&answer.reader).is_none_or(|(known, _)| *known < score) {
                let Answer { feed, reader, said } = *answer;
                worst.insert(reader, (score, WrongPrice { feed, reader, answer: said.answer, fault }));
            }
        }
        let finding = |(contract, (score, sign)): (Address, (Score, WrongPrice))| {
            let evidence = Evidence::Sign(Sign::WrongPrice(sign));
            let statement = Statement { class: AttackClass::Oracle, contract, score, evidence };
            statement.by(self.name(), protocol, execution)
        };
        let findings = worst.into_iter().map(finding).collect();
        Opinion { findings, gaps: gaps(&answers, execution) }
    }
}

impl Oracle {
    /// The worst that is wrong with an answer.
    fn fault(
        &self,
        answer: &Answer,
        answers: &Answers,
        readings: &Readings<'_>,
        execution: &Execution,
    ) -> Option<(Score, PriceFault)> {
        let said = answer.said.answer;
        let decimals = readings.before(&plain(answer.feed, DECIMALS));
        let is_status =
            decimals.map_or_else(|| said.is_zero() || said == I256::ONE, |decimals| decimals.is_zero());
        if is_status {
            return None;
        }
        if !said.is_positive() {
            return Some((SCORE_IMPOSSIBLE, PriceFault::NotPositive));
        }
        let bound = |what| readings.before(&plain(answer.feed, what)).map(I256::from_raw);
        let least = bound(MIN_ANSWER).filter(|bound| said <= *bound);
        if let Some(bound) = least.or_else(|| bound(MAX_ANSWER).filter(|bound| said >= *bound)) {
            return Some((SCORE_IMPOSSIBLE, PriceFault::AtBound { bound }));
        }
        let expected = self.expected.get(&answer.feed);
        let unexpected = expected.and_then(|expected| unexpected(expected, said, answers, execution));
        let promised_s = expected.and_then(|expected| expected.stale_after_s);
        let late = answer.said.round.and_then(|round| self.late(round, promised_s, execution.timestamp_s));
        [unexpected, late].into_iter().flatten().max_by_key(|(score, _)| *score)
    }

    fn late(&self, round: Round, promised_s: Option<u64>, now_s: u64) -> Option<(Score, PriceFault)> {
        let Round { updated_at_s, is_carried_over } = round;
        if now_s == 0 {
            // A recording that does not say when it was: nothing is old or new.
            return is_carried_over.then_some((SCORE_STALE, PriceFault::CarriedOver));
        }
        if updated_at_s > now_s {
            return Some((
                SCORE_WEAK,
                PriceFault::FromFuture { ahead_s: updated_at_s.saturating_sub(now_s) },
            ));
        }
        let age_s = now_s.saturating_sub(updated_at_s);
        let is_dated = updated_at_s > 0;
        if promised_s.is_some_and(|promised_s| is_dated && age_s > promised_s) {
            return Some((SCORE_WEAK, PriceFault::Stale { age_s }));
        }
        if promised_s.is_none() && is_dated && age_s > self.stale_after_s {
            return Some((SCORE_STALE, PriceFault::Stale { age_s }));
        }
        is_carried_over.then_some((SCORE_STALE, PriceFault::CarriedOver))
    }
}

/// The larger of the distances from what the operator expects, where he does not allow it.
fn unexpected(
    expected: &Expectation,
    said: I256,
    answers: &Answers,
    execution: &Execution,
) -> Option<(Score, PriceFault)> {
    let allowed_bps = expected.allowed_bps;
    let deviation = expected
        .deviation(said)
        .map(|deviation_bps| (deviation_bps, PriceFault::Deviates { deviation_bps, allowed_bps }));
    let second = expected.second.and_then(|second| {
        let asked = answers.all.iter().find(|answer| answer.feed == second).map(|answer| answer.said.answer);
        let read = || heard(execution.view(&ask(second))?.before.as_ref()?);
        let deviation_bps = expected.disagreement(said, asked.or_else(read)?)?;
        Some((deviation_bps, PriceFault::Disagrees { second, deviation_bps, allowed_bps }))
    });
    let (bps, fault) = [deviation, second].into_iter().flatten().max_by_key(|(bps, _)| *bps)?;
    (bps > allowed_bps).then(|| (distance_score(bps, allowed_bps), fault))
}

fn distance_score(bps: Bps, allowed_bps: Bps) -> Score {
    let full = u64::from(allowed_bps.0).saturating_mul(u64::from(FULL_TIMES));
    SCORE_WEAK.and(SCORE_SPAN, Score::scaled(U256::from(bps.0), U256::from(full)))
}

fn plain(target: Address, question: Selector) -> ViewCall {
    ViewCall { target, input: Bytes::copy_from_slice(question.as_slice()) }
}

fn gaps(answers: &Answers, execution: &Execution) -> Vec<String> {
    let mut gaps = Vec::new();
    if answers.unread > 0 {
        gaps.push(format!("{} answers of price feeds are not known, or too short to be one", answers.unread));
    }
    if answers.cut {
        gaps.push("the call tree is too large to find out who asked price feeds".to_owned());
    }
    if execution.truncated && !answers.all.is_empty() {
        gaps.push("the record of the transaction was cut; answers of price feeds may be missing".to_owned());
    }
    gaps
}

/// Every answer above zero that a protected contract went by: the feed, the contract that asked, and what was said, in the order of
/// the record.
pub(crate) fn answers_of(protocol: &Protocol, execution: &Execution) -> Vec<(Address, Address, U256)> {
    let all = Answers::of(protocol, execution).all.into_iter();
    let said = |answer: Answer| {
        let price = answer.said.answer.is_positive().then(|| answer.said.answer.unsigned_abs())?;
        Some((answer.feed, answer.reader, price))
    };
    all.filter_map(said).collect()
}

#[cfg(test)]
mod tests;
