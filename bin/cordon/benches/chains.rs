//! One process over many chains: what it costs beside one process per chain, and whether a chain that floods delays one
//! that does not.
//!
//! In: environment variables, all optional: `CHAINS` (8), `CHAINS_ROUNDS` (11), `CHAINS_BLOCKS` per chain and round (40),
//! `CHAINS_TRANSACTIONS` per block (5), `CHAINS_SEGMENTS` of each kind (4), `CHAINS_SEGMENT_BLOCKS` (15),
//! `CHAINS_FLOOD_TRANSACTIONS` per block of the flood (100), `CHAINS_PART` (`cost` or `delay`; both where unset). Out: a
//! line per figure. Run it with `cargo bench -p cordon --bench chains`.
//!
//! Cost: one process watches all nodes, and at the same time one process per node watches the very same blocks. The ratio
//! of processor time is taken per round of blocks and its median told; memory is read at the end. Both begin after a
//! first round, so that the start, which one process does once and eight do eight times, does not count.
//!
//! Delay: a node with a block per second and a theft in each is watched by one process alone and by another that also
//! watches a node that floods: blocks as fast as it mines them. Segments with and without flood take turns, so that what
//! grows with time weighs on both alike. The clock starts when a subscriber without work is told of the head. The
//! process alone during the flood tells what the busy machine costs; what is above it is the neighbour's doing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

mod stand;

use serde_json::json;
use stand::figures::{decimal, permille, quantile, verdict};
use stand::node::Node;
use stand::setting;
use stand::subscriber::{Moments, heads};
use stand::watcher::Watcher;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Id of the first chain; development nodes have no schedule, so the configuration names the hardfork.
const FIRST_CHAIN: u64 = 31_337;

/// Time from block to block in the measurement of cost: the fastest chains in wide use.
const BLOCK_PERIOD: Duration = Duration::from_millis(250);

/// Blocks that the flooded chain may be behind before the flood waits: fewer than the states that its node keeps.
const FLOOD_LAG_MAX: u64 = 200;

/// What the flooding node keeps.
const FLOOD_KEEPS: [&str; 4] = ["--prune-history", "512", "--transaction-block-keeper", "1024"];

/// Goals, in thousandths or kilobytes.
const CPU_MAX_PERMILLE: u64 = 1_100;
const DELAY_MAX_PERMILLE: u64 = 2_000;
const BASE_MAX_KB: u64 = 150_000;
const CHAIN_MAX_KB: u64 = 100_000;

fn main() {
    let part = std::env::var("CHAINS_PART").unwrap_or_default();
    stand::run(async |binary| {
        if part != "delay" {
            cost(&binary).await;
        }
        if part != "cost" {
            delay(&binary).await;
        }
    });
}

/// Processor time and memory of one process over that of one per chain.
async fn cost(binary: &Path) {
    let (chains, rounds, blocks) =
        (setting("CHAINS", 8), setting("CHAINS_ROUNDS", 11), setting("CHAINS_BLOCKS", 40));
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for offset in 0..chains {
        nodes.push(Node::start(binary, folder.path(), FIRST_CHAIN + offset, &[]).await);
    }
    let together = Watcher::start(&nodes.iter().collect::<Vec<_>>(), "").await;
    let mut alone = Vec::new();
    for node in &nodes {
        alone.push(Watcher::start(&[node], "").await);
    }
    // A first round, so that caches and connections are as they stay.
    round(&mut nodes, &together, &alone, blocks).await;
    let base: Vec<u64> = alone.iter().map(|watcher| watcher.memory().rss_kb).collect();
    println!("after {blocks} blocks: one process {} kB, one each {base:?} kB", together.memory().rss_kb);
    let (mut ratios, mut one_ms, mut sum_ms) = (Vec::new(), 0, 0);
    for _ in 0..rounds {
        let (one, sum) = round(&mut nodes, &together, &alone, blocks).await;
        ratios.push(permille(one, sum));
        (one_ms, sum_ms) = (one_ms + one, sum_ms + sum);
    }
    let (ratio, n) = (quantile(&ratios, 500), ratios.len());
    println!(
        "P15 processor time of {chains} chains in one process over one process each: median {} of n {n} rounds \
         (p10 {}, p90 {}; in all {one_ms} over {sum_ms} ms for {} blocks), goal <= {}: {}",
        decimal(ratio),
        decimal(quantile(&ratios, 100)),
        decimal(quantile(&ratios, 900)),
        chains * blocks * rounds,
        decimal(CPU_MAX_PERMILLE),
        verdict(ratio <= CPU_MAX_PERMILLE)
    );
    memory(&together, &alone);
}

/// Mines blocks on every chain and waits until all is judged; processor time of the one, and of all others.
async fn round(nodes: &mut [Node], together: &Watcher, alone: &[Watcher], blocks: u64) -> (u64, u64) {
    let transactions = setting("CHAINS_TRANSACTIONS", 5);
    let sum = || alone.iter().map(Watcher::cpu_ms).sum::<u64>();
    let before = (together.cpu_ms(), sum());
    for _ in 0..blocks {
        let next = Instant::now() + BLOCK_PERIOD;
        for node in nodes.iter_mut() {
            node.mine_with(transactions).await;
        }
        tokio::time::sleep_until(next.into()).await;
    }
    for (node, watcher) in nodes.iter().zip(alone) {
        let newest = node.anvil.block_number().await;
        watcher.await_judged(node.chain_id, newest).await;
        together.await_judged(node.chain_id, newest).await;
    }
    (together.cpu_ms() - before.0, sum() - before.1)
}

/// Resident memory with one chain, and what each further chain adds.
fn memory(together: &Watcher, alone: &[Watcher]) {
    let all: Vec<u64> = alone.iter().map(|watcher| watcher.memory().rss_kb).collect();
    let base = all.iter().copied().max().unwrap_or(0);
    println!(
        "P16 memory with one chain: {base} kB at most (median {}, n {} processes), goal <= {BASE_MAX_KB}: {}",
        quantile(&all, 500),
        all.len(),
        verdict(base <= BASE_MAX_KB)
    );
    let further = u64::try_from(all.len()).unwrap().saturating_sub(1).max(1);
    let rss = together.memory().rss_kb;
    let each = rss.saturating_sub(quantile(&all, 500)) / further;
    println!(
        "P16 memory of each further chain: {each} kB (from 1 to {} chains: {} to {rss} kB), goal <= {CHAIN_MAX_KB}: {}",
        all.len(),
        quantile(&all, 500),
        verdict(each <= CHAIN_MAX_KB)
    );
}

/// Microseconds from head to record, by whether the neighbour flooded and by watcher.
type Delays = BTreeMap<(bool, &'static str), Vec<u64>>;

/// The slow chain alone and beside one that floods.
async fn delay(binary: &Path) {
    let (segments, blocks) = (setting("CHAINS_SEGMENTS", 4), setting("CHAINS_SEGMENT_BLOCKS", 15));
    let folder = tempfile::tempdir().unwrap();
    let slow = Node::start(binary, folder.path(), FIRST_CHAIN, &[]).await;
    let mut fast = Node::start(binary, folder.path(), FIRST_CHAIN + 1, &FLOOD_KEEPS).await;
    let alone = Watcher::start(&[&slow], "").await;
    let beside = Arc::new(Watcher::start(&[&slow, &fast], "").await);
    let told = heads(&slow.socket).await;
    fast.mine_with(1).await;
    beside.await_judged(fast.chain_id, fast.anvil.block_number().await).await;
    slow.anvil.rpc("evm_setIntervalMining", json!([1])).await;
    let (mut delays, mut flooded, mut took) = (Delays::new(), 0, Duration::ZERO);
    for segment in 0..segments * 2 {
        let is_flood = segment % 2 == 1;
        let begun = fast.anvil.block_number().await;
        let thefts = if is_flood {
            let (stop, stopped) = watch::channel(false);
            let flood = tokio::spawn(flood(fast, Arc::clone(&beside), stopped));
            let (start, thefts) = (Instant::now(), slow.thieve(blocks).await);
            took += start.elapsed();
            stop.send_replace(true);
            fast = flood.await.unwrap();
            thefts
        } else {
            slow.thieve(blocks).await
        };
        let newest = fast.anvil.block_number().await;
        flooded += newest - begun;
        // The flood's backlog must not reach into the calm.
        beside.await_judged(fast.chain_id, newest).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let chain = format!("chain {}: ", slow.chain_id);
        for (name, watcher, prefix) in [("alone", &alone, ""), ("beside", &*beside, &*chain)] {
            let found = recorded(watcher, prefix, &told, thefts.keys().copied());
            delays.entry((is_flood, name)).or_default().extend(found);
        }
    }
    println!("flood: {flooded} blocks in {} s", took.as_secs());
    tell(&delays);
}

/// Mines blocks back to back until it is told to stop.
async fn flood(mut node: Node, watcher: Arc<Watcher>, stopped: watch::Receiver<bool>) -> Node {
    let transactions = setting("CHAINS_FLOOD_TRANSACTIONS", 100);
    while !*stopped.borrow() {
        node.mine_with(transactions).await;
        let newest = node.anvil.block_number().await;
        watcher.await_judged(node.chain_id, newest.saturating_sub(FLOOD_LAG_MAX)).await;
    }
    node
}

/// Microseconds from the head to the first line about each of these blocks.
fn recorded(
    watcher: &Watcher,
    prefix: &str,
    told: &Moments<u64>,
    thefts: impl Iterator<Item = u64>,
) -> Vec<u64> {
    let (told, recorded) = (told.lock().unwrap(), watcher.recorded(prefix));
    let took_us = |block| {
        let at =
            recorded.get(&block).unwrap_or_else(|| panic!("nothing was said of the theft in block {block}"));
        u64::try_from(at.saturating_duration_since(told[&block]).as_micros()).unwrap()
    };
    thefts.map(took_us).collect()
}

fn tell(delays: &Delays) {
    for ((is_flood, name), values) in delays {
        let when = if *is_flood { "while another chain floods" } else { "while it is calm" };
        println!(
            "slow chain, watched {name:<6}, {when:<26}: p50 {:>7}  p99 {:>7} us  n {}",
            quantile(values, 500),
            quantile(values, 990),
            values.len()
        );
    }
    let p99 = |key| quantile(&delays[&key], 990);
    let (calm, busy) = (p99((false, "alone")), p99((true, "alone")));
    let ratio = permille(p99((true, "beside")), calm);
    println!(
        "P15 p99 beside a flood over p99 alone and calm: {}, goal <= {}: {}",
        decimal(ratio),
        decimal(DELAY_MAX_PERMILLE),
        verdict(ratio <= DELAY_MAX_PERMILLE)
    );
    println!(
        "P15 p99 beside a flood over p99 of a process of its own during the same flood: {}",
        decimal(permille(p99((true, "beside")), busy))
    );
}
