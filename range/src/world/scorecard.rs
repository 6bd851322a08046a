//! What a run has cost and whom, read from the chain at one block. In goes the market, out come integers and a table.
//!
//! The score knows the attacker's accounts, so it must never be an input of detection or response.

use std::fmt;

use alloy_primitives::{Address, I256, U256};

use super::RangeError;
use crate::scenarios::lending_market::act::Amount;
use crate::scenarios::lending_market::cast::{self, BORROWER};
use crate::scenarios::lending_market::interfaces::{ILending, IShareVault, IToken};
use crate::scenarios::lending_market::{Market, SETH_PRICE_DUSD, view};
use crate::{BlockRef, Chain};

/// How the run stands at one block. Amounts are base units of tokens with 18 decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scorecard {
    /// The block it was read at.
    pub block: BlockRef,
    /// dUSD that the attackers have gained since the set-up.
    pub attacker_profit_dusd_raw: I256,
    /// sETH that the attackers have gained since the set-up; negative for what the donations cost them.
    pub attacker_profit_seth_raw: I256,
    /// dUSD in the lending vault.
    pub vault_cash_raw: U256,
    /// dUSD that all accounts owe by the vault's books.
    pub total_debt_raw: U256,
    /// The part of it that nobody will repay: what accounts other than the honest borrowers owe.
    pub unbacked_debt_raw: U256,
    /// Each lender of the first hour.
    pub lenders: Vec<LenderStanding>,
}

/// What one lender has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LenderStanding {
    /// Name for people.
    pub name: &'static str,
    /// Its account.
    pub account: Address,
    /// dUSD outside of the vault.
    pub wallet_raw: U256,
    /// Shares of the vault.
    pub shares_raw: U256,
    /// dUSD that the vault says its shares are worth; bad debt counts in full until it is written off.
    pub book_value_raw: U256,
    /// dUSD that stand behind its shares without the unbacked debt: what it can really expect.
    pub redeemable_raw: U256,
}

impl Scorecard {
    /// Attackers' profit in base units of dUSD, with sETH at the operator's price.
    #[must_use]
    pub fn attacker_profit_value_raw(&self) -> I256 {
        let price = I256::try_from(SETH_PRICE_DUSD).unwrap_or(I256::ZERO);
        self.attacker_profit_dusd_raw.saturating_add(self.attacker_profit_seth_raw.saturating_mul(price))
    }

    /// Sum of what the lenders can expect from the vault.
    #[must_use]
    pub fn lenders_redeemable_raw(&self) -> U256 {
        sum(self.lenders.iter().map(|lender| lender.redeemable_raw))
    }

    /// Sum of what the lenders have, in the vault and outside. Without an attack it does not change.
    #[must_use]
    pub fn lenders_wealth_raw(&self) -> U256 {
        sum(self.lenders.iter().map(|lender| lender.wallet_raw.saturating_add(lender.redeemable_raw)))
    }
}

fn sum(amounts: impl Iterator<Item = U256>) -> U256 {
    amounts.fold(U256::ZERO, U256::saturating_add)
}

impl fmt::Display for Scorecard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |label: &str, amount: String, unit: &str| writeln!(f, "{label:<28}{amount:>16} {unit}");
        row("attacker's profit", signed(self.attacker_profit_dusd_raw), "dUSD")?;
        row("", signed(self.attacker_profit_seth_raw), "sETH")?;
        row("cash of the vault", Amount(self.vault_cash_raw).to_string(), "dUSD")?;
        row("debt by the books", Amount(self.total_debt_raw).to_string(), "dUSD")?;
        row("of it without collateral", Amount(self.unbacked_debt_raw).to_string(), "dUSD")?;
        for lender in &self.lenders {
            row(&format!("{} can expect", lender.name), Amount(lender.redeemable_raw).to_string(), "dUSD")?;
        }
        row("lenders can expect", Amount(self.lenders_redeemable_raw()).to_string(), "dUSD")?;
        row("lenders' wealth in all", Amount(self.lenders_wealth_raw()).to_string(), "dUSD")
    }
}

fn signed(amount: I256) -> String {
    let sign = if amount.is_negative() { "-" } else { "" };
    format!("{sign}{}", Amount(amount.unsigned_abs()))
}

/// What accounts own together, base units.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Holdings {
    dusd_raw: U256,
    seth_raw: U256,
}

impl Holdings {
    pub(super) fn read(chain: &Chain, market: &Market, accounts: &[Address]) -> Result<Self, RangeError> {
        let mut held = Self::default();
        for account in accounts {
            let dusd_raw = Market::balance(chain, market.usd.address, *account)?;
            let seth_raw = Market::balance(chain, market.coin.address, *account)?;
            held.dusd_raw = held.dusd_raw.saturating_add(dusd_raw);
            held.seth_raw = held.seth_raw.saturating_add(seth_raw);
        }
        Ok(held)
    }
}

fn gain(before: U256, now: U256) -> I256 {
    // The wrapping difference is the two's complement of the signed one; amounts of tokens stay far below 2^255.
    I256::from_raw(now.wrapping_sub(before))
}

/// Who is who, for the score.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    pub(super) attackers: Vec<Address>,
    pub(super) attackers_at_start: Holdings,
    /// Honest borrowers besides those that every scenario has.
    pub(super) borrowers: Vec<Address>,
}

/// Reads the score at the head.
pub(super) fn read(chain: &Chain, market: &Market, sides: &Sides) -> Result<Scorecard, RangeError> {
    let vault = market.vault.address;
    let attackers = Holdings::read(chain, market, &sides.attackers)?;
    let total_debt_raw = view(chain, vault, &ILending::totalDebtCall {})?;
    let total_assets_raw = view(chain, vault, &IShareVault::totalAssetsCall {})?;
    let mut unbacked_debt_raw = total_debt_raw;
    for account in [market.cast.address(BORROWER), market.zap].iter().chain(&sides.borrowers) {
        unbacked_debt_raw = unbacked_debt_raw.saturating_sub(market.debt(chain, *account)?);
    }
    let backed_raw = total_assets_raw.saturating_sub(unbacked_debt_raw);
    let mut lenders = Vec::new();
    for name in cast::lenders() {
        let account = market.cast.address(name);
        let shares_raw = view(chain, vault, &IToken::balanceOfCall { account })?;
        let book_value_raw = view(chain, vault, &IShareVault::convertToAssetsCall { shares: shares_raw })?;
        let wallet_raw = Market::balance(chain, market.usd.address, account)?;
        // Products of two token amounts stay below 2^180, so nothing saturates.
        let redeemable_raw =
            book_value_raw.saturating_mul(backed_raw).checked_div(total_assets_raw).unwrap_or_default();
        lenders.push(LenderStanding {
            name,
            account,
            wallet_raw,
            shares_raw,
            book_value_raw,
            redeemable_raw,
        });
    }
    Ok(Scorecard {
        block: chain.head(),
        attacker_profit_dusd_raw: gain(sides.attackers_at_start.dusd_raw, attackers.dusd_raw),
        attacker_profit_seth_raw: gain(sides.attackers_at_start.seth_raw, attackers.seth_raw),
        vault_cash_raw: Market::balance(chain, market.usd.address, vault)?,
        total_debt_raw,
        unbacked_debt_raw,
        lenders,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::lending_market::act::tokens;

    #[test]
    fn a_loss_is_shown_with_its_sign() {
        assert_eq!(signed(gain(tokens(500), tokens(440))), "-60");
        assert_eq!(signed(gain(U256::ZERO, tokens(1_500))), "1,500");
    }
}
