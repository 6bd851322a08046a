//! From the moment a block can be had to the moment its findings are recorded, and to the moment a notice is received:
//! over HTTP, WebSocket and IPC at once, beside a subscriber that does nothing.
//!
//! In: environment variables, all optional: `LATENCY_BLOCKS` per node (60), `LATENCY_BLOCK_S` (1), `LATENCY_NODES` (1). Out:
//! per transport p50, p99 and the count, in microseconds. The clock starts when a subscriber without work, on a socket of
//! its own, is told of the head; so what is measured is Cordon, and not the node.
//!
//! Every block holds a theft: a contract that passes calls on to a token receives tokens and is emptied by the next
//! transaction. Run it with `cargo bench -p cordon --bench latency`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

#[path = "../tests/node/anvil.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod anvil;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::{Provider, ProviderBuilder};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use anvil::{Anvil, root};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

sol! {
    interface Token {
        constructor(string name, string symbol, address admin);
        function mint(address to, uint256 amount);
        function transfer(address to, uint256 amount);
    }
}

const TRANSPORTS: [&str; 3] = ["http", "ws", "ipc"];

/// When things happened, by block number.
type Moments = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// What one transport saw.
#[derive(Clone, Default)]
struct Seen {
    /// First line that the engine printed for a block: its findings are in the log.
    recorded: Moments,
    /// First notice received that names a transaction of the block.
    noticed: Arc<Mutex<BTreeMap<B256, Instant>>>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(binary) = anvil::binary() else { return };
    let (blocks, block_s) = (setting("LATENCY_BLOCKS", 60), setting("LATENCY_BLOCK_S", 1));
    let nodes = setting("LATENCY_NODES", 1);
    let samples = runtime.block_on(async {
        let runs = (0..nodes).map(|_| tokio::spawn(node(binary.clone(), blocks, block_s)));
        futures::future::join_all(runs).await
    });
    let mut sums: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
    for sample in samples.into_iter().flat_map(Result::unwrap) {
        sums.entry((sample.transport, sample.stage)).or_default().push(sample.took_us);
    }
    println!(
        "block time {block_s} s, {nodes} node(s), {blocks} blocks each; microseconds after a null subscriber"
    );
    for ((transport, stage), mut values) in sums {
        values.sort_unstable();
        let at = |permille: usize| values[(values.len() - 1) * permille / 1_000];
        let (p50, p99, n) = (at(500), at(990), values.len());
        println!("{:>4}  {stage:<9}  p50 {p50:>7}  p99 {p99:>7}  n {n}", TRANSPORTS[transport]);
    }
}

/// One measured interval.
struct Sample {
    transport: usize,
    stage: &'static str,
    took_us: u64,
}

/// One node with three watchers.
async fn node(binary: std::path::PathBuf, blocks: u64, block_s: u64) -> Vec<Sample> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("anvil.ipc");
    let node = Anvil::start_with(&binary, &["--ipc", socket.to_str().unwrap()]);
    let accounts = node.accounts().await;
    let (thief, token, purse) = market(&node, &accounts).await;
    let urls = [
        format!("http://127.0.0.1:{}", node.port),
        format!("ws://127.0.0.1:{}", node.port),
        socket.to_str().unwrap().to_owned(),
    ];
    let seen: [Seen; 3] = Default::default();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut watchers = Vec::new();
    for (index, (url, seen)) in urls.iter().zip(&seen).enumerate() {
        let place = folder.path().join(format!("watch-{index}"));
        std::fs::create_dir(&place).unwrap();
        let inbox = receiver(Arc::clone(&seen.noticed)).await;
        let text = config(url, token, purse, &inbox);
        let configs = vec![cordon_engine::Config::parse(&text, "bench", &place).unwrap()];
        let (recorded, stopped) = (Arc::clone(&seen.recorded), stopped.clone());
        let say = Box::new(move |line: String| note(&recorded, &line));
        watchers.push(tokio::spawn(async move { cordon_engine::watch::watch(&configs, say, stopped).await }));
    }
    let heads = subscriber(&socket).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    node.rpc("evm_setIntervalMining", json!([block_s])).await;
    let thefts = rob(&node, (thief, token, purse), blocks).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    for watcher in watchers {
        watcher.await.unwrap().unwrap();
    }
    let heads = heads.lock().unwrap().clone();
    seen.iter().enumerate().flat_map(|(transport, seen)| samples(transport, seen, &heads, &thefts)).collect()
}

fn samples(
    transport: usize,
    seen: &Seen,
    heads: &BTreeMap<u64, Instant>,
    thefts: &BTreeMap<u64, B256>,
) -> Vec<Sample> {
    let (recorded, noticed) = (seen.recorded.lock().unwrap(), seen.noticed.lock().unwrap());
    let mut samples = Vec::new();
    for (block, hash) in thefts {
        let Some(head) = heads.get(block) else { continue };
        let mut add = |stage, at: Option<&Instant>| {
            let took = at.map(|at| at.saturating_duration_since(*head).as_micros());
            let took = took.and_then(|took| u64::try_from(took).ok());
            samples.extend(took.map(|took_us| Sample { transport, stage, took_us }));
        };
        add("recorded", recorded.get(block));
        add("notice", noticed.get(hash));
    }
    samples
}

/// Hands in a theft for every block; returns the transactions by block.
async fn rob(
    node: &Anvil,
    (thief, token, purse): (Address, Address, Address),
    blocks: u64,
) -> BTreeMap<u64, B256> {
    let amount = U256::from(10).pow(U256::from(21));
    let transfer = |to| Bytes::from(Token::transferCall { to, amount }.abi_encode());
    let (mut hashes, mut newest) = (Vec::new(), node.block_number().await);
    for _ in 0..blocks {
        node.send(thief, Some(token), transfer(purse)).await;
        hashes.push(node.send(thief, Some(purse), transfer(thief)).await);
        while node.block_number().await == newest {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        newest = node.block_number().await;
    }
    let mut thefts = BTreeMap::new();
    for hash in hashes {
        let receipt = node.receipt(hash).await;
        let number: U256 = serde_json::from_value(receipt["blockNumber"].clone()).unwrap();
        assert_eq!(receipt["status"], "0x1");
        thefts.insert(number.to::<u64>(), hash);
    }
    thefts
}

/// A token, and a contract that passes every call on to it.
async fn market(node: &Anvil, accounts: &[Address]) -> (Address, Address, Address) {
    let (admin, thief) = (accounts[0], accounts[1]);
    let path = root().join("contracts/artifacts/DrillToken.json");
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let code = alloy_primitives::hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap();
    let arguments =
        Token::constructorCall { name: "dollar".into(), symbol: "dUSD".into(), admin }.abi_encode();
    let token = node.deploy(admin, [code, arguments].concat()).await;
    let mint = Token::mintCall { to: thief, amount: U256::from(10).pow(U256::from(24)) };
    node.ok(admin, Some(token), mint.abi_encode()).await;
    let mut runtime = vec![0x36, 0x3d, 0x3d, 0x37, 0x3d, 0x3d, 0x36, 0x3d, 0x3d, 0x73];
    runtime.extend_from_slice(token.as_slice());
    runtime.extend_from_slice(&[0x5a, 0xf1, 0x00]);
    let mut init = vec![0x60, u8::try_from(runtime.len()).unwrap(), 0x80, 0x60, 0x09, 0x3d, 0x39, 0x3d, 0xf3];
    init.extend(runtime);
    let purse = node.deploy(admin, init).await;
    (thief, token, purse)
}

fn config(url: &str, token: Address, purse: Address, inbox: &str) -> String {
    format!(
        "[chain]\nid = 31337\nrpc = \"{url}\"\nhardfork = \"osaka\"\npoll_interval_ms = 50\n\
         [[protocol]]\nid = \"purse\"\ncontracts = [{{ address = \"{purse}\", name = \"Purse\" }}]\n\
         [[protocol.asset]]\ntoken = \"{token}\"\nsymbol = \"dUSD\"\ndecimals = 18\nprice = \"1\"\n\
         [[detector]]\ntype = \"value-loss\"\n\
         [[channel]]\ntype = \"webhook\"\nname = \"inbox\"\nurl = \"{inbox}\"\nsecret_env = \"PATH\"\n"
    )
}

/// The first line about a block.
fn note(recorded: &Moments, line: &str) {
    let Some(rest) = line.strip_prefix("block ") else { return };
    let number = rest.split(' ').next().and_then(|digits| digits.parse().ok());
    if let Some(number) = number {
        recorded.lock().unwrap().entry(number).or_insert_with(Instant::now);
    }
}

/// When a subscriber that does nothing else is told of each head.
async fn subscriber(socket: &Path) -> Moments {
    let provider = ProviderBuilder::new().connect_ipc(socket.to_path_buf().into()).await.unwrap();
    let heads = Moments::default();
    let told = Arc::clone(&heads);
    tokio::spawn(async move {
        let mut stream = provider.subscribe_blocks().await.unwrap().into_stream();
        while let Some(header) = stream.next().await {
            told.lock().unwrap().insert(header.number, Instant::now());
        }
    });
    heads
}

/// A receiver of notices that accepts everything and notes which transactions it was told of.
async fn receiver(noticed: Arc<Mutex<BTreeMap<B256, Instant>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noticed = Arc::clone(&noticed);
            tokio::spawn(async move {
                let (mut text, mut buffer) = (Vec::new(), [0u8; 8_192]);
                while let Ok(read) = stream.read(&mut buffer).await {
                    if read == 0 {
                        return;
                    }
                    text.extend_from_slice(&buffer[..read]);
                    if text.ends_with(b"}") {
                        let at = Instant::now();
                        hashes(&String::from_utf8_lossy(&text)).into_iter().for_each(|hash| {
                            noticed.lock().unwrap().entry(hash).or_insert(at);
                        });
                        text.clear();
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
                    }
                }
            });
        }
    });
    url
}

/// The transactions that a notice names.
fn hashes(text: &str) -> Vec<B256> {
    let named = text.split("transaction 0x").skip(1);
    named.filter_map(|rest| rest.get(..64)?.parse().ok()).collect()
}
