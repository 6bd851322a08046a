//! Catching up after missed blocks: as fast as following at full speed?
//!
//! In: environment variables, all optional: `CATCHUP_BLOCKS` (1,000), `CATCHUP_ROUNDS` (3), `CATCHUP_TRANSACTIONS` per block
//! (5), half of which touch the protected contract. Out: blocks per second of every round, and the ratios. Run it with
//! `cargo bench -p cordon --bench catchup`.
//!
//! A round has three parts over the same number of blocks. Steady: they are mined back to back while the watcher follows;
//! from the first block to the last one judged. Paused: the process is stopped by a signal while they are mined; from
//! its continuation to the last one judged. Restarted: it is killed while they are mined, and started again; from the
//! moment it says that it watches, and also from the start of the process, which opens the log
//! and asks the node who it is first. The steady part shares the machine with a node that mines, the others with one
//! that only answers; so processor time of the watcher per block stands beside each.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement stops at the first surprise, and prints"
)]

mod stand;

use stand::figures::{decimal, permille, quantile, verdict};
use stand::node::Node;
use stand::setting;
use stand::watcher::Watcher;
use std::time::{Duration, Instant};

/// Least rate of catching up over the steady rate, in thousandths.
const RATE_MIN_PERMILLE: u64 = 800;

/// What one part of a round came to.
#[derive(Debug, Clone, Copy)]
struct Part {
    blocks: u64,
    took: Duration,
    cpu_ms: u64,
}

impl Part {
    /// Thousandths of a block per second.
    fn rate(self) -> u64 {
        permille(self.blocks * 1_000_000, u64::try_from(self.took.as_micros()).unwrap())
    }

    fn tell(self, name: &str) {
        let cpu_us = self.cpu_ms * 1_000 / self.blocks;
        println!(
            "  {name:<22} {:>9} blocks/s  {cpu_us:>6} us of processor time per block",
            decimal(self.rate())
        );
    }
}

fn main() {
    stand::run(async |binary| {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node::start(&binary, folder.path(), 31_337, &[]).await;
        let mut watcher = Watcher::start(&[&node], "").await;
        node.mine_with(1).await;
        watcher.await_judged(node.chain_id, node.anvil.block_number().await).await;
        let (mut paused, mut restarted, mut from_start) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=setting("CATCHUP_ROUNDS", 3) {
            println!("round {round}");
            let steady = steady(&mut node, &watcher).await;
            let pause = pause(&mut node, &watcher).await;
            let (watching, whole) = restart(&mut node, &mut watcher).await;
            steady.tell("steady");
            pause.tell("after a pause");
            watching.tell("after a restart");
            whole.tell("from the start on");
            paused.push(permille(pause.rate(), steady.rate()));
            restarted.push(permille(watching.rate(), steady.rate()));
            from_start.push(permille(whole.rate(), steady.rate()));
        }
        let blocks = setting("CATCHUP_BLOCKS", 1_000);
        for (name, ratios) in
            [("a pause", &paused), ("a restart", &restarted), ("a restart, from its start on", &from_start)]
        {
            let ratio = quantile(ratios, 500);
            println!(
                "P18 blocks per second after {blocks} blocks missed by {name}, over steady: median {} of n {} rounds \
                 ({ratios:?} thousandths), goal >= {}: {}",
                decimal(ratio),
                ratios.len(),
                decimal(RATE_MIN_PERMILLE),
                verdict(ratio >= RATE_MIN_PERMILLE)
            );
        }
    });
}

/// Mines the blocks of one part; returns how many, and the newest.
async fn mine(node: &mut Node) -> (u64, u64) {
    let (blocks, transactions) = (setting("CATCHUP_BLOCKS", 1_000), setting("CATCHUP_TRANSACTIONS", 5));
    for _ in 0..blocks {
        node.mine_with(transactions).await;
    }
    (blocks, node.anvil.block_number().await)
}

async fn steady(node: &mut Node, watcher: &Watcher) -> Part {
    let (start, cpu_ms) = (Instant::now(), watcher.cpu_ms());
    let (blocks, newest) = mine(node).await;
    let end = watcher.await_judged(node.chain_id, newest).await;
    Part { blocks, took: end - start, cpu_ms: watcher.cpu_ms() - cpu_ms }
}

async fn pause(node: &mut Node, watcher: &Watcher) -> Part {
    watcher.signal("STOP");
    let (blocks, newest) = mine(node).await;
    let (start, cpu_ms) = (Instant::now(), watcher.cpu_ms());
    watcher.signal("CONT");
    let end = watcher.await_judged(node.chain_id, newest).await;
    Part { blocks, took: end - start, cpu_ms: watcher.cpu_ms() - cpu_ms }
}

/// The part from the moment at which it watches, and the part from the start of the process.
async fn restart(node: &mut Node, watcher: &mut Watcher) -> (Part, Part) {
    watcher.kill();
    let (blocks, newest) = mine(node).await;
    let start = Instant::now();
    watcher.restart(1).await;
    let (watching, cpu_ms) = (Instant::now(), watcher.cpu_ms());
    let end = watcher.await_judged(node.chain_id, newest).await;
    let all_ms = watcher.cpu_ms();
    let from_watching = Part { blocks, took: end - watching, cpu_ms: all_ms - cpu_ms };
    (from_watching, Part { blocks, took: end - start, cpu_ms: all_ms })
}
