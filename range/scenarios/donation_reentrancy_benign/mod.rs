//! The benign twin: the same market and the same everyday traffic, with large and unusual but honest use in place of
//! the attacker. In go the market and a step; out come the acts of that step. All of them must succeed, and nobody
//! loses anything.
//!
//! Each act resembles a part of the attack: a pledge near the cap, a loan near the limit through a contract with a
//! hook, a donation to the collateral vault, the exit of a whale with three eighths of the cash.

use alloy_primitives::{Address, U256};

use super::Script;
use super::lending_market::act::{Act, Amount, round_to_hundreds, tokens};
use super::lending_market::cast::{Endowment, USERS};
use super::lending_market::interfaces::IShareVault;
use super::lending_market::traffic::{borrow_limit, close_zap, open_zap};
use super::lending_market::{Market, view};
use crate::Chain;
use crate::world::RangeError;

const WHALE: &str = "whale";
const FARMER: &str = "farmer";
const FUND: &str = "fund";
const STRATEGIST: &str = "strategist";
const EXCHANGE: &str = "exchange";

/// What the whale lends and later takes back, whole dUSD.
const WHALE_DUSD: u64 = 3_000_000;
/// Shares that the farmer pledges; the cap is 100.
const FARMER_SHARES: u64 = 96;
/// Shares that the fund pledges through its zap.
const FUND_SHARES: u64 = 90;
/// What the fund borrows against them, whole dUSD; the limit is 144,000.
const FUND_LOAN_DUSD: u64 = 140_000;
/// The harvest in parts of 1,000 of the collateral vault's assets: about a month of staking yield.
const HARVEST_PER_MILLE: u64 = 3;
/// What each user gets in the airdrop, whole dUSD.
const AIRDROP_DUSD: u64 = 20_000;
/// Steps of the script; the last act is on step 36.
const STEPS: u64 = 42;

pub(super) const SCRIPT: Script = Script {
    steps: STEPS,
    honest: &[
        Endowment::new(WHALE, 2 * WHALE_DUSD, 0),
        Endowment::new(FARMER, 2_000, 98_000),
        Endowment::new(FUND, 5_000, 92_000),
        Endowment::new(STRATEGIST, 0, 1_000),
        Endowment::new(EXCHANGE, 0, 0),
    ],
    hostile: &[],
    turn,
    hostile_accounts: |_| Vec::new(),
    borrowers: |market| vec![market.cast.address(FARMER), fund_zap(market)],
};

/// The fund's first transaction creates its zap, so its address is known.
fn fund_zap(market: &Market) -> Address {
    market.cast.address(FUND).create(0)
}

fn turn(market: &Market, chain: &Chain, step: u64) -> Result<Vec<Act>, RangeError> {
    let Market { usd, coin, pool, vault, .. } = *market;
    let named = |name: &'static str| (market.cast.address(name), name);
    let zap = (FUND, fund_zap(market));
    Ok(match step {
        2 => vec![market.approve(WHALE, usd, vault.address, "dLEND")],
        3 => vec![market.deposit(WHALE, vault, usd, tokens(WHALE_DUSD))],
        4 => vec![market.approve(FARMER, coin, pool.address, "vsETH")],
        5 => vec![market.deposit(FARMER, pool, coin, tokens(FARMER_SHARES + 1))],
        6 => vec![market.approve(FARMER, pool, vault.address, "dLEND")],
        7 => vec![market.supply_collateral(FARMER, tokens(FARMER_SHARES))],
        8 => vec![market.deploy_zap(FUND)?],
        9 => vec![market.approve(FUND, coin, pool.address, "vsETH")],
        10 => vec![market.deposit(FUND, pool, coin, tokens(FUND_SHARES + 1))],
        11 => vec![market.approve(FUND, pool, zap.1, "its zap"), market.approve(FUND, usd, zap.1, "its zap")],
        12 | 18 => vec![borrow_near_limit(market, chain)?],
        14 => vec![open_zap(market, zap, tokens(FUND_SHARES), tokens(FUND_LOAN_DUSD))],
        16 => vec![harvest(market, chain)?],
        20 => {
            USERS.map(|user| market.mint(usd, market.cast.address(user), user, tokens(AIRDROP_DUSD))).to_vec()
        }
        21 => vec![market.transfer(WHALE, usd, named(EXCHANGE), tokens(1_000_000))],
        22 => vec![market.transfer(EXCHANGE, usd, named(FUND), tokens(400_000))],
        24 => vec![market.approve(FARMER, usd, vault.address, "dLEND")],
        25 => vec![market.repay(FARMER, tokens(100_000))],
        27 => {
            let shares = Market::balance(chain, vault.address, market.cast.address(WHALE))?;
            vec![market.redeem(WHALE, vault, shares)]
        }
        29 => vec![close_zap(market, chain, zap)?],
        31 => vec![market.transfer(WHALE, usd, named(EXCHANGE), tokens(2_000_000))],
        33 => vec![market.repay(FARMER, market.debt(chain, market.cast.address(FARMER))?)],
        34 => vec![market.withdraw_collateral(FARMER, market.pledged(chain, market.cast.address(FARMER))?)],
        36 => {
            let shares = Market::balance(chain, pool.address, market.cast.address(FARMER))?;
            vec![market.redeem(FARMER, pool, shares)]
        }
        _ => Vec::new(),
    })
}

/// The farmer borrows most of what is left to its limit: nearly all at first, and more after the harvest.
fn borrow_near_limit(market: &Market, chain: &Chain) -> Result<Act, RangeError> {
    let farmer = market.cast.address(FARMER);
    let limit = borrow_limit(market, chain, farmer)?;
    let left = limit.saturating_sub(market.debt(chain, farmer)?);
    // Two percent stay free, as a careful borrower would leave them.
    Ok(market.borrow(FARMER, round_to_hundreds(left.saturating_sub(left / U256::from(50)))))
}

/// Yield that a strategist pays into the collateral vault by a direct transfer, as many real vaults take it.
fn harvest(market: &Market, chain: &Chain) -> Result<Act, RangeError> {
    let assets = view(chain, market.pool.address, &IShareVault::totalAssetsCall {})?;
    let amount = assets.saturating_mul(U256::from(HARVEST_PER_MILLE)) / U256::from(1_000);
    let mut act =
        market.transfer(STRATEGIST, market.coin, (market.pool.address, "the collateral vault"), amount);
    act.text =
        format!("pays a harvest of {} {} into the collateral vault", Amount(amount), market.coin.symbol);
    Ok(act)
}

#[cfg(test)]
mod tests;
