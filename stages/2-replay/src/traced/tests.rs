//! Traces as nodes send them, and as no node should. In: JSON. Out: facts, a marked cut, or an error with its place. Must
//! never: take longer or more memory than the bounds say.

use super::*;
use crate::recorder::bounds::{MAX_DATA_BYTES, MAX_FRAMES, MAX_LOGS};
use alloy_primitives::{Address, U256, keccak256};
use cordon_model::block::{Outcome, Transaction};
use cordon_model::execution::{FrameKind, Status, StorageChange};
use serde_json::{Value, json};
use std::path::Path;

const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);

fn transaction(index: u8) -> Transaction {
    Transaction {
        hash: B256::with_last_byte(index),
        from: ALICE,
        to: Some(BOB),
        gas_limit: 100_000,
        max_fee_per_gas_wei: Some(1),
        chain_id: Some(42_161),
        ..Transaction::bare(Address::ZERO, None)
    }
}

fn block(transactions: u8) -> Block {
    Block {
        chain_id: ChainId(42_161),
        number: 1,
        hash: B256::repeat_byte(2),
        parent_hash: B256::repeat_byte(1),
        timestamp_s: 1_770_000_000,
        beneficiary: Address::ZERO,
        gas_limit: 30_000_000,
        gas_used: 21_000 * u64::from(transactions),
        base_fee_wei: Some(1),
        difficulty: U256::ZERO,
        mix_hash: B256::ZERO,
        excess_blob_gas: None,
        parent_beacon_block_root: None,
        receipts_root: B256::ZERO,
        logs_bloom: alloy_primitives::Bloom::ZERO,
        withdrawals: Vec::new(),
        transactions: (0..transactions).map(transaction).collect(),
        outcomes: (0..transactions).map(|_| Outcome::new(Some(true), 21_000)).collect(),
        witness: None,
    }
}

fn call(kind: &str, from: Address, to: Address) -> Value {
    json!({ "type": kind, "from": from, "to": to, "gas": "0x0", "gasUsed": "0x5208", "value": "0x0", "input": "0x" })
}

fn answer(roots: &[Value]) -> String {
    let entry = |(index, root): (usize, &Value)| json!({ "txHash": transaction(u8::try_from(index).unwrap()).hash, "result": root });
    Value::from(roots.iter().enumerate().map(entry).collect::<Vec<_>>()).to_string()
}

fn no_diffs(transactions: usize) -> String {
    Value::from(vec![json!({ "result": { "pre": {}, "post": {} } }); transactions]).to_string()
}

fn replay(root: Value) -> Result<BlockReplay, TraceError> {
    convert(&block(1), &answer(&[root]), &no_diffs(1)).map(|(replayed, _)| replayed)
}

fn execution_of(root: Value) -> Execution {
    replay(root).unwrap().executions.pop().unwrap()
}

fn tree(answer: &str) -> Result<CallTree, TraceError> {
    json::read_block::<CallTree>(CALLS, &block(1), answer).map(|mut trees| trees.pop().unwrap())
}

fn malformed(result: Result<impl std::fmt::Debug, TraceError>) -> (String, String) {
    match result.unwrap_err() {
        TraceError::Malformed { place, reason, .. } => (place, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn logs_stand_between_the_calls_where_the_tracer_puts_them() {
    let log = |position: &str, data: &str| json!({ "address": BOB, "topics": [], "data": data, "position": position, "index": "0x0" });
    let mut root = call("CALL", ALICE, BOB);
    root["calls"] = json!([call("STATICCALL", BOB, ALICE), call("CALL", BOB, ALICE)]);
    root["logs"] = json!([log("0x0", "0x01"), log("0x1", "0x02"), log("0x1", "0x03"), log("0x2", "0x04")]);
    let execution = execution_of(root);
    let seqs: Vec<u32> = execution.logs.iter().map(|log| log.seq).collect();
    let frames: Vec<(u32, u32)> = execution.frames.iter().map(|f| (f.enter_seq, f.exit_seq)).collect();
    assert_eq!((seqs.as_slice(), frames.as_slice()), (&[1, 4, 5, 8][..], &[(0, 9), (2, 3), (6, 7)][..]));
    assert!(!execution.detail.knows_accesses());
}

#[test]
fn a_log_without_a_place_is_refused_only_where_there_is_more_than_one() {
    let mut root = call("CALL", ALICE, BOB);
    root["logs"] = json!([{ "address": BOB, "topics": [], "data": "0x" }]);
    assert_eq!(execution_of(root.clone()).logs.len(), 1);
    root["calls"] = json!([call("CALL", BOB, ALICE)]);
    let (place, reason) = malformed(replay(root));
    assert!(place.starts_with("[0].result") && reason.contains("position"), "{place}: {reason}");
}

#[test]
fn borrowed_code_runs_on_the_storage_above_and_moves_no_value() {
    let mut root = call("CALL", ALICE, BOB);
    let mut borrowed = call("DELEGATECALL", BOB, Address::repeat_byte(3));
    borrowed["value"] = json!("0x5");
    borrowed["calls"] = json!([call("CALLCODE", BOB, Address::repeat_byte(4))]);
    (root["value"], root["calls"]) = (json!("0x5"), json!([borrowed]));
    let execution = execution_of(root);
    assert!(execution.frames.iter().all(|frame| frame.address == BOB));
    assert_eq!(execution.frames[1].code_address, Address::repeat_byte(3));
    assert_eq!((execution.frames[1].value_wei, execution.transfers.len()), (U256::ZERO, 1));
}

#[test]
fn what_a_reverted_call_did_did_not_happen() {
    let mut root = call("CALL", ALICE, BOB);
    let mut failed = call("CALL", BOB, ALICE);
    let mut gone = call("SELFDESTRUCT", ALICE, BOB);
    gone["value"] = json!("0x7");
    (failed["value"], failed["calls"]) = (json!("0x1"), json!([gone]));
    failed["logs"] = json!([{ "address": ALICE, "topics": [], "data": "0x", "position": "0x0" }]);
    for (error, reverts) in [
        ("execution reverted", true),
        ("execution reverted: no", true),
        ("Reverted", true),
        ("out of gas", false),
    ] {
        failed["error"] = json!(error);
        root["calls"] = json!([failed]);
        let execution = execution_of(root.clone());
        assert!(execution.status.is_success() && execution.frames[1].reverted, "{error}");
        assert_eq!(matches!(execution.frames[1].status, Status::Revert { .. }), reverts, "{error}");
        assert!(
            execution.logs.is_empty() && execution.transfers.is_empty() && execution.destructions.is_empty()
        );
    }
}

#[test]
fn a_failed_creation_is_placed_by_its_own_calls() {
    let mut root = call("CALL", ALICE, BOB);
    let child = Address::repeat_byte(7);
    let mut creation = call("CREATE", BOB, child);
    creation.as_object_mut().unwrap().remove("to");
    creation["error"] = json!("execution reverted");
    creation["calls"] = json!([call("CALL", child, ALICE)]);
    root["calls"] = json!([creation]);
    let execution = execution_of(root);
    assert_eq!((execution.frames[1].kind, execution.frames[1].address), (FrameKind::Create, child));
    assert!(execution.creations.is_empty());
}

#[test]
fn missing_and_wrong_fields_are_errors_with_their_place() {
    for field in ["type", "from", "to"] {
        let mut inner = call("CALL", BOB, ALICE);
        inner.as_object_mut().unwrap().remove(field);
        let mut root = call("CALL", ALICE, BOB);
        root["calls"] = json!([call("CALL", BOB, ALICE), inner]);
        let (place, reason) = malformed(replay(root));
        assert!(place.starts_with("[0].result.calls[1]"), "{field}: {place}");
        assert!(reason.contains(field), "{field}: {reason}");
    }
    let mut root = call("CALL", ALICE, BOB);
    root.as_object_mut().unwrap().remove("gasUsed");
    let (place, reason) = malformed(replay(root));
    assert!(place == "[0].result" && reason.contains("gasUsed"), "{place}: {reason}");
    let wrong = [
        ("type", json!("JUMP")),
        ("from", json!("0x12")),
        ("to", json!(5)),
        ("gasUsed", json!("0x10000000000000000")),
        ("input", json!("0x0g")),
        ("value", json!({})),
        ("calls", json!("many")),
        (
            "logs",
            json!([{ "address": BOB, "topics": [B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO] }]),
        ),
    ];
    for (field, value) in wrong {
        let mut root = call("CALL", ALICE, BOB);
        root[field] = value;
        let (place, reason) = malformed(replay(root));
        assert!(place.starts_with("[0].result"), "{field}: {place}: {reason}");
    }
}

#[test]
fn an_answer_for_something_else_is_refused() {
    let root = call("CALL", ALICE, BOB);
    for answer in ["", "null", "{}", "5", "[", "[{}]", "[null]", "[{\"result\":null}]"] {
        malformed(convert(&block(1), answer, &no_diffs(1)));
    }
    let (_, reason) = malformed(convert(&block(2), &answer(std::slice::from_ref(&root)), &no_diffs(2)));
    assert!(reason.contains("found 1 traces, the block has 2"), "{reason}");
    let (_, reason) = malformed(convert(&block(1), &answer(&[root.clone(), root.clone()]), &no_diffs(1)));
    assert!(reason.contains("found 2 traces"), "{reason}");
    let (_, reason) =
        malformed(convert(&block(1), &format!("{} x", answer(std::slice::from_ref(&root))), &no_diffs(1)));
    assert!(reason.contains("trailing"), "{reason}");
    for (root, what) in [(call("CALL", BOB, BOB), "traced from"), (call("CALL", ALICE, ALICE), "traced to")] {
        let mismatches = replay(root).unwrap().mismatches;
        assert!(matches!(&mismatches[..], [one] if one.what.starts_with(what)), "{mismatches:?}");
    }
    let failed = json!([{ "txHash": transaction(0).hash, "error": "execution timeout" }]).to_string();
    let (place, reason) = malformed(convert(&block(1), &failed, &no_diffs(1)));
    assert!(place == "[0]" && reason.contains("execution timeout"), "{place}: {reason}");
    malformed(replay(call("SELFDESTRUCT", ALICE, BOB)));
    let error = convert(&block(1), &" ".repeat(json::MAX_ANSWER_BYTES + 1), "").unwrap_err();
    assert!(matches!(error, TraceError::TooLarge { .. }), "{error:?}");
}

/// Calls inside calls, without building the value: `depth` below the first.
fn nested(depth: usize) -> String {
    let open =
        format!("{{\"type\":\"CALL\",\"from\":\"{BOB}\",\"to\":\"{BOB}\",\"gasUsed\":\"0x1\",\"calls\":[");
    let mut text = "[{\"result\":".to_owned();
    text.push_str(&open.replacen(&BOB.to_string(), &ALICE.to_string(), 1));
    (0..depth).for_each(|_| text.push_str(&open));
    (0..=depth).for_each(|_| text.push_str("]}"));
    text.push_str("}]");
    text
}

#[test]
fn calls_nest_as_deep_as_the_evm_allows_and_no_deeper() {
    assert_eq!(tree(&nested(1_025)).unwrap().calls.len(), 1_026);
    let (replayed, _) = convert(&block(1), &nested(1_025), &no_diffs(1)).unwrap();
    assert_eq!(replayed.executions[0].frames.last().unwrap().depth, 1_025);
    for depth in [1_026, 200_000] {
        let (place, reason) = malformed(tree(&nested(depth)).map(|tree| tree.calls.len()));
        assert!(reason.contains("deeper than 1025"), "{reason}");
        assert!(place.starts_with("[0].result.calls[0].calls[0]"));
    }
    // What is not read may nest as it likes.
    let noise = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let root = call("CALL", ALICE, BOB).to_string();
    let noisy = format!("[{{\"extra\":{noise},\"result\":{root}}}]");
    assert_eq!(tree(&noisy).unwrap().calls.len(), 1);
}

#[test]
fn a_trace_of_a_million_calls_is_cut_and_says_so() {
    let child = call("CALL", BOB, BOB).to_string();
    let mut children = vec![child.as_str(); 20_000];
    // Beyond the bound nothing is read, so that these may be short.
    children.resize(1_000_000, "{\"calls\":[{}]}");
    let root = call("CALL", ALICE, BOB).to_string();
    let text =
        format!("[{{\"result\":{},\"calls\":[{}]}}}}]", root.trim_end_matches('}'), children.join(","));
    let (replayed, _) = convert(&block(1), &text, &no_diffs(1)).unwrap();
    let [execution] = &replayed.executions[..] else { panic!("one transaction") };
    assert_eq!((execution.frames.len(), execution.truncated), (MAX_FRAMES, true));
    assert_eq!(execution.frames[0].exit_seq, execution.frames.last().unwrap().exit_seq + 1);
    assert_eq!(replayed.mismatches, [], "the bloom of a cut record is not compared");
}

#[test]
fn data_and_logs_are_bounded() {
    let mut root = call("CALL", ALICE, BOB);
    root["input"] = json!(format!("0x{}", "00".repeat(MAX_DATA_BYTES)));
    assert!(!execution_of(root.clone()).truncated);
    root["output"] = json!("0x01");
    let execution = execution_of(root);
    assert_eq!((execution.truncated, execution.frames[0].output.len()), (true, 0));

    let log = json!({ "address": BOB, "topics": [], "position": "0x0" });
    let mut root = call("CALL", ALICE, BOB);
    root["logs"] = Value::from(vec![log; MAX_LOGS + 1]);
    let execution = execution_of(root);
    assert_eq!((execution.truncated, execution.logs.len()), (true, MAX_LOGS));
}

#[test]
fn damaged_answers_never_panic() {
    let mut root = call("CALL", ALICE, BOB);
    let mut creation = call("CREATE2", BOB, ALICE);
    creation["error"] = json!("out of gas");
    root["calls"] = json!([creation, call("SELFDESTRUCT", BOB, ALICE)]);
    root["logs"] = json!([{ "address": BOB, "topics": [B256::ZERO], "data": "0x00", "position": "0x1" }]);
    let whole = answer(&[root]);
    for end in 0..whole.len() {
        assert!(tree(&whole[..end]).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        for damage in ["{", "]", "\"", "0", "-", ","] {
            let damaged = format!("{}{damage}{}", &whole[..at], &whole[at + 1..]);
            if let Ok(mut tree) = tree(&damaged) {
                Facts::of(&mut tree);
            }
        }
    }
}

#[test]
fn differences_are_read_as_geth_and_its_relatives_write_them() {
    let [made, gone, kept] = [3u8, 4, 5].map(Address::repeat_byte);
    let slot = |n: u8| B256::with_last_byte(n);
    let diff = json!([{ "result": {
        "pre": {
            gone.to_string(): { "balance": "0x9", "nonce": 1, "code": "0x00", "storage": { slot(1).to_string(): slot(1) } },
            kept.to_string(): { "balance": "0x5", "code": "0x6000",
                "storage": { slot(1).to_string(): slot(7), slot(2).to_string(): slot(8) } },
        },
        "post": {
            made.to_string(): { "balance": "0x1", "nonce": 1, "code": "0x6001", "storage": { slot(9).to_string(): slot(9) } },
            kept.to_string(): { "storage": { slot(2).to_string(): slot(6), slot(3).to_string(): slot(4) } },
        },
    } }])
    .to_string();
    let diff = json::read_block::<StateDiff>(DIFFS, &block(1), &diff).unwrap().pop().unwrap();
    let change = |address, slot: u8, before: u8, after: u8| StorageChange {
        address,
        slot: U256::from(slot),
        before: U256::from(before),
        after: U256::from(after),
    };
    let expected =
        [change(made, 9, 0, 9), change(kept, 1, 7, 0), change(kept, 2, 8, 6), change(kept, 3, 0, 4)];
    assert_eq!(diff.storage_changes(), expected);
    let balances: Vec<(Address, String)> =
        diff.balance_changes_wei().into_iter().map(|(address, wei)| (address, wei.to_string())).collect();
    assert_eq!(balances, [(made, "1".to_owned()), (gone, "-9".to_owned())]);
    assert_eq!(diff.accounts[&made].new_code_hash, Some(keccak256([0x60, 1])));

    let wrong =
        json!([{ "result": { "pre": { kept.to_string(): { "balance": "much" } }, "post": {} } }]).to_string();
    let (place, _) = malformed(json::read_block::<StateDiff>(DIFFS, &block(1), &wrong));
    assert!(place.starts_with("[0].result.pre"), "{place}");
    malformed(json::read_block::<StateDiff>(DIFFS, &block(1), "[{\"result\":{\"pre\":{}}}]"));
}

#[test]
fn gas_that_adds_up_over_the_block_is_taken_apart() {
    let with_gas = |gas: &str| {
        let mut root = call("CALL", ALICE, BOB);
        root["gasUsed"] = json!(gas);
        root
    };
    let gas_of = |answer: &str| {
        let (replayed, _) = convert(&block(2), answer, &no_diffs(2)).unwrap();
        (replayed.executions.iter().map(|e| e.gas_used).collect::<Vec<_>>(), replayed.mismatches.len())
    };
    assert_eq!(gas_of(&answer(&[with_gas("0x5208"), with_gas("0xa410")])), (vec![21_000, 21_000], 0));
    assert_eq!(gas_of(&answer(&[with_gas("0x5208"), with_gas("0x5208")])), (vec![21_000, 21_000], 0));
    // A figure that fits neither way stays, and is reported for the transaction and for the block.
    assert_eq!(gas_of(&answer(&[with_gas("0x5208"), with_gas("0x1")])), (vec![21_000, 1], 2));
}

#[test]
fn a_method_that_the_node_lacks_is_named() {
    let refusal =
        |payload: Value| refused(CALLS, TransportError::ErrorResp(serde_json::from_value(payload).unwrap()));
    for payload in [
        json!({ "code": -32601, "message": "Method not found" }),
        json!({ "code": -32000, "message": "the method debug_traceBlockByHash does not exist/is not available" }),
    ] {
        let error = refusal(payload);
        assert!(matches!(error, TraceError::NotOffered { .. }), "{error:?}");
        assert!(error.to_string().starts_with(CALLS), "{error}");
    }
    let error = refusal(json!({ "code": -32000, "message": "block not found" }));
    assert!(matches!(error, TraceError::Node { .. }), "{error:?}");
}

/// Traces of real attacks, whose tracer left the logs out. They belong to others and are read where they lie.
#[test]
fn the_traces_of_real_attacks_are_read() {
    let shared = std::env::var_os("CORDON_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        std::path::PathBuf::from,
    );
    let folder = shared.join("data/attacks/calltraces");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no call traces at {}", folder.display());
        return;
    }
    let (mut files, mut calls, mut frames, mut deepest, mut cut) = (0, 0, 0, 0, 0);
    for chain in ["bsc", "ethereum"] {
        for entry in std::fs::read_dir(folder.join(chain)).unwrap().flatten() {
            let text = zstd::decode_all(std::fs::File::open(entry.path()).unwrap()).unwrap();
            let text = format!("[{{\"result\":{}}}]", String::from_utf8(text).unwrap());
            let mut tree = tree(&text).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
            let listed = text.matches("\"from\"").count();
            assert_eq!(tree.calls.len(), listed.min(MAX_FRAMES), "{}", entry.path().display());
            let facts = Facts::of(&mut tree);
            assert_eq!(
                facts.frames.len() + facts.destructions.len(),
                tree.calls.len(),
                "{}",
                entry.path().display()
            );
            assert_eq!(facts.truncated, tree.truncated);
            files += 1;
            calls += listed;
            frames += facts.frames.len();
            deepest = facts.frames.iter().map(|frame| frame.depth).max().max(Some(deepest)).unwrap();
            cut += usize::from(facts.truncated);
        }
    }
    println!("{files} traces, {calls} calls, {frames} frames kept, deepest {deepest}, {cut} cut");
    assert_eq!(files, 93);
}
