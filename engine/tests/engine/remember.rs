//! One request fails while a restarted process executes the blocks of an open incident again.

use crate::node::{self, Node};
use crate::watchtower::{Grants, Tower};
use alloy_json_rpc::RequestPacket;
use alloy_transport::{TransportErrorKind, TransportFut};
use cordon_engine::{Engine, Event, News};
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource as _, JsonRpc};
use cordon_model::plan::Purpose;
use cordon_range::ChainTransport;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tower::Service as _;

const SEED: u64 = 41;

/// More requests than there are; the loop ends with the first that never comes.
const REQUESTS_MAX: i64 = 2_000;

/// Distance between two requests that are tried: a prime, so that every kind of request is met.
const REQUESTS_STRIDE: usize = 13;

/// A node of which one request fails.
#[derive(Debug, Clone)]
struct Hiccup {
    inner: ChainTransport,
    left: Arc<AtomicI64>,
}

impl Node for Hiccup {
    fn answer(&self, packet: RequestPacket) -> TransportFut<'static> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Box::pin(std::future::ready(Err(TransportErrorKind::custom_str("connection reset"))));
        }
        self.inner.clone().call(packet)
    }
}

/// The attack is detected and waits for a person, blocks go by, the process dies, one request of the next start fails,
/// and then the person allows the pause.
async fn restarted_with_a_hiccup_at(at: i64) -> bool {
    let mut tower = Tower::before_the_attack(SEED, Grants::ObserveOnly);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    tower.chain().mine_many(2);
    watch.follow().await.unwrap();
    let plan = *watch.incident().plans.first_key_value().unwrap().0;
    drop(watch);
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let line = Hiccup { inner: tower.chain().transport(), left: Arc::clone(&left) };
    let (provider, log) = (node::provider(line), tower.open_log().await);
    let silent = Box::new(|_: News<'_>| {});
    let mut engine = Engine::open(&tower.config, provider.clone(), log, silent).await.unwrap();
    left.store(at, Ordering::SeqCst);
    cordon_engine::watch::restore(&tower.config, &mut engine, provider.clone()).await.unwrap();
    let failed = left.swap(i64::MAX, Ordering::SeqCst) <= 0;
    let (person, why) = ("on call".to_owned(), "the strike is real".to_owned());
    engine.handle(Event::Approve { person, why, plan }).await.unwrap();
    tower.chain().mine();
    let mut source = JsonRpc::from_provider(provider, json_rpc::Config::new(tower.chain_id()));
    while let Advance::Update(update) = source.advance(engine.cursor()).await.unwrap() {
        engine.handle(Event::Chain(update)).await.unwrap();
    }
    engine.retry().await.unwrap();
    let contained = engine.incidents().all(|incident| incident.has_completed(Purpose::Contain));
    assert!(contained && !engine.is_unfinished(), "request {at} failed, and this process never contains it");
    failed
}

#[tokio::test]
async fn a_request_that_fails_at_the_start_does_not_cost_the_whole_life() {
    let mut failures = 0;
    for at in (1..REQUESTS_MAX).step_by(REQUESTS_STRIDE) {
        if !restarted_with_a_hiccup_at(at).await {
            break;
        }
        failures += 1;
    }
    assert!(failures > 5, "a request failed {failures} times");
}
