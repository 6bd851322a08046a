//! The share price detector on small transactions. In: scripts. Out: findings. Must never: know the drill's contracts.

use super::*;
use crate::testing::{
    ALICE, BOB, COIN, COLLATERAL_VAULT, CONTROLLER, DSHARE, LENDING_VAULT, Script, USD, World, wad,
};
use crate::{DetectorConfig, DetectorSet};
use alloy_primitives::Bytes;

fn set() -> DetectorSet {
    DetectorSet::from_configs(&[DetectorConfig::RateJump(RateJumpConfig::default())], vec![World::protocol()])
        .unwrap()
}

fn judge(script: Script) -> Vec<Finding> {
    let set = set();
    set.inspect(&script.judged_by(&set))
}

fn donation(coins_wad: U256) -> Script {
    let mut script = World::new().script();
    script.transfer(COIN, CONTROLLER, COLLATERAL_VAULT, coins_wad);
    script
}

#[test]
fn a_donation_that_doubles_the_rate_is_found() {
    let findings = judge(donation(wad(10)));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.contract, finding.score), (COLLATERAL_VAULT, Score(700)));
    assert_eq!(finding.suspects, [ALICE, CONTROLLER]);
    let Evidence::RateJump { jump_bps, before_raw, .. } = finding.evidence else { panic!("{finding:?}") };
    assert_eq!((jump_bps, before_raw), (Bps(9_999), wad(1)));
}

#[test]
fn yield_below_the_threshold_is_silent_and_just_above_is_not() {
    assert!(judge(donation(wad(10) / U256::from(200))).is_empty(), "half a percent");
    assert!(judge(donation(wad(10) / U256::from(50))).is_empty(), "exactly two percent");
    assert_eq!(judge(donation(wad(10) * U256::from(202) / U256::from(10_000))).len(), 1);
}

#[test]
fn a_rate_that_is_raised_and_lowered_again_is_found_at_its_peak() {
    let findings = judge(World::new().script().strike());
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    let Evidence::RateJump { extreme_raw, before_raw, .. } = finding.evidence else { panic!("{finding:?}") };
    // 1,000 coins for 110 shares while the loan is taken, 91 coins for 10 shares at the end.
    assert!(extreme_raw > wad(9) && extreme_raw < wad(10), "{extreme_raw} from {before_raw}");
}

#[test]
fn a_peak_that_leaves_no_trace_is_found() {
    let mut script = donation(wad(10));
    script.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(10));
    assert_eq!(judge(script).len(), 1);
}

#[test]
fn large_deposits_and_redemptions_are_silent() {
    let mut script = World::new().script();
    script.buy_shares(ALICE, wad(1_000_000), wad(1_000_000));
    script.redeem_shares(ALICE, wad(999_000), wad(999_000));
    assert!(judge(script).is_empty());
}

#[test]
fn a_fall_of_the_rate_is_found() {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 9, |s| s.transfer(COIN, COLLATERAL_VAULT, BOB, wad(1)));
    let findings = judge(script);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(finding.score < Score(600), "a tenth alone opens no incident");
}

#[test]
fn cash_that_is_lent_out_and_booked_is_no_jump() {
    let mut script = World::new().script();
    script.borrow(BOB, wad(100_000), |_| ());
    assert!(judge(script).is_empty());
}

#[test]
fn books_are_not_read_while_the_vault_is_called() {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 9, |s| {
        s.transfer(COIN, COLLATERAL_VAULT, ALICE, wad(9));
        s.call(ALICE, 6, |s| s.transfer(COIN, ALICE, COLLATERAL_VAULT, wad(9)));
    });
    assert!(judge(script).is_empty());
}

#[test]
fn an_empty_vault_has_no_holders_to_protect() {
    let mut world = World::new();
    world.supplies.insert(COLLATERAL_VAULT, U256::ZERO);
    world.balances.insert((crate::testing::COIN_TOKEN, COLLATERAL_VAULT), U256::from(5));
    let mut script = world.script();
    script.buy_shares(ALICE, wad(10), wad(10));
    assert!(judge(script).is_empty());
}

#[test]
fn missing_and_absurd_readings_are_gaps_and_no_findings() {
    let set = set();
    let mut execution = donation(wad(10)).judged_by(&set);
    execution.truncated = true;
    assert_eq!(set.inspect(&execution).len(), 1, "the vault's own answers still tell");
    for reading in &mut execution.views {
        reading.before = Some(Bytes::from_static(&[0; 32]));
    }
    assert!(set.inspect(&execution).is_empty());
    execution.views.clear();
    assert!(set.inspect(&execution).is_empty());
    let gaps = set.gaps(&execution);
    assert!(gaps.iter().any(|gap| gap.what == "the rate of dCOIN could not be read"), "{gaps:?}");
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let set = set();
    let mut execution = donation(wad(10)).judged_by(&set);
    for reading in &mut execution.views {
        reading.after = Some(Bytes::from(vec![0xff; 32]));
    }
    for moved in &mut execution.transfers {
        moved.amount_raw = U256::MAX;
    }
    let vaults: Vec<_> = set.inspect(&execution).iter().map(|finding| finding.contract).collect();
    assert_eq!(vaults, [COLLATERAL_VAULT, LENDING_VAULT]);
}

#[test]
fn unrelated_transfers_of_the_assets_are_ignored() {
    let mut script = World::new().script();
    script.transfer(COIN, ALICE, BOB, wad(1_000));
    script.transfer(DSHARE, ALICE, BOB, wad(1_000));
    script.transfer(USD, ALICE, LENDING_VAULT, wad(10));
    assert!(judge(script).is_empty());
}
