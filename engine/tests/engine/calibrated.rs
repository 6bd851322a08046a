//! Thresholds come from what the log says of a protocol's own use, and from what people said of its incidents.

use crate::learning::quiet_steps;
use crate::watchtower::{Grants, Tower};
use cordon_detect::calibrate::{Budget, Period};
use cordon_detect::{BaselineConfig, DetectorConfig};
use cordon_engine::EngineError;
use cordon_engine::calibrate::{CalibrationFile, CalibrationReport, ProtocolRow, calibrate};
use cordon_model::incident::IncidentEvent;
use cordon_model::log::{Body, ChainEvent, StreamId};

const SEED: u64 = 47;

/// The attack, with an operator who allows what the minutes of a test can show.
fn tower() -> Tower {
    let mut tower = Tower::before_the_attack(SEED, Grants::ObserveOnly);
    tower.config.calibration.page = Budget { at_most: 10_000, per: Period::Day };
    tower
}

async fn report(tower: &Tower, count_undecided: bool) -> Result<CalibrationReport, EngineError> {
    calibrate(std::slice::from_ref(&tower.config), count_undecided).await
}

/// Alarms that even the highest threshold would have raised.
fn loudest(row: &ProtocolRow) -> u64 {
    row.levels.last().map_or(0, |level| level.transactions)
}

#[tokio::test]
async fn what_an_incident_was_decides_whether_it_counts() {
    let mut tower = tower();
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    let incident = watch.incident().id;
    drop(watch);
    let Err(EngineError::Refused(why)) = report(&tower, false).await else { panic!("it is not decided") };
    assert!(why.contains(&incident.to_string()), "{why}");

    let counted = report(&tower, true).await.unwrap().protocols.remove(0);
    let from = &counted.entry.provenance;
    assert!(from.undecided_counted > 0 && from.attacks_left_out == 0 && from.to_s > from.from_s, "{from:?}");
    assert!(loudest(&counted) > 0);

    tower.record_as_a_person(incident, IncidentEvent::Closed).await;
    let closed = report(&tower, false).await.unwrap().protocols.remove(0);
    assert_eq!(closed.entry.provenance.attacks_left_out, from.undecided_counted);
    assert_eq!((closed.entry.provenance.undecided_counted, loudest(&closed)), (0, 0));
}

#[tokio::test]
async fn a_false_alarm_raises_the_threshold() {
    let mut tower = tower();
    let mut watch = tower.wake().await;
    quiet_steps(&mut tower, &mut watch, 6).await;
    let quiet = report(&tower, false).await.unwrap().protocols.remove(0);
    assert!(quiet.entry.provenance.page.is_shown, "{:?}", quiet.entry);
    watch.until_detected(&mut tower).await;
    let incident = watch.incident().id;
    drop(watch);
    tower.record_as_a_person(incident, IncidentEvent::FalseAlarm).await;
    // Now even one such alarm is too many.
    tower.config.calibration.page = Budget { at_most: 1, per: Period::Week };
    let noisy = report(&tower, false).await.unwrap().protocols.remove(0);
    assert!(noisy.entry.provenance.page.is_exceeded, "{:?}", noisy.entry);
    assert_eq!((noisy.entry.page_score, noisy.entry.act_score), (1_000, 1_000));
}

#[tokio::test]
async fn thresholds_are_taken_at_the_next_start_and_recorded() {
    let mut tower = tower();
    let mut watch = tower.wake().await;
    quiet_steps(&mut tower, &mut watch, 6).await;
    drop(watch);
    let found = report(&tower, false).await.unwrap();
    let file = CalibrationFile::parse(&found.file().unwrap()).unwrap();
    let detectors = found.protocols[0].entry.provenance.detectors;
    let (thresholds, unfit) = file.thresholds(tower.chain_id(), detectors);
    assert_eq!((thresholds.len(), unfit.len()), (1, 0));
    tower.config.policy.calibrated = thresholds.clone();
    let mut watch = tower.wake().await;
    quiet_steps(&mut tower, &mut watch, 1).await;
    let records = watch.records(StreamId::chain(tower.chain_id())).await;
    let judged_by = records.iter().filter_map(|record| match &record.body {
        Body::Chain(ChainEvent::JudgedBy { judging }) => Some(judging.thresholds.clone()),
        _ => None,
    });
    assert_eq!(judged_by.collect::<Vec<_>>(), [vec![], thresholds]);
}

#[tokio::test]
async fn whoever_is_woken_learns_how_rare_it_is() {
    let mut tower = tower();
    tower.config.detectors.push(DetectorConfig::Baseline(BaselineConfig::default()));
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    let rationale = watch.events().await.into_iter().find_map(|event| match event {
        IncidentEvent::Triaged { rationale, .. } => Some(rationale),
        _ => None,
    });
    let rationale = rationale.unwrap();
    assert!(rationale.contains("as strong as 0 of ") && rationale.contains("p at most 0."), "{rationale}");
}
