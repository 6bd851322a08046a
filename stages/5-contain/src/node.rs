//! What this crate asks a node, and how it reads the answers.
//!
//! In: a provider. Out: plain values, and failures told apart: a call that the EVM refused is an answer, a node that
//! did not answer is not. Must never take silence for either.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_provider::{DynProvider, Provider};
use alloy_rpc_types_eth::{TransactionInput, TransactionReceipt, TransactionRequest};
use alloy_sol_types::decode_revert_reason;
use alloy_transport::{RpcError, TransportError};
use cordon_model::lane::Intent;
use cordon_model::plan::{Call, Receipt};
use cordon_model::units::BlockRef;

use crate::fees::{FEE_HISTORY_BLOCKS, Market, TIP_PERCENTILE};

/// Longest text of a node that is kept; an error may carry a whole web page.
const NODE_TEXT_CHARS_MAX: usize = 200;

/// A node that could not be asked, or whose answer makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the node failed while {doing}")]
pub struct NodeError {
    /// What was being asked.
    pub doing: &'static str,
    /// Cause.
    #[source]
    pub source: TransportError,
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(TransportError) -> NodeError {
    move |source| NodeError { doing, source }
}

/// Outcome of a call that was asked of a node.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// The EVM ran it to its end.
    Ran(T),
    /// The EVM refused it, for this reason.
    Reverted(String),
}

/// Tells a call that the EVM refused from a node that failed.
pub(crate) fn answer<T>(
    doing: &'static str,
    result: Result<T, TransportError>,
) -> Result<Answer<T>, NodeError> {
    match result {
        Ok(value) => Ok(Answer::Ran(value)),
        Err(RpcError::ErrorResp(payload)) if is_evm_refusal(payload.code, &payload.message) => {
            let data = payload.as_revert_data().unwrap_or_default();
            Ok(Answer::Reverted(revert_reason(&data, &payload.message)))
        }
        Err(source) => Err(NodeError { doing, source }),
    }
}

/// Whether an error object speaks of the EVM. Code 3 is the execution API's for a revert; the texts are those of
/// geth, reth, Erigon, Nethermind, Besu and anvil for reverts and exceptional halts.
fn is_evm_refusal(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let texts = [
        "revert",
        "invalid opcode",
        "invalid jump",
        "evm error",
        "vm execution error",
        "gas required exceeds allowance",
    ];
    code == 3 || texts.iter().any(|text| message.contains(text))
}

/// A revert in words: the standard errors, and those with which OpenZeppelin's contracts refuse a lever.
fn revert_reason(data: &Bytes, message: &str) -> String {
    let known = [
        "EnforcedPause()",
        "ExpectedPause()",
        "AccessControlUnauthorizedAccount(address,bytes32)",
        "OwnableUnauthorizedAccount(address)",
        "AccessManagedUnauthorized(address)",
    ];
    let selector = data.get(..4);
    let named = known.iter().find(|signature| keccak256(signature).get(..4) == selector);
    let text = match (named, selector) {
        (Some(signature), _) => (*signature).to_owned(),
        (None, Some(selector)) => {
            decode_revert_reason(data).unwrap_or_else(|| format!("error {}", hex::encode_prefixed(selector)))
        }
        (None, None) => message.to_owned(),
    };
    shortened(&text)
}

/// A node's text, cut to a bounded length and freed of control characters, as it goes into logs.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NODE_TEXT_CHARS_MAX).collect()
}

/// The request that a call of a plan makes.
pub(crate) fn request(from: Option<Address>, call: &Call) -> TransactionRequest {
    TransactionRequest {
        from,
        to: Some(call.to.map_or(TxKind::Create, TxKind::Call)),
        value: Some(call.value_wei),
        input: TransactionInput::new(call.data.clone()),
        ..TransactionRequest::default()
    }
}

/// Runs a call without sending it.
pub(crate) async fn call(
    provider: &DynProvider,
    request: TransactionRequest,
    block: BlockId,
) -> Result<Answer<Bytes>, NodeError> {
    let doing = "running a call without sending it";
    answer(doing, provider.call(request).block(block).await)
}

/// Gas that a call needs on the newest state.
pub(crate) async fn estimate_gas(
    provider: &DynProvider,
    request: TransactionRequest,
) -> Result<Answer<u64>, NodeError> {
    let doing = "estimating the gas of a call";
    answer(doing, provider.estimate_gas(request).block(BlockId::latest()).await)
}

/// The fee market.
pub(crate) async fn market(provider: &DynProvider) -> Result<Market, NodeError> {
    let doing = "reading the fee history";
    let percentile = f64::from(TIP_PERCENTILE);
    let history = provider
        .get_fee_history(FEE_HISTORY_BLOCKS, BlockNumberOrTag::Latest, &[percentile])
        .await
        .map_err(failed(doing))?;
    let next_base_fee_wei = history.base_fee_per_gas.last().copied().ok_or_else(|| NodeError {
        doing,
        source: RpcError::local_usage_str("the fee history has no base fee"),
    })?;
    let rewards = history.reward.unwrap_or_default();
    let recent_tips_wei = rewards.iter().filter_map(|block| block.first().copied()).collect();
    Ok(Market { next_base_fee_wei, recent_tips_wei })
}

/// Next nonce of an account on the newest state.
pub(crate) async fn chain_nonce(
    provider: &DynProvider,
    account: Address,
    doing: &'static str,
) -> Result<u64, NodeError> {
    provider.get_transaction_count(account).block_id(BlockId::latest()).await.map_err(failed(doing))
}

/// Hash of the canonical block at a height; `None` where the node has none.
pub(crate) async fn block_hash(provider: &DynProvider, number: u64) -> Result<Option<B256>, NodeError> {
    let block = provider.get_block_by_number(BlockNumberOrTag::Number(number)).await;
    Ok(block.map_err(failed("reading a block"))?.map(|block| block.header.hash))
}

/// Receipt of a transaction of a step; `None` while it is not in a block.
pub(crate) async fn receipt(
    provider: &DynProvider,
    intent: &Intent,
    tx_hash: B256,
) -> Result<Option<Receipt>, NodeError> {
    let doing = "reading a receipt";
    let receipt = provider.get_transaction_receipt(tx_hash).await.map_err(failed(doing))?;
    if receipt.as_ref().is_some_and(|receipt| receipt.transaction_hash != tx_hash) {
        // Taken for ours it would end the step for good, with nothing on the chain.
        let source = RpcError::local_usage_str("the receipt is of another transaction");
        return Err(NodeError { doing, source });
    }
    Ok(receipt.and_then(|receipt| model_receipt(intent, tx_hash, &receipt)))
}

/// The receipt in the model's terms; `None` where the node does not say in which block it is.
fn model_receipt(intent: &Intent, tx_hash: B256, receipt: &TransactionReceipt) -> Option<Receipt> {
    let block = BlockRef { number: receipt.block_number?, hash: receipt.block_hash? };
    let fee_wei = U256::from(receipt.gas_used).saturating_mul(U256::from(receipt.effective_gas_price));
    Some(Receipt {
        plan: intent.plan,
        step: intent.step,
        tx_hash,
        block,
        index: u32::try_from(receipt.transaction_index?).ok()?,
        created: receipt.contract_address,
        gas_used: receipt.gas_used,
        fee_wei,
        success: receipt.inner.status(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evm_refusal_is_told_from_a_failing_node() {
        for (code, message) in [
            (3, "execution reverted"),
            (-32000, "execution reverted: Pausable: paused"),
            (-32015, "VM execution error."),
            (-32003, "EVM error InvalidFEOpcode"),
            (-32000, "invalid opcode: INVALID"),
        ] {
            assert!(is_evm_refusal(code, message), "{message}");
        }
        for (code, message) in [
            (-32000, "header not found"),
            (-32601, "the method eth_call does not exist/is not available"),
            (429, "too many requests"),
            (-32005, "limit exceeded"),
        ] {
            assert!(!is_evm_refusal(code, message), "{message}");
        }
    }

    #[test]
    fn reverts_are_named() {
        let paused = Bytes::from(hex!("d93c0665"));
        assert_eq!(revert_reason(&paused, "execution reverted"), "EnforcedPause()");
        let unknown = Bytes::from(hex!("deadbeef"));
        assert_eq!(revert_reason(&unknown, "execution reverted"), "error 0xdeadbeef");
        assert_eq!(revert_reason(&Bytes::new(), "execution\nreverted"), "executionreverted");
        let long = "x".repeat(10_000);
        assert_eq!(revert_reason(&Bytes::new(), &long).len(), NODE_TEXT_CHARS_MAX);
    }
}
