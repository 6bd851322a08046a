//! Reads of the state, calls and gas estimates. In go addresses and a block, out come values of the state after that
//! block. A block that is unknown, or too old for its state to be retained, is an error and not a zero.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::TransactionRequest;

use super::params::Params;
use super::{Answer, RpcError, quantity, to_value};
use crate::chain::data::ChainData;
use crate::chain::seal::SealedBlock;
use crate::chain::simulate::{self, SimulateError};
use crate::chain::world::World;

fn block_param<'a>(data: &'a ChainData, params: &Params, index: usize) -> Result<&'a SealedBlock, RpcError> {
    let id: BlockId = params.optional(index, "block")?.unwrap_or_default();
    data.block_at(id).ok_or_else(|| RpcError::server(format!("header not found: block {id}")))
}

fn world_param<'a>(data: &'a ChainData, params: &Params, index: usize) -> Result<&'a World, RpcError> {
    let block = block_param(data, params, index)?;
    Ok(block.world.as_ref().ok_or(SimulateError::Pruned(block.number()))?)
}

pub(super) fn balance(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let address: Address = params.required(0, "address")?;
    to_value(world_param(data, &params, 1)?.balance_wei(address))
}

pub(super) fn code(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let address: Address = params.required(0, "address")?;
    to_value(world_param(data, &params, 1)?.code(address))
}

pub(super) fn storage(data: &ChainData, params: Params) -> Answer {
    params.at_most(3)?;
    let address: Address = params.required(0, "address")?;
    let slot: U256 = params.required(1, "slot")?;
    to_value(B256::from(world_param(data, &params, 2)?.slot(address, slot)))
}

pub(super) fn nonce(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let address: Address = params.required(0, "address")?;
    let id: BlockId = params.optional(1, "block")?.unwrap_or_default();
    if id == BlockId::Number(BlockNumberOrTag::Pending) {
        return Ok(quantity(data.pending_nonce(address)));
    }
    Ok(quantity(world_param(data, &params, 1)?.nonce(address)))
}

fn request_param(params: &Params) -> Result<TransactionRequest, RpcError> {
    let request: TransactionRequest = params.required(0, "transaction")?;
    let (input, data) = (&request.input.input, &request.input.data);
    if input.is_some() && data.is_some() && input != data {
        return Err(RpcError::invalid_params("invalid argument 0 (transaction): input and data differ"));
    }
    Ok(request)
}

/// `eth_call`. State and block overrides are not supported and refused as surplus parameters.
pub(super) fn call(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let request = request_param(&params)?;
    to_value(simulate::call(data, block_param(data, &params, 1)?, &request)?)
}

pub(super) fn estimate_gas(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let request = request_param(&params)?;
    Ok(quantity(simulate::estimate_gas(data, block_param(data, &params, 1)?, &request)?))
}
