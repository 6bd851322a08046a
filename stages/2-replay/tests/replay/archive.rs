//! Every block of the archive must reproduce the gas, the status and the logs that the real chain recorded.

use crate::fixtures;
use alloy_primitives::{Address, Bytes, U256};
use cordon_model::execution::{Execution, Frame, FrameKind, Status};
use cordon_replay::{Prepared, Rules, Totals, Watch, no_views, replay_witness};
use serde_json::Value;
use std::sync::Arc;

const CHAINS: [&str; 4] = ["ethereum", "linea", "optimism", "scroll"];

#[test]
fn every_archived_block_is_reproduced() {
    let Some(archive) = fixtures::archive() else { return };
    let mut totals = Totals::default();
    let mut wrong = Vec::new();
    for chain in CHAINS {
        let before = totals;
        for path in fixtures::files(&archive, chain) {
            let block = fixtures::load(&path);
            match totals.add(&block, &Watch::everything(no_views())) {
                Ok(replay) => {
                    for mismatch in &replay.mismatches {
                        wrong.push(format!("{chain}/{}: {mismatch:?}", block.number));
                    }
                    for execution in replay.executions {
                        assert!(!execution.truncated, "{} of block {}", execution.tx.hash, block.number);
                    }
                }
                Err(error) => wrong.push(format!("{chain}/{}: {error:?}", block.number)),
            }
        }
        println!(
            "{chain}: {} blocks, {} transactions, {} gas",
            totals.blocks - before.blocks,
            totals.transactions - before.transactions,
            totals.gas_used - before.gas_used
        );
    }
    println!("{totals:?}, {} Mgas/s", totals.mgas_per_s());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((totals.blocks, totals.transactions, totals.mismatches), (202, 15_165, 0));
}

#[test]
fn built_in_schedules_name_the_hardfork_of_every_archived_block() {
    let Some(archive) = fixtures::archive() else { return };
    let chains = ["ethereum", "optimism"];
    for path in chains.into_iter().flat_map(|chain| fixtures::files(&archive, chain)) {
        let block = fixtures::load(&path);
        let rules = Rules::new(block.chain_id, None).unwrap();
        let stated = &block.witness.as_ref().unwrap().hardfork;
        assert_eq!(rules.hardfork_at(block.number, block.timestamp_s), stated, "block {}", block.number);
    }
}

/// A node's `callTracer` record of one frame and all frames below it, in order of entry.
fn flatten<'a>(frame: &'a Value, frames: &mut Vec<&'a Value>) {
    frames.push(frame);
    for child in frame["calls"].as_array().into_iter().flatten() {
        flatten(child, frames);
    }
}

fn same_frame(execution: &Execution, ours: &Frame, theirs: &Value) {
    let at = format!("{} frame {}", execution.tx.hash, ours.index);
    let kind = match theirs["type"].as_str().unwrap() {
        "CALL" => FrameKind::Call,
        "STATICCALL" => FrameKind::StaticCall,
        "DELEGATECALL" => FrameKind::DelegateCall,
        other => panic!("{at}: {other}"),
    };
    assert_eq!(ours.kind, kind, "{at}");
    assert_eq!(ours.caller, fixtures::text::<Address>(&theirs["from"]), "{at}");
    assert_eq!(ours.code_address, fixtures::text::<Address>(&theirs["to"]), "{at}");
    assert_eq!(ours.input, fixtures::text::<Bytes>(&theirs["input"]), "{at}");
    assert_eq!(
        ours.output,
        fixtures::opt(&theirs["output"], fixtures::text::<Bytes>).unwrap_or_default(),
        "{at}"
    );
    if kind != FrameKind::DelegateCall {
        // The node repeats the parent's value in a delegate call, where nothing moves.
        assert_eq!(ours.value_wei, fixtures::word(&theirs["value"]), "{at}");
    }
    match theirs["error"].as_str() {
        None => assert_eq!(ours.status, Status::Success, "{at}"),
        Some("execution reverted") => assert!(matches!(ours.status, Status::Revert { .. }), "{at}"),
        Some(_) => assert!(matches!(ours.status, Status::Halt { .. }), "{at}"),
    }
    // The first frame's gas is the transaction's in the node's record and the frame's own in ours.
    let gas_used = if ours.index == 0 { execution.gas_used } else { ours.gas_used };
    assert_eq!(U256::from(gas_used), fixtures::word(&theirs["gasUsed"]), "{at}");
}

#[test]
fn frames_equal_those_that_a_node_traced() {
    let Some(archive) = fixtures::archive() else { return };
    let json = fixtures::json(&archive.join("ethereum/22244135.json.zst"));
    let replay = replay_witness(&fixtures::block(&json), &Watch::everything(no_views())).unwrap();
    let traces = json["referenceCallTrace"].as_array().unwrap();
    assert_eq!(replay.executions.len(), traces.len());
    let mut compared = 0;
    for (execution, trace) in replay.executions.iter().zip(traces) {
        let mut frames = Vec::new();
        flatten(&trace["result"], &mut frames);
        assert_eq!(execution.frames.len(), frames.len(), "{}", execution.tx.hash);
        for (ours, theirs) in execution.frames.iter().zip(frames) {
            same_frame(execution, ours, theirs);
            compared += 1;
        }
    }
    assert_eq!(compared, 411);
}

#[test]
fn a_prepared_block_runs_bare_and_watched_on_the_same_gas() {
    let Some(archive) = fixtures::archive() else { return };
    let watch = Watch::everything(no_views());
    for path in fixtures::files(&archive, "ethereum").iter().rev().take(3) {
        let mut block = fixtures::load(path);
        let prepared = Prepared::new(Arc::new(block.clone())).unwrap();
        let (lap, replay) = prepared.watched(&watch).unwrap();
        assert_eq!(replay.mismatches, []);
        assert_eq!(replay.executions.len(), block.transactions.len());
        assert!(prepared.bare().unwrap().cpu_ns > 0 && lap.cpu_ns > 0);
        assert_eq!(prepared.each(&watch).unwrap().len(), block.transactions.len());
        // The time of an execution that does not reach the header's gas is not handed out.
        block.gas_used += 1;
        let wrong = Prepared::new(Arc::new(block)).unwrap();
        assert!(wrong.bare().is_err() && wrong.watched(&watch).is_err() && wrong.each(&watch).is_err());
    }
}
