//! One transaction by the rules of the OP stack: deposits, and the fees of all others.
//!
//! In: the EVM with a transaction in it, and what the transaction is charged. Out: its result, and balances that include
//! every fee. Must never: refuse a deposit (layer 1 has already accepted it), or take a fee where the configuration
//! charges none.

use super::fees::{BASE_FEE_VAULT, DATA_FEE_VAULT, OPERATOR_FEE_VAULT, OperatorPrice};
use crate::recorder::evm::Recording;
use crate::state::DbError;
use alloy_primitives::U256;
use revm::context::result::{
    EVMError, ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError, ResultGas,
};
use revm::context::{Block as _, Cfg as _, ContextTr as _, JournalTr as _, Transaction as _};
use revm::context_interface::LocalContextTr as _;
use revm::context_interface::journaled_state::account::JournaledAccountTr as _;
use revm::handler::{EvmTr as _, FrameResult, Handler, post_execution, pre_execution, validation};
use revm::interpreter::InitialAndFloorGas;
use std::marker::PhantomData;

/// What a transaction is charged besides gas.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Charge {
    /// A deposit, which is paid on layer 1 and may bring coins along.
    Deposit { mint_wei: U256 },
    /// Any other transaction.
    Fees { data_fee_wei: U256, operator: OperatorPrice },
}

type Error = EVMError<DbError>;

/// Executes a transaction on the recording EVM; what it does not mention is Ethereum's own way.
#[derive(Debug)]
pub(crate) struct OpTransaction<'a> {
    charge: Charge,
    evm: PhantomData<Recording<'a>>,
}

impl OpTransaction<'_> {
    pub(crate) fn new(charge: Charge) -> Self {
        Self { charge, evm: PhantomData }
    }

    /// Gas that counts for fees: what was spent, less refunds, and less what EIP-8037 keeps for state.
    fn gas_paid(result: &FrameResult) -> u64 {
        result.gas().used().saturating_sub(result.gas().reservoir())
    }
}

impl<'a> Handler for OpTransaction<'a> {
    type Evm = Recording<'a>;
    type Error = Error;
    type HaltReason = HaltReason;

    fn validate_env(&self, evm: &mut Self::Evm) -> Result<(), Error> {
        match self.charge {
            Charge::Deposit { .. } => Ok(()),
            Charge::Fees { .. } => validation::validate_env(evm.ctx()),
        }
    }

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        _: &mut InitialAndFloorGas,
    ) -> Result<(), Error> {
        let ctx = evm.ctx();
        match self.charge {
            Charge::Deposit { mint_wei } => {
                let (_, tx, _, journal, _, _) = ctx.all_mut();
                let mut sender = journal.load_account_with_code_mut(tx.caller())?.data;
                let balance = sender.balance().saturating_add(mint_wei);
                if balance < tx.value() {
                    let (fee, balance) = (Box::new(tx.value()), Box::new(balance));
                    return Err(InvalidTransaction::LackOfFundForMaxFee { fee, balance }.into());
                }
                sender.set_balance(balance);
                if tx.kind().is_call() {
                    sender.bump_nonce();
                }
            }
            Charge::Fees { data_fee_wei, operator } => {
                pre_execution::validate_against_state_and_deduct_caller::<_, Error>(ctx)?;
                let (_, tx, cfg, journal, _, _) = ctx.all_mut();
                let fees_wei = data_fee_wei.saturating_add(operator.fee_wei(tx.gas_limit()));
                if !cfg.is_fee_charge_disabled() && !fees_wei.is_zero() {
                    let mut sender = journal.load_account_mut(tx.caller())?.data;
                    // What was mined could pay; should the state say otherwise, at least its value goes through.
                    let left = sender.balance().saturating_sub(fees_wei).max(tx.value());
                    sender.set_balance(left);
                }
            }
        }
        Ok(())
    }

    fn reimburse_caller(&self, evm: &mut Self::Evm, result: &mut FrameResult) -> Result<(), Error> {
        let Charge::Fees { operator, .. } = self.charge else { return Ok(()) };
        let charged_wei = operator.fee_wei(evm.ctx().tx().gas_limit());
        let due_wei = operator.fee_wei(Self::gas_paid(result));
        let back_wei = charged_wei.saturating_sub(due_wei);
        Ok(post_execution::reimburse_caller(evm.ctx(), result.gas(), back_wei)?)
    }

    fn reward_beneficiary(&self, evm: &mut Self::Evm, result: &mut FrameResult) -> Result<(), Error> {
        let Charge::Fees { data_fee_wei, operator } = self.charge else { return Ok(()) };
        let ctx = evm.ctx();
        if ctx.cfg().is_fee_charge_disabled() {
            return Ok(());
        }
        post_execution::reward_beneficiary(ctx, result.gas())?;
        let gas = Self::gas_paid(result);
        let base_fee_wei = U256::from(ctx.block().basefee()).saturating_mul(U256::from(gas));
        for (vault, fee_wei) in [
            (BASE_FEE_VAULT, base_fee_wei),
            (DATA_FEE_VAULT, data_fee_wei),
            (OPERATOR_FEE_VAULT, operator.fee_wei(gas)),
        ] {
            if !fee_wei.is_zero() {
                ctx.journal_mut().load_account_mut(vault)?.data.incr_balance(fee_wei);
            }
        }
        Ok(())
    }

    fn catch_error(&self, evm: &mut Self::Evm, error: Error) -> Result<ExecutionResult, Error> {
        evm.frame_stack().clear();
        let ctx = evm.ctx();
        ctx.local_mut().clear();
        ctx.journal_mut().discard_tx();
        let (Charge::Deposit { mint_wei }, EVMError::Transaction(reason)) = (self.charge, &error) else {
            return Err(error);
        };
        // A deposit that cannot even begin is part of the block all the same: its mint and its nonce count, and so does
        // all of its gas.
        let (_, tx, _, journal, _, _) = ctx.all_mut();
        let mut sender = journal.load_account_mut(tx.caller())?.data;
        sender.incr_balance(mint_wei);
        sender.bump_nonce();
        journal.commit_tx();
        let reason = match reason {
            InvalidTransaction::LackOfFundForMaxFee { .. } => HaltReason::OutOfFunds,
            _ => HaltReason::OutOfGas(OutOfGasError::Basic),
        };
        let gas = ResultGas::default().with_total_gas_spent(ctx.tx().gas_limit());
        Ok(ExecutionResult::Halt { reason, gas, logs: Vec::new() })
    }
}
