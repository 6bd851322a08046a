//! Blocks, transactions and receipts. In go hashes and numbers, out come the objects of the execution API, or null for
//! what the chain does not have.

use alloy_eips::eip4895::Withdrawals;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Block, BlockTransactions};
use serde_json::Value;

use super::params::Params;
use super::{Answer, to_value};
use crate::chain::data::ChainData;
use crate::chain::pending_tx;
use crate::chain::seal::SealedBlock;

pub(super) fn by_number(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let tag: BlockNumberOrTag = params.required(0, "block number")?;
    block(data.block(data.resolve(tag)), &params)
}

pub(super) fn by_hash(data: &ChainData, params: Params) -> Answer {
    params.at_most(2)?;
    let hash: B256 = params.required(0, "block hash")?;
    block(data.block_by_hash(hash), &params)
}

fn block(found: Option<&SealedBlock>, params: &Params) -> Answer {
    let full: bool = params.optional(1, "full transactions")?.unwrap_or_default();
    let Some(block) = found else {
        return Ok(Value::Null);
    };
    let transactions = if full {
        BlockTransactions::Full((0..block.txs.len()).filter_map(|index| block.rpc_tx(index)).collect())
    } else {
        BlockTransactions::Hashes(block.txs.iter().map(|tx| *tx.inner().tx_hash()).collect())
    };
    let block: Block =
        Block::new(block.header.clone(), transactions).with_withdrawals(Some(Withdrawals::default()));
    to_value(block)
}

pub(super) fn transaction(data: &ChainData, params: Params) -> Answer {
    params.at_most(1)?;
    let hash: B256 = params.required(0, "transaction hash")?;
    if let Some(waiting) = data.pool.get(hash) {
        return to_value(pending_tx(waiting.tx.clone()));
    }
    to_value(data.tx_place(hash).and_then(|(block, index)| block.rpc_tx(index)))
}

pub(super) fn receipt(data: &ChainData, params: Params) -> Answer {
    params.at_most(1)?;
    let hash: B256 = params.required(0, "transaction hash")?;
    to_value(data.tx_place(hash).and_then(|(block, index)| block.receipts.get(index)))
}

pub(super) fn receipts(data: &ChainData, params: Params) -> Answer {
    params.at_most(1)?;
    let id: BlockId = params.required(0, "block")?;
    to_value(data.block_at(id).map(|block| &block.receipts))
}
