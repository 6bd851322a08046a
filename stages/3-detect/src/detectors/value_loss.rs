//! Value loss: the protected system paid out more than its obligations fell.
//!
//! In: transfers, balances and supplies, account lines of the users, and prices from before the transaction. Out: one
//! finding with the loss in value. Must never: use a price from inside or after the transaction, or take an amount
//! that could not be read for zero without saying so.
//!
//! # What is computed
//!
//! ```text
//! loss         = obligations_delta - holdings_delta
//! holdings     = value of everything that the protected contracts hold
//! obligations  = value of all shares issued by protected vaults
//!              + sum over outside accounts of max(0, collateral value - debt value)
//! ```
//!
//! The account term carries limited liability. While collateral covers the debt, a borrower's equity falls by exactly
//! what he receives, so honest borrowing is no loss. Debt beyond the collateral is money that the system will not see
//! again, and the equity of its debtor cannot fall below zero, so unbacked borrowing is a loss. Repaying, supplying,
//! depositing and redeeming move both sides alike.
//!
//! Shares of a protected vault that lie in another protected contract (pledged collateral) stand on both sides: held
//! by the one, issued by the other. They cancel, and what remains owed is the pledger's equity. A flash loan that is
//! paid back leaves both sides where they were.
//!
//! # A worked example
//!
//! Coins are worth 100, dollars 1. A collateral vault holds 10 coins for 10 shares; a lending vault holds 300,000
//! dollars of its lenders. In one transaction a contract buys 100 shares for 100 coins, pledges them, gives the
//! collateral vault 890 coins (one share now converts to 9.09), borrows 60,000 dollars, takes the pledge back while
//! the debt is not recorded yet, and redeems it for 909 coins. Holdings: +81 coins (8,100) and -60,000 dollars, so
//! -51,900. Obligations: the supply of shares is what it was; the contract's equity was 0 and is max(0, 0 - 60,000) = 0.
//! The loss is 51,900. An honest borrower of 60,000 against pledged shares worth 80,000 has -60,000 on both sides.
//!
//! # Source and limits
//!
//! The idea is the solvency invariant of double-entry accounting, the form in which declared invariants catch
//! accounting attacks of the Euler (March 2023) kind; caps on outflow alone saw 17 of 27 exploits in Trace2Inv (Zhang
//! et al., FSE 2024) and fire on honest whales. Limits: a protocol that lends must state both sides of its account
//! lines, or honest borrowing looks like a loss; contracts to which a vault lends its cash (strategies) must be
//! protected too; a fixed price that is far from the market shifts what counts as backed; an account is found as a
//! party of a transfer, as a caller, or as an address word in calldata or logs of a protected contract. An asset
//! without a price is listed among the holdings and never makes a loss by itself. A vault answers its rate in whole
//! units of the underlying; what that rounding can make is not taken for a loss.

mod accounts;
mod assess;

use crate::detector::{Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use crate::valuation::value_ceiling_wad;
use accounts::touched_accounts;
use alloy_primitives::{Address, U256};
use assess::Assessment;
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Bps, format_units, parse_wad};
use serde::Deserialize;

/// Score of a loss that just passes the thresholds. It equals the policy's default for opening an incident: the
/// thresholds below are the operator's word on which loss is one.
const SCORE_MIN: Score = Score(600);

/// Highest score of a loss whose calculation lacks a reading: enough to confirm what another detector saw, too little
/// to open an incident alone.
const SCORE_UNREAD_MAX: Score = Score(400);

/// Where the system's holdings cannot be read, a loss of this many times `loss_min_value` has the full score: two
/// orders of magnitude above what the operator finds worth a finding.
const FULL_SCORE_FACTOR: u32 = 100;

/// Configuration of [`ValueLoss`]. A loss must pass both thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValueLossConfig {
    /// Smallest loss, in units of account, as a decimal text such as `"2500.5"`. Default `"0"`: which sum matters is
    /// for the operator to say. It must be set where holdings cannot be read (native coin only).
    pub loss_min_value: String,
    /// Smallest loss as a share of the system's holdings before the transaction. Default 10 (0.1 %): rounding,
    /// accrued fees and liquidation bonuses of single transactions stay an order of magnitude below.
    pub loss_min_bps: Bps,
    /// Share at which the score is full. Default 1000 (10 %): at that pace ten transactions empty the system.
    pub loss_full_bps: Bps,
}

impl Default for ValueLossConfig {
    fn default() -> Self {
        Self { loss_min_value: "0".to_owned(), loss_min_bps: Bps(10), loss_full_bps: Bps(1_000) }
    }
}

impl ValueLossConfig {
    /// The detector.
    ///
    /// # Errors
    /// A threshold that is no amount, or a share beyond the whole.
    pub fn build(&self) -> Result<ValueLoss, ConfigError> {
        let share = |key, value: Bps, expected, fits: bool| {
            if fits { Ok(value) } else { Err(ConfigError { key, value: value.0.to_string(), expected }) }
        };
        let (min, full) = (self.loss_min_bps, self.loss_full_bps);
        Ok(ValueLoss {
            loss_min_wad: threshold_wad(&self.loss_min_value).ok_or_else(|| ConfigError {
                key: "value-loss.loss_min_value",
                value: self.loss_min_value.clone(),
                expected: "a decimal number with at most 18 digits after the point, such as \"2500.5\"",
            })?,
            loss_min_bps: share("value-loss.loss_min_bps", min, "0 to 10000", min.0 <= 10_000)?,
            loss_full_bps: share(
                "value-loss.loss_full_bps",
                full,
                "1 to 10000, and not below loss_min_bps",
                (1..=10_000).contains(&full.0) && full >= min,
            )?,
        })
    }
}

/// Value that the protected system lost in the transaction, wad, without any threshold; zero for a gain and for what
/// rounding alone can make. It is the measure of simulations: an attack is contained when it takes nothing.
///
/// It needs the readings of `DetectorSet::views`, which ask for them whichever detectors are configured. An account
/// that could not be read counts as owed nothing, which makes the loss larger; an asset whose price could not be read
/// counts nothing at all.
#[must_use]
pub fn loss_wad(protocol: &Protocol, execution: &Execution) -> U256 {
    Assessment::of(protocol, execution).loss_wad()
}

/// True where everything that the books need could be read, and they show no loss.
pub(crate) fn books_are_even(protocol: &Protocol, execution: &Execution) -> bool {
    let assessment = Assessment::of(protocol, execution);
    is_complete(protocol, &assessment) && assessment.loss_wad().is_zero()
}

/// The loss as a share of what the system held, and the contract whose holdings fell most; `None` where something that the books
/// need could not be read, or nothing was held.
pub(crate) fn booked_loss(protocol: &Protocol, execution: &Execution) -> Option<(Address, Bps)> {
    // Without assets there are no books to make.
    let assessment = (!protocol.assets.is_empty()).then(|| Assessment::of(protocol, execution))?;
    let share = assessment.loss_share().filter(|_| is_complete(protocol, &assessment))?;
    Some((assessment.contract, share))
}

fn is_complete(protocol: &Protocol, assessment: &Assessment) -> bool {
    !protocol.assets.is_empty() && assessment.unread.is_empty() && assessment.notes.is_empty()
}

/// The readings of [`loss_wad`], those about the system as a whole first.
pub(crate) fn loss_views(protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
    let mut calls = assess::system_views(protocol);
    for account in touched_accounts(protocol, execution).list {
        calls.extend(protocol.account_views.iter().map(|line| line.call(account)));
    }
    calls
}

/// A threshold in value: a decimal text that stays within what values are cut at.
fn threshold_wad(text: &str) -> Option<U256> {
    parse_wad(text).filter(|value| *value <= value_ceiling_wad())
}

/// See the module.
#[derive(Debug, Clone)]
pub struct ValueLoss {
    loss_min_wad: U256,
    loss_min_bps: Bps,
    loss_full_bps: Bps,
}

impl Detector for ValueLoss {
    fn name(&self) -> &'static str {
        "value-loss"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        loss_views(protocol, execution)
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let assessment = Assessment::of(protocol, execution);
        let gaps = self.unjudged(&assessment);
        let Some(score) = self.score(&assessment) else { return Opinion { findings: Vec::new(), gaps } };
        let contract = assessment.contract;
        let statement = Statement {
            class: AttackClass::ValueExtraction,
            contract,
            score,
            evidence: Evidence::ValueLoss {
                loss_wad: assessment.loss_wad(),
                loss_share_bps: assessment.loss_share(),
                holdings: assessment.holdings,
                obligations_delta_wad: assessment.obligations_delta_wad,
                gainers: assessment.gainers,
            },
        };
        Opinion { findings: vec![statement.by(self.name(), protocol, execution)], gaps }
    }
}

impl ValueLoss {
    fn unjudged(&self, assessment: &Assessment) -> Vec<String> {
        let mut gaps = Vec::new();
        let loss_wad = assessment.loss_wad();
        if !loss_wad.is_zero() && self.loss_min_wad.is_zero() && assessment.loss_share().is_none() {
            let loss = format_units(loss_wad, 18);
            gaps.push(format!(
                "a loss of {loss} has no threshold: holdings cannot be read and loss_min_value is 0"
            ));
        }
        gaps.extend(assessment.unread.iter().cloned());
        gaps.extend(assessment.notes.iter().cloned());
        gaps
    }

    /// `None` below the thresholds.
    fn score(&self, assessment: &Assessment) -> Option<Score> {
        let loss_wad = assessment.loss_wad();
        if loss_wad.is_zero() || loss_wad < self.loss_min_wad {
            return None;
        }
        let strength = match assessment.loss_share() {
            Some(share) if share < self.loss_min_bps => return None,
            Some(share) => Score::scaled(U256::from(share.0), U256::from(self.loss_full_bps.0)),
            None if self.loss_min_wad.is_zero() => return None,
            None => Score::scaled(loss_wad, self.loss_min_wad.saturating_mul(U256::from(FULL_SCORE_FACTOR))),
        };
        let score = SCORE_MIN.and(Score::MAX.0 - SCORE_MIN.0, strength);
        Some(if assessment.unread.is_empty() { score } else { score.min(SCORE_UNREAD_MAX) })
    }
}

#[cfg(test)]
mod tests;
