//! Executions as a node of the chain traced them, for chains whose rules our own EVM does not know.
//!
//! In: blocks, and a node with the debug API: `debug_traceBlockByHash` with `callTracer` (logs included) and with
//! `prestateTracer` (differences), one request for each and block. Out: the same [`Execution`]s and the same comparison
//! with header and receipts as from a local replay, marked as [`Detail::Traced`]. Must never: pass off as recorded what
//! tracers do not tell. The node's word is checked as far as the block allows (hashes, gas, status, logs bloom); calls,
//! storage and balances are trusted.

mod archived;
mod block_facts;
mod calls;
mod diff;
mod entries;
mod error;
mod facts;
mod json;
mod log_frames;
mod reproduction;
mod views;

pub use archived::read_call_tree;
pub use block_facts::read_block_facts;
pub use entries::read_history_block;
pub use error::TraceError;
pub(crate) use json::read_one as read_json;
pub use reproduction::read_reproduction;

use crate::block_run::{BlockReplay, Mismatch, compare_header, compare_receipt};
use crate::bloom::LogsBloom;
use crate::error::ReplayError;
use crate::machine::MAX_VIEWS;
use crate::replay::in_worker;
use crate::watch::{Views, Watch};
use alloy_primitives::B256;
use alloy_provider::{DynProvider, Provider};
use alloy_transport::TransportError;
use calls::CallTree;
use cordon_model::block::Block;
use cordon_model::execution::{Detail, Execution, ViewCall};
use cordon_model::units::{ChainId, TxRef};
use diff::StateDiff;
use facts::Facts;
use serde::Serialize;
use serde_json::value::RawValue;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Name of the request for calls, in errors.
const CALLS: &str = "debug_traceBlockByHash(callTracer)";
/// Name of the request for differences, in errors.
const DIFFS: &str = "debug_traceBlockByHash(prestateTracer)";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    trace_timeout_ms: u64,
    view_timeout_ms: u64,
}

/// Tracing a full block takes geth and its relatives about a second and anvil some seconds (2.4 s for 146 transactions,
/// measured), each transaction being executed again; a node that needs a minute does not keep up with any chain of the
/// table. A view is a single read, bounded like those of state: one slot of Ethereum.
const LIMITS: Limits = Limits { trace_timeout_ms: 60_000, view_timeout_ms: 12_000 };

/// Takes executions from a node's traces.
#[derive(Debug, Clone)]
pub struct Traced {
    provider: DynProvider,
    chain_id: ChainId,
}

#[derive(Debug, Clone, Serialize)]
struct Options {
    tracer: &'static str,
    #[serde(rename = "tracerConfig")]
    config: Config,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
enum Config {
    WithLog(bool),
    DiffMode(bool),
}

impl Traced {
    /// Traces of `chain_id` from this node.
    #[must_use]
    pub fn new(provider: DynProvider, chain_id: ChainId) -> Self {
        Self { provider, chain_id }
    }

    /// The executions of a block as the node traced them.
    ///
    /// # Errors
    /// [`ReplayError::Trace`] where the node does not answer, or not with the traces of this block;
    /// [`ReplayError::WrongChain`] for a block of another chain, [`ReplayError::NoRuntime`] outside a tokio runtime.
    pub async fn replay(&self, block: Arc<Block>, watch: Watch) -> Result<BlockReplay, ReplayError> {
        if block.chain_id != self.chain_id {
            let (number, expected, found) = (block.number, self.chain_id, block.chain_id);
            return Err(ReplayError::WrongChain { number, expected, found });
        }
        if block.transactions.is_empty() {
            // The genesis block cannot be traced, and there is nothing to ask.
            return Ok(compared(&block, Vec::new()));
        }
        let (calls, diffs) = futures::try_join!(
            self.trace(CALLS, block.hash, Options { tracer: "callTracer", config: Config::WithLog(true) }),
            self.trace(
                DIFFS,
                block.hash,
                Options { tracer: "prestateTracer", config: Config::DiffMode(true) }
            ),
        )?;
        let hash = block.hash;
        let (mut replayed, diffs, asked, interest) = in_worker(move || {
            let (mut replayed, diffs) = convert(&block, calls.get(), diffs.get())?;
            let ask = |execution: &mut Execution| match watch.interest.wants_traced(execution) {
                true => wanted(execution, &watch.views),
                false => Vec::new(),
            };
            let asked = replayed.executions.iter_mut().map(ask).collect();
            Ok((replayed, diffs, asked, watch.interest))
        })
        .await?;
        let readings = views::read(&self.provider, hash, &diffs, asked, LIMITS).await?;
        for (execution, readings) in replayed.executions.iter_mut().zip(readings) {
            execution.views = readings;
        }
        let all = replayed.executions.len();
        replayed.executions.retain(|execution| interest.wants_traced(execution));
        let skipped = all.saturating_sub(replayed.executions.len());
        replayed.skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
        Ok(replayed)
    }

    async fn trace(
        &self,
        method: &'static str,
        block: B256,
        options: Options,
    ) -> Result<Box<RawValue>, TraceError> {
        let asked = self.provider.raw_request("debug_traceBlockByHash".into(), (block, options));
        in_time(method, LIMITS.trace_timeout_ms, asked).await
    }
}

/// The calls to ask about an execution, within the bound.
fn wanted(execution: &mut Execution, views: &Views) -> Vec<ViewCall> {
    let mut calls = views(execution);
    if calls.len() > MAX_VIEWS {
        calls.truncate(MAX_VIEWS);
        execution.truncated = true;
    }
    calls
}

pub(crate) async fn in_time<T>(
    method: &'static str,
    timeout_ms: u64,
    request: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TraceError> {
    match tokio::time::timeout(Duration::from_millis(timeout_ms), request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(refused(method, source)),
        Err(_) => Err(TraceError::Timeout { method, timeout_ms }),
    }
}

fn refused(method: &'static str, source: TransportError) -> TraceError {
    /// "Method not found" (JSON-RPC 2.0, section 5.1).
    const METHOD_NOT_FOUND: i64 = -32_601;
    let Some(answer) = source.as_error_resp() else { return TraceError::Node { method, source } };
    let words = answer.message.to_ascii_lowercase();
    let unknown = words.contains("method")
        && ["not found", "not available", "does not exist", "not supported", "not allowed", "disabled"]
            .iter()
            .any(|reason| words.contains(reason));
    if answer.code == METHOD_NOT_FOUND || unknown {
        return TraceError::NotOffered { method, answer: answer.message.clone().into_owned() };
    }
    TraceError::Node { method, source }
}

/// The executions that two answers tell, and what each transaction changed.
fn convert(block: &Block, calls: &str, diffs: &str) -> Result<(BlockReplay, Vec<StateDiff>), TraceError> {
    let mut trees: Vec<CallTree> = json::read_block(CALLS, block, calls)?;
    settle_gas(&mut trees, block.gas_used);
    let diffs: Vec<StateDiff> = json::read_block(DIFFS, block, diffs)?;
    let mut executions = Vec::with_capacity(trees.len());
    for ((index, tree), diff) in (0u32..).zip(trees).zip(&diffs) {
        executions.push(execution(block, index, tree, diff)?);
    }
    Ok((compared(block, executions), diffs))
}

/// Anvil (1.7.1) states for each transaction of a block the gas used by the block up to and including it. Where the
/// header shows that it is so (the last figure is the block's, and the sum of all is not), each figure becomes the
/// transaction's own.
fn settle_gas(trees: &mut [CallTree], block_gas: u64) {
    let totals: Vec<u64> =
        trees.iter().filter_map(|tree| tree.calls.last()).filter_map(|root| root.gas_used).collect();
    let sum = totals.iter().fold(0u64, |sum, gas| sum.saturating_add(*gas));
    if sum == block_gas || totals.last() != Some(&block_gas) || !totals.is_sorted() {
        return;
    }
    let mut before = 0;
    for gas_used in trees.iter_mut().filter_map(|tree| tree.calls.last_mut()?.gas_used.as_mut()) {
        let total = *gas_used;
        *gas_used = total.saturating_sub(before);
        before = total;
    }
}

fn execution(
    block: &Block,
    index: u32,
    mut tree: CallTree,
    diff: &StateDiff,
) -> Result<Execution, TraceError> {
    let wrong = |reason: &str| TraceError::Malformed {
        method: CALLS,
        place: format!("[{index}].result"),
        reason: reason.to_owned(),
    };
    let position = usize::try_from(index).ok();
    let transaction = position.and_then(|position| block.transactions.get(position));
    let transaction = transaction.ok_or_else(|| wrong("the block has no such transaction"))?.clone();
    if tree.calls.last().is_some_and(|root| root.gas_used.is_none()) {
        return Err(wrong("missing field `gasUsed`"));
    }
    let facts = Facts::of(&mut tree);
    let root = facts.frames.first().ok_or_else(|| wrong("no call"))?;
    let tx = TxRef { chain_id: block.chain_id, block: block.block_ref(), index, hash: transaction.hash };
    Ok(Execution {
        status: root.status.clone(),
        gas_used: root.gas_used,
        creations: facts.creations(diff),
        frames: facts.frames,
        logs: facts.logs,
        transfers: facts.transfers,
        destructions: facts.destructions,
        storage_changes: diff.storage_changes(),
        balance_changes_wei: diff.balance_changes_wei(),
        detail: Detail::Traced,
        truncated: facts.truncated,
        ..Execution::bare(tx, block.timestamp_s, transaction)
    })
}

/// The executions compared with the block's receipts and header.
fn compared(block: &Block, executions: Vec<Execution>) -> BlockReplay {
    let mut mismatches = Vec::new();
    let mut gas_used = 0u64;
    let mut bloom = LogsBloom::default();
    for (index, execution) in (0u32..).zip(&executions) {
        let came_to = (execution.gas_used, execution.status.is_success());
        compare_receipt(block, (index, execution.tx.hash), came_to, &mut mismatches);
        compare_parties(index, execution, &mut mismatches);
        gas_used = gas_used.saturating_add(execution.gas_used);
        for log in &execution.logs {
            bloom.add(log.address, &log.topics);
        }
    }
    // Where a bound cut, logs are missing that the header counts; the executions say so themselves.
    let cut = executions.iter().any(|execution| execution.truncated);
    compare_header(block, gas_used, Some(&bloom).filter(|_| !cut), &mut mismatches);
    BlockReplay { executions, skipped: 0, gas_used, mismatches }
}

/// A trace whose first call is not the transaction's is another one's, or the chain has a kind of transaction that Cordon
/// does not know.
fn compare_parties(index: u32, execution: &Execution, mismatches: &mut Vec<Mismatch>) {
    let (transaction, Some(root)) = (&execution.transaction, execution.frames.first()) else { return };
    let mut note = |what| {
        mismatches.push(Mismatch { index: Some(index), tx_hash: Some(execution.tx.hash), what });
    };
    if root.caller != transaction.from {
        note(format!("traced from {}, the transaction is of {}", root.caller, transaction.from));
    }
    if let Some(to) = transaction.to
        && root.code_address != to
    {
        note(format!("traced to {}, the transaction goes to {to}", root.code_address));
    }
}

#[cfg(test)]
mod tests;
