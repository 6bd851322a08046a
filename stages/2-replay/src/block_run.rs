//! The transactions of one block, executed in order and compared with what the chain states.
//!
//! In: the EVM of a block after its beginning, the block, and what is wanted of it. Out: executions and differences.
//! Must never: commit a transaction before its questions were asked on the state before it.

use crate::bloom::LogsBloom;
use crate::error::ReplayError;
use crate::machine::{self, Attempt, MAX_VIEWS, Machine, Run};
use crate::protocol::is_witness_gap;
use crate::recorder::facts::refused;
use crate::rules::BlockRules;
use crate::watch::{Interest, Views, Watch};
use alloy_primitives::{B256, Bytes, Log, U256};
use cordon_model::block::{Block, Transaction};
use cordon_model::execution::{Execution, ViewCall, ViewReading};
use cordon_model::units::TxRef;
use revm::primitives::hardfork::SpecId;

/// A block that was executed again.
#[derive(Debug, Clone, Default)]
pub struct BlockReplay {
    /// The transactions that are of interest, in order.
    pub executions: Vec<Execution>,
    /// Transactions that were executed and are of no interest (see [`Interest`](crate::Interest)).
    pub skipped: u64,
    /// Gas that all transactions used, as a header counts it.
    pub gas_used: u64,
    /// Differences from the header and the receipts; empty where the replay is exact.
    pub mismatches: Vec<Mismatch>,
}

/// A difference between a replay and what the chain states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Position of the transaction; `None` for the block as a whole.
    pub index: Option<u32>,
    /// Hash of the transaction; `None` for the block as a whole.
    pub tx_hash: Option<B256>,
    /// What differs, with both values.
    pub what: String,
}

/// The transactions of a block, compared with their receipts and, in sum, with the header.
pub(crate) fn run_transactions(
    machine: &mut Machine,
    block: &Block,
    rules: &BlockRules,
    watch: &Watch,
) -> Result<BlockReplay, ReplayError> {
    let mut run = BlockRun::new(machine, block, rules, watch);
    for (index, transaction) in (0u32..).zip(&block.transactions) {
        run.transaction(index, transaction)?;
    }
    Ok(run.finish())
}

/// A block whose transactions are being executed.
#[derive(Debug)]
pub(crate) struct BlockRun<'a> {
    machine: &'a mut Machine,
    block: &'a Block,
    rules: &'a BlockRules,
    watch: &'a Watch,
    sums: Sums,
    /// Whether the logs of every receipt are the chain's word.
    knows_logs: bool,
    replay: BlockReplay,
}

impl<'a> BlockRun<'a> {
    pub(crate) fn new(
        machine: &'a mut Machine,
        block: &'a Block,
        rules: &'a BlockRules,
        watch: &'a Watch,
    ) -> Self {
        machine.record(watch.detail);
        let expected = match watch.interest {
            Interest::All => block.transactions.len(),
            Interest::Touching(_) => 0,
        };
        let replay = BlockReplay { executions: Vec::with_capacity(expected), ..BlockReplay::default() };
        let outcomes = &block.outcomes;
        let knows_logs = outcomes.len() == block.transactions.len()
            && outcomes.iter().all(|outcome| outcome.logs.is_some());
        Self { machine, block, rules, watch, sums: Sums::default(), knows_logs, replay }
    }

    /// Executes one transaction, builds its execution where it is of interest, and commits it.
    pub(crate) fn transaction(&mut self, index: u32, transaction: &Transaction) -> Result<(), ReplayError> {
        let block = self.block;
        let hash = transaction.hash;
        match self.machine.run(hash, machine::tx_env(transaction), transaction.rollup)? {
            Attempt::Ran(mut run) => {
                self.sums.add(&run);
                self.compare_logs((index, hash), run.result.logs());
                let came_to = (run.result.tx_gas_used(), run.result.is_success());
                let mismatches = &mut self.replay.mismatches;
                compare_receipt(block, (index, hash), came_to, mismatches);
                if let Some(fee_wei) = self.machine.data_fee_wei() {
                    compare_data_fee(block, (index, hash), fee_wei, mismatches);
                }
                let is_cut = self.machine.is_cut();
                if self.watch.interest.wants(transaction, &run.state, run.result.logs(), is_cut) {
                    let at = self.place(index, hash);
                    let facts = self.machine.facts(at, block.timestamp_s, transaction.clone(), &mut run);
                    // An execution is large: it is moved once.
                    let execution = self.replay.executions.push_mut(facts);
                    read_views(self.machine, execution, run.state, &self.watch.views)?;
                } else {
                    self.replay.skipped = self.replay.skipped.saturating_add(1);
                    self.machine.commit(run.state);
                }
            }
            Attempt::Refused(reason) => {
                let what = format!("refused by the rules of {}: {reason}", self.rules.spec);
                self.note(index, hash, what.clone());
                let at = self.place(index, hash);
                let nothing = refused(at, block.timestamp_s, transaction.clone(), what);
                // Nothing is known of what it really did.
                self.replay.executions.push(Execution { truncated: true, ..nothing });
            }
        }
        Ok(())
    }

    /// The whole block, compared with its header.
    pub(crate) fn finish(mut self) -> BlockReplay {
        self.replay.gas_used = self.sums.block_gas(self.rules.spec);
        let BlockReplay { gas_used, mismatches, .. } = &mut self.replay;
        let bloom = Some(&self.sums.bloom).filter(|_| !self.knows_logs);
        compare_header(self.block, *gas_used, bloom, mismatches);
        self.replay
    }

    /// Compares a transaction's logs with those of its receipt. Where a block's receipts cannot be relied upon, its logs go
    /// into the bloom that the header is compared with.
    fn compare_logs(&mut self, (index, hash): (u32, B256), logs: &[Log]) {
        if !self.knows_logs {
            logs.iter().for_each(|log| self.sums.bloom.add(log.address, log.topics()));
            return;
        }
        let outcome = usize::try_from(index).ok().and_then(|index| self.block.outcomes.get(index));
        let stated = outcome.and_then(|outcome| outcome.logs.as_deref()).unwrap_or_default();
        if logs == stated {
            return;
        }
        let what = match logs.iter().zip(stated).position(|(log, stated)| log != stated) {
            Some(first) => format!("log {first} differs from that of the receipt"),
            None => format!("{} logs, receipt states {}", logs.len(), stated.len()),
        };
        self.note(index, hash, what);
    }

    fn place(&self, index: u32, hash: B256) -> TxRef {
        TxRef { chain_id: self.block.chain_id, block: self.block.block_ref(), index, hash }
    }

    fn note(&mut self, index: u32, hash: B256, what: String) {
        self.replay.mismatches.push(Mismatch { index: Some(index), tx_hash: Some(hash), what });
    }
}

/// Sums over a block, for the comparison with its header.
#[derive(Debug, Default)]
struct Sums {
    receipts_gas: u64,
    regular_gas: u64,
    state_gas: u64,
    bloom: LogsBloom,
}

impl Sums {
    fn add(&mut self, run: &Run) {
        let gas = run.result.gas();
        self.receipts_gas = self.receipts_gas.saturating_add(gas.tx_gas_used());
        self.regular_gas = self.regular_gas.saturating_add(gas.block_regular_gas_used());
        self.state_gas = self.state_gas.saturating_add(gas.block_state_gas_used());
    }

    /// Gas as the header counts it: the receipts' sum, and from Amsterdam on the larger of the two kinds of gas
    /// before refunds (EIP-7778, EIP-8037).
    fn block_gas(&self, spec: SpecId) -> u64 {
        if spec.is_enabled_in(SpecId::AMSTERDAM) {
            self.regular_gas.max(self.state_gas)
        } else {
            self.receipts_gas
        }
    }
}

/// Asks the views on the state before the transaction, commits it, and asks again.
pub(crate) fn read_views(
    machine: &mut Machine,
    execution: &mut Execution,
    state: revm::state::EvmState,
    views: &Views,
) -> Result<(), ReplayError> {
    let mut calls = views(execution);
    if calls.len() > MAX_VIEWS {
        calls.truncate(MAX_VIEWS);
        execution.truncated = true;
    }
    let mut before = Vec::with_capacity(calls.len());
    for call in &calls {
        before.push(answer(machine, call)?);
    }
    machine.commit(state);
    for (call, before) in calls.into_iter().zip(before) {
        let after = answer(machine, &call)?;
        execution.views.push(ViewReading { call, before, after });
    }
    Ok(())
}

/// A view's answer. What a witness does not contain cannot be answered, which is no fault of the replay: a witness
/// holds what its own transactions touched and no more.
pub(crate) fn answer(machine: &mut Machine, call: &ViewCall) -> Result<Option<Bytes>, ReplayError> {
    match machine.view(call) {
        Err(error) if is_witness_gap(&error) => Ok(None),
        other => other,
    }
}

/// Compares gas used and success of the transaction at a position, by its hash, with its receipt.
pub(crate) fn compare_receipt(
    block: &Block,
    (index, hash): (u32, B256),
    (gas_used, is_success): (u64, bool),
    mismatches: &mut Vec<Mismatch>,
) {
    let Some(outcome) = usize::try_from(index).ok().and_then(|index| block.outcomes.get(index)) else {
        return;
    };
    let mut note = |what| mismatches.push(Mismatch { index: Some(index), tx_hash: Some(hash), what });
    if gas_used != outcome.gas_used {
        note(format!("gas used {gas_used}, receipt states {}", outcome.gas_used));
    }
    if let Some(success) = outcome.success
        && is_success != success
    {
        note(format!("success {is_success}, receipt states {success}"));
    }
}

/// Compares the fee that a transaction paid for its data on layer 1 with its receipt, where that states one.
fn compare_data_fee(
    block: &Block,
    (index, hash): (u32, B256),
    fee_wei: U256,
    mismatches: &mut Vec<Mismatch>,
) {
    let outcome = usize::try_from(index).ok().and_then(|index| block.outcomes.get(index));
    if let Some(stated) = outcome.and_then(|outcome| outcome.data_fee_wei)
        && stated != fee_wei
    {
        let what = format!("fee for layer 1 {fee_wei} wei, receipt states {stated}");
        mismatches.push(Mismatch { index: Some(index), tx_hash: Some(hash), what });
    }
}

/// Compares a block's gas with its header, and the bloom of its logs where all of them are known.
pub(crate) fn compare_header(
    block: &Block,
    gas_used: u64,
    bloom: Option<&LogsBloom>,
    mismatches: &mut Vec<Mismatch>,
) {
    let mut note = |what| mismatches.push(Mismatch { index: None, tx_hash: None, what });
    if gas_used != block.gas_used {
        note(format!("block gas used {gas_used}, header states {}", block.gas_used));
    }
    if let Some(bits) = bloom.and_then(|bloom| bloom.contradicts(&block.logs_bloom)) {
        note(format!("logs bloom {bits}, header states {}", block.logs_bloom));
    }
}
