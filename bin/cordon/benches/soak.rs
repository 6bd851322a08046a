//! Many blocks at full speed, followed by a `cordon watch` process: does its memory stay flat, and how does its log grow?
//!
//! In: environment variables, all optional: `SOAK_BLOCKS` (2,000; the real run is 100,000), `SOAK_TRANSACTIONS` per block
//! (4). Out: for every tenth of the way the blocks judged so far, resident memory, the size of the log and of its
//! write-ahead log, and blocks per second; at the end a verdict. Run it with `cargo bench -p cordon --bench soak`.
//!
//! Flat means: the largest resident memory in the second half is at most a tenth above that at the end of the second
//! tenth. The first tenth is left out because caches fill there; the history alone takes 150 blocks, so runs under
//! 5,000 blocks are still warming up and their verdict says little. Blocks are mined back to back; the miner waits only
//! where the watcher is further behind than the node keeps states.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

mod stand;

use stand::figures::{decimal, permille, verdict};
use stand::node::Node;
use stand::setting;
use stand::watcher::Watcher;
use std::time::Instant;

/// Most blocks that the watcher may be behind: fewer than the states that the node keeps.
const LAG_MAX: u64 = 100;

/// Blocks between two looks at how far the watcher is.
const LOOK_BLOCKS: u64 = 20;

/// What anvil keeps, so that a long run fits into memory: states and blocks with transactions.
const NODE_KEEPS: [&str; 4] = ["--prune-history", "256", "--transaction-block-keeper", "1024"];

/// Most that memory may grow over its size after the warm-up, in thousandths.
const GROWTH_MAX_PERMILLE: u64 = 1_100;

fn main() {
    let (blocks, transactions) = (setting("SOAK_BLOCKS", 2_000), setting("SOAK_TRANSACTIONS", 4));
    println!("{blocks} blocks, {transactions} token transfers each");
    stand::run(async |binary| {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::start(&binary, folder.path(), 31_337, &NODE_KEEPS).await;
        let watcher = Watcher::start(&[&node], "").await;
        // The first block begins the cursor.
        node.mine_with(transactions).await;
        let first = node.anvil.block_number().await;
        watcher.await_judged(node.chain_id, first).await;
        let memory_kb = soak(&mut node, &watcher, blocks, transactions).await;
        judge(&memory_kb);
        watcher.each_line(|_, line| println!("cordon said: {line}"));
    });
}

/// Resident memory at the end of each tenth, in kilobytes.
async fn soak(node: &mut Node, watcher: &Watcher, blocks: u64, transactions: u64) -> Vec<u64> {
    let first = node.anvil.block_number().await;
    let (start, mut memory_kb) = (Instant::now(), Vec::new());
    let (mut mined, mut at, mut cpu_ms) = (0, Instant::now(), watcher.cpu_ms());
    for tenth in 1..=10 {
        let goal = blocks * tenth / 10;
        let part = goal - mined;
        while mined < goal {
            node.mine_with(transactions).await;
            mined += 1;
            if mined.is_multiple_of(LOOK_BLOCKS) {
                watcher.await_judged(node.chain_id, (first + mined).saturating_sub(LAG_MAX)).await;
            }
        }
        watcher.await_judged(node.chain_id, first + mined).await;
        let (memory, (log, wal)) = (watcher.memory(), watcher.log_bytes());
        let per_s = permille(part * 1_000, u64::try_from(at.elapsed().as_millis()).unwrap());
        let cpu_us = (watcher.cpu_ms() - cpu_ms) * 1_000 / part.max(1);
        println!(
            "{mined:>7} blocks judged  RSS {:>7} kB (heap {:>7} kB)  log {log:>9} B, ahead of it {wal:>9} B, \
             {} records  {} blocks/s, {cpu_us} us of processor time per block, after {} s",
            memory.rss_kb,
            memory.anonymous_kb,
            watcher.records().await,
            decimal(per_s),
            start.elapsed().as_secs()
        );
        memory_kb.push(memory.rss_kb);
        (at, cpu_ms) = (Instant::now(), watcher.cpu_ms());
    }
    memory_kb
}

/// Compares the second half with the end of the second tenth.
fn judge(memory_kb: &[u64]) {
    let (warm, largest) = (memory_kb[1], memory_kb[5..].iter().copied().max().unwrap_or(0));
    let growth = permille(largest, warm);
    println!(
        "memory: largest of the second half {largest} kB over {warm} kB after the second tenth: {} (goal <= {}): {}",
        decimal(growth),
        decimal(GROWTH_MAX_PERMILLE),
        verdict(growth <= GROWTH_MAX_PERMILLE)
    );
}
