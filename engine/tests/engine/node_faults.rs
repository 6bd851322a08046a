//! The node goes away in the middle of the work, or tells of a block that cannot be reproduced.

use crate::faults::{Fuse, Outage};
use crate::watchtower::{Grants, Tower, WATCHED_QUIET_STEPS, Watch};
use alloy_primitives::{Address, Bytes, U256, hex};
use cordon_engine::EngineError;
use cordon_model::log::{Body, ChainEvent, StreamId};
use cordon_model::units::BlockRef;
use cordon_range::Call;

const SEED: u64 = 31;

/// More requests than a block of the scenario takes; the loop ends with the first outage that never comes.
const REQUESTS_MAX: i64 = 2_000;

/// Distance between two outages that are tried. It is coprime to the rhythm in which accounts are read (three requests
/// each), so that every kind of request is hit.
const REQUESTS_STRIDE: usize = 11;

async fn begin(tower: &Tower) -> Watch {
    Watch::begin(tower, Fuse::solid(), Outage::none(tower.chain())).await.unwrap()
}

/// Judging is repeated until it goes through, and the node goes away one request later each time.
#[tokio::test]
async fn a_node_that_goes_away_while_a_block_is_judged_costs_nothing() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = begin(&tower).await;
    // With the first block the source also asks for the chain's id; from then on its part is the block and its receipts.
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    let mut failures = 0;
    while watch.engine.incidents().next().is_none() {
        tower.world.step().unwrap();
        failures += judge_with_outages(&mut watch).await;
        watch.deliver().await.unwrap();
    }
    assert!(failures > 50, "the node was away {failures} times");
    watch.until_investigated(&mut tower).await;
    let incident = tower.assert_contained_once(&watch, "judged with outages").await;
    assert!(!incident.findings.is_empty());
    let queued = tower.assert_everybody_was_told(&watch, "judged with outages").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
}

/// Handles the newest block; how often it failed before it got through is returned.
async fn judge_with_outages(watch: &mut Watch) -> usize {
    let before = watch.engine.cursor().clone();
    // The first two requests are the source's, which waits for seconds while its node is away.
    for (failures, at) in (3..REQUESTS_MAX).enumerate() {
        watch.outage.arm(at);
        let handled = watch.handle_next().await;
        watch.outage.end();
        match handled {
            Ok(true) => {
                assert_ne!(*watch.engine.cursor(), before, "request {at}");
                return failures;
            }
            Ok(false) => panic!("request {at}: a block was passed over"),
            Err(EngineError::Replay(_)) => {
                assert_eq!(*watch.engine.cursor(), before, "request {at}: what was not judged is not passed");
            }
            Err(error) => panic!("request {at}: {error}"),
        }
    }
    panic!("more than {REQUESTS_MAX} requests for one block");
}

/// One outage in the block of the first strike, from its n-th request on until the block is handled.
async fn an_outage_at(at: i64) -> bool {
    let what = format!("away from request {at} on");
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = begin(&tower).await;
    for _ in 0..WATCHED_QUIET_STEPS {
        tower.world.step().unwrap();
        watch.follow().await.unwrap();
    }
    let scenes = tower.world.step().unwrap().narration;
    assert!(scenes.iter().any(|scene| scene.contains("strikes (1")), "{scenes:?}");
    watch.outage.arm(at);
    let handled = watch.handle_next().await;
    let was_away = watch.outage.end();
    match handled {
        Ok(handled) => assert!(handled, "{what}"),
        Err(EngineError::Replay(_)) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    watch.follow().await.unwrap();
    watch.until_investigated(&mut tower).await;
    let incident = tower.assert_contained_once(&watch, &what).await;
    assert!(!incident.findings.is_empty(), "{what}");
    let queued = tower.assert_everybody_was_told(&watch, &what).await;
    assert!(queued.values().all(|times| *times == 1), "{what}: {queued:?}");
    was_away
}

#[tokio::test]
async fn a_node_that_goes_away_in_the_block_of_the_strike_delays_and_loses_nothing() {
    let mut outages = 0;
    // The first two requests are the source's, which waits for seconds while its node is away.
    for at in (3..REQUESTS_MAX).step_by(REQUESTS_STRIDE) {
        if !an_outage_at(at).await {
            break;
        }
        outages += 1;
    }
    assert!(outages > 10, "the node was away {outages} times");
}

/// The source itself waits and says what is wrong; nothing has moved then.
#[tokio::test]
async fn a_node_that_is_away_for_good_is_named_and_nothing_moves() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = begin(&tower).await;
    watch.until_detected(&mut tower).await;
    let before = watch.engine.cursor().clone();
    tower.world.step().unwrap();
    tower.chain().set_offline(true);
    let error = watch.follow().await.unwrap_err();
    assert!(matches!(&error, EngineError::Source(source) if source.is_transient()), "{error}");
    assert_eq!(*watch.engine.cursor(), before);
    tower.chain().set_offline(false);
    watch.follow().await.unwrap();
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "away and back").await;
}

/// Runtime code that writes one slot: it costs gas that an account without code does not.
const WRITER: [u8; 5] = hex!("6001600055");

#[tokio::test]
async fn a_block_that_cannot_be_reproduced_is_recorded_and_passed() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = begin(&tower).await;
    an_odd_block(&mut tower, &mut watch).await;
    let odd = tower.head();
    let noted = mismatches_of(&tower, &watch, odd).await;
    assert_eq!(watch.engine.cursor().head(), Some(odd), "it is not waited for");

    // What follows is reproduced again, and the attack is met as ever.
    watch.until_detected(&mut tower).await;
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "after a block that does not reproduce").await;
    assert_eq!(mismatches_of(&tower, &watch, odd).await, noted, "only that block is odd");
}

/// Whoever can make one transaction of a block irreproducible must not be able to hide another one behind it.
#[tokio::test]
async fn an_attack_in_a_block_that_cannot_be_reproduced_is_met_all_the_same() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = begin(&tower).await;
    for _ in 3..=WATCHED_QUIET_STEPS {
        tower.world.step().unwrap();
        watch.follow().await.unwrap();
    }
    an_odd_block(&mut tower, &mut watch).await;
    let odd = tower.head();
    mismatches_of(&tower, &watch, odd).await;
    assert!(watch.incident().findings.iter().all(|finding| finding.tx.block == odd));
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "in a block that does not reproduce").await;
}

/// Three steps of the scenario. In the last one somebody calls an account whose code came from nowhere: the chain runs
/// it, while the state that is carried from block to block still knows the account without code.
async fn an_odd_block(tower: &mut Tower, watch: &mut Watch) {
    let (someone, place) = (Address::repeat_byte(0x51), Address::repeat_byte(0x52));
    tower.chain().fund(someone, U256::from(10).pow(U256::from(20)));
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    tower.chain().submit_as(someone, Call::transfer(place, U256::from(1))).unwrap();
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    tower.chain().set_code(place, Bytes::from_static(&WRITER));
    tower.chain().submit_as(someone, Call::new(place, Bytes::new())).unwrap();
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
}

/// How many mismatches are recorded; all of them are in this block.
async fn mismatches_of(tower: &Tower, watch: &Watch, odd: BlockRef) -> usize {
    let mut records = watch.records(StreamId::chain(tower.chain_id())).await;
    let is_judging =
        |body: &Body| matches!(body, Body::Chain(ChainEvent::JudgedBy { .. } | ChainEvent::Weighed { .. }));
    records.retain(|record| !is_judging(&record.body));
    assert!(!records.is_empty(), "a mismatch is recorded");
    for record in &records {
        let Body::Chain(ChainEvent::ReplayMismatch { block, what }) = &record.body else {
            panic!("{record:?}")
        };
        assert_eq!(*block, odd);
        assert!(what.contains("gas used"), "{what}");
    }
    records.len()
}
