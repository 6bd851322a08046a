//! The committed contracts of the drill: the fix, the fix that stops nothing, and the fix that moves the state.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_eradicate::{
    Artifact, ERC1967_IMPLEMENTATION_SLOT, HonestComparison, HonestOutcome, Trials, UpgradeError,
    UpgradeOrder, compare, distinguishing_check, implementation_address, judge, reasons, upgrade_plan,
};
use cordon_model::plan::{Expectation, Plan, Purpose, Undo};
use cordon_model::remedy::{RemedyRule, Verdict};
use cordon_model::simulation::{AttackTrial, Ground, TrialOutcome};
use cordon_model::units::{ChainId, IncidentId};
use std::collections::BTreeSet;

const PROXY: Address = Address::repeat_byte(0x11);
const UPGRADER: Address = Address::repeat_byte(0x22);
const OLD: Address = Address::repeat_byte(0x33);

fn artifact(name: &str) -> Artifact {
    let path = format!("{}/../../contracts/artifacts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the artifact is committed");
    Artifact::parse(&path, &text).expect("the artifact is well formed")
}

fn order<'a>(live: &Artifact, candidate: &'a Artifact) -> UpgradeOrder<'a> {
    UpgradeOrder {
        incident: IncidentId::derive(&["i"]),
        chain_id: ChainId(31337),
        proxy: PROXY,
        upgrader: UPGRADER,
        candidate,
        constructor_arguments: Bytes::new(),
        implementation: implementation_address(UPGRADER, 7),
        old_implementation: OLD,
        setup: Bytes::from_static(&[0xaa, 0xbb]),
        preconditions: vec![],
        effects: distinguishing_check(live, candidate, PROXY).into_iter().collect(),
    }
}

fn plan(candidate: &Artifact) -> Plan {
    upgrade_plan(order(&artifact("LendingVault"), candidate)).expect("the candidate is a UUPS implementation")
}

fn outcome(loss: u64) -> TrialOutcome {
    TrialOutcome { success: true, loss_wad: U256::from(loss), error: None }
}

fn attack(without: u64, with: u64) -> AttackTrial {
    let (without, with) = (outcome(without), outcome(with));
    AttackTrial { tx_hash: B256::repeat_byte(1), ground: Ground::BeforeAttack, without, with }
}

fn honest(success: bool, returned: u8) -> HonestOutcome {
    let return_data = Bytes::from(vec![returned]);
    HonestOutcome { success, return_data, logs: vec![], transfers: vec![], truncated: false }
}

/// As the first honest outcome, with one log of this contract.
fn logging(contract: Address) -> HonestOutcome {
    HonestOutcome { logs: vec![(contract, vec![B256::ZERO], Bytes::new())], ..honest(true, 1) }
}

fn comparison(old: HonestOutcome, new: HonestOutcome) -> HonestComparison {
    HonestComparison { tx_hash: B256::repeat_byte(2), old, new }
}

/// Trials in which every rule holds, to be spoiled one by one.
fn trials<'a>(live: &'a Artifact, candidate: &'a Artifact) -> Trials<'a> {
    Trials {
        incident: IncidentId::derive(&["i"]),
        candidate,
        live_layout: &live.layout,
        proxy: PROXY,
        protected: BTreeSet::from([PROXY]),
        upgrade_error: None,
        attack: vec![attack(100, 0)],
        honest: vec![comparison(honest(true, 1), honest(true, 1))],
        plan: plan(&artifact("LendingVaultV2")),
    }
}

fn refused(trials: Trials<'_>, rules: &[RemedyRule]) {
    let remedy = judge(trials);
    assert_eq!(remedy.verdict, Verdict::Refused(rules.to_vec()));
    assert_eq!(remedy.plan, None);
    assert_eq!(reasons(&remedy, None).len(), rules.len());
}

#[test]
fn the_fix_is_proven_and_carries_its_plan() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    let remedy = judge(trials(&live, &candidate));
    assert_eq!(remedy.verdict, Verdict::Proven);
    assert_eq!(remedy.candidate, "LendingVaultV2");
    assert_eq!(remedy.init_code_hash, keccak256(&candidate.init_code));
    assert_eq!(remedy.honest_replayed, 1);
    assert!(remedy.plan.is_some());
    assert!(reasons(&remedy, None).is_empty());
    let what: Vec<_> = remedy.layout.iter().map(|change| (change.label.as_str(), change.breaking)).collect();
    assert_eq!(what, [("maxCollateralRateWad", false)]);
}

#[test]
fn a_fix_that_stops_nothing_is_refused() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2Wrong"));
    let trials = Trials { attack: vec![attack(100, 100)], ..trials(&live, &candidate) };
    refused(trials, &[RemedyRule::AttackTakesNothing]);
}

#[test]
fn a_fix_that_moves_the_state_is_refused() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2BadLayout"));
    let breaking = compare(&live.layout, &candidate.layout).iter().filter(|change| change.breaking).count();
    assert_eq!(breaking, 12, "eleven variables moved and one was inserted");
    let remedy = judge(trials(&live, &candidate));
    assert_eq!(remedy.verdict, Verdict::Refused(vec![RemedyRule::LayoutCompatible]));
    let text = reasons(&remedy, None).join("");
    assert!(text.contains("collateral: moved from slot 0 to slot 1"), "{text}");
    assert!(text.ends_with("and 7 more"), "{text}");
}

#[test]
fn an_attack_that_fails_anyway_proves_nothing() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    let harmless = Trials { attack: vec![attack(0, 0)], ..trials(&live, &candidate) };
    refused(harmless, &[RemedyRule::AttackReproduced]);
    let none = Trials { attack: vec![], ..trials(&live, &candidate) };
    refused(none, &[RemedyRule::AttackReproduced]);
}

#[test]
fn a_failing_upgrade_is_refused_with_its_reason() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    let error = "AccessControlUnauthorizedAccount".to_owned();
    let remedy = judge(Trials { upgrade_error: Some(error.clone()), ..trials(&live, &candidate) });
    assert_eq!(remedy.verdict, Verdict::Refused(vec![RemedyRule::UpgradeSucceeds]));
    assert_eq!(reasons(&remedy, Some(&error)), [format!("the upgrade fails on a fork: {error}")]);
}

#[test]
fn honest_behaviour_must_stay_the_same() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    let cut = HonestOutcome { truncated: true, ..honest(true, 1) };
    for (old, new) in [
        (honest(true, 1), honest(false, 1)),
        (honest(false, 1), honest(true, 1)),
        (honest(true, 1), logging(PROXY)),
        (honest(true, 1), cut),
    ] {
        let honest = vec![comparison(old, new)];
        refused(Trials { honest, ..trials(&live, &candidate) }, &[RemedyRule::HonestUnchanged]);
    }
    // Failing for another reason than before harms nobody.
    let failed = vec![comparison(honest(false, 1), honest(false, 2))];
    assert_eq!(judge(Trials { honest: failed, ..trials(&live, &candidate) }).verdict, Verdict::Proven);
}

#[test]
fn what_others_report_of_the_fix_is_listed_and_does_not_refuse_it() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    for (new, what) in [
        (honest(true, 2), "differs in return data only"),
        (logging(OLD), "differs in logs of other contracts only"),
    ] {
        let honest = vec![comparison(honest(true, 1), new)];
        let remedy = judge(Trials { honest, ..trials(&live, &candidate) });
        assert_eq!(remedy.verdict, Verdict::Proven);
        assert_eq!(remedy.honest_differences[0].what, what);
        assert!(!remedy.honest_differences[0].breaking);
    }
}

#[test]
fn every_broken_rule_is_listed() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2BadLayout"));
    let all = Trials {
        upgrade_error: Some("reverted".to_owned()),
        attack: vec![attack(0, 5)],
        honest: vec![comparison(honest(true, 1), honest(false, 1))],
        ..trials(&live, &candidate)
    };
    refused(
        all,
        &[
            RemedyRule::LayoutCompatible,
            RemedyRule::UpgradeSucceeds,
            RemedyRule::AttackTakesNothing,
            RemedyRule::AttackReproduced,
            RemedyRule::HonestUnchanged,
        ],
    );
}

#[test]
fn an_upgrade_deploys_then_points_the_proxy_and_can_go_back() {
    let candidate = artifact("LendingVaultV2");
    let plan = plan(&candidate);
    assert_eq!(plan.purpose, Purpose::Eradicate);
    let (deploy, upgrade) = (&plan.steps[0], &plan.steps[1]);
    assert_eq!(deploy.call.to, None);
    assert_eq!(deploy.call.data, candidate.init_code);
    let uuid = Expectation::Returns(Bytes::from(ERC1967_IMPLEMENTATION_SLOT.to_vec()));
    assert_eq!(deploy.effects[0].expect, uuid);

    assert_eq!(upgrade.call.to, Some(PROXY));
    assert_eq!(upgrade.call.data[..4], keccak256("upgradeToAndCall(address,bytes)")[..4]);
    assert_eq!(upgrade.call.data[16..36], *implementation_address(UPGRADER, 7));
    // Offset and length of the setup call, then its two bytes, padded.
    assert_eq!(upgrade.call.data[36..68], U256::from(64).to_be_bytes::<32>());
    assert_eq!(upgrade.call.data[68..100], U256::from(2).to_be_bytes::<32>());
    assert_eq!(upgrade.call.data[100..102], [0xaa, 0xbb]);
    assert_eq!(upgrade.call.data.len(), 132);
    assert_eq!(upgrade.effects[0].view.input[..], keccak256("maxCollateralRateWad()")[..4]);
    let Undo::Call { from: Some(UPGRADER), call } = &upgrade.undo else {
        panic!("expected an undo by the upgrader")
    };
    assert_eq!(call.data[16..36], *OLD);
}

#[test]
fn upgrades_that_nobody_could_check_are_refused() {
    let (live, candidate) = (artifact("LendingVault"), artifact("LendingVaultV2"));
    let blind = UpgradeOrder { effects: vec![], ..order(&live, &candidate) };
    assert_eq!(upgrade_plan(blind), Err(UpgradeError::NoEffect { proxy: PROXY }));
    let same =
        UpgradeOrder { old_implementation: implementation_address(UPGRADER, 7), ..order(&live, &candidate) };
    assert!(matches!(upgrade_plan(same), Err(UpgradeError::SameImplementation { .. })));
    let token = artifact("DrillToken");
    let error = upgrade_plan(UpgradeOrder { candidate: &token, ..order(&live, &candidate) }).unwrap_err();
    assert!(
        error.to_string().contains("'DrillToken' has no function upgradeToAndCall(address,bytes)"),
        "{error}"
    );
    assert_eq!(distinguishing_check(&live, &live, PROXY), None);
}

#[test]
fn the_implementation_slot_is_derived_as_the_standard_says() {
    let hash = U256::from_be_bytes(keccak256("eip1967.proxy.implementation").0);
    assert_eq!(B256::from(hash - U256::from(1)), ERC1967_IMPLEMENTATION_SLOT);
}
