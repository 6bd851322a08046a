//! Runs a block on what is known, to learn which values it reads that are not known.
//!
//! In: a block and a source. Out: the places that were missing, and what each transaction touched. Must never: ask a
//! node, or let a result out: the state that it builds has a type of its own, which no execution can be made from.

use super::history::Place;
use crate::machine::{self, Mode};
use crate::protocol::{closing_calls, opening_calls};
use crate::rules::BlockRules;
use crate::state::{Source, Wanted};
use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_model::block::Block;
use revm::context::Context;
use revm::database::CacheDB;
use revm::database_interface::DatabaseCommit as _;
use revm::handler::{MainnetContext, MainnetEvm, SystemCallEvm as _};
use revm::state::{AccountInfo, Bytecode};
use revm::{Database as _, DatabaseRef, ExecuteEvm as _, MainBuilder as _, MainContext as _};
use std::cell::RefCell;
use std::convert::Infallible;

/// How often the gas of a whole block one run may use. Guesses can send a transaction into a loop that it never runs
/// in truth; the run then ends early, and what it did not reach is read when it is needed.
const GAS_BUDGETS: u64 = 2;
/// Balance of an account that is not known: enough for whatever it may pay on.
const GUESSED_BALANCE_WEI: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);

/// What a run on guesses found.
#[derive(Debug)]
pub(super) struct Findings {
    /// What was read and is not known.
    pub(super) missing: Wanted,
    /// What each transaction touched, as far as the run came.
    pub(super) touched: Vec<Vec<Place>>,
}

/// State of which a part is guessed.
#[derive(Debug)]
struct Guessed {
    known: Source,
    missing: RefCell<Wanted>,
}

type Evm = MainnetEvm<MainnetContext<CacheDB<Guessed>>>;

impl DatabaseRef for Guessed {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.known.known_account(address).unwrap_or_else(|| {
            self.missing.borrow_mut().accounts.insert(address);
            Some(AccountInfo { balance: GUESSED_BALANCE_WEI, ..AccountInfo::default() })
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.known.known_code(code_hash).unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.known.known_slot(address, slot).unwrap_or_else(|| {
            self.missing.borrow_mut().slots.insert((address, slot));
            U256::ZERO
        }))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.known.known_block_hash(number).unwrap_or_else(|| {
            self.missing.borrow_mut().hashes.insert(number);
            B256::ZERO
        }))
    }
}

/// Runs the whole block once.
pub(super) fn run(source: &Source, block: &Block, rules: &BlockRules) -> Findings {
    let guessed = Guessed { known: source.clone(), missing: RefCell::default() };
    let mut evm = Context::mainnet()
        .with_db(CacheDB::new(guessed))
        .with_cfg(machine::configuration(rules, Mode::Simulated))
        .with_block(machine::block_env(block, rules))
        .build_mainnet();
    for (contract, data) in opening_calls(block, rules) {
        system_call(&mut evm, contract, data);
    }
    let mut touched = Vec::with_capacity(block.transactions.len());
    let mut gas_left = block.gas_limit.saturating_mul(GAS_BUDGETS);
    for transaction in &block.transactions {
        let Ok(done) = evm.transact(machine::tx_env(transaction)) else {
            touched.push(Vec::new());
            continue;
        };
        gas_left = gas_left.saturating_sub(done.result.tx_gas_used());
        if gas_left == 0 {
            break;
        }
        touched.push(
            done.state
                .iter()
                .flat_map(|(address, account)| {
                    let slots = account.storage.keys().map(|slot| (*address, Some(*slot)));
                    std::iter::once((*address, None)).chain(slots)
                })
                .collect(),
        );
        evm.ctx.journaled_state.database.commit(done.state);
    }
    for (contract, data) in closing_calls(block, rules) {
        system_call(&mut evm, contract, data);
    }
    Findings { missing: evm.ctx.journaled_state.database.db.missing.into_inner(), touched }
}

fn system_call(evm: &mut Evm, contract: Address, data: Bytes) {
    let Ok(account) = evm.ctx.journaled_state.database.basic(contract);
    if account.is_none_or(|account| account.is_empty_code_hash()) {
        return;
    }
    // Whatever comes of it: only what it reads is of interest.
    drop(evm.system_call_one(contract, data));
    let state = evm.finalize();
    evm.ctx.journaled_state.database.commit(state);
}
