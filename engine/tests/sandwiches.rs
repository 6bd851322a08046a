//! Sandwiches in blocks of Ethereum, executed again or as a client noted them.
//!
//! In: the block archive. The test is skipped, and says so, where it is absent.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first thing that is not as expected, and says what it skips"
)]

use cordon_detect::{Sandwich, sandwiches};
use cordon_ingest::{Recorded, read_recording};
use cordon_model::execution::Execution;
use cordon_replay::{Watch, no_views, read_block_facts, replay_witness};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("CORDON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let blocks = shared.join("data/blocks").join(name);
    if blocks.is_dir() {
        return Some(blocks);
    }
    eprintln!("SKIPPED: no block archive at {}", blocks.display());
    None
}

fn executions(path: &Path) -> Vec<Execution> {
    match read_recording(path).unwrap() {
        Recorded::Block(block) => replay_witness(&block, &Watch::everything(no_views())).unwrap().executions,
        Recorded::Facts(text) => read_block_facts(&text).unwrap(),
        _ => Vec::new(),
    }
}

/// The victims stand in between, and what the first trade took of the market is what the last one gives
/// to it.
fn check(block: &[Execution], sandwich: &Sandwich) {
    let Sandwich { market, front, victims, back, .. } = sandwich;
    assert!(victims.iter().all(|victim| front < victim && victim < back), "{sandwich:?}");
    let moved = |at: usize, into: bool| {
        let of_market = |transfer: &&cordon_model::execution::Transfer| {
            if into { transfer.to == *market } else { transfer.from == *market }
        };
        block[at].transfers.iter().filter(of_market).map(|transfer| transfer.asset).collect::<Vec<_>>()
    };
    let (taken, given) = (moved(*front, false), moved(*back, true));
    assert!(taken.iter().any(|asset| given.contains(asset)), "{sandwich:?}");
}

fn count(name: &str) -> Option<usize> {
    let files = std::fs::read_dir(folder(name)?).unwrap().map(|entry| entry.unwrap().path());
    let zipped = files.filter(|path| path.extension().is_some_and(|extension| extension == "zst"));
    let counts = zipped.map(|path| {
        let block = executions(&path);
        let found = sandwiches(&block);
        found.iter().for_each(|sandwich| check(&block, sandwich));
        found.len()
    });
    Some(counts.sum())
}

/// Counted by market. Those whose parts stand apart were looked at one by one: the last trade gives what the first took to
/// the last unit, and the actor gains 1 to 7 % by it.
#[test]
fn real_blocks_hold_sandwiches() {
    if let (Some(executed), Some(noted)) = (count("ethereum"), count("ethereum-facts-15m")) {
        assert_eq!((executed, noted), (22, 2));
    }
}
