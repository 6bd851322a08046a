//! A protocol with a plain history, and what differs from it.

use super::*;
use crate::testing::{
    ALICE, COIN, COLLATERAL_VAULT, CONTROLLER, LENDING_VAULT, Script, USD, World, selector, wad,
};
use cordon_model::execution::FrameKind;

/// Deposits, withdrawals and loans of ordinary size.
fn ordinary(number: u64) -> Execution {
    let mut script = World::new().script();
    match number % 3 {
        0 => script.buy_shares(ALICE, wad(1 + number % 5), wad(1)),
        1 => script.redeem_shares(ALICE, wad(1), wad(1 + number % 5)),
        _ => script.borrow(ALICE, wad(100 + number % 7), |_| {}),
    }
    script.finish(&[])
}

fn learned(count: u64) -> Baseline {
    let (detector, protocol) = (BaselineDetector::default(), World::protocol());
    let mut baseline = Baseline::default();
    for number in 0..count {
        let execution = ordinary(number);
        detector.compare(&protocol, &execution, &baseline).pass_into(&mut baseline, &execution, false);
    }
    baseline
}

fn judged(script: Script, baseline: &Baseline) -> (Option<Score>, Vec<Aspect>) {
    let execution = script.finish(&[]);
    let compared = BaselineDetector::default().compare(&World::protocol(), &execution, baseline);
    (
        compared.findings.first().map(|finding| finding.score),
        compared.firsts.into_iter().map(|first| first.measure.aspect).collect(),
    )
}

/// Comes back into the lender from inside a loan, and takes far more than anybody before.
fn strike() -> Script {
    let mut script = World::new().script();
    script.borrow(ALICE, wad(250_000), |script| {
        script.buy_shares(ALICE, wad(1), wad(1));
        script.borrow(ALICE, wad(40_000), |_| {});
    });
    script
}

#[test]
fn an_exploit_is_the_first_of_its_kind_in_many_ways() {
    let (score, firsts) = judged(strike(), &learned(60));
    assert!(score >= Some(ALARM), "{firsts:?}");
    assert!(firsts.contains(&Aspect::CallOrder) && firsts.contains(&Aspect::Depth), "{firsts:?}");
    assert!(firsts.contains(&Aspect::Outflow), "{firsts:?}");
}

#[test]
fn what_was_done_before_is_nothing_new() {
    let baseline = learned(60);
    for number in 60..160 {
        let compared = BaselineDetector::default().compare(&World::protocol(), &ordinary(number), &baseline);
        assert_eq!(compared, Comparison::default(), "{number}");
    }
}

/// A near miss: the largest withdrawal ever, in the ordinary way.
#[test]
fn a_record_in_one_aspect_is_noted_and_says_nothing() {
    let mut script = World::new().script();
    script.redeem_shares(ALICE, wad(9), wad(9));
    assert_eq!(judged(script, &learned(60)), (None, vec![Aspect::Outflow]));
}

/// The benign twin: a function that nobody used so far pays out more than anybody received. Only beside another detector
/// does it count.
#[test]
fn records_in_two_aspects_count_half() {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 77, |script| script.transfer(USD, LENDING_VAULT, ALICE, wad(500)));
    let (score, firsts) = judged(script, &learned(60));
    assert_eq!((score, firsts), (Some(JOINT), vec![Aspect::CallOrder, Aspect::Outflow]));
}

/// What it cannot tell: the first honest user who does several things in one transaction is first in several ways.
#[test]
fn the_first_to_combine_functions_looks_like_an_exploit() {
    let mut script = World::new().script();
    script.borrow(ALICE, wad(200), |_| {});
    script.redeem_shares(ALICE, wad(1), wad(1));
    let (score, firsts) = judged(script, &learned(200));
    assert!(score >= Some(ALARM), "{firsts:?}");
}

#[test]
fn a_young_protocol_is_not_judged() {
    assert_eq!(judged(strike(), &learned(2)).0, None);
    assert_eq!(judged(strike(), &Baseline::default()).0, None);
}

#[test]
fn the_same_function_many_times_is_a_record_of_calls_and_no_new_order() {
    let mut script = World::new().script();
    for _ in 0..20 {
        script.buy_shares(ALICE, wad(1), wad(1));
    }
    let (_, firsts) = judged(script, &learned(60));
    assert!(!firsts.contains(&Aspect::CallOrder) && firsts.contains(&Aspect::Calls), "{firsts:?}");
}

/// Padding with what changes nothing, or was undone, or is somebody else's, hides nothing and adds nothing.
#[test]
fn reads_reverts_and_calls_of_others_are_not_measured() {
    let mut script = World::new().script();
    script.frame(FrameKind::StaticCall, LENDING_VAULT, selector(99).as_slice(), |script| {
        script.call(COLLATERAL_VAULT, 98, |_| {});
    });
    script.reverted(LENDING_VAULT, 97, |_| {});
    script.call(CONTROLLER, 96, |_| {});
    script.transfer(COIN, ALICE, CONTROLLER, wad(1_000));
    assert_eq!(judged(script, &learned(60)), (None, vec![]));
}

#[test]
fn token_moves_of_a_protected_token_do_not_change_the_order() {
    let token = |function: [u8; 4]| {
        let mut script = World::new().script();
        script.frame(FrameKind::Call, COLLATERAL_VAULT, &function, |_| {});
        script.buy_shares(ALICE, wad(1), wad(1));
        judged(script, &learned(60)).1
    };
    assert!(!token([0xa9, 0x05, 0x9c, 0xbb]).contains(&Aspect::CallOrder));
    assert!(token([0xa9, 0x05, 0x9c, 0xbc]).contains(&Aspect::CallOrder));
}

#[test]
fn a_protocol_reached_through_a_delegate_call_is_named_by_its_code() {
    let mut script = World::new().script();
    script.enter(FrameKind::DelegateCall, CONTROLLER, LENDING_VAULT, selector(50).as_slice());
    script.transfer(USD, CONTROLLER, ALICE, wad(1));
    script.exit();
    let execution = script.finish(&[]);
    let protocol = World::protocol();
    let reach = Reach::of(&protocol, &execution);
    assert_eq!((reach.first(), reach.calls.len()), (Some(LENDING_VAULT), 1));
}

#[test]
fn numbers_that_cannot_be_meant_are_refused() {
    for firsts_min in [0, 1, 7] {
        let error = BaselineConfig { firsts_min }.build().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("baseline.firsts_min = '{firsts_min}': expected a number of aspects from 2 to 6")
        );
    }
    assert!(BaselineConfig::default().build().is_ok());
}
