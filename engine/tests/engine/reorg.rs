//! Blocks leave the chain: that of the first strike, that of the pause, or both; the strike comes back or does not.
//!
//! The range drops transactions together with their block, which is the hard case: whatever Cordon wants mined, Cordon
//! must send again.

use crate::chain_edits::{MinedTx, hand_in_again, take_back};
use crate::watchtower::{Grants, Tower, Watch};
use cordon_engine::Event;
use cordon_model::incident::{Incident, IncidentEvent, PlanStatus, Standing, State};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Body, ChainEvent, StreamId};
use cordon_model::plan::Purpose;

const SEED: u64 = 21;

/// The attack just detected: the pause is signed and waits for a block, unless nothing is granted.
async fn detected(grants: Grants) -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, grants);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    (tower, watch)
}

/// The strike in one block, the pause in the next, and both judged.
async fn contained() -> (Tower, Watch) {
    let (mut tower, mut watch) = detected(Grants::Automatic).await;
    watch.until_investigated(&mut tower).await;
    let strike = watch.incident().findings[0].tx.block.number;
    assert_eq!(tower.chain().head().number, strike + 1, "the pause landed in the block after the strike");
    (tower, watch)
}

/// What the actors of the scenario had sent, without what Cordon had.
fn of_actors(tower: &Tower, dropped: Vec<MinedTx>) -> Vec<MinedTx> {
    dropped.into_iter().filter(|tx| tx.from != tower.guardian).collect()
}

async fn reverted_blocks(tower: &Tower, watch: &Watch) -> usize {
    let records = watch.records(StreamId::chain(tower.chain_id())).await;
    records.iter().filter(|record| matches!(record.body, Body::Chain(ChainEvent::Reverted { .. }))).count()
}

fn count(events: &[IncidentEvent], is: impl Fn(&IncidentEvent) -> bool) -> usize {
    events.iter().filter(|event| is(event)).count()
}

/// Nonces of everything that was ever signed.
async fn signed_nonces(tower: &Tower, watch: &Watch) -> Vec<u64> {
    let nonce = |event| match event {
        LaneEvent::Signed { nonce, .. } => Some(nonce),
        _ => None,
    };
    watch.lane(tower.guardian).await.into_iter().filter_map(nonce).collect()
}

#[tokio::test]
async fn strike_and_pause_leave_and_the_strike_comes_back() {
    let (tower, mut watch) = contained().await;
    let before = watch.incident();
    let strike = before.findings[0].tx;
    let dropped = take_back(tower.chain(), 2);
    let (first, second): (Vec<_>, Vec<_>) =
        of_actors(&tower, dropped).into_iter().partition(|tx| tx.block == strike.block.number);
    hand_in_again(tower.chain(), first);
    tower.chain().mine();
    hand_in_again(tower.chain(), second);
    watch.follow().await.unwrap();
    watch.until_investigated_in_silence(&tower).await;

    let incident = tower.assert_contained_once(&watch, "both left").await;
    tower.assert_everybody_was_told(&watch, "both left").await;
    assert!(tower.deliveries().values().all(|times| *times == 1), "what happens twice is told once");
    assert_eq!(incident.id, before.id);
    assert_eq!(reverted_blocks(&tower, &watch).await, 2);
    assert!(incident.findings.iter().all(|finding| finding.tx.hash == strike.hash));
    assert!(
        incident.findings.iter().all(|finding| finding.tx.block != strike.block),
        "the old ones are withdrawn"
    );
    assert_eq!(incident.findings.len(), before.findings.len());
    let events = watch.events().await;
    let withdrawn = count(&events, |event| matches!(event, IncidentEvent::FindingWithdrawn { .. }));
    assert_eq!(withdrawn, before.findings.len());
    let steps = before.plans.values().next().unwrap().plan.steps.len();
    assert_eq!(count(&events, |event| matches!(event, IncidentEvent::StepReverted { .. })), steps);
    assert!(signed_nonces(&tower, &watch).await.iter().all(|nonce| *nonce < steps as u64));
}

#[tokio::test]
async fn strike_and_pause_leave_and_the_strike_does_not_come_back() {
    let (tower, mut watch) = contained().await;
    let before = watch.incident();
    take_back(tower.chain(), 2);
    tower.chain().mine();
    watch.follow().await.unwrap();
    tower.chain().mine();
    watch.follow().await.unwrap();
    watch.until_investigated_in_silence(&tower).await;

    let incident = tower.assert_contained_once(&watch, "the strike is gone").await;
    assert_eq!(incident.id, before.id);
    assert!(incident.findings.is_empty(), "what is not on the chain is no finding");
    assert_eq!(incident.standing, Standing::Open, "whether it is over is for a person to say");
}

#[tokio::test]
async fn only_the_pause_leaves() {
    let (tower, mut watch) = contained().await;
    let before = watch.incident();
    let dropped = take_back(tower.chain(), 1);
    hand_in_again(tower.chain(), of_actors(&tower, dropped));
    tower.chain().mine();
    watch.follow().await.unwrap();
    let reopened = watch.incident();
    assert!(!reopened.has_completed(Purpose::Contain), "a pause that left the chain is no pause");
    watch.until_investigated_in_silence(&tower).await;
    let incident = tower.assert_contained_once(&watch, "only the pause left").await;
    assert_eq!(incident.findings, before.findings, "the strike stands");
    let events = watch.events().await;
    assert_eq!(count(&events, |event| matches!(event, IncidentEvent::FindingWithdrawn { .. })), 0);
    assert!(count(&events, |event| matches!(event, IncidentEvent::StepReverted { .. })) >= 1);
}

/// The pause waits in the pool and offers more than the strike, so it is mined first this time.
#[tokio::test]
async fn the_strike_leaves_before_the_pause_landed_and_comes_back_behind_it() {
    let (tower, mut watch) = detected(Grants::Automatic).await;
    let before = watch.incident();
    let dropped = take_back(tower.chain(), 1);
    hand_in_again(tower.chain(), dropped);
    tower.chain().mine();
    watch.follow().await.unwrap();
    watch.until_investigated_in_silence(&tower).await;
    let incident = tower.assert_contained_once(&watch, "behind the pause").await;
    assert_eq!(incident.id, before.id);
    let strike = tower.chain().receipt(before.findings[0].tx.hash).unwrap();
    assert!(!strike.status(), "the strike ran into the pause");
    assert!(incident.findings.is_empty());
}

#[tokio::test]
async fn the_strike_leaves_before_the_pause_landed_and_does_not_come_back() {
    let (tower, mut watch) = detected(Grants::Automatic).await;
    let before = watch.incident();
    take_back(tower.chain(), 1);
    tower.chain().mine();
    watch.follow().await.unwrap();
    watch.until_investigated_in_silence(&tower).await;
    let incident = tower.assert_contained_once(&watch, "gone before the pause").await;
    assert_eq!((incident.id, incident.findings.len()), (before.id, 0));
}

/// While a person still thinks about it, the block of the strike is replaced by one that holds it too.
#[tokio::test]
async fn the_strike_is_mined_again_before_anything_was_sent() {
    let (tower, mut watch) = detected(Grants::ObserveOnly).await;
    let before = watch.incident();
    let dropped = take_back(tower.chain(), 1);
    hand_in_again(tower.chain(), dropped);
    tower.chain().mine();
    watch.follow().await.unwrap();
    let again = watch.incident();
    assert_eq!(again.id, before.id);
    assert_eq!(again.findings.len(), before.findings.len());
    assert!(again.findings.iter().all(|finding| finding.tx.block == tower.head()));

    let (plan, record) = again.plans.first_key_value().unwrap();
    assert_eq!(record.status, PlanStatus::Refused);
    let (person, why) = ("on call".to_owned(), "the strike is real".to_owned());
    watch.engine.handle(Event::Approve { person, why, plan: *plan }).await.unwrap();
    watch.until_investigated_in_silence(&tower).await;
    tower.assert_contained_once(&watch, "approved after a reorganisation").await;
}

/// Nothing in a reorganisation may depend on what the process remembers.
#[tokio::test]
async fn the_process_is_restarted_in_the_middle_of_a_reorganisation() {
    let (tower, watch) = contained().await;
    let before = watch.incident();
    drop(watch);
    let dropped = take_back(tower.chain(), 2);
    let (first, second): (Vec<_>, Vec<_>) =
        of_actors(&tower, dropped).into_iter().partition(|tx| tx.block == before.findings[0].tx.block.number);
    hand_in_again(tower.chain(), first);
    tower.chain().mine();
    hand_in_again(tower.chain(), second);
    tower.chain().mine();
    let mut watch = tower.wake().await;
    // Two blocks are taken back and one is judged; then it is restarted once more.
    for _ in 0..3 {
        assert!(watch.handle_next().await.unwrap());
    }
    drop(watch);
    let mut watch = tower.wake().await;
    watch.follow().await.unwrap();
    watch.until_investigated_in_silence(&tower).await;
    let incident = tower.assert_contained_once(&watch, "restarted").await;
    assert_eq!((incident.id, incident.findings.len()), (before.id, before.findings.len()));
}

/// The incident was ended, then both blocks leave the chain, and the strike is mined again without the pause.
async fn struck_again_after_the_end(event: IncidentEvent) -> (Tower, Watch, Incident) {
    let (tower, watch) = contained().await;
    let before = watch.incident();
    drop(watch);
    tower.record_as_a_person(before.id, event).await;
    let mut watch = tower.wake().await;
    let strike = before.findings[0].tx;
    let dropped = of_actors(&tower, take_back(tower.chain(), 2));
    hand_in_again(tower.chain(), dropped.into_iter().filter(|tx| tx.block == strike.block.number));
    for _ in 0..6 {
        tower.chain().mine();
        watch.follow().await.unwrap();
    }
    assert!(tower.chain().receipt(strike.hash).unwrap().status(), "the same transaction is mined again");
    assert_eq!(watch.engine.cursor().head(), Some(tower.head()));
    assert_eq!(reverted_blocks(&tower, &watch).await, 2);
    let ended = watch.engine.incidents().find(|incident| incident.id == before.id).unwrap().clone();
    assert_ne!(ended.standing, Standing::Open, "it is for a person to open it again");
    (tower, watch, ended)
}

/// A person said of this transaction that it is no attack. In which block it stands makes no difference to that.
#[tokio::test]
async fn a_false_alarm_that_is_mined_again_raises_no_second_one() {
    let (tower, watch, ended) = struck_again_after_the_end(IncidentEvent::FalseAlarm).await;
    let states: Vec<State> = watch.engine.incidents().map(Incident::state).collect();
    assert_eq!(states, [State::FalseAlarm]);
    assert_eq!(watch.intents(tower.guardian).await.len(), 1, "nothing more is intended");
    assert_eq!(ended.standing, Standing::FalseAlarm);
}

/// The pause that had stopped the attack left the chain together with it, so value is taken anew.
#[tokio::test]
async fn an_attack_that_is_mined_again_after_the_end_is_contained_again() {
    let (_tower, watch, ended) = struck_again_after_the_end(IncidentEvent::Closed).await;
    let others: Vec<&Incident> =
        watch.engine.incidents().filter(|incident| incident.id != ended.id).collect();
    assert_eq!(others.len(), 1);
    assert!(others[0].has_completed(Purpose::Contain), "it is {}", others[0].state());
}

/// The pause of an incident that was ended leaves the chain and is not mined again. The next strike is an attack of its
/// own, and must not wait for a nonce that nobody uses any more.
#[tokio::test]
async fn a_pause_that_left_after_the_end_does_not_block_the_next_containment() {
    let (mut tower, watch) = contained().await;
    let before = watch.incident();
    drop(watch);
    tower.record_as_a_person(before.id, IncidentEvent::FalseAlarm).await;
    let mut watch = tower.wake().await;
    let dropped = take_back(tower.chain(), 1);
    hand_in_again(tower.chain(), of_actors(&tower, dropped));
    for _ in 0..6 {
        tower.world.step().unwrap();
        watch.follow().await.unwrap();
    }
    let open: Vec<&Incident> =
        watch.engine.incidents().filter(|incident| incident.standing == Standing::Open).collect();
    assert_eq!(open.len(), 1, "the second strike is a new incident");
    assert!(open[0].has_completed(Purpose::Contain), "it is {}", open[0].state());
}

/// The first thing that a restarted process records may be a block that left. It is stamped as everything else is.
#[tokio::test]
async fn what_a_restarted_process_records_first_carries_chain_time() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = tower.wake().await;
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    let judged = tower.head().number;
    drop(watch);
    take_back(tower.chain(), 1);
    tower.chain().mine();
    let mut watch = tower.wake().await;
    watch.follow().await.unwrap();
    let mut records = watch.records(StreamId::chain(tower.chain_id())).await;
    records.retain(|record| !matches!(record.body, Body::Chain(ChainEvent::JudgedBy { .. })));
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].at_block, judged, "{:?}", records[0]);
    assert!(records[0].at_s > 1_767_225_600, "{:?}", records[0]);
}
