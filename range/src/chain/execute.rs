//! Runs one transaction or one call in the EVM against one state. The only place that builds an EVM.
//!
//! In go a state view, a block environment and a transaction; out come plain values and the state changes, which the
//! caller may commit. Nothing here changes a state.

use alloy_consensus::{Header, Transaction as _, TxEnvelope, Typed2718 as _};
use alloy_primitives::{Address, Bytes, Log, U256};
use revm::context::result::{EVMError, ExecutionResult, HaltReason, Output};
use revm::context::{BlockEnv, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::cfg::gas::calculate_initial_tx_gas_for_tx;
use revm::context_interface::either::Either;
use revm::primitives::eip7825::TX_GAS_LIMIT_CAP;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, ExecuteEvm as _, MainBuilder as _, MainContext as _};

use super::config::Fork;
use super::world::View;

/// The rules of the chain as far as one execution needs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) chain_id: u64,
    pub(crate) fork: Fork,
}

impl Rules {
    fn spec(self) -> SpecId {
        match self.fork {
            Fork::Prague => SpecId::PRAGUE,
            Fork::Osaka => SpecId::OSAKA,
        }
    }

    /// Most gas one transaction may ask for, if the rules have such a cap.
    pub(crate) fn tx_gas_cap(self) -> Option<u64> {
        match self.fork {
            Fork::Prague => None,
            Fork::Osaka => Some(TX_GAS_LIMIT_CAP),
        }
    }

    /// Least gas limit with which `tx` can start: intrinsic gas, or the calldata floor of EIP-7623 if higher.
    pub(crate) fn min_gas(self, tx: &TxEnv) -> u64 {
        let gas = calculate_initial_tx_gas_for_tx(tx, self.spec(), None);
        gas.initial_regular_gas.saturating_add(gas.initial_state_gas).max(gas.floor_gas)
    }
}

/// How strictly fees and limits are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a block does it.
    Consensus,
    /// As `eth_call` does it: no fee is due when none is named, contracts may be the caller, the caps on gas rest.
    Call,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Success { output: Bytes, created: Option<Address> },
    Revert { output: Bytes },
    Halt { reason: String, out_of_gas: bool },
}

/// What an execution did.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) gas_used: u64,
    /// Gas spent before refunds: the amount that must be there while it runs.
    pub(crate) gas_spent: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) changes: EvmState,
}

/// The EVM refused to start; the text names the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

/// The block environment that `header` describes.
pub(crate) fn block_env(header: &Header, rules: Rules) -> BlockEnv {
    let excess = header.excess_blob_gas.unwrap_or_default();
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new_with_spec(excess, rules.spec())),
        ..BlockEnv::default()
    }
}

/// The EVM's form of a signed transaction. Blob transactions never come here: the pool refuses them.
pub(crate) fn tx_env(tx: &TxEnvelope, caller: Address) -> TxEnv {
    TxEnv {
        tx_type: tx.ty(),
        caller,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: tx
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Either::Left)
            .collect(),
    }
}

/// Runs `tx` on top of `view` within `block`.
pub(crate) fn execute(
    view: View<'_>,
    rules: Rules,
    block: BlockEnv,
    tx: TxEnv,
    mode: Mode,
) -> Result<Outcome, Invalid> {
    let free = mode == Mode::Call && tx.gas_price == 0;
    let context = Context::mainnet().with_ref_db(view).with_block(block).modify_cfg_chained(|cfg| {
        cfg.set_spec_and_mainnet_gas_params(rules.spec());
        cfg.chain_id = rules.chain_id;
        if mode == Mode::Call {
            cfg.disable_base_fee = free;
            cfg.disable_eip3607 = true;
            cfg.disable_block_gas_limit = true;
            cfg.tx_gas_limit_cap = Some(u64::MAX);
        }
    });
    let done = context.build_mainnet().transact(tx).map_err(|error| match error {
        // Without the prefix that the outer error adds: callers look at how the text starts.
        EVMError::Transaction(invalid) => Invalid(invalid.to_string()),
        other => Invalid(other.to_string()),
    })?;
    let (gas, logs, end) = match done.result {
        ExecutionResult::Success { gas, logs, output, .. } => {
            let (output, created) = match output {
                Output::Call(data) => (data, None),
                Output::Create(data, address) => (data, address),
            };
            (gas, logs, End::Success { output, created })
        }
        // Logs of a failed execution are no part of the chain.
        ExecutionResult::Revert { gas, output, .. } => (gas, Vec::new(), End::Revert { output }),
        ExecutionResult::Halt { gas, reason, .. } => {
            let out_of_gas = matches!(reason, HaltReason::OutOfGas(_));
            (gas, Vec::new(), End::Halt { reason: format!("execution halted: {reason:?}"), out_of_gas })
        }
    };
    Ok(Outcome {
        end,
        gas_used: gas.tx_gas_used(),
        gas_spent: gas.total_gas_spent(),
        logs,
        changes: done.state,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
    use alloy_eips::eip4788::BEACON_ROOTS_ADDRESS;
    use revm::SystemCallEvm as _;

    use super::super::world::World;
    use super::*;

    #[test]
    fn system_calls_to_the_absent_contracts_change_no_state() {
        let mut world = World::default();
        world.add_balance(Address::repeat_byte(1), U256::from(1));
        let before = world.state_root();
        for contract in [BEACON_ROOTS_ADDRESS, HISTORY_STORAGE_ADDRESS] {
            let view = View { world: &world, hashes: &BTreeMap::new() };
            let context = Context::mainnet().with_ref_db(view);
            let done = context.build_mainnet().system_call(contract, Bytes::from(vec![1; 32])).unwrap();
            assert!(done.result.is_success());
            world.commit(done.state);
            assert_eq!(world.state_root(), before);
        }
    }
}
