//! Zodiac's Delay: a module of a Safe that holds transactions back.
//!
//! In: a log, and whom the module acts for. Out: an entry of one call, which the module will have the Safe make. Must never: make
//! the call in the Safe's name by itself, since the Safe may run foreign code on its own storage.

use super::entries::{Action, Entry, answer, decoded, seconds};
use crate::members::as_address;
use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall as _, sol};
use cordon_model::execution::{Execution, Log, ViewCall};
use cordon_model::plan::Call;
use cordon_model::units::Due;

sol! {
    #[derive(Debug)]
    event TransactionAdded(
        uint256 indexed queueNonce,
        bytes32 indexed txHash,
        address to,
        uint256 value,
        bytes data,
        uint8 operation
    );

    function execTransactionFromModule(address to, uint256 value, bytes data, uint8 operation) returns (bool success);
    function target() returns (address safe);
    function txCooldown() returns (uint256 seconds_);
}

pub(super) fn read(log: &Log, execution: &Execution) -> Result<Entry, String> {
    let event: TransactionAdded = decoded(log)?;
    let module = log.address;
    let executor = answer(execution, &target(module)).and_then(as_address);
    let executor = executor.ok_or("the module does not say for whom it acts")?;
    let cooldown_s = answer(execution, &cooldown(module)).map(seconds);
    let cooldown_s = cooldown_s.ok_or("the module does not say how long it waits")?;
    let due = Due::AtS(execution.timestamp_s.saturating_add(cooldown_s));
    let (to, value_wei, input) = (event.to, event.value, event.data);
    let action = Action { to, value_wei, input, delegate: event.operation == 1 };
    let entry = Entry::of_one(log, event.txHash, due, action);
    // The same transaction can be queued twice; the nonce is what tells the entries apart.
    Ok(Entry { executor, batch: event.queueNonce.into(), module: Some(module), ..entry })
}

/// How the module has the Safe make a call.
pub(super) fn call(safe: Address, action: &Action) -> Call {
    let input = execTransactionFromModuleCall {
        to: action.to,
        value: action.value_wei,
        data: action.input.clone(),
        operation: action.delegate.into(),
    };
    Call { to: Some(safe), value_wei: U256::ZERO, data: input.abi_encode().into() }
}

/// `target()`: whom the module calls.
pub(super) fn target(module: Address) -> ViewCall {
    ViewCall { target: module, input: targetCall::SELECTOR.into() }
}

/// `txCooldown()`: seconds before a transaction can be executed.
pub(super) fn cooldown(module: Address) -> ViewCall {
    ViewCall { target: module, input: txCooldownCall::SELECTOR.into() }
}
