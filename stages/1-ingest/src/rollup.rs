//! What the rules of the OP stack ask about transactions beyond Ethereum's fields: mints, and sizes of encodings.
//!
//! In: transactions as JSON-RPC spells them, and the model's ones beside them. Out: the model's ones with their
//! [`RollupPart`]. Must never: take a size from an encoding whose hash is not the transaction's.

mod fastlz;

use crate::quantity;
use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{U256, keccak256};
use cordon_model::block::{PostedSize, RollupPart, Transaction};
use cordon_model::chains::{ChainFamily, chain_spec};
use cordon_model::units::ChainId;
use serde::Deserialize;
use serde_json::value::RawValue;

/// EIP-2718 type of the OP stack's deposits (specs.optimism.io, "Deposits").
const DEPOSIT_TX_TYPE: u8 = 0x7e;

#[derive(Debug, Deserialize)]
struct RawDeposit {
    #[serde(default, deserialize_with = "quantity::optional")]
    mint: Option<U256>,
}

/// True for a chain whose fees follow from [`RollupPart`].
pub(crate) fn is_op_stack(chain_id: ChainId) -> bool {
    chain_spec(chain_id).is_some_and(|spec| spec.family == ChainFamily::OpStack)
}

/// Adds to each transaction of an OP-stack chain what its rules ask for; [`RollupPart::None`] where that does not fit.
///
/// # Errors
/// In words, the first that does not fit: its encoding is known and hashes to something else than it states, or its mint
/// is no number.
pub(crate) fn annotate(raws: &[Box<RawValue>], transactions: &mut [Transaction]) -> Result<(), String> {
    let mut outcome = Ok(());
    for (index, (raw, transaction)) in raws.iter().zip(transactions).enumerate() {
        match part(raw, transaction) {
            Ok(part) => transaction.rollup = part,
            Err(what) => outcome = outcome.and_then(|()| Err(format!("transaction {index} {what}"))),
        }
    }
    outcome
}

fn part(raw: &RawValue, transaction: &Transaction) -> Result<RollupPart, String> {
    if transaction.tx_type == DEPOSIT_TX_TYPE {
        let deposit: RawDeposit =
            serde_json::from_str(raw.get()).map_err(|error| format!("is a deposit, but {error}"))?;
        return Ok(RollupPart::Deposit { mint_wei: deposit.mint.unwrap_or_default() });
    }
    let Ok(envelope) = serde_json::from_str::<TxEnvelope>(raw.get()) else {
        return Ok(RollupPart::None);
    };
    let encoded = envelope.encoded_2718();
    let (stated, computed) = (transaction.hash, keccak256(&encoded));
    if computed != stated {
        return Err(format!("states hash {stated}, computed {computed}"));
    }
    Ok(RollupPart::Posted(posted_size(&encoded)))
}

fn posted_size(encoded: &[u8]) -> PostedSize {
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let zeros = encoded.iter().filter(|byte| **byte == 0).count();
    PostedSize {
        zero_bytes: count(zeros),
        nonzero_bytes: count(encoded.len().saturating_sub(zeros)),
        fastlz_bytes: fastlz::compressed_len(encoded),
    }
}

#[cfg(test)]
mod tests;
