//! Pools of nodes of which one or more go wrong: nothing may be lost, repeated or taken out of order.

use super::*;
use crate::conformance::{CHAIN, TestChain, empty_cursor, follow, reorg, reorg_within};
use crate::fixture::{Fault, FaultyNode, SocketNode};
use crate::source::ChainSource as _;
use crate::sources::json_rpc::{Config, StartAt};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_rpc_client::BatchRequest;
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const LIMIT_MS: u64 = 1_000;

fn config() -> Config {
    let (poll, limit) = (NonZeroU64::new(20).unwrap(), NonZeroU64::new(LIMIT_MS).unwrap());
    let start = StartAt::Block(0);
    Config { start, poll_interval_ms: poll, request_timeout_ms: limit, ..Config::new(CHAIN) }
}

fn named(name: &str, url: String) -> Endpoint {
    Endpoint { name: Some(name.to_owned()), ..Endpoint::new(url) }
}

async fn pool(nodes: &[&FaultyNode]) -> Connected {
    let named = |(index, node): (usize, &&FaultyNode)| named(&format!("node {index}"), node.url());
    let endpoints: Vec<_> = nodes.iter().enumerate().map(named).collect();
    connect_all(&endpoints, &config()).await.unwrap()
}

async fn healthy(chain: &TestChain) -> FaultyNode {
    FaultyNode::serve(chain, Fault::None).await
}

/// Follows a chain through every kind of reorganisation, with one node of two going wrong from the beginning.
async fn followed_beside(fault: Fault) -> Connected {
    let chain = TestChain::filled(10);
    let (bad, good) = (healthy(&chain).await, healthy(&chain).await);
    let mut connected = pool(&[&bad, &good]).await;
    bad.set(fault);
    reorg(&mut connected.source, &chain).await;
    connected
}

fn totals(connected: &Connected) -> Vec<MethodCounts> {
    connected.counters.snapshot().iter().map(NodeCounts::total).collect()
}

#[tokio::test]
async fn one_node_alone_is_followed() {
    let chain = TestChain::filled(10);
    let node = healthy(&chain).await;
    let mut connected = pool(&[&node]).await;
    reorg(&mut connected.source, &chain).await;
    assert_eq!(connected.counters.snapshot()[0].total().errors, 0);
}

#[tokio::test]
async fn two_sound_nodes_are_followed_as_one() {
    let connected = followed_beside(Fault::None).await;
    assert!(connected.counters.snapshot().iter().all(|node| node.wrong_answers == 0));
}

#[tokio::test]
async fn a_node_that_is_down_is_passed_over() {
    let connected = followed_beside(Fault::Status(503, None)).await;
    let totals = totals(&connected);
    assert!(totals[0].errors > 0 && totals[1].retries > 0, "{totals:?}");
    assert!(totals[1].requests > totals[0].requests, "the better node does the work: {totals:?}");
}

#[tokio::test]
async fn a_node_that_hangs_is_hedged_and_then_passed_over() {
    let connected = followed_beside(Fault::Slow(Duration::from_secs(60))).await;
    let totals = totals(&connected);
    assert!(totals[1].hedges > 0, "{totals:?}");
}

#[tokio::test]
async fn a_node_that_limits_is_left_alone_as_it_asks() {
    let connected = followed_beside(Fault::Status(429, Some("60"))).await;
    let totals = totals(&connected);
    assert!(totals[0].errors <= 3, "it asked for a minute: {totals:?}");
    let connected = followed_beside(Fault::Error(-32_005, "limit exceeded")).await;
    assert!(connected.counters.snapshot()[1].total().retries > 0);
}

#[tokio::test]
async fn a_node_that_lies_is_found_out() {
    let connected = followed_beside(Fault::Lies).await;
    let snapshot = connected.counters.snapshot();
    assert!(snapshot[0].wrong_answers > 0 && snapshot[1].wrong_answers == 0, "{snapshot:?}");
}

#[tokio::test]
async fn a_node_that_cuts_its_answers_short_is_passed_over() {
    let connected = followed_beside(Fault::Truncated).await;
    assert!(totals(&connected)[1].retries > 0);
}

#[tokio::test]
async fn a_node_that_lags_is_no_reorganisation() {
    let chain = TestChain::filled(10);
    let (bad, good) = (FaultyNode::serve(&chain, Fault::Lags(3)).await, healthy(&chain).await);
    let mut connected = pool(&[&bad, &good]).await;
    reorg_within(&mut connected.source, &chain, Duration::from_secs(20)).await;
    // The other way round: all was judged, and then only the node that lags is left.
    let mut cursor = empty_cursor();
    follow(&mut connected.source, &mut cursor).await.unwrap();
    good.set(Fault::Status(503, None));
    let followed = follow(&mut connected.source, &mut cursor).await.unwrap();
    assert_eq!(followed, crate::conformance::Followed::default(), "a prefix reverts nothing");
}

#[tokio::test]
async fn receipts_come_from_the_node_that_has_them() {
    let connected = followed_beside(Fault::Without("eth_getBlockReceipts")).await;
    let snapshot = connected.counters.snapshot();
    let asked =
        |index: usize| snapshot[index].methods.get("eth_getBlockReceipts").copied().unwrap_or_default();
    // Once is enough to know, but for those that are under way together.
    assert!(asked(0).requests < asked(1).requests, "{:?}, {:?}", asked(0), asked(1));
}

#[tokio::test]
async fn when_all_fail_the_error_says_why_and_shows_no_key() {
    let chain = TestChain::with_blocks(3);
    let (one, two) = (healthy(&chain).await, healthy(&chain).await);
    let url = |node: &FaultyNode| format!("{}/v3/S3CRETS3CRET", node.url());
    let endpoints = [Endpoint::new(url(&one)), Endpoint::new(url(&two))];
    let mut connected = connect_all(&endpoints, &config()).await.unwrap();
    one.set(Fault::Status(503, None));
    two.set(Fault::Status(503, None));
    let error = connected.source.advance(&empty_cursor()).await.unwrap_err();
    assert!(error.is_transient());
    let text = format!("{error} {error:?} {connected:?} {endpoints:?}");
    assert!(text.contains("503"), "{text}");
    assert!(!text.contains("S3CRET"), "{text}");
    // Nodes repeat keys in their own words.
    one.set(Fault::Error(-32_000, "no such key S3CRETS3CRET"));
    two.set(Fault::Error(-32_000, "no such key S3CRETS3CRET"));
    let error = connected.source.advance(&empty_cursor()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("no such key") && !text.contains("S3CRET"), "{text}");
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused_by_name() {
    let (right, wrong) = (TestChain::with_blocks(1), TestChain::with_blocks(1));
    let right = healthy(&right).await;
    let wrong = FaultyNode::serve_with(Fault::None, move |request| {
        let mut answer = wrong.answer(request);
        answer["result"] = json!("0x1");
        answer
    })
    .await;
    let endpoints = [named("ours", right.url()), named("theirs", wrong.url())];
    let error = connect_all(&endpoints, &config()).await.unwrap_err();
    assert_eq!(error.to_string(), "node theirs serves chain 1, expected chain 31337");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn one_node_under_two_names_is_refused() {
    let node = healthy(&TestChain::with_blocks(1)).await;
    let endpoints = [named("a", node.url()), named("b", node.url())];
    let error = connect_all(&endpoints, &config()).await.unwrap_err();
    assert!(error.to_string().contains("the url of a is given twice"), "{error}");
    assert!(connect_all(&[], &config()).await.is_err());
}

#[tokio::test]
async fn a_node_that_is_away_at_the_start_takes_part_once_it_is_there() {
    let chain = TestChain::filled(5);
    let here = healthy(&chain).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.ipc").display().to_string();
    let endpoints = [Endpoint::new(path), Endpoint::new(here.url())];
    let mut connected = connect_all(&endpoints, &config()).await.unwrap();
    let mut cursor = empty_cursor();
    assert_eq!(follow(&mut connected.source, &mut cursor).await.unwrap().applied.len(), 5);
    let served = chain.clone();
    let _back = SocketNode::serve_in(directory, move |request| served.answer(request));
    until(|| connected.counters.snapshot()[0].methods.contains_key("eth_blockNumber")).await;
    here.set(Fault::Status(503, None));
    chain.grow(2);
    assert_eq!(follow(&mut connected.source, &mut cursor).await.unwrap().applied, [5, 6]);
}

#[tokio::test]
async fn without_any_node_there_is_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| Endpoint::new(directory.path().join(name).display().to_string());
    let error = connect_all(&[path("a.ipc"), path("b.ipc")], &config()).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
}

/// A node that says its chain and answers everything else with a payload.
async fn saying(payload: Value) -> FaultyNode {
    let chain = TestChain::with_blocks(1);
    FaultyNode::serve_with(Fault::None, move |request| {
        let mut answer = chain_answer(&chain, request).unwrap_or_else(|| payload.clone());
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = request["id"].clone();
        answer
    })
    .await
}

fn chain_answer(chain: &TestChain, request: &Value) -> Option<Value> {
    let known = ["eth_chainId", "eth_blockNumber"].iter().any(|method| request["method"] == json!(method));
    known.then(|| chain.answer(request))
}

async fn read(connected: &Connected) -> Result<Value, String> {
    let params = (B256::ZERO, "0x0", B256::repeat_byte(1));
    connected
        .provider
        .raw_request::<_, Value>("eth_getStorageAt".into(), params)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn state_that_one_node_lacks_is_read_at_another() {
    for words in ["header not found", "missing trie node 12 (path )", "unknown block"] {
        let lacking = saying(json!({"error": {"code": -32_000, "message": words}})).await;
        let having = saying(json!({"result": "0x2a"})).await;
        let connected = pool(&[&lacking, &having]).await;
        assert_eq!(read(&connected).await, Ok(json!("0x2a")), "{words}");
        let connected = pool(&[&lacking]).await;
        assert!(read(&connected).await.unwrap_err().contains(words), "alone it says so itself");
    }
}

#[tokio::test]
async fn a_failed_execution_is_an_answer_and_not_asked_again() {
    let reverting = saying(json!({"error": {"code": 3, "message": "execution reverted"}})).await;
    let other = saying(json!({"result": "0x2a"})).await;
    let connected = pool(&[&reverting, &other]).await;
    assert!(read(&connected).await.unwrap_err().contains("execution reverted"));
    assert_eq!(other.asked("eth_getStorageAt"), 0);
}

#[tokio::test]
async fn batches_stay_batches_and_keep_their_ids() {
    let chain = TestChain::filled(4);
    let (down, node) = (healthy(&chain).await, healthy(&chain).await);
    let connected = pool(&[&down, &node]).await;
    down.set(Fault::Status(503, None));
    let before = node.requests();
    let mut batch = BatchRequest::new(connected.provider.client());
    let number = batch.add_call::<_, String>("eth_blockNumber", &()).unwrap();
    let block = batch.add_call::<_, Value>("eth_getBlockByNumber", &("0x2", false)).unwrap();
    let chain_id = batch.add_call::<_, String>("eth_chainId", &()).unwrap();
    batch.send().await.unwrap();
    assert_eq!(number.await.unwrap(), "0x3");
    assert_eq!(block.await.unwrap()["hash"], json!(chain.block_ref(2).hash));
    assert_eq!(chain_id.await.unwrap(), "0x7a69");
    let others = node.asked("eth_blockNumber") + node.asked("eth_chainId");
    assert!(
        node.requests() - before <= 1 + others,
        "one packet for three requests, and the looks at the head"
    );
    assert_eq!(node.asked("eth_getBlockByNumber"), 1);
}

const RAW: &[u8] = &[1, 2, 3];

async fn send(connected: &Connected) -> Result<B256, String> {
    connected
        .provider
        .raw_request::<_, B256>("eth_sendRawTransaction".into(), (Bytes::from_static(RAW),))
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_transaction_goes_to_every_node_and_one_acceptance_is_enough() {
    let accepting = saying(json!({"result": keccak256(RAW)})).await;
    let refusing = saying(json!({"error": {"code": -32_000, "message": "insufficient funds"}})).await;
    let down = saying(Value::Null).await;
    let connected = pool(&[&refusing, &down, &accepting]).await;
    down.set(Fault::Status(503, None));
    assert_eq!(send(&connected).await, Ok(keccak256(RAW)));
    let sent = "eth_sendRawTransaction";
    until(|| [&accepting, &refusing, &down].iter().all(|node| node.asked(sent) == 1)).await;
    accepting.set(Fault::Error(-32_000, "already known"));
    assert_eq!(send(&connected).await, Ok(keccak256(RAW)), "it is in the pool");
    accepting.set(Fault::Status(503, None));
    assert!(
        send(&connected).await.unwrap_err().contains("insufficient funds"),
        "an answer says more than none"
    );
}

#[tokio::test]
async fn what_changes_something_is_asked_once() {
    let chain = TestChain::with_blocks(1);
    let (one, two) = (healthy(&chain).await, healthy(&chain).await);
    let connected = pool(&[&one, &two]).await;
    one.set(Fault::Status(503, None));
    two.set(Fault::Status(503, None));
    let sent = connected.provider.raw_request::<_, Value>("eth_sendTransaction".into(), (json!({}),)).await;
    assert!(sent.is_err());
    assert_eq!(one.asked("eth_sendTransaction") + two.asked("eth_sendTransaction"), 1);
}

#[tokio::test]
async fn a_slow_node_is_hedged_and_the_load_is_bounded() {
    let nodes = [saying(json!({"result": "0x0"})).await, saying(json!({"result": "0x1"})).await];
    let connected = pool(&[&nodes[0], &nodes[1]]).await;
    let first = usize::from(read(&connected).await == Ok(json!("0x1")));
    let other = Ok(json!(format!("{:#x}", 1 - first)));
    nodes[first].set(Fault::Slow(Duration::from_millis(900)));
    assert_eq!(read(&connected).await, other);
    let hedges = connected.counters.snapshot()[1 - first].methods["eth_getStorageAt"].hedges;
    assert_eq!(hedges, 1);
    let asked = nodes[first].asked("eth_getStorageAt");
    for _ in 0..20 {
        assert_eq!(read(&connected).await, other);
    }
    let again = nodes[first].asked("eth_getStorageAt") - asked;
    assert!(again <= 4, "its slowness is known now: asked {again} times more");
}

#[tokio::test]
async fn a_budget_is_shaped_and_not_exceeded() {
    let node = saying(json!({"result": "0x1"})).await;
    let max_requests_per_s = NonZeroU32::new(10);
    let endpoint = Endpoint { max_requests_per_s, ..Endpoint::new(node.url()) };
    let connected = connect_all(&[endpoint], &config()).await.unwrap();
    let begun = Instant::now();
    for _ in 0..15 {
        read(&connected).await.unwrap();
    }
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_millis(400), "ten at once, five more at ten a second: {elapsed:?}");
    let results = futures::future::join_all((0..40).map(|_| read(&connected))).await;
    let refused = results.iter().filter(|result| result.is_err()).count();
    assert!(refused > 0 && refused < 40, "what would wait beyond the time limit is an error: {refused}");
}

#[tokio::test]
async fn a_budget_that_is_used_up_leads_to_the_next_node() {
    let (small, large) = (saying(json!({"result": "0x1"})).await, saying(json!({"result": "0x2"})).await);
    let max_requests_per_s = NonZeroU32::new(4);
    let endpoints =
        [Endpoint { max_requests_per_s, ..Endpoint::new(small.url()) }, Endpoint::new(large.url())];
    let connected = connect_all(&endpoints, &config()).await.unwrap();
    for _ in 0..20 {
        read(&connected).await.unwrap();
    }
    assert!(small.asked("eth_getStorageAt") <= 4 && large.asked("eth_getStorageAt") >= 16);
}

#[tokio::test]
async fn nodes_that_agree_lag_or_lie_are_told_apart() {
    let chain = TestChain::filled(10);
    let (one, two, three) = (healthy(&chain).await, healthy(&chain).await, healthy(&chain).await);
    let connected = pool(&[&one, &two, &three]).await;
    let block = chain.block_ref(8);
    let check = || connected.quorum.check(block.number, block.hash);
    assert_eq!((connected.quorum.size(), connected.quorum.needed()), (3, 2));
    let Verdict::Agreed { answers } = check().await else { panic!("all agree") };
    assert!(answers.iter().all(|answer| answer.hash == Some(block.hash) && answer.receipts_root.is_some()));
    assert_eq!(answers[2].provider, "node 2");
    assert_eq!(answers[2].client.as_deref(), Some("Fixture/1.0"));
    check().await;
    assert_eq!(one.asked("web3_clientVersion"), 1);

    three.set(Fault::Lags(2));
    let Verdict::Agreed { answers } = check().await else { panic!("two of three agree") };
    assert_eq!(answers[2].hash, None);
    two.set(Fault::Slow(Duration::from_secs(60)));
    assert_eq!(check().await, Verdict::TooFew { answered: 1, needed: 2 });
    two.set(Fault::None);
    three.set(Fault::Lies);
    let Verdict::Split { answers } = check().await else { panic!("one lies") };
    assert!(answers[2].hash.is_some_and(|hash| hash != block.hash));
    three.set(Fault::None);
    let other = connected.quorum.check(block.number, B256::repeat_byte(1)).await;
    assert!(matches!(other, Verdict::Split { .. }), "all have another block than the one that was judged");
    let strict = connected.quorum.clone().with_needed(4.try_into().unwrap());
    assert_eq!(strict.check(block.number, block.hash).await, Verdict::TooFew { answered: 3, needed: 4 });
}

#[tokio::test]
async fn a_quorum_of_one_is_said_to_be_one() {
    let chain = TestChain::with_blocks(3);
    let node = healthy(&chain).await;
    let connected = pool(&[&node]).await;
    let block = chain.block_ref(1);
    assert!(matches!(connected.quorum.check(block.number, block.hash).await, Verdict::Single { .. }));
}

/// A node on a socket that counts its subscriptions.
async fn pushing(chain: &TestChain, subscriptions: &Arc<AtomicUsize>) -> SocketNode {
    let (chain, counted) = (chain.clone(), Arc::clone(subscriptions));
    SocketNode::serve(move |request| {
        if request["method"] == json!("eth_subscribe") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        chain.answer(request)
    })
    .await
}

#[tokio::test]
async fn when_the_pushing_node_is_lost_the_next_one_pushes() {
    let chain = TestChain::with_blocks(3);
    let (first, second) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (one, two) = (pushing(&chain, &first).await, pushing(&chain, &second).await);
    let endpoints = [Endpoint::new(one.path()), Endpoint::new(two.path())];
    let mut connected = connect_all(&endpoints, &config()).await.unwrap();
    let mut cursor = empty_cursor();
    follow(&mut connected.source, &mut cursor).await.unwrap();
    connected.source.wait().await.unwrap();
    let counts = || [first.load(Ordering::SeqCst), second.load(Ordering::SeqCst)];
    let begun = counts();
    assert_eq!(begun.iter().sum::<usize>(), 1, "one node pushes: {begun:?}");
    // Its socket is gone, so it cannot be connected again.
    if begun[0] == 1 {
        one.vanish()
    } else {
        two.vanish()
    }
    chain.grow(2);
    while counts() != [1, 1] {
        follow(&mut connected.source, &mut cursor).await.unwrap();
        connected.source.wait().await.unwrap();
    }
    assert_eq!(cursor.recent, chain.refs());
}

#[tokio::test]
async fn a_pool_over_sockets_is_followed() {
    let chain = TestChain::filled(10);
    let served = [chain.clone(), chain.clone()];
    let [one, two] = served.map(|chain| SocketNode::serve(move |request| chain.answer(request)));
    let (one, two) = (one.await, two.await);
    let endpoints = [Endpoint::new(one.path()), Endpoint::new(two.path())];
    let mut connected = connect_all(&endpoints, &config()).await.unwrap();
    reorg(&mut connected.source, &chain).await;
}

#[tokio::test]
async fn what_is_written_about_nodes_is_read() {
    let text = r#"{"url":"https://node.example/KEY","name":"ours","max_requests_per_s":25}"#;
    let endpoint: Endpoint = serde_json::from_str(text).unwrap();
    assert_eq!(endpoint.max_requests_per_s, NonZeroU32::new(25));
    assert!(serde_json::from_str::<Endpoint>(r#"{"url":"a","max_requests_per_s":0}"#).is_err());
    assert!(serde_json::from_str::<Endpoint>(r#"{"url":"a","requests":1}"#).is_err());
}
