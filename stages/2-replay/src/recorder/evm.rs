//! revm with the recorder inside: its frames reported as they open and close, its instructions replaced.
//!
//! In: an EVM whose context holds a [`Recorder`]. Out: the same results as revm's own loop. Must never: change an
//! input or an outcome of a frame.

use super::{Opened, Recorder, instructions};
use crate::state::Db;
use alloy_primitives::Address;
use cordon_model::execution::{Detail, FrameKind};
use revm::context::{BlockEnv, CfgEnv, Context, Evm, FrameStack, Journal, TxEnv};
use revm::context_interface::{CreateScheme, LocalContextTr as _};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, ItemOrResult};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::interpreter_types::InputsTr as _;
use revm::interpreter::{CallInput, CallInputs, CallScheme, CreateInputs, FrameInput};
use revm::primitives::hardfork::SpecId;

/// revm's context for Ethereum, with the recorder in the place that is free for additions.
pub(crate) type RecordedContext = Context<BlockEnv, TxEnv, CfgEnv, Db, Journal<Db>, Recorder>;
/// The set of instructions in use.
pub(crate) type Instructions = EthInstructions<EthInterpreter, RecordedContext>;
/// revm over that context. Run as it is, with revm's own instructions, nothing is recorded.
pub(crate) type PlainEvm = Evm<RecordedContext, (), Instructions, EthPrecompiles, EthFrame<EthInterpreter>>;

/// The same EVM with its frames recorded, for the time of one transaction.
#[derive(Debug)]
pub(crate) struct Recording<'a>(pub(crate) &'a mut PlainEvm);

/// The instructions that record what the level of detail asks for.
pub(crate) fn recording_instructions(spec: SpecId, detail: Detail) -> Instructions {
    let mut table = Instructions::new_mainnet_with_spec(spec);
    instructions::replace(table.instruction_table_mut(), detail);
    table
}

impl EvmTr for Recording<'_> {
    type Context = RecordedContext;
    type Instructions = Instructions;
    type Precompiles = EthPrecompiles;
    type Frame = EthFrame<EthInterpreter>;

    #[inline]
    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>) {
        self.0.all()
    }

    #[inline]
    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Self::Frame>)
    {
        self.0.all_mut()
    }

    #[inline]
    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        open(&mut self.0.ctx, &init.frame_input);
        if let ItemOrResult::Result(result) = self.0.frame_init(init)? {
            close(&mut self.0.ctx, &result);
            return Ok(ItemOrResult::Result(result));
        }
        let frame = self.0.frame_stack.get();
        if frame.data.is_create() {
            self.0.ctx.chain.created(frame.interpreter.input.target_address());
        }
        follow_logs(&mut self.0.ctx);
        Ok(ItemOrResult::Item(frame))
    }

    #[inline]
    fn frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        let outcome = self.0.frame_run()?;
        if let ItemOrResult::Result(result) = &outcome {
            close(&mut self.0.ctx, result);
        }
        Ok(outcome)
    }

    #[inline]
    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}

fn open(context: &mut RecordedContext, input: &FrameInput) {
    let Context { chain: recorder, local, .. } = context;
    match input {
        FrameInput::Call(inputs) => match &inputs.input {
            CallInput::Bytes(bytes) => recorder.enter(call(inputs), bytes),
            CallInput::SharedBuffer(range) => {
                let bytes = local.shared_memory_buffer_slice(range.clone());
                recorder.enter(call(inputs), bytes.as_deref().unwrap_or_default());
            }
        },
        FrameInput::Create(inputs) => recorder.enter(creation(inputs), inputs.init_code()),
        FrameInput::Empty => {}
    }
}

fn close(context: &mut RecordedContext, result: &FrameResult) {
    // Logs of the protocol itself belong to the frame that ends here; those that its failure took back are forgotten.
    follow_logs(context);
    let precompile = matches!(result, FrameResult::Call(outcome) if outcome.was_precompile_called);
    context.chain.leave(result.interpreter_result(), precompile);
}

fn follow_logs(context: &mut RecordedContext) {
    let len = context.journaled_state.logs.len();
    context.chain.follow_logs(len);
}

fn call(inputs: &CallInputs) -> Opened {
    Opened {
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
        value_wei: inputs.transfer_value().unwrap_or_default(),
    }
}

fn creation(inputs: &CreateInputs) -> Opened {
    Opened {
        kind: match inputs.scheme() {
            CreateScheme::Create2 { .. } => FrameKind::Create2,
            CreateScheme::Create | CreateScheme::Custom { .. } => FrameKind::Create,
        },
        caller: inputs.caller(),
        address: Address::ZERO,
        code_address: Address::ZERO,
        value_wei: inputs.value(),
    }
}
