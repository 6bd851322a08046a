//! Calls and gas estimates against a past or present state. In go a block and a request, out come an outcome or the
//! reason why it could not start. Nothing here changes the chain.

use alloy_primitives::{Bytes, TxKind, U256};
use alloy_rpc_types_eth::TransactionRequest;
use revm::context::TxEnv;
use revm::context_interface::either::Either;

use super::data::ChainData;
use super::execute::{self, End, Mode, Outcome};
use super::seal::SealedBlock;
use super::world::{View, World};

/// Most gas one call may use: geth's default for `rpc.gascap`.
const CALL_GAS_CAP: u64 = 50_000_000;
/// Gas that a callee gets for free when value is sent; an estimate needs it on top because refunds come too late.
const CALL_STIPEND: u64 = 2_300;
/// EIP-150: a caller keeps one part in 64 of the gas it has.
const KEPT_PART: u64 = 64;
/// Bound of the search for the least gas limit; 2^26 is above every block gas limit in use.
const MAX_SEARCH_STEPS: u32 = 32;

/// Why a call has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SimulateError {
    #[error("execution reverted")]
    Reverted(Bytes),
    #[error("gas required exceeds allowance ({0})")]
    Allowance(u64),
    #[error("{0}")]
    Failed(String),
    #[error("missing trie node: the state of block {0} is not retained")]
    Pruned(u64),
}

/// Runs `request` on the state after `block`, within that block's environment.
pub(crate) fn call(
    data: &ChainData,
    block: &SealedBlock,
    request: &TransactionRequest,
) -> Result<Bytes, SimulateError> {
    let world = block.world.as_ref().ok_or(SimulateError::Pruned(block.number()))?;
    let mut tx = request_env(data, world, request)?;
    tx.gas_limit = request.gas.unwrap_or(CALL_GAS_CAP).min(CALL_GAS_CAP);
    let outcome = run(data, block, world, tx)?;
    match outcome.end {
        End::Success { output, .. } => Ok(output),
        End::Revert { output } => Err(SimulateError::Reverted(output)),
        End::Halt { reason, .. } => Err(SimulateError::Failed(reason)),
    }
}

/// The least gas limit with which `request` succeeds on the state after `block`.
pub(crate) fn estimate_gas(
    data: &ChainData,
    block: &SealedBlock,
    request: &TransactionRequest,
) -> Result<u64, SimulateError> {
    let world = block.world.as_ref().ok_or(SimulateError::Pruned(block.number()))?;
    let tx = request_env(data, world, request)?;
    let mut high = request.gas.unwrap_or(data.config.gas_limit).min(data.config.gas_limit);
    high = high.min(data.rules().tx_gas_cap().unwrap_or(u64::MAX));
    if tx.gas_price > 0 {
        let spendable_wei = world.balance_wei(tx.caller).saturating_sub(tx.value);
        let affordable = spendable_wei / U256::from(tx.gas_price);
        high = high.min(u64::try_from(affordable).unwrap_or(u64::MAX));
    }
    let attempt = |gas_limit: u64| run(data, block, world, TxEnv { gas_limit, ..tx.clone() });
    let least = data.rules().min_gas(&tx);
    if high < least {
        return Err(SimulateError::Allowance(high));
    }
    let first = attempt(high)?;
    match first.end {
        End::Success { .. } => {}
        End::Revert { output } => return Err(SimulateError::Reverted(output)),
        End::Halt { out_of_gas: true, .. } => return Err(SimulateError::Allowance(high)),
        End::Halt { reason, .. } => return Err(SimulateError::Failed(reason)),
    }
    let succeeds =
        |gas_limit: u64| attempt(gas_limit).is_ok_and(|run| matches!(run.end, End::Success { .. }));
    let mut low = first.gas_used.max(least).saturating_sub(1);
    // Most calls succeed just above what they spent; trying that first saves most of the search.
    let likely = first.gas_spent.saturating_add(CALL_STIPEND).saturating_mul(KEPT_PART) / (KEPT_PART - 1);
    if low < likely && likely < high {
        if succeeds(likely) {
            high = likely;
        } else {
            low = likely;
        }
    }
    for _ in 0..MAX_SEARCH_STEPS {
        if high.saturating_sub(low) <= 1 {
            break;
        }
        let middle = low + (high - low) / 2;
        if succeeds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

fn run(data: &ChainData, block: &SealedBlock, world: &World, tx: TxEnv) -> Result<Outcome, SimulateError> {
    let hashes = data.recent_hashes(block.number());
    let env = execute::block_env(&block.header.inner, data.rules());
    execute::execute(View { world, hashes: &hashes }, data.rules(), env, tx, Mode::Call)
        .map_err(|invalid| SimulateError::Failed(invalid.0))
}

fn request_env(
    data: &ChainData,
    world: &World,
    request: &TransactionRequest,
) -> Result<TxEnv, SimulateError> {
    if request.blob_versioned_hashes.is_some() || request.sidecar.is_some() {
        return Err(SimulateError::Failed("transaction type not supported: blobs".to_owned()));
    }
    if let Some(chain_id) = request.chain_id.filter(|id| *id != data.config.chain_id) {
        let want = data.config.chain_id;
        return Err(SimulateError::Failed(format!("invalid chain id: have {chain_id} want {want}")));
    }
    if request.gas_price.is_some() && request.max_fee_per_gas.is_some() {
        return Err(SimulateError::Failed(
            "both gasPrice and maxFeePerGas are given, expected one".to_owned(),
        ));
    }
    let caller = request.from.unwrap_or_default();
    let authorizations = request.authorization_list.clone().unwrap_or_default();
    let tx_type =
        match (authorizations.is_empty(), request.gas_price.is_some(), request.access_list.is_some()) {
            (false, _, _) => 4,
            (true, false, _) => 2,
            (true, true, true) => 1,
            (true, true, false) => 0,
        };
    Ok(TxEnv {
        tx_type,
        caller,
        gas_limit: 0,
        gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or_default(),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.input().cloned().unwrap_or_default(),
        nonce: world.nonce(caller),
        chain_id: Some(data.config.chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        gas_priority_fee: if tx_type >= 2 { request.max_priority_fee_per_gas } else { None },
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: authorizations.into_iter().map(Either::Left).collect(),
    })
}
