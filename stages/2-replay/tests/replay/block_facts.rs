//! Records of calls, logs and differences, measured against what really happened: real blocks are executed, written in the
//! format, and read back.
//!
//! In: the block archive, and the shared streams and reproductions. Out: how much of what the format leaves out is inferred
//! rightly.

use crate::fixtures;
use cordon_model::execution::{Detail, Execution, Frame, FrameKind, Status, Transfer};
use cordon_replay::{Watch, no_views, read_block_facts, read_reproduction, replay_witness};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What was inferred, of how much.
#[derive(Debug, Default)]
struct Score {
    transactions: usize,
    logs: usize,
    logs_in_their_frame: usize,
    transfers: usize,
    transfers_among_the_same_calls: usize,
}

#[test]
fn logs_are_given_back_to_the_calls_that_wrote_them() {
    let Some(archive) = fixtures::archive() else { return };
    let mut score = Score::default();
    for path in fixtures::files(&archive, "ethereum") {
        let block = fixtures::load(&path);
        let replay = replay_witness(&block, &Watch::everything(no_views())).unwrap();
        // Self-destructions are placed by the format itself and have a test of their own.
        let known: Vec<Execution> =
            replay.executions.into_iter().filter(|one| one.destructions.is_empty()).collect();
        let read = read_block_facts(&record(&known).to_string()).unwrap();
        assert_eq!(read.len(), known.len());
        for (known, read) in known.iter().zip(&read) {
            compare(known, read, &mut score);
        }
    }
    println!("{score:?}");
    assert!(score.logs > 10_000, "{score:?}");
    // Of every thousand, this many at least; the rest are contracts called often that log now and then.
    assert!(score.logs_in_their_frame * 1_000 >= score.logs * LOGS_RIGHT_PER_MILLE, "{score:?}");
    assert!(
        score.transfers_among_the_same_calls * 1_000 >= score.transfers * TRANSFERS_RIGHT_PER_MILLE,
        "{score:?}"
    );
}

/// Shares that were measured when this was written, rounded down.
const LOGS_RIGHT_PER_MILLE: usize = 950;
const TRANSFERS_RIGHT_PER_MILLE: usize = 980;

fn compare(known: &Execution, read: &Execution, score: &mut Score) {
    assert_eq!(read.detail, Detail::Traced);
    assert_eq!(read.tx.hash, known.tx.hash);
    assert_eq!(read.status.is_success(), known.status.is_success());
    let shape = |frame: &Frame| {
        (frame.kind, frame.address, frame.code_address, frame.value_wei, frame.parent, frame.reverted)
    };
    let shapes = |one: &Execution| one.frames.iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(read), shapes(known), "{}", known.tx.hash);
    assert_eq!(read.storage_changes, known.storage_changes, "{}", known.tx.hash);
    let moved = |one: &Execution| {
        let key = |t: &Transfer| format!("{:?} {} {} {}", t.asset, t.from, t.to, t.amount_raw);
        let mut moved: Vec<String> = one.transfers.iter().map(key).collect();
        moved.sort_unstable();
        moved
    };
    assert_eq!(moved(read), moved(known), "{}", known.tx.hash);
    score.transactions += 1;
    score.logs += known.logs.len();
    let logs = known.logs.iter().zip(&read.logs);
    score.logs_in_their_frame += logs.filter(|(known, read)| known.frame == read.frame).count();
    // What matters to a detector is which calls came before a movement.
    let calls_before = |one: &Execution, transfer: &Transfer| {
        one.frames.iter().filter(|frame| frame.enter_seq < transfer.seq).count()
    };
    score.transfers += known.transfers.len();
    let transfers = known.transfers.iter().zip(&read.transfers);
    score.transfers_among_the_same_calls += transfers
        .filter(|(one, other)| {
            (one.asset, one.from, one.to, one.amount_raw)
                == (other.asset, other.from, other.to, other.amount_raw)
                && calls_before(known, one) == calls_before(read, other)
        })
        .count();
}

/// A block in the format.
fn record(executions: &[Execution]) -> Value {
    let (mut transactions, mut frames, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for (index, one) in executions.iter().enumerate() {
        let tx = &one.transaction;
        let logs: Vec<Value> = one
            .logs
            .iter()
            .map(|log| json!({"address": log.address, "topics": log.topics, "data": log.data}))
            .collect();
        transactions.push(json!({
            "hash": tx.hash, "type": tx.tx_type, "from": tx.from, "to": tx.to, "nonce": tx.nonce, "value": tx.value_wei,
            "input": tx.input, "gasLimit": tx.gas_limit, "gasUsed": one.gas_used,
            "receipt": {"status": u8::from(one.status.is_success()), "logs": logs}
        }));
        frames.extend(one.frames.iter().map(|frame| frame_record(index, frame)));
        slots.extend(
            one.storage_changes
                .iter()
                .map(|change| json!([index, change.address, change.slot, change.before, change.after])),
        );
    }
    json!({
        "format": "cordon-facts/1", "chainId": 1, "number": 1, "hash": alloy_primitives::B256::ZERO,
        "header": {"timestamp": 1}, "transactions": transactions, "frames": frames, "accountAccess": [],
        "storageAccess": slots
    })
}

fn frame_record(tx: usize, frame: &Frame) -> Value {
    let op = match frame.kind {
        FrameKind::Create => 0xf0,
        FrameKind::Call => 0xf1,
        FrameKind::CallCode => 0xf2,
        FrameKind::DelegateCall => 0xf4,
        FrameKind::Create2 => 0xf5,
        FrameKind::StaticCall => 0xfa,
    };
    let status = match frame.status {
        Status::Success => 0,
        Status::Revert { .. } => 2,
        Status::Halt { .. } => 3,
    };
    let selector = frame.selector().map_or_else(|| "0x".to_owned(), |selector| selector.to_string());
    json!({"tx": tx, "i": frame.index, "caller": frame.caller, "target": frame.code_address, "op": op,
        "value": frame.value_wei, "gasUsed": frame.gas_used, "status": status, "depth": frame.depth,
        "selector": selector})
}

/// Files of a folder of the shared data, or `None` after saying that the test is skipped.
fn shared(folder: &str) -> Option<Vec<PathBuf>> {
    let data = fixtures::archive()?.parent()?.to_owned();
    let (above, below) = folder.split_once('/')?;
    let files = fixtures::files(&data.join(above), below);
    if files.is_empty() {
        eprintln!("SKIPPED: no files in {folder}");
        return None;
    }
    Some(files)
}

#[test]
fn the_shared_stream_of_consecutive_blocks_is_read_whole() {
    let Some(files) = shared("blocks/ethereum-facts-15m") else { return };
    let (mut transactions, mut frames, mut logs) = (0, 0, 0);
    for path in files {
        for execution in read_block_facts(&fixtures::json(&path).to_string()).unwrap() {
            assert!(!execution.truncated, "{}", execution.tx.hash);
            transactions += 1;
            frames += execution.frames.len() + execution.destructions.len();
            logs += execution.logs.len();
            for log in &execution.logs {
                let frame = execution.frame(log.frame).unwrap();
                assert_eq!(frame.address, log.address, "{}", execution.tx.hash);
            }
        }
    }
    // As the folder's own manifest counts them.
    assert_eq!((transactions, frames, logs), (6_187, 21_077, 8_299));
}

#[test]
fn the_shared_reproductions_are_read_whole() {
    let Some(files) = shared("attacks/poc") else { return };
    let mut names = 0;
    for path in files {
        for execution in read_reproduction(&fixtures::json(&path).to_string()).unwrap() {
            names += 1;
            let is_whole =
                execution.status.is_success() && !execution.truncated && execution.frames.len() > 1;
            assert!(is_whole, "{}", path.display());
        }
    }
    assert_eq!(names, 16);
}
