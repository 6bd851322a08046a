//! The recorder that rides along with an execution and notes what it does, on one sequence.
//!
//! In: call frames as they open and close ([`evm`]), and the few instructions that leave a fact ([`instructions`]).
//! Out: raw notes, from which [`facts`] makes an execution where somebody wants it. Every list has a bound
//! ([`bounds`]), because a transaction can make hundreds of thousands of entries for little gas; where a bound cuts,
//! the record is flagged. Must never: change the execution it watches, or do work per instruction that leaves no fact.
//!
//! It lives in the EVM's context and not behind revm's `Inspector`, whose loop asks before and after every single
//! instruction and copies every log. The lists are kept from one transaction to the next and only emptied.

pub(crate) mod bounds;
pub(crate) mod evm;
pub(crate) mod facts;
mod instructions;

use alloy_primitives::map::B256Set;
use alloy_primitives::{Address, B256, U256};
use bounds::Bounds;
use cordon_model::execution::{AccessKind, Destruction, Detail, FrameKind, StorageAccess, Transfer};
use cordon_model::units::Asset;
use revm::interpreter::{InstructionResult, InterpreterResult};

/// Entries that a list or table keeps room for when the next transaction begins: as many as the longest list at
/// [`Detail::Watch`], so that floods do not allocate again and again; what a flood in full detail left is given back.
const MAX_KEPT_ENTRIES: usize = 16_384;
/// Bytes that the calldata buffer keeps room for, for the same reason.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// Places that are remembered of the newest accesses, to know a repetition. More than the different slots that all but
/// the largest transactions touch, and two kilobytes.
const REMEMBERED: usize = 512;

/// In place of a frame's number: no frame, or one that a bound cut.
const NO_FRAME: u32 = u32::MAX;

/// The notes on one execution; see the module.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    detail: Detail,
    bounds: Bounds,
    frames: Vec<RawFrame>,
    /// Open frames, [`NO_FRAME`] for one that the bound cut. At most as deep as the EVM's own stack of calls (1,024).
    open: Vec<u32>,
    /// Where the first logs of the journal came from; as long as the journal's list, up to the bound.
    marks: Vec<Mark>,
    /// Native coin alone; tokens are read off the logs.
    transfers: Vec<Transfer>,
    accesses: Accesses,
    transient: Accesses,
    destructions: Vec<Destruction>,
    preimages: Preimages,
    /// Calldata and return data of all frames, one after the other.
    data: Vec<u8>,
    seq: u32,
    truncated: bool,
}

/// A call frame as it is noted: plain values, data as a place in the recorder's buffer.
#[derive(Debug, Clone, Copy)]
struct RawFrame {
    parent: u32,
    depth: u32,
    enter_seq: u32,
    exit_seq: u32,
    opened: Opened,
    input: Span,
    output: Span,
    gas_used: u64,
    end: InstructionResult,
    precompile: bool,
}

/// What is known of a frame when it opens.
#[derive(Debug, Clone, Copy)]
struct Opened {
    kind: FrameKind,
    caller: Address,
    address: Address,
    code_address: Address,
    value_wei: U256,
}

/// A place in the recorder's buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
}

/// Where and when a log was made.
#[derive(Debug, Clone, Copy)]
struct Mark {
    seq: u32,
    frame: u32,
}

/// Accesses of one kind of storage, in order.
#[derive(Debug)]
struct Accesses {
    list: Vec<StorageAccess>,
    /// Where in the list a slot was last noted, by [`Accesses::cell`]. Another slot may have taken its cell, and a cell
    /// may speak of an earlier transaction: the list decides, and whatever it does not confirm is noted once more.
    places: [u32; REMEMBERED],
}

/// What was hashed, each once.
#[derive(Debug, Default)]
struct Preimages {
    list: Vec<RawPreimage>,
    seen: B256Set,
}

/// Thirty-two or sixty-four hashed bytes.
#[derive(Debug, Clone, Copy)]
struct RawPreimage {
    hash: B256,
    bytes: [u8; 64],
    len: usize,
}

/// An access as an instruction reports it.
#[derive(Debug, Clone, Copy)]
struct Access {
    address: Address,
    slot: U256,
    kind: AccessKind,
    before: U256,
    value: U256,
}

impl Recorder {
    /// Chooses how much is recorded from the next transaction on.
    pub(crate) fn set_detail(&mut self, detail: Detail) {
        self.detail = detail;
        self.bounds = Bounds::of(detail);
    }

    pub(crate) fn detail(&self) -> Detail {
        self.detail
    }

    /// True where a bound cut the record.
    pub(crate) fn is_cut(&self) -> bool {
        self.truncated
    }

    /// Empties everything for the next transaction.
    pub(crate) fn begin(&mut self) {
        empty(&mut self.frames);
        self.open.clear();
        empty(&mut self.marks);
        empty(&mut self.transfers);
        self.accesses.begin();
        self.transient.begin();
        self.destructions.clear();
        if !self.preimages.seen.is_empty() {
            self.preimages = Preimages::default();
        }
        self.data.clear();
        self.data.shrink_to(MAX_KEPT_BYTES);
        self.seq = 0;
        self.truncated = false;
    }

    fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = seq.saturating_add(1);
        seq
    }

    fn current(&self) -> u32 {
        self.open.last().copied().unwrap_or(NO_FRAME)
    }

    /// Copies bytes into the buffer; nothing, and the flag, where the bound does not allow it.
    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.data.len();
        if start.saturating_add(bytes.len()) > self.bounds.data_bytes {
            self.truncated = true;
            return Span::default();
        }
        self.data.extend_from_slice(bytes);
        Span { start, end: self.data.len() }
    }

    fn enter(&mut self, opened: Opened, input: &[u8]) {
        let enter_seq = self.next_seq();
        let index = match u32::try_from(self.frames.len()) {
            Ok(index) if self.frames.len() < self.bounds.frames => index,
            _ => {
                self.truncated = true;
                self.open.push(NO_FRAME);
                return;
            }
        };
        // The input of the first frame is the transaction's own, which is at hand without a copy.
        let input = if index == 0 { Span::default() } else { self.keep(input) };
        self.frames.push(RawFrame {
            parent: self.current(),
            depth: u32::try_from(self.open.len()).unwrap_or(u32::MAX),
            enter_seq,
            exit_seq: enter_seq,
            opened,
            input,
            output: Span::default(),
            gas_used: 0,
            end: InstructionResult::Stop,
            precompile: false,
        });
        self.open.push(index);
        if opened.kind == FrameKind::Call && !opened.value_wei.is_zero() {
            self.pay(opened.caller, opened.address, opened.value_wei);
        }
    }

    /// A creation's address, which is settled only after the creator's nonce was read.
    fn created(&mut self, address: Address) {
        let index = self.current();
        let Some(frame) = self.frame_mut(index) else { return };
        frame.opened.address = address;
        frame.opened.code_address = address;
        let (caller, value_wei) = (frame.opened.caller, frame.opened.value_wei);
        if !value_wei.is_zero() {
            self.pay(caller, address, value_wei);
        }
    }

    fn leave(&mut self, result: &InterpreterResult, precompile: bool) {
        let exit_seq = self.next_seq();
        let Some(index) = self.open.pop().filter(|index| *index != NO_FRAME) else { return };
        let output = self.keep(&result.output);
        let Some(frame) = self.frame_mut(index) else { return };
        frame.output = output;
        frame.end = result.result;
        frame.gas_used = result.gas.total_gas_spent();
        frame.exit_seq = exit_seq;
        frame.precompile = precompile;
    }

    fn frame_mut(&mut self, index: u32) -> Option<&mut RawFrame> {
        self.frames.get_mut(usize::try_from(index).ok()?)
    }

    /// Notes where the journal's newest logs came from, and forgets those that a revert took back.
    fn follow_logs(&mut self, journal_len: usize) {
        if self.marks.len() > journal_len {
            self.marks.truncate(journal_len);
        }
        let (wanted, frame) = (journal_len.min(self.bounds.logs), self.current());
        while self.marks.len() < wanted {
            let seq = self.next_seq();
            self.marks.push(Mark { seq, frame });
        }
    }

    fn pay(&mut self, from: Address, to: Address, amount_raw: U256) {
        let (seq, frame) = (self.next_seq(), self.current());
        if frame == NO_FRAME || self.transfers.len() >= self.bounds.transfers {
            self.truncated = true;
            return;
        }
        self.transfers.push(Transfer { seq, frame, asset: Asset::Native, from, to, amount_raw });
    }

    fn destroyed(&mut self, contract: Address, beneficiary: Address, balance_wei: U256) {
        let (seq, frame) = (self.next_seq(), self.current());
        if frame == NO_FRAME {
            return;
        }
        // At most one per frame, so that the bound of the frames bounds them too.
        self.destructions.push(Destruction { seq, frame, contract, beneficiary, balance_wei });
        if !balance_wei.is_zero() && contract != beneficiary {
            self.pay(contract, beneficiary, balance_wei);
        }
    }

    #[inline]
    fn storage(&mut self, access: Access) {
        self.access(access, |recorder| &mut recorder.accesses);
    }

    #[inline]
    fn transient(&mut self, access: Access) {
        self.access(access, |recorder| &mut recorder.transient);
    }

    #[inline]
    fn access(&mut self, access: Access, of: impl Fn(&mut Self) -> &mut Accesses) {
        let frame = self.current();
        // A list that is full stays so, and a frame that was cut is flagged already: no look at the table.
        if frame == NO_FRAME || of(self).list.len() >= self.bounds.accesses {
            self.truncated = true;
            return;
        }
        if self.detail == Detail::Watch {
            if of(self).is_known(frame, &access) {
                return;
            }
        } else {
            let next_seq = self.seq;
            if of(self).is_repeated(next_seq, frame, &access) {
                self.seq = next_seq.saturating_add(1);
                return;
            }
        }
        let seq = self.next_seq();
        let Access { address, slot, kind, before, value } = access;
        of(self).push(StorageAccess { seq, frame, address, slot, kind, times: 1, before, value });
    }

    fn hashed(&mut self, bytes: &[u8], hash: B256) {
        if self.preimages.list.len() >= self.bounds.preimages {
            self.truncated = true;
            return;
        }
        let mut kept = [0; 64];
        let Some(place) = kept.get_mut(..bytes.len()) else { return };
        place.copy_from_slice(bytes);
        if self.preimages.seen.insert(hash) {
            self.preimages.list.push(RawPreimage { hash, bytes: kept, len: bytes.len() });
        }
    }
}

impl Default for Accesses {
    fn default() -> Self {
        Self { list: Vec::new(), places: [0; REMEMBERED] }
    }
}

impl Accesses {
    fn begin(&mut self) {
        empty(&mut self.list);
    }

    /// True for a read that finds what its frame already noted: it says nothing new. A read that finds another value
    /// does (a callee changed it in between), and every write counts.
    #[inline]
    fn is_known(&self, frame: u32, access: &Access) -> bool {
        if access.kind == AccessKind::Write {
            return false;
        }
        let place = self.places.get(Self::cell(frame, access.slot)).copied().unwrap_or(u32::MAX);
        let last = usize::try_from(place).ok().and_then(|place| self.list.get(place));
        last.is_some_and(|last| last.frame == frame && last.slot == access.slot && last.value == access.value)
    }

    /// Counts an access that is the same as the one before it, where nothing else was noted since; true where it was
    /// counted. No fact is lost by that, its place in the sequence included, and a loop fills no list.
    #[inline]
    fn is_repeated(&mut self, next_seq: u32, frame: u32, access: &Access) -> bool {
        let Some(last) = self.list.last_mut() else { return false };
        let is_same = last.seq.saturating_add(u32::from(last.times)) == next_seq
            && last.frame == frame
            && last.slot == access.slot
            && last.kind == access.kind
            && last.value == access.value
            && last.before == access.before;
        if is_same && let Some(times) = last.times.checked_add(1) {
            last.times = times;
            return true;
        }
        false
    }

    #[inline]
    fn push(&mut self, access: StorageAccess) {
        let place = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        if let Some(cell) = self.places.get_mut(Self::cell(access.frame, access.slot)) {
            *cell = place;
        }
        self.list.push(access);
    }

    /// The cell of a slot within a frame. Slots are small numbers or hashes, and the lowest bits tell both apart.
    #[inline]
    fn cell(frame: u32, slot: U256) -> usize {
        let [lowest, ..] = slot.into_limbs();
        let mixed = lowest.wrapping_add(u64::from(frame).wrapping_mul(31));
        usize::try_from(mixed % REMEMBERED as u64).unwrap_or(0)
    }
}

/// What a list holds, for the facts. A copy, so that the next transaction finds room; a list that is longer than what is
/// kept is given away instead.
fn hand_out<T: Clone>(list: &mut Vec<T>) -> Vec<T> {
    if list.len() > MAX_KEPT_ENTRIES { std::mem::take(list) } else { list.clone() }
}

/// Empties a list and gives back what a flood had it grow to.
fn empty<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(MAX_KEPT_ENTRIES);
}
