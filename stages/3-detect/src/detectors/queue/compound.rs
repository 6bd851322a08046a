//! Compound's Timelock: each call has a log of its own, and those of a proposal share the time from which they may be executed.
//!
//! In: a log. Out: an entry of one call, to be joined with those of the same time, since whoever queues several at once executes
//! them together. Must never: take the data for the whole calldata where a signature stands beside it.

use super::entries::{Action, Entry, decoded, seconds};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_sol_types::sol;
use cordon_model::execution::Log;
use cordon_model::units::Due;

sol! {
    #[derive(Debug)]
    event QueueTransaction(
        bytes32 indexed txHash,
        address indexed target,
        uint256 value,
        string signature,
        bytes data,
        uint256 eta
    );
}

pub(super) fn read(log: &Log) -> Result<Entry, String> {
    let event: QueueTransaction = decoded(log)?;
    let input = calldata(&event.signature, event.data);
    let action = Action { to: event.target, value_wei: event.value, input, delegate: false };
    let entry = Entry::of_one(log, event.txHash, Due::AtS(seconds(event.eta)), action);
    Ok(Entry { batch: B256::from(event.eta), ..entry })
}

/// What the timelock sends: the data alone, or the selector of a signature before it.
pub(super) fn calldata(signature: &str, data: Bytes) -> Bytes {
    if signature.is_empty() {
        return data;
    }
    let hash = keccak256(signature);
    let selector = hash.get(..4).unwrap_or_default();
    [selector, &data].concat().into()
}
