//! What the protocol itself does to state at the beginning and at the end of a block.
//!
//! In: the EVM of a block. Out: its state with the protocol's own changes. Must never: fail on a chain that does not
//! deploy the protocol's contracts.

use crate::error::{ReplayError, StateError};
use crate::machine::Machine;
use crate::rules::BlockRules;
use alloy_primitives::{Address, Bytes, U256, address};
use cordon_model::block::{Block, ChainProfile};
use revm::primitives::hardfork::SpecId;

/// Beacon roots contract (EIP-4788).
const BEACON_ROOTS: Address = address!("0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// Block hash history contract (EIP-2935).
const HISTORY_STORAGE: Address = address!("0x0000F90827F1C53a10cb7A02335B175320002935");
/// Withdrawal requests contract (EIP-7002), whose queue moves on at the end of a block.
const WITHDRAWAL_REQUESTS: Address = address!("0x00000961Ef480Eb55e80D19ad83579A64c007002");
/// Consolidation requests contract (EIP-7251), whose queue moves on at the end of a block.
const CONSOLIDATION_REQUESTS: Address = address!("0x0000BBdDc7CE488642fb579F8B00f3a590007251");
/// Wei in one gwei.
const WEI_PER_GWEI: U256 = U256::from_limbs([1_000_000_000, 0, 0, 0]);

/// The protocol's own calls before the first transaction.
pub(crate) fn opening_calls(block: &Block, rules: &BlockRules) -> Vec<(Address, Bytes)> {
    let mut calls = Vec::new();
    // Chains of the OP stack make them since Ecotone and Isthmus, which carry the hardforks below.
    let has_calls = matches!(rules.profile, ChainProfile::Ethereum | ChainProfile::Optimism);
    if !has_calls || block.number == 0 {
        return calls;
    }
    if rules.spec.is_enabled_in(SpecId::CANCUN)
        && let Some(root) = block.parent_beacon_block_root
    {
        calls.push((BEACON_ROOTS, root.into()));
    }
    if rules.spec.is_enabled_in(SpecId::PRAGUE) {
        calls.push((HISTORY_STORAGE, block.parent_hash.into()));
    }
    calls
}

/// The protocol's own calls after the last transaction. They matter for the next block only, so a block with a
/// witness, which has no next block and does not list what they touch, goes without.
pub(crate) fn closing_calls(block: &Block, rules: &BlockRules) -> Vec<(Address, Bytes)> {
    let has_requests = rules.profile == ChainProfile::Ethereum && rules.spec.is_enabled_in(SpecId::PRAGUE);
    if !has_requests || block.witness.is_some() {
        return Vec::new();
    }
    vec![(WITHDRAWAL_REQUESTS, Bytes::new()), (CONSOLIDATION_REQUESTS, Bytes::new())]
}

/// Contracts that the protocol itself calls in a block.
pub(crate) fn protocol_contracts(block: &Block, rules: &BlockRules) -> impl Iterator<Item = Address> {
    opening_calls(block, rules).into_iter().chain(closing_calls(block, rules)).map(|(contract, _)| contract)
}

/// Makes the protocol's own calls before the first transaction.
pub(crate) fn begin_block(
    machine: &mut Machine,
    block: &Block,
    rules: &BlockRules,
) -> Result<(), ReplayError> {
    for (contract, data) in opening_calls(block, rules) {
        protocol_call(machine, block, contract, data)?;
    }
    Ok(())
}

/// The protocol's own changes after the last transaction. The rewards of proof of work are not modelled (they depend
/// on the uncles, which are not part of a block's record); such blocks are not carried.
pub(crate) fn end_block(machine: &mut Machine, block: &Block, rules: &BlockRules) -> Result<(), ReplayError> {
    if rules.profile != ChainProfile::Ethereum || block.witness.is_some() {
        return Ok(());
    }
    for withdrawal in &block.withdrawals {
        let amount_wei = U256::from(withdrawal.amount_gwei).saturating_mul(WEI_PER_GWEI);
        machine.credit(withdrawal.address, amount_wei)?;
    }
    for (contract, data) in closing_calls(block, rules) {
        protocol_call(machine, block, contract, data)?;
    }
    Ok(())
}

fn protocol_call(
    machine: &mut Machine,
    block: &Block,
    contract: Address,
    data: Bytes,
) -> Result<(), ReplayError> {
    match machine.system_call(contract, data) {
        // A witness that leaves out what this call touches proves that no transaction of the block reads it.
        Err(error) if block.witness.is_some() && is_witness_gap(&error) => Ok(()),
        other => other,
    }
}

/// True where a witness does not contain what was asked for.
pub(crate) fn is_witness_gap(error: &ReplayError) -> bool {
    matches!(error, ReplayError::State { source: StateError::NotInWitness, .. })
}
