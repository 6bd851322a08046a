//! A node on a socket of this machine.

use super::config;
use crate::conformance::{TestChain, empty_cursor, follow, reorg};
use crate::fixture::SocketNode;
use crate::source::ChainSource as _;
use crate::sources::json_rpc::Config;
use crate::{JsonRpc, SourceError, StartAt, connect};
use serde_json::json;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

async fn node(chain: &TestChain) -> SocketNode {
    let chain = chain.clone();
    SocketNode::serve(move |request| chain.answer(request)).await
}

#[tokio::test]
async fn reorganisations_are_followed() {
    let chain = TestChain::filled(10);
    let node = node(&chain).await;
    for url in [node.path(), format!("ipc://{}", node.path())] {
        let chain_now = chain.clone();
        let (mut source, _) = JsonRpc::connect(&url, config(StartAt::Block(0))).await.unwrap();
        if url.starts_with("ipc") {
            follow(&mut source, &mut empty_cursor()).await.unwrap();
        } else {
            reorg(&mut source, &chain_now).await;
        }
    }
}

#[tokio::test]
async fn a_pushed_head_ends_the_wait_early() {
    let chain = TestChain::with_blocks(2);
    let node = node(&chain).await;
    let patient = Config { poll_interval_ms: NonZeroU64::new(60_000).unwrap(), ..config(StartAt::Head) };
    let (mut source, _) = JsonRpc::connect(&node.path(), patient).await.unwrap();
    let mut cursor = empty_cursor();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [1]);
    let pushed = async {
        loop {
            node.push(json!({}));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = pushed => {}
        outcome = tokio::time::timeout(Duration::from_secs(10), source.wait()) => outcome.unwrap().unwrap(),
    }
    chain.grow(1);
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [2]);
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let chain = TestChain::with_blocks(2);
    let node = node(&chain).await;
    let (mut source, _) = JsonRpc::connect(&node.path(), config(StartAt::Head)).await.unwrap();
    let mut cursor = empty_cursor();
    follow(&mut source, &mut cursor).await.unwrap();
    node.hang_up();
    chain.grow(2);
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [2, 3]);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let error = connect("ipc:///nowhere/node.ipc", NonZeroU64::new(500).unwrap()).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }) && error.is_transient());
    let text = error.to_string();
    assert!(text.starts_with("node ipc:///nowhere/node.ipc did not answer connect"), "{text}");
}

#[tokio::test]
async fn a_node_that_never_answers_runs_into_the_time_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.ipc");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let limit = Config { request_timeout_ms: NonZeroU64::new(50).unwrap(), ..config(StartAt::Head) };
    let begun = Instant::now();
    let error = JsonRpc::connect(&path.display().to_string(), limit).await.unwrap_err();
    assert!(error.to_string().ends_with("after 4 attempts: no answer within 50 ms"), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    drop(listener);
}
