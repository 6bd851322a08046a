//! Calls and differences of one transaction, put together as an execution.
//!
//! In: what the tracers said. Out: the same facts as the recorder's, on one sequence, except what tracers do not tell:
//! single storage accesses, transient storage, slot preimages and the EVM's own names of failures. Must never: take a
//! node's word for what the trace itself contradicts.

use super::calls::{CallTree, TracedCall, TracedKind, TracedLog};
use super::diff::{StateDiff, hash_of};
use crate::recorder::bounds::MAX_TRANSFERS;
use crate::transfers::token_move;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use cordon_model::execution::{Creation, Destruction, Frame, FrameKind, Log, Status, Transfer};
use cordon_model::units::Asset;

/// Highest address that is taken for a precompiled contract: Ethereum's stand at 0x01 to 0x11 and 0x100 (EIP-7951), BSC's
/// at 0x64 to 0x69, Arbitrum's at 0x64 to 0xff. Nobody can hold the key to an address this small.
const LAST_PRECOMPILE: u16 = 0x1ff;

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) frames: Vec<Frame>,
    pub(crate) logs: Vec<Log>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) destructions: Vec<Destruction>,
    pub(crate) truncated: bool,
    seq: u32,
}

/// A call whose children are being walked.
struct Open {
    call: usize,
    frame: u32,
    next_child: usize,
    next_log: usize,
}

enum Next {
    Log(usize),
    Child(usize),
    Leave,
}

impl Facts {
    /// Walks the calls in the order of execution. Marks what reverted frames undid and drops it.
    pub(crate) fn of(tree: &mut CallTree) -> Self {
        let mut facts = Self { truncated: tree.truncated, ..Self::default() };
        let Some(root) = tree.calls.len().checked_sub(1) else { return facts };
        let mut open: Vec<Open> = Vec::new();
        facts.enter(&mut tree.calls, root, &mut open);
        while let Some(top) = open.last_mut() {
            let Some(call) = tree.calls.get_mut(top.call) else { break };
            match next(top, call) {
                Next::Log(index) => {
                    top.next_log = index.saturating_add(1);
                    let frame = top.frame;
                    if let Some(log) = call.logs.get_mut(index) {
                        facts.log(frame, log);
                    }
                }
                Next::Child(child) => {
                    top.next_child = top.next_child.saturating_add(1);
                    facts.enter(&mut tree.calls, child, &mut open);
                }
                Next::Leave => {
                    let (frame, exit_seq) = (top.frame, facts.next_seq());
                    if let Some(frame) = frame_mut(&mut facts.frames, frame) {
                        frame.exit_seq = exit_seq;
                    }
                    open.pop();
                }
            }
        }
        facts.drop_undone();
        facts
    }

    fn enter(&mut self, calls: &mut [TracedCall], index: usize, open: &mut Vec<Open>) {
        let Some(call) = calls.get_mut(index) else { return };
        let parent = open.last().map(|above| above.frame);
        let kind = match (call.kind, parent) {
            (TracedKind::Frame(kind), _) => kind,
            (TracedKind::SelfDestruct, Some(frame)) => return self.destroy(frame, call),
            // The transaction's own entry is always a frame; a node that says otherwise gets an empty record.
            (TracedKind::SelfDestruct, None) => return,
        };
        let enter_seq = self.next_seq();
        let Ok(frame_index) = u32::try_from(self.frames.len()) else { return };
        let above = parent.and_then(|parent| frame_mut(&mut self.frames, parent)).map(|above| {
            if above.address.is_zero() && above.kind != FrameKind::Call {
                // A creation that failed has no receiver in the trace; its own calls tell where it ran.
                above.address = call.from;
                above.code_address = call.from;
            }
            above.address
        });
        let frame = frame(call, kind, above, (frame_index, parent, enter_seq));
        let depth = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let moved = match kind {
            FrameKind::Call | FrameKind::Create | FrameKind::Create2 => frame.value_wei,
            FrameKind::CallCode | FrameKind::DelegateCall | FrameKind::StaticCall => U256::ZERO,
        };
        let parties = (frame.caller, frame.address);
        self.frames.push(Frame { depth, ..frame });
        open.push(Open { call: index, frame: frame_index, next_child: 0, next_log: 0 });
        if !moved.is_zero() {
            let seq = self.next_seq();
            self.transfer(seq, frame_index, Asset::Native, parties, moved);
        }
    }

    fn destroy(&mut self, frame: u32, call: &TracedCall) {
        let seq = self.next_seq();
        // What goes is the account on whose storage the frame runs; not every tracer names it as sender.
        let contract = frame_mut(&mut self.frames, frame).map_or(call.from, |above| above.address);
        let (beneficiary, balance_wei) = (call.to.unwrap_or_default(), call.value_wei);
        self.destructions.push(Destruction { seq, frame, contract, beneficiary, balance_wei });
        if !balance_wei.is_zero() && contract != beneficiary {
            let seq = self.next_seq();
            self.transfer(seq, frame, Asset::Native, (contract, beneficiary), balance_wei);
        }
    }

    fn log(&mut self, frame: u32, log: &mut TracedLog) {
        let seq = self.next_seq();
        let (address, topics, data) =
            (log.address, std::mem::take(&mut log.topics), std::mem::take(&mut log.data));
        if let Some(moved) = token_move(address, &topics, &data) {
            self.transfer(seq, frame, Asset::Token(address), (moved.from, moved.to), moved.amount_raw);
        }
        self.logs.push(Log { seq, frame, address, topics, data });
    }

    fn transfer(
        &mut self,
        seq: u32,
        frame: u32,
        asset: Asset,
        parties: (Address, Address),
        amount_raw: U256,
    ) {
        if self.transfers.len() >= MAX_TRANSFERS {
            self.truncated = true;
            return;
        }
        self.transfers.push(Transfer { seq, frame, asset, from: parties.0, to: parties.1, amount_raw });
    }

    fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = seq.saturating_add(1);
        seq
    }

    fn drop_undone(&mut self) {
        let undone = mark_undone(&mut self.frames);
        self.logs.retain(|log| !is_set(&undone, log.frame));
        self.transfers.retain(|transfer| !is_set(&undone, transfer.frame));
        self.destructions.retain(|destruction| !is_set(&undone, destruction.frame));
    }

    /// Contracts that were created and are there after the transaction.
    pub(crate) fn creations(&self, diff: &StateDiff) -> Vec<Creation> {
        let remaining = kept_creations(&self.frames).filter_map(|frame| {
            let account = diff.accounts.get(&frame.address).filter(|account| account.remains)?;
            Some(Creation {
                frame: frame.index,
                creator: frame.caller,
                address: frame.address,
                init_code_hash: keccak256(&frame.input),
                code_hash: account.new_code_hash.unwrap_or_else(|| hash_of(&frame.output)),
            })
        });
        remaining.collect()
    }
}

fn next(top: &Open, call: &TracedCall) -> Next {
    let child = call.children.get(top.next_child).copied();
    match (call.logs.get(top.next_log), child) {
        (Some(log), Some(_)) if log.position <= top.next_child => Next::Log(top.next_log),
        (_, Some(child)) => Next::Child(child),
        (Some(_), None) => Next::Log(top.next_log),
        (None, None) => Next::Leave,
    }
}

/// The frame that a call stands for; its exit is noted on leaving.
fn frame(
    call: &mut TracedCall,
    kind: FrameKind,
    above: Option<Address>,
    (index, parent, enter_seq): (u32, Option<u32>, u32),
) -> Frame {
    let to = call.to.unwrap_or_default();
    // Borrowed code runs on the storage of the account that makes the call.
    let address = match kind {
        FrameKind::DelegateCall | FrameKind::CallCode => above.unwrap_or(call.from),
        FrameKind::Call | FrameKind::StaticCall | FrameKind::Create | FrameKind::Create2 => to,
    };
    let value_wei = match kind {
        // Tracers repeat the value of the call above, which does not move again.
        FrameKind::DelegateCall | FrameKind::StaticCall => U256::ZERO,
        FrameKind::Call | FrameKind::CallCode | FrameKind::Create | FrameKind::Create2 => call.value_wei,
    };
    let output = std::mem::take(&mut call.output);
    Frame {
        index,
        parent,
        depth: 0,
        kind,
        caller: if kind == FrameKind::DelegateCall { address } else { call.from },
        address,
        code_address: to,
        value_wei,
        input: std::mem::take(&mut call.input),
        gas_used: call.gas_used.unwrap_or_default(),
        status: status(call.error.take(), &output),
        output,
        reverted: false,
        precompile: is_precompile(to),
        enter_seq,
        exit_seq: enter_seq,
    }
}

/// How a frame ended. Clients name a `REVERT` differently ("execution reverted" in geth and its relatives, "revert" or
/// "Reverted" elsewhere); every other error is a halt in the node's words.
fn status(error: Option<String>, output: &Bytes) -> Status {
    match error {
        None => Status::Success,
        Some(error) if error.is_empty() => Status::Success,
        Some(error) => {
            let reverted = ["execution reverted", "revert"]
                .iter()
                .any(|name| error.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
            if reverted { Status::Revert { output: output.clone() } } else { Status::Halt { reason: error } }
        }
    }
}

pub(super) fn is_precompile(address: Address) -> bool {
    let number = U256::from_be_slice(address.as_slice());
    !number.is_zero() && number <= U256::from(LAST_PRECOMPILE)
}

/// Marks the frames whose effects did not last, and says which. Parents stand before their children, so that one pass
/// settles the whole tree.
pub(super) fn mark_undone(frames: &mut [Frame]) -> Vec<bool> {
    let mut undone: Vec<bool> = Vec::with_capacity(frames.len());
    for frame in frames {
        let above = frame.parent.is_some_and(|parent| is_set(&undone, parent));
        frame.reverted = above || !frame.status.is_success();
        undone.push(frame.reverted);
    }
    undone
}

/// Frames of creations that lasted.
pub(super) fn kept_creations(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames
        .iter()
        .filter(|frame| matches!(frame.kind, FrameKind::Create | FrameKind::Create2) && !frame.reverted)
}

pub(super) fn is_set(flags: &[bool], index: u32) -> bool {
    usize::try_from(index).ok().and_then(|index| flags.get(index)).copied().unwrap_or(false)
}

fn frame_mut(frames: &mut [Frame], index: u32) -> Option<&mut Frame> {
    frames.get_mut(usize::try_from(index).ok()?)
}
