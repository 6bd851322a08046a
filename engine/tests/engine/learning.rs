//! What is ordinary is learned from the chain, remembered by the log, and taken back with its blocks.

use crate::chain_edits::{hand_in_again, take_back};
use crate::watchtower::{Grants, QUIET_STEPS, Tower, Watch};
use cordon_detect::{BaselineConfig, DetectorConfig};
use cordon_model::incident::IncidentEvent;
use cordon_model::log::{Body, ChainEvent, StreamId};
use cordon_range::Scenario;

const SEED: u64 = 41;

/// The attack, watched from the first block on by nothing but the baseline.
async fn learner() -> (Tower, Watch) {
    let mut tower = Tower::after_steps(0, SEED, Grants::ObserveOnly);
    tower.config.detectors = vec![DetectorConfig::Baseline(BaselineConfig::default())];
    let watch = tower.wake().await;
    (tower, watch)
}

pub(crate) async fn events(tower: &Tower, watch: &Watch) -> Vec<ChainEvent> {
    let records = watch.records(StreamId::chain(tower.chain_id())).await;
    let event = |record: cordon_model::log::Record| match record.body {
        Body::Chain(event) => Some(event),
        _ => None,
    };
    records.into_iter().filter_map(event).collect()
}

/// How many ordinary transactions are known, as the log says last.
async fn known(tower: &Tower, watch: &Watch) -> u64 {
    let learned = events(tower, watch).await.into_iter().rev().find_map(|event| match event {
        ChainEvent::Learned { transactions, .. } => Some(transactions),
        _ => None,
    });
    learned.unwrap_or(0)
}

pub(crate) async fn quiet_steps(tower: &mut Tower, watch: &mut Watch, steps: u64) {
    for _ in 0..steps {
        tower.world.step().unwrap();
        watch.follow().await.unwrap();
    }
}

#[tokio::test]
async fn the_attack_exceeds_everything_before_it_and_is_not_learned() {
    let (mut tower, mut watch) = learner().await;
    watch.until_detected(&mut tower).await;
    let incident = watch.incident();
    let [finding] = incident.findings.as_slice() else { panic!("{:?}", incident.findings) };
    assert_eq!(finding.detector, "baseline");
    let events = events(&tower, &watch).await;
    let withheld = |event: &ChainEvent| matches!(event, ChainEvent::Withheld { tx, .. } if *tx == finding.tx);
    assert_eq!(events.iter().filter(|event| withheld(event)).count(), 1);
    assert!(known(&tower, &watch).await > 10, "ordinary use came before: {}", known(&tower, &watch).await);
}

#[tokio::test]
async fn ordinary_use_alone_opens_nothing_once_it_is_known() {
    let mut tower = Tower::new(Scenario::DonationReentrancyBenign, SEED);
    tower.config.detectors = vec![DetectorConfig::Baseline(BaselineConfig::default())];
    let mut watch = tower.wake().await;
    quiet_steps(&mut tower, &mut watch, QUIET_STEPS).await;
    let early = watch.engine.incidents().count();
    quiet_steps(&mut tower, &mut watch, QUIET_STEPS).await;
    assert_eq!(watch.engine.incidents().count(), early);
}

#[tokio::test]
async fn what_was_learned_outlives_the_process_and_leaves_with_its_block() {
    let (mut tower, mut watch) = learner().await;
    quiet_steps(&mut tower, &mut watch, QUIET_STEPS / 2).await;
    let before = known(&tower, &watch).await;
    assert!(before > 0);
    drop(watch);
    let mut watch = tower.wake().await;
    while known(&tower, &watch).await == before {
        quiet_steps(&mut tower, &mut watch, 1).await;
    }
    let after = known(&tower, &watch).await;
    assert!(after > before, "the next process goes on from {before}, not from the beginning: {after}");

    let dropped = take_back(tower.chain(), 1);
    hand_in_again(tower.chain(), dropped);
    tower.chain().mine();
    watch.follow().await.unwrap();
    assert_eq!(known(&tower, &watch).await, after, "the same transactions in another block count once");
}

#[tokio::test]
async fn what_people_call_ordinary_is_learned_once() {
    let (mut tower, mut watch) = learner().await;
    watch.until_detected(&mut tower).await;
    let incident = watch.incident();
    tower.record_as_a_person(incident.id, IncidentEvent::FalseAlarm).await;
    for _ in 0..3 {
        tower.chain().mine();
        watch.follow().await.unwrap();
    }
    let accepted = |event: &ChainEvent| match event {
        ChainEvent::Accepted { tx, .. } => Some(*tx),
        _ => None,
    };
    let accepted: Vec<_> = events(&tower, &watch).await.iter().filter_map(accepted).collect();
    assert_eq!(accepted, [incident.findings[0].tx]);
}
