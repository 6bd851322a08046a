//! What the operator expects of a feed: a value, a second feed that agrees, a promised age.
//!
//! In: configuration, and answers. Out: how far an answer is from what is expected. Must never: compare numbers of
//! different decimals as they stand.

use super::answers::{LATEST_ROUND_DATA, Said};
use crate::detectors::ConfigError;
use alloy_primitives::{Address, Bytes, I256, U256, U512};
use cordon_model::execution::ViewCall;
use cordon_model::units::{Bps, parse_wad};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most feeds of one protocol: more than any reads. Each may cost a reading.
const FEEDS_MAX: usize = 64;

/// Most decimals of a feed: answers of 36 exist (Morpho), more would leave no room for the number.
const DECIMALS_MAX: u8 = 36;

/// Decimals of the operator's own number.
const REFERENCE_DECIMALS: u8 = 18;

/// One feed and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Address that the protocol asks.
    pub feed: Address,
    /// Decimals of its answer. Default 8, as Chainlink's prices in dollars have.
    #[serde(default = "eight")]
    pub decimals: u8,
    /// What it should say, as a decimal text such as `"1.0"`; of coins that are meant to keep a value.
    #[serde(default)]
    pub reference: Option<String>,
    /// Second feed of the same price, which should say the same.
    #[serde(default)]
    pub second: Option<Address>,
    /// Decimals of the second feed's answer. Default: those of the first.
    #[serde(default)]
    pub second_decimals: Option<u8>,
    /// Distance from either that is still ordinary. Default 300 (3 %): three times the widest threshold at which
    /// Chainlink's feeds of pegged coins and large pairs are updated (1 %).
    #[serde(default = "three_percent")]
    pub deviation_max_bps: Bps,
    /// Age that its operator promises not to exceed, seconds. Default: the detector's.
    #[serde(default)]
    pub stale_after_s: Option<u64>,
}

fn eight() -> u8 {
    8
}

fn three_percent() -> Bps {
    Bps(300)
}

/// One feed's expectation, checked.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    decimals: u8,
    reference: Option<Number>,
    pub(super) second: Option<Address>,
    second_decimals: u8,
    pub(super) allowed_bps: Bps,
    pub(super) stale_after_s: Option<u64>,
}

/// A positive number with decimals.
#[derive(Debug, Clone, Copy)]
struct Number {
    raw: U256,
    decimals: u8,
}

impl Number {
    /// How far from another it is, as a share of that other; `None` where 512 bits do not hold it.
    fn distance(self, other: Self) -> Option<Bps> {
        let scale = |number: Self, by: u8| -> Option<U512> {
            U512::from(number.raw).checked_mul(U512::from(10u8).checked_pow(U512::from(by))?)
        };
        let (own, others) = (scale(self, other.decimals)?, scale(other, self.decimals)?);
        let scaled = own.abs_diff(others).checked_mul(U512::from(10_000u32))?;
        let bps = scaled.checked_div(others)?;
        Some(Bps(u32::try_from(bps).unwrap_or(u32::MAX)))
    }
}

impl Expectation {
    /// How far an answer is from the operator's value.
    pub(super) fn deviation(&self, answer: I256) -> Option<Bps> {
        self.number(answer)?.distance(self.reference?)
    }

    /// How far an answer is from that of the second feed.
    pub(super) fn disagreement(&self, answer: I256, second: I256) -> Option<Bps> {
        let second = Number { raw: positive(second)?, decimals: self.second_decimals };
        self.number(answer)?.distance(second)
    }

    fn number(&self, answer: I256) -> Option<Number> {
        Some(Number { raw: positive(answer)?, decimals: self.decimals })
    }
}

fn positive(answer: I256) -> Option<U256> {
    answer.is_positive().then(|| answer.unsigned_abs())
}

/// The question to a second feed that the transaction did not ask itself.
pub(super) fn ask(feed: Address) -> ViewCall {
    ViewCall { target: feed, input: Bytes::copy_from_slice(LATEST_ROUND_DATA.as_slice()) }
}

/// The answer to [`ask`].
pub(super) fn heard(data: &Bytes) -> Option<I256> {
    Said::read(LATEST_ROUND_DATA, data).map(|said| said.answer)
}

/// The expectations by feed.
///
/// # Errors
/// A feed twice, more feeds than are kept, and values that mean nothing.
pub(super) fn checked(feeds: &[FeedConfig]) -> Result<BTreeMap<Address, Expectation>, ConfigError> {
    let wrong = |key, value: String, expected| Err(ConfigError { key, value, expected });
    if feeds.len() > FEEDS_MAX {
        return wrong("oracle.feeds", feeds.len().to_string(), "at most 64 feeds");
    }
    let mut expectations = BTreeMap::new();
    for config in feeds {
        let second_decimals = config.second_decimals.unwrap_or(config.decimals);
        if let Some(decimals) = [config.decimals, second_decimals].into_iter().find(|one| *one > DECIMALS_MAX)
        {
            return wrong("oracle.feeds.decimals", decimals.to_string(), "at most 36");
        }
        if config.deviation_max_bps.0 == 0 {
            return wrong("oracle.feeds.deviation_max_bps", "0".to_owned(), "at least 1");
        }
        if config.second == Some(config.feed) {
            return wrong("oracle.feeds.second", config.feed.to_string(), "another feed");
        }
        let reference = match &config.reference {
            None => None,
            Some(text) => match parse_wad(text).filter(|wad| !wad.is_zero()) {
                Some(raw) => Some(Number { raw, decimals: REFERENCE_DECIMALS }),
                None => {
                    let expected =
                        "a decimal number above zero with at most 18 digits after the point, such as \"1.0\"";
                    return wrong("oracle.feeds.reference", text.clone(), expected);
                }
            },
        };
        let expectation = Expectation {
            decimals: config.decimals,
            reference,
            second: config.second,
            second_decimals,
            allowed_bps: config.deviation_max_bps,
            stale_after_s: config.stale_after_s,
        };
        if expectations.insert(config.feed, expectation).is_some() {
            return wrong("oracle.feeds", config.feed.to_string(), "each feed once");
        }
    }
    Ok(expectations)
}
