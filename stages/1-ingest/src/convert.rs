//! From JSON-RPC shapes to the model's blocks, for nodes and archives alike.
//!
//! In: header, transactions and withdrawals as JSON-RPC spells them, from any EVM chain: unknown fields are ignored,
//! unknown transaction types are carried by their number. Out: [`Block`]s whose hash was recomputed. Must never take a
//! stated hash for granted where the chain allows a check.

use crate::error::SourceError;
use crate::quantity;
use crate::rollup;
use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_consensus::proofs::ordered_trie_root_encoded;
use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256, keccak256};
use cordon_model::block::{AccessListEntry, Authorization, Block, RollupPart, Transaction, Withdrawal};
use cordon_model::units::{BlockRef, ChainId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What is recomputed before a block is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// The header's hash and, where the encoding of every transaction is known, their root and hashes.
    #[default]
    Full,
    /// The header's hash alone: for chains whose nodes list transactions that the header does not commit to, such as
    /// the state syncs of Polygon.
    Header,
    /// Nothing: for chains whose block hash is not that of an Ethereum header, such as `ZKsync` or QBFT networks.
    Stated,
}

/// A header as JSON-RPC spells it. Fields that some chains leave out are optional.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawHeader {
    hash: Option<B256>,
    parent_hash: B256,
    #[serde(rename = "sha3Uncles")]
    ommers_hash: B256,
    miner: Address,
    state_root: B256,
    transactions_root: Option<B256>,
    receipts_root: B256,
    logs_bloom: Bloom,
    #[serde(deserialize_with = "quantity::required")]
    difficulty: U256,
    #[serde(deserialize_with = "quantity::required")]
    number: u64,
    #[serde(deserialize_with = "quantity::required")]
    gas_limit: u64,
    #[serde(deserialize_with = "quantity::required")]
    gas_used: u64,
    #[serde(deserialize_with = "quantity::required")]
    timestamp: u64,
    extra_data: Bytes,
    mix_hash: Option<B256>,
    nonce: Option<B64>,
    #[serde(default, deserialize_with = "quantity::optional")]
    base_fee_per_gas: Option<u64>,
    withdrawals_root: Option<B256>,
    #[serde(default, deserialize_with = "quantity::optional")]
    blob_gas_used: Option<u64>,
    #[serde(default, deserialize_with = "quantity::optional")]
    excess_blob_gas: Option<u64>,
    parent_beacon_block_root: Option<B256>,
    requests_hash: Option<B256>,
    block_access_list_hash: Option<B256>,
    #[serde(default, deserialize_with = "quantity::optional")]
    slot_number: Option<u64>,
    #[serde(skip)]
    fields: HeaderFields,
}

/// Which fields of a header are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum HeaderFields {
    /// All that count towards its hash.
    #[default]
    All,
    /// Those that the Shanghai, Cancun and Prague forks added are left out; they hold the values of a block without
    /// withdrawals, blobs, beacon root and requests.
    Trimmed,
}

impl RawHeader {
    /// Root of the receipts' trie as the header states it.
    pub(crate) fn receipts_root(&self) -> B256 {
        self.receipts_root
    }

    /// Linea's recordings leave out what its headers hold since it left proof of authority (difficulty zero). The
    /// values are constants there, so the hash can still be computed; that they are right shows in the next block's
    /// parent hash. The block itself keeps the fields as recorded, because replay depends on them.
    pub(crate) fn restore_trimmed(&mut self) {
        if self.hash.is_none() && self.difficulty.is_zero() && self.withdrawals_root.is_none() {
            self.fields = HeaderFields::Trimmed;
        }
    }
}

/// The rest of a block. Transactions stay text until they are read one by one, so that an error can name which.
#[derive(Debug, Deserialize)]
pub(crate) struct RawBody {
    pub(crate) transactions: Vec<Box<RawValue>>,
    pub(crate) withdrawals: Option<Vec<RawWithdrawal>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawWithdrawal {
    address: Address,
    #[serde(deserialize_with = "quantity::required")]
    amount: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTransaction {
    hash: B256,
    #[serde(rename = "type", default, deserialize_with = "quantity::optional")]
    tx_type: Option<u8>,
    from: Address,
    to: Option<Address>,
    #[serde(deserialize_with = "quantity::required")]
    nonce: u64,
    #[serde(deserialize_with = "quantity::required")]
    value: U256,
    input: Bytes,
    #[serde(deserialize_with = "quantity::required")]
    gas: u64,
    #[serde(default, deserialize_with = "quantity::optional")]
    gas_price: Option<u128>,
    #[serde(default, deserialize_with = "quantity::optional")]
    max_fee_per_gas: Option<u128>,
    #[serde(default, deserialize_with = "quantity::optional")]
    max_priority_fee_per_gas: Option<u128>,
    #[serde(default, deserialize_with = "quantity::optional")]
    max_fee_per_blob_gas: Option<u128>,
    #[serde(default, deserialize_with = "quantity::optional")]
    chain_id: Option<u64>,
    access_list: Option<Vec<RawAccessListEntry>>,
    blob_versioned_hashes: Option<Vec<B256>>,
    authorization_list: Option<Vec<RawAuthorization>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAccessListEntry {
    address: Address,
    storage_keys: Vec<B256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthorization {
    #[serde(deserialize_with = "quantity::required")]
    chain_id: U256,
    address: Address,
    #[serde(deserialize_with = "quantity::required")]
    nonce: u64,
    #[serde(deserialize_with = "quantity::required")]
    y_parity: u8,
    #[serde(deserialize_with = "quantity::required")]
    r: U256,
    #[serde(deserialize_with = "quantity::required")]
    s: U256,
}

/// Reads JSON text; the error names the path inside it. `origin` says where the text is from.
pub(crate) fn read_json<T: DeserializeOwned>(text: &[u8], origin: &str) -> Result<T, SourceError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        SourceError::Malformed {
            origin: origin.to_owned(),
            reason: format!("at '{path}': {}", error.inner()),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| SourceError::Malformed { origin: origin.to_owned(), reason: error.to_string() })?;
    Ok(value)
}

/// Number and hash of a header alone, the hash recomputed as far as `integrity` asks.
pub(crate) fn header_ref(
    header: &RawHeader,
    origin: &str,
    integrity: Integrity,
) -> Result<BlockRef, SourceError> {
    Ok(BlockRef { number: header.number, hash: checked_hash(header, None, origin, integrity)? })
}

/// The block, checked as far as `integrity` asks. It carries neither outcomes nor a witness yet.
pub(crate) fn block(
    header: &RawHeader,
    body: &RawBody,
    chain_id: ChainId,
    origin: &str,
    integrity: Integrity,
) -> Result<Block, SourceError> {
    let mut transactions = transactions(&body.transactions, origin)?;
    if rollup::is_op_stack(chain_id) {
        let annotated = rollup::annotate(&body.transactions, &mut transactions);
        if let (Err(reason), Integrity::Full) = (annotated, integrity) {
            let (origin, number) = (origin.to_owned(), header.number);
            return Err(SourceError::TransactionsMismatch { origin, number, reason });
        }
    }
    let computed_root = match integrity {
        Integrity::Full => check_transactions(header, body, &transactions, origin)?,
        Integrity::Header | Integrity::Stated => None,
    };
    let hash = checked_hash(header, computed_root, origin, integrity)?;
    let withdrawals = body.withdrawals.as_deref().unwrap_or_default();
    Ok(Block {
        chain_id,
        number: header.number,
        hash,
        parent_hash: header.parent_hash,
        timestamp_s: header.timestamp,
        beneficiary: header.miner,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        base_fee_wei: header.base_fee_per_gas,
        difficulty: header.difficulty,
        mix_hash: header.mix_hash.unwrap_or_default(),
        excess_blob_gas: header.excess_blob_gas,
        parent_beacon_block_root: header.parent_beacon_block_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom,
        withdrawals: withdrawals
            .iter()
            .map(|raw| Withdrawal { address: raw.address, amount_gwei: raw.amount })
            .collect(),
        transactions,
        outcomes: Vec::new(),
        witness: None,
    })
}

fn transactions(raws: &[Box<RawValue>], origin: &str) -> Result<Vec<Transaction>, SourceError> {
    let read = |(index, raw): (usize, &RawValue)| {
        read_json::<RawTransaction>(raw.get().as_bytes(), &format!("{origin}, transaction {index}"))
            .map(RawTransaction::into_model)
    };
    raws.iter().map(Box::as_ref).enumerate().map(read).collect()
}

/// A transaction that is not in a block. Its hash is recomputed where its encoding is known; the sender is the node's
/// word, which its inclusion in a block will confirm or not.
pub(crate) fn pending(raw: &RawValue, origin: &str) -> Result<Transaction, SourceError> {
    let transaction = read_json::<RawTransaction>(raw.get().as_bytes(), origin)?.into_model();
    if let Ok(envelope) = serde_json::from_str::<TxEnvelope>(raw.get()) {
        let computed = keccak256(envelope.encoded_2718());
        if computed != transaction.hash {
            let reason =
                format!("pending transaction states the hash {}, computed {computed}", transaction.hash);
            return Err(SourceError::Malformed { origin: origin.to_owned(), reason });
        }
    }
    Ok(transaction)
}

impl RawTransaction {
    fn into_model(self) -> Transaction {
        let access = self.access_list.unwrap_or_default().into_iter();
        let authorizations = self.authorization_list.unwrap_or_default().into_iter();
        Transaction {
            hash: self.hash,
            tx_type: self.tx_type.unwrap_or_default(),
            from: self.from,
            to: self.to,
            nonce: self.nonce,
            value_wei: self.value,
            input: self.input,
            gas_limit: self.gas,
            // Nodes report the effective price of fee-capped transactions here; it is an outcome, not a bid.
            gas_price_wei: if self.max_fee_per_gas.is_some() { None } else { self.gas_price },
            max_fee_per_gas_wei: self.max_fee_per_gas,
            max_priority_fee_per_gas_wei: self.max_priority_fee_per_gas,
            max_fee_per_blob_gas_wei: self.max_fee_per_blob_gas,
            chain_id: self.chain_id,
            access_list: access
                .map(|entry| AccessListEntry { address: entry.address, storage_keys: entry.storage_keys })
                .collect(),
            blob_hashes: self.blob_versioned_hashes.unwrap_or_default(),
            authorizations: authorizations
                .map(|raw| Authorization {
                    chain_id: raw.chain_id,
                    address: raw.address,
                    nonce: raw.nonce,
                    y_parity: raw.y_parity,
                    r: raw.r,
                    s: raw.s,
                })
                .collect(),
            rollup: RollupPart::None,
        }
    }
}

/// Checks that the transactions are those of the header. Gives their root, or `None` where the encoding of one of
/// them is not known (deposits and other system transactions of L2s), so that only their presence can be checked.
fn check_transactions(
    header: &RawHeader,
    body: &RawBody,
    transactions: &[Transaction],
    origin: &str,
) -> Result<Option<B256>, SourceError> {
    let mismatch = |reason: String| SourceError::TransactionsMismatch {
        origin: origin.to_owned(),
        number: header.number,
        reason,
    };
    if let Some(stated) = header.transactions_root
        && (stated == EMPTY_ROOT_HASH) != transactions.is_empty()
    {
        let count = transactions.len();
        return Err(mismatch(format!("{count} transactions came, the header's root is {stated}")));
    }
    let Some(encoded) = encode(&body.transactions) else {
        tracing::debug!(origin, number = header.number, "transactions of unknown encoding: root not checked");
        return Ok(None);
    };
    for (index, (bytes, transaction)) in encoded.iter().zip(transactions).enumerate() {
        let computed = keccak256(bytes);
        if computed != transaction.hash {
            let stated = transaction.hash;
            return Err(mismatch(format!("transaction {index} states hash {stated}, computed {computed}")));
        }
    }
    let computed = ordered_trie_root_encoded(&encoded);
    match header.transactions_root {
        Some(stated) if stated != computed => {
            Err(mismatch(format!("the header's root is {stated}, computed {computed}")))
        }
        Some(_) | None => Ok(Some(computed)),
    }
}

/// EIP-2718 encodings, or `None` where one of the transactions is of no type that Ethereum defines.
fn encode(raws: &[Box<RawValue>]) -> Option<Vec<Vec<u8>>> {
    let encode = |raw: &RawValue| {
        serde_json::from_str::<TxEnvelope>(raw.get()).ok().map(|envelope| envelope.encoded_2718())
    };
    raws.iter().map(Box::as_ref).map(encode).collect()
}

fn checked_hash(
    header: &RawHeader,
    computed_root: Option<B256>,
    origin: &str,
    integrity: Integrity,
) -> Result<B256, SourceError> {
    let computed = match integrity {
        Integrity::Full | Integrity::Header => {
            header.transactions_root.or(computed_root).map(|root| consensus_header(header, root).hash_slow())
        }
        Integrity::Stated => None,
    };
    match (header.hash, computed) {
        (Some(stated), Some(computed)) if stated != computed => Err(SourceError::HashMismatch {
            origin: origin.to_owned(),
            number: header.number,
            stated,
            computed,
        }),
        (Some(stated), _) => Ok(stated),
        (None, Some(computed)) => Ok(computed),
        (None, None) => Err(SourceError::Malformed {
            origin: origin.to_owned(),
            reason: format!("block {} states no hash, and it cannot be computed", header.number),
        }),
    }
}

fn consensus_header(raw: &RawHeader, transactions_root: B256) -> Header {
    let header = Header {
        parent_hash: raw.parent_hash,
        ommers_hash: raw.ommers_hash,
        beneficiary: raw.miner,
        state_root: raw.state_root,
        transactions_root,
        receipts_root: raw.receipts_root,
        logs_bloom: raw.logs_bloom,
        difficulty: raw.difficulty,
        number: raw.number,
        gas_limit: raw.gas_limit,
        gas_used: raw.gas_used,
        timestamp: raw.timestamp,
        extra_data: raw.extra_data.clone(),
        mix_hash: raw.mix_hash.unwrap_or_default(),
        nonce: raw.nonce.unwrap_or_default(),
        base_fee_per_gas: raw.base_fee_per_gas,
        withdrawals_root: raw.withdrawals_root,
        blob_gas_used: raw.blob_gas_used,
        excess_blob_gas: raw.excess_blob_gas,
        parent_beacon_block_root: raw.parent_beacon_block_root,
        requests_hash: raw.requests_hash,
        block_access_list_hash: raw.block_access_list_hash,
        slot_number: raw.slot_number,
    };
    match raw.fields {
        HeaderFields::All => header,
        HeaderFields::Trimmed => Header {
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..header
        },
    }
}

#[cfg(test)]
mod tests;
