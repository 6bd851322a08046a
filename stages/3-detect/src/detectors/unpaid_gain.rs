//! Unpaid gain: the sender's side ends richer and gave nothing, a protected contract ends poorer and got nothing.
//!
//! In: transfers. Out: a finding with what was gained and what was lost. Must never: speak of an attack by itself. Who
//! claims a reward gains without paying as well; prices and holdings are not asked here, see `value-loss` for that.
//!
//! Trades move both sides both ways: whoever swaps pays, a pool that gives one asset receives another, and a vault that
//! pays out burns shares (a burn stands for the holder as payment). In an arbitrage nobody ends with less of
//! everything. Only the sender who takes without giving, from somebody who gives without receiving, has this shape.
//! Source: 40 of 93 archived attack transactions against 73 of 6,015 ordinary ones; the profit test of DeFort (ISSTA
//! 2024) and DeFiRanger without their prices. Limits: debts that are not tokens (borrowing against collateral that
//! stays where it is looks paid), and gains that go to an account outside the sender's side.

use crate::detector::{Detector, suspects};
use crate::parties::{NetFlows, SendersSide};
use alloy_primitives::Address;
use cordon_model::execution::Execution;
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::AssetDelta;
use serde::Deserialize;

/// Half of what opens an incident: together with another detector it does, alone it does not.
const SCORE: Score = Score(300);

/// Assets that are listed in a finding, on either side. More than a handful is a sweep, whose size says enough.
const ASSETS_MAX: usize = 16;

/// Configuration of [`UnpaidGain`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnpaidGainConfig {}

impl UnpaidGainConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> UnpaidGain {
        UnpaidGain {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct UnpaidGain {}

impl Detector for UnpaidGain {
    fn name(&self) -> &'static str {
        "unpaid-gain"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let flows = NetFlows::of(execution);
        let mut gains = flows.of_side(&side);
        if gains.is_empty() || gains.iter().any(is_loss) {
            return Vec::new();
        }
        let Some((contract, mut losses)) = loser(protocol, &side, &flows) else { return Vec::new() };
        gains.truncate(ASSETS_MAX);
        losses.truncate(ASSETS_MAX);
        vec![Finding {
            id: Finding::derive_id(self.name(), protocol.chain_id, contract, &execution.tx),
            detector: self.name().to_owned(),
            class: AttackClass::ValueExtraction,
            protocol: protocol.id.clone(),
            contract,
            tx: execution.tx,
            score: SCORE,
            suspects: suspects(protocol, execution),
            evidence: Evidence::UnpaidGain { contract, losses, gains },
        }]
    }
}

fn is_loss(delta: &AssetDelta) -> bool {
    delta.delta_raw.is_negative()
}

/// The protected contract that lost most assets and gained none; of equals the one with the lowest address.
fn loser(protocol: &Protocol, side: &SendersSide, flows: &NetFlows) -> Option<(Address, Vec<AssetDelta>)> {
    let protected = flows.accounts().filter(|account| protocol.protects(*account) && !side.has(*account));
    let losses = protected.map(|account| (account, flows.of_account(account)));
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
        UnpaidGainConfig::default().build().inspect(&World::protocol(), execution)
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
        let expected = Evidence::UnpaidGain {
            contract: LENDING_VAULT,
            losses: vec![AssetDelta { asset: USD, delta_raw: -amount }],
            gains: vec![AssetDelta { asset: USD, delta_raw: amount }],
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
