//! From the moment a block can be had to the moment its findings are recorded, and to the moment a notice is received:
//! over HTTP, WebSocket and IPC at once, beside a subscriber that does nothing.
//!
//! In: environment variables, all optional: `LATENCY_BLOCKS` per node (60), `LATENCY_BLOCK_S` (1), `LATENCY_NODES` (1).
//! Out: per transport p50, p99 and the count, in microseconds. The clock starts when a subscriber without work, on a
//! socket of its own, is told of the head; so what is measured is Cordon, and not the node.
//!
//! Every block holds a theft: a contract that passes calls on to a token receives tokens and is emptied by the next
//! transaction. Run it with `cargo bench -p cordon --bench latency`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

mod stand;

use alloy_primitives::B256;
use serde_json::json;
use stand::figures::quantile;
use stand::node::Node;
use stand::setting;
use stand::subscriber::{Moments, heads};
use stand::watcher::Watcher;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// How long to wait for what the last theft leads to.
const LAST_NOTICES: Duration = Duration::from_secs(2);

/// Microseconds by transport and stage.
type Samples = BTreeMap<(&'static str, &'static str), Vec<u64>>;

fn main() {
    let (blocks, block_s) = (setting("LATENCY_BLOCKS", 60), setting("LATENCY_BLOCK_S", 1));
    let nodes = setting("LATENCY_NODES", 1);
    stand::run(async |binary| {
        // One after the other within a block's time, so that no two of them mine at the same moment.
        let late = |at: u64| Duration::from_millis(at * block_s * 1_000 / nodes);
        let runs = (0..nodes).map(|at| watched(&binary, late(at), (blocks, block_s)));
        let mut all = Samples::new();
        for samples in futures::future::join_all(runs).await {
            samples.into_iter().for_each(|(key, values)| all.entry(key).or_default().extend(values));
        }
        println!(
            "block time {block_s} s, {nodes} node(s), {blocks} blocks each; microseconds after a null subscriber"
        );
        for ((transport, stage), values) in all {
            let (p50, p99, n) = (quantile(&values, 500), quantile(&values, 990), values.len());
            println!("{transport:>4}  {stage:<9}  p50 {p50:>7}  p99 {p99:>7}  n {n}");
        }
    });
}

/// One node with a watcher over each transport, which begins to mine so much later.
async fn watched(binary: &Path, late: Duration, (blocks, block_s): (u64, u64)) -> Samples {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(binary, folder.path(), 31_337, &[]).await;
    let mut watchers = Vec::new();
    for (transport, rpc) in [
        ("http", format!("http://127.0.0.1:{}", node.anvil.port)),
        ("ws", format!("ws://127.0.0.1:{}", node.anvil.port)),
        ("ipc", node.socket.display().to_string()),
    ] {
        let noticed = Moments::default();
        let inbox = receiver(Arc::clone(&noticed)).await;
        let channel = format!(
            "[[channel]]\ntype = \"webhook\"\nname = \"inbox\"\nurl = \"{inbox}\"\nsecret_env = \"PATH\"\n"
        );
        let watcher = Watcher::start_over(&node, &rpc, "poll_interval_ms = 50", &channel).await;
        watchers.push((transport, watcher, noticed));
    }
    let heads = heads(&node.socket).await;
    tokio::time::sleep(late).await;
    node.anvil.rpc("evm_setIntervalMining", json!([block_s])).await;
    let thefts = node.thieve(blocks).await;
    tokio::time::sleep(LAST_NOTICES).await;
    let (heads, mut samples) = (heads.lock().unwrap(), Samples::new());
    for (transport, watcher, noticed) in &watchers {
        let (recorded, noticed) = (watcher.recorded(""), noticed.lock().unwrap());
        for (block, hash) in &thefts {
            let Some(head) = heads.get(block) else { continue };
            for (stage, at) in [("recorded", recorded.get(block)), ("notice", noticed.get(hash))] {
                let took = at.map(|at| at.saturating_duration_since(*head).as_micros());
                let took_us = took.map(|took| u64::try_from(took).unwrap());
                samples.entry((*transport, stage)).or_default().extend(took_us);
            }
        }
    }
    samples
}

/// A receiver of notices that accepts everything and notes which transactions it was told of.
async fn receiver(noticed: Moments<B256>) -> String {
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
