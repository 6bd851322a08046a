//! New codes, by whom and naming whom: the contracts of the drill as they are compiled, and records that lack them.

use super::*;
use crate::bytecode::{Bounds, CodeFacts};
use crate::detectors::DetectorConfig;
use crate::set::DetectorSet;
use crate::testing::*;
use alloy_primitives::{B256, hex};
use cordon_model::execution::{FrameKind, Status, StorageChange};
use cordon_model::units::Milli;

const CONTROLLER_JSON: &str = include_str!("../../../../../contracts/artifacts/DrainController.json");
const HONEST: [(&str, &str); 7] = [
    ("CollateralVault", include_str!("../../../../../contracts/artifacts/CollateralVault.json")),
    ("DrillToken", include_str!("../../../../../contracts/artifacts/DrillToken.json")),
    ("ERC1967Proxy", include_str!("../../../../../contracts/artifacts/ERC1967Proxy.json")),
    ("LendingVault", include_str!("../../../../../contracts/artifacts/LendingVault.json")),
    ("LeverageZap", include_str!("../../../../../contracts/artifacts/LeverageZap.json")),
    ("MerkleClaim", include_str!("../../../../../contracts/artifacts/MerkleClaim.json")),
    ("TimelockController", include_str!("../../../../../contracts/artifacts/TimelockController.json")),
];

/// Runtime code as the compiler left it, immutables zero.
fn compiled(json: &str) -> Vec<u8> {
    let artifact: serde_json::Value = serde_json::from_str(json).unwrap();
    hex::decode(artifact["deployedBytecode"].as_str().unwrap()).unwrap()
}

/// The code of the drill's attacker, as it is when all its immutables are this address.
fn controller(of: Address) -> Vec<u8> {
    let mut code = compiled(CONTROLLER_JSON);
    let hole = [&[0x7f][..], &[0; 32]].concat();
    let holes: Vec<usize> = (0..code.len() - 33).filter(|at| code[*at..*at + 33] == hole).collect();
    assert!(!holes.is_empty());
    for at in holes {
        code[at + 13..at + 33].copy_from_slice(of.as_slice());
    }
    code
}

/// A transaction in which `CONTROLLER` creates this, at `CHILD`.
fn creating(code: &[u8]) -> Execution {
    let mut script = World::new().script();
    script.create(CHILD, |_| {});
    let mut execution = script.finish(&[]);
    leave(&mut execution, code);
    execution
}

fn leave(execution: &mut Execution, code: &[u8]) {
    let frame = execution.frames.iter_mut().find(|frame| frame.kind == FrameKind::Create).unwrap();
    frame.output = code.to_vec().into();
    let creation = Creation {
        frame: frame.index,
        creator: frame.caller,
        address: frame.address,
        init_code_hash: B256::ZERO,
        code_hash: keccak256(code),
    };
    execution.creations.push(creation);
}

/// The shipped model with other bounds: a code's own figure decides what it is taken for, so that tests say which.
fn with_bounds(likely: i64, sure: i64) -> NewContract {
    let model = Model::shipped().unwrap();
    NewContract { model: Model { bounds: Bounds { likely: Milli(likely), sure: Milli(sure) }, ..model } }
}

/// What the model says of a code.
fn figure(code: &[u8]) -> i64 {
    Model::shipped().unwrap().judge(&Features::of(code)).log_odds.0
}

fn sign(finding: &Finding) -> &Sign {
    let Evidence::Sign(Signs::NewContract(sign)) = &finding.evidence else { panic!("{finding:?}") };
    sign
}

#[test]
fn a_code_that_names_a_protected_contract_counts_more_and_one_beyond_doubt_too() {
    let (named, unnamed) = (controller(COLLATERAL_VAULT), controller(BOB));
    let at = figure(&named);
    assert_eq!(figure(&unnamed), at, "who is named is no matter of likeness");
    let score = |likely, sure, code: &[u8]| {
        let findings = with_bounds(likely, sure).inspect(&World::protocol(), &creating(code));
        findings.first().map(|finding| finding.score)
    };
    assert_eq!(score(at, at, &named), Some(NAMED_AND_SURE));
    assert_eq!(score(at, at + 1, &named), Some(NAMED_OR_SURE));
    assert_eq!(score(at, at, &unnamed), Some(NAMED_OR_SURE));
    assert_eq!(score(at, at + 1, &unnamed), Some(LIKELY));
    assert_eq!(score(at + 1, at + 1, &named), None);
}

#[test]
fn a_finding_says_who_made_what_and_whom_it_names() {
    let code = controller(COLLATERAL_VAULT);
    let [finding] = &with_bounds(i64::MIN, i64::MAX).inspect(&World::protocol(), &creating(&code))[..] else {
        panic!("one finding")
    };
    assert_eq!((finding.class, finding.contract), (AttackClass::Preparation, COLLATERAL_VAULT));
    let sign = sign(finding);
    assert_eq!((sign.address, sign.creator, sign.code_hash), (CHILD, CONTROLLER, keccak256(&code)));
    assert_eq!((&sign.names[..], sign.log_odds.0), (&[COLLATERAL_VAULT][..], figure(&code)));
    assert!(finding.suspects.contains(&CHILD) && finding.suspects.contains(&ALICE));
    assert!(finding.evidence.to_string().contains(&COLLATERAL_VAULT.to_string()));
}

#[test]
fn what_a_constructor_keeps_is_named_as_well() {
    let code = controller(BOB);
    let mut execution = creating(&code);
    let after = alloy_primitives::U256::from_be_bytes(LENDING_VAULT.into_word().0);
    let (slot, before) = (alloy_primitives::U256::ZERO, alloy_primitives::U256::ZERO);
    execution.storage_changes.push(StorageChange { address: BOB, slot, before, after });
    let judged = |execution: &Execution| {
        let findings = with_bounds(i64::MIN, i64::MAX).inspect(&World::protocol(), execution);
        sign(&findings[0]).names.clone()
    };
    assert_eq!(judged(&execution), Vec::<Address>::new(), "another contract's storage");
    execution.storage_changes[0].address = CHILD;
    assert_eq!(judged(&execution), [LENDING_VAULT]);
}

#[test]
fn code_that_the_protocol_creates_is_its_own() {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 1, |script| {
        script.call(BOB, 1, |script| script.create(CHILD, |_| {}));
    });
    let mut execution = script.finish(&[]);
    leave(&mut execution, &controller(COLLATERAL_VAULT));
    assert_eq!(with_bounds(i64::MIN, i64::MIN).inspect(&World::protocol(), &execution), []);
}

#[test]
fn code_that_is_not_in_the_record_is_said_and_code_that_is_not_there_is_not() {
    let all = with_bounds(i64::MIN, i64::MIN);
    let mut execution = creating(&controller(BOB));
    execution.frames.last_mut().unwrap().output = Bytes::new();
    assert_eq!(all.inspect(&World::protocol(), &execution), []);
    assert_eq!(
        all.gaps(&World::protocol(), &execution),
        [format!("the code of {CHILD} is not in the record")]
    );
    // An attack out of a constructor leaves nothing.
    let nothing = creating(&[]);
    assert_eq!(
        (all.inspect(&World::protocol(), &nothing), all.gaps(&World::protocol(), &nothing)),
        (vec![], vec![])
    );
}

#[test]
fn copies_are_told_once_and_a_crowd_is_cut_with_a_word() {
    let all = with_bounds(i64::MIN, i64::MIN);
    let mut script = World::new().script();
    for _ in 0..40 {
        script.create(CHILD, |_| {});
    }
    let mut execution = script.finish(&[]);
    let created = |execution: &mut Execution, different: bool| {
        execution.creations.clear();
        let frames: Vec<u32> = (1..41).collect();
        for (number, index) in (0u8..).zip(frames) {
            let code = vec![0x5f, if different { number } else { 0 }];
            let frame = &mut execution.frames[usize::try_from(index).unwrap()];
            frame.output = code.clone().into();
            let (creator, address) = (frame.caller, frame.address);
            let code_hash = keccak256(&code);
            execution.creations.push(Creation {
                frame: index,
                creator,
                address,
                init_code_hash: B256::ZERO,
                code_hash,
            });
        }
    };
    created(&mut execution, false);
    assert_eq!(all.inspect(&World::protocol(), &execution).len(), 1);
    created(&mut execution, true);
    let opinion = all.judge(&World::protocol(), &execution);
    assert_eq!((opinion.findings.len(), opinion.gaps.len()), (CREATIONS_MAX, 1));
}

#[test]
fn a_transaction_that_only_names_is_judged_and_is_no_use() {
    let named = controller(COLLATERAL_VAULT);
    let at = figure(&named);
    let all = DetectorSet::new(vec![Box::new(with_bounds(at, at))], vec![World::protocol()]);
    let execution = creating(&named);
    assert!(all.concerns(&execution) && all.concerned(&execution).is_empty());
    assert_eq!(
        all.inspect(&execution).iter().map(|finding| finding.score).collect::<Vec<_>>(),
        [NAMED_AND_SURE]
    );
    assert!(all.compare(&execution, &cordon_model::baseline::Baselines::default()).is_empty());
    assert!(all.views(&execution).is_empty());
    assert!(!all.concerns(&creating(&controller(BOB))), "names nobody");
    let failed = Execution { status: Status::Halt { reason: "out of gas".to_owned() }, ..execution.clone() };
    assert!(!all.concerns(&failed) && all.inspect(&failed).is_empty());
    // Without a detector that looks at creations it is nobody's matter.
    let others = DetectorSet::from_configs(
        &[DetectorConfig::Reentrancy(crate::detectors::reentrancy::ReentrancyConfig::default())],
        vec![World::protocol()],
    );
    assert!(!others.unwrap().concerns(&execution));
}

/// What the model is for: contracts as honest people deploy them pass without a word.
#[test]
fn the_honest_contracts_of_the_drill_are_passed() {
    let detector = NewContractConfig::default().build().unwrap();
    for (name, json) in HONEST {
        let execution = creating(&compiled(json));
        assert_eq!(detector.inspect(&World::protocol(), &execution), [], "{name}");
        assert!(CodeFacts::of(&compiled(json)).instructions > 50, "{name}");
    }
}
