//! The attack: a donation inflates the collateral rate, and a hook takes the collateral back before the debt is on
//! record. In go the market and a step; out come the attacker's acts of that step.
//!
//! The attacker knows nothing of any defence. It deploys, waits a block, and strikes every second block with an
//! ordinary tip, whether or not the strike before succeeded. The pattern (small pledge, inflated rate, re-entrance, a
//! fresh contract per strike, a series over minutes) is that of real drains of lending vaults; the code works only
//! against the vulnerable vault of the drill.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue as _;

use super::Script;
use super::lending_market::act::{Act, Gain, tokens};
use super::lending_market::cast::Endowment;
use super::lending_market::interfaces::IDrainController;
use super::lending_market::{COLLATERAL_CAP_SHARES, Market};
use crate::Chain;
use crate::world::RangeError;

const ATTACKER: &str = "attacker";
/// What the attacker brings, whole sETH: enough to lift the borrow limit of a strike to a sixth of the vault's cash.
const STAKE_SETH: u64 = 500;
/// Honest blocks before the attacker appears, so that whoever watches has seen normal life first.
const DEPLOY_STEP: u64 = 20;
const FUND_STEP: u64 = DEPLOY_STEP + 1;
const FIRST_STRIKE_STEP: u64 = FUND_STEP + 2;
/// Strikes of the series; the eighth still pays, and real drains ended after a handful.
const STRIKES: u64 = 8;
/// The attacker waits for one block between strikes, because the borrow budget is per block.
const STRIKE_EVERY_STEPS: u64 = 2;
const WITHDRAW_STEP: u64 = FIRST_STRIKE_STEP + STRIKES * STRIKE_EVERY_STEPS;
/// Steps of the script; the last ten or so are honest life after the attack.
const STEPS: u64 = WITHDRAW_STEP + 11;

pub(super) const SCRIPT: Script = Script {
    steps: STEPS,
    honest: &[],
    hostile: &[Endowment::new(ATTACKER, 0, STAKE_SETH * 1_000)],
    turn,
    hostile_accounts: |market| vec![market.cast.address(ATTACKER), controller(market)],
    borrowers: |_| Vec::new(),
};

/// The attacker's first transaction creates the controller, so its address is known.
fn controller(market: &Market) -> Address {
    market.cast.address(ATTACKER).create(0)
}

/// Which strike of the series, counted from one, falls on `step`.
fn strike_at(step: u64) -> Option<u64> {
    let since = step.checked_sub(FIRST_STRIKE_STEP)?;
    let strike = since / STRIKE_EVERY_STEPS + 1;
    (since % STRIKE_EVERY_STEPS == 0 && strike <= STRIKES).then_some(strike)
}

fn turn(market: &Market, _: &Chain, step: u64) -> Result<Vec<Act>, RangeError> {
    let controller = controller(market);
    if let Some(strike) = strike_at(step) {
        let call = IDrainController::strikeCall { borrowAmount: U256::ZERO };
        let mut act = market.act(ATTACKER, controller, &call, format!("strikes ({strike} of {STRIKES})"));
        act.gain = Some(Gain { token: market.usd.address, symbol: market.usd.symbol });
        return Ok(vec![act]);
    }
    Ok(match step {
        DEPLOY_STEP => {
            let args = (market.pool.address, market.vault.address, tokens(COLLATERAL_CAP_SHARES))
                .abi_encode_params();
            vec![market.deploy(ATTACKER, "DrainController", &args)?]
        }
        FUND_STEP => {
            vec![market.transfer(ATTACKER, market.coin, (controller, "its controller"), tokens(STAKE_SETH))]
        }
        WITHDRAW_STEP => {
            let call = IDrainController::withdrawCall { coin: market.coin.address };
            let mut act = market.act(ATTACKER, controller, &call, "empties its controller".to_owned());
            act.gain = Some(Gain { token: market.coin.address, symbol: market.coin.symbol });
            vec![act]
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests;
