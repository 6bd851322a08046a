//! Reproductions of our own making, and damaged ones. In: JSON. Out: executions, or an error with its place.

use super::*;
use alloy_primitives::b256;
use cordon_model::execution::{Status, Transfer};
use cordon_model::units::Asset;
use serde_json::{Value, json};

const RUNNER_SENDER: Address = address!("1804c8ab1f12e6bbf3894d4083f33e07309d1f38");
const HARNESS: Address = address!("7fa9385be102ac3eac297483dd6233d62b3e1496");
const PROXY: Address = Address::repeat_byte(0xaa);
const CODE: Address = Address::repeat_byte(0xcc);
const TOKEN: Address = Address::repeat_byte(0x70);
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

fn node(idx: usize, parent: Option<usize>, kind: &str, caller: Address, address: Address) -> Value {
    json!({
        "idx": idx, "parent": parent, "children": [], "depth": 0, "kind": kind, "success": true, "caller": caller,
        "address": address, "value": "0x0", "gas_used": 7, "input": "0x12345678", "output": "0x", "status": "Stop",
        "logs": [], "storage": []
    })
}

/// The harness asks for coins, calls a proxy whose borrowed code calls a token, creates a contract, and fails once.
fn nodes() -> Vec<Value> {
    let mut nodes = vec![
        node(0, None, "CALL", RUNNER_SENDER, HARNESS),
        node(1, Some(0), "CALL", HARNESS, RUNNER[0]),
        node(2, Some(0), "CALL", HARNESS, PROXY),
        node(3, Some(2), "DELEGATECALL", PROXY, CODE),
        node(4, Some(3), "CALL", PROXY, TOKEN),
        node(5, Some(0), "CREATE", HARNESS, Address::repeat_byte(0xdd)),
        node(6, Some(0), "CALL", HARNESS, PROXY),
    ];
    nodes[0]["children"] = json!([1, 2, 5, 6]);
    nodes[2]["children"] = json!([3]);
    nodes[3]["children"] = json!([4]);
    nodes[2]["value"] = json!("0x5");
    let data = U256::from(9).to_be_bytes::<32>();
    nodes[4]["logs"] =
        json!([{"topics": [TRANSFER, PROXY.into_word(), HARNESS.into_word()], "data": Bytes::from(data)}]);
    nodes[3]["logs"] = json!([{"topics": [B256::ZERO], "data": "0x"}]);
    nodes[3]["storage"] = json!([
        ["SLOAD", "0x1", "0x0", null],
        ["SSTORE", "0x1", "0x2", "0x0"],
        ["SSTORE", "0x8", "0x8", null]
    ]);
    nodes[2]["storage"] = json!([["SSTORE", "0x1", "0x3", "0x2"], ["SSTORE", "0x7", "0x1", "0x0"]]);
    nodes[4]["storage"] = json!([["SSTORE", "0x1", "0x4", "0x0"], ["SSTORE", "0x1", "0x0", "0x4"]]);
    nodes[5]["input"] = Value::Null;
    nodes[5]["output"] = Value::Null;
    nodes[6]["success"] = json!(false);
    nodes[6]["status"] = json!("Revert");
    nodes[6]["storage"] = json!([["SSTORE", "0x7", "0x5", "0x1"]]);
    nodes
}

fn file(nodes: &[Value]) -> Value {
    json!({"name": "own", "chain": "1", "fork_block": 12, "tests": {"test_attack()": {"status": "Success", "phases": [
        {"phase": "Setup", "nodes": [node(0, None, "CALL", RUNNER_SENDER, HARNESS)]},
        {"phase": "Execution", "nodes": nodes}
    ]}}})
}

fn error_of(change: impl Fn(&mut Value)) -> String {
    let mut value = file(&nodes());
    change(&mut value);
    read_reproduction(&value.to_string()).unwrap_err().to_string()
}

fn attack(file: &mut Value) -> &mut Value {
    &mut file["tests"]["test_attack()"]["phases"][1]["nodes"]
}

#[test]
fn the_harness_is_the_attackers_contract_and_the_runner_is_left_out() {
    let executions = read_reproduction(&file(&nodes()).to_string()).unwrap();
    let [execution] = executions.as_slice() else { panic!("{executions:?}") };
    assert_eq!((execution.transaction.from, execution.transaction.to), (RUNNER_SENDER, Some(HARNESS)));
    assert_eq!((execution.tx.chain_id, execution.tx.block.number), (ChainId(1), 12));
    assert!(execution.status.is_success() && !execution.truncated);
    let called: Vec<Address> = execution.frames.iter().map(|frame| frame.code_address).collect();
    assert_eq!(called, [HARNESS, PROXY, CODE, TOKEN, Address::repeat_byte(0xdd), PROXY]);
    assert!(matches!(&execution.frames[5].status, Status::Revert { .. }) && execution.frames[5].reverted);
    // Which access came when is not known, and the detail says so.
    assert_eq!((execution.detail, execution.accesses.len()), (Detail::Traced, 0));
    let moved: Vec<_> = execution.transfers.iter().map(|t: &Transfer| (t.asset, t.from, t.to)).collect();
    assert_eq!(moved, [(Asset::Native, HARNESS, PROXY), (Asset::Token(TOKEN), PROXY, HARNESS)]);
    assert_eq!(execution.logs[1].address, PROXY, "borrowed code logs in the name of its borrower");
    let [created] = execution.creations.as_slice() else { panic!("{:?}", execution.creations) };
    assert_eq!((created.init_code_hash, created.code_hash), (B256::ZERO, B256::ZERO), "code is not known");
}

#[test]
fn slots_that_differ_in_the_end_follow_without_the_order_of_writes() {
    let executions = read_reproduction(&file(&nodes()).to_string()).unwrap();
    let change = |slot: u64, before: u64, after: u64| StorageChange {
        address: PROXY,
        slot: U256::from(slot),
        before: U256::from(before),
        after: U256::from(after),
    };
    // The token's slot came back, the reverted write did not last, and a write of the same value is none.
    assert_eq!(executions[0].storage_changes, [change(1, 0, 3), change(7, 0, 1)]);
    let mut broken = nodes();
    broken[2]["storage"] = json!([["SSTORE", "0x1", "0x3", "0x9"]]);
    let executions = read_reproduction(&file(&broken).to_string()).unwrap();
    assert_eq!(executions[0].storage_changes, [], "0 to 2 and 9 to 3 are no chain of values");
}

#[test]
fn tests_of_one_file_are_cases_of_their_own() {
    let mut two = file(&nodes());
    two["tests"]["test_other()"] = two["tests"]["test_attack()"].clone();
    let executions = read_reproduction(&two.to_string()).unwrap();
    assert_eq!(executions.len(), 2);
    assert_ne!(executions[0].tx.hash, executions[1].tx.hash);
    two["tests"] = json!({});
    assert_eq!(read_reproduction(&two.to_string()).unwrap().len(), 0);
}

#[test]
fn what_is_no_record_of_a_test_is_refused_with_its_place() {
    let has = |error: String, part: &str| assert!(error.contains(part), "{error}");
    has(error_of(|file| file["chain"] = json!("one")), "reproduction: chain: 'one', expected a chain id");
    has(error_of(|file| drop(file.as_object_mut().unwrap().remove("fork_block"))), "`fork_block`");
    has(error_of(|file| attack(file)[4]["kind"] = json!("JUMP")), "nodes[4].kind: unknown variant `JUMP`");
    has(error_of(|file| attack(file)[4]["value"] = json!("0x1".repeat(70))), "nodes[4].value");
    has(error_of(|file| attack(file)[3]["storage"] = json!([["SLOAD", "0x1"]])), "nodes[3].storage[0]");
    has(error_of(|file| attack(file)[3]["idx"] = json!(2)), "nodes[3]: has the idx 2, expected 3");
    has(error_of(|file| attack(file)[3]["parent"] = json!(null)), "nodes[2]: has the child 3");
    has(error_of(|file| attack(file)[3]["children"] = json!([])), "nodes[0]: 5 of 7 nodes are called");
    // A call cannot be its own caller, nor be called twice: a walk would not end.
    has(error_of(|file| attack(file)[3]["children"] = json!([3])), "nodes[3]: has the child 3");
    has(error_of(|file| attack(file)[3]["children"] = json!([4, 4])), "nodes[3]: has the child 4");
    has(error_of(|file| attack(file)[3]["children"] = json!([99])), "nodes[3]: has the child 99");
    has(error_of(|file| *attack(file) = json!([])), "0 of 0 nodes");
    let phases = |file: &mut Value| file["tests"]["test_attack()"]["phases"] = json!([]);
    has(error_of(phases), "tests.test_attack().phases: expected exactly one phase");
    let whole = file(&nodes()).to_string();
    for length in (0..whole.len()).step_by(97) {
        read_reproduction(&whole[..length]).unwrap_err();
    }
}

#[test]
fn a_record_beyond_the_bounds_is_cut_and_says_so() {
    let mut many = nodes();
    many[4]["logs"] = json!(vec![json!({"topics": [], "data": "0x"}); MAX_LOGS + 1]);
    let executions = read_reproduction(&file(&many).to_string()).unwrap();
    assert!(executions[0].truncated);
    assert_eq!(executions[0].logs.len(), MAX_LOGS);
}
