//! Scripts of calls and accesses with the verdict that each deserves.

use super::*;
use crate::testing::{
    ALICE, CHILD, COLLATERAL_SLOT, COLLATERAL_VAULT, CONTROLLER, DEBT_SLOT, LENDING_VAULT, Script,
    TOTAL_DEBT_SLOT, USD, World, selector, wad,
};
use cordon_model::execution::Detail;

fn judge(script: Script) -> Vec<Finding> {
    ReentrancyConfig {}.build().inspect(&World::protocol(), &script.finish(&[]))
}

fn scores(script: Script) -> Vec<u16> {
    judge(script).iter().map(|finding| finding.score.0).collect()
}

#[test]
fn the_pledge_taken_back_inside_the_borrow_is_found() {
    let findings = judge(World::new().script().strike());
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(finding.score, SCORE_ACTED);
    assert_eq!(finding.suspects, [ALICE, CONTROLLER, CHILD]);
    assert_eq!(
        finding.evidence,
        Evidence::Reentry {
            contract: LENDING_VAULT,
            outer: Some(selector(5)),
            inner: Some(selector(4)),
            via: CHILD,
            slots: vec![U256::from(DEBT_SLOT)],
            kind: Some(ReentryKind::CrossFunction),
        }
    );
}

#[test]
fn without_accesses_the_shape_is_a_weak_finding_and_a_gap() {
    let detector = ReentrancyConfig {}.build();
    let mut traced = World::new().script().strike().finish(&[]);
    assert_eq!(detector.gaps(&World::protocol(), &traced), Vec::<String>::new());
    traced.accesses.clear();
    traced.detail = Detail::Traced;
    let findings = detector.inspect(&World::protocol(), &traced);
    assert_eq!(findings.iter().map(|finding| finding.score).collect::<Vec<_>>(), [SCORE_SHAPE]);
    let gaps = detector.gaps(&World::protocol(), &traced);
    assert!(matches!(gaps.as_slice(), [gap] if gap.contains("entered again")), "{gaps:?}");

    // Without a call back there is nothing that accesses could tell.
    let mut script = World::new().script();
    script.pledge(CHILD, wad(100));
    let mut plain = script.finish(&[]);
    plain.accesses.clear();
    plain.detail = Detail::Traced;
    assert!(detector.inspect(&World::protocol(), &plain).is_empty());
    assert_eq!(detector.gaps(&World::protocol(), &plain), Vec::<String>::new());
}

#[test]
fn the_same_calls_one_after_the_other_are_not() {
    let mut script = World::new().script();
    script.pledge(CHILD, wad(100));
    script.borrow(CHILD, wad(100), |_| ());
    script.unpledge(CHILD, wad(50));
    assert!(judge(script).is_empty());
}

#[test]
fn a_callback_that_only_asks_for_a_total_stays_below_the_incident_threshold() {
    let mut script = World::new().script();
    script.borrow(CHILD, wad(100), |s| {
        s.frame(FrameKind::StaticCall, LENDING_VAULT, selector(7).as_slice(), |s| {
            s.read(TOTAL_DEBT_SLOT, U256::ZERO)
        });
    });
    assert_eq!(scores(script), [SCORE_READ_ONLY.0]);
}

#[test]
fn a_read_of_settled_state_in_a_callback_is_not_found() {
    let mut script = World::new().script();
    script.borrow(CHILD, wad(100), |s| {
        s.frame(FrameKind::StaticCall, LENDING_VAULT, selector(7).as_slice(), |s| {
            s.read(COLLATERAL_SLOT, wad(100))
        });
    });
    assert!(judge(script).is_empty());
}

#[test]
fn another_protected_contract_that_acts_on_the_unsettled_read_makes_it_strong() {
    let mut script = World::new().script();
    script.borrow(CHILD, wad(100), |s| {
        s.call(COLLATERAL_VAULT, 8, |s| {
            s.frame(FrameKind::StaticCall, LENDING_VAULT, &[], |s| s.read(TOTAL_DEBT_SLOT, U256::ZERO));
            s.write(1, U256::ONE);
        });
    });
    assert_eq!(scores(script), [SCORE_ACTED.0]);
}

#[test]
fn an_outer_call_that_goes_on_with_a_stale_value_is_found() {
    let mut script = World::new().script();
    script.borrow(CHILD, wad(100), |s| s.proxied(LENDING_VAULT, 3, |s| s.write(COLLATERAL_SLOT, wad(200))));
    assert_eq!(scores(script), [SCORE_STALE.0]);
}

#[test]
fn a_guard_that_reverts_the_inner_call_leaves_nothing_to_find() {
    let mut script = World::new().script();
    script.borrow(CHILD, wad(100), |s| s.reverted(LENDING_VAULT, 4, |s| s.read(DEBT_SLOT, U256::ZERO)));
    assert!(judge(script).is_empty());
    let mut script = World::new().script();
    script.reverted(LENDING_VAULT, 5, |s| {
        s.call(CHILD, 6, |s| s.call(LENDING_VAULT, 4, |s| s.write(DEBT_SLOT, U256::ONE)));
        s.write(DEBT_SLOT, U256::ZERO);
    });
    assert!(judge(script).is_empty());
}

#[test]
fn control_that_stays_among_named_contracts_is_not_foreign() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.call(COLLATERAL_VAULT, 2, |s| s.call(LENDING_VAULT, 3, |s| s.write(DEBT_SLOT, U256::ONE)));
        s.write(DEBT_SLOT, U256::from(2));
    });
    assert!(judge(script).is_empty());
}

#[test]
fn a_token_that_hands_control_to_a_stranger_is_no_cover() {
    let token = crate::testing::USD_TOKEN;
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.call(token, 2, |s| s.call(CHILD, 6, |s| s.unpledge_only()));
        s.write(DEBT_SLOT, U256::from(2));
    });
    assert_eq!(scores(script), [SCORE_ACTED.0]);
}

#[test]
fn the_value_that_the_inner_call_saw_is_no_conflict_when_it_stays() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.call(CHILD, 6, |s| s.unpledge_only());
        s.write(DEBT_SLOT, U256::ZERO);
    });
    assert!(judge(script).is_empty());
}

#[test]
fn broken_records_do_not_stop_the_detector() {
    let detector = ReentrancyConfig {}.build();
    let mut execution = World::new().script().strike().finish(&[]);
    for frame in &mut execution.frames {
        frame.parent = Some(u32::MAX);
    }
    for access in &mut execution.accesses {
        access.frame = u32::MAX;
    }
    execution.truncated = true;
    assert!(detector.inspect(&World::protocol(), &execution).is_empty());
    assert_eq!(detector.gaps(&World::protocol(), &execution).len(), 1);
    execution.frames.iter_mut().for_each(|frame| frame.parent = Some(frame.index));
    assert!(detector.inspect(&World::protocol(), &execution).is_empty());
}

impl Script {
    /// What the inner call of the attack does to storage.
    fn unpledge_only(&mut self) {
        self.proxied(LENDING_VAULT, 4, |s| {
            s.read(DEBT_SLOT, U256::ZERO);
            s.write(COLLATERAL_SLOT, U256::ONE);
        });
    }
}

#[test]
fn a_flash_loan_with_an_ordinary_callback_is_not_found() {
    let mut script = World::new().script();
    script.proxied(LENDING_VAULT, 1, |s| {
        s.transfer(USD, LENDING_VAULT, CHILD, wad(1_000));
        s.call(CHILD, 6, |s| s.transfer(USD, CHILD, LENDING_VAULT, wad(1_000)));
        s.write(TOTAL_DEBT_SLOT, U256::ZERO);
    });
    assert!(judge(script).is_empty());
}
