//! States of our own making with small contracts on them, and damaged ones. In: JSON and trees of calls. Out: executions
//! that agree, or the reason.

use super::*;
use crate::traced::read_call_tree;
use serde_json::{Value, json};

const ALICE: Address = Address::repeat_byte(0xa1);
const CALLER: Address = Address::repeat_byte(0xc1);
const VAULT: Address = Address::repeat_byte(0x7a);

/// Calls the vault without value or data, and reverts where it fails.
fn caller_code() -> String {
    // PUSH1 0 (five times), PUSH20 vault, GAS, CALL, PUSH1 36, JUMPI, PUSH1 0, DUP1, REVERT, JUMPDEST, STOP
    format!("60006000600060006000 73{} 5af1 6028 57 600080fd 5b00", hex::encode(VAULT)).replace(' ', "")
}

/// Logs slot 5 (as a topic) and sets it to 9; reverts where the slot is zero.
const VAULT_CODE: &str = "600554801560145780600060 00a1600960055500 5b600080fd";

fn file() -> Value {
    json!({
        "metadata": {"chain": "mainnet", "block_number": 19_000_000, "timestamp": 1_705_527_059,
            "block_hash": "dd96526cf5feaeaeecbe0064c721718fe2093cccd9c0d27bac173128150467c7",
            "attack_tx_hash": B256::repeat_byte(7)},
        "addresses": {
            CALLER.to_string(): {"balance_wei": "0", "nonce": 1, "code": caller_code(), "storage": {}, "name": "x"},
            VAULT.to_string(): {"balance_wei": "1", "nonce": 1, "code": VAULT_CODE.replace(' ', ""),
                "storage": {"5": "0000000000000000000000000000000000000000000000000000000000000010", "0x6": "0x1"}}
        }
    })
}

fn call(from: Address, to: Address, value: &str, calls: &[Value]) -> Value {
    json!({"type": "CALL", "from": from, "to": to, "value": value, "input": "0x", "calls": calls})
}

fn tree(root: &Value) -> Execution {
    let block = BlockRef { number: 0, hash: B256::ZERO };
    let tx = TxRef { chain_id: ChainId(0), block, index: 0, hash: B256::repeat_byte(7) };
    read_call_tree(&root.to_string(), tx).unwrap()
}

fn attack() -> Value {
    call(ALICE, CALLER, "0x0", &[call(CALLER, VAULT, "0x0", &[])])
}

fn execute(file: &Value, root: &Value) -> Result<Execution, AttackStateError> {
    AttackState::read(&file.to_string()).unwrap().execute(&tree(root))
}

fn error_of(change: impl Fn(&mut Value)) -> String {
    let mut value = file();
    change(&mut value);
    AttackState::read(&value.to_string()).unwrap_err().to_string()
}

#[test]
fn contracts_are_known_by_the_names_that_somebody_gave_them() {
    let state = AttackState::read(&file().to_string()).unwrap();
    let named: Vec<_> = state.named_codes().collect();
    let code = hex::decode(caller_code()).unwrap();
    assert_eq!(named, [(CALLER, "x", &code[..])], "the vault has no name");
    assert_eq!(state.timestamp_s(), 1_705_527_059);
}

#[test]
fn an_attack_is_executed_on_its_state_and_gains_logs_and_storage() {
    let state = AttackState::read(&file().to_string()).unwrap();
    assert_eq!(state.tx_hash(), Some(B256::repeat_byte(7)));
    let known = tree(&attack());
    assert_eq!((known.logs.len(), known.detail), (0, Detail::Calls));
    let executed = state.execute(&known).unwrap();
    assert_eq!(executed.tx.hash, known.tx.hash);
    assert_eq!((executed.tx.chain_id, executed.tx.block.number), (ChainId(1), 19_000_001));
    assert_eq!(executed.timestamp_s, 1_705_527_059 + 12, "the next block, a block time later");
    assert_eq!(executed.detail, Detail::Watch);
    let [log] = executed.logs.as_slice() else { panic!("{executed:?}") };
    assert_eq!((log.address, log.topics[0]), (VAULT, U256::from(16).into()));
    let [change] = executed.storage_changes.as_slice() else { panic!("{executed:?}") };
    assert_eq!((change.slot, change.before, change.after), (U256::from(5), U256::from(16), U256::from(9)));
}

#[test]
fn an_execution_that_does_something_else_is_not_believed() {
    let differs = |file: &Value, root: &Value| match execute(file, root) {
        Err(AttackStateError::Differs { frame, what }) => (frame, what),
        other => panic!("{other:?}"),
    };
    // The slot is missing, so that it reads as zero and the vault refuses.
    let mut gap = file();
    gap["addresses"][VAULT.to_string()]["storage"] = json!({});
    let (frame, what) = differs(&gap, &attack());
    assert!(frame == 1 && what.contains("fails, it succeeds there"), "{frame}: {what}");
    let alone = call(ALICE, CALLER, "0x0", &[]);
    assert!(
        differs(&file(), &alone).1.starts_with("it goes on with Call of"),
        "{:?}",
        differs(&file(), &alone)
    );
    let inner = call(CALLER, VAULT, "0x0", &[]);
    let twice = call(ALICE, CALLER, "0x0", &[inner.clone(), inner.clone()]);
    assert!(differs(&file(), &twice).1.starts_with("it ends before Call of"));
    let elsewhere = call(ALICE, CALLER, "0x0", &[call(CALLER, ALICE, "0x0", &[])]);
    assert!(differs(&file(), &elsewhere).1.contains(" instead of "));
    // A call that failed on the chain must fail here.
    let mut failed = attack();
    failed["calls"][0]["error"] = json!("execution reverted");
    assert!(differs(&file(), &failed).1.contains("succeeds, it fails there"));
}

#[test]
fn calls_of_precompiled_contracts_are_not_compared() {
    let mut with_hash = attack();
    with_hash["calls"].as_array_mut().unwrap().push(call(CALLER, Address::with_last_byte(2), "0x0", &[]));
    execute(&file(), &with_hash).unwrap();
}

#[test]
fn a_state_without_the_attackers_contract_is_not_executed() {
    let mut without = file();
    without["addresses"].as_object_mut().unwrap().remove(&CALLER.to_string());
    let error = execute(&without, &attack()).unwrap_err();
    assert!(matches!(error, AttackStateError::NoCode { address: CALLER }), "{error}");
    // A payment needs none, and the sender had what he sent.
    let paid = execute(&without, &call(ALICE, VAULT.create(9), "0x5", &[])).unwrap();
    assert_eq!(paid.transfers.len(), 1);
}

#[test]
fn the_senders_nonce_follows_from_what_he_created() {
    let created = ALICE.create(3);
    let mut root = call(ALICE, created, "0x0", &[call(created, VAULT, "0x0", &[])]);
    root["type"] = json!("CREATE");
    root["input"] = json!(format!("0x{}", caller_code()));
    assert_eq!(execute(&file(), &root).unwrap().creations[0].address, created);
    root["to"] = json!(ALICE.create(NONCES_MAX + 1));
    assert!(matches!(execute(&file(), &root), Err(AttackStateError::Differs { .. })));
}

#[test]
fn chains_without_a_schedule_follow_ethereum() {
    let mut other = file();
    other["metadata"]["chain"] = json!("BSC");
    let executed = execute(&other, &attack()).unwrap();
    assert_eq!((executed.tx.chain_id, executed.timestamp_s), (ChainId(56), 1_705_527_060));
    other["metadata"]["chain"] = json!("atlantis");
    assert!(execute(&other, &attack()).unwrap_err().to_string().contains("chain 'atlantis' is not known"));
}

#[test]
fn what_is_no_state_is_refused_with_its_place() {
    let has = |error: String, part: &str| assert!(error.contains(part), "{error}");
    let vault = |file: &mut Value, key: &str, value: Value| file["addresses"][VAULT.to_string()][key] = value;
    has(error_of(|file| drop(file.as_object_mut().unwrap().remove("metadata"))), "`metadata`");
    has(error_of(|file| file["metadata"]["timestamp"] = json!("now")), "metadata.timestamp");
    has(error_of(|file| file["metadata"]["attack_tx_hash"] = json!("0x12")), "metadata.attack_tx_hash");
    let place = format!("state before an attack: addresses.{VAULT}");
    has(error_of(|file| vault(file, "balance_wei", json!("0x1"))), &format!("{place}.balance_wei: '0x1'"));
    has(error_of(|file| vault(file, "balance_wei", json!("9".repeat(90)))), "expected a decimal number");
    has(error_of(|file| vault(file, "nonce", json!(-1))), "nonce");
    has(error_of(|file| vault(file, "code", json!("60z"))), &format!("{place}.code: no hexadecimal data"));
    has(error_of(|file| vault(file, "storage", json!({"a": "1"}))), &format!("{place}.storage.a:"));
    has(error_of(|file| vault(file, "storage", json!({"1": "0x"}))), "expected a hexadecimal number");
    has(error_of(|file| vault(file, "storage", json!({"1": "1".repeat(65)}))), "at most 32 bytes");
    has(error_of(|file| vault(file, "storage", json!({"1": 1}))), "storage");
    let whole = file().to_string();
    for length in (0..whole.len()).step_by(37) {
        AttackState::read(&whole[..length]).unwrap_err();
    }
}
