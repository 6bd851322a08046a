//! What every source must pass: following a chain through reorganisations, and going on from a stored cursor.
//!
//! In: a chain of real headers that the tests change at will, and a source that reads it. Out: assertions. Each source
//! calls [`reorg`] in its own tests.

use crate::{Advance, ChainSource, SourceError};
use alloy_consensus::proofs::ordered_trie_root_encoded;
use alloy_consensus::{Header, Receipt, ReceiptEnvelope, SignableTransaction, TxEnvelope, TxLegacy, TxType};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, Signature, TxKind};
use cordon_model::block::ChainUpdate;
use cordon_model::log::Cursor;
use cordon_model::units::{BlockRef, ChainId};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Chain id of the test chain.
pub(crate) const CHAIN: ChainId = ChainId(31_337);

/// Most updates that a test follows before it calls a source restless.
const UPDATES_MAX: usize = 10_000;

/// A canonical chain of empty blocks with true hashes, shared by a test and the node it plays.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestChain(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    headers: Vec<Header>,
    branch: u64,
    filled: bool,
}

/// The one transaction of a filled block; it differs from branch to branch.
pub(crate) fn transaction(number: u64, extra_data: &Bytes) -> TxEnvelope {
    let (to, input) = (TxKind::Call(Address::repeat_byte(9)), extra_data.clone());
    let legacy = TxLegacy { nonce: number, to, input, gas_limit: 30_000, ..TxLegacy::default() };
    legacy.into_signed(Signature::test_signature()).into()
}

/// A transaction as JSON-RPC spells it.
pub(crate) fn transaction_json(envelope: &TxEnvelope) -> Value {
    let mut text = serde_json::to_value(envelope).unwrap();
    text["from"] = json!(Address::repeat_byte(3));
    text
}

/// Its receipt: odd blocks fail.
fn receipt(number: u64) -> ReceiptEnvelope {
    let log =
        Log::new(Address::repeat_byte(7), vec![B256::repeat_byte(8)], Bytes::from_static(&[1])).unwrap();
    let receipt = Receipt {
        status: number.is_multiple_of(2).into(),
        cumulative_gas_used: 21_000 + number,
        logs: vec![log],
    };
    ReceiptEnvelope::from_typed(TxType::Legacy, receipt.with_bloom())
}

impl TestChain {
    pub(crate) fn with_blocks(count: usize) -> Self {
        let chain = Self::default();
        chain.grow(count);
        chain
    }

    /// Blocks of one transaction each.
    pub(crate) fn filled(count: usize) -> Self {
        let chain = Self::default();
        chain.inner().filled = true;
        chain.grow(count);
        chain
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn grow(&self, count: usize) {
        let mut inner = self.inner();
        for _ in 0..count {
            let parent_hash = inner.headers.last().map_or(B256::ZERO, Header::hash_slow);
            let number = inner.headers.len() as u64;
            let extra_data = Bytes::from(inner.branch.to_be_bytes().to_vec());
            let timestamp = 12 * number;
            let mut header = Header { parent_hash, number, timestamp, ..Header::default() };
            if inner.filled {
                let receipt = receipt(number);
                header.transactions_root =
                    ordered_trie_root_encoded(&[transaction(number, &extra_data).encoded_2718()]);
                header.receipts_root = ordered_trie_root_encoded(&[receipt.encoded_2718()]);
                header.logs_bloom = *receipt.logs_bloom();
                header.gas_used = receipt.cumulative_gas_used();
            }
            inner.headers.push(Header { extra_data, ..header });
        }
    }

    /// Replaces the newest `depth` blocks by `regrow` others.
    pub(crate) fn reorganise(&self, depth: usize, regrow: usize) {
        let mut inner = self.inner();
        let keep = inner.headers.len() - depth;
        inner.headers.truncate(keep);
        inner.branch += 1;
        drop(inner);
        self.grow(regrow);
    }

    pub(crate) fn block_ref(&self, number: usize) -> BlockRef {
        self.inner().block_ref(number)
    }

    pub(crate) fn refs(&self) -> Vec<BlockRef> {
        self.inner().refs()
    }

    /// Header fields with the hash, as JSON-RPC spells them.
    pub(crate) fn header_json(&self, number: usize) -> Option<Value> {
        self.inner().header_json(number)
    }

    /// Answers what a source asks for, one request or a batch. Each request is answered from one moment of the chain,
    /// however a test changes it meanwhile.
    pub(crate) fn answer(&self, request: &Value) -> Value {
        match request.as_array() {
            Some(batch) => batch.iter().map(|request| self.inner().answer(request)).collect(),
            None => self.inner().answer(request),
        }
    }
}

impl Inner {
    fn block_ref(&self, number: usize) -> BlockRef {
        BlockRef { number: number as u64, hash: self.headers[number].hash_slow() }
    }

    fn refs(&self) -> Vec<BlockRef> {
        (0..self.headers.len()).map(|number| self.block_ref(number)).collect()
    }

    fn header_json(&self, number: usize) -> Option<Value> {
        let header = self.headers.get(number)?;
        let mut value = serde_json::to_value(header).unwrap();
        value["hash"] = json!(header.hash_slow());
        Some(value)
    }

    fn answer(&self, request: &Value) -> Value {
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" => json!(format!("{:#x}", CHAIN.0)),
            "eth_getBlockByNumber" => self.block_json(request["params"][0].as_str().unwrap()),
            "eth_getBlockReceipts" => self.receipts_json(&request["params"][0]),
            "eth_getTransactionReceipt" => self.receipt_json(&request["params"][0]),
            "eth_blockNumber" => json!(format!("{:#x}", self.headers.len().saturating_sub(1))),
            "eth_subscribe" => json!("0x1"),
            "web3_clientVersion" => json!("Fixture/1.0"),
            other => panic!("unexpected method {other}"),
        };
        json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
    }

    /// The transactions of the canonical chain, by number; none where blocks are empty.
    fn transactions(&self) -> Vec<TxEnvelope> {
        let headers = self.headers.iter().filter(|_| self.filled);
        headers.map(|header| transaction(header.number, &header.extra_data)).collect()
    }

    fn receipts_json(&self, hash: &Value) -> Value {
        let found = self.refs().into_iter().find(|block| json!(block.hash) == *hash);
        found.map_or(Value::Null, |block| {
            let envelope = &self.transactions()[usize::try_from(block.number).unwrap()];
            json!([self.receipt_json(&json!(envelope.tx_hash()))])
        })
    }

    fn receipt_json(&self, hash: &Value) -> Value {
        let found = self.transactions().iter().position(|envelope| json!(envelope.tx_hash()) == *hash);
        found.map_or(Value::Null, |number| {
            let mut text = serde_json::to_value(receipt(number as u64)).unwrap();
            text["transactionHash"] = hash.clone();
            text
        })
    }

    fn block_json(&self, tag: &str) -> Value {
        let number = match tag.strip_prefix("0x") {
            Some(digits) => usize::from_str_radix(digits, 16).unwrap(),
            None => self.headers.len().wrapping_sub(1),
        };
        let Some(mut value) = self.header_json(number) else { return Value::Null };
        value["transactions"] = json!([]);
        if let Some(envelope) = self.transactions().get(number) {
            value["transactions"] = json!([transaction_json(envelope)]);
        }
        value["uncles"] = json!([]);
        value
    }
}

pub(crate) fn empty_cursor() -> Cursor {
    Cursor::new(CHAIN)
}

/// What a source gave before it came to rest.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Followed {
    pub(crate) applied: Vec<u64>,
    pub(crate) reverted: Vec<u64>,
}

/// Follows a source to its head or end, applying each update to the cursor as a caller does.
pub(crate) async fn follow(
    source: &mut dyn ChainSource,
    cursor: &mut Cursor,
) -> Result<Followed, SourceError> {
    let mut followed = Followed::default();
    for _ in 0..UPDATES_MAX {
        match source.advance(cursor).await? {
            Advance::Update(ChainUpdate::Applied(block)) => {
                if let Some(head) = cursor.head().filter(|head| head.number + 1 == block.number) {
                    assert_eq!(block.parent_hash, head.hash, "a block must build on the cursor's head");
                }
                followed.applied.push(block.number);
                cursor.push(block.block_ref());
            }
            Advance::Update(ChainUpdate::Reverted(block)) => {
                assert!(cursor.pop(block), "only the cursor's head may be reverted");
                followed.reverted.push(block.number);
            }
            Advance::Update(ChainUpdate::Pending(_)) => {
                panic!("this source promised no pending transactions")
            }
            Advance::AtHead | Advance::End => return Ok(followed),
        }
    }
    panic!("the source does not come to rest")
}

/// Follows a source until it gave what is expected, which it must within so long.
async fn expect(source: &mut dyn ChainSource, cursor: &mut Cursor, patience: Duration, expected: Followed) {
    let deadline = Instant::now() + patience;
    let mut settled = Followed::default();
    loop {
        let followed = follow(source, cursor).await.unwrap();
        settled.applied.extend(followed.applied);
        settled.reverted.extend(followed.reverted);
        if settled == expected {
            return;
        }
        assert!(Instant::now() < deadline, "found {settled:?}, expected {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Follows a chain of ten blocks through every kind of reorganisation. The source begins at block 0, and shows at once
/// what the chain has come to.
pub(crate) async fn reorg(source: &mut dyn ChainSource, chain: &TestChain) {
    reorg_within(source, chain, Duration::ZERO).await;
}

/// The same for a source that may take some time to see it: of several nodes one that lags may be taken for the best until
/// the next look at all of them.
pub(crate) async fn reorg_within(source: &mut dyn ChainSource, chain: &TestChain, patience: Duration) {
    let mut cursor = empty_cursor();
    expect(source, &mut cursor, patience, Followed { applied: (0..10).collect(), reverted: vec![] }).await;
    assert_eq!(cursor.recent, chain.refs());
    // Asking again gives nothing new.
    expect(source, &mut cursor, patience, Followed::default()).await;

    // Same height, other block: newest first, then the new ones upwards.
    chain.reorganise(3, 3);
    expect(source, &mut cursor, patience, Followed { applied: vec![7, 8, 9], reverted: vec![9, 8, 7] }).await;
    assert_eq!(cursor.recent, chain.refs());

    // A longer branch, seen by a caller that crashed before it stored its last two blocks.
    chain.reorganise(1, 4);
    cursor.recent.truncate(8);
    expect(source, &mut cursor, patience, Followed { applied: vec![8, 9, 10, 11, 12], reverted: vec![] })
        .await;

    // A shorter branch reverts at once, a mere prefix only when other blocks take the place of the judged ones.
    chain.reorganise(4, 1);
    expect(source, &mut cursor, patience, Followed { applied: vec![9], reverted: vec![12, 11, 10, 9] }).await;
    chain.reorganise(2, 0);
    expect(source, &mut cursor, patience, Followed::default()).await;
    chain.grow(5);
    expect(source, &mut cursor, patience, Followed { applied: vec![8, 9, 10, 11, 12], reverted: vec![9, 8] })
        .await;
    assert_eq!(cursor.recent, chain.refs());

    // Deeper than a short memory: named, and no block is passed over.
    cursor.recent.drain(..10);
    chain.reorganise(4, 6);
    let error = follow(source, &mut cursor).await.unwrap_err();
    assert!(matches!(error, SourceError::ReorgTooDeep { oldest, .. } if oldest.number == 10), "{error}");
    assert!(!error.is_transient());
}
