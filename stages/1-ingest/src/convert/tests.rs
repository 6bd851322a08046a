//! Blocks written by an independent encoder and read back, and the quirks of other chains.

use super::*;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::{Authorization as Eip7702Authorization, SignedAuthorization};
use alloy_primitives::{Signature, TxKind, address, b256};
use serde_json::{Value, json};

const CHAIN: ChainId = ChainId(1);
const SENDER: Address = address!("00000000000000000000000000000000000000aa");
const TARGET: Address = address!("00000000000000000000000000000000000000bb");
const SLOT: B256 = b256!("1100000000000000000000000000000000000000000000000000000000000011");

/// One transaction of each type that Ethereum defines.
fn envelopes() -> Vec<TxEnvelope> {
    let access_list = AccessList(vec![AccessListItem { address: TARGET, storage_keys: vec![SLOT] }]);
    let authorization = Eip7702Authorization { chain_id: U256::from(1), address: TARGET, nonce: 9 };
    let signed = SignedAuthorization::new_unchecked(authorization, 1, U256::from(5), U256::from(6));
    let signature = Signature::test_signature();
    let legacy =
        TxLegacy { chain_id: None, nonce: 1, gas_price: 7, gas_limit: 21_000, ..TxLegacy::default() };
    let listed = TxEip2930 {
        chain_id: 1,
        gas_price: 8,
        to: TxKind::Call(TARGET),
        access_list: access_list.clone(),
        ..TxEip2930::default()
    };
    let capped = TxEip1559 {
        chain_id: 1,
        max_fee_per_gas: 30,
        max_priority_fee_per_gas: 2,
        value: U256::from(10).pow(U256::from(18)),
        input: Bytes::from_static(&[1, 2, 3]),
        ..TxEip1559::default()
    };
    let blobs = TxEip4844 {
        chain_id: 1,
        max_fee_per_gas: 30,
        max_fee_per_blob_gas: 4,
        to: TARGET,
        blob_versioned_hashes: vec![SLOT],
        ..TxEip4844::default()
    };
    let delegating = TxEip7702 {
        chain_id: 1,
        max_fee_per_gas: 30,
        to: TARGET,
        access_list,
        authorization_list: vec![signed],
        ..TxEip7702::default()
    };
    vec![
        legacy.into_signed(signature).into(),
        listed.into_signed(signature).into(),
        capped.into_signed(signature).into(),
        blobs.into_signed(signature).into(),
        delegating.into_signed(signature).into(),
    ]
}

fn block_json() -> Value {
    let envelopes = envelopes();
    let encoded: Vec<_> = envelopes.iter().map(Encodable2718::encoded_2718).collect();
    let header = Header {
        number: 5,
        gas_limit: 30_000_000,
        gas_used: 105_000,
        timestamp: 60,
        base_fee_per_gas: Some(7),
        excess_blob_gas: Some(131_072),
        blob_gas_used: Some(0),
        parent_beacon_block_root: Some(SLOT),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        transactions_root: ordered_trie_root_encoded(&encoded),
        logs_bloom: Bloom::repeat_byte(3),
        mix_hash: SLOT,
        ..Header::default()
    };
    let transaction = |envelope: &TxEnvelope| {
        let mut value = serde_json::to_value(envelope).unwrap();
        value["from"] = json!(SENDER);
        value
    };
    let mut value = serde_json::to_value(&header).unwrap();
    value["hash"] = json!(header.hash_slow());
    value["transactions"] = envelopes.iter().map(transaction).collect();
    value["withdrawals"] =
        json!([{"index": "0x0", "validatorIndex": "0x1", "address": TARGET, "amount": "0x20"}]);
    value
}

fn convert(value: &Value, integrity: Integrity) -> Result<Block, SourceError> {
    let text = value.to_string();
    let header: RawHeader = read_json(text.as_bytes(), "test")?;
    let body: RawBody = read_json(text.as_bytes(), "test")?;
    block(&header, &body, CHAIN, "test", integrity)
}

#[test]
fn every_field_arrives() {
    let block = convert(&block_json(), Integrity::Full).unwrap();
    assert_eq!((block.number, block.timestamp_s, block.base_fee_wei), (5, 60, Some(7)));
    assert_eq!((block.gas_limit, block.gas_used), (30_000_000, 105_000));
    assert_eq!(block.parent_beacon_block_root, Some(SLOT));
    assert_eq!((block.mix_hash, block.logs_bloom), (SLOT, Bloom::repeat_byte(3)));
    assert_eq!(block.excess_blob_gas, Some(131_072));
    assert_eq!((block.withdrawals[0].address, block.withdrawals[0].amount_gwei), (TARGET, 32));
    assert!(block.outcomes.is_empty() && block.witness.is_none());

    let [legacy, listed, capped, blobs, delegating] = block.transactions.try_into().unwrap();
    assert!(legacy.from == SENDER && legacy.to.is_none() && legacy.chain_id.is_none());
    assert_eq!((legacy.tx_type, legacy.nonce, legacy.gas_price_wei), (0, 1, Some(7)));
    assert_eq!((listed.tx_type, listed.to, listed.gas_price_wei), (1, Some(TARGET), Some(8)));
    assert_eq!(listed.access_list, [AccessListEntry { address: TARGET, storage_keys: vec![SLOT] }]);
    assert_eq!((capped.tx_type, capped.max_fee_per_gas_wei, capped.gas_price_wei), (2, Some(30), None));
    assert_eq!(capped.max_priority_fee_per_gas_wei, Some(2));
    assert_eq!(capped.value_wei, U256::from(1_000_000_000_000_000_000u64));
    assert_eq!((capped.input.as_ref(), capped.chain_id), ([1, 2, 3].as_slice(), Some(1)));
    assert_eq!((blobs.tx_type, blobs.max_fee_per_blob_gas_wei), (3, Some(4)));
    assert_eq!(blobs.blob_hashes, [SLOT]);
    let authorization = &delegating.authorizations[0];
    assert_eq!((authorization.nonce, authorization.y_parity, authorization.r), (9, 1, U256::from(5)));
    assert_eq!((authorization.chain_id, authorization.s), (U256::from(1), U256::from(6)));
}

#[test]
fn the_effective_price_that_nodes_report_is_no_bid() {
    let mut value = block_json();
    value["transactions"][2]["gasPrice"] = json!("0x9");
    let block = convert(&value, Integrity::Full).unwrap();
    assert_eq!(block.transactions[2].gas_price_wei, None);
}

#[test]
fn a_transaction_that_was_changed_dropped_or_renamed_is_noticed() {
    let reason = |change: &dyn Fn(&mut Value)| {
        let mut value = block_json();
        change(&mut value);
        convert(&value, Integrity::Full).unwrap_err().to_string()
    };
    let changed = reason(&|block| block["transactions"][2]["value"] = json!("0x1"));
    assert!(changed.contains("transaction 2 states hash"), "{changed}");
    let renamed = reason(&|block| block["transactions"][1]["hash"] = json!(SLOT));
    assert!(renamed.contains("transaction 1 states hash"), "{renamed}");
    let dropped = reason(&|block| drop(block["transactions"].as_array_mut().unwrap().pop()));
    assert!(dropped.contains("the header's root is"), "{dropped}");
    let emptied = reason(&|block| block["transactions"] = json!([]));
    assert!(emptied.contains("0 transactions came"), "{emptied}");
}

#[test]
fn a_deposit_of_the_op_stack_is_carried_by_its_number() {
    let mut value = block_json();
    let deposit = json!({
        "hash": SLOT, "type": "0x7e", "from": SENDER, "to": TARGET, "nonce": "0x3", "value": "0x0", "gas": "0xf4240",
        "gasPrice": "0x0", "input": "0x", "sourceHash": SLOT, "mint": "0x0", "isSystemTx": false,
        "v": "0x0", "r": "0x0", "s": "0x0"
    });
    value["transactions"].as_array_mut().unwrap().insert(0, deposit);
    let block = convert(&value, Integrity::Full).unwrap();
    assert_eq!((block.transactions[0].tx_type, block.transactions[0].gas_limit), (0x7e, 1_000_000));
    assert_eq!(block.transactions.len(), 6);
}

#[test]
fn a_hash_that_is_not_stated_is_computed_even_without_the_root() {
    let mut value = block_json();
    let stated: B256 = value["hash"].as_str().unwrap().parse().unwrap();
    value["transactionsRoot"] = Value::Null;
    value.as_object_mut().unwrap().remove("hash");
    assert_eq!(convert(&value, Integrity::Full).unwrap().hash, stated);
    let error = convert(&value, Integrity::Header).unwrap_err().to_string();
    assert!(error.contains("states no hash, and it cannot be computed"), "{error}");
}

#[test]
fn fields_that_a_recording_left_out_are_restored_for_the_hash_alone() {
    let header = Header {
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    let mut value = serde_json::to_value(&header).unwrap();
    for name in
        ["withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash", "nonce"]
    {
        value.as_object_mut().unwrap().remove(name);
    }
    let mut raw: RawHeader = read_json(value.to_string().as_bytes(), "test").unwrap();
    raw.restore_trimmed();
    let body = RawBody { transactions: Vec::new(), withdrawals: None };
    let block = block(&raw, &body, CHAIN, "test", Integrity::Full).unwrap();
    assert_eq!(block.hash, header.hash_slow());
    assert!(block.parent_beacon_block_root.is_none() && block.excess_blob_gas.is_none());
}

#[test]
fn what_a_chain_cannot_show_is_not_asked_of_it() {
    let mut value = block_json();
    value["transactions"].as_array_mut().unwrap().truncate(1);
    assert!(convert(&value, Integrity::Header).is_ok());
    value["timestamp"] = json!("0x1");
    assert!(matches!(convert(&value, Integrity::Header), Err(SourceError::HashMismatch { number: 5, .. })));
    assert!(convert(&value, Integrity::Stated).is_ok());
}

#[test]
fn malformed_text_names_the_place() {
    let place = |change: &dyn Fn(&mut Value)| {
        let mut value = block_json();
        change(&mut value);
        convert(&value, Integrity::Full).unwrap_err().to_string()
    };
    let hashes = place(&|block| block["transactions"][3] = json!(SLOT));
    assert!(hashes.starts_with("test, transaction 3: "), "{hashes}");
    let nonce = place(&|block| block["transactions"][0]["nonce"] = json!("0x1ffffffffffffffff"));
    assert!(nonce.contains("transaction 0: at 'nonce': number 0x1ffffffffffffffff does not fit"), "{nonce}");
    let amount = place(&|block| block["withdrawals"][0]["amount"] = json!("x"));
    assert!(amount.contains("at 'withdrawals[0].amount'"), "{amount}");
    let trailing: Result<Value, _> = read_json(b"{} {}", "test");
    assert!(trailing.is_err());
}
