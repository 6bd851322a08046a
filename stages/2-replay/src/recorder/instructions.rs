//! The instructions that leave a fact: each does what revm's own does, and then notes it.
//!
//! In: revm's table. Out: the table with a dozen entries replaced; all others stay as they are, so that instructions
//! that leave no fact cost nothing. Must never: compute gas or touch state in a way that revm's own does not.

use super::evm::RecordedContext;
use super::{Access, Recorder};
use alloy_primitives::{Address, B256, U256};
use cordon_model::execution::{AccessKind, Detail};
use revm::bytecode::opcode;
use revm::context_interface::host::Host as _;
use revm::interpreter::instructions::{Instruction, InstructionTable, host, system};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::InputsTr as _;
use revm::interpreter::{InstructionContext, InstructionExecResult, InstructionResult};

type Ictx<'a> = InstructionContext<'a, RecordedContext, EthInterpreter>;
type Table = InstructionTable<EthInterpreter, RecordedContext>;

/// Replaces the entries whose instructions leave a fact. The static costs, which stand in another table, stay.
pub(super) fn replace(table: &mut Table, detail: Detail) {
    let mut put = |opcode: u8, instruction| {
        if let Some(entry) = table.get_mut(usize::from(opcode)) {
            *entry = instruction;
        }
    };
    put(opcode::SLOAD, Instruction::new(sload));
    put(opcode::SSTORE, Instruction::new(sstore));
    put(opcode::TLOAD, Instruction::new(tload));
    put(opcode::TSTORE, Instruction::new(tstore));
    put(opcode::LOG0, Instruction::new(log::<0>));
    put(opcode::LOG1, Instruction::new(log::<1>));
    put(opcode::LOG2, Instruction::new(log::<2>));
    put(opcode::LOG3, Instruction::new(log::<3>));
    put(opcode::LOG4, Instruction::new(log::<4>));
    put(opcode::SELFDESTRUCT, Instruction::new(selfdestruct));
    if detail == Detail::Full {
        put(opcode::KECCAK256, Instruction::new(keccak256));
    }
}

/// The same context once more, for the instruction that is wrapped.
fn lend<'a>(context: &'a mut Ictx<'_>) -> Ictx<'a> {
    InstructionContext { interpreter: &mut *context.interpreter, host: &mut *context.host }
}

fn sload(mut context: Ictx<'_>) -> InstructionExecResult {
    let slot = context.interpreter.stack.peek(0);
    host::sload(lend(&mut context))?;
    if let (Ok(slot), Ok(value)) = (slot, context.interpreter.stack.peek(0)) {
        let address = context.interpreter.input.target_address();
        context.host.chain.storage(read(address, slot, value));
    }
    Ok(())
}

fn sstore(mut context: Ictx<'_>) -> InstructionExecResult {
    let slot = context.interpreter.stack.peek(0);
    host::sstore_with_gas_accounting(lend(&mut context), |context, address, stored| {
        host::sstore_default_gas_accounting(context, address, stored)?;
        if let Ok(slot) = slot {
            let (before, value) = (stored.data.present_value, stored.data.new_value);
            let recorder: &mut Recorder = &mut context.host.chain;
            recorder.storage(Access { address, slot, kind: AccessKind::Write, before, value });
        }
        Ok(())
    })
}

fn tload(mut context: Ictx<'_>) -> InstructionExecResult {
    let slot = context.interpreter.stack.peek(0);
    host::tload(lend(&mut context))?;
    if let (Ok(slot), Ok(value)) = (slot, context.interpreter.stack.peek(0)) {
        let address = context.interpreter.input.target_address();
        context.host.chain.transient(read(address, slot, value));
    }
    Ok(())
}

fn tstore(mut context: Ictx<'_>) -> InstructionExecResult {
    let stack = &context.interpreter.stack;
    let (Ok(slot), Ok(value)) = (stack.peek(0), stack.peek(1)) else {
        return host::tstore(context);
    };
    let address = context.interpreter.input.target_address();
    // Transient storage knows neither cold slots nor a price for looking.
    let before = context.host.tload(address, slot);
    host::tstore(lend(&mut context))?;
    context.host.chain.transient(Access { address, slot, kind: AccessKind::Write, before, value });
    Ok(())
}

fn log<const N: usize>(mut context: Ictx<'_>) -> InstructionExecResult {
    host::log::<N, _>(lend(&mut context))?;
    let len = context.host.journaled_state.logs.len();
    context.host.chain.follow_logs(len);
    Ok(())
}

fn selfdestruct(mut context: Ictx<'_>) -> InstructionExecResult {
    let target = context.interpreter.stack.peek(0);
    let contract = context.interpreter.input.target_address();
    let account = context.host.journaled_state.state.get(&contract);
    let balance_wei = account.map(|account| account.info.balance).unwrap_or_default();
    let outcome = host::selfdestruct(lend(&mut context));
    if let (Err(InstructionResult::SelfDestruct), Ok(target)) = (&outcome, target) {
        let beneficiary = Address::from_word(B256::from(target));
        context.host.chain.destroyed(contract, beneficiary, balance_wei);
    }
    outcome
}

fn keccak256(mut context: Ictx<'_>) -> InstructionExecResult {
    let stack = &context.interpreter.stack;
    let (offset, len) = (stack.peek(0), stack.peek(1));
    system::keccak256(lend(&mut context))?;
    if let (Ok(offset), Ok(len), Ok(hash)) = (offset, len, context.interpreter.stack.peek(0))
        && (len == U256::from(32) || len == U256::from(64))
        // The instruction has succeeded, so the place is within memory.
        && let (Ok(offset), Ok(len)) = (usize::try_from(offset), usize::try_from(len))
    {
        let bytes = context.interpreter.memory.slice_len(offset, len);
        context.host.chain.hashed(&bytes, B256::from(hash));
    }
    Ok(())
}

fn read(address: Address, slot: U256, value: U256) -> Access {
    Access { address, slot, kind: AccessKind::Read, before: value, value }
}
