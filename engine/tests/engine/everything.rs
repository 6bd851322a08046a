//! Every detector at its defaults, on a configured protocol: the attack is contained once, and ordinary use of the same market opens
//! nothing. What the learning ones say of a young protocol is in `learning`.

use crate::watchtower::{Grants, Tower};
use cordon_detect::DetectorConfig;
use cordon_range::Scenario;

const SEEDS: [u64; 3] = [51, 52, 53];

#[tokio::test]
async fn the_attack_is_contained_once() {
    for seed in SEEDS {
        let mut tower = Tower::before_the_attack(seed, Grants::Automatic);
        tower.config.detectors = DetectorConfig::all();
        let mut watch = tower.wake().await;
        watch.until_investigated(&mut tower).await;
        tower.assert_contained_once(&watch, &format!("every detector, seed {seed}")).await;
    }
}

#[tokio::test]
async fn ordinary_use_opens_nothing() {
    let mut found = Vec::new();
    for seed in 1..=5 {
        let mut tower = Tower::new(Scenario::DonationReentrancyBenign, seed);
        tower.config.detectors = DetectorConfig::all();
        tower.config.detectors.retain(|config| !config.build().unwrap().compares());
        let mut watch = tower.wake().await;
        while !tower.world.is_over() {
            tower.world.step().unwrap();
            watch.follow().await.unwrap();
        }
        let findings = watch.engine.incidents().flat_map(|incident| &incident.findings);
        let line = |one: &cordon_model::finding::Finding| {
            format!(
                "seed {seed}, {}: {} ({}): {}",
                one.tx.block.number, one.detector, one.score, one.evidence
            )
        };
        found.extend(findings.map(line));
    }
    assert_eq!(found, Vec::<String>::new());
}
