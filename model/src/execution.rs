//! What one transaction did, as plain values: the only thing detectors see.
//!
//! In: nothing of an EVM implementation. Out: frames, logs, transfers, storage accesses, creations, balance
//! changes, all placed on one sequence so that "before" and "after" inside the transaction are comparable.
//! Must never: drop a fact silently. Where a bound cut the record, `truncated` says so, and a truncated record
//! must not be read as clean.

use crate::block::Transaction;
use crate::units::{Asset, TxRef};
use alloy_primitives::{Address, B256, Bytes, I256, Selector, U256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One executed transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Execution {
    /// Where it was mined.
    pub tx: TxRef,
    /// Timestamp of its block, Unix seconds.
    pub timestamp_s: u64,
    /// The transaction itself.
    pub transaction: Transaction,
    /// How it ended.
    pub status: Status,
    /// Gas used after refunds.
    pub gas_used: u64,
    /// Call frames in the order of entry; the first is the transaction's own call.
    pub frames: Vec<Frame>,
    /// Logs that were kept (not those of reverted frames).
    pub logs: Vec<Log>,
    /// Movements of native coin and of tokens (ERC-20 `Transfer` logs) that were kept.
    pub transfers: Vec<Transfer>,
    /// Storage reads and writes in order, those of reverted frames included (see [`Frame::reverted`]), immediate
    /// repetitions as a number (see [`StorageAccess::times`]). A read that finds what its frame found or wrote in the same
    /// slot before says nothing new; at [`Detail::Watch`] most of them are left out. At [`Detail::Traced`] none is known,
    /// and an empty list says nothing.
    pub accesses: Vec<StorageAccess>,
    /// Reads and writes of transient storage (EIP-1153), under the same rules.
    pub transient: Vec<StorageAccess>,
    /// Runtime code of the contract that the transaction calls, as it stands afterwards; empty where there is none, and where
    /// it is not known (see [`Detail::knows_accesses`]).
    #[serde(default)]
    pub called_code: Bytes,
    /// Contracts that exist after the transaction and did not before.
    pub creations: Vec<Creation>,
    /// `SELFDESTRUCT`s that were kept, in order, whether or not the account went with them (EIP-6780).
    pub destructions: Vec<Destruction>,
    /// Storage that differs after the transaction: contract, slot, before, after.
    pub storage_changes: Vec<StorageChange>,
    /// Native balance changes per account, fees included, in wei.
    pub balance_changes_wei: BTreeMap<Address, I256>,
    /// Answers to the view calls that were asked for, before and after the transaction.
    pub views: Vec<ViewReading>,
    /// What was hashed to find a slot: mapping keys and array bases. Only at [`Detail::Full`].
    pub preimages: Vec<SlotPreimage>,
    /// How much was recorded.
    pub detail: Detail,
    /// True where a bound cut the record short.
    pub truncated: bool,
}

/// How much of an execution is recorded, from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// What the kept history of one protocol tells: calls of its contracts in order, the storage they used, and movements
    /// of value. Nobody outside the protocol is known, the sender included, and there are no logs.
    Entries,
    /// What an archived tree of calls tells, and no more: no logs, no storage, no balances, no gas prices. Movements of
    /// tokens are read off the calls that order them, so that those which a contract makes inside itself are missing.
    Calls,
    /// What a node's traces tell: calls, logs, transfers and what differs afterwards. Which slots were read or written
    /// on the way, and when, is not known, nor is transient storage; [`Execution::accesses`] and
    /// [`Execution::transient`] are empty without meaning "none".
    Traced,
    /// What detectors need, cheap enough for every transaction of a chain.
    #[default]
    Watch,
    /// Everything forensics asks for: every single access, and what slots were derived from.
    Full,
}

impl Detail {
    /// True where [`Execution::accesses`] holds the accesses that were made.
    #[must_use]
    pub fn knows_accesses(self) -> bool {
        self > Self::Traced
    }

    /// True where [`Execution::logs`] holds the logs that were emitted.
    #[must_use]
    pub fn knows_logs(self) -> bool {
        self > Self::Calls
    }
}

impl Execution {
    /// The record of a transaction that succeeded and of which nothing else is noted yet.
    #[must_use]
    pub fn bare(tx: TxRef, timestamp_s: u64, transaction: Transaction) -> Self {
        Self {
            tx,
            timestamp_s,
            transaction,
            status: Status::Success,
            gas_used: 0,
            frames: Vec::new(),
            logs: Vec::new(),
            transfers: Vec::new(),
            accesses: Vec::new(),
            transient: Vec::new(),
            called_code: Bytes::new(),
            creations: Vec::new(),
            destructions: Vec::new(),
            storage_changes: Vec::new(),
            balance_changes_wei: BTreeMap::new(),
            views: Vec::new(),
            preimages: Vec::new(),
            detail: Detail::Watch,
            truncated: false,
        }
    }

    /// The frame at `index`, if it was recorded.
    #[must_use]
    pub fn frame(&self, index: u32) -> Option<&Frame> {
        self.frames.get(usize::try_from(index).ok()?)
    }

    /// The reading of a view call, if it was asked for.
    #[must_use]
    pub fn view(&self, call: &ViewCall) -> Option<&ViewReading> {
        self.views.iter().find(|reading| reading.call == *call)
    }
}

/// How a transaction or frame ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Ran to its end.
    Success,
    /// Reverted with this output.
    Revert {
        /// Return data of the revert.
        output: Bytes,
    },
    /// Stopped by the EVM (out of gas, invalid opcode and so on).
    Halt {
        /// The EVM's reason.
        reason: String,
    },
}

impl Status {
    /// True for [`Status::Success`].
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success)
    }
}

/// Kind of a call frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    /// `CALL`, and the transaction's own call.
    Call,
    /// `CALLCODE`.
    CallCode,
    /// `DELEGATECALL`: foreign code on the caller's storage.
    DelegateCall,
    /// `STATICCALL`.
    StaticCall,
    /// `CREATE`.
    Create,
    /// `CREATE2`.
    Create2,
}

/// One call frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Frame {
    /// Position in [`Execution::frames`].
    pub index: u32,
    /// Frame that made this one; `None` for the first.
    pub parent: Option<u32>,
    /// Depth; zero for the first.
    pub depth: u32,
    /// Kind of call.
    pub kind: FrameKind,
    /// Account that made the call.
    pub caller: Address,
    /// Account whose storage the code runs on.
    pub address: Address,
    /// Account whose code runs (differs from `address` in a delegate call).
    pub code_address: Address,
    /// Native coin sent along.
    pub value_wei: U256,
    /// Calldata, or init code of a creation.
    pub input: Bytes,
    /// Return data.
    pub output: Bytes,
    /// Gas used by the frame and its children.
    pub gas_used: u64,
    /// How the frame itself ended.
    pub status: Status,
    /// True where this frame or one above it was undone, so that its effects did not last.
    pub reverted: bool,
    /// True where the code is one of the chain's precompiled contracts.
    pub precompile: bool,
    /// Sequence number of the entry.
    pub enter_seq: u32,
    /// Sequence number of the exit.
    pub exit_seq: u32,
}

impl Frame {
    /// First four bytes of the calldata of a call; `None` for creations and short calldata.
    #[must_use]
    pub fn selector(&self) -> Option<Selector> {
        match self.kind {
            FrameKind::Create | FrameKind::Create2 => None,
            FrameKind::Call | FrameKind::CallCode | FrameKind::DelegateCall | FrameKind::StaticCall => {
                self.input.get(..4).and_then(|bytes| Selector::try_from(bytes).ok())
            }
        }
    }
}

/// A log that was kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// Sequence number.
    pub seq: u32,
    /// Frame that emitted it.
    pub frame: u32,
    /// Emitting contract.
    pub address: Address,
    /// Topics.
    pub topics: Vec<B256>,
    /// Data.
    pub data: Bytes,
}

/// A movement of value that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Sequence number.
    pub seq: u32,
    /// Frame in which it happened.
    pub frame: u32,
    /// What moved.
    pub asset: Asset,
    /// Sender; the zero address is a mint.
    pub from: Address,
    /// Receiver; the zero address is a burn.
    pub to: Address,
    /// Amount in the asset's smallest unit.
    pub amount_raw: U256,
}

/// Read or write of a storage slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// `SLOAD`.
    Read,
    /// `SSTORE`.
    Write,
}

/// One storage access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageAccess {
    /// Sequence number.
    pub seq: u32,
    /// Frame that made it.
    pub frame: u32,
    /// Account whose storage it is.
    pub address: Address,
    /// Slot.
    pub slot: U256,
    /// Read or write.
    pub kind: AccessKind,
    /// How often it was made in a row, with nothing else noted in between; at least one. The repetitions have the sequence
    /// numbers that follow. More than one only at [`Detail::Full`].
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u16,
    /// Value before the access; for a read the value itself.
    pub before: U256,
    /// Value read or written.
    pub value: U256,
}

fn once() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_once(times: &u16) -> bool {
    *times == 1
}

/// A contract that was created and still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// Frame that ran the init code.
    pub frame: u32,
    /// Creating account.
    pub creator: Address,
    /// New contract.
    pub address: Address,
    /// Hash of the init code, arguments of the constructor included.
    pub init_code_hash: B256,
    /// Hash of its runtime code.
    pub code_hash: B256,
}

/// A `SELFDESTRUCT` that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// Sequence number.
    pub seq: u32,
    /// Frame in which it happened.
    pub frame: u32,
    /// Contract that destroyed itself.
    pub contract: Address,
    /// Account that received its balance.
    pub beneficiary: Address,
    /// That balance, in wei.
    pub balance_wei: U256,
}

/// A hash that the EVM computed over 64 bytes (a mapping's key and base slot) or 32 bytes (an array's base slot), as
/// Solidity derives slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPreimage {
    /// The hash, as it appears as slot, or in an offset from one.
    pub hash: B256,
    /// What was hashed.
    pub preimage: Bytes,
}

/// A slot whose value differs after the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageChange {
    /// Account.
    pub address: Address,
    /// Slot.
    pub slot: U256,
    /// Value before.
    pub before: U256,
    /// Value after.
    pub after: U256,
}

/// A read-only call that a detector or a check wants answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ViewCall {
    /// Contract to ask.
    pub target: Address,
    /// Calldata.
    pub input: Bytes,
}

/// The answers before and after a transaction; `None` where the call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewReading {
    /// The question.
    pub call: ViewCall,
    /// Answer on the state before the transaction.
    pub before: Option<Bytes>,
    /// Answer on the state after it.
    pub after: Option<Bytes>,
}

impl ViewReading {
    /// Both answers as one 32-byte word each; `None` where either call failed or answered less than a word.
    #[must_use]
    pub fn words(&self) -> Option<(U256, U256)> {
        Some((word(self.before.as_ref()?)?, word(self.after.as_ref()?)?))
    }
}

/// The first 32-byte word of return data.
#[must_use]
pub fn word(data: &Bytes) -> Option<U256> {
    data.get(..32).map(U256::from_be_slice)
}
