//! The file format `cordon-block/1`: one block, its state before, and its receipts.
//!
//! In: a file. Out: a [`Block`] with witness and outcomes, or the label alone. Header and transactions are spelt as
//! JSON-RPC spells them and read by the same code. Contract code is checked against the hash it is filed under.

use crate::convert::{self, Integrity, RawBody, RawHeader, RawWithdrawal};
use crate::error::SourceError;
use crate::quantity;
use crate::receipts::{self, RawLog};
use alloy_consensus::proofs::ordered_trie_root_encoded;
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, TxType};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use cordon_model::block::{Block, ChainProfile, Outcome, Witness, WitnessAccount};
use cordon_model::units::ChainId;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// Name of the format, as files state it.
pub(super) const FORMAT: &str = "cordon-block/1";

/// How the causes of a [`SourceError::Damaged`] call the file, which that error names itself.
const ORIGIN: &str = "block file";

/// Most bytes that a file may unpack to. The largest recorded block is below 5 MiB; a block at a gas limit of 60
/// million that reads nothing but new contracts at their full 24 KiB (2,600 gas each) needs about 1.1 GiB as
/// hexadecimal. Half of that is a hundred times the largest known one, and keeps a crafted file from filling memory.
const UNPACKED_BYTES_MAX: u64 = 512 << 20;

/// Largest Zstandard window, as a power of two: 128 MiB, the decoder's own default, stated so that it stays.
const WINDOW_LOG_MAX: u32 = 27;

/// First fields of a file.
#[derive(Debug, Default)]
pub(super) struct Label {
    pub(super) format: Option<String>,
    pub(super) chain_id: Option<u64>,
    pub(super) number: Option<u64>,
    /// True where it holds "addresses", as the states before attacks do.
    pub(super) has_addresses: bool,
    /// True where it holds "tests", as reproductions of attacks do.
    pub(super) has_tests: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    format: String,
    chain: ChainName,
    chain_id: u64,
    number: u64,
    spec: String,
    blob_base_fee_update_fraction: Option<u64>,
    header: RawHeader,
    transactions: Vec<Box<RawValue>>,
    withdrawals: Option<Vec<RawWithdrawal>>,
    block_hashes: BTreeMap<String, B256>,
    prestate: BTreeMap<Address, RawAccount>,
    codes: BTreeMap<B256, Bytes>,
    receipts: Vec<RawReceipt>,
}

/// Chains whose rules are known; a name that is not listed is refused, because its rules would be guessed.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum ChainName {
    Ethereum,
    Optimism,
    Scroll,
    Linea,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAccount {
    #[serde(deserialize_with = "quantity::required")]
    balance: U256,
    #[serde(deserialize_with = "quantity::required")]
    nonce: u64,
    code_hash: Option<B256>,
    storage: BTreeMap<String, Slot>,
}

#[derive(Debug, Deserialize)]
struct Slot(#[serde(deserialize_with = "quantity::required")] U256);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    #[serde(default, deserialize_with = "quantity::optional")]
    status: Option<u8>,
    #[serde(deserialize_with = "quantity::required")]
    gas_used: u64,
    #[serde(default, deserialize_with = "quantity::optional")]
    l1_fee: Option<U256>,
    #[serde(default, deserialize_with = "quantity::optional")]
    cumulative_gas_used: Option<u64>,
    #[serde(default)]
    logs: Vec<RawLog>,
}

/// Format, chain and number; reading ends as soon as all three were met.
pub(super) fn label(path: &Path) -> Result<Label, SourceError> {
    let mut label = Label::default();
    let reader = BufReader::new(unpack(path)?.take(UNPACKED_BYTES_MAX));
    let outcome = serde_json::Deserializer::from_reader(reader).deserialize_map(LabelVisitor(&mut label));
    let is_complete = label.format.is_some() && label.chain_id.is_some() && label.number.is_some();
    match outcome {
        // Once the label is complete the visitor stops reading, which the parser reports as an error.
        Err(error) if !is_complete && (error.is_io() || error.is_eof() || error.is_syntax()) => {
            let expected = "Zstandard-packed JSON";
            Err(SourceError::Io { path: path.to_owned(), expected, source: error.into() })
        }
        Ok(()) | Err(_) => Ok(label),
    }
}

/// The whole text of a file.
pub(super) fn unpacked(path: &Path) -> Result<Vec<u8>, SourceError> {
    let mut text = Vec::new();
    let io =
        |source| SourceError::Io { path: path.to_owned(), expected: "one complete Zstandard frame", source };
    unpack(path)?.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > UNPACKED_BYTES_MAX {
        let (limit, unit) = (UNPACKED_BYTES_MAX, "unpacked bytes");
        return Err(SourceError::TooLarge { path: path.to_owned(), limit, unit });
    }
    Ok(text)
}

/// The whole block.
pub(super) fn read(path: &Path) -> Result<Block, SourceError> {
    let text = unpacked(path)?;
    let damaged = |source| SourceError::Damaged { path: path.to_owned(), source: Box::new(source) };
    let file: RawFile = convert::read_json(&text, ORIGIN).map_err(damaged)?;
    drop(text);
    if file.format != FORMAT {
        let (path, found) = (path.to_owned(), Some(file.format));
        return Err(SourceError::Format { path, found, expected: FORMAT });
    }
    file.into_block().map_err(damaged)
}

fn unpack(path: &Path) -> Result<impl Read + use<>, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), expected: "a Zstandard file", source };
    let file = File::open(path).map_err(io)?;
    let mut decoder = zstd::stream::read::Decoder::new(file).map_err(io)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(io)?;
    Ok(decoder)
}

impl RawFile {
    fn into_block(mut self) -> Result<Block, SourceError> {
        match self.chain {
            ChainName::Linea => self.header.restore_trimmed(),
            ChainName::Ethereum | ChainName::Optimism | ChainName::Scroll => {}
        }
        let body = RawBody { transactions: self.transactions, withdrawals: self.withdrawals };
        let chain_id = ChainId(self.chain_id);
        let mut block = convert::block(&self.header, &body, chain_id, ORIGIN, Integrity::Full)?;
        if block.number != self.number {
            let (expected, found) = (self.number, block.number);
            return Err(SourceError::WrongBlock { origin: ORIGIN.to_owned(), expected, found });
        }
        let malformed = |reason: String| SourceError::Malformed { origin: ORIGIN.to_owned(), reason };
        let outcomes = outcomes(&self.receipts, block.transactions.len()).map_err(malformed)?;
        block.outcomes = receipts::with_logs(outcomes, proven_logs(self.receipts, &block));
        block.witness = Some(Arc::new(Witness {
            profile: self.chain.profile(),
            hardfork: self.spec,
            blob_base_fee_update_fraction: self.blob_base_fee_update_fraction,
            accounts: accounts(self.prestate).map_err(malformed)?,
            codes: checked_codes(self.codes).map_err(malformed)?,
            block_hashes: block_hashes(self.block_hashes).map_err(malformed)?,
        }));
        Ok(block)
    }
}

impl ChainName {
    fn profile(self) -> ChainProfile {
        match self {
            Self::Ethereum => ChainProfile::Ethereum,
            Self::Optimism => ChainProfile::Optimism,
            Self::Scroll => ChainProfile::Scroll,
            Self::Linea => ChainProfile::Linea,
        }
    }
}

fn outcomes(receipts: &[RawReceipt], transactions: usize) -> Result<Vec<Outcome>, String> {
    if receipts.len() != transactions {
        return Err(format!(
            "{} receipts for {transactions} transactions, expected one each",
            receipts.len()
        ));
    }
    let outcome = |(index, receipt): (usize, &RawReceipt)| {
        let success = match receipt.status {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => return Err(format!("receipt {index} has the status {other}, expected 0 or 1")),
        };
        Ok(Outcome { data_fee_wei: receipt.l1_fee, ..Outcome::new(success, receipt.gas_used) })
    };
    receipts.iter().enumerate().map(outcome).collect()
}

/// The logs, where the receipts hash to the header's root. Those of archives need not: of old blocks they lack the state
/// root, and of some chains the encoding is not known.
fn proven_logs(receipts: Vec<RawReceipt>, block: &Block) -> Option<Vec<Vec<Log>>> {
    let mut encoded = Vec::with_capacity(receipts.len());
    let mut logs = Vec::with_capacity(receipts.len());
    for (receipt, transaction) in receipts.into_iter().zip(&block.transactions) {
        let tx_type = TxType::try_from(transaction.tx_type).ok()?;
        let listed = receipts::logs(receipt.logs).ok()?;
        let status = Eip658Value::Eip658(receipt.status? == 1);
        let cumulative_gas_used = receipt.cumulative_gas_used?;
        let receipt = Receipt { status, cumulative_gas_used, logs: listed.clone() }.with_bloom();
        encoded.push(ReceiptEnvelope::from_typed(tx_type, receipt).encoded_2718());
        logs.push(listed);
    }
    (ordered_trie_root_encoded(&encoded) == block.receipts_root).then_some(logs)
}

fn accounts(raw: BTreeMap<Address, RawAccount>) -> Result<BTreeMap<Address, WitnessAccount>, String> {
    let account = |(address, raw): (Address, RawAccount)| {
        let slot = |(key, value): (String, Slot)| match quantity::parse(&key) {
            Some(slot) => Ok((slot, value.0)),
            None => Err(format!("storage key '{key}' of {address} is no 0x-prefixed number of 256 bits")),
        };
        let storage = raw.storage.into_iter().map(slot).collect::<Result<_, _>>()?;
        let (balance_wei, nonce, code_hash) = (raw.balance, raw.nonce, raw.code_hash);
        Ok((address, WitnessAccount { balance_wei, nonce, code_hash, storage }))
    };
    raw.into_iter().map(account).collect()
}

fn checked_codes(codes: BTreeMap<B256, Bytes>) -> Result<BTreeMap<B256, Bytes>, String> {
    for (stated, code) in &codes {
        let computed = keccak256(code);
        if computed != *stated {
            return Err(format!("code filed under {stated} hashes to {computed}"));
        }
    }
    Ok(codes)
}

fn block_hashes(raw: BTreeMap<String, B256>) -> Result<BTreeMap<u64, B256>, String> {
    let entry = |(number, hash): (String, B256)| match number.parse() {
        Ok(number) => Ok((number, hash)),
        Err(_) => Err(format!("'{number}' in blockHashes is no block number")),
    };
    raw.into_iter().map(entry).collect()
}

/// Collects the label, then stops.
struct LabelVisitor<'a>(&'a mut Label);

impl<'de> Visitor<'de> for LabelVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let label = self.0;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "format" => label.format = Some(map.next_value()?),
                "chainId" => label.chain_id = Some(map.next_value()?),
                "number" => label.number = Some(map.next_value()?),
                other => {
                    label.has_addresses |= other == "addresses";
                    label.has_tests |= other == "tests";
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if label.format.is_some() && label.chain_id.is_some() && label.number.is_some() {
                return Err(de::Error::custom("the label is complete"));
            }
        }
        Ok(())
    }
}
