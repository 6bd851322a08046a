//! OpenZeppelin's TimelockController: each call is told of in a log, those of a batch under one id.
//!
//! In: a log. Out: an entry of one call, to be joined with those of its id. Must never: ask who may execute it; nobody can
//! before it is due, and everybody's execution is the same.

use super::entries::{Action, Entry, decoded, seconds};
use alloy_sol_types::sol;
use cordon_model::execution::{Execution, Log};
use cordon_model::units::Due;

sol! {
    #[derive(Debug)]
    event CallScheduled(
        bytes32 indexed id,
        uint256 indexed index,
        address target,
        uint256 value,
        bytes data,
        bytes32 predecessor,
        uint256 delay
    );
}

pub(super) fn read(log: &Log, execution: &Execution) -> Result<Entry, String> {
    let event: CallScheduled = decoded(log)?;
    let due = Due::AtS(execution.timestamp_s.saturating_add(seconds(event.delay)));
    let action = Action { to: event.target, value_wei: event.value, input: event.data, delegate: false };
    Ok(Entry::of_one(log, event.id, due, action))
}
