//! Receipts encoded by an independent library, read back and bent.

use super::*;
use crate::convert::{self, RawBody, RawHeader};
use alloy_consensus::{Header, SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_primitives::{Signature, TxKind};
use cordon_model::units::ChainId;
use serde_json::{Value, json};

const ORIGIN: &str = "answer of node";

fn transactions() -> Vec<TxEnvelope> {
    let signature = Signature::test_signature();
    let legacy = TxLegacy { to: TxKind::Call(Address::repeat_byte(1)), nonce: 1, ..TxLegacy::default() };
    let capped = TxEip1559 { chain_id: 1, nonce: 2, ..TxEip1559::default() };
    vec![legacy.into_signed(signature).into(), capped.into_signed(signature).into()]
}

fn envelopes(first: Eip658Value) -> Vec<ReceiptEnvelope> {
    let log =
        Log::new(Address::repeat_byte(7), vec![B256::repeat_byte(8)], Bytes::from_static(&[1, 2])).unwrap();
    let legacy = Receipt { status: first, cumulative_gas_used: 21_000, logs: vec![log] };
    let capped = Receipt { status: false.into(), cumulative_gas_used: 71_000, logs: Vec::new() };
    vec![
        ReceiptEnvelope::from_typed(TxType::Legacy, legacy.with_bloom()),
        ReceiptEnvelope::from_typed(TxType::Eip1559, capped.with_bloom()),
    ]
}

/// A block of two transactions whose header commits to their receipts, and the receipts as a node spells them.
fn fixture(first: Eip658Value) -> (Block, Value) {
    let (transactions, envelopes) = (transactions(), envelopes(first));
    let encoded: Vec<_> = envelopes.iter().map(Encodable2718::encoded_2718).collect();
    let bodies: Vec<_> = transactions.iter().map(Encodable2718::encoded_2718).collect();
    let header = Header {
        number: 9,
        transactions_root: ordered_trie_root_encoded(&bodies),
        receipts_root: ordered_trie_root_encoded(&encoded),
        ..Header::default()
    };
    let mut text = serde_json::to_value(&header).unwrap();
    text["hash"] = json!(header.hash_slow());
    text["transactions"] = transactions
        .iter()
        .map(|transaction| {
            let mut text = serde_json::to_value(transaction).unwrap();
            text["from"] = json!(Address::repeat_byte(3));
            text
        })
        .collect();
    let text = text.to_string();
    let header: RawHeader = convert::read_json(text.as_bytes(), ORIGIN).unwrap();
    let body: RawBody = convert::read_json(text.as_bytes(), ORIGIN).unwrap();
    let block = convert::block(&header, &body, ChainId(1), ORIGIN, Integrity::Full).unwrap();
    let receipts = envelopes.iter().zip(&block.transactions).map(|(envelope, transaction)| {
        let mut text = serde_json::to_value(envelope).unwrap();
        text["transactionHash"] = json!(transaction.hash);
        text
    });
    let receipts = receipts.collect();
    (block, receipts)
}

fn read_back(receipts: &Value, block: &Block, integrity: Integrity) -> Result<Vec<Outcome>, SourceError> {
    let receipts: Vec<RawReceipt> = convert::read_json(receipts.to_string().as_bytes(), ORIGIN)?;
    outcomes(receipts, block, ORIGIN, integrity)
}

#[test]
fn outcomes_are_read_and_the_root_is_recomputed() {
    let (block, receipts) = fixture(true.into());
    let expected = [Outcome::new(Some(true), 21_000), Outcome::new(Some(false), 50_000)];
    let mut outcomes = read_back(&receipts, &block, Integrity::Full).unwrap();
    let logs: Vec<_> = outcomes.iter_mut().map(|outcome| outcome.logs.take().unwrap()).collect();
    assert_eq!((outcomes.as_slice(), logs[0].len()), (expected.as_slice(), 1), "logs are the chain's word");
    let unchecked = read_back(&receipts, &block, Integrity::Header).unwrap();
    assert!(unchecked.iter().all(|outcome| outcome.logs.is_none()), "{unchecked:?}");
}

#[test]
fn before_byzantium_a_receipt_holds_a_state_root() {
    let (block, mut receipts) = fixture(Eip658Value::PostState(B256::repeat_byte(5)));
    let outcomes = read_back(&receipts, &block, Integrity::Full).unwrap();
    assert_eq!((outcomes[0].success, outcomes[0].gas_used), (None, 21_000));
    receipts[0]["root"] = json!(B256::repeat_byte(6));
    assert!(read_back(&receipts, &block, Integrity::Full).is_err());
}

/// What becomes of the receipts when one of them is changed.
fn changed(change: impl Fn(&mut Value)) -> (Result<Vec<Outcome>, SourceError>, Vec<Outcome>) {
    let (block, mut receipts) = fixture(true.into());
    change(&mut receipts);
    let lenient = read_back(&receipts, &block, Integrity::Header).unwrap();
    (read_back(&receipts, &block, Integrity::Full), lenient)
}

/// What is forged, and how.
type Forgery = (&'static str, fn(&mut Value));

#[test]
fn a_forged_receipt_is_refused_whatever_is_forged() {
    let forged: [Forgery; 5] = [
        ("status", |all| all[1]["status"] = json!("0x1")),
        ("log", |all| all[0]["logs"][0]["data"] = json!("0x0103")),
        ("missing log", |all| all[0]["logs"] = json!([])),
        ("bloom", |all| all[1]["logsBloom"] = all[0]["logsBloom"].clone()),
        ("type that nobody knows, and a status", |all| {
            all[1]["type"] = json!("0x7e");
            all[1]["status"] = json!("0x1");
        }),
    ];
    for (what, change) in forged {
        let (full, lenient) = changed(change);
        let error = full.unwrap_err();
        assert!(error.to_string().contains("the header's root is"), "{what}: {error}");
        assert!(error.is_transient(), "{what}: another node may have the right ones");
        assert_eq!(lenient.len(), 2, "{what}: lesser degrees do not check the root");
    }
}

#[test]
fn receipts_that_do_not_belong_to_the_block_are_named() {
    let (full, lenient) = changed(|all| all.as_array_mut().unwrap().truncate(1));
    assert!(full.unwrap_err().to_string().contains("1 receipts came for 2 transactions"));
    assert!(lenient.is_empty());
    let (full, lenient) = changed(|all| all[0]["transactionHash"] = json!(B256::ZERO));
    assert!(full.unwrap_err().to_string().contains("receipt 0 is of transaction"));
    assert!(lenient.is_empty());
    let (full, _) = changed(|all| all[1]["cumulativeGasUsed"] = json!("0x1"));
    assert!(full.unwrap_err().to_string().contains("less than the one before"));
    let (full, _) = changed(|all| all[1]["gasUsed"] = json!("0x1"));
    assert!(full.unwrap_err().to_string().contains("the totals differ by 50000"));
    let (full, _) = changed(|all| all[1]["status"] = Value::Null);
    assert!(full.unwrap_err().to_string().contains("receipt 1 holds neither"));
}

#[test]
fn types_that_ethereum_does_not_define_are_taken_unchecked() {
    let (mut block, receipts) = fixture(true.into());
    block.transactions[1].tx_type = 0x7e;
    block.receipts_root = B256::ZERO;
    assert_eq!(read_back(&receipts, &block, Integrity::Full).unwrap().len(), 2);
}

#[test]
fn an_empty_block_states_the_root_of_nothing() {
    let (mut block, _) = fixture(true.into());
    assert!(check_empty(&block, ORIGIN, Integrity::Full).is_err());
    check_empty(&block, ORIGIN, Integrity::Header).unwrap();
    block.receipts_root = EMPTY_ROOT_HASH;
    check_empty(&block, ORIGIN, Integrity::Full).unwrap();
}
