//! Votes that are given back, and those that are kept.

use super::*;
use crate::testing::*;
use alloy_primitives::{B256, Bytes, keccak256};
use cordon_model::execution::Detail;

const VOTED: &str = "VoteCast(address,uint256,uint8,uint256,string)";
const EXECUTED: &str = "ProposalExecuted(uint256)";
const PROPOSED: &str =
    "ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)";

fn judged(execution: &Execution) -> Vec<Finding> {
    GovernanceConfig::default().build().unwrap().inspect(&World::protocol(), execution)
}

fn scores(script: Script) -> Vec<u16> {
    judged(&script.finish(&[])).iter().map(|finding| finding.score.0).collect()
}

fn votes(finding: &Finding) -> &Votes {
    let Evidence::Sign(Sign::Votes(votes)) = &finding.evidence else { panic!("{finding:?}") };
    votes
}

fn words(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| U256::from(*number).to_be_bytes::<32>()).collect()
}

fn vote(script: &mut Script) {
    script.call(LENDING_VAULT, 1, |script| script.log(VOTED, &[ALICE], &words(&[7, 1, 500])));
}

fn execute(script: &mut Script) {
    script.call(LENDING_VAULT, 2, |script| script.log(EXECUTED, &[], &words(&[7])));
}

/// A loan of dollars from Bob, of which `repaid` go back in two parts.
fn loan(script: &mut Script, repaid: u64, inside: impl FnOnce(&mut Script)) {
    script.transfer(USD, BOB, CONTROLLER, wad(1_000));
    inside(script);
    script.transfer(USD, CONTROLLER, BOB, wad(400));
    script.transfer(USD, CONTROLLER, BOB, wad(repaid - 400));
}

#[test]
fn a_vote_on_a_loan_is_found_and_worse_with_an_execution() {
    let mut script = World::new().script();
    loan(&mut script, 1_000, vote);
    let findings = judged(&script.finish(&[]));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        (finding.score, finding.class, finding.contract),
        (SCORE_RETURNED, AttackClass::Governance, LENDING_VAULT)
    );
    let returned = ReturnedVotes { with: BOB, asset: USD, amount_raw: wad(1_000) };
    assert_eq!(votes(finding).returned, Some(returned));
    let mut script = World::new().script();
    loan(&mut script, 1_003, |script| {
        vote(script);
        execute(script);
    });
    assert_eq!(scores(script), [900]);
}

#[test]
fn a_stake_for_the_vote_alone_and_delegation_for_it_count_as_well() {
    let mut script = World::new().script();
    script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(50));
    vote(&mut script);
    script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(50));
    assert_eq!(scores(script), [700], "locked and freed");

    let mut script = World::new().script();
    script.transfer(LSHARE, Address::ZERO, CONTROLLER, wad(50));
    vote(&mut script);
    script.transfer(LSHARE, CONTROLLER, Address::ZERO, wad(50));
    assert_eq!(scores(script), [700], "issued for a stake and destroyed");

    let delegated = |before: u64, at: u64, end: u64| {
        let mut script = World::new().script();
        let told = "DelegateVotesChanged(address,uint256,uint256)";
        script.call(USD_TOKEN, 1, |script| script.log(told, &[CHILD], &words(&[before, at])));
        vote(&mut script);
        script.call(USD_TOKEN, 1, |script| script.log(told, &[CHILD], &words(&[at, end])));
        scores(script)
    };
    assert_eq!(delegated(10, 500, 10), [700]);
    assert_eq!(delegated(10, 500, 400), Vec::<u16>::new(), "kept");
    assert_eq!(delegated(500, 10, 500), Vec::<u16>::new(), "his own, lent to others and back");
}

/// The benign twins: a vote with what one has, or receives and keeps; a loan beside it; somebody else's vote.
#[test]
fn votes_that_are_kept_are_nobodys_business() {
    let mut script = World::new().script();
    vote(&mut script);
    assert_eq!(scores(script), Vec::<u16>::new());

    let mut script = World::new().script();
    script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(50));
    vote(&mut script);
    script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(48));
    assert_eq!(scores(script), Vec::<u16>::new(), "a reward of which more than fees are kept");

    let mut script = World::new().script();
    vote(&mut script);
    loan(&mut script, 1_000, |_| {});
    vote(&mut script);
    assert_eq!(scores(script), Vec::<u16>::new(), "a loan between two votes");

    let mut script = World::new().script();
    loan(&mut script, 1_000, |script| {
        script.call(BOB, 1, |script| script.log(VOTED, &[ALICE], &words(&[7, 1, 500])));
    });
    assert_eq!(scores(script), Vec::<u16>::new(), "a governor that is not protected");
}

#[test]
fn a_vote_without_weight_decides_nothing() {
    let mut script = World::new().script();
    loan(&mut script, 1_000, |script| {
        script.call(LENDING_VAULT, 1, |script| script.log(VOTED, &[ALICE], &words(&[7, 1, 0])));
    });
    assert_eq!(scores(script), Vec::<u16>::new());
}

#[test]
fn a_proposal_carried_through_at_once_is_weak_and_an_execution_alone_is_nothing() {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |script| script.log(PROPOSED, &[], &[]));
    execute(&mut script);
    assert_eq!(scores(script), [300]);
    let mut script = World::new().script();
    execute(&mut script);
    assert_eq!(scores(script), Vec::<u16>::new());
    let mut script = World::new().script();
    loan(&mut script, 1_000, execute);
    assert_eq!(scores(script), Vec::<u16>::new(), "whoever executes what others decided may borrow");
}

#[test]
fn code_that_was_put_there_before_its_execution_is_strong_and_what_a_proposal_creates_is_not() {
    let mut script = World::new().script();
    script.create(CHILD, |_| {});
    script.call(LENDING_VAULT, 2, |script| {
        script.enter(FrameKind::DelegateCall, LENDING_VAULT, CHILD, &[1, 2, 3, 4]);
        script.exit();
        script.log(EXECUTED, &[], &words(&[7]));
    });
    let findings = judged(&script.finish(&[]));
    assert_eq!((findings[0].score.0, votes(&findings[0]).fresh_code), (700, Some(CHILD)));
    assert!(findings[0].evidence.to_string().contains("had put there"));
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 2, |script| {
        script.create(CHILD, |_| {});
        script.call(CHILD, 1, |_| {});
        script.log(EXECUTED, &[], &words(&[7]));
    });
    assert_eq!(scores(script), Vec::<u16>::new());
}

#[test]
fn calls_speak_only_where_there_are_no_logs() {
    let function = |text: &str| keccak256(text)[..4].to_vec();
    let called = |detail| {
        let mut script = World::new().script();
        loan(&mut script, 1_000, |script| {
            script.frame(FrameKind::Call, LENDING_VAULT, &function("vote(uint32)"), |_| {});
            script.frame(FrameKind::Call, LENDING_VAULT, &function("emergencyCommit(uint32)"), |_| {});
        });
        script.execution.detail = detail;
        scores(script)
    };
    assert_eq!(called(Detail::Calls), [900]);
    assert_eq!(called(Detail::Watch), Vec::<u16>::new(), "logs are known, and there is none");
}

#[test]
fn the_chiefs_notes_are_read_as_selectors() {
    let note = |text: &str| B256::right_padding_from(&keccak256(text)[..4]);
    let mut script = World::new().script();
    script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(50));
    let noted = [("vote(address[])", 100), ("lift(address)", 101)];
    script.transfer(COIN, CONTROLLER, BOB, wad(1));
    let mut execution = script.finish(&[]);
    for (text, seq) in noted {
        let topics = vec![note(text), ALICE.into_word()];
        execution.logs.push(Log { seq, frame: 0, address: LENDING_VAULT, topics, data: Bytes::new() });
    }
    let mut back = execution.transfers[0].clone();
    (back.from, back.to, back.seq) = (LENDING_VAULT, CONTROLLER, 200);
    execution.transfers.push(back);
    assert_eq!(judged(&execution)[0].score.0, 900);
}

/// Hostile input.
#[test]
fn decoys_and_torn_logs_neither_hide_nor_panic() {
    let mut script = World::new().script();
    vote(&mut script);
    script.call(LENDING_VAULT, 2, |script| script.log(EXECUTED, &[], &[]));
    loan(&mut script, 1_000, |script| {
        script.call(LENDING_VAULT, 1, |script| script.log(VOTED, &[], &[1, 2, 3]));
    });
    vote(&mut script);
    assert_eq!(scores(script), [900], "votes of his own before and after; a weight that cannot be read");
    let mut script = World::new().script();
    script.transfer(USD, BOB, CONTROLLER, U256::MAX / U256::from(4));
    vote(&mut script);
    script.transfer(USD, CONTROLLER, BOB, U256::MAX / U256::from(4));
    script.call(USD_TOKEN, 1, |script| {
        script.log("DelegateVotesChanged(address,uint256,uint256)", &[BOB], &[0xff; 40])
    });
    assert_eq!(scores(script), [700]);
    let error = GovernanceConfig { kept_max_bps: Bps(10_000) }.build().unwrap_err();
    assert_eq!(error.to_string(), "governance.kept_max_bps = '10000': expected 0 to 9999");
}
