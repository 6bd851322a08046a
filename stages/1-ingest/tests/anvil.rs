//! A real node: anvil over http, websocket and its local socket.
//!
//! The binary is the one that npm installs at the root of the repository, or the one named in `ANVIL`. Where it is
//! missing the tests skip and say so.

#![cfg(test)]

use alloy_provider::Provider as _;
use cordon_ingest::sources::json_rpc::Config;
use cordon_ingest::{Advance, ChainSource as _, Connected, Endpoint, Pending, StartAt, Verdict, connect_all};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_model::units::ChainId;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const CHAIN: ChainId = ChainId(31_337);

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Anvil {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Anvil {
    /// Mines when it is told to.
    fn start() -> Option<Self> {
        let installed = "../../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
        let binary = std::env::var_os("ANVIL").map_or(installed, PathBuf::from);
        if !binary.exists() {
            assert!(std::env::var_os("CORDON_CI").is_none(), "anvil is missing in CI");
            eprintln!("SKIPPED: no anvil at {}, and none named in ANVIL", binary.display());
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("--ipc={}", directory.path().join("anvil.ipc").display());
        let mut child = Command::new(binary)
            .args(["--port", "0", "--no-mining", &socket])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("anvil says where it listens").unwrap();
            if let Some((_, port)) = line.split_once("Listening on 127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
        };
        // Keep reading, so that anvil never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port, directory })
    }

    fn endpoint(&self, scheme: &str) -> Endpoint {
        match scheme {
            "ipc" => Endpoint::new(self.directory.path().join("anvil.ipc").display().to_string()),
            scheme => Endpoint::new(format!("{scheme}://127.0.0.1:{}", self.port)),
        }
    }
}

async fn call(connected: &Connected, method: &'static str, params: Value) -> Value {
    connected.provider.raw_request(method.into(), params).await.unwrap()
}

/// A transfer, and a creation that fails, handed in by an account that anvil holds the key of.
async fn send_two(connected: &Connected) {
    let accounts = call(connected, "eth_accounts", json!([])).await;
    let transfer = json!({"from": accounts[0], "to": accounts[1], "value": "0x1", "gas": "0x5208"});
    let failing = json!({"from": accounts[0], "data": "0xfe", "gas": "0x186a0"});
    for transaction in [transfer, failing] {
        call(connected, "eth_sendTransaction", json!([transaction])).await;
    }
}

async fn next_block(connected: &mut Connected, cursor: &mut Cursor) -> Block {
    let waited = async {
        loop {
            match connected.source.advance(cursor).await.unwrap() {
                Advance::Update(ChainUpdate::Applied(block)) => {
                    cursor.push(block.block_ref());
                    return *block;
                }
                Advance::AtHead => connected.source.wait().await.unwrap(),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap()
}

async fn follow_over(anvil: &Anvil, schemes: &[&str]) {
    let endpoints: Vec<_> = schemes.iter().map(|scheme| anvil.endpoint(scheme)).collect();
    let config = Config { start: StartAt::Head, ..Config::new(CHAIN) };
    let mut connected = connect_all(&endpoints, &config).await.unwrap();
    let mut cursor = Cursor::new(CHAIN);
    let begun = next_block(&mut connected, &mut cursor).await;
    let feed = connected.source.pending();
    let pushes = schemes.iter().any(|scheme| *scheme != "http");
    assert_eq!(matches!(feed, Pending::Feed(_)), pushes, "{schemes:?}");
    if let Pending::Feed(feed) = &feed {
        while feed.counts().opened == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    send_two(&connected).await;
    let mut seen = Vec::new();
    if let Pending::Feed(mut feed) = feed {
        for _ in 0..2 {
            seen.push(tokio::time::timeout(PATIENCE, feed.next()).await.unwrap());
        }
    }
    call(&connected, "evm_mine", json!([])).await;
    let block = next_block(&mut connected, &mut cursor).await;
    assert_eq!((block.number, block.parent_hash), (begun.number + 1, begun.hash));
    let success: Vec<_> = block.outcomes.iter().map(|outcome| outcome.success).collect();
    assert_eq!(success, [Some(true), Some(false)], "{schemes:?}");
    assert_eq!(block.outcomes.iter().map(|outcome| outcome.gas_used).sum::<u64>(), block.gas_used);
    for (pending, mined) in seen.iter().zip(&block.transactions) {
        assert_eq!((pending.hash, pending.from, &pending.input), (mined.hash, mined.from, &mined.input));
    }
    let verdict = connected.quorum.check(block.number, block.hash).await;
    let agreed = match &verdict {
        Verdict::Single { answer } => vec![answer.clone()],
        Verdict::Agreed { answers } => answers.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(agreed.len(), schemes.len());
    assert!(
        agreed.iter().all(|answer| answer.client.as_deref().is_some_and(|client| client.contains("anvil")))
    );
    let finality = connected.source.finality().await.unwrap();
    assert!(finality.finalized.is_some_and(|block| block.number <= begun.number));
    let errors: u64 = connected.counters.snapshot().iter().map(|node| node.total().errors).sum();
    assert_eq!(errors, 0, "{:?}", connected.counters.snapshot());
}

#[tokio::test]
async fn anvil_is_followed_over_each_way_and_over_all_of_them() {
    let Some(anvil) = Anvil::start() else { return };
    for schemes in [&["http"][..], &["ws"], &["ipc"], &["http", "ipc", "ws"]] {
        follow_over(&anvil, schemes).await;
    }
}

#[tokio::test]
async fn anvil_is_caught_up_with() {
    let Some(anvil) = Anvil::start() else { return };
    let config = Config { start: StartAt::Block(1), end: Some(60), ..Config::new(CHAIN) };
    let endpoints = [anvil.endpoint("http"), anvil.endpoint("ipc")];
    let mut connected = connect_all(&endpoints, &config).await.unwrap();
    call(&connected, "anvil_mine", json!(["0x46"])).await;
    let mut cursor = Cursor::new(CHAIN);
    for number in 1..=60 {
        assert_eq!(next_block(&mut connected, &mut cursor).await.number, number);
    }
    assert!(matches!(connected.source.advance(&cursor).await.unwrap(), Advance::End));
    assert_eq!(connected.source.head().await.unwrap().map(|head| head.number), Some(70));
}
