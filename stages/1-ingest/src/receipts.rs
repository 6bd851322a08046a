//! From JSON-RPC receipts to the outcomes of a block, checked against its header.
//!
//! In: the receipts of one block as a node gives them. Out: status and gas of each transaction. Where the encoding of
//! every receipt is known their root is recomputed, so that a node cannot make a failed attack look like a successful
//! one. It must never take outcomes of other transactions than those of the block.

use crate::convert::Integrity;
use crate::error::SourceError;
use crate::quantity;
use alloy_consensus::constants::EMPTY_ROOT_HASH;
use alloy_consensus::proofs::ordered_trie_root_encoded;
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, U256};
use cordon_model::block::{Block, Outcome};
use serde::Deserialize;

/// A receipt as JSON-RPC spells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawReceipt {
    transaction_hash: B256,
    #[serde(default, deserialize_with = "quantity::optional")]
    status: Option<u8>,
    /// State root after the transaction: what receipts held before Byzantium.
    root: Option<Bytes>,
    #[serde(deserialize_with = "quantity::required")]
    cumulative_gas_used: u64,
    #[serde(default, deserialize_with = "quantity::optional")]
    gas_used: Option<u64>,
    /// Fee for layer 1 on rollups; no part of what the root covers.
    #[serde(default, deserialize_with = "quantity::optional")]
    l1_fee: Option<U256>,
    logs_bloom: Bloom,
    logs: Vec<RawLog>,
}

/// A log as JSON-RPC spells it.
#[derive(Debug, Deserialize)]
pub(crate) struct RawLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

/// The outcomes of a block. `Integrity::Full` demands that they fit the header; the lesser degrees take what fits and
/// give nothing where the receipts do not belong to the transactions, as on chains whose nodes list transactions that
/// the header does not commit to.
pub(crate) fn outcomes(
    receipts: Vec<RawReceipt>,
    block: &Block,
    origin: &str,
    integrity: Integrity,
) -> Result<Vec<Outcome>, SourceError> {
    let mismatch = |reason: String| SourceError::ReceiptsMismatch {
        origin: origin.to_owned(),
        number: block.number,
        reason,
    };
    let checked = match integrity {
        Integrity::Full => read(&receipts, block).and_then(|outcomes| {
            let logs = checked_logs(receipts, block, origin)?;
            Ok(with_logs(outcomes, logs))
        }),
        Integrity::Header | Integrity::Stated => read(&receipts, block),
    };
    match (checked, integrity) {
        (Ok(outcomes), _) => Ok(outcomes),
        (Err(reason), Integrity::Full) => Err(mismatch(reason)),
        (Err(reason), Integrity::Header | Integrity::Stated) => {
            tracing::debug!(origin, number = block.number, reason, "receipts do not fit: no outcomes");
            Ok(Vec::new())
        }
    }
}

/// What a block without transactions must state; its receipts need not be asked for.
pub(crate) fn check_empty(block: &Block, origin: &str, integrity: Integrity) -> Result<(), SourceError> {
    if integrity == Integrity::Full && block.receipts_root != EMPTY_ROOT_HASH {
        let reason = format!("there are no transactions, the header's root is {}", block.receipts_root);
        return Err(SourceError::ReceiptsMismatch {
            origin: origin.to_owned(),
            number: block.number,
            reason,
        });
    }
    Ok(())
}

fn read(receipts: &[RawReceipt], block: &Block) -> Result<Vec<Outcome>, String> {
    if receipts.len() != block.transactions.len() {
        return Err(format!(
            "{} receipts came for {} transactions",
            receipts.len(),
            block.transactions.len()
        ));
    }
    let mut cumulative = 0;
    let mut outcomes = Vec::with_capacity(receipts.len());
    for (index, (receipt, transaction)) in receipts.iter().zip(&block.transactions).enumerate() {
        if receipt.transaction_hash != transaction.hash {
            return Err(format!(
                "receipt {index} is of transaction {}, expected {}",
                receipt.transaction_hash, transaction.hash
            ));
        }
        let gas_used = receipt.cumulative_gas_used.checked_sub(cumulative).ok_or_else(|| {
            format!(
                "receipt {index} states {} gas in total, less than the one before",
                receipt.cumulative_gas_used
            )
        })?;
        if receipt.gas_used.is_some_and(|stated| stated != gas_used) {
            return Err(format!(
                "receipt {index} states {} gas, but the totals differ by {gas_used}",
                receipt.gas_used.unwrap_or_default()
            ));
        }
        cumulative = receipt.cumulative_gas_used;
        let stated = Outcome::new(receipt.success(), gas_used);
        outcomes.push(Outcome { data_fee_wei: receipt.l1_fee, ..stated });
    }
    Ok(outcomes)
}

/// Adds the logs, one list for each transaction, where there are any to rely upon.
pub(crate) fn with_logs(mut outcomes: Vec<Outcome>, logs: Option<Vec<Vec<Log>>>) -> Vec<Outcome> {
    for (outcome, logs) in outcomes.iter_mut().zip(logs.into_iter().flatten()) {
        outcome.logs = Some(logs);
    }
    outcomes
}

/// The logs, where every encoding is known: then the root is compared, and they are the chain's word. The types are those
/// of the transactions, which were checked: a node cannot evade the check by stating a type that nobody knows.
fn checked_logs(
    receipts: Vec<RawReceipt>,
    block: &Block,
    origin: &str,
) -> Result<Option<Vec<Vec<Log>>>, String> {
    let mut encoded = Vec::with_capacity(receipts.len());
    let mut logs = Vec::with_capacity(receipts.len());
    for (index, (receipt, transaction)) in receipts.into_iter().zip(&block.transactions).enumerate() {
        let Ok(tx_type) = TxType::try_from(transaction.tx_type) else {
            tracing::debug!(origin, number = block.number, "receipts of unknown encoding: root not checked");
            return Ok(None);
        };
        let receipt = receipt.consensus().map_err(|what| format!("receipt {index} {what}"))?;
        logs.push(receipt.receipt.logs.clone());
        encoded.push(ReceiptEnvelope::from_typed(tx_type, receipt).encoded_2718());
    }
    let computed = ordered_trie_root_encoded(&encoded);
    if computed == block.receipts_root {
        Ok(Some(logs))
    } else {
        Err(format!("the header's root is {}, computed {computed}", block.receipts_root))
    }
}

impl RawReceipt {
    fn success(&self) -> Option<bool> {
        self.status.map(|status| status == 1)
    }

    /// As the protocol defines it; the error says what cannot be.
    fn consensus(self) -> Result<ReceiptWithBloom<Receipt>, &'static str> {
        let root = || self.root.as_ref().and_then(|root| B256::try_from(root.as_ref()).ok());
        let status = match (self.success(), root()) {
            (Some(success), _) => Eip658Value::Eip658(success),
            (None, Some(root)) => Eip658Value::PostState(root),
            (None, None) => return Err("holds neither a status nor a state root"),
        };
        let logs = logs(self.logs)?;
        let receipt = Receipt { status, cumulative_gas_used: self.cumulative_gas_used, logs };
        Ok(ReceiptWithBloom { receipt, logs_bloom: self.logs_bloom })
    }
}

/// Logs as the protocol defines them.
pub(crate) fn logs(logs: Vec<RawLog>) -> Result<Vec<Log>, &'static str> {
    let log = |log: RawLog| Log::new(log.address, log.topics, log.data);
    logs.into_iter().map(log).collect::<Option<_>>().ok_or("holds a log with more than four topics")
}

#[cfg(test)]
mod tests;
