//! A node played over HTTP and websocket: what goes right, and each way in which nodes go wrong.

mod catching_up;
mod receipts;
mod sockets;

use super::*;
use crate::conformance::{CHAIN, Followed, TestChain, empty_cursor, follow, reorg};
use alloy_primitives::B256;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn config(start: StartAt) -> Config {
    let (poll, limit) = (NonZeroU64::new(20).unwrap(), NonZeroU64::new(2_000).unwrap());
    Config { start, poll_interval_ms: poll, request_timeout_ms: limit, ..Config::new(CHAIN) }
}

async fn serve(answer: impl Fn(Value) -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let respond = move |request: &Request| answer(serde_json::from_slice(&request.body).unwrap());
    Mock::given(any()).respond_with(respond).mount(&server).await;
    server
}

async fn node(chain: &TestChain) -> MockServer {
    let chain = chain.clone();
    serve(move |request| ResponseTemplate::new(200).set_body_json(chain.answer(&request))).await
}

async fn source(server: &MockServer, start: StartAt) -> JsonRpc {
    JsonRpc::connect(&server.uri(), config(start)).await.unwrap().0
}

#[tokio::test]
async fn reorganisations_are_followed() {
    let chain = TestChain::with_blocks(10);
    let server = node(&chain).await;
    reorg(&mut source(&server, StartAt::Block(0)).await, &chain).await;
}

#[tokio::test]
async fn a_provider_of_the_caller_is_followed_too() {
    let chain = TestChain::with_blocks(10);
    let server = node(&chain).await;
    let (_, provider) = JsonRpc::connect(&server.uri(), config(StartAt::Head)).await.unwrap();
    reorg(&mut JsonRpc::from_provider(provider, config(StartAt::Block(0))), &chain).await;
}

#[tokio::test]
async fn an_empty_cursor_begins_at_the_head_and_survives_a_reorganisation_of_it() {
    let chain = TestChain::with_blocks(10);
    let server = node(&chain).await;
    let (mut source, mut cursor) = (source(&server, StartAt::Head).await, empty_cursor());
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [9]);
    chain.reorganise(1, 3);
    let followed = follow(&mut source, &mut cursor).await.unwrap();
    assert_eq!((followed.reverted, followed.applied), (vec![9], vec![9, 10, 11]));
}

#[tokio::test]
async fn a_start_in_the_future_is_waited_for() {
    let chain = TestChain::with_blocks(3);
    let server = node(&chain).await;
    let (mut source, mut cursor) = (source(&server, StartAt::Block(4)).await, empty_cursor());
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap(), Followed::default());
    chain.grow(3);
    source.wait().await.unwrap();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [4, 5]);
}

#[tokio::test]
async fn a_node_far_behind_is_no_reorganisation() {
    let chain = TestChain::with_blocks(5);
    let server = node(&chain).await;
    let mut cursor = empty_cursor();
    cursor.push(BlockRef { number: 100, hash: B256::repeat_byte(1) });
    let error = follow(&mut source(&server, StartAt::Head).await, &mut cursor).await.unwrap_err();
    assert!(error.to_string().ends_with("ends at block 4, far below the judged block 100"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn nodes_that_disagree_behind_one_url_are_named() {
    let chain = TestChain::with_blocks(5);
    let lagging = chain.clone();
    // One node names the newest block, another one has not got it yet.
    let server = serve(move |request| {
        let mut answer = lagging.answer(&request);
        if request["params"][0] == json!("0x4") {
            answer["result"] = Value::Null;
        }
        ResponseTemplate::new(200).set_body_json(answer)
    })
    .await;
    let mut cursor = empty_cursor();
    cursor.push(chain.block_ref(3));
    let error = follow(&mut source(&server, StartAt::Head).await, &mut cursor).await.unwrap_err();
    assert!(matches!(error, SourceError::BlockNotFound { number: 4, newest: 4, .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn another_chain_is_refused_without_showing_the_key() {
    let server = node(&TestChain::with_blocks(1)).await;
    let url = format!("{}/v3/0123456789abcdef?token=tok99", server.uri().replace("://", "://ann:s3cret@"));
    let error = JsonRpc::connect(&url, Config::new(ChainId(1))).await.unwrap_err();
    assert_eq!(error.to_string(), format!("node {} serves chain 31337, expected chain 1", server.uri()));
    let other = Cursor::new(ChainId(1));
    let error = source(&server, StartAt::Head).await.advance(&other).await.unwrap_err();
    assert_eq!(error.to_string(), "the cursor is of chain 1, this source follows chain 31337");
}

#[tokio::test]
async fn an_unreachable_node_is_named_without_its_key() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    for scheme in ["http", "ws"] {
        let url = format!("{scheme}://ann:s3cret@{address}/v3/0123456789abcdef?token=tok99");
        let error = JsonRpc::connect(&url, config(StartAt::Head)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("node {scheme}://{address} did not answer")), "{text}");
        assert!(text.to_lowercase().contains("connection refused"), "{text}");
        for secret in ["ann", "s3cret", "0123456789abcdef", "tok99"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn unusable_urls_are_refused() {
    for url in ["", "node.example", "ftp://node.example", "file:///etc/passwd", "ipc://geth.ipc"] {
        let error = JsonRpc::connect(url, config(StartAt::Head)).await.unwrap_err();
        assert!(matches!(error, SourceError::Url { .. }), "{url}: {error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_node_that_never_answers_runs_into_the_time_limit() {
    let server = serve(|_| ResponseTemplate::new(200).set_delay(Duration::from_secs(60))).await;
    let limit = NonZeroU64::new(30).unwrap();
    let config = Config { request_timeout_ms: limit, ..config(StartAt::Head) };
    let error = JsonRpc::connect(&server.uri(), config).await.unwrap_err();
    assert!(error.to_string().ends_with("after 4 attempts: no answer within 30 ms"), "{error}");
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let chain = TestChain::with_blocks(2);
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let server = serve(move |request| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => ResponseTemplate::new(429).set_body_string("slow down"),
        1 => ResponseTemplate::new(200).set_body_json(json!({
            "jsonrpc": "2.0", "id": request["id"], "error": {"code": -32005, "message": "limit exceeded"}
        })),
        _ => ResponseTemplate::new(200).set_body_json(chain.answer(&request)),
    })
    .await;
    let begun = Instant::now();
    source(&server, StartAt::Head).await;
    assert_eq!(refusals.load(Ordering::SeqCst), 3);
    assert!(begun.elapsed() >= Duration::from_millis(250 + 500), "pauses double: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_rate_limit_without_end_is_reported_after_a_bound() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = serve(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ResponseTemplate::new(429)
    })
    .await;
    let error = JsonRpc::connect(&server.uri(), config(StartAt::Head)).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { attempts: 4, .. }), "{error}");
    assert!(error.to_string().contains("429"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_pause_of_minutes_is_not_sat_out() {
    let server = serve(|_| ResponseTemplate::new(429).insert_header("Retry-After", "600")).await;
    let error = JsonRpc::connect(&server.uri(), config(StartAt::Head)).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { attempts: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = serve(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ResponseTemplate::new(401).set_body_string("no such key")
    })
    .await;
    let error = JsonRpc::connect(&server.uri(), config(StartAt::Head)).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("401"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

async fn error_of_changed_block(change: impl Fn(&mut Value) + Send + Sync + 'static) -> SourceError {
    let chain = TestChain::with_blocks(3);
    let server = serve(move |request| {
        let mut answer = chain.answer(&request);
        if answer["result"].is_object() {
            change(&mut answer["result"]);
        }
        ResponseTemplate::new(200).set_body_json(answer)
    })
    .await;
    source(&server, StartAt::Block(1)).await.advance(&empty_cursor()).await.unwrap_err()
}

#[tokio::test]
async fn a_block_that_is_not_what_it_states_is_refused() {
    let error = error_of_changed_block(|block| block["timestamp"] = json!("0x1")).await;
    assert!(matches!(error, SourceError::HashMismatch { number: 1, .. }), "{error}");
    let error = error_of_changed_block(|block| block["hash"] = json!(B256::repeat_byte(7))).await;
    assert!(error.to_string().contains(&format!("states the hash {}", B256::repeat_byte(7))), "{error}");
    let error = error_of_changed_block(|block| block["transactionsRoot"] = json!(B256::repeat_byte(7))).await;
    assert!(matches!(error, SourceError::TransactionsMismatch { number: 1, .. }), "{error}");
    let error = error_of_changed_block(|block| block["transactions"] = json!([B256::repeat_byte(7)])).await;
    assert!(error.to_string().contains("transaction 0"), "{error}");
    let error = error_of_changed_block(|block| block["gasLimit"] = json!("lots")).await;
    assert!(error.to_string().contains("at 'gasLimit'"), "{error}");
    let error = error_of_changed_block(|block| *block = json!([1])).await;
    assert!(matches!(error, SourceError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn another_block_than_the_one_asked_for_is_refused() {
    let chain = TestChain::with_blocks(3);
    let server = serve(move |mut request| {
        if request["method"] == json!("eth_getBlockByNumber") {
            request["params"][0] = json!("0x2");
        }
        ResponseTemplate::new(200).set_body_json(chain.answer(&request))
    })
    .await;
    let error = source(&server, StartAt::Block(1)).await.advance(&empty_cursor()).await.unwrap_err();
    assert!(matches!(error, SourceError::WrongBlock { expected: 1, found: 2, .. }), "{error}");
}

/// What [`ws_node`] reads as the order to hang up.
const HANG_UP: u32 = u32::MAX;

/// A websocket node: answers requests, pushes one head for each change of `heads`, and hangs up when told so.
async fn ws_node(chain: TestChain, heads: watch::Receiver<u32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let mut heads = heads.clone();
            heads.mark_unchanged();
            loop {
                let reply = tokio::select! {
                    message = socket.next() => match message {
                        Some(Ok(Message::Text(text))) => chain.answer(&serde_json::from_str(&text).unwrap()),
                        Some(Ok(_)) => continue,
                        _ => break,
                    },
                    change = heads.changed() => match change {
                        Ok(()) if *heads.borrow_and_update() == HANG_UP => break,
                        Ok(()) => json!({"jsonrpc": "2.0", "method": "eth_subscription",
                            "params": {"subscription": "0x1", "result": {}}}),
                        Err(_) => break,
                    },
                };
                if socket.send(Message::text(reply.to_string())).await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_pushed_head_ends_the_wait_early() {
    let chain = TestChain::with_blocks(2);
    let (push, heads) = watch::channel(0);
    let url = ws_node(chain.clone(), heads).await;
    let patient = Config { poll_interval_ms: NonZeroU64::new(60_000).unwrap(), ..config(StartAt::Head) };
    let (mut source, _) = JsonRpc::connect(&url, patient).await.unwrap();
    let mut cursor = empty_cursor();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [1]);
    let pushed = async {
        // The subscription is made inside the wait, so a single push could come before it.
        loop {
            push.send_modify(|count| *count += 1);
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
async fn without_a_push_the_websocket_is_polled() {
    let chain = TestChain::with_blocks(2);
    let (push, heads) = watch::channel(0);
    let url = ws_node(chain.clone(), heads).await;
    let (mut source, _) = JsonRpc::connect(&url, config(StartAt::Head)).await.unwrap();
    let mut cursor = empty_cursor();
    follow(&mut source, &mut cursor).await.unwrap();
    source.wait().await.unwrap();
    chain.grow(2);
    source.wait().await.unwrap();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [2, 3]);
    drop(push);
}

#[tokio::test]
async fn a_lost_connection_costs_hints_and_no_blocks() {
    let chain = TestChain::with_blocks(2);
    let (push, heads) = watch::channel(0);
    let url = ws_node(chain.clone(), heads).await;
    let (mut source, _) = JsonRpc::connect(&url, config(StartAt::Head)).await.unwrap();
    let mut cursor = empty_cursor();
    follow(&mut source, &mut cursor).await.unwrap();
    source.wait().await.unwrap();
    push.send_replace(HANG_UP);
    chain.grow(3);
    source.wait().await.unwrap();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [2, 3, 4]);
    chain.grow(1);
    source.wait().await.unwrap();
    assert_eq!(follow(&mut source, &mut cursor).await.unwrap().applied, [5]);
}
