//! The detector on scripts of the small world.

use super::*;
use crate::detectors::DetectorConfig;
use crate::testing::{ALICE, BOB, CONTROLLER, LENDING_VAULT, Script, World};
use alloy_primitives::B256;
use cordon_model::finding::AttackClass;
use cordon_model::signature::{Provenance, SIGNATURE_FORMAT, Signature, SignatureFile};
use cordon_model::units::ChainId;

/// An attack of twenty different steps.
fn attack(from: Address, own: Address, target: Address) -> Execution {
    let mut script = Script::new(World::new(), from, own);
    for function in 0..20 {
        script.call(target, function, |_| {});
    }
    script.finish(&[])
}

fn known() -> Signature {
    let text = "learned in a test".to_owned();
    let provenance = Provenance { chain_id: ChainId(1), tx: B256::repeat_byte(7), incident: None, text };
    let observed = Observed::of(&World::protocol(), &attack(ALICE, CONTROLLER, LENDING_VAULT));
    let limits = KnownAttackConfig::default().limits();
    observed.signature("known".to_owned(), AttackClass::Reentrancy, provenance, &limits).unwrap()
}

fn config() -> KnownAttackConfig {
    let file = SignatureFile { format: SIGNATURE_FORMAT, signatures: vec![known()] };
    let set = SignatureSet::parse("known.json", &serde_json::to_string(&file).unwrap()).unwrap();
    let (files, sets) = (vec!["known.json".into()], vec![Arc::new(set)]);
    KnownAttackConfig { files, sets, ..KnownAttackConfig::default() }
}

fn judged(execution: &Execution) -> Vec<Finding> {
    config().build().unwrap().inspect(&World::protocol(), execution)
}

#[test]
fn an_imitation_by_a_stranger_alarms_alone_and_names_what_it_imitates() {
    let findings = judged(&attack(BOB, Address::repeat_byte(0x99), LENDING_VAULT));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        (finding.score, finding.class, finding.contract),
        (EXACT, AttackClass::Reentrancy, LENDING_VAULT)
    );
    assert_eq!(
        finding.evidence.to_string(),
        format!(
            "the sender's side took, in the same order, the 20 steps of the known attack known ({}): learned in a test",
            B256::repeat_byte(7)
        )
    );
}

#[test]
fn a_similar_transaction_needs_another_detector() {
    let mut execution = attack(BOB, CONTROLLER, LENDING_VAULT);
    execution.frames.remove(1);
    let findings = judged(&execution);
    assert_eq!(findings.iter().map(|finding| finding.score).collect::<Vec<_>>(), [SIMILAR]);
}

#[test]
fn few_steps_need_another_detector() {
    let few = |steps_min| {
        let config = KnownAttackConfig { steps_min, ..config() };
        let findings =
            config.build().unwrap().inspect(&World::protocol(), &attack(BOB, CONTROLLER, LENDING_VAULT));
        findings.first().map(|finding| finding.score)
    };
    assert_eq!((few(20), few(21)), (Some(EXACT), Some(SIMILAR)));
}

#[test]
fn the_same_steps_elsewhere_do_not_concern_the_protocol() {
    assert_eq!(judged(&attack(BOB, CONTROLLER, Address::repeat_byte(0x98))), []);
}

#[test]
fn a_cut_record_is_a_gap() {
    let detector = config().build().unwrap();
    let mut execution = attack(BOB, CONTROLLER, LENDING_VAULT);
    assert_eq!(detector.gaps(&World::protocol(), &execution), Vec::<String>::new());
    execution.truncated = true;
    assert_eq!(detector.gaps(&World::protocol(), &execution).len(), 1);
    let findings = detector.inspect(&World::protocol(), &execution);
    assert_eq!(findings.iter().map(|finding| finding.score).collect::<Vec<_>>(), [SIMILAR]);
}

#[test]
fn values_that_cannot_be_used_are_refused() {
    let refused = |config: KnownAttackConfig| config.build().unwrap_err().to_string();
    let unread = KnownAttackConfig { sets: Vec::new(), ..config() };
    assert_eq!(refused(unread), "known-attack.files = '1 files': expected files that were read");
    let none = KnownAttackConfig::default();
    assert_eq!(refused(none), "known-attack.files = '': expected at least one signature file");
    let short = KnownAttackConfig { steps_min: 1, ..config() };
    assert_eq!(refused(short), "known-attack.steps_min = '1': expected 2 or more");
    let short = KnownAttackConfig { instructions_min: 0, ..config() };
    assert_eq!(refused(short), "known-attack.instructions_min = '0': expected 2 or more");
    let all = KnownAttackConfig { similarity_min_bps: Bps(10_001), ..config() };
    assert_eq!(refused(all), "known-attack.similarity_min_bps = '10001': expected 1 to 10000");
}

#[test]
fn it_is_configured_by_its_name() {
    let text = "type = 'known-attack'\nfiles = ['a.json']\nsteps_min = 12";
    let DetectorConfig::KnownAttack(config) = toml::from_str(text).unwrap() else { panic!("another one") };
    assert_eq!((config.steps_min, config.files.len(), config.sets.len()), (12, 1, 0));
}
