//! The benign twin: everything succeeds and nobody loses.

use super::*;
use crate::scenarios::{Scenario, Setup};
use crate::world::World;

const EXPECTED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/donation_reentrancy_benign/expected.txt");

fn world(seed: u64) -> World {
    let setup = Setup { seed, guardian: Address::repeat_byte(0x91), operator: Address::repeat_byte(0x0b) };
    Scenario::DonationReentrancyBenign.build(setup).unwrap()
}

#[test]
fn the_run_reads_as_expected() {
    let mut world = world(1);
    let mut text = format!("{}\n\n", Scenario::DonationReentrancyBenign.describe());
    for line in world.prologue() {
        text.push_str(&format!("{line}\n"));
    }
    while !world.is_over() {
        for line in world.step().unwrap().narration {
            text.push_str(&format!("{line}\n"));
        }
    }
    text.push_str(&format!("\n{}", world.scorecard().unwrap()));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(EXPECTED, &text).unwrap();
    }
    let expected = std::fs::read_to_string(EXPECTED).unwrap_or_default();
    assert_eq!(text, expected, "run with UPDATE_EXPECT=1 if the change is meant");
}

#[test]
fn every_transaction_succeeds_and_no_lender_ever_loses() {
    for seed in [1, 2, 3] {
        let mut world = world(seed);
        let vault = world.facts().upgrade.proxy;
        let whole = tokens(1_000_000);
        let mut rate = world.convert_to_assets(vault, whole).unwrap();
        let mut wealth: Vec<U256> = Vec::new();
        while !world.is_over() {
            let outcome = world.step().unwrap();
            assert_eq!(outcome.reverted, 0, "{:?}", outcome.narration);
            let now = world.convert_to_assets(vault, whole).unwrap();
            assert!(now >= rate, "a share never loses value");
            rate = now;
            let score = world.scorecard().unwrap();
            assert_eq!(score.unbacked_debt_raw, U256::ZERO);
            let standing = |lender: &crate::world::LenderStanding| lender.wallet_raw + lender.redeemable_raw;
            let now: Vec<U256> = score.lenders.iter().map(standing).collect();
            assert!(
                wealth.iter().zip(&now).all(|(before, now)| now >= before),
                "no lender loses a base unit"
            );
            wealth = now;
        }
        assert!(world.scorecard().unwrap().attacker_profit_dusd_raw.is_zero());
    }
}

#[test]
fn the_whale_leaves_whole_and_the_loans_are_near_their_limits() {
    let mut world = world(1);
    let usd = world.facts().treasury.token;
    let market = world.market_for_tests().clone();
    for _ in 0..18 {
        world.step().unwrap();
    }
    for account in [market.cast.address(FARMER), fund_zap(&market)] {
        let debt = market.debt(world.chain(), account).unwrap();
        let limit = borrow_limit(&market, world.chain(), account).unwrap();
        assert!(debt < limit && debt * U256::from(100) > limit * U256::from(95));
    }
    while !world.is_over() {
        world.step().unwrap();
    }
    let whale = market.cast.address(WHALE);
    assert_eq!(
        world.balance_of(usd, whale).unwrap(),
        tokens(2 * WHALE_DUSD - 3_000_000),
        "all but what it sent away"
    );
    assert_eq!(market.debt(world.chain(), fund_zap(&market)).unwrap(), U256::ZERO);
}

#[test]
fn after_the_end_everyday_life_goes_on() {
    let mut world = world(1);
    while !world.is_over() {
        world.step().unwrap();
    }
    let head = world.chain().head().number;
    let outcome = world.step().unwrap();
    assert!(world.is_over() && outcome.block.number == head + 1 && !outcome.narration.is_empty());
}
