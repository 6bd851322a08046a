//! Fee suggestions and fee history, from the blocks themselves. In go block counts and percentiles, out come wei per
//! gas.

use alloy_consensus::Transaction as _;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::{FeeHistory, TransactionReceipt};
use serde_json::Value;

use super::params::Params;
use super::{Answer, RpcError, to_value};
use crate::chain::data::ChainData;
use crate::chain::seal::{SealedBlock, next_header};

/// How many blocks a suggestion looks at: geth's gas price oracle uses the same number.
const ORACLE_BLOCKS: usize = 20;
/// Which tip of those blocks is suggested: geth's gas price oracle uses the same percentile.
const ORACLE_PERCENTILE: usize = 60;
/// Most blocks in one fee history: geth's limit.
const MAX_HISTORY_BLOCKS: u64 = 1_024;
/// Most percentiles in one fee history: geth's limit.
const MAX_PERCENTILES: usize = 100;
/// Gas shares are computed in millionths.
const MILLION: u64 = 1_000_000;

/// A tip that recent transactions paid, or the configured minimum.
fn suggested_tip_wei(data: &ChainData) -> u128 {
    let mut tips_wei: Vec<u128> = data
        .newest(ORACLE_BLOCKS)
        .flat_map(|block| block.txs.iter().map(|tx| (block.base_fee_wei(), tx)))
        .filter_map(|(base_fee_wei, tx)| tx.inner().effective_tip_per_gas(base_fee_wei))
        .collect();
    tips_wei.sort_unstable();
    let index = tips_wei.len().saturating_sub(1) * ORACLE_PERCENTILE / 100;
    tips_wei.get(index).copied().unwrap_or_default().max(data.config.min_priority_fee_wei)
}

fn next_base_fee_wei(data: &ChainData) -> u64 {
    next_header(data).base_fee_per_gas.unwrap_or_default()
}

pub(super) fn priority_fee(data: &ChainData, params: Params) -> Answer {
    params.at_most(0)?;
    to_value(U256::from(suggested_tip_wei(data)))
}

pub(super) fn gas_price(data: &ChainData, params: Params) -> Answer {
    params.at_most(0)?;
    to_value(U256::from(u128::from(next_base_fee_wei(data)).saturating_add(suggested_tip_wei(data))))
}

pub(super) fn history(data: &ChainData, params: Params) -> Answer {
    params.at_most(3)?;
    let wanted = block_count(&params)?;
    let newest: BlockNumberOrTag = params.required(1, "newest block")?;
    let last = data.resolve(newest);
    if data.block(last).is_none() {
        let head = data.head().number();
        return Err(RpcError::server(format!("request beyond head block: requested {last}, head {head}")));
    }
    let percentiles: Option<Vec<f64>> = params.optional(2, "reward percentiles")?;
    let percentiles = percentiles.map(parse_percentiles).transpose()?;
    let oldest = (last + 1).saturating_sub(wanted.clamp(1, MAX_HISTORY_BLOCKS));
    let blocks: Vec<&SealedBlock> = (oldest..=last).filter_map(|number| data.block(number)).collect();
    let after_last = data.block(last + 1).map_or_else(|| next_base_fee_wei(data), SealedBlock::base_fee_wei);
    let base_fees = blocks.iter().map(|block| block.base_fee_wei()).chain([after_last]).map(u128::from);
    to_value(FeeHistory {
        base_fee_per_gas: base_fees.collect(),
        gas_used_ratio: blocks.iter().map(|block| gas_used_ratio(block)).collect(),
        // No block carries blobs: the price stays at its minimum of one wei.
        base_fee_per_blob_gas: vec![1; blocks.len() + 1],
        blob_gas_used_ratio: vec![0.0; blocks.len()],
        oldest_block: oldest,
        reward: percentiles.map(|wanted| blocks.iter().map(|block| rewards(block, &wanted)).collect()),
    })
}

/// The number of blocks comes as a quantity or, from some clients, as a plain number.
fn block_count(params: &Params) -> Result<u64, RpcError> {
    match params.required::<Value>(0, "block count")? {
        Value::Number(number) => number.as_u64().ok_or_else(|| {
            RpcError::invalid_params(format!("invalid argument 0 (block count): {number} is no whole number"))
        }),
        _ => Ok(params.required::<U64>(0, "block count")?.to()),
    }
}

/// Percentiles in hundredths of a percent, checked to rise within 0 and 100.
fn parse_percentiles(percentiles: Vec<f64>) -> Result<Vec<u64>, RpcError> {
    let refuse = |reason: String| {
        RpcError::invalid_params(format!("invalid argument 2 (reward percentiles): {reason}"))
    };
    if percentiles.len() > MAX_PERCENTILES {
        return Err(refuse(format!("expected at most {MAX_PERCENTILES}, got {}", percentiles.len())));
    }
    let mut parsed: Vec<u64> = Vec::with_capacity(percentiles.len());
    for percentile in percentiles {
        if !(0.0..=100.0).contains(&percentile) {
            return Err(refuse(format!("{percentile} is not within 0 and 100")));
        }
        let hundredths = format!("{percentile:.2}").replace('.', "").parse().unwrap_or_default();
        if parsed.last().is_some_and(|before| *before > hundredths) {
            return Err(refuse(format!("{percentile} is below the one before")));
        }
        parsed.push(hundredths);
    }
    Ok(parsed)
}

/// Share of the block's gas limit that was used. Made from its decimal digits, so the result is the same everywhere.
fn gas_used_ratio(block: &SealedBlock) -> f64 {
    let header = &block.header.inner;
    let millionths = u128::from(header.gas_used) * u128::from(MILLION) / u128::from(header.gas_limit.max(1));
    let (whole, part) = (millionths / u128::from(MILLION), millionths % u128::from(MILLION));
    format!("{whole}.{part:06}").parse().unwrap_or_default()
}

/// For each percentile the tip of the transaction that stands there when the block's gas is sorted by tip.
fn rewards(block: &SealedBlock, percentiles: &[u64]) -> Vec<u128> {
    let base_fee_wei = u128::from(block.base_fee_wei());
    let tip_wei = |receipt: &TransactionReceipt| receipt.effective_gas_price.saturating_sub(base_fee_wei);
    let mut paid: Vec<(u128, u64)> =
        block.receipts.iter().map(|receipt| (tip_wei(receipt), receipt.gas_used)).collect();
    paid.sort_unstable();
    let total_gas = u128::from(block.header.inner.gas_used);
    percentiles
        .iter()
        .map(|hundredths| {
            let threshold = total_gas * u128::from(*hundredths) / 10_000;
            let mut gas = 0_u128;
            let at_threshold = paid.iter().find(|(_, used)| {
                gas += u128::from(*used);
                gas >= threshold
            });
            at_threshold.map_or(0, |(tip_wei, _)| *tip_wei)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_must_rise_within_bounds() {
        assert_eq!(parse_percentiles(vec![0.0, 12.5, 100.0]).unwrap(), [0, 1_250, 10_000]);
        assert!(parse_percentiles(vec![50.0, 10.0]).unwrap_err().message.contains("below the one before"));
        assert!(parse_percentiles(vec![101.0]).unwrap_err().message.contains("reward percentiles"));
        assert_eq!(parse_percentiles(vec![f64::NAN]).unwrap_err().code, -32_602);
    }
}
