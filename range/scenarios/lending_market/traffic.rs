//! The honest traffic that runs through every block of every scenario: deposits, redemptions, loans, repayments,
//! transfers, and a zap that borrows with a hook.
//!
//! In go the market, the head of the chain and the number of the step; out come one to three acts. Which acts are
//! tried follows from the seed and the step alone, so runs with and without defence differ in their outcome and not
//! in their intentions. People do not look whether the vault is paused; while it is, they fail and try again later.

use alloy_primitives::{Address, U256};

use super::act::{Act, Amount, tokens};
use super::cast::{BORROWER, LENDERS_A, LENDERS_B, USERS, ZAPPER};
use super::dice::SplitMix64;
use super::interfaces::{ILending, IZap};
use super::{Market, view};
use crate::Chain;
use crate::world::RangeError;

/// Most acts of one block.
const ACTS_MAX: u64 = 3;
/// One deposit, whole dUSD: first, last and step.
const DEPOSIT_DUSD: (u64, u64, u64) = (5_000, 60_000, 100);
/// One redemption, whole shares. Smaller than deposits, so that the vault lives.
const REDEMPTION_SHARES: (u64, u64, u64) = (2_000, 40_000, 100);
/// One loan or repayment of the borrower, whole dUSD.
const LOAN_DUSD: (u64, u64, u64) = (50, 300, 10);
/// The borrower keeps its debt below this, whole dUSD; its collateral allows 1,920.
const BORROWER_DEBT_MAX_DUSD: u64 = 1_500;
/// One loan through the zap, whole dUSD; its collateral allows 1,280.
const ZAP_LOAN_DUSD: (u64, u64, u64) = (300, 900, 10);
/// One transfer between users, whole dUSD.
const TRANSFER_DUSD: (u64, u64, u64) = (100, 5_000, 10);
/// Out of a hundred moves of a lender, so many are deposits.
const DEPOSITS_PERCENT: u64 = 55;

/// The groups of actors. Each acts at most once in a block, so acts of one block never get into each other's way.
#[derive(Debug, Clone, Copy)]
enum Group {
    LendersA,
    LendersB,
    Borrower,
    Users,
    Zapper,
}

/// The honest acts of step `step`.
pub(crate) fn turn(market: &Market, chain: &Chain, step: u64) -> Result<Vec<Act>, RangeError> {
    let seed = market.cast.seed;
    let mut dice = SplitMix64::keyed(&[seed, step]);
    let mut groups = [
        (1, Group::LendersA),
        (2, Group::LendersB),
        (3, Group::Borrower),
        (4, Group::Users),
        (5, Group::Zapper),
    ];
    dice.shuffle(&mut groups);
    let count = usize::try_from(dice.between(1, ACTS_MAX, 1)).unwrap_or(1);
    let mut acts = Vec::with_capacity(count);
    for (key, group) in groups.into_iter().take(count) {
        // Each group has a sequence of its own, so a choice that one skips does not shift the others.
        let mut dice = SplitMix64::keyed(&[seed, step, key]);
        acts.extend(match group {
            Group::LendersA => lender(market, chain, &mut dice, LENDERS_A)?,
            Group::LendersB => lender(market, chain, &mut dice, LENDERS_B)?,
            Group::Borrower => Some(borrower(market, chain, &mut dice)?),
            Group::Users => user(market, chain, &mut dice)?,
            Group::Zapper => zapper(market, chain, &mut dice)?,
        });
    }
    Ok(acts)
}

fn amount(dice: &mut SplitMix64, (first, last, step): (u64, u64, u64)) -> U256 {
    tokens(dice.between(first, last, step))
}

fn lender(
    market: &Market,
    chain: &Chain,
    dice: &mut SplitMix64,
    mut names: [&'static str; 3],
) -> Result<Option<Act>, RangeError> {
    dice.shuffle(&mut names);
    let [name, ..] = names;
    let deposit = amount(dice, DEPOSIT_DUSD);
    let redemption = amount(dice, REDEMPTION_SHARES);
    let wants_deposit = dice.below(100) < DEPOSITS_PERCENT;
    let account = market.cast.address(name);
    let wallet = Market::balance(chain, market.usd.address, account)?;
    if wants_deposit && wallet >= deposit {
        return Ok(Some(market.deposit(name, market.vault, market.usd, deposit)));
    }
    let shares = Market::balance(chain, market.vault.address, account)?.min(redemption);
    Ok((!shares.is_zero()).then(|| market.redeem(name, market.vault, shares)))
}

fn borrower(market: &Market, chain: &Chain, dice: &mut SplitMix64) -> Result<Act, RangeError> {
    let amount = amount(dice, LOAN_DUSD);
    let wants_loan = dice.below(2) == 0;
    let debt = market.debt(chain, market.cast.address(BORROWER))?;
    let may_borrow = debt.saturating_add(amount) <= tokens(BORROWER_DEBT_MAX_DUSD);
    Ok(if debt.is_zero() || (wants_loan && may_borrow) {
        market.borrow(BORROWER, amount)
    } else {
        market.repay(BORROWER, amount.min(debt))
    })
}

fn user(market: &Market, chain: &Chain, dice: &mut SplitMix64) -> Result<Option<Act>, RangeError> {
    let mut names = USERS;
    dice.shuffle(&mut names);
    let [from, to, ..] = names;
    let wish = amount(dice, TRANSFER_DUSD);
    let wallet = Market::balance(chain, market.usd.address, market.cast.address(from))?;
    let amount = wish.min(wallet / U256::from(2));
    Ok((!amount.is_zero()).then(|| market.transfer(from, market.usd, (market.cast.address(to), to), amount)))
}

fn zapper(market: &Market, chain: &Chain, dice: &mut SplitMix64) -> Result<Option<Act>, RangeError> {
    let loan = amount(dice, ZAP_LOAN_DUSD);
    let debt = market.debt(chain, market.zap)?;
    if debt.is_zero() {
        let shares = Market::balance(chain, market.pool.address, market.cast.address(ZAPPER))?;
        return Ok((!shares.is_zero()).then(|| open_zap(market, (ZAPPER, market.zap), shares, loan)));
    }
    close_zap(market, chain, (ZAPPER, market.zap)).map(Some)
}

/// Opens a position through the zap of its owner.
pub(crate) fn open_zap(market: &Market, zap: (&'static str, Address), shares: U256, loan: U256) -> Act {
    let text = format!("opens a zap with {} vsETH and {} dUSD", Amount(shares), Amount(loan));
    market.act(zap.0, zap.1, &IZap::openCall { collateralShares: shares, borrowAssets: loan }, text)
}

/// Closes the whole position of a zap.
pub(crate) fn close_zap(
    market: &Market,
    chain: &Chain,
    zap: (&'static str, Address),
) -> Result<Act, RangeError> {
    let call = IZap::closeCall {
        repayAssets: market.debt(chain, zap.1)?,
        collateralShares: market.pledged(chain, zap.1)?,
    };
    let text = format!(
        "closes the zap with {} vsETH and {} dUSD",
        Amount(call.collateralShares),
        Amount(call.repayAssets)
    );
    Ok(market.act(zap.0, zap.1, &call, text))
}

/// Reads the borrow limit of an account, base units of dUSD.
pub(crate) fn borrow_limit(market: &Market, chain: &Chain, account: Address) -> Result<U256, RangeError> {
    view(chain, market.vault.address, &ILending::borrowLimitOfCall { account })
}
