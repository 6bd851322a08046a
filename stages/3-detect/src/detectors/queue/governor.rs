//! OpenZeppelin's Governor and Compound's Governor Bravo: a proposal with all its calls, in one log of the same form.
//!
//! In: a log, and whether the governor names a timelock. Out: an entry that is due when the vote ends, at the earliest: what its
//! timelock adds is known when it is queued there. Must never: wait for the vote, since a proposal can be looked at before it.

use super::compound::calldata;
use super::entries::{Action, Entry, answer, decoded, seconds};
use crate::members::as_address;
use alloy_primitives::{Address, B256};
use alloy_sol_types::{SolCall as _, sol};
use cordon_model::execution::{Execution, Log, ViewCall};
use cordon_model::units::Due;

sol! {
    #[derive(Debug)]
    event ProposalCreated(
        uint256 proposalId,
        address proposer,
        address[] targets,
        uint256[] values,
        string[] signatures,
        bytes[] calldatas,
        uint256 voteStart,
        uint256 voteEnd,
        string description
    );

    function timelock() returns (address executor);
}

pub(super) fn read(log: &Log, execution: &Execution) -> Result<Entry, String> {
    let event: ProposalCreated = decoded(log)?;
    let calls = event.targets.len();
    let lengths = [event.values.len(), event.signatures.len(), event.calldatas.len()];
    if lengths.iter().any(|length| *length != calls) {
        return Err(format!("it has {calls} targets, but {lengths:?} values, signatures and calldatas"));
    }
    let parts = event.targets.into_iter().zip(event.values);
    let inputs = event.signatures.into_iter().zip(event.calldatas);
    let actions = parts.zip(inputs).map(|((to, value_wei), (signature, data))| Action {
        to,
        value_wei,
        input: calldata(&signature, data),
        delegate: false,
    });
    let queue = log.address;
    let id = B256::from(event.proposalId);
    let executor = answer(execution, &timelock(queue)).and_then(as_address).unwrap_or(queue);
    let due = due(seconds(event.voteEnd), execution.timestamp_s);
    let (calls, batch) = (actions.collect(), id);
    Ok(Entry { queue, executor, id, batch, due, calls, module: None, is_cut: false })
}

/// Governors count in blocks or in seconds. No chain's height comes near the number of seconds since 1970.
fn due(vote_end: u64, now_s: u64) -> Due {
    if vote_end >= now_s { Due::AtS(vote_end) } else { Due::AtBlock(vote_end) }
}

/// `timelock()`: who executes for a governor that does not do it itself.
pub(super) fn timelock(governor: Address) -> ViewCall {
    ViewCall { target: governor, input: timelockCall::SELECTOR.into() }
}
