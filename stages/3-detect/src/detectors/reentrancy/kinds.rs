//! The kinds of re-entry, and read-only re-entry of contracts that are not protected.

use super::*;
use crate::testing::*;
use cordon_model::execution::{Detail, ViewReading};

/// A pool that is not protected.
const POOL: Address = BOB;
/// A price source between lender and pool that nobody named.
const SOURCE: Address = Address::repeat_byte(0x77);
/// What the pool says of itself while its call is open.
const SAID: u64 = 150;

fn judged(execution: &Execution) -> Vec<Finding> {
    ReentrancyConfig {}.build().inspect(&World::protocol(), execution)
}

fn seen(execution: &Execution) -> Vec<(u16, ReentryKind)> {
    let kind = |finding: &Finding| match &finding.evidence {
        Evidence::Reentry { kind: Some(kind), .. } => (finding.score.0, *kind),
        other => panic!("{other:?}"),
    };
    judged(execution).iter().map(kind).collect()
}

fn word(value: u64) -> Bytes {
    U256::from(value).to_be_bytes::<32>().into()
}

/// A question to the pool about both of its reserves, and what it answers.
fn ask_pool(script: &mut Script) {
    script.enter(FrameKind::StaticCall, POOL, POOL, selector(9).as_slice());
    script.read(1, U256::from(500));
    script.read(2, U256::from(1_000));
    script.execution.frames.last_mut().unwrap().output = word(SAID);
    script.exit();
}

/// A lender that asks for the pool's price through its source, and pays out.
fn lend(script: &mut Script) {
    script.call(LENDING_VAULT, 5, |s| {
        s.frame(FrameKind::StaticCall, SOURCE, selector(8).as_slice(), ask_pool);
        s.write(DEBT_SLOT, wad(5));
        s.transfer(USD, LENDING_VAULT, CHILD, wad(5));
    });
}

/// A pool that pays out one reserve, hands over control, and then books the other.
fn exit_pool(last: u64, inside: impl FnOnce(&mut Script)) -> Execution {
    let mut script = World::new().script();
    script.call(POOL, 1, |s| {
        s.write(1, U256::from(500));
        s.call(CHILD, 6, inside);
        s.write(2, U256::from(last));
    });
    script.finish(&[])
}

/// The same question asked before and after the transaction.
fn read(mut execution: Execution, before: u64, after: u64) -> Execution {
    let calls = ReentrancyConfig {}.build().views(&World::protocol(), &execution);
    let [call] = <[ViewCall; 1]>::try_from(calls).unwrap();
    execution.views = vec![ViewReading { call, before: Some(word(before)), after: Some(word(after)) }];
    execution
}

#[test]
fn a_lender_that_goes_by_a_pools_unsettled_price_is_found_behind_its_source() {
    let execution = exit_pool(500, lend);
    let findings = judged(&execution);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    let expected = Evidence::Reentry {
        contract: POOL,
        outer: Some(selector(1)),
        inner: Some(selector(9)),
        via: CHILD,
        slots: vec![U256::from(2)],
        kind: Some(ReentryKind::ReadOnly { reader: LENDING_VAULT }),
    };
    assert_eq!((finding.contract, finding.score), (LENDING_VAULT, SCORE_FOREIGN));
    assert_eq!(finding.evidence, expected);
    assert!(finding.evidence.to_string().contains("read-only"), "{}", finding.evidence);
    assert_eq!(judged(&read(execution, 100, 101))[0].score, SCORE_ACTED, "the pool never says so otherwise");
}

/// The benign twins: an answer that holds before or after, a pool that booked everything first, a lock.
#[test]
fn a_question_that_is_answered_as_always_is_none() {
    for (before, after) in [(SAID, 90), (90, SAID), (151, 90)] {
        assert_eq!(judged(&read(exit_pool(500, lend), before, after)), [], "{before} {after}");
    }
    assert_eq!(judged(&exit_pool(1_000, lend)), [], "nothing is booked later");
    let mut script = World::new().script();
    script.call(POOL, 1, |s| {
        s.write(3, U256::from(2));
        s.call(CHILD, 6, |s| {
            s.call(LENDING_VAULT, 5, |s| {
                s.frame(FrameKind::StaticCall, POOL, selector(9).as_slice(), |s| s.read(3, U256::from(2)));
                s.write(DEBT_SLOT, wad(5));
            });
        });
        s.write(3, U256::from(1));
    });
    assert_eq!(judged(&script.finish(&[])), [], "a lock that a question sees");
}

/// The near misses: nobody stands in between, nobody goes by it, or nothing waits.
#[test]
fn a_question_without_a_stranger_in_between_is_the_pools_own_affair() {
    let mut hook = World::new().script();
    hook.call(POOL, 1, |s| {
        lend(s);
        s.write(2, U256::from(500));
    });
    assert_eq!(judged(&hook.finish(&[])), []);
    assert_eq!(judged(&exit_pool(500, ask_pool)), [], "the sender looks himself");
    let looks = |s: &mut Script| s.call(LENDING_VAULT, 5, ask_pool);
    assert_eq!(judged(&exit_pool(500, looks)), [], "and the lender does nothing");
    let mut after = World::new().script();
    after.call(POOL, 1, |s| s.write(2, U256::from(500)));
    lend(&mut after);
    assert_eq!(judged(&after.finish(&[])), []);
    let mut execution = exit_pool(500, lend);
    execution.frames[1].reverted = true;
    assert_eq!(judged(&execution), []);
}

/// Hostile input: a crowd of contracts in between, a second honest question, an answer that is cut.
#[test]
fn a_price_is_not_hidden_by_what_stands_beside_it() {
    let crowd = |s: &mut Script| {
        for number in 1..60u8 {
            let address = Address::repeat_byte(number);
            s.enter(FrameKind::Call, address, address, &[1]);
        }
        lend(s);
        (1..60).for_each(|_| s.exit());
    };
    assert_eq!(judged(&exit_pool(500, crowd)).len(), 1);
    let mut execution = read(exit_pool(500, lend), SAID, SAID);
    execution.views[0].after = Some(Bytes::from_static(&[1; 31]));
    execution.views[0].before = Some(Bytes::new());
    assert_eq!(judged(&execution)[0].score, SCORE_ACTED, "an answer that is none agrees with nothing");
    execution.views[0].before = None;
    assert_eq!(judged(&execution)[0].score, SCORE_FOREIGN, "and one that is missing is not known");
    let twice = |s: &mut Script| {
        s.call(LENDING_VAULT, 5, |s| {
            s.frame(FrameKind::StaticCall, POOL, selector(3).as_slice(), |s| s.read(1, U256::from(500)));
        });
        lend(s);
    };
    assert_eq!(judged(&exit_pool(500, twice)).len(), 1);
}

#[test]
fn every_kind_has_its_name() {
    let borrowed = |inside: fn(&mut Script)| {
        let mut script = World::new().script();
        script.borrow(CHILD, wad(100), inside);
        seen(&script.finish(&[]))
    };
    let again = borrowed(|s| s.proxied(LENDING_VAULT, 5, writes));
    assert_eq!(again, [(800, ReentryKind::SameFunction)]);
    assert_eq!(borrowed(|s| s.proxied(LENDING_VAULT, 4, writes)), [(800, ReentryKind::CrossFunction)]);
    let other = borrowed(|s| s.call(COLLATERAL_VAULT, 8, |s| s.proxied(LENDING_VAULT, 4, writes)));
    assert_eq!(other, [(800, ReentryKind::CrossContract { by: COLLATERAL_VAULT })]);
    let question = borrowed(|s| {
        s.call(COLLATERAL_VAULT, 8, |s| {
            s.frame(FrameKind::StaticCall, LENDING_VAULT, &[7; 4], |s| s.read(TOTAL_DEBT_SLOT, U256::ZERO));
            s.write(1, U256::ONE);
        });
    });
    assert_eq!(question, [(800, ReentryKind::ReadOnly { reader: COLLATERAL_VAULT })]);
}

fn writes(script: &mut Script) {
    script.read(DEBT_SLOT, U256::ZERO);
    script.write(COLLATERAL_SLOT, U256::ONE);
}

#[test]
fn a_protected_contract_that_answers_a_stranger_wrongly_is_found_where_that_can_be_compared() {
    let strike = |asker: Address| {
        let mut script = World::new().script();
        script.borrow(CHILD, wad(100), |s| {
            s.call(asker, 8, |s| {
                s.enter(FrameKind::StaticCall, LENDING_VAULT, LENDING_VAULT, &[7; 4]);
                s.read(TOTAL_DEBT_SLOT, U256::ZERO);
                s.execution.frames.last_mut().unwrap().output = word(SAID);
                s.exit();
                s.transfer(USD, asker, CHILD, wad(7));
            });
        });
        script.finish(&[])
    };
    assert_eq!(judged(&strike(BOB))[0].score, SCORE_READ_ONLY, "nothing to compare with");
    assert_eq!(judged(&read(strike(BOB), 100, 101))[0].score, SCORE_FOREIGN);
    assert_eq!(judged(&read(strike(BOB), SAID, 101))[0].score, SCORE_READ_ONLY);
    assert_eq!(
        judged(&read(strike(CONTROLLER), 100, 101))[0].score,
        SCORE_READ_ONLY,
        "the sender's own look"
    );
}

/// Where no accesses are known the shape alone is weak, and only of somebody who goes on to move value.
#[test]
fn without_accesses_a_question_about_a_waiting_contract_is_weak() {
    let traced = |mut execution: Execution| {
        execution.accesses.clear();
        execution.detail = Detail::Traced;
        execution
    };
    assert_eq!(seen(&traced(exit_pool(500, lend))), [(300, ReentryKind::ReadOnly { reader: LENDING_VAULT })]);
    assert_eq!(judged(&traced(exit_pool(500, |s| s.call(LENDING_VAULT, 5, ask_pool)))), []);
    assert_eq!(judged(&traced(exit_pool(500, ask_pool))), []);
}
