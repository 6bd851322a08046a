//! Providers that were taken away from a connection: nodes that hang, and everything that could print a url.

use crate::error::SourceError;
use crate::sources::json_rpc::node::Node;
use crate::{JsonRpc, connect};
use alloy_provider::{DynProvider, Provider as _};
use alloy_rpc_client::BatchRequest;
use alloy_transport::TransportError;
use cordon_model::units::ChainId;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const LIMIT_MS: NonZeroU64 = NonZeroU64::new(200).unwrap();
const SECRETS: [&str; 4] = ["SECRET", "SECRET2", "us3r", "pw"];

/// The url of an address with a key in each place where nodes take one.
fn url(scheme: &str, address: &str) -> String {
    format!("{scheme}://us3r:pw@{address}/v3/SECRET?key=SECRET2")
}

/// A node over http that says its chain id and answers everything else as given.
async fn http(other: ResponseTemplate) -> (MockServer, String) {
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        let request: Value = serde_json::from_slice(&request.body).unwrap();
        match request["method"] == json!("eth_chainId") {
            true => ResponseTemplate::new(200)
                .set_body_json(json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x7a69"})),
            false => other.clone(),
        }
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    let url = url("http", &server.address().to_string());
    (server, url)
}

/// A websocket node that says its chain id; any other request it leaves unanswered, or hangs up and is gone.
async fn ws(hangs_up: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url("ws", &listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let request: Value = serde_json::from_str(&text).unwrap();
            if request["method"] == json!("eth_chainId") {
                let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x7a69"});
                socket.send(Message::text(answer.to_string())).await.unwrap();
            } else if hangs_up {
                return;
            }
        }
    });
    url
}

async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn assert_clean(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(" {next} {next:?}"));
        cause = next.source();
    }
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    text
}

/// One error each of a plain call, a raw one and a batch.
async fn errors(provider: &DynProvider) -> [TransportError; 3] {
    let raw = provider.raw_request::<_, Value>("eth_gasPrice".into(), ()).await.unwrap_err();
    let mut batch = BatchRequest::new(provider.client());
    let one = batch.add_call::<_, Value>("eth_blockNumber", &()).unwrap();
    let two = batch.add_call::<_, Value>("eth_gasPrice", &()).unwrap();
    let sent = batch.send().await;
    let (one, two) = (one.await, two.await);
    assert!(one.is_err() && two.is_err());
    [provider.get_block_number().await.unwrap_err(), raw, sent.unwrap_err()]
}

#[tokio::test]
async fn a_request_without_an_answer_ends_at_the_time_limit() {
    let (_server, http) = http(ResponseTemplate::new(200).set_delay(Duration::from_secs(60))).await;
    for url in [http, ws(false).await] {
        let mut config = crate::sources::json_rpc::Config::new(ChainId(31_337));
        config.request_timeout_ms = LIMIT_MS;
        let (_, provider) = JsonRpc::connect(&url, config).await.unwrap();
        let begun = Instant::now();
        let error = provider.get_block_number().await.unwrap_err();
        let taken = begun.elapsed();
        assert!(taken >= Duration::from_millis(200) && taken < Duration::from_secs(5), "{taken:?}");
        assert!(error.is_transport_error(), "{error:?}");
        assert!(error.to_string().ends_with(": no answer within 200 ms"), "{error}");
        for error in errors(&provider).await {
            assert!(assert_clean(&error).contains("no answer within 200 ms"), "{error}");
        }
    }
}

#[tokio::test]
async fn whatever_a_node_says_or_repeats_no_error_holds_a_key() {
    let echo = "Cannot POST /v3/SECRET?key=SECRET2 (http://us3r:pw@node.example/v3/SECRET?key=SECRET2)";
    let answers = [
        ("HTTP error 500", ResponseTemplate::new(500).set_body_string(echo)),
        ("HTTP error 404", ResponseTemplate::new(404).set_body_string("no key SECRET, SECRET2")),
        (
            "HTTP error 429",
            ResponseTemplate::new(429).append_header("retry-after", "1").set_body_string(echo),
        ),
        ("deserialization error", ResponseTemplate::new(200).set_body_string(echo)),
        ("deserialization error", ResponseTemplate::new(200).set_body_string(format!("\"{echo}\""))),
    ];
    for (expected, answer) in answers {
        let (_server, url) = http(answer).await;
        let provider = connect(&url, LIMIT_MS).await.unwrap();
        for error in errors(&provider).await {
            let text = assert_clean(&error);
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_named_by_host_and_cause() {
    let address = free_address().await;
    let node = Node::connect(&url("http", &address), Duration::from_secs(5)).await.unwrap();
    for error in errors(node.provider()).await {
        let text = assert_clean(&error);
        assert!(text.contains(&format!("node http://{address}: Connection refused")), "{text}");
    }
    // Through a redirect the url of the error is another one than the configured one.
    let elsewhere = url("http", &free_address().await);
    let redirect = ResponseTemplate::new(307).append_header("location", elsewhere.as_str());
    let (_server, url) = http(redirect).await;
    for error in errors(&connect(&url, LIMIT_MS).await.unwrap()).await {
        assert_clean(&error);
    }
}

#[tokio::test]
async fn a_websocket_that_is_lost_says_nothing_of_its_url() {
    let provider = connect(&ws(true).await, LIMIT_MS).await.unwrap();
    for error in errors(&provider).await {
        assert_clean(&error);
    }
}

#[tokio::test]
async fn a_websocket_still_pushes_through_the_guard() {
    let provider = connect(&ws(false).await, LIMIT_MS).await.unwrap();
    assert!(provider.client().pubsub_frontend().is_some());
    let error = provider.subscribe::<_, Value>(("newHeads",)).await.unwrap_err();
    assert!(assert_clean(&error).contains("no answer within 200 ms"), "{error}");
}

#[tokio::test]
async fn error_responses_stay_as_they_are() {
    let server = MockServer::start().await;
    let respond = |request: &Request| {
        let request: Value = serde_json::from_slice(&request.body).unwrap();
        let error = json!({"code": 3, "message": "execution reverted", "data": "0xd93c0665"});
        ResponseTemplate::new(200)
            .set_body_json(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}))
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    let node = Node::connect(&server.uri(), Duration::from_secs(5)).await.unwrap();
    let error = node.provider().get_block_number().await.unwrap_err();
    let payload = error.as_error_resp().unwrap();
    assert_eq!((payload.code, payload.message.as_ref()), (3, "execution reverted"));
    assert_eq!(payload.as_revert_data().unwrap().to_vec(), [0xd9, 0x3c, 0x06, 0x65]);
}

#[tokio::test]
async fn connecting_finds_an_unreachable_node_and_an_unusable_url() {
    for scheme in ["http", "ws"] {
        let address = free_address().await;
        let error = connect(&url(scheme, &address), LIMIT_MS).await.unwrap_err();
        let text = assert_clean(&error);
        assert!(matches!(error, SourceError::Unreachable { .. }), "{text}");
        assert!(text.contains(&format!("{scheme}://{address}")), "{text}");
        assert!(text.to_lowercase().contains("connection refused"), "{text}");
    }
    for url in ["", "us3r:pw", "ftp://us3r:pw@node.example/SECRET", "http://us3r:pw@:80/SECRET"] {
        let error = connect(url, LIMIT_MS).await.unwrap_err();
        assert!(matches!(error, SourceError::Url { .. }), "{error}");
        assert_clean(&error);
    }
    let (_server, page) = http(ResponseTemplate::new(200)).await;
    assert_eq!(connect(&page, LIMIT_MS).await.unwrap().get_chain_id().await.unwrap(), 31_337);
}

#[tokio::test]
async fn an_answer_to_another_request_is_refused() {
    let foreign = json!({"jsonrpc": "2.0", "id": 4_711, "result": "0x5"});
    let (_server, url) = http(ResponseTemplate::new(200).set_body_json(foreign)).await;
    let provider = connect(&url, LIMIT_MS).await.unwrap();
    let error = provider.get_block_number().await.unwrap_err();
    assert!(assert_clean(&error).contains("the answer carries the id of another request"), "{error}");
    // Whoever could not read the request cannot repeat its id; the reason is worth more than the formality.
    let unread = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "parse error"}});
    let (_server, url) = http(ResponseTemplate::new(200).set_body_json(unread)).await;
    let provider = connect(&url, LIMIT_MS).await.unwrap();
    let error = provider.get_block_number().await.unwrap_err();
    assert_eq!(error.as_error_resp().map(|payload| payload.code), Some(-32_700), "{error}");
}
