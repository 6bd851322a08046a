//! The node observer against a real anvil; what anvil does not offer is played over HTTP in the shape of the op-node.
//!
//! The tests that need anvil skip, and say so, where it is not installed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first thing that is not as expected, and says what it skips"
)]

use alloy_primitives::{Address, I256, U256, address, hex, keccak256};
use alloy_provider::{DynProvider, Provider as _};
use cordon_ingest::{NodeObserver, NodeObserverConfig, connect};
use cordon_model::network::observation::{FeedSight, Observation, RollupSync};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const LIMIT_MS: NonZeroU64 = NonZeroU64::new(5_000).expect("five thousand is not zero");
const FEED: Address = address!("00000000000000000000000000000000000000fe");

/// A running anvil, killed with its test.
struct Anvil {
    child: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Anvil {
    fn start() -> Option<Self> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let binary = std::env::var_os("ANVIL").map_or(installed, PathBuf::from);
        if !binary.exists() {
            assert!(std::env::var_os("CORDON_CI").is_none(), "anvil is missing in CI");
            eprintln!("SKIPPED: no anvil at {}", binary.display());
            return None;
        }
        let mut command = Command::new(binary);
        command.args(["--port", "0", "--no-mining"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("anvil says where it listens").unwrap();
            if let Some((_, address)) = line.split_once("Listening on ") {
                break address.trim().to_owned();
            }
        };
        // Keep reading, so that anvil never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: format!("http://{address}") })
    }
}

async fn rpc(provider: &DynProvider, method: &'static str, params: Value) -> Value {
    provider.raw_request(method.into(), params).await.unwrap()
}

fn config() -> NodeObserverConfig {
    NodeObserverConfig {
        node: "test node".to_owned(),
        request_timeout: Duration::from_millis(LIMIT_MS.get()),
        txpool: true,
        rollup: None,
        feeds: Vec::new(),
    }
}

async fn look(observer: &mut NodeObserver, at_s: u64) -> Observation {
    let mut seen = Observation { at_s, ..Observation::default() };
    observer.observe(&mut seen).await;
    seen
}

/// Code of a contract that answers each function with words of its storage: `(function, first slot, words)`.
fn answering(functions: &[(&str, u8, u8)]) -> String {
    // PUSH1 0 CALLDATALOAD PUSH1 224 SHR
    let mut code = hex!("60003560e01c").to_vec();
    let body_length = |words: u8| 1 + 7 * usize::from(words) + 5;
    let mut target = code.len() + 11 * functions.len() + 5;
    for (function, _, words) in functions {
        // DUP1 PUSH4 selector EQ PUSH2 target JUMPI
        code.extend([0x80, 0x63]);
        code.extend(&keccak256(function)[..4]);
        code.extend([0x14, 0x61]);
        code.extend(u16::try_from(target).unwrap().to_be_bytes());
        code.push(0x57);
        target += body_length(*words);
    }
    // PUSH1 0 PUSH1 0 REVERT
    code.extend(hex!("60006000fd"));
    for (_, first, words) in functions {
        code.push(0x5b);
        for word in 0..*words {
            // PUSH1 slot SLOAD PUSH2 offset MSTORE
            code.extend([0x60, first + word, 0x54, 0x61, 0x00, 32 * word, 0x52]);
        }
        // PUSH1 length PUSH1 0 RETURN
        code.extend([0x60, 32 * words, 0x60, 0x00, 0xf3]);
    }
    hex::encode_prefixed(code)
}

async fn store(provider: &DynProvider, contract: Address, words: &[(u8, U256)]) {
    for (slot, word) in words {
        let slot = format!("{:#066x}", U256::from(*slot));
        rpc(provider, "anvil_setStorageAt", json!([contract, slot, format!("{word:#066x}")])).await;
    }
    // Calls see the newest block.
    rpc(provider, "evm_mine", json!([])).await;
}

#[tokio::test]
async fn heads_tags_and_the_mempool_of_a_real_node_are_read() {
    let Some(anvil) = Anvil::start() else { return };
    let provider = connect(&anvil.url, LIMIT_MS).await.unwrap();
    rpc(&provider, "anvil_mine", json!(["0x64"])).await;
    let accounts: Vec<Address> =
        serde_json::from_value(rpc(&provider, "eth_accounts", json!([])).await).unwrap();
    for _ in 0..3 {
        let transfer = json!([{ "from": accounts[0], "to": accounts[1], "value": "0x1" }]);
        rpc(&provider, "eth_sendTransaction", transfer).await;
    }
    let seen = look(&mut NodeObserver::new(provider.clone(), config()), 7).await;
    let head = seen.head.unwrap();
    let block = rpc(&provider, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!((head.block.number, json!(head.block.hash)), (100, block["hash"].clone()));
    assert_eq!(json!(format!("{:#x}", head.timestamp_s)), block["timestamp"]);
    assert_eq!(json!(format!("{:#x}", head.base_fee_wei.unwrap())), block["baseFeePerGas"]);
    // Anvil plays slots of one block, 32 to the epoch.
    assert_eq!((seen.safe.unwrap().number, seen.finalized.unwrap().number), (68, 36));
    assert_eq!((seen.txpool_pending, seen.rollup, seen.at_s), (Some(3), None, 7));
    let without = NodeObserverConfig { txpool: false, ..config() };
    assert_eq!(look(&mut NodeObserver::new(provider, without), 7).await.txpool_pending, None);
}

#[tokio::test]
async fn feeds_are_read_through_their_proxies_with_the_bounds_of_the_aggregator() {
    let Some(anvil) = Anvil::start() else { return };
    let provider = connect(&anvil.url, LIMIT_MS).await.unwrap();
    let aggregator = address!("00000000000000000000000000000000000000a9");
    let bare = address!("00000000000000000000000000000000000000fb");
    let (round, target) = (("latestRoundData()", 0, 5), ("aggregator()", 5, 1));
    let bounds = [("minAnswer()", 6, 1), ("maxAnswer()", 7, 1)];
    rpc(&provider, "anvil_setCode", json!([FEED, answering(&[round, target])])).await;
    rpc(&provider, "anvil_setCode", json!([aggregator, answering(&bounds)])).await;
    rpc(&provider, "anvil_setCode", json!([bare, answering(&[round])])).await;
    let number = |value: i64| I256::try_from(value).unwrap();
    let answer = number(-5);
    let word = |address: Address| U256::from_be_bytes(address.into_word().0);
    let updated = U256::from(1_700_000_000u64);
    store(&provider, FEED, &[(1, answer.into_raw()), (3, updated), (5, word(aggregator))]).await;
    store(&provider, aggregator, &[(6, number(-10).into_raw()), (7, U256::from(1_000))]).await;
    store(&provider, bare, &[(1, U256::from(9)), (3, updated)]).await;

    let nobody = address!("00000000000000000000000000000000000000ee");
    let config = NodeObserverConfig { feeds: vec![FEED, bare, nobody], ..config() };
    let mut observer = NodeObserver::new(provider.clone(), config);
    let sight = |feed, answer, min: Option<i64>, max: Option<i64>| FeedSight {
        feed,
        updated_at_s: 1_700_000_000,
        answer,
        min: min.map(number),
        max: max.map(number),
    };
    let bounded = sight(FEED, answer, Some(-10), Some(1_000));
    let unbounded = sight(bare, number(9), None, None);
    assert_eq!(look(&mut observer, 0).await.feeds, [bounded, unbounded], "no contract, no answer");

    // Bounds are believed for an hour.
    store(&provider, aggregator, &[(6, U256::ZERO)]).await;
    assert_eq!(look(&mut observer, 3_599).await.feeds[0].min, Some(number(-10)));
    assert_eq!(look(&mut observer, 3_600).await.feeds[0].min, Some(I256::ZERO));
    // A time that does not fit is no answer; the rest of the look is untouched.
    store(&provider, FEED, &[(3, U256::MAX)]).await;
    let seen = look(&mut observer, 3_601).await;
    assert_eq!((seen.feeds.len(), seen.head.is_some()), (1, true));
}

#[tokio::test]
async fn what_a_node_does_not_offer_is_absent_and_left_alone() {
    let Some(anvil) = Anvil::start() else { return };
    let provider = connect(&anvil.url, LIMIT_MS).await.unwrap();
    let config = NodeObserverConfig { rollup: Some(provider.clone()), ..config() };
    let mut observer = NodeObserver::new(provider, config);
    let seen = look(&mut observer, 0).await;
    assert_eq!((seen.rollup, seen.txpool_pending, seen.head.is_some()), (None, Some(0), true));
    assert!(format!("{observer:?}").contains("Err(NotOffered)"), "{observer:?}");
}

#[tokio::test]
async fn a_node_that_hangs_or_lies_costs_one_time_limit_and_says_nothing() {
    let server = MockServer::start().await;
    let respond = |request: &Request| {
        let request: Value = serde_json::from_slice(&request.body).unwrap();
        let result = match (request["method"].as_str().unwrap(), &request["params"][0]) {
            ("eth_chainId", _) => json!("0x1"),
            ("eth_getBlockByNumber", tag) if tag == "safe" => Value::Null,
            ("eth_getBlockByNumber", tag) if tag == "latest" => json!({ "number": "many" }),
            ("txpool_status", _) => json!({ "pending": -1 }),
            _ => return ResponseTemplate::new(200).set_delay(Duration::from_secs(60)),
        };
        ResponseTemplate::new(200)
            .set_body_json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    let provider = connect(&server.uri(), LIMIT_MS).await.unwrap();
    let config =
        NodeObserverConfig { request_timeout: Duration::from_millis(300), feeds: vec![FEED], ..config() };
    let begun = Instant::now();
    let seen = look(&mut NodeObserver::new(provider, config), 5).await;
    assert_eq!(seen, Observation { at_s: 5, ..Observation::default() });
    assert!(begun.elapsed() < Duration::from_secs(30), "far from the minute that the node takes");
}

/// Of a local op-node, numbers as it writes them.
fn sync_status() -> Value {
    let at = |number: u64| {
        let hash = keccak256(number.to_be_bytes());
        json!({ "hash": hash, "number": number, "parentHash": hash, "timestamp": 1_700_000_000u64 + number,
            "l1origin": { "hash": hash, "number": 1 }, "sequenceNumber": 0 })
    };
    let l1 = json!({ "hash": keccak256("l1"), "number": 9, "parentHash": keccak256("l0"), "timestamp": 1 });
    json!({ "current_l1": l1, "current_l1_finalized": l1, "head_l1": l1, "safe_l1": l1, "finalized_l1": l1,
        "unsafe_l2": at(1_000), "safe_l2": at(900), "finalized_l2": at(400), "queued_unsafe_l2": at(0) })
}

#[tokio::test]
async fn a_rollup_node_tells_its_heads() {
    let server = MockServer::start().await;
    let respond = |request: &Request| {
        let request: Value = serde_json::from_slice(&request.body).unwrap();
        let mut answer = json!({ "jsonrpc": "2.0", "id": request["id"] });
        match request["method"].as_str().unwrap() {
            "eth_chainId" => answer["result"] = json!("0xa"),
            "optimism_syncStatus" => answer["result"] = sync_status(),
            _ => answer["error"] = json!({ "code": -32601, "message": "no such method" }),
        }
        ResponseTemplate::new(200).set_body_json(answer)
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    let provider = connect(&server.uri(), LIMIT_MS).await.unwrap();
    let config = NodeObserverConfig { rollup: Some(provider.clone()), ..config() };
    let seen = look(&mut NodeObserver::new(provider, config), 0).await;
    let sync = RollupSync { unsafe_number: 1_000, safe_number: 900, finalized_number: 400 };
    assert_eq!((seen.rollup, seen.head), (Some(sync), None));
}
