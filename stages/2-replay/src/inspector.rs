//! The recorder that rides along with an execution and notes what it does, on one sequence.
//!
//! In: the EVM's callbacks. Out: a [`Record`]: frames, logs, transfers and storage accesses. Every list has a bound,
//! because a transaction can make hundreds of thousands of entries for little gas; where a bound cuts, the record is
//! flagged. Must never: change the execution it watches.

use crate::transfers::token_move;
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, Bytes, LogData, U256};
use cordon_model::execution::{AccessKind, Frame, FrameKind, Log, Status, StorageAccess, Transfer};
use cordon_model::units::Asset;
use revm::Inspector;
use revm::bytecode::opcode;
use revm::context::ContextTr;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{InputsTr as _, Jumps as _, LoopControl as _};
use revm::interpreter::{
    CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, Interpreter, InterpreterResult,
};

/// Frames kept per transaction. The busiest of 4,523 measured mainnet transactions stay in the hundreds, a loop of
/// calls to an empty account makes 434,000.
pub const MAX_FRAMES: usize = 16_384;
/// Logs kept per transaction; a loop of empty logs makes 132,000.
pub const MAX_LOGS: usize = 16_384;
/// Transfers kept per transaction, native and ERC-20 together.
pub const MAX_TRANSFERS: usize = 16_384;
/// Storage accesses kept per transaction; a loop of warm reads makes 480,000 before repetitions are dropped.
pub const MAX_ACCESSES: usize = 65_536;
/// Bytes of calldata, return data and log data kept per transaction. Passing a megabyte on to a callee is free of
/// copying inside the EVM, so that without a bound a loop of calls would have the recorder copy gigabytes. With the
/// other lists this keeps a transaction's record below the 16 MB that the performance goals allow.
pub const MAX_DATA_BYTES: usize = 6 << 20;

/// Capacity of the table of noted slots that is kept for the next transaction; clearing costs time in proportion to
/// it, and an ordinary transaction touches some tens of slots.
const MAX_KEPT_CAPACITY: usize = 1_024;

/// What one execution did.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) frames: Vec<Frame>,
    pub(crate) logs: Vec<Log>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) accesses: Vec<StorageAccess>,
    pub(crate) truncated: bool,
}

/// The recorder; one per execution context, emptied by [`Recorder::finish`].
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    record: Record,
    /// Open frames; `None` for one that the bound cut.
    open: Vec<Option<u32>>,
    /// Last value that was noted for a slot within a frame.
    noted: HashMap<(u32, U256), U256>,
    pending: Option<Pending>,
    seq: u32,
    data_bytes: usize,
}

/// A storage instruction that has started; whether it succeeds is known after it.
#[derive(Debug, Clone, Copy)]
struct Pending {
    kind: AccessKind,
    slot: U256,
    /// Value to be written; unused for a read.
    value: U256,
}

impl Recorder {
    /// The finished record. Marks what reverted frames undid and drops their logs and transfers.
    pub(crate) fn finish(&mut self) -> Record {
        self.open.clear();
        if self.noted.capacity() > MAX_KEPT_CAPACITY {
            self.noted = HashMap::default();
        } else {
            self.noted.clear();
        }
        self.pending = None;
        self.seq = 0;
        self.data_bytes = 0;
        let mut record = std::mem::take(&mut self.record);
        let mut undone: Vec<bool> = Vec::with_capacity(record.frames.len());
        for frame in &mut record.frames {
            // Parents stand before their children, so one pass settles the whole tree.
            let parent_undone = frame.parent.is_some_and(|parent| is_set(&undone, parent));
            frame.reverted = parent_undone || !frame.status.is_success();
            undone.push(frame.reverted);
        }
        if undone.contains(&true) {
            record.logs.retain(|log| !is_set(&undone, log.frame));
            record.transfers.retain(|transfer| !is_set(&undone, transfer.frame));
        }
        // A creation's transfer is noted on leaving and belongs where the creation began.
        record.transfers.sort_by_key(|transfer| transfer.seq);
        record
    }

    fn next_seq(&mut self) -> u32 {
        let seq = self.seq;
        self.seq = seq.saturating_add(1);
        seq
    }

    fn current(&self) -> Option<u32> {
        self.open.last().copied().flatten()
    }

    /// Takes `len` bytes from the budget; false where it does not suffice.
    fn affords(&mut self, len: usize) -> bool {
        let total = self.data_bytes.saturating_add(len);
        let fits = total <= MAX_DATA_BYTES;
        if fits {
            self.data_bytes = total;
        } else {
            self.record.truncated = true;
        }
        fits
    }

    fn enter(&mut self, frame: Entered, input: impl FnOnce() -> Bytes, input_len: usize) {
        let enter_seq = self.next_seq();
        let index = match u32::try_from(self.record.frames.len()) {
            Ok(index) if self.record.frames.len() < MAX_FRAMES => index,
            _ => {
                self.record.truncated = true;
                self.open.push(None);
                return;
            }
        };
        let input = if self.affords(input_len) { input() } else { Bytes::new() };
        self.record.frames.push(Frame {
            index,
            parent: self.current(),
            depth: u32::try_from(self.open.len()).unwrap_or(u32::MAX),
            kind: frame.kind,
            caller: frame.caller,
            address: frame.address,
            code_address: frame.code_address,
            value_wei: frame.value_wei,
            input,
            output: Bytes::new(),
            gas_used: 0,
            status: Status::Success,
            reverted: false,
            precompile: false,
            enter_seq,
            exit_seq: enter_seq,
        });
        self.open.push(Some(index));
    }

    fn leave(&mut self, result: &InterpreterResult, created: Option<Address>) {
        let exit_seq = self.next_seq();
        let Some(index) = self.open.pop().flatten() else { return };
        let output = if self.affords(result.output.len()) { result.output.clone() } else { Bytes::new() };
        let Some(frame) = frame_mut(&mut self.record.frames, index) else { return };
        frame.status = if result.result.is_ok() {
            Status::Success
        } else if result.result.is_revert() && !is_failed_entry(result) {
            Status::Revert { output: output.clone() }
        } else {
            Status::Halt { reason: format!("{:?}", result.result) }
        };
        frame.output = output;
        frame.gas_used = result.gas.total_gas_spent();
        frame.exit_seq = exit_seq;
        if let Some(address) = created {
            frame.address = address;
            frame.code_address = address;
            if !frame.value_wei.is_zero() {
                let (from, amount) = (frame.caller, frame.value_wei);
                let seq = frame.enter_seq.saturating_add(1);
                self.transfer(seq, index, Asset::Native, (from, address), amount);
            }
        }
    }

    fn transfer(&mut self, seq: u32, frame: u32, asset: Asset, parties: (Address, Address), amount: U256) {
        if self.record.transfers.len() >= MAX_TRANSFERS {
            self.record.truncated = true;
            return;
        }
        let (from, to) = parties;
        self.record.transfers.push(Transfer { seq, frame, asset, from, to, amount_raw: amount });
    }

    #[cold]
    #[inline(never)]
    fn start_access(&mut self, interp: &Interpreter<EthInterpreter>, kind: AccessKind) {
        let (Ok(slot), value) = (interp.stack.peek(0), interp.stack.peek(1).unwrap_or_default()) else {
            return;
        };
        self.pending = Some(Pending { kind, slot, value });
    }

    #[cold]
    #[inline(never)]
    fn end_access(&mut self, interp: &Interpreter<EthInterpreter>) {
        let Some(Pending { kind, slot, value }) = self.pending.take() else { return };
        if interp.bytecode.is_end() {
            // The instruction itself failed (out of gas, write in a static call): nothing was read or written.
            return;
        }
        let value = match kind {
            AccessKind::Write => value,
            AccessKind::Read => match interp.stack.peek(0) {
                Ok(value) => value,
                Err(_) => return,
            },
        };
        let Some(frame) = self.current() else { return };
        // A repeated read that finds what this frame already noted says nothing new; a read that finds another
        // value does (a callee changed it in between), and every write counts.
        if self.noted.get(&(frame, slot)) == Some(&value) && kind == AccessKind::Read {
            return;
        }
        if self.record.accesses.len() >= MAX_ACCESSES {
            self.record.truncated = true;
            return;
        }
        self.noted.insert((frame, slot), value);
        let seq = self.next_seq();
        let address = interp.input.target_address();
        self.record.accesses.push(StorageAccess { seq, frame, address, slot, kind, before: value, value });
    }

    fn emitted(&mut self, address: Address, data: LogData) {
        let seq = self.next_seq();
        let Some(frame) = self.current() else {
            self.record.truncated = true;
            return;
        };
        if self.record.logs.len() >= MAX_LOGS || !self.affords(data.data.len()) {
            self.record.truncated = true;
            return;
        }
        let (topics, data) = data.split();
        if let Some(moved) = token_move(address, &topics, &data) {
            self.transfer(seq, frame, Asset::Token(address), (moved.from, moved.to), moved.amount_raw);
        }
        self.record.logs.push(Log { seq, frame, address, topics, data });
    }
}

/// What is known of a frame when it opens.
struct Entered {
    kind: FrameKind,
    caller: Address,
    address: Address,
    code_address: Address,
    value_wei: U256,
}

impl<CTX: ContextTr> Inspector<CTX, EthInterpreter> for Recorder {
    fn initialize_interp(&mut self, interp: &mut Interpreter<EthInterpreter>, _context: &mut CTX) {
        // A creation's address is settled only now, after the creator's nonce was read.
        let Some(index) = self.current() else { return };
        if let Some(frame) = frame_mut(&mut self.record.frames, index)
            && matches!(frame.kind, FrameKind::Create | FrameKind::Create2)
        {
            let address = interp.input.target_address();
            frame.address = address;
            frame.code_address = address;
        }
    }

    #[inline]
    fn step(&mut self, interp: &mut Interpreter<EthInterpreter>, _context: &mut CTX) {
        match interp.bytecode.opcode() {
            opcode::SLOAD => self.start_access(interp, AccessKind::Read),
            opcode::SSTORE => self.start_access(interp, AccessKind::Write),
            _ => {}
        }
    }

    #[inline]
    fn step_end(&mut self, interp: &mut Interpreter<EthInterpreter>, _context: &mut CTX) {
        if self.pending.is_some() {
            self.end_access(interp);
        }
    }

    fn log(&mut self, _context: &mut CTX, log: revm::primitives::Log) {
        self.emitted(log.address, log.data);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        let value_wei = inputs.transfer_value().unwrap_or_default();
        let entered = Entered {
            kind: match inputs.scheme {
                CallScheme::Call => FrameKind::Call,
                CallScheme::CallCode => FrameKind::CallCode,
                CallScheme::DelegateCall => FrameKind::DelegateCall,
                CallScheme::StaticCall => FrameKind::StaticCall,
            },
            // In a delegate call the EVM keeps the message sender; the account that makes the call is the one on whose
            // storage the code runs.
            caller: match inputs.scheme {
                CallScheme::DelegateCall => inputs.target_address,
                CallScheme::Call | CallScheme::CallCode | CallScheme::StaticCall => inputs.caller,
            },
            address: inputs.target_address,
            code_address: inputs.bytecode_address,
            value_wei,
        };
        let moves = entered.kind == FrameKind::Call && !value_wei.is_zero();
        self.enter(entered, || inputs.input.bytes(context), inputs.input.len());
        if moves && let Some(frame) = self.current() {
            let seq = self.next_seq();
            let parties = (inputs.caller, inputs.target_address);
            self.transfer(seq, frame, Asset::Native, parties, value_wei);
        }
        None
    }

    fn call_end(&mut self, _context: &mut CTX, _inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(&outcome.result, None);
    }

    fn create(&mut self, _context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        let entered = Entered {
            kind: match inputs.scheme() {
                revm::context_interface::CreateScheme::Create2 { .. } => FrameKind::Create2,
                _ => FrameKind::Create,
            },
            caller: inputs.caller(),
            address: Address::ZERO,
            code_address: Address::ZERO,
            value_wei: inputs.value(),
        };
        self.enter(entered, || inputs.init_code().clone(), inputs.init_code().len());
        if !inputs.value().is_zero() {
            // Its transfer is noted on leaving, when the receiver is known, under this number.
            self.next_seq();
        }
        None
    }

    fn create_end(&mut self, _context: &mut CTX, _inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        let created = if outcome.result.result.is_ok() { outcome.address } else { None };
        self.leave(&outcome.result, created);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        if value.is_zero() || contract == target {
            return;
        }
        if let Some(frame) = self.current() {
            let seq = self.next_seq();
            self.transfer(seq, frame, Asset::Native, (contract, target), value);
        }
    }
}

/// Failures that the EVM files under "revert" because they cost no gas, though no `REVERT` was executed.
fn is_failed_entry(result: &InterpreterResult) -> bool {
    use revm::interpreter::InstructionResult;
    matches!(result.result, InstructionResult::CallTooDeep | InstructionResult::OutOfFunds)
}

fn is_set(flags: &[bool], index: u32) -> bool {
    usize::try_from(index).ok().and_then(|index| flags.get(index)).copied().unwrap_or(false)
}

fn frame_mut(frames: &mut [Frame], index: u32) -> Option<&mut Frame> {
    frames.get_mut(usize::try_from(index).ok()?)
}
