//! Runs a block, or one transaction, on what is known, to learn which values it reads that are not known.
//!
//! In: transactions and a source. Out: the places that were missing, and what each transaction touched. Must never: ask a
//! node, or let a result out: the state that it builds has a type of its own, which no execution can be made from.

use super::history::Place;
use crate::machine::{self, Mode};
use crate::protocol::{closing_calls, opening_calls};
use crate::rules::BlockRules;
use crate::state::{Source, Wanted};
use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_model::block::{Block, Transaction};
use revm::context::{BlockEnv, Context, TxEnv};
use revm::database::CacheDB;
use revm::database_interface::{DBErrorMarker, DatabaseCommit as _};
use revm::handler::{MainnetContext, MainnetEvm, SystemCallEvm as _};
use revm::state::{Account, AccountInfo, Bytecode, EvmState};
use revm::{Database as _, DatabaseRef, ExecuteEvm as _, MainBuilder as _, MainContext as _};
use std::cell::{Cell, RefCell};

/// How often the gas of a whole block all rounds together may use. Guesses can send a transaction into a loop that it never
/// runs in truth, and blocks can be written to be guessed badly; what is not reached is then read when it is needed. The
/// blocks that the other bounds were measured on need less than half of it.
const GAS_BUDGETS: u64 = 8;
/// Balance of an account that is not known: enough for whatever it may pay on.
const GUESSED_BALANCE_WEI: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);
/// Values that one transaction may guess per round. Guesses that are built on guesses lead nowhere: on the four mainnet
/// blocks for which it was chosen (4,369 values) 3 takes 172 round trips and asks for 60 values in vain, 6 takes 147 for
/// 286, 12 takes 142 for 713, and no bound 141 for 2,553. On five on which nothing was chosen (4,870 values): 151 for 106,
/// 139 for 195, 139 for 345, 139 for 743. Measured with `tests/replay/cold.rs`.
const MAX_GUESSES: usize = 6;

/// The guess at what transactions do, round after round.
#[derive(Debug)]
pub(super) struct Speculation<'a> {
    source: &'a Source,
    rules: &'a BlockRules,
    env: BlockEnv,
    /// The protocol's own calls before the first transaction.
    opening: Vec<(Address, Bytes)>,
    transactions: &'a [Transaction],
    /// The protocol's own calls after the last one.
    closing: Vec<(Address, Bytes)>,
    /// Gas that may still be used.
    gas_left: u64,
    /// What each transaction came to when it was last run, and whether it read what was not known.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Default)]
struct Run {
    state: EvmState,
    is_guessed: bool,
}

impl Run {
    /// What went astray, or is refused, did nothing.
    fn of(state: Option<EvmState>, missing: &Wanted) -> Self {
        let is_missing = |(address, account): (&Address, &Account)| {
            missing.accounts.contains(address)
                || account.storage.keys().any(|slot| missing.slots.contains(&(*address, *slot)))
        };
        let is_guessed = state.as_ref().is_none_or(|state| state.iter().any(is_missing));
        Self { state: state.unwrap_or_default(), is_guessed }
    }
}

/// State of which a part is guessed.
#[derive(Debug)]
struct Guessed {
    known: Source,
    missing: RefCell<Wanted>,
    /// Values that the transaction may still guess.
    left: Cell<usize>,
}

/// A transaction has guessed so much that what it reads from here on is hardly what it reads in truth.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too much is guessed")]
struct GoneAstray;

impl DBErrorMarker for GoneAstray {}

type Evm = MainnetEvm<MainnetContext<CacheDB<Guessed>>>;

impl Guessed {
    fn guess<T>(&self, value: T, note: impl FnOnce(&mut Wanted)) -> Result<T, GoneAstray> {
        let left = self.left.get().checked_sub(1).ok_or(GoneAstray)?;
        self.left.set(left);
        note(&mut self.missing.borrow_mut());
        Ok(value)
    }
}

impl DatabaseRef for Guessed {
    type Error = GoneAstray;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, GoneAstray> {
        match self.known.known_account(address) {
            Some(known) => Ok(known),
            None => {
                let rich = AccountInfo { balance: GUESSED_BALANCE_WEI, ..AccountInfo::default() };
                self.guess(Some(rich), |missing| {
                    missing.accounts.insert(address);
                })
            }
        }
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, GoneAstray> {
        Ok(self.known.known_code(code_hash).unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, GoneAstray> {
        match self.known.known_slot(address, slot) {
            Some(known) => Ok(known),
            None => self.guess(U256::ZERO, |missing| {
                missing.slots.insert((address, slot));
            }),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, GoneAstray> {
        match self.known.known_block_hash(number) {
            Some(known) => Ok(known),
            None => self.guess(B256::ZERO, |missing| {
                missing.hashes.insert(number);
            }),
        }
    }
}

impl<'a> Speculation<'a> {
    pub(super) fn of_block(source: &'a Source, block: &'a Block, rules: &'a BlockRules) -> Self {
        Self {
            opening: opening_calls(block, rules),
            closing: closing_calls(block, rules),
            gas_left: block.gas_limit.saturating_mul(GAS_BUDGETS),
            ..Self::new(source, machine::block_env(block, rules), rules, &block.transactions)
        }
    }

    /// A transaction that is tried on its own. It may cost its sender nothing, so all rounds together use the gas of one
    /// block and not of several.
    pub(super) fn of_transaction(
        source: &'a Source,
        env: BlockEnv,
        rules: &'a BlockRules,
        transaction: &'a Transaction,
    ) -> Self {
        Self::new(source, env, rules, std::slice::from_ref(transaction))
    }

    fn new(
        source: &'a Source,
        env: BlockEnv,
        rules: &'a BlockRules,
        transactions: &'a [Transaction],
    ) -> Self {
        let runs = vec![Run { is_guessed: true, ..Run::default() }; transactions.len()];
        let (gas_left, opening, closing) = (env.gas_limit, Vec::new(), Vec::new());
        Self { source, rules, env, opening, transactions, closing, gas_left, runs }
    }

    /// Runs those transactions again that guessed, or all of them; what the others did last time is taken as it is. The
    /// answer is what was read and is not known.
    pub(super) fn round(&mut self, all: bool) -> Wanted {
        let rules = self.rules;
        let known = self.source.clone();
        let guessed = Guessed { known, missing: RefCell::default(), left: Cell::new(MAX_GUESSES) };
        let mut evm = Context::mainnet()
            .with_db(CacheDB::new(guessed))
            .with_cfg(machine::configuration(rules, Mode::Simulated))
            .with_block(self.env.clone())
            .build_mainnet();
        if let Some(precompiles) = machine::own_precompiles(rules) {
            evm.precompiles = precompiles;
        }
        for (contract, data) in &self.opening {
            system_call(&mut evm, *contract, data.clone());
        }
        for (transaction, run) in self.transactions.iter().zip(&mut self.runs) {
            if (all || run.is_guessed) && self.gas_left > 0 {
                evm.ctx.journaled_state.database.db.left.set(MAX_GUESSES);
                // A blob fee cap cannot be met or missed where no fee is charged.
                let tx = TxEnv { max_fee_per_blob_gas: u128::MAX, ..machine::tx_env(transaction) };
                let done = evm.transact(tx);
                let used = done.as_ref().map_or(0, |done| done.result.tx_gas_used());
                self.gas_left = self.gas_left.saturating_sub(used);
                let missing = evm.ctx.journaled_state.database.db.missing.borrow();
                *run = Run::of(done.ok().map(|done| done.state), &missing);
            }
            evm.ctx.journaled_state.database.commit(run.state.clone());
        }
        for (contract, data) in &self.closing {
            system_call(&mut evm, *contract, data.clone());
        }
        evm.ctx.journaled_state.database.db.missing.into_inner()
    }

    /// What each transaction touched when it was last run.
    pub(super) fn touched(self) -> impl Iterator<Item = (&'a Transaction, Vec<Place>)> {
        self.transactions.iter().zip(self.runs).map(|(transaction, run)| {
            let places = run.state.iter().flat_map(|(address, account)| {
                let slots = account.storage.keys().map(|slot| (*address, Some(*slot)));
                std::iter::once((*address, None)).chain(slots)
            });
            (transaction, places.collect())
        })
    }
}

fn system_call(evm: &mut Evm, contract: Address, data: Bytes) {
    evm.ctx.journaled_state.database.db.left.set(MAX_GUESSES);
    let account = evm.ctx.journaled_state.database.basic(contract).ok().flatten();
    if account.is_none_or(|account| account.is_empty_code_hash()) {
        return;
    }
    // Whatever comes of it: only what it reads is of interest.
    drop(evm.system_call_one(contract, data));
    let state = evm.finalize();
    evm.ctx.journaled_state.database.commit(state);
}
