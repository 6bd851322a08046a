//! There is more of a token than its custody holds for it, by more than before the transaction.
//!
//! In: a pair that the operator wrote down; the token's supply and the custody's balance before and after. Out: a statement
//! where the lack grew. Must never: speak of a lack that was there before and did not grow, or take an unread balance for
//! an empty one.

use super::{BackingConfig, Heard, Said};
use crate::detectors::ConfigError;
use crate::valuation::{Readings, balance_of, one_token_raw, total_supply};
use alloy_primitives::{Address, I256, U256};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::Score;
use cordon_model::finding::sign::Unbacked;
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;

/// Opens an incident alone: what the operator says must never be.
const SCORE: Score = Score(900);

/// The same in native coin, where a surplus of the custody cannot be read and is not counted in its favour.
const SCORE_NATIVE: Score = Score(700);

/// Most decimals of a token: `10^36` times a supply of `2^128` still fits 256 bits. Tokens in use have at most 30.
const DECIMALS_MAX: u8 = 36;

/// A token and what stands behind it; amounts are compared in the smaller of both units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    token: Address,
    custody: Address,
    asset: Asset,
    token_unit: U256,
    asset_unit: U256,
}

impl Pair {
    pub(super) fn of(config: &BackingConfig) -> Result<Self, ConfigError> {
        let BackingConfig { token, custody, asset: written, token_decimals, asset_decimals } = config;
        let wrong = |key, value: String, expected| ConfigError { key, value, expected };
        let asset = match written.as_str() {
            "native" => Asset::Native,
            text => Asset::Token(text.parse().map_err(|_| {
                let expected = "\"native\" or the address of a token";
                wrong("unbacked-mint.backing.asset", written.clone(), expected)
            })?),
        };
        let finer = *token_decimals.max(asset_decimals);
        let unit =
            |decimals: u8| one_token_raw(finer.saturating_sub(decimals)).filter(|_| finer <= DECIMALS_MAX);
        let (Some(token_unit), Some(asset_unit)) = (unit(*token_decimals), unit(*asset_decimals)) else {
            return Err(wrong("unbacked-mint.backing decimals", finer.to_string(), "0 to 36"));
        };
        Ok(Self { token: *token, custody: *custody, asset, token_unit, asset_unit })
    }

    /// True where the protocol protects one of both, and the transaction called the token, the custody, or the asset.
    pub(super) fn concerns(&self, protocol: &Protocol, execution: &Execution) -> bool {
        let is_part = |address: Address| {
            address == self.token || address == self.custody || self.asset == Asset::Token(address)
        };
        let is_protected = protocol.protects(self.token) || protocol.protects(self.custody);
        let paid = || execution.balance_changes_wei.contains_key(&self.custody);
        is_protected && (execution.frames.iter().any(|frame| is_part(frame.address)) || paid())
    }

    pub(super) fn views(&self) -> Vec<ViewCall> {
        let held = match self.asset {
            Asset::Token(asset) => Some(balance_of(asset, self.custody)),
            Asset::Native => None,
        };
        [total_supply(self.token)].into_iter().chain(held).collect()
    }

    pub(super) fn judge(&self, protocol: &Protocol, execution: &Execution, readings: &Readings<'_>) -> Heard {
        let Self { token, custody, asset, .. } = *self;
        let Some(grown_raw) = self.grown(execution, readings) else {
            return (Vec::new(), vec![format!("whether {custody} holds enough for {token}: not to be read")]);
        };
        // A rounding down by one unit of the coarser of both is no lack.
        if grown_raw <= self.token_unit.max(self.asset_unit) {
            return (Vec::new(), Vec::new());
        }
        let score = if asset == Asset::Native { SCORE_NATIVE } else { SCORE };
        let contract = if protocol.protects(token) { token } else { custody };
        (
            vec![Said { contract, score, what: Unbacked::Backing { token, custody, asset, grown_raw } }],
            Vec::new(),
        )
    }

    /// By how much the lack grew; zero where it did not. `None` where something could not be read, or does not fit.
    fn grown(&self, execution: &Execution, readings: &Readings<'_>) -> Option<U256> {
        let (before, after) = readings.both(&total_supply(self.token))?;
        let supplies = (before.checked_mul(self.token_unit)?, after.checked_mul(self.token_unit)?);
        match self.asset {
            Asset::Token(asset) => {
                let (before, after) = readings.both(&balance_of(asset, self.custody))?;
                let held = (before.checked_mul(self.asset_unit)?, after.checked_mul(self.asset_unit)?);
                let lack = (supplies.0.saturating_sub(held.0), supplies.1.saturating_sub(held.1));
                Some(lack.1.saturating_sub(lack.0))
            }
            Asset::Native => {
                let change = execution.balance_changes_wei.get(&self.custody).copied().unwrap_or_default();
                let held = change.checked_mul(I256::try_from(self.asset_unit).ok()?)?;
                let issued =
                    I256::try_from(supplies.1).ok()?.checked_sub(I256::try_from(supplies.0).ok()?)?;
                let grown = issued.checked_sub(held)?;
                Some(if grown.is_positive() { grown.unsigned_abs() } else { U256::ZERO })
            }
        }
    }
}
