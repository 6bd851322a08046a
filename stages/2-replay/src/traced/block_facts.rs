//! Executions from what a client recorded of a block while it executed it: the format `cordon-facts/1`.
//!
//! In: JSON with the transactions, receipts, calls, and first and last values of every account and slot they touched. Out:
//! one [`Execution`] per transaction at [`Detail::Traced`]. Must never: make up what the record lacks.
//!
//! What is not in the record: calldata of inner calls beyond the selector (so that a frame's input has four bytes there),
//! return data, code, the order of storage accesses, transient storage, and which call wrote a log. The last is inferred,
//! see [`log_frames`](super::log_frames).

use super::error::TraceError;
use super::facts::{is_set, kept_creations, mark_undone};
use super::json;
use super::log_frames::{Placed, place};
use crate::recorder::bounds::{MAX_FRAMES, MAX_LOGS, MAX_TRANSFERS};
use crate::transfers::token_move;
use alloy_primitives::{Address, B256, Bytes, I256, U256, keccak256};
use cordon_model::block::{AccessListEntry, Transaction};
use cordon_model::execution::{
    Creation, Destruction, Detail, Execution, Frame, FrameKind, Log, Status, StorageChange, Transfer,
};
use cordon_model::units::{Asset, BlockRef, ChainId, TxRef};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Name of the source, in errors.
const FACTS: &str = "facts of a block";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    chain_id: u64,
    number: u64,
    hash: B256,
    header: RawHeader,
    transactions: Vec<RawTransaction>,
    frames: Vec<RawFrame>,
    account_access: Vec<RawAccount>,
    storage_access: Vec<RawSlot>,
}

#[derive(Deserialize)]
struct RawHeader {
    timestamp: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTransaction {
    hash: B256,
    #[serde(rename = "type")]
    tx_type: u8,
    from: Address,
    to: Option<Address>,
    nonce: u64,
    value: U256,
    input: Bytes,
    gas_limit: u64,
    gas_price: Option<u64>,
    max_fee_per_gas: Option<u64>,
    max_priority_fee_per_gas: Option<u64>,
    chain_id: Option<u64>,
    #[serde(default)]
    access_list: Vec<RawAccessEntry>,
    gas_used: u64,
    receipt: RawReceipt,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAccessEntry {
    address: Address,
    storage_keys: Vec<B256>,
}

#[derive(Deserialize)]
struct RawReceipt {
    status: u8,
    logs: Vec<RawLog>,
}

#[derive(Deserialize)]
struct RawLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFrame {
    tx: usize,
    i: usize,
    caller: Address,
    target: Address,
    op: u8,
    value: U256,
    gas_used: u64,
    status: u8,
    depth: usize,
    selector: Bytes,
}

/// Transaction (-1 where none), account, nonce, balance, code hash; balance and nonce after it, where they differ.
#[derive(Deserialize)]
struct RawAccount(
    i64,
    Address,
    #[expect(dead_code, reason = "nonces are no fact of an execution")] u64,
    U256,
    #[expect(dead_code, reason = "codes are not in the record")] B256,
    Option<U256>,
    #[expect(dead_code, reason = "nonces are no fact of an execution")] Option<u64>,
);

/// Transaction, account, slot, value before, and value after where it was written.
#[derive(Deserialize)]
struct RawSlot(i64, Address, U256, U256, Option<U256>);

/// What accounts and slots came to in one transaction.
#[derive(Default)]
struct Ends {
    balances: BTreeMap<Address, I256>,
    slots: Vec<StorageChange>,
}

/// Reads the transactions of one block, in order.
///
/// # Errors
/// [`TraceError::Malformed`] and [`TraceError::TooLarge`] where it is no such record, or contradicts itself.
pub fn read_block_facts(text: &str) -> Result<Vec<Execution>, TraceError> {
    let file: RawFile = json::read_one(FACTS, text)?;
    let count = file.transactions.len();
    let mut frames: Vec<Vec<RawFrame>> = (0..count).map(|_| Vec::new()).collect();
    for (at, frame) in file.frames.into_iter().enumerate() {
        let of_transaction = frames.get_mut(frame.tx).ok_or_else(|| {
            let reason = format!("belongs to transaction {}, the block has {count}", frame.tx);
            malformed(format!("frames[{at}].tx"), reason)
        })?;
        of_transaction.push(frame);
    }
    let mut ends = ends(count, &file.account_access, &file.storage_access)?;
    let block = BlockRef { number: file.number, hash: file.hash };
    let mut executions = Vec::with_capacity(count);
    for (at, (raw, frames)) in file.transactions.into_iter().zip(frames).enumerate() {
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        let tx = TxRef { chain_id: ChainId(file.chain_id), block, index, hash: raw.hash };
        let ends = ends.get_mut(at).map(std::mem::take).unwrap_or_default();
        let execution = execution(raw, frames, ends, (tx, file.header.timestamp))
            .map_err(|reason| malformed(format!("transactions[{at}]"), reason))?;
        executions.push(execution);
    }
    Ok(executions)
}

fn malformed(place: String, reason: String) -> TraceError {
    TraceError::Malformed { method: FACTS, place, reason }
}

/// What changed, by transaction. What the protocol itself changed around them belongs to none.
fn ends(count: usize, accounts: &[RawAccount], slots: &[RawSlot]) -> Result<Vec<Ends>, TraceError> {
    let mut ends: Vec<Ends> = (0..count).map(|_| Ends::default()).collect();
    let known = |tx: i64, place: String| match usize::try_from(tx) {
        Ok(tx) if tx < count => Ok(Some(tx)),
        Err(_) if tx == -1 => Ok(None),
        _ => Err(malformed(place, format!("belongs to transaction {tx}, the block has {count}"))),
    };
    for (at, RawAccount(tx, address, _, before, _, after, _)) in accounts.iter().enumerate() {
        let of = known(*tx, format!("accountAccess[{at}]"))?;
        if let (Some(ends), Some(after)) = (of.and_then(|tx| ends.get_mut(tx)), after)
            && after != before
        {
            let signed = |amount: &U256| I256::try_from(*amount).unwrap_or(I256::MAX);
            ends.balances.insert(*address, signed(after).saturating_sub(signed(before)));
        }
    }
    for (at, RawSlot(tx, address, slot, before, after)) in slots.iter().enumerate() {
        let of = known(*tx, format!("storageAccess[{at}]"))?;
        if let (Some(ends), Some(after)) = (of.and_then(|tx| ends.get_mut(tx)), after)
            && after != before
        {
            let (address, slot, before, after) = (*address, *slot, *before, *after);
            ends.slots.push(StorageChange { address, slot, before, after });
        }
    }
    Ok(ends)
}

fn execution(
    mut raw: RawTransaction,
    frames: Vec<RawFrame>,
    ends: Ends,
    (tx, timestamp_s): (TxRef, u64),
) -> Result<Execution, String> {
    let mut outline = Outline::of(frames, &raw.input)?;
    let Some(root) = outline.frames.first() else {
        return Err("has no frame, expected its own call".to_owned());
    };
    let status = root.status.clone();
    if status.is_success() != (raw.receipt.status == 1) {
        return Err(format!("its receipt has the status {}, its first frame {status:?}", raw.receipt.status));
    }
    let logs = outline.add_logs(std::mem::take(&mut raw.receipt.logs));
    let bare = Execution::bare(tx, timestamp_s, Transaction::bare(raw.from, raw.to));
    Ok(Execution {
        status,
        gas_used: raw.gas_used,
        creations: creations(&outline.frames, &raw.input),
        transaction: transaction(raw),
        frames: outline.frames,
        logs,
        transfers: outline.transfers,
        destructions: outline.destructions,
        storage_changes: ends.slots,
        balance_changes_wei: ends.balances,
        detail: Detail::Traced,
        truncated: outline.truncated,
        ..bare
    })
}

fn transaction(raw: RawTransaction) -> Transaction {
    let entry =
        |raw: RawAccessEntry| AccessListEntry { address: raw.address, storage_keys: raw.storage_keys };
    Transaction {
        hash: raw.hash,
        tx_type: raw.tx_type,
        nonce: raw.nonce,
        value_wei: raw.value,
        input: raw.input,
        gas_limit: raw.gas_limit,
        gas_price_wei: raw.gas_price.map(u128::from),
        max_fee_per_gas_wei: raw.max_fee_per_gas.map(u128::from),
        max_priority_fee_per_gas_wei: raw.max_priority_fee_per_gas.map(u128::from),
        chain_id: raw.chain_id,
        access_list: raw.access_list.into_iter().map(entry).collect(),
        ..Transaction::bare(raw.from, raw.to)
    }
}

/// Creations that were kept. Their codes are not in the record: a hash of zero is an unknown one.
fn creations(frames: &[Frame], input: &Bytes) -> Vec<Creation> {
    let creation = |frame: &Frame| Creation {
        frame: frame.index,
        creator: frame.caller,
        address: frame.address,
        init_code_hash: if frame.index == 0 { keccak256(input) } else { B256::ZERO },
        code_hash: B256::ZERO,
    };
    kept_creations(frames).map(creation).collect()
}

/// Calls of one transaction on a sequence, and what they moved.
#[derive(Default)]
struct Outline {
    frames: Vec<Frame>,
    transfers: Vec<Transfer>,
    destructions: Vec<Destruction>,
    truncated: bool,
    seq: u32,
    /// Frames that have not ended, the innermost last.
    open: Vec<u32>,
}

impl Outline {
    /// Reads the frames, listed in the order of entry.
    fn of(raw: Vec<RawFrame>, input: &Bytes) -> Result<Self, String> {
        let mut outline = Self::default();
        for (at, frame) in raw.into_iter().enumerate() {
            if frame.i != at {
                return Err(format!("its frame {at} has the number {}, expected all in order", frame.i));
            }
            if frame.depth > outline.open.len() || (frame.depth == 0) != (at == 0) {
                return Err(format!("its frame {at} has the depth {}, no frame above calls it", frame.depth));
            }
            outline.leave_to(frame.depth);
            if outline.frames.len() >= MAX_FRAMES {
                outline.truncated = true;
                break;
            }
            outline.enter(frame, input)?;
        }
        outline.leave_to(0);
        outline.drop_undone();
        Ok(outline)
    }

    fn leave_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            let exit_seq = self.next_seq();
            let ended = self.open.pop().and_then(|index| usize::try_from(index).ok());
            if let Some(frame) = ended.and_then(|index| self.frames.get_mut(index)) {
                frame.exit_seq = exit_seq;
            }
        }
    }

    fn enter(&mut self, raw: RawFrame, input: &Bytes) -> Result<(), String> {
        let parent = self.open.last().copied();
        let kind = match (raw.op, parent) {
            (0xf0, _) => FrameKind::Create,
            (0xf1, _) => FrameKind::Call,
            (0xf2, _) => FrameKind::CallCode,
            (0xf4, _) => FrameKind::DelegateCall,
            (0xf5, _) => FrameKind::Create2,
            (0xfa, _) => FrameKind::StaticCall,
            (0xff, Some(frame)) => {
                self.destroy(frame, &raw);
                return Ok(());
            }
            (op, _) => {
                return Err(format!("its frame {} has the op {op}, expected a call or creation", raw.i));
            }
        };
        let (enter_seq, index) = (self.next_seq(), u32::try_from(self.frames.len()).unwrap_or(u32::MAX));
        let borrows = matches!(kind, FrameKind::DelegateCall | FrameKind::CallCode);
        let moves = matches!(kind, FrameKind::Call | FrameKind::Create | FrameKind::Create2);
        let has_value = moves || kind == FrameKind::CallCode;
        let frame = Frame {
            index,
            parent,
            depth: u32::try_from(raw.depth).unwrap_or(u32::MAX),
            kind,
            caller: raw.caller,
            address: if borrows { raw.caller } else { raw.target },
            code_address: raw.target,
            value_wei: if has_value { raw.value } else { U256::ZERO },
            input: if index == 0 { input.clone() } else { raw.selector },
            output: Bytes::new(),
            gas_used: raw.gas_used,
            status: status(raw.status),
            reverted: false,
            precompile: super::facts::is_precompile(raw.target),
            enter_seq,
            exit_seq: enter_seq,
        };
        let parties = (frame.caller, frame.address);
        if moves && !frame.value_wei.is_zero() {
            let (seq, amount_raw) = (self.next_seq(), frame.value_wei);
            self.native(seq, index, parties, amount_raw);
        }
        self.frames.push(frame);
        self.open.push(index);
        Ok(())
    }

    fn destroy(&mut self, frame: u32, raw: &RawFrame) {
        let seq = self.next_seq();
        let (contract, beneficiary, balance_wei) = (raw.caller, raw.target, raw.value);
        self.destructions.push(Destruction { seq, frame, contract, beneficiary, balance_wei });
        if !balance_wei.is_zero() && contract != beneficiary {
            let seq = self.next_seq();
            self.native(seq, frame, (contract, beneficiary), balance_wei);
        }
    }

    fn native(&mut self, seq: u32, frame: u32, (from, to): (Address, Address), amount_raw: U256) {
        self.transfer(Transfer { seq, frame, asset: Asset::Native, from, to, amount_raw });
    }

    fn transfer(&mut self, transfer: Transfer) {
        if self.transfers.len() >= MAX_TRANSFERS {
            self.truncated = true;
            return;
        }
        self.transfers.push(transfer);
    }

    fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = seq.saturating_add(1);
        seq
    }

    fn drop_undone(&mut self) {
        let undone = mark_undone(&mut self.frames);
        self.transfers.retain(|transfer| !is_set(&undone, transfer.frame));
        self.destructions.retain(|destruction| !is_set(&undone, destruction.frame));
    }

    /// Puts the logs on the sequence, each in a call of its emitter, and notes the tokens that they moved.
    fn add_logs(&mut self, mut raw: Vec<RawLog>) -> Vec<Log> {
        self.truncated |= raw.len() > MAX_LOGS;
        raw.truncate(MAX_LOGS);
        let kinds: Vec<_> = raw.iter().map(|log| (log.address, log.topics.first().copied())).collect();
        let placed = place(&self.frames, &kinds);
        self.make_room(&placed);
        let mut logs = Vec::with_capacity(raw.len());
        for ((RawLog { address, topics, data }, at), nth) in raw.into_iter().zip(placed).zip(0u32..) {
            let (seq, frame) = (at.before.saturating_add(nth), at.frame);
            if let Some(moved) = token_move(address, &topics, &data) {
                let (asset, from, to) = (Asset::Token(address), moved.from, moved.to);
                self.transfer(Transfer { seq, frame, asset, from, to, amount_raw: moved.amount_raw });
            }
            logs.push(Log { seq, frame, address, topics, data });
        }
        self.transfers.sort_by_key(|transfer| transfer.seq);
        logs
    }

    /// Moves everything on by the logs that come before it.
    fn make_room(&mut self, placed: &[Placed]) {
        let moved = |seq: u32| {
            let earlier = placed.partition_point(|log| log.before <= seq);
            seq.saturating_add(u32::try_from(earlier).unwrap_or(u32::MAX))
        };
        for frame in &mut self.frames {
            (frame.enter_seq, frame.exit_seq) = (moved(frame.enter_seq), moved(frame.exit_seq));
        }
        self.transfers.iter_mut().for_each(|transfer| transfer.seq = moved(transfer.seq));
        self.destructions.iter_mut().for_each(|destruction| destruction.seq = moved(destruction.seq));
    }
}

/// How a frame ended, by the status codes of EVMC (`evmc_status_code`).
fn status(code: u8) -> Status {
    match code {
        0 => Status::Success,
        2 => Status::Revert { output: Bytes::new() },
        3 => Status::Halt { reason: "OutOfGas".to_owned() },
        other => Status::Halt { reason: format!("EVMC status {other}") },
    }
}

#[cfg(test)]
mod tests;
