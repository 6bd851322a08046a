//! The loss detector on small transactions: each honest use beside the theft that looks like it. In: scripts. Out:
//! findings. Must never: know the drill's contracts.

use super::*;
use crate::testing::{
    ALICE, BOB, CHILD, COIN, COLLATERAL_VAULT, CONTROLLER, DSHARE, LENDING_VAULT, LSHARE, Script, USD, World,
    wad,
};
use crate::{DetectorConfig, DetectorSet};
use alloy_primitives::{Address, Bytes, I256};
use cordon_model::protocol::{AccountSide, Price};
use cordon_model::units::AssetDelta;

fn set() -> DetectorSet {
    DetectorSet::from_configs(
        &[DetectorConfig::ValueLoss(ValueLossConfig::default())],
        vec![World::protocol()],
    )
    .unwrap()
}

fn judge(script: Script) -> Vec<Finding> {
    let set = set();
    set.inspect(&script.judged_by(&set))
}

fn loss_of(finding: &Finding) -> U256 {
    let Evidence::ValueLoss { loss_wad, .. } = finding.evidence else { panic!("{finding:?}") };
    loss_wad
}

fn taken(dollars: U256) -> Script {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 9, |s| s.transfer(USD, LENDING_VAULT, BOB, dollars));
    script
}

#[test]
fn the_strike_of_the_documentation_loses_what_it_says() {
    let findings = judge(World::new().script().strike());
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(loss_of(finding), wad(51_900));
    assert_eq!((finding.contract, finding.score), (LENDING_VAULT, Score(1_000)));
    assert_eq!(finding.suspects, [ALICE, CONTROLLER, CHILD]);
    let Evidence::ValueLoss { holdings, obligations_delta_wad, loss_share_bps, gainers, .. } =
        &finding.evidence
    else {
        panic!("{finding:?}")
    };
    let delta =
        |asset, units: i64| AssetDelta { asset, delta_raw: I256::try_from(units).unwrap() * signed_wad() };
    assert_eq!(holdings.as_slice(), [delta(USD, -60_000), delta(COIN, 81)]);
    assert!(obligations_delta_wad.is_zero());
    assert_eq!(*loss_share_bps, Some(Bps(1_724)));
    assert_eq!(gainers.as_slice(), [(ALICE, I256::try_from(60_000).unwrap() * signed_wad())]);
}

fn signed_wad() -> I256 {
    crate::valuation::signed(cordon_model::units::WAD)
}

#[test]
fn plain_theft_is_found_from_the_threshold_on() {
    // The system holds 300,000 dollars and 10 coins of 100: one part in a thousand is 301.
    assert_eq!(judge(taken(wad(301)))[0].score, Score(604));
    assert!(judge(taken(wad(300))).is_empty());
    assert_eq!(judge(taken(wad(300_000)))[0].score, Score(1_000));
}

#[test]
fn an_honest_loan_is_no_loss_in_any_of_its_transactions() {
    let mut supply = World::new().script();
    supply.buy_shares(ALICE, wad(1_000), wad(1_000));
    supply.pledge(ALICE, wad(1_000));
    let world = supply.now.clone();
    assert!(judge(supply).is_empty());

    let mut borrow = world.script();
    borrow.borrow(ALICE, wad(60_000), |_| ());
    let world = borrow.now.clone();
    assert!(judge(borrow).is_empty());

    let mut repay = world.script();
    repay.proxied(LENDING_VAULT, 7, |s| s.transfer(USD, ALICE, LENDING_VAULT, wad(60_000)));
    repay.now.debts.insert(ALICE, U256::ZERO);
    repay.unpledge(ALICE, wad(1_000));
    assert!(judge(repay).is_empty());
}

#[test]
fn borrowing_beyond_the_collateral_loses_the_part_beyond() {
    let mut script = World::new().script();
    script.buy_shares(ALICE, wad(100), wad(100));
    script.pledge(ALICE, wad(100));
    script.borrow(ALICE, wad(15_000), |_| ());
    assert_eq!(loss_of(&judge(script)[0]), wad(5_000));
}

#[test]
fn lenders_come_and_go_with_their_profit() {
    let mut world = World::new();
    world.balances.insert((crate::testing::USD_TOKEN, LENDING_VAULT), wad(330_000));
    let mut script = world.script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.transfer(LSHARE, BOB, Address::ZERO, wad(100_000));
        s.transfer(USD, LENDING_VAULT, BOB, wad(110_000));
    });
    script.proxied(LENDING_VAULT, 2, |s| {
        s.transfer(USD, ALICE, LENDING_VAULT, wad(11_000));
        s.transfer(LSHARE, Address::ZERO, ALICE, wad(10_000));
    });
    assert!(judge(script).is_empty());
}

#[test]
fn shares_minted_for_nothing_are_a_loss_before_anything_leaves() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 2, |s| s.transfer(LSHARE, Address::ZERO, ALICE, wad(50_000)));
    assert_eq!(loss_of(&judge(script)[0]), wad(50_000));
}

#[test]
fn a_flash_loan_that_is_paid_back_is_no_loss() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.transfer(USD, LENDING_VAULT, CHILD, wad(300_000));
        s.call(CHILD, 6, |s| s.transfer(USD, CHILD, LENDING_VAULT, wad(300_270)));
    });
    assert!(judge(script).is_empty());
}

#[test]
fn a_liquidation_gives_away_only_the_borrowers_own_collateral() {
    let mut world = World::new();
    world.debts.insert(BOB, wad(850));
    world.debts.insert(ALICE, U256::ZERO);
    let mut script = world.script();
    let input = [crate::testing::selector(8).as_slice(), &crate::testing::argument(BOB)].concat();
    script.frame(cordon_model::execution::FrameKind::Call, LENDING_VAULT, &input, |s| {
        s.transfer(USD, ALICE, LENDING_VAULT, wad(400));
        s.transfer(DSHARE, LENDING_VAULT, ALICE, wad(9) / U256::from(2));
    });
    script.now.debts.insert(BOB, wad(450));
    script.now.collateral.insert(BOB, wad(11) / U256::from(2));
    assert!(judge(script).is_empty());
}

#[test]
fn a_rate_moved_inside_the_transaction_does_not_hide_the_loss() {
    let mut script = World::new().script();
    script.transfer(COIN, ALICE, COLLATERAL_VAULT, wad(90));
    script.proxied(LENDING_VAULT, 9, |s| s.transfer(USD, LENDING_VAULT, ALICE, wad(60_000)));
    assert_eq!(loss_of(&judge(script)[0]), wad(51_000));
}

#[test]
fn an_asset_without_a_price_is_listed_and_loses_nothing() {
    let mut protocol = World::protocol();
    for spec in &mut protocol.assets {
        if spec.asset == COIN {
            spec.price = Price::Unpriced;
        }
    }
    let set =
        DetectorSet::from_configs(&[DetectorConfig::ValueLoss(ValueLossConfig::default())], vec![protocol])
            .unwrap();
    let theft = |dollars: u64| {
        let mut script = World::new().script();
        script.call(COLLATERAL_VAULT, 9, |s| s.transfer(COIN, COLLATERAL_VAULT, ALICE, wad(10)));
        script.proxied(LENDING_VAULT, 9, |s| s.transfer(USD, LENDING_VAULT, ALICE, wad(dollars)));
        set.inspect(&script.judged_by(&set))
    };
    assert!(theft(0).is_empty());
    let findings = theft(1_000);
    assert_eq!(loss_of(&findings[0]), wad(1_000));
    let Evidence::ValueLoss { holdings, .. } = &findings[0].evidence else { panic!("{findings:?}") };
    assert!(holdings.iter().any(|delta| delta.asset == COIN && delta.delta_raw.is_negative()));
}

#[test]
fn an_account_line_that_leaps_to_the_maximum_is_a_loss_and_no_overflow() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 3, |_| ());
    script.now.collateral.insert(ALICE, U256::MAX);
    let set = set();
    let execution = script.judged_by(&set);
    let findings = set.inspect(&execution);
    assert_eq!(loss_of(&findings[0]), crate::valuation::value_ceiling_wad());
    assert_eq!(findings[0].score, Score(1_000));
}

#[test]
fn an_unread_account_makes_the_finding_uncertain_and_says_so() {
    let set = set();
    let mut execution = World::new().script().strike().judged_by(&set);
    let line = World::protocol().account_views[1];
    assert_eq!(line.side, AccountSide::Debt);
    execution.views.retain(|reading| reading.call != line.call(CHILD));
    assert_eq!(set.inspect(&execution)[0].score, SCORE_UNREAD_MAX);
    let gaps = set.gaps(&execution);
    assert!(gaps.iter().any(|gap| gap.what.contains("1 accounts could not be read")), "{gaps:?}");
}

#[test]
fn without_any_reading_there_is_no_finding_but_a_gap() {
    let set = set();
    let mut execution = World::new().script().strike().judged_by(&set);
    execution.views.clear();
    assert!(set.inspect(&execution).is_empty());
    assert!(!set.gaps(&execution).is_empty());
}

#[test]
fn a_cut_record_is_judged_by_balances() {
    let set = set();
    let mut execution = taken(wad(60_000)).judged_by(&set);
    execution.truncated = true;
    execution.transfers.clear();
    assert_eq!(loss_of(&set.inspect(&execution)[0]), wad(60_000));
    assert!(set.gaps(&execution).iter().any(|gap| gap.what.contains("was cut")));
    for reading in &mut execution.views {
        reading.after = Some(Bytes::new());
    }
    assert!(set.inspect(&execution).is_empty());
}

#[test]
fn an_absolute_threshold_works_where_holdings_cannot_be_read() {
    let config = ValueLossConfig { loss_min_value: "2500.5".to_owned(), ..ValueLossConfig::default() };
    let detector = config.build().unwrap();
    let judge = |dollars: U256| detector.inspect(&World::protocol(), &taken(dollars).finish(&[]));
    assert!(judge(wad(2_500)).is_empty());
    assert_eq!(judge(wad(2_501))[0].score, SCORE_UNREAD_MAX, "account lines were not read either");
}

#[test]
fn decimal_amounts_are_read_exactly() {
    assert_eq!(threshold_wad("2500.5"), Some(wad(5_001) / U256::from(2)));
    assert_eq!(threshold_wad("0.000000000000000001"), Some(U256::ONE));
    for wrong in ["", ".", "1.", ".5", "-1", "1e18", "1_000", "0.0000000000000000001", "1.2.3", " 1"] {
        assert_eq!(threshold_wad(wrong), None, "{wrong}");
    }
    assert_eq!(threshold_wad(&"9".repeat(70)), None);
}

#[test]
fn rounding_of_a_rate_is_no_loss_at_all() {
    let mut world = World::new();
    world.balances.insert((crate::testing::COIN_TOKEN, COLLATERAL_VAULT), wad(10) + U256::from(7));
    let mut script = world.script();
    // 5 of 10 shares leave with half of the odd units, rounded in favour of the one who leaves.
    script.redeem_shares(BOB, wad(5), wad(5) + U256::from(4));
    let set = set();
    let execution = script.judged_by(&set);
    assert_eq!(loss_wad(&World::protocol(), &execution), U256::ZERO);

    let mut script = World::new().script();
    script.redeem_shares(BOB, wad(5), wad(5) + U256::from(1_000));
    let execution = script.judged_by(&set);
    assert_eq!(
        loss_wad(&World::protocol(), &execution),
        U256::from(100_000),
        "a thousand units are taken, not rounded"
    );
}
