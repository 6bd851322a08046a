//! From the submission of a theft that waits in the pool to the line in which Cordon says so, over the node's socket,
//! beside a subscriber that does nothing.
//!
//! In: environment variables, all optional: `PENDING_THEFTS` of each kind (600), `PENDING_GAP_MS` between two (20). Out: p50,
//! p99 and the count of what the subscriber and Cordon took since the submission, of what Cordon took since the
//! subscriber was told, and the ratio of the p99s. Run it with `cargo bench -p cordon --bench pending`.
//!
//! The node mines nothing, and every theft has a sender of its own: Cordon looks at each on the state after the newest
//! block, so each must be valid there by itself. All of them empty the same contract. They were signed before and are
//! handed in over a third socket, so that neither the signing nor a full connection counts.
//!
//! Two kinds take turns. The senders of the warm ones were seen in a block, so that all state they need is known; of the
//! cold ones, account and balance must be asked of the node first, in one round trip.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

mod stand;

use alloy_primitives::{B256, Bytes, U256};
use alloy_provider::Provider;
use serde_json::json;
use stand::figures::{decimal, permille, quantile, verdict};
use stand::node::{Node, transfer};
use stand::watcher::Watcher;
use stand::{setting, subscriber};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most that Cordon's p99 may be over the subscriber's, in thousandths.
const RATIO_MAX_PERMILLE: u64 = 1_500;

/// How long to wait for what the last thefts lead to.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What is known of the senders.
const KINDS: [&str; 2] = ["warm", "cold"];

/// Transactions that wait in the pool before it is emptied, so that the node's own work does not grow.
const POOL_MAX: usize = 100;

/// When each theft was handed in.
type Submitted = BTreeMap<B256, Instant>;

fn main() {
    stand::run(async |binary| {
        let folder = tempfile::tempdir().unwrap();
        let accounts = (2 * setting("PENDING_THEFTS", 600) + 2).to_string();
        let node = Node::start(&binary, folder.path(), 31_337, &["--accounts", &accounts]).await;
        let watcher = Watcher::start(&[&node], "pending = true").await;
        let signed = prepare(&node).await;
        watcher.await_judged(node.chain_id, node.anvil.block_number().await).await;
        let told = subscriber::pending(&node.socket).await;
        let submitted = submit(&node, &signed).await;
        let (told, foreseen) = (told.lock().unwrap().clone(), foreseen(&watcher));
        for kind in KINDS {
            judge(kind, &submitted[kind], &told, &foreseen);
        }
    });
}

/// Fills the protected contract, shows every second account in a block, and lets the node sign a theft for each.
async fn prepare(node: &Node) -> Vec<(&'static str, Bytes)> {
    let amount = U256::from(10).pow(U256::from(21));
    node.anvil.ok(node.thief, Some(node.token), transfer(node.purse, amount)).await;
    let mut signed = Vec::new();
    for (index, account) in node.anvil.accounts().await.into_iter().skip(2).enumerate() {
        let kind = KINDS[index % KINDS.len()];
        let nonce = if kind == "warm" {
            node.anvil.ok(account, Some(node.token), transfer(account, U256::ZERO)).await;
            "0x1"
        } else {
            "0x0"
        };
        let theft = json!({ "from": account, "to": node.purse, "nonce": nonce, "gas": "0x30d40",
            "data": transfer(account, amount), "chainId": U256::from(node.chain_id),
            "maxFeePerGas": "0x2540be400", "maxPriorityFeePerGas": "0x3b9aca00" });
        let answer = node.anvil.rpc("eth_signTransaction", json!([theft])).await;
        signed.push((kind, serde_json::from_value(answer).unwrap()));
    }
    signed
}

/// Hands the thefts in one by one; when each was, by kind.
async fn submit(node: &Node, signed: &[(&'static str, Bytes)]) -> BTreeMap<&'static str, Submitted> {
    let provider = subscriber::connect(&node.socket).await;
    let gap = Duration::from_millis(setting("PENDING_GAP_MS", 20));
    let mut submitted = BTreeMap::<_, Submitted>::new();
    for part in signed.chunks(POOL_MAX) {
        for (kind, theft) in part {
            let hash = alloy_primitives::keccak256(theft);
            submitted.entry(*kind).or_default().insert(hash, Instant::now());
            provider.client().request::<_, B256>("eth_sendRawTransaction", (theft,)).await.unwrap();
            tokio::time::sleep(gap).await;
        }
        tokio::time::sleep(LAST_LINES).await;
        node.anvil.rpc("anvil_dropAllTransactions", json!([])).await;
    }
    submitted
}

/// When Cordon said of each transaction that it waits.
fn foreseen(watcher: &Watcher) -> BTreeMap<B256, Instant> {
    let mut foreseen = BTreeMap::new();
    watcher.each_line(|at, line| {
        let Some(rest) = line.strip_prefix("pending, on the state after block ") else { return };
        let hash = rest.split("transaction ").nth(1).and_then(|rest| rest.get(..66)?.parse().ok());
        if let Some(hash) = hash {
            foreseen.entry(hash).or_insert(at);
        }
    });
    foreseen
}

fn judge(
    kind: &str,
    submitted: &Submitted,
    told: &BTreeMap<B256, Instant>,
    foreseen: &BTreeMap<B256, Instant>,
) {
    let (mut null_us, mut cordon_us, mut after_us) = (Vec::new(), Vec::new(), Vec::new());
    let us = |from: &Instant, to: &Instant| {
        u64::try_from(to.saturating_duration_since(*from).as_micros()).unwrap()
    };
    for (hash, at) in submitted {
        let (Some(told), Some(said)) = (told.get(hash), foreseen.get(hash)) else { continue };
        null_us.push(us(at, told));
        cordon_us.push(us(at, said));
        after_us.push(us(told, said));
    }
    println!(
        "{kind}: {} submitted, {} told to the subscriber and foreseen",
        submitted.len(),
        cordon_us.len()
    );
    for (name, values) in [
        ("subscriber, since submission", &null_us),
        ("Cordon, since submission", &cordon_us),
        ("Cordon, since the subscriber was told", &after_us),
    ] {
        let (p50, p99) = (quantile(values, 500), quantile(values, 990));
        println!("{name:<38} p50 {p50:>7}  p99 {p99:>7} us  n {}", values.len());
    }
    let ratio = permille(quantile(&cordon_us, 990), quantile(&null_us, 990));
    let is_whole = cordon_us.len() == submitted.len();
    println!(
        "P7 {kind}: p99 of the decision over p99 of the subscriber: {} (p50: {}), goal <= {}, none missed: {}",
        decimal(ratio),
        decimal(permille(quantile(&cordon_us, 500), quantile(&null_us, 500))),
        decimal(RATIO_MAX_PERMILLE),
        verdict(ratio <= RATIO_MAX_PERMILLE && is_whole)
    );
}
