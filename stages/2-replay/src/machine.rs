//! One EVM set up for one block: transactions, system calls and view calls on a state that can be written.
//!
//! In: state, a block's environment and rules, plain transactions. Out: plain executions and the changed state.
//! Must never: commit what was only asked, charge a view, or record one.

use crate::error::ReplayError;
use crate::op_stack::{Charge, DEPOSIT_TX_TYPE, L1Prices, OpFork, OpTransaction, OperatorPrice, precompiles};
use crate::recorder::Recorder;
use crate::recorder::evm::{Instructions, PlainEvm, RecordedContext, Recording, recording_instructions};
use crate::rules::BlockRules;
use crate::state::{Db, DbError};
use alloy_eips::eip7702::{Authorization as Eip7702Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, U256, address};
use cordon_model::block::{Block, ChainProfile, RollupPart, Transaction};
use cordon_model::execution::{Detail, Execution, ViewCall};
use cordon_model::units::TxRef;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, Cfg as _, CfgEnv, Context, ContextSetters as _, JournalTr as _, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::context_interface::transaction::{AccessList, AccessListItem};
use revm::database_interface::DatabaseCommit as _;
use revm::handler::{EthFrame, EthPrecompiles, Handler as _, MainnetHandler, SystemCallEvm as _};
use revm::primitives::TxKind;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Database as _, ExecuteEvm as _, MainBuilder as _, MainContext as _};

/// Gas that one view call may use. A price or solvency view of the audited lending and exchange protocols stays
/// below one million; nodes answer `eth_call` with 50 million by default (geth `--rpc.gascap`).
pub const VIEW_GAS_LIMIT: u64 = 10_000_000;
/// View calls answered per transaction; further ones are dropped and the execution is marked as truncated. An attacker
/// who involves many accounts must not push the readings of his own out, so it is as many as the detectors ask at
/// most; a typical view takes microseconds, and the gas limit above bounds each.
pub const MAX_VIEWS: usize = 4_096;
/// Fee recipient of every Scroll block as far as execution is concerned (the chain's fee vault).
const SCROLL_FEE_VAULT: Address = address!("0x5300000000000000000000000000000000000005");

/// How strictly transactions are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As its own chain checked them when they were mined.
    Mined,
    /// No fee, no nonce and no check of the sender, so that any account's call can be tried; value must be there.
    Simulated,
}

/// The EVM of one block.
#[derive(Debug)]
pub(crate) struct Machine {
    evm: PlainEvm,
    /// Instructions that record, exchanged with the plain ones while a transaction runs.
    recording: Instructions,
    spec: SpecId,
    /// Configuration for view calls, exchanged with the one in use while a view runs.
    view_cfg: CfgEnv,
    /// `None` on chains that are not of the OP stack.
    op: Option<OpBlock>,
}

/// What a block of the OP stack adds to the EVM.
#[derive(Debug)]
struct OpBlock {
    fork: OpFork,
    /// Read when the first transaction is charged, which is after the deposit that sets them.
    prices: Option<L1Prices>,
    /// Fee for the data of the last transaction, in wei; `None` where its size is not known.
    data_fee_wei: Option<U256>,
}

/// A transaction that ran and is not yet committed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) result: ExecutionResult,
    pub(crate) state: EvmState,
}

/// What a transaction came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    Ran(Run),
    /// The chain would not have included it.
    Refused(InvalidTransaction),
}

impl Machine {
    pub(crate) fn new(db: Db, env: BlockEnv, rules: &BlockRules, mode: Mode) -> Self {
        let cfg = configuration(rules, mode);
        let mut view_cfg = configuration(rules, Mode::Simulated);
        view_cfg.tx_gas_limit_cap = Some(u64::MAX);
        let evm = plain_evm(db, env, cfg, rules);
        let recording = recording_instructions(rules.spec, Detail::Watch);
        let op = rules.op_fork.map(|fork| OpBlock { fork, prices: None, data_fee_wei: None });
        Self { evm, recording, spec: rules.spec, view_cfg, op }
    }

    /// Chooses how much of the transactions from here on is recorded; [`Detail::Watch`] unless chosen otherwise.
    pub(crate) fn record(&mut self, detail: Detail) {
        // What this EVM records is never a node's word.
        let detail = detail.max(Detail::Watch);
        if self.evm.ctx.chain.detail() != detail {
            self.evm.ctx.chain.set_detail(detail);
            self.recording = recording_instructions(self.spec, detail);
        }
    }

    pub(crate) fn into_db(self) -> Db {
        self.evm.ctx.journaled_state.database
    }

    pub(crate) fn db_mut(&mut self) -> &mut Db {
        &mut self.evm.ctx.journaled_state.database
    }

    /// Runs a transaction with the recorder, without committing it.
    pub(crate) fn run(
        &mut self,
        tx_hash: B256,
        tx: TxEnv,
        rollup: RollupPart,
    ) -> Result<Attempt, ReplayError> {
        let charge = self.charge(tx.tx_type, rollup)?;
        self.evm.ctx.chain.begin();
        self.evm.ctx.set_tx(tx);
        std::mem::swap(&mut self.evm.instruction, &mut self.recording);
        let evm = &mut Recording(&mut self.evm);
        let outcome = match charge {
            None => MainnetHandler::<Recording<'_>, EVMError<DbError>, EthFrame>::default().run(evm),
            Some(charge) => OpTransaction::new(charge).run(evm),
        };
        std::mem::swap(&mut self.evm.instruction, &mut self.recording);
        let state = self.evm.ctx.journaled_state.finalize();
        match outcome {
            Ok(result) => Ok(Attempt::Ran(Run { result, state })),
            Err(EVMError::Transaction(reason)) => Ok(Attempt::Refused(reason)),
            Err(error) => Err(evm_error(tx_hash, error)),
        }
    }

    /// What a transaction is charged by the rules of the OP stack; `None` on other chains.
    fn charge(&mut self, tx_type: u8, rollup: RollupPart) -> Result<Option<Charge>, ReplayError> {
        let Some(op) = &mut self.op else { return Ok(None) };
        if tx_type == DEPOSIT_TX_TYPE {
            op.data_fee_wei = Some(U256::ZERO);
            let mint_wei = match rollup {
                RollupPart::Deposit { mint_wei } => mint_wei,
                RollupPart::None | RollupPart::Posted(_) => U256::ZERO,
            };
            return Ok(Some(Charge::Deposit { mint_wei }));
        }
        op.data_fee_wei = None;
        if self.evm.ctx.cfg.is_fee_charge_disabled() {
            let (data_fee_wei, operator) = (U256::ZERO, OperatorPrice::None);
            return Ok(Some(Charge::Fees { data_fee_wei, operator }));
        }
        let prices = match op.prices {
            Some(prices) => prices,
            None => L1Prices::read(&mut self.evm.ctx.journaled_state.database, op.fork)?,
        };
        op.prices = Some(prices);
        if let RollupPart::Posted(size) = rollup {
            op.data_fee_wei = Some(prices.data_fee_wei(&size));
        }
        let data_fee_wei = op.data_fee_wei.unwrap_or_default();
        Ok(Some(Charge::Fees { data_fee_wei, operator: prices.operator() }))
    }

    /// Fee that the last transaction paid for its data, in wei; `None` where the chain has none or it is not known.
    pub(crate) fn data_fee_wei(&self) -> Option<U256> {
        self.op.as_ref()?.data_fee_wei
    }

    /// True where a bound cut the record of the last run.
    pub(crate) fn is_cut(&self) -> bool {
        self.evm.ctx.chain.is_cut()
    }

    /// The facts of the last run, views left out. Asks for the run itself, which gives its logs away.
    pub(crate) fn facts(
        &mut self,
        at: TxRef,
        timestamp_s: u64,
        transaction: Transaction,
        run: &mut Run,
    ) -> Execution {
        self.evm.ctx.chain.execution(at, timestamp_s, transaction, &mut run.result, &run.state)
    }

    pub(crate) fn commit(&mut self, state: EvmState) {
        self.db_mut().commit(state);
    }

    /// Runs a call of the protocol itself and commits it. A contract that does not exist is left alone: chains for
    /// development do not deploy them.
    pub(crate) fn system_call(&mut self, contract: Address, data: Bytes) -> Result<(), ReplayError> {
        if self.db_mut().basic(contract)?.is_none_or(|account| account.is_empty_code_hash()) {
            return Ok(());
        }
        let outcome = self.evm.system_call_one(contract, data);
        let state = self.evm.finalize();
        outcome.map_err(|error| evm_error(B256::ZERO, error))?;
        self.commit(state);
        Ok(())
    }

    /// Answers a view call on the current state and leaves no trace; `None` where the call fails.
    pub(crate) fn view(&mut self, call: &ViewCall) -> Result<Option<Bytes>, ReplayError> {
        let tx = TxEnv {
            kind: TxKind::Call(call.target),
            data: call.input.clone(),
            gas_limit: VIEW_GAS_LIMIT,
            chain_id: None,
            ..TxEnv::default()
        };
        std::mem::swap(&mut self.evm.ctx.cfg, &mut self.view_cfg);
        let outcome = self.evm.transact(tx);
        std::mem::swap(&mut self.evm.ctx.cfg, &mut self.view_cfg);
        match outcome {
            Ok(done) if done.result.is_success() => Ok(done.result.into_output()),
            Ok(_) | Err(EVMError::Transaction(_)) => Ok(None),
            Err(error) => Err(evm_error(B256::ZERO, error)),
        }
    }

    /// Adds to a balance outside any transaction (validator withdrawals).
    pub(crate) fn credit(&mut self, address: Address, amount_wei: U256) -> Result<(), ReplayError> {
        let mut info = self.db_mut().basic(address)?.unwrap_or_default();
        info.balance = info.balance.saturating_add(amount_wei);
        self.db_mut().insert_account_info(address, info);
        Ok(())
    }
}

/// revm for one block, with its own instructions: as it is, it records nothing.
pub(crate) fn plain_evm(db: Db, env: BlockEnv, cfg: CfgEnv, rules: &BlockRules) -> PlainEvm {
    let context: RecordedContext =
        Context::mainnet().with_db(db).with_cfg(cfg).with_block(env).with_chain(Recorder::default());
    let mut evm = context.build_mainnet();
    if let Some(precompiles) = own_precompiles(rules) {
        evm.precompiles = precompiles;
    }
    evm
}

/// The precompiled contracts of a chain that has not Ethereum's. The EVM keeps them as long as its hardfork stays.
pub(crate) fn own_precompiles(rules: &BlockRules) -> Option<EthPrecompiles> {
    let precompiles = precompiles(rules.op_fork?);
    Some(EthPrecompiles { precompiles, spec: rules.spec })
}

/// Largest gas limit that a transaction of a block may have: the block's own, or the cap of EIP-7825.
pub(crate) fn max_tx_gas(env: &BlockEnv, rules: &BlockRules) -> u64 {
    env.gas_limit.min(configuration(rules, Mode::Simulated).tx_gas_limit_cap())
}

pub(crate) fn configuration(rules: &BlockRules, mode: Mode) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(rules.spec).with_chain_id(rules.chain_id.0);
    match (mode, rules.profile) {
        (Mode::Mined, ChainProfile::Ethereum) => {}
        (Mode::Mined, ChainProfile::Optimism | ChainProfile::Scroll | ChainProfile::Linea) => {
            // The layer-1 data fee of Scroll and Linea is not modelled, so balances, and with them these checks, can be
            // off by it. On the OP stack a transaction's size may not be known; what was mined runs in any case.
            cfg.disable_balance_check = true;
            cfg.disable_nonce_check = true;
            cfg.disable_base_fee = true;
            cfg.disable_eip3607 = true;
            if rules.profile == ChainProfile::Optimism {
                // Deposits are exempt from the cap of EIP-7825, and others have met it.
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            }
        }
        (Mode::Simulated, _) => {
            cfg.disable_fee_charge = true;
            cfg.disable_nonce_check = true;
            cfg.disable_base_fee = true;
            cfg.disable_eip3607 = true;
            cfg.disable_block_gas_limit = true;
        }
    }
    cfg
}

pub(crate) fn evm_error(tx_hash: B256, error: EVMError<DbError>) -> ReplayError {
    match error {
        EVMError::Database(error) => error.into(),
        other => ReplayError::Evm { tx_hash, reason: format!("{other:?}") },
    }
}

/// The environment of a block.
pub(crate) fn block_env(block: &Block, rules: &BlockRules) -> BlockEnv {
    BlockEnv {
        number: U256::from(block.number),
        beneficiary: match rules.profile {
            ChainProfile::Scroll => SCROLL_FEE_VAULT,
            ChainProfile::Ethereum | ChainProfile::Optimism | ChainProfile::Linea => block.beneficiary,
        },
        timestamp: U256::from(block.timestamp_s),
        gas_limit: block.gas_limit,
        basefee: block.base_fee_wei.unwrap_or_default(),
        difficulty: block.difficulty,
        prevrandao: rules.spec.is_enabled_in(SpecId::MERGE).then_some(block.mix_hash),
        blob_excess_gas_and_price: rules.spec.is_enabled_in(SpecId::CANCUN).then(|| {
            BlobExcessGasAndPrice::new(block.excess_blob_gas.unwrap_or_default(), rules.blob_fraction)
        }),
        // The slot is known to the consensus layer alone; blocks as nodes report them do not carry it.
        slot_num: 0,
    }
}

/// A transaction as the EVM takes it.
pub(crate) fn tx_env(tx: &Transaction) -> TxEnv {
    let has_fee_cap = tx.tx_type >= 2 && tx.tx_type != DEPOSIT_TX_TYPE;
    let fee_cap = if has_fee_cap { tx.max_fee_per_gas_wei } else { None };
    TxEnv {
        tx_type: tx.tx_type,
        caller: tx.from,
        gas_limit: tx.gas_limit,
        gas_price: fee_cap.or(tx.gas_price_wei).unwrap_or_default(),
        kind: tx.to.map_or(TxKind::Create, TxKind::Call),
        value: tx.value_wei,
        data: tx.input.clone(),
        nonce: tx.nonce,
        chain_id: tx.chain_id,
        access_list: AccessList(
            tx.access_list
                .iter()
                .map(|entry| AccessListItem {
                    address: entry.address,
                    storage_keys: entry.storage_keys.clone(),
                })
                .collect(),
        ),
        gas_priority_fee: if has_fee_cap { tx.max_priority_fee_per_gas_wei } else { None },
        blob_hashes: tx.blob_hashes.clone(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas_wei.unwrap_or_default(),
        authorization_list: tx
            .authorizations
            .iter()
            .map(|signed| {
                let inner = Eip7702Authorization {
                    chain_id: signed.chain_id,
                    address: signed.address,
                    nonce: signed.nonce,
                };
                Either::Left(SignedAuthorization::new_unchecked(inner, signed.y_parity, signed.r, signed.s))
            })
            .collect(),
    }
}

/// Loads what the EVM otherwise loads at first use: the one point of the trusted setup that checking a proof needs. It is
/// the only precompile that loads anything; the tables of the curves are part of the program. (revm's feature `c-kzg` is
/// off: it checks the same proofs, but first computes tables for making them, which takes seconds and 100 MB.)
pub fn warm_up() {
    // Any input makes it load; the answer (an invalid proof) does not matter.
    let verified = revm::precompile::kzg_point_evaluation::verify_kzg_proof(
        &[0xc0; 48],
        &[0; 32],
        &[0; 32],
        &[0xc0; 48],
    );
    tracing::debug!(verified, "point evaluation precompile loaded");
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;
    use revm::precompile::kzg_point_evaluation::verify_kzg_proof;

    /// A proof from the tests of EIP-4844, as revm and geth carry it.
    const COMMITMENT: [u8; 48] = hex!(
        "8f59a8d2a1a625a17f3fea0fe5eb8c896db3764f3185481bc22f91b4aaffcca25f26936857bc3a7c2539ea8ec3a952b7"
    );
    const POINT: [u8; 32] = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000");
    const VALUE: [u8; 32] = hex!("1522a4a7f34e1ea350ae07c29c96c7e79655aa926122e95fe69fcbd932ca49e9");
    const PROOF: [u8; 48] = hex!(
        "a62ad71d14c5719385c0686f1871430475bf3a00f0aa3f7b8dd99a9abc2160744faf0070725e00b60ad9a026a15b1a8c"
    );

    /// The order of the field: the least number that is no element of it.
    const MODULUS: [u8; 32] = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001");

    #[test]
    fn a_proof_holds_for_its_own_commitment_point_and_value_only() {
        assert!(verify_kzg_proof(&COMMITMENT, &POINT, &VALUE, &PROOF));
        assert!(!verify_kzg_proof(&PROOF, &POINT, &VALUE, &PROOF), "another commitment");
        assert!(!verify_kzg_proof(&COMMITMENT, &VALUE, &VALUE, &PROOF), "another point");
        assert!(!verify_kzg_proof(&COMMITMENT, &POINT, &POINT, &PROOF), "another value");
        assert!(!verify_kzg_proof(&COMMITMENT, &POINT, &VALUE, &COMMITMENT), "another proof");
    }

    #[test]
    fn what_is_no_point_or_no_field_element_is_refused() {
        assert!(!verify_kzg_proof(&[0xff; 48], &POINT, &VALUE, &PROOF));
        assert!(!verify_kzg_proof(&COMMITMENT, &MODULUS, &VALUE, &PROOF));
        assert!(!verify_kzg_proof(&COMMITMENT, &POINT, &MODULUS, &PROOF));
        assert!(!verify_kzg_proof(&COMMITMENT, &POINT, &VALUE, &[0; 48]));
    }
}
