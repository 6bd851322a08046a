//! From raw notes to an execution: the plain facts of one finished run.
//!
//! In: the recorder after a run, the EVM's result and the state it left. Out: an [`Execution`] without views. Must
//! never: list what a reverted frame did as if it had lasted, or count one movement of value twice.

use super::bounds::Bounds;
use super::{Mark, NO_FRAME, RawFrame, Recorder, Span, hand_out};
use crate::transfers::{TokenMove, token_move};
use alloy_primitives::{Address, Bytes, I256, U256, keccak256};
use cordon_model::block::Transaction;
use cordon_model::execution::{
    Creation, Execution, Frame, FrameKind, Log, SlotPreimage, Status, StorageChange, Transfer,
};
use cordon_model::units::{Asset, TxRef};
use revm::context::result::ExecutionResult;
use revm::interpreter::InstructionResult;
use revm::state::EvmState;
use std::collections::BTreeMap;

impl Recorder {
    /// The facts of the run that has just ended. The result gives its logs away, which costs no copy.
    pub(crate) fn execution(
        &mut self,
        at: TxRef,
        timestamp_s: u64,
        transaction: Transaction,
        result: &mut ExecutionResult,
        state: &EvmState,
    ) -> Execution {
        let status = match &*result {
            ExecutionResult::Success { .. } => Status::Success,
            ExecutionResult::Revert { output, .. } => Status::Revert { output: output.clone() },
            ExecutionResult::Halt { reason, .. } => Status::Halt { reason: format!("{reason:?}") },
        };
        let frames = self.frames(&transaction.input);
        let (logs, transfers) = self.logs_and_transfers(take_logs(result), &frames);
        let creations = creations(&frames, state);
        let called_code = called_code(&transaction, state);
        let mut destructions = self.destructions.clone();
        destructions.retain(|destruction| !is_undone(&frames, destruction.frame));
        let (storage_changes, balance_changes_wei) = changes(state);
        Execution {
            tx: at,
            timestamp_s,
            transaction,
            status,
            gas_used: result.tx_gas_used(),
            frames,
            logs,
            transfers,
            accesses: hand_out(&mut self.accesses.list),
            transient: hand_out(&mut self.transient.list),
            called_code,
            creations,
            destructions,
            storage_changes,
            balance_changes_wei,
            views: Vec::new(),
            preimages: self.preimages.list.iter().filter_map(|raw| raw.plain()).collect(),
            detail: self.detail(),
            truncated: self.truncated,
        }
    }

    /// The frames, with their data as parts of one buffer, and with what reverted frames undid marked.
    fn frames(&self, input: &Bytes) -> Vec<Frame> {
        let data = Bytes::copy_from_slice(&self.data);
        let mut frames: Vec<Frame> = Vec::with_capacity(self.frames.len());
        for (index, raw) in (0u32..).zip(&self.frames) {
            // Parents stand before their children, so one pass settles the whole tree.
            let reverted = !raw.end.is_ok() || is_undone(&frames, raw.parent);
            let input = if index == 0 { input.clone() } else { part(&data, raw.input) };
            frames.push(raw.plain(index, input, part(&data, raw.output), reverted));
        }
        frames
    }

    /// The logs with their frames, and all movements of value on the record's one sequence.
    fn logs_and_transfers(
        &mut self,
        emitted: Vec<revm::primitives::Log>,
        frames: &[Frame],
    ) -> (Vec<Log>, Vec<Transfer>) {
        let bounds = self.bounds;
        let mut logs = Vec::with_capacity(emitted.len().min(bounds.logs));
        let mut transfers = hand_out(&mut self.transfers);
        transfers.retain(|transfer| !is_undone(frames, transfer.frame));
        let native = transfers.len();
        let mut taken = Taken { bounds, data_bytes: 0, cut: emitted.len() > self.marks.len() };
        for (log, mark) in emitted.into_iter().zip(&self.marks) {
            if mark.frame == NO_FRAME || !taken.affords(&log) {
                taken.cut = true;
                continue;
            }
            if let Some(transfer) = token_transfer(&log, *mark) {
                if transfers.len() < bounds.transfers {
                    transfers.push(transfer);
                } else {
                    taken.cut = true;
                }
            }
            let (topics, data) = log.data.split();
            logs.push(Log { seq: mark.seq, frame: mark.frame, address: log.address, topics, data });
        }
        if native > 0 && native < transfers.len() {
            transfers.sort_unstable_by_key(|transfer| transfer.seq);
        }
        self.truncated |= taken.cut;
        (logs, transfers)
    }
}

/// How much of the logs' bound is used.
struct Taken {
    bounds: Bounds,
    data_bytes: usize,
    cut: bool,
}

impl Taken {
    fn affords(&mut self, log: &revm::primitives::Log) -> bool {
        let len = log.data.data.len().saturating_add(log.topics().len().saturating_mul(32));
        let total = self.data_bytes.saturating_add(len);
        let fits = total <= self.bounds.data_bytes;
        if fits {
            self.data_bytes = total;
        }
        fits
    }
}

impl RawFrame {
    fn plain(&self, index: u32, input: Bytes, output: Bytes, reverted: bool) -> Frame {
        let opened = self.opened;
        Frame {
            index,
            parent: (self.parent != NO_FRAME).then_some(self.parent),
            depth: self.depth,
            kind: opened.kind,
            caller: opened.caller,
            address: opened.address,
            code_address: opened.code_address,
            value_wei: opened.value_wei,
            input,
            gas_used: self.gas_used,
            status: status(self.end, &output),
            output,
            reverted,
            precompile: self.precompile,
            enter_seq: self.enter_seq,
            exit_seq: self.exit_seq,
        }
    }
}

impl super::RawPreimage {
    fn plain(&self) -> Option<SlotPreimage> {
        Some(SlotPreimage { hash: self.hash, preimage: Bytes::copy_from_slice(self.bytes.get(..self.len)?) })
    }
}

fn status(end: InstructionResult, output: &Bytes) -> Status {
    // Failures that the EVM files under "revert" because they cost no gas, though no `REVERT` was executed.
    let failed_entry = matches!(end, InstructionResult::CallTooDeep | InstructionResult::OutOfFunds);
    if end.is_ok() {
        Status::Success
    } else if end.is_revert() && !failed_entry {
        Status::Revert { output: output.clone() }
    } else {
        Status::Halt { reason: format!("{end:?}") }
    }
}

fn token_transfer(log: &revm::primitives::Log, mark: Mark) -> Option<Transfer> {
    let TokenMove { from, to, amount_raw } = token_move(log.address, log.topics(), &log.data.data)?;
    let Mark { seq, frame } = mark;
    Some(Transfer { seq, frame, asset: Asset::Token(log.address), from, to, amount_raw })
}

fn take_logs(result: &mut ExecutionResult) -> Vec<revm::primitives::Log> {
    match result {
        ExecutionResult::Success { logs, .. }
        | ExecutionResult::Revert { logs, .. }
        | ExecutionResult::Halt { logs, .. } => std::mem::take(logs),
    }
}

fn part(data: &Bytes, span: Span) -> Bytes {
    // Empty parts share nothing, so that they keep no buffer alive.
    if span.start < span.end && span.end <= data.len() {
        data.slice(span.start..span.end)
    } else {
        Bytes::new()
    }
}

fn is_undone(frames: &[Frame], index: u32) -> bool {
    let frame = usize::try_from(index).ok().and_then(|index| frames.get(index));
    frame.is_some_and(|frame| frame.reverted)
}

/// The code of the contract that the transaction calls. The EVM holds it already, so that this copies nothing.
fn called_code(transaction: &Transaction, state: &EvmState) -> Bytes {
    let called = transaction.to.and_then(|to| state.get(&to));
    let code = called.and_then(|account| account.info.code.as_ref());
    code.filter(|code| !code.is_empty()).map(revm::state::Bytecode::original_bytes).unwrap_or_default()
}

fn creations(frames: &[Frame], state: &EvmState) -> Vec<Creation> {
    frames
        .iter()
        .filter(|frame| matches!(frame.kind, FrameKind::Create | FrameKind::Create2) && !frame.reverted)
        .filter_map(|frame| {
            let account = state.get(&frame.address)?;
            (account.is_created() && !account.is_selfdestructed()).then(|| Creation {
                frame: frame.index,
                creator: frame.caller,
                address: frame.address,
                init_code_hash: keccak256(&frame.input),
                code_hash: account.info.code_hash,
            })
        })
        .collect()
}

/// Slots and balances that differ. The slots of a contract that destroyed itself are not listed: which ones it held
/// is not known without its whole storage.
fn changes(state: &EvmState) -> (Vec<StorageChange>, BTreeMap<Address, I256>) {
    let mut slots = Vec::new();
    let mut balances = BTreeMap::new();
    for (address, account) in state {
        if !account.is_touched() {
            continue;
        }
        let gone = account.is_selfdestructed();
        let before = account.original_info().balance;
        let after = if gone { U256::ZERO } else { account.info.balance };
        if before != after {
            // Both are below the total supply of the coin, far from the sign bit.
            balances.insert(*address, I256::from_raw(after.wrapping_sub(before)));
        }
        if !gone {
            slots.extend(account.changed_storage_slots().map(|(slot, value)| StorageChange {
                address: *address,
                slot: *slot,
                before: value.original_value(),
                after: value.present_value(),
            }));
        }
    }
    slots.sort_unstable_by_key(|change| (change.address, change.slot));
    (slots, balances)
}

/// The record of a transaction that the rules refuse: it did nothing.
pub(crate) fn refused(at: TxRef, timestamp_s: u64, transaction: Transaction, reason: String) -> Execution {
    Execution { status: Status::Halt { reason }, ..Execution::bare(at, timestamp_s, transaction) }
}
