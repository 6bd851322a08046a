//! Blocks of our own making in the format, and damaged ones. In: JSON. Out: executions, or an error with its place.

use super::*;
use serde_json::{Value, json};

const ALICE: Address = Address::repeat_byte(0xa1);
const PROXY: Address = Address::repeat_byte(0xaa);
const CODE: Address = Address::repeat_byte(0xcc);
const TOKEN: Address = Address::repeat_byte(0x70);
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

fn frame(tx: i64, i: usize, depth: usize, op: u8, caller: Address, target: Address) -> Value {
    json!({"tx": tx, "i": i, "caller": caller, "target": target, "op": op, "value": "0x0", "gas": 9, "gasUsed": 3,
        "status": 0, "depth": depth, "selector": "0x12345678", "inLen": 36, "outLen": 32})
}

fn transaction(hash: u8, to: Value, status: u8) -> Value {
    json!({"accessList": [{"address": ALICE, "storageKeys": [B256::ZERO]}], "chainId": 1, "gasLimit": 50_000,
        "hash": B256::repeat_byte(hash), "input": "0x1234567800", "maxFeePerGas": 43_015_000_000u64,
        "maxPriorityFeePerGas": 1, "nonce": 6, "r": B256::ZERO, "s": B256::ZERO, "to": to, "type": 2, "value": "0x5",
        "yParity": 1, "from": ALICE, "gasUsed": 30_300,
        "receipt": {"cumulativeGasUsed": 30_300, "logs": [], "status": status}})
}

/// A call through a proxy that moves tokens and destroys a contract, and a creation that fails.
fn file() -> Value {
    let moved = json!({"address": TOKEN, "data": format!("0x{:064x}", 9),
        "topics": [TRANSFER, PROXY.into_word(), ALICE.into_word()]});
    let mut frames = [
        frame(0, 0, 0, 0xf1, ALICE, PROXY),
        frame(1, 0, 0, 0xf0, ALICE, CODE),
        frame(0, 1, 1, 0xf4, PROXY, CODE),
        frame(0, 2, 2, 0xf1, PROXY, TOKEN),
        frame(0, 3, 2, 0xff, PROXY, ALICE),
        frame(0, 4, 1, 0xfa, PROXY, TOKEN),
    ];
    frames[0]["value"] = json!("0x5");
    frames[1]["status"] = json!(2);
    frames[2]["value"] = json!("0x5");
    frames[4]["value"] = json!("0x3");
    let mut first = transaction(1, json!(PROXY), 1);
    first["receipt"]["logs"] = json!([moved, {"address": PROXY, "data": "0x", "topics": [B256::ZERO]}]);
    json!({
        "format": "cordon-facts/1", "chain": "ethereum", "chainId": 1, "number": 12, "hash": B256::repeat_byte(9),
        "header": {"timestamp": 1_655_778_552u64, "number": 12},
        "transactions": [first, transaction(2, Value::Null, 0)],
        "frames": frames,
        "accountAccess": [[0, ALICE, 1, "0x64", B256::ZERO, "0x5a", 2], [0, PROXY, 1, "0x0", B256::ZERO, null, null],
            [-1, CODE, 0, "0x1", B256::ZERO, "0x2", null], [1, ALICE, 2, "0x5a", B256::ZERO, "0x5a", null]],
        "storageAccess": [[0, TOKEN, B256::ZERO, "0x1", "0x2"], [0, TOKEN, "0x1", "0x1", null],
            [0, TOKEN, "0x2", "0x7", "0x7"]],
        "accountAccessFields": [], "storageAccessFields": [], "checks": {}, "provenance": {}
    })
}

fn error_of(change: impl Fn(&mut Value)) -> String {
    let mut value = file();
    change(&mut value);
    read_block_facts(&value.to_string()).unwrap_err().to_string()
}

#[test]
fn a_transaction_is_read_with_what_it_called_moved_and_changed() {
    let executions = read_block_facts(&file().to_string()).unwrap();
    let [first, second] = executions.as_slice() else { panic!("{executions:?}") };
    assert_eq!((first.tx.index, first.tx.block.number, first.timestamp_s), (0, 12, 1_655_778_552));
    assert_eq!(first.transaction.max_fee_per_gas_wei, Some(43_015_000_000));
    assert_eq!((first.transaction.to, first.gas_used), (Some(PROXY), 30_300));
    let shape = |frame: &Frame| (frame.kind, frame.caller, frame.address, frame.code_address, frame.parent);
    let called: Vec<_> = first.frames.iter().map(shape).collect();
    assert_eq!(
        called,
        [
            (FrameKind::Call, ALICE, PROXY, PROXY, None),
            (FrameKind::DelegateCall, PROXY, PROXY, CODE, Some(0)),
            (FrameKind::Call, PROXY, TOKEN, TOKEN, Some(1)),
            (FrameKind::StaticCall, PROXY, TOKEN, TOKEN, Some(0)),
        ]
    );
    let input_lens: Vec<_> = first.frames.iter().map(|frame| frame.input.len()).collect();
    assert_eq!(input_lens, [5, 4, 4, 4], "inner calldata is known by its selector alone");
    assert_eq!(first.frames[1].value_wei, U256::ZERO, "a tracer repeats the value above");
    let moved: Vec<_> = first.transfers.iter().map(|t| (t.asset, t.from, t.to, t.amount_raw)).collect();
    assert_eq!(
        moved,
        [
            (Asset::Native, ALICE, PROXY, U256::from(5)),
            (Asset::Token(TOKEN), PROXY, ALICE, U256::from(9)),
            (Asset::Native, PROXY, ALICE, U256::from(3)),
        ]
    );
    assert_eq!(first.destructions.len(), 1);
    let logged: Vec<_> = first.logs.iter().map(|log| (log.address, log.frame)).collect();
    assert_eq!(logged, [(TOKEN, 2), (PROXY, 1)], "the proxy's by its implementation");
    assert_eq!(first.balance_changes_wei, BTreeMap::from([(ALICE, I256::try_from(-10).unwrap())]));
    let [change] = first.storage_changes.as_slice() else { panic!("{:?}", first.storage_changes) };
    assert_eq!((change.address, change.before, change.after), (TOKEN, U256::from(1), U256::from(2)));
    assert_eq!((first.detail, first.truncated, first.accesses.len()), (Detail::Traced, false, 0));
    assert!(!second.status.is_success() && second.frames[0].reverted && second.creations.is_empty());
    assert!(second.balance_changes_wei.is_empty());
}

#[test]
fn every_number_of_the_sequence_is_used_once() {
    let executions = read_block_facts(&file().to_string()).unwrap();
    let first = &executions[0];
    let native = first.transfers.iter().filter(|transfer| transfer.asset == Asset::Native);
    let mut seqs: Vec<u32> =
        first.frames.iter().flat_map(|frame| [frame.enter_seq, frame.exit_seq]).collect();
    seqs.extend(first.logs.iter().map(|log| log.seq));
    seqs.extend(native.map(|transfer| transfer.seq));
    seqs.extend(first.destructions.iter().map(|destruction| destruction.seq));
    seqs.sort_unstable();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    for log in &first.logs {
        let frame = &first.frames[log.frame as usize];
        assert!(frame.enter_seq < log.seq && log.seq < frame.exit_seq, "{log:?} in {frame:?}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_with_its_place() {
    let has = |error: String, part: &str| assert!(error.contains(part), "{error}");
    has(error_of(|file| file["frames"][2]["tx"] = json!(2)), "facts of a block: frames[2].tx: belongs to");
    has(error_of(|file| file["frames"][2]["tx"] = json!(-1)), "frames[2].tx");
    has(error_of(|file| file["frames"][2]["i"] = json!(7)), "transactions[0]: its frame 1 has the number 7");
    has(
        error_of(|file| file["frames"][2]["depth"] = json!(5)),
        "transactions[0]: its frame 1 has the depth 5",
    );
    has(error_of(|file| file["frames"][2]["depth"] = json!(0)), "its frame 1 has the depth 0");
    has(error_of(|file| file["frames"][2]["op"] = json!(1)), "its frame 1 has the op 1");
    has(error_of(|file| file["frames"][0]["op"] = json!(255)), "its frame 0 has the op 255");
    has(error_of(|file| file["frames"] = json!([])), "transactions[0]: has no frame");
    has(
        error_of(|file| file["transactions"][0]["receipt"]["status"] = json!(0)),
        "its receipt has the status 0",
    );
    has(
        error_of(|file| file["accountAccess"][0][0] = json!(2)),
        "accountAccess[0]: belongs to transaction 2",
    );
    has(
        error_of(|file| file["storageAccess"][0][0] = json!(-2)),
        "storageAccess[0]: belongs to transaction -2",
    );
}

#[test]
fn what_is_of_the_wrong_kind_is_refused_with_its_place() {
    let has = |error: String, part: &str| assert!(error.contains(part), "{error}");
    has(error_of(|file| file["header"]["timestamp"] = json!("soon")), "header.timestamp");
    has(error_of(|file| file["frames"][2]["target"] = json!("0x12")), "frames[2].target");
    has(error_of(|file| file["frames"][2]["op"] = json!(300)), "frames[2].op");
    has(error_of(|file| file["storageAccess"][1] = json!([0, TOKEN])), "storageAccess[1]");
    has(
        error_of(|file| file["transactions"][1]["value"] = json!(format!("0x{}", "f".repeat(65)))),
        "[1].value",
    );
    has(error_of(|file| drop(file.as_object_mut().unwrap().remove("frames"))), "`frames`");
    let whole = file().to_string();
    for length in (0..whole.len()).step_by(61) {
        read_block_facts(&whole[..length]).unwrap_err();
    }
}

#[test]
fn too_many_calls_are_cut_and_the_record_says_so() {
    let mut many = file();
    let calls = (5..=MAX_FRAMES).map(|i| frame(0, i, 1, 0xf1, PROXY, TOKEN));
    many["frames"].as_array_mut().unwrap().extend(calls);
    let executions = read_block_facts(&many.to_string()).unwrap();
    assert_eq!((executions[0].frames.len(), executions[0].truncated), (MAX_FRAMES, false));
    let beyond = (MAX_FRAMES + 1..MAX_FRAMES + 4).map(|i| frame(0, i, 1, 0xf1, PROXY, TOKEN));
    many["frames"].as_array_mut().unwrap().extend(beyond);
    let executions = read_block_facts(&many.to_string()).unwrap();
    assert_eq!((executions[0].frames.len(), executions[0].truncated), (MAX_FRAMES, true));
}
