//! `eth_getLogs`. In goes a filter by block range or block hash, address and topics; out come the logs of mined
//! transactions, in block order. A range that ends beyond the head ends at the head, as with geth.

use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

use super::params::Params;
use super::{Answer, RpcError, to_value};
use crate::chain::data::ChainData;

/// Most logs in one answer: the limit of the large hosted providers.
const MAX_LOGS: usize = 10_000;

pub(super) fn get(data: &ChainData, params: Params) -> Answer {
    params.at_most(1)?;
    let filter: Filter = params.required(0, "filter")?;
    let (first, last) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = data.block_by_hash(hash).ok_or_else(|| RpcError::server("unknown block"))?;
            (block.number(), block.number())
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let first = data.resolve(from_block.unwrap_or_default());
            let last = data.resolve(to_block.unwrap_or_default());
            if first > last {
                let reason = format!("invalid block range params: from {first} is above to {last}");
                return Err(RpcError::invalid_params(reason));
            }
            (first, last.min(data.head().number()))
        }
    };
    let mut found: Vec<&Log> = Vec::new();
    for block in (first..=last).filter_map(|number| data.block(number)) {
        for log in block.receipts.iter().flat_map(|receipt| receipt.inner.logs()) {
            if filter.matches(&log.inner) {
                if found.len() >= MAX_LOGS {
                    let reason = format!("query returned more than {MAX_LOGS} results");
                    return Err(RpcError::invalid_params(reason));
                }
                found.push(log);
            }
        }
    }
    to_value(found)
}
