//! A process that is killed at any moment loses nothing that it acknowledged, and tears nothing apart.
//!
//! The test starts itself again as a child that commits as fast as it can and names every batch that was
//! acknowledged. The child is killed (`SIGKILL`: it can neither flush nor tidy up) at seeded random moments. This
//! shows that a death of the process is survived; a loss of power is left to SQLite's `synchronous = FULL`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as the test does: by a panic"
)]

use cordon_model::lane::LaneEvent;
use cordon_model::log::{
    Actor, Append, Batch, Body, ChainEvent, Cursor, EventLog, FORMAT_VERSION, Record, StreamId,
};
use cordon_model::units::{BlockRef, ChainId};
use cordon_store::SqliteLog;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells the child which log to write.
const CHILD: &str = "CORDON_STORE_CRASH_LOG";
/// Printed by the child after each acknowledged batch.
const ACKNOWLEDGED: &str = "acknowledged ";
/// Deaths of the child.
const KILLS: u32 = 20;
/// Seed of the moments; the sequence is the same in each run, what the child is doing then is not.
const SEED: u64 = 0x5eed_c0de;
/// Longest life of a child after its first acknowledgement, microseconds: some tens of batches.
const LIFE_MAX_US: u64 = 150_000;
/// Most batches of a child, so that an orphan ends by itself.
const BATCHES_MAX: u64 = 20_000;
/// Bytes of the large record: the write-ahead log is folded back about every 1000 pages of 4 KiB, so that with this
/// size kills also hit checkpoints.
const LARGE_BYTES: usize = 60_000;

const CHAIN: ChainId = ChainId(1);

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().join("0.db");
    let mut random = SEED;
    let mut acknowledged = 0;
    let mut total = 0;
    for kill in 0..KILLS {
        // A new file every few deaths, so that kills also hit the creation of a log.
        if kill % 5 == 0 {
            path = folder.path().join(format!("{kill}.db"));
            acknowledged = 0;
        }
        let before = acknowledged;
        // Every fifth child is not waited for: it may die before it has even opened the log.
        let wait_for_first = kill % 5 != 1;
        acknowledged = acknowledged.max(run_and_kill(&path, wait_for_first, next(&mut random) % LIFE_MAX_US));
        let kept = check(&path).await;
        assert!(
            kept >= acknowledged,
            "kill {kill}: {acknowledged} batches were acknowledged, {kept} are there"
        );
        acknowledged = kept;
        total += kept - before;
    }
    assert!(total > u64::from(KILLS), "the children wrote only {total} batches: too few to prove anything");
    eprintln!("{total} batches survived {KILLS} kills");
}

/// The child: does nothing unless it was started by the test above.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let log = SqliteLog::open(Path::new(&path)).await.unwrap();
    let mut written = u64::try_from(log.read(stream(0)).await.unwrap().len()).unwrap();
    for _ in 0..BATCHES_MAX {
        log.commit(batch(written)).await.unwrap();
        written += 1;
        eprintln!("{ACKNOWLEDGED}{written}");
    }
}

/// Runs a child for a while, kills it, and returns the last batch that it named, or zero.
fn run_and_kill(path: &Path, wait_for_first: bool, life_us: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_that_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut last = 0;
    if wait_for_first {
        let first = lines.next().expect("the child ended before it wrote").unwrap();
        last = number(&first).unwrap_or_else(|| panic!("the child failed: {first}"));
    }
    // The child must go on writing while it waits for its death, so its words are read elsewhere.
    let reader = std::thread::spawn(move || {
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        rest.iter().filter_map(|line| number(line)).max()
    });
    std::thread::sleep(Duration::from_micros(life_us));
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert!(!ended.success(), "the child must die, not end");
    last = last.max(reader.join().unwrap().unwrap_or(0));
    last
}

/// A line that was cut by the kill names no number: only what stands before a line break was said.
fn number(line: &str) -> Option<u64> {
    line.strip_prefix(ACKNOWLEDGED)?.parse().ok()
}

/// Number of whole batches in the log; fails where one is torn or out of place.
async fn check(path: &Path) -> u64 {
    let log = SqliteLog::open(path).await.unwrap();
    let lengths = [log.read(stream(0)).await.unwrap().len(), log.read(stream(1)).await.unwrap().len()];
    assert_eq!(lengths[0], lengths[1], "a batch is torn between its streams");
    let kept = u64::try_from(lengths[0]).unwrap();
    let head = log.cursor(CHAIN).await.unwrap().and_then(|cursor| cursor.head());
    assert_eq!(
        head.map(|block| block.number),
        kept.checked_sub(1),
        "the cursor does not stand at the last batch"
    );
    let all = log.since(0, u32::MAX).await.unwrap();
    assert_eq!(u64::try_from(all.len()).unwrap(), kept * 2);
    for (stored, position) in all.iter().zip(1u64..) {
        assert_eq!(stored.position, position);
        let batch = batch((position - 1) / 2);
        assert!(
            batch.appends.iter().any(|append| append.records[0] == stored.record),
            "record {position} differs"
        );
    }
    log.close().await;
    kept
}

fn stream(index: u64) -> StreamId {
    StreamId(format!("crash/{index}"))
}

/// The batch that follows `written` earlier ones: two streams and the cursor.
fn batch(written: u64) -> Batch {
    let block = block(written);
    let signed = LaneEvent::Signed {
        nonce: written,
        tx_hash: block.hash,
        raw: vec![block.hash[0]; LARGE_BYTES].into(),
        max_fee_per_gas_wei: u128::MAX,
        max_priority_fee_per_gas_wei: 0,
        at_block: written,
    };
    let bodies = [Body::Chain(ChainEvent::Reverted { block }), Body::Lane(signed)];
    let append = |(body, index)| Append {
        stream: stream(index),
        expected_version: written,
        records: vec![Record {
            format: FORMAT_VERSION,
            at_s: written,
            at_block: written,
            actor: Actor::Cordon("crash".to_owned()),
            why: "to be killed".to_owned(),
            body,
        }],
    };
    let appends = bodies.into_iter().zip(0..).map(append).collect();
    Batch { appends, cursor: Some(Cursor { chain_id: CHAIN, recent: vec![block], at_s: 0 }) }
}

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: [u8::try_from(number % 251).unwrap(); 32].into() }
}

/// Marsaglia's xorshift64: a test needs no better numbers, and these are the same everywhere.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
