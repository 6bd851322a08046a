//! A minimal reader of the block archive, for tests alone, so that this stage depends on no other.
//!
//! In: files of format `cordon-block/1`. Out: model blocks with witness. The product's own reader belongs to ingest.

use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, U256, keccak256};
use cordon_model::block::{
    AccessListEntry, Authorization, Block, ChainProfile, Outcome, PostedSize, RollupPart, Transaction,
    Withdrawal, Witness, WitnessAccount,
};
use cordon_model::units::ChainId;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The archive's directory, or `None` after saying that the test is skipped.
pub(crate) fn archive() -> Option<PathBuf> {
    let shared = std::env::var_os("CORDON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let blocks = shared.join("data/blocks");
    if blocks.is_dir() {
        return Some(blocks);
    }
    eprintln!("SKIPPED: no block archive at {}", blocks.display());
    None
}

pub(crate) fn files(archive: &Path, chain: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(archive.join(chain))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "zst"));
    files.sort();
    files
}

pub(crate) fn load(path: &Path) -> Block {
    block(&json(path))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap()
}

pub(crate) fn word(value: &Value) -> U256 {
    match value {
        Value::Number(number) => U256::from(number.as_u64().unwrap()),
        Value::String(text) => U256::from_str_radix(text.trim_start_matches("0x"), 16).unwrap(),
        Value::Null => U256::ZERO,
        other => panic!("no number: {other}"),
    }
}

pub(crate) fn opt<T>(value: &Value, read: impl Fn(&Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| read(value))
}

pub(crate) fn u64_of(value: &Value) -> u64 {
    word(value).try_into().unwrap()
}

fn u128_of(value: &Value) -> u128 {
    word(value).try_into().unwrap()
}

pub(crate) fn text<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn block(file: &Value) -> Block {
    let header = &file["header"];
    Block {
        chain_id: ChainId(u64_of(&file["chainId"])),
        number: u64_of(&file["number"]),
        hash: opt(&header["hash"], text).unwrap_or_default(),
        parent_hash: text(&header["parentHash"]),
        timestamp_s: u64_of(&header["timestamp"]),
        beneficiary: text(&header["miner"]),
        gas_limit: u64_of(&header["gasLimit"]),
        gas_used: u64_of(&header["gasUsed"]),
        base_fee_wei: opt(&header["baseFeePerGas"], u64_of),
        difficulty: word(&header["difficulty"]),
        mix_hash: opt(&header["mixHash"], text).unwrap_or_default(),
        excess_blob_gas: opt(&header["excessBlobGas"], u64_of),
        parent_beacon_block_root: opt(&header["parentBeaconBlockRoot"], text),
        receipts_root: text::<B256>(&header["receiptsRoot"]),
        logs_bloom: text::<Bloom>(&header["logsBloom"]),
        withdrawals: list(&file["withdrawals"])
            .map(|entry| Withdrawal {
                address: text(&entry["address"]),
                amount_gwei: u64_of(&entry["amount"]),
            })
            .collect(),
        transactions: list(&file["transactions"])
            .map(|tx| transaction(tx, file["chain"] == "optimism"))
            .collect(),
        outcomes: list(&file["receipts"])
            .map(|receipt| Outcome {
                success: opt(&receipt["status"], |status| !word(status).is_zero()),
                gas_used: u64_of(&receipt["gasUsed"]),
                data_fee_wei: opt(&receipt["l1Fee"], word),
                logs: (file.pointer("/checks/receiptsRoot") == Some(&Value::Bool(true)))
                    .then(|| list(&receipt["logs"]).map(log).collect()),
            })
            .collect(),
        witness: Some(Arc::new(witness(file))),
    }
}

fn log(log: &Value) -> Log {
    let topics = list(&log["topics"]).map(text).collect();
    Log::new(text(&log["address"]), topics, text::<Bytes>(&log["data"])).unwrap()
}

fn transaction(tx: &Value, is_op: bool) -> Transaction {
    Transaction {
        hash: text(&tx["hash"]),
        tx_type: opt(&tx["type"], u64_of).unwrap_or_default().try_into().unwrap(),
        from: text(&tx["from"]),
        to: opt(&tx["to"], text),
        nonce: u64_of(&tx["nonce"]),
        value_wei: word(&tx["value"]),
        input: text::<Bytes>(&tx["input"]),
        gas_limit: u64_of(&tx["gas"]),
        gas_price_wei: opt(&tx["gasPrice"], u128_of),
        max_fee_per_gas_wei: opt(&tx["maxFeePerGas"], u128_of),
        max_priority_fee_per_gas_wei: opt(&tx["maxPriorityFeePerGas"], u128_of),
        max_fee_per_blob_gas_wei: opt(&tx["maxFeePerBlobGas"], u128_of),
        chain_id: opt(&tx["chainId"], u64_of),
        access_list: list(&tx["accessList"])
            .map(|entry| AccessListEntry {
                address: text(&entry["address"]),
                storage_keys: list(&entry["storageKeys"]).map(text).collect(),
            })
            .collect(),
        blob_hashes: list(&tx["blobVersionedHashes"]).map(text).collect(),
        authorizations: list(&tx["authorizationList"])
            .map(|entry| Authorization {
                chain_id: word(&entry["chainId"]),
                address: text(&entry["address"]),
                nonce: u64_of(&entry["nonce"]),
                y_parity: u64_of(&entry["yParity"]).try_into().unwrap(),
                r: word(&entry["r"]),
                s: word(&entry["s"]),
            })
            .collect(),
        rollup: if is_op { rollup_part(tx) } else { RollupPart::None },
    }
}

/// What the OP stack's rules of 2023 ask for; FastLZ came later.
fn rollup_part(tx: &Value) -> RollupPart {
    if tx["type"] == "0x7e" {
        return RollupPart::Deposit { mint_wei: word(&tx["mint"]) };
    }
    let envelope: TxEnvelope = serde_json::from_value(tx.clone()).unwrap();
    let encoded = envelope.encoded_2718();
    assert_eq!(keccak256(&encoded), text::<B256>(&tx["hash"]));
    let zero_bytes = encoded.iter().filter(|byte| **byte == 0).count() as u64;
    let nonzero_bytes = encoded.len() as u64 - zero_bytes;
    RollupPart::Posted(PostedSize { zero_bytes, nonzero_bytes, fastlz_bytes: 0 })
}

fn witness(file: &Value) -> Witness {
    let accounts = file["prestate"].as_object().unwrap().iter().map(|(address, account)| {
        let account = WitnessAccount {
            balance_wei: word(&account["balance"]),
            nonce: u64_of(&account["nonce"]),
            code_hash: opt(&account["codeHash"], text),
            storage: account["storage"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(slot, value)| (word(&Value::String(slot.clone())), word(value)))
                .collect(),
        };
        (address.parse::<Address>().unwrap(), account)
    });
    Witness {
        profile: match file["chain"].as_str().unwrap() {
            "optimism" => ChainProfile::Optimism,
            "scroll" => ChainProfile::Scroll,
            "linea" => ChainProfile::Linea,
            _ => ChainProfile::Ethereum,
        },
        hardfork: text(&file["spec"]),
        blob_base_fee_update_fraction: opt(&file["blobBaseFeeUpdateFraction"], u64_of),
        accounts: accounts.collect(),
        codes: file["codes"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(hash, code)| (hash.parse::<B256>().unwrap(), text(code)))
            .collect(),
        block_hashes: file["blockHashes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(number, hash)| {
                let number = match number.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
                    None => number.parse().unwrap(),
                };
                (number, text(hash))
            })
            .collect(),
    }
}
