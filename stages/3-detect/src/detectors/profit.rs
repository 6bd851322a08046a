//! Profit: the sender's side ends richer, at the expense of somebody who got nothing, or for nothing.
//!
//! In: transfers and calls. Out: a finding with what was gained, paid and lost. Must never: speak of an attack by itself.
//! Who claims a reward gains at the expense of one who gets nothing as well, and an arbitrage pays nothing; prices and
//! holdings are not asked here, see `value-loss` for that.
//!
//! Trades move both sides both ways: whoever swaps pays, a pool that gives one asset receives another, and a vault that
//! pays out gets its shares back. What is left is, first, the account that gives without receiving. It counts where the
//! sender's side paid nothing to anybody, or went to several contracts to get there: a plain claim against a fee does
//! neither. Second, a gain for which nothing was paid at all, after many calls: an arbitrage takes two to four.
//!
//! Source: the profit test of DeFort (ISSTA 2024) and DeFiRanger (TDSC 2023) without their prices. Limits: debts that are
//! not tokens (borrowing against collateral that stays where it is looks paid), gains that go to an account outside the
//! sender's side, and payment with a grain of any token, or with any amount of a worthless one that the sender did not
//! create in the transaction itself.

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::{NetFlows, SendersSide};
use alloy_primitives::{Address, U256};
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, AssetDelta, parse_wad};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Half of what opens an incident: together with another detector it does, alone it does not.
const SCORE: Score = Score(300);

/// Assets that are listed in a finding, on either side. More than a handful is a sweep, whose size says enough.
const ASSETS_MAX: usize = 16;

/// Configuration of [`Profit`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfitConfig {
    /// Native coins that count as no payment, as a decimal text. Default `"0.05"`: functions that must be sent something,
    /// and fees of bridges and oracles, take a few thousandths.
    pub dust_max_coins: String,
    /// Protected contracts that the sender's side calls, from which on it does not matter whether it paid. Default 3: a
    /// claim or a trade calls one, or the token and its market.
    pub contracts_min: u32,
    /// Calls of protected contracts by the sender's side, from which on a gain without any payment is a finding even if
    /// nobody is seen to lose. Default 6: chosen on half of the archived attacks and 30 ordinary blocks
    /// (docs/detection.md).
    pub calls_min: u32,
}

impl Default for ProfitConfig {
    fn default() -> Self {
        Self { dust_max_coins: "0.05".to_owned(), contracts_min: 3, calls_min: 6 }
    }
}

impl ProfitConfig {
    /// The detector.
    ///
    /// # Errors
    /// An amount that is none, or a number of contracts that every call reaches.
    pub fn build(&self) -> Result<Profit, ConfigError> {
        let wrong = |key, value: &str, expected| ConfigError { key, value: value.to_owned(), expected };
        let dust_max_wei = parse_wad(&self.dust_max_coins).ok_or_else(|| {
            let expected = "a decimal number with at most 18 digits after the point, such as \"0.05\"";
            wrong("profit.dust_max_coins", &self.dust_max_coins, expected)
        })?;
        let counts = [("profit.contracts_min", self.contracts_min), ("profit.calls_min", self.calls_min)];
        match counts.into_iter().find(|(_, count)| *count < 2) {
            Some((key, count)) => Err(wrong(key, &count.to_string(), "2 or more")),
            None => Ok(Profit { dust_max_wei, contracts_min: self.contracts_min, calls_min: self.calls_min }),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Profit {
    dust_max_wei: U256,
    contracts_min: u32,
    calls_min: u32,
}

impl Detector for Profit {
    fn name(&self) -> &'static str {
        "profit"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let flows = NetFlows::of(execution);
        let changes = flows.of_side(&side).into_iter().filter(|delta| is_of_others(&side, delta));
        let (mut paid, mut gains): (Vec<_>, Vec<_>) = changes.partition(is_loss);
        if gains.is_empty() {
            return Vec::new();
        }
        let is_free = paid.iter().all(|delta| self.is_dust(delta));
        let called = Called::of(protocol, &side, execution);
        let wide = called.contracts.len() >= usize_of(self.contracts_min);
        let long = called.calls >= usize_of(self.calls_min);
        let loser = loser(protocol, &side, &flows).filter(|_| is_free || wide);
        let (at, mut losses) = match &loser {
            Some((account, losses)) => (Some(*account), losses.clone()),
            None if is_free && long => (None, Vec::new()),
            None => return Vec::new(),
        };
        let Some(contract) = at.or_else(|| called.contracts.first().copied()) else { return Vec::new() };
        [&mut gains, &mut paid, &mut losses].into_iter().for_each(|list| list.truncate(ASSETS_MAX));
        vec![
            Statement {
                class: AttackClass::ValueExtraction,
                contract,
                score: SCORE,
                evidence: Evidence::Profit { gains, paid, loser: at, losses },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

impl Profit {
    fn is_dust(&self, delta: &AssetDelta) -> bool {
        delta.asset == Asset::Native && delta.delta_raw.unsigned_abs() <= self.dust_max_wei
    }
}

/// What the sender's side issues itself is worth what it says, which is nothing.
fn is_of_others(side: &SendersSide, delta: &AssetDelta) -> bool {
    !matches!(delta.asset, Asset::Token(token) if side.has(token))
}

fn is_loss(delta: &AssetDelta) -> bool {
    delta.delta_raw.is_negative()
}

/// What the sender's side called of the protected contracts.
#[derive(Debug, Default)]
struct Called {
    calls: usize,
    contracts: BTreeSet<Address>,
}

impl Called {
    fn of(protocol: &Protocol, side: &SendersSide, execution: &Execution) -> Self {
        let mut called = Self::default();
        for frame in side.entries(protocol, execution).filter(|frame| frame.selector().is_some()) {
            called.calls = called.calls.saturating_add(1);
            called.contracts.insert(frame.address);
        }
        called
    }
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The protected contract that lost most assets and gained none; of equals the one with the lowest address.
fn loser(protocol: &Protocol, side: &SendersSide, flows: &NetFlows) -> Option<(Address, Vec<AssetDelta>)> {
    let protected = flows.accounts().filter(|account| protocol.protects(*account) && !side.has(*account));
    let counted = |account| flows.of_account(account).into_iter().filter(|delta| is_of_others(side, delta));
    let losses = protected.map(|account| (account, counted(account).collect::<Vec<_>>()));
    losses
        .filter(|(_, deltas)| !deltas.is_empty() && deltas.iter().all(is_loss))
        .reduce(|most, next| if next.1.len() > most.1.len() { next } else { most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use alloy_primitives::I256;

    fn judged(execution: &Execution) -> Vec<Finding> {
        ProfitConfig::default().build().unwrap().inspect(&World::protocol(), execution)
    }

    fn script(moves: impl FnOnce(&mut Script)) -> Execution {
        let mut script = World::new().script();
        moves(&mut script);
        script.finish(&[])
    }

    #[test]
    fn taking_without_giving_is_a_finding_that_says_what_was_taken() {
        let findings = judged(&script(|script| script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5))));
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        let amount = I256::try_from(wad(5)).unwrap();
        let expected = Evidence::Profit {
            gains: vec![AssetDelta { asset: USD, delta_raw: amount }],
            paid: vec![],
            loser: Some(LENDING_VAULT),
            losses: vec![AssetDelta { asset: USD, delta_raw: -amount }],
        };
        assert_eq!((finding.score, &finding.evidence), (SCORE, &expected));
    }

    #[test]
    fn a_trade_and_a_redemption_are_paid() {
        let traded = script(|script| {
            script.transfer(COIN, CONTROLLER, LENDING_VAULT, wad(1));
            script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        });
        assert_eq!(judged(&traded), []);
        let redeemed = script(|script| script.redeem_shares(CONTROLLER, wad(1), wad(1)));
        assert_eq!(judged(&redeemed), []);
    }

    #[test]
    fn coins_of_the_senders_own_making_are_no_payment() {
        let mut script = World::new().script();
        script.create(CHILD, |_| {});
        script.transfer(Asset::Token(CHILD), CONTROLLER, LENDING_VAULT, wad(1_000_000));
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        // The vault seems to have got something. Whoever has to pay in it lost all the same.
        let findings = judged(&script.finish(&[]));
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert!(
            matches!(&finding.evidence, Evidence::Profit { paid, loser: Some(LENDING_VAULT), .. } if paid.is_empty())
        );
    }

    #[test]
    fn a_payment_to_somebody_else_counts_unless_it_took_several_contracts() {
        let paid = |script: &mut Script| {
            script.transfer(COIN, CONTROLLER, BOB, wad(1));
            script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        };
        assert_eq!(judged(&script(paid)), []);
        let mut wide = World::new().script();
        paid(&mut wide);
        wide.call(LENDING_VAULT, 1, |_| {});
        wide.call(COLLATERAL_VAULT, 1, |_| {});
        let execution = wide.finish(&[]);
        assert_eq!(judged(&execution), []);
        let config = ProfitConfig { contracts_min: 2, ..ProfitConfig::default() };
        assert_eq!(config.build().unwrap().inspect(&World::protocol(), &execution).len(), 1);
    }

    #[test]
    fn a_few_coins_for_a_payable_function_are_no_payment() {
        let sent = |amount_raw: U256| {
            let mut execution = script(|script| script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5)));
            execution.transfers.push(cordon_model::execution::Transfer {
                seq: 99,
                frame: 0,
                asset: Asset::Native,
                from: ALICE,
                to: BOB,
                amount_raw,
            });
            judged(&execution).len()
        };
        assert_eq!((sent(wad(1) / U256::from(20)), sent(wad(1) / U256::from(20) + U256::ONE)), (1, 0));
    }

    #[test]
    fn a_gain_for_nothing_counts_after_many_calls_even_if_nobody_is_seen_to_lose() {
        let arbitrage = |calls: u8| {
            let mut script = World::new().script();
            script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
            script.transfer(COIN, COLLATERAL_VAULT, LENDING_VAULT, wad(1));
            script.transfer(DSHARE, BOB, COLLATERAL_VAULT, wad(1));
            (0..calls).for_each(|function| script.call(LENDING_VAULT, function, |_| {}));
            judged(&script.finish(&[]))
        };
        // The transfer of the share is a call of its vault as well.
        assert_eq!(arbitrage(4), []);
        let findings = arbitrage(5);
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert!(matches!(&finding.evidence, Evidence::Profit { loser: None, .. }), "{finding:?}");
        assert_eq!(finding.contract, LENDING_VAULT);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_key() {
        let config = ProfitConfig { dust_max_coins: "some".to_owned(), ..ProfitConfig::default() };
        assert!(config.build().unwrap_err().to_string().starts_with("profit.dust_max_coins = 'some'"));
        let config = ProfitConfig { contracts_min: 1, ..ProfitConfig::default() };
        let error = config.build().unwrap_err().to_string();
        assert_eq!(error, "profit.contracts_min = '1': expected 2 or more");
    }

    #[test]
    fn an_arbitrage_between_two_protected_contracts_leaves_no_loser() {
        let execution = script(|script| {
            script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
            script.transfer(USD, CONTROLLER, COLLATERAL_VAULT, wad(4));
            script.transfer(COIN, COLLATERAL_VAULT, LENDING_VAULT, wad(1));
        });
        assert_eq!(judged(&execution), []);
    }

    #[test]
    fn a_gain_at_the_expense_of_others_is_not_this_protocols() {
        assert_eq!(judged(&script(|script| script.transfer(USD, BOB, CONTROLLER, wad(5)))), []);
    }

    #[test]
    fn a_loss_of_which_the_sender_has_nothing_is_left_to_others() {
        assert_eq!(judged(&script(|script| script.transfer(USD, LENDING_VAULT, BOB, wad(5)))), []);
    }
}
