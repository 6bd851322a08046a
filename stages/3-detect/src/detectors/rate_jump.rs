//! Rate jump: the share price of a vault moves within one transaction further than yield can move it.
//!
//! In: `convertToAssets(one share)` before and after, and inside the transaction the vault's balance and supply as
//! transfers tell them. Out: one finding per vault with the most extreme rate. Must never: compute a rate while the
//! vault itself is being called, when its books are allowed to be open.
//!
//! # What is computed
//!
//! The rate before and after is the vault's own answer. Between them a rate is derived from the vault's balance of
//! the underlying and its supply of shares, whenever either changed and the vault is not on the call stack. This sees
//! a rate that is raised, used by another protocol, and lowered again in one transaction. The derivation is used only
//! for a vault whose own answers before *and* after agree with it, plainly or with OpenZeppelin's virtual shares
//! (`(balance + 1) / (supply + 10^offset)`): a vault that lends its assets out, or books them without a transfer, is
//! compared before and after only. Deposits and withdrawals move balance and supply together and stay silent at any
//! size; so does a vault that has no shares yet, since nobody holds a share whose price could be moved.
//!
//! # Source and limits
//!
//! Donation to a share vault that another protocol takes for an oracle doubled the price of yUSD in the attack on
//! Cream Finance (27 October 2021) and is the pattern of the inflation attack that OpenZeppelin's ERC-4626
//! documentation describes. A jump alone is no theft: a harvest or a slashing is one too. So only a jump of more than
//! about a third reaches the policy's default for opening an incident alone; smaller ones confirm what others see. A rate that is
//! moved over several transactions in small steps is not seen here.

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::valuation::{Readings, balance_of, one_token_raw, rate_call, total_supply};
use alloy_primitives::{Address, U256, U512};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::{AssetSpec, Price, Protocol};
use cordon_model::units::{Asset, Bps};
use serde::Deserialize;

/// Score of a jump that just passes the threshold; the policy's default for a finding that only confirms others.
const SCORE_MIN: Score = Score(300);

/// What a jump of `jump_full_bps` adds to it. The sum, 700, passes the policy's default for opening an incident.
const SCORE_SPAN: u16 = 400;

/// How far the derived rate may be from the vault's answer to be used: one hundredth of a percent, which leaves room
/// for rounding and far less than any jump that is reported.
const AGREEMENT_BPS: u32 = 1;

/// Configuration of [`RateJump`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateJumpConfig {
    /// Largest move that is taken for yield. Default 200 (2 %): a month's yield at 24 % a year paid out at once, four
    /// times the harvest of the drill's benign twin; the known donation attacks moved rates by tens of percent and more.
    pub jump_max_bps: Bps,
    /// Move at which the score is full. Default 5000 (50 %): beyond it the rate has stopped meaning anything.
    pub jump_full_bps: Bps,
}

impl Default for RateJumpConfig {
    fn default() -> Self {
        Self { jump_max_bps: Bps(200), jump_full_bps: Bps(5_000) }
    }
}

impl RateJumpConfig {
    /// The detector.
    ///
    /// # Errors
    /// A threshold that rounding alone would pass, or a full score below it.
    pub fn build(&self) -> Result<RateJump, ConfigError> {
        let (max, full) = (self.jump_max_bps, self.jump_full_bps);
        let refuse =
            |key, value: Bps, expected| Err(ConfigError { key, value: value.0.to_string(), expected });
        if max.0 <= AGREEMENT_BPS {
            return refuse("rate-jump.jump_max_bps", max, "at least 2");
        }
        if full < max {
            return refuse("rate-jump.jump_full_bps", full, "a value not below jump_max_bps");
        }
        Ok(RateJump { jump_max_bps: max, jump_full_bps: full })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RateJump {
    jump_max_bps: Bps,
    jump_full_bps: Bps,
}

impl Detector for RateJump {
    fn name(&self) -> &'static str {
        "rate-jump"
    }

    fn views(&self, protocol: &Protocol, _execution: &Execution) -> Vec<ViewCall> {
        rates(protocol).flat_map(|rate| rate.calls()).collect()
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let readings = Readings::of(execution);
        rates(protocol).filter_map(|rate| self.judge(protocol, execution, &readings, &rate)).collect()
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let readings = Readings::of(execution);
        let unread = rates(protocol).filter(|rate| rate.own_answers(&readings).is_none());
        let mut gaps: Vec<String> =
            unread.map(|rate| format!("the rate of {} could not be read", rate.symbol)).collect();
        if execution.truncated {
            gaps.push("the record of the transaction was cut; rates inside it were not derived".to_owned());
        }
        gaps
    }
}

impl RateJump {
    fn judge(
        &self,
        protocol: &Protocol,
        execution: &Execution,
        readings: &Readings<'_>,
        rate: &Rate,
    ) -> Option<Finding> {
        if rate.supply_before(readings) == Some(U256::ZERO) {
            return None;
        }
        let (before_raw, after_raw) = rate.own_answers(readings)?;
        let inside = rate.derived_inside(execution, readings, before_raw, after_raw);
        let extreme_raw = inside.into_iter().fold(after_raw, |extreme, sample| {
            if sample.abs_diff(before_raw) > extreme.abs_diff(before_raw) { sample } else { extreme }
        });
        let jump_bps = Bps::ratio(extreme_raw.abs_diff(before_raw), before_raw);
        if jump_bps <= self.jump_max_bps {
            return None;
        }
        let strength = Score::scaled(U256::from(jump_bps.0), U256::from(self.jump_full_bps.0));
        Some(
            Statement {
                class: AttackClass::RateManipulation,
                contract: rate.vault,
                score: SCORE_MIN.and(SCORE_SPAN, strength),
                evidence: Evidence::RateJump {
                    contract: rate.vault,
                    underlying: rate.underlying,
                    before_raw,
                    extreme_raw,
                    jump_bps,
                },
            }
            .by(self.name(), protocol, execution),
        )
    }
}

/// One share whose price is watched.
#[derive(Debug)]
struct Rate {
    vault: Address,
    share: Asset,
    underlying: Asset,
    symbol: String,
    question: ViewCall,
    one_raw: U256,
    /// `10^(share decimals - underlying decimals)`, OpenZeppelin's virtual shares.
    virtual_shares: U256,
}

/// The watched shares, each vault once.
fn rates(protocol: &Protocol) -> impl Iterator<Item = Rate> {
    let mut seen = Vec::new();
    let rate = move |spec: &AssetSpec| {
        let Price::ShareRate { vault, underlying } = spec.price else { return None };
        if seen.contains(&vault) {
            return None;
        }
        seen.push(vault);
        let below = protocol.asset(underlying).map_or(spec.decimals, |below| below.decimals);
        Some(Rate {
            vault,
            share: spec.asset,
            underlying,
            symbol: spec.symbol.clone(),
            question: rate_call(spec, vault)?,
            one_raw: one_token_raw(spec.decimals)?,
            virtual_shares: one_token_raw(spec.decimals.saturating_sub(below))?,
        })
    };
    protocol.assets.iter().filter_map(rate)
}

/// What a vault holds and has issued.
#[derive(Debug, Clone, Copy)]
struct Books {
    balance_raw: U256,
    supply_raw: U256,
}

/// How a vault computes its rate.
#[derive(Debug, Clone, Copy)]
enum Formula {
    /// `balance / supply`.
    Plain,
    /// `(balance + 1) / (supply + virtual shares)`.
    Virtual,
}

impl Rate {
    fn calls(&self) -> Vec<ViewCall> {
        let mut calls = vec![self.question.clone()];
        calls.extend(self.balance_call());
        calls.extend(self.supply_call());
        calls
    }

    fn balance_call(&self) -> Option<ViewCall> {
        match self.underlying {
            Asset::Token(token) => Some(balance_of(token, self.vault)),
            Asset::Native => None,
        }
    }

    fn supply_call(&self) -> Option<ViewCall> {
        match self.share {
            Asset::Token(token) => Some(total_supply(token)),
            Asset::Native => None,
        }
    }

    fn supply_before(&self, readings: &Readings<'_>) -> Option<U256> {
        readings.before(&self.supply_call()?)
    }

    /// The vault's rate before and after; `None` where it was not answered or is zero before.
    fn own_answers(&self, readings: &Readings<'_>) -> Option<(U256, U256)> {
        readings.both(&self.question).filter(|(before, _)| !before.is_zero())
    }

    /// Rates at the moments inside the transaction when the vault's books were closed; empty for a vault whose rate
    /// does not follow its balance and supply.
    fn derived_inside(
        &self,
        execution: &Execution,
        readings: &Readings<'_>,
        before: U256,
        after: U256,
    ) -> Vec<U256> {
        let Some((start, end)) = self.books(readings) else { return Vec::new() };
        let fits = |formula: &Formula| {
            agrees(self.derive(*formula, start), before) && agrees(self.derive(*formula, end), after)
        };
        let Some(formula) = [Formula::Virtual, Formula::Plain].into_iter().find(fits) else {
            return Vec::new();
        };
        if execution.truncated {
            return Vec::new();
        }
        let samples = self.closed_books(execution, start);
        samples.into_iter().filter_map(|books| self.derive(formula, books)).collect()
    }

    fn books(&self, readings: &Readings<'_>) -> Option<(Books, Books)> {
        let (balance_before, balance_after) = readings.both(&self.balance_call()?)?;
        let (supply_before, supply_after) = readings.both(&self.supply_call()?)?;
        let start = Books { balance_raw: balance_before, supply_raw: supply_before };
        Some((start, Books { balance_raw: balance_after, supply_raw: supply_after }))
    }

    fn derive(&self, formula: Formula, books: Books) -> Option<U256> {
        let (held, issued) = match formula {
            Formula::Plain => (books.balance_raw, books.supply_raw),
            Formula::Virtual => (
                books.balance_raw.saturating_add(U256::ONE),
                books.supply_raw.saturating_add(self.virtual_shares),
            ),
        };
        let product: U512 = self.one_raw.widening_mul(held);
        Some(product.checked_div(U512::from(issued))?.saturating_to())
    }

    /// Balance and supply after each change, taken when the vault is off the call stack.
    fn closed_books(&self, execution: &Execution, start: Books) -> Vec<Books> {
        let mut calls: Vec<(u32, u32)> = Vec::new();
        for frame in execution.frames.iter().filter(|frame| frame.address == self.vault) {
            // Frames come in the order of entry, so one that begins inside the last interval is nested in it.
            if calls.last().is_none_or(|(_, exit)| frame.enter_seq > *exit) {
                calls.push((frame.enter_seq, frame.exit_seq));
            }
        }
        let mut changes: Vec<_> =
            execution.transfers.iter().filter(|moved| self.is_change(moved.asset)).collect();
        changes.sort_by_key(|moved| moved.seq);
        let (mut books, mut samples) = (start, Vec::new());
        for (position, moved) in changes.iter().enumerate() {
            books = self.apply(books, moved.asset, moved.from, moved.to, moved.amount_raw);
            let after_entry = calls.partition_point(|(enter, _)| *enter < moved.seq);
            let inside = after_entry
                .checked_sub(1)
                .and_then(|last| calls.get(last))
                .filter(|(_, exit)| moved.seq < *exit);
            let next = changes.get(position + 1);
            let still_open = inside.is_some_and(|(_, exit)| next.is_some_and(|next| next.seq < *exit));
            if !still_open {
                samples.push(books);
            }
        }
        samples
    }

    fn is_change(&self, asset: Asset) -> bool {
        asset == self.underlying || asset == self.share
    }

    fn apply(&self, books: Books, asset: Asset, from: Address, to: Address, amount_raw: U256) -> Books {
        let Books { mut balance_raw, mut supply_raw } = books;
        if asset == self.underlying {
            balance_raw = if to == self.vault { balance_raw.saturating_add(amount_raw) } else { balance_raw };
            balance_raw =
                if from == self.vault { balance_raw.saturating_sub(amount_raw) } else { balance_raw };
        } else {
            supply_raw = if from.is_zero() { supply_raw.saturating_add(amount_raw) } else { supply_raw };
            supply_raw = if to.is_zero() { supply_raw.saturating_sub(amount_raw) } else { supply_raw };
        }
        Books { balance_raw, supply_raw }
    }
}

fn agrees(derived: Option<U256>, answered: U256) -> bool {
    derived.is_some_and(|derived| {
        let apart = derived.abs_diff(answered);
        apart <= U256::ONE || Bps::ratio(apart, answered) < Bps(AGREEMENT_BPS)
    })
}

#[cfg(test)]
mod tests;
