//! Candidate fixes for a real incident: proven or refused by rule, and remembered.

use crate::watchtower::{Grants, Tower, Watch};
use cordon_detect::DetectorConfig;
use cordon_detect::rules::{RuleSet, RulesConfig};
use cordon_engine::{Candidate, EngineError, Kind, incidents};
use cordon_eradicate::Artifact;
use cordon_model::finding::Evidence;
use cordon_model::incident::Incident;
use cordon_model::remedy::{RemedyRule, Verdict};
use cordon_model::simulation::Ground;
use cordon_model::units::IncidentId;
use cordon_range::artifacts;
use std::sync::Arc;

const SEED: u64 = 51;

fn artifact(name: &str) -> Artifact {
    Artifact::parse(name, artifacts::json(name).unwrap()).unwrap()
}

fn candidate(tower: &Tower, name: &str) -> Candidate {
    let upgrade = &tower.world.facts().upgrade;
    Candidate {
        fixed: artifact(name),
        live: artifact(upgrade.current_artifact),
        proxy: upgrade.proxy,
        upgrader: upgrade.authority,
        setup: upgrade.initializer.clone(),
    }
}

async fn investigated() -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    watch.until_investigated(&mut tower).await;
    (tower, watch)
}

#[tokio::test]
async fn a_fix_is_proven_or_refused_and_the_judgement_survives_a_restart() {
    let (tower, mut watch) = investigated().await;
    let id = watch.incident().id;
    let sent = tower.mined_by(tower.operator).len();

    let wrong = watch.engine.verify_fix(id, &candidate(&tower, "LendingVaultV2Wrong")).await.unwrap();
    let Verdict::Refused(rules) = &wrong.verdict else { panic!("proven: {wrong:?}") };
    assert!(rules.contains(&RemedyRule::AttackTakesNothing), "{rules:?}");
    assert!(wrong.plan.is_none(), "what is refused has no plan");

    let breaking = watch.engine.verify_fix(id, &candidate(&tower, "LendingVaultV2BadLayout")).await.unwrap();
    let Verdict::Refused(rules) = &breaking.verdict else { panic!("proven: {breaking:?}") };
    assert!(rules.contains(&RemedyRule::LayoutCompatible), "{rules:?}");
    assert!(breaking.layout.iter().any(|change| change.breaking), "{:?}", breaking.layout);

    // The live code itself is no candidate: nothing on chain could tell that it was installed.
    let idle = Candidate { setup: Default::default(), ..candidate(&tower, "LendingVault") };
    let error = watch.engine.verify_fix(id, &idle).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("names no effect"), "{error}");

    let right = watch.engine.verify_fix(id, &candidate(&tower, "LendingVaultV2")).await.unwrap();
    assert_eq!(right.verdict, Verdict::Proven, "{right:?}");
    assert!(right.honest_replayed > 0, "honest use was compared");
    assert!(right.honest_differences.iter().all(|difference| !difference.breaking));
    let trial = right.attack.iter().find(|trial| trial.ground == Ground::BeforeAttack).unwrap();
    assert!(trial.without.success && !trial.without.loss_wad.is_zero(), "the strike takes something today");
    assert!(trial.with.loss_wad.is_zero(), "and nothing with the fix");
    assert!(right.plan.is_some());

    assert!(watch.lane(tower.operator).await.is_empty(), "judging a fix sends nothing");
    assert_eq!(tower.mined_by(tower.operator).len(), sent);
    let judged = watch.incident();
    assert_eq!(judged.remedies, [wrong, breaking, right.clone()]);
    assert_eq!(judged.proven_remedy(), Some(&right));
    drop(watch);

    let dossiers = incidents::all(&tower.store()).await.unwrap();
    let reread: Vec<&Incident> = dossiers.iter().map(|dossier| &dossier.incident).collect();
    assert_eq!(reread, [&judged]);
    let mut watch = tower.wake().await;
    assert_eq!(watch.incident(), judged);
    // The next process comes to the same judgement from what the node still has.
    let again = watch.engine.verify_fix(id, &candidate(&tower, "LendingVaultV2")).await.unwrap();
    assert_eq!(again, right);
}

/// What was strange before the attack opens the incident, and neither keeps the attack from being contained nor stands for it when a
/// fix is judged: whoever makes noise first does not get away with it.
#[tokio::test]
async fn noise_before_the_attack_does_not_stand_for_it() {
    let text = "[[rule]]\nid = 'noise'\ntitle = 'noise'\nclass = 'test'\nscore = 700\nwhen = 'tx.success && block.number % 5 == 0'";
    let sets = vec![Arc::new(RuleSet::parse("noise.toml", text).unwrap())];
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let files = vec!["noise.toml".into()];
    tower.config.detectors.push(DetectorConfig::Rules(RulesConfig { files, sets }));
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    watch.until_investigated(&mut tower).await;
    let incident = watch.incident();
    let loses = |tx| {
        let findings = incident.findings.iter().filter(move |finding| finding.tx == tx);
        findings.into_iter().any(|finding| matches!(finding.evidence, Evidence::ValueLoss { .. }))
    };
    assert!(!loses(incident.findings[0].tx), "noise came first");
    let fix = watch.engine.verify_fix(incident.id, &candidate(&tower, "LendingVaultV2")).await.unwrap();
    assert_eq!(fix.verdict, Verdict::Proven, "{fix:?}");
    assert!(fix.attack.iter().all(|trial| !trial.without.loss_wad.is_zero()), "{:?}", fix.attack);
}

#[tokio::test]
async fn a_fix_for_an_unknown_incident_is_refused_by_name() {
    let (tower, mut watch) = investigated().await;
    let before = watch.incident();
    let unknown = IncidentId::derive(&["another"]);
    let error = watch.engine.verify_fix(unknown, &candidate(&tower, "LendingVaultV2")).await.unwrap_err();
    assert!(matches!(error, EngineError::Argument { what: "incident", .. }), "{error}");
    assert_eq!(watch.incident(), before);
}
