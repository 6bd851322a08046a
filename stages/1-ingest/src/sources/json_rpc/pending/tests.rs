//! Mempools over a local socket: bodies, hashes, floods, lies and lost connections.

use super::*;
use crate::conformance::{CHAIN, TestChain, transaction, transaction_json};
use crate::fixture::{Fault, FaultyNode, SocketNode};
use crate::sources::json_rpc::{Config, JsonRpc};
use alloy_primitives::Bytes;
use serde_json::{Value, json};

fn body(number: u64) -> Value {
    transaction_json(&transaction(number, &Bytes::from_static(&[1])))
}

fn hash(number: u64) -> Value {
    json!(transaction(number, &Bytes::from_static(&[1])).tx_hash())
}

/// A node that also gives bodies by hash, for all transactions but the one with nonce 13.
async fn node() -> SocketNode {
    let chain = TestChain::with_blocks(2);
    SocketNode::serve(move |request| {
        if request["method"] == json!("eth_getTransactionByHash") {
            let known =
                (0..100).filter(|number| *number != 13).find(|number| hash(*number) == request["params"][0]);
            return json!({"jsonrpc": "2.0", "id": request["id"], "result": known.map(body)});
        }
        chain.answer(request)
    })
    .await
}

async fn feed(node: &SocketNode) -> (JsonRpc, PendingFeed) {
    let (source, _) = JsonRpc::connect(&node.path(), Config::new(CHAIN)).await.unwrap();
    let Pending::Feed(feed) = source.pending() else { panic!("a socket pushes") };
    until(|| feed.counts().opened > 0).await;
    (source, feed)
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
}

async fn next(feed: &mut PendingFeed) -> u64 {
    tokio::time::timeout(Duration::from_secs(20), feed.next()).await.unwrap().nonce
}

#[tokio::test]
async fn bodies_are_pushed_in_order() {
    let node = node().await;
    let (_source, mut feed) = feed(&node).await;
    (0..5).for_each(|number| node.push(body(number)));
    for number in 0..5 {
        assert_eq!(next(&mut feed).await, number);
    }
    assert_eq!(feed.counts(), PendingCounts { seen: 5, opened: 1, ..PendingCounts::default() });
}

#[tokio::test]
async fn hashes_are_looked_up() {
    let node = node().await;
    let (_source, mut feed) = feed(&node).await;
    (10..20).for_each(|number| node.push(hash(number)));
    for number in (10..20).filter(|number| *number != 13) {
        assert_eq!(next(&mut feed).await, number);
    }
    assert_eq!(feed.counts().gone, 1);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_left_out() {
    let node = node().await;
    let (_source, mut feed) = feed(&node).await;
    let mut forged = body(1);
    forged["value"] = json!("0x123");
    node.push(forged);
    node.push(json!({"hash": 5}));
    node.push(json!(7));
    node.push(body(2));
    assert_eq!(next(&mut feed).await, 2);
    assert_eq!(feed.counts().malformed, 3);
}

#[tokio::test]
async fn a_flood_keeps_the_newest_and_counts_what_is_dropped() {
    let node = node().await;
    let (_source, mut feed) = feed(&node).await;
    let (text, queue) = (body(1).to_string(), Arc::clone(&feed.queue));
    let raw = serde_json::value::RawValue::from_string(text).unwrap();
    let one = convert::pending(&raw, "test").unwrap();
    let many = u64::try_from(QUEUE_MAX).unwrap() + 100;
    (0..many).for_each(|nonce| queue.push(Transaction { nonce, ..one.clone() }));
    assert_eq!(next(&mut feed).await, 100, "the oldest hundred made room");
    assert_eq!(feed.counts().dropped, 100);
}

#[tokio::test]
async fn a_lost_feed_is_opened_again() {
    let node = node().await;
    let (_source, mut feed) = feed(&node).await;
    node.push(body(1));
    assert_eq!(next(&mut feed).await, 1);
    node.hang_up();
    // The subscription is made again a moment later; who pushes before that is not heard.
    let pushed = async {
        loop {
            node.push(body(2));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = pushed => {}
        nonce = next(&mut feed) => assert_eq!(nonce, 2),
    }
}

#[tokio::test]
async fn blocks_come_while_the_mempool_is_flooded() {
    use crate::source::{Advance, ChainSource as _};
    let node = node().await;
    let (mut source, mut feed) = feed(&node).await;
    (0..3_000).for_each(|number| node.push(body(number)));
    let advanced = source.advance(&crate::conformance::empty_cursor()).await.unwrap();
    assert!(matches!(advanced, Advance::Update(_)), "{advanced:?}");
    next(&mut feed).await;
}

#[tokio::test]
async fn over_http_there_is_no_feed() {
    let node = FaultyNode::serve(&TestChain::with_blocks(1), Fault::None).await;
    let (source, _) = JsonRpc::connect(&node.url(), Config::new(CHAIN)).await.unwrap();
    assert!(matches!(source.pending(), Pending::NotAvailable));
}
