//! State of a block's witness.
//!
//! In: the accounts, slots, codes and ancestor hashes that travel with a block. Out: their values. Must never: answer
//! for a slot, a code or a hash that the witness does not hold.

use super::{Db, DbError, Source, analysed};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use cordon_model::block::Witness;
use revm::database::CacheDB;
use revm::state::{AccountInfo, Bytecode};
use std::sync::Arc;

/// State of a block's witness.
///
/// A witness lists every account its block touches, so an account that it does not list does not exist. A listed
/// account without the slot, a code or an ancestor hash that is asked for is a gap, and an error.
#[derive(Debug, Clone)]
pub(crate) struct WitnessState(Arc<Witness>);

impl WitnessState {
    pub(crate) fn new(witness: Arc<Witness>) -> Self {
        Self(witness)
    }

    pub(super) fn account(&self, address: Address) -> Option<AccountInfo> {
        self.0.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance_wei,
            nonce: account.nonce,
            code_hash: account.code_hash.unwrap_or(KECCAK256_EMPTY),
            account_id: None,
            code: None,
        })
    }

    pub(super) fn code(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        self.0
            .codes
            .get(&code_hash)
            .map(|code| analysed(code.clone()))
            .ok_or_else(|| DbError::not_in_witness(format!("code with hash {code_hash}"), None))
    }

    pub(super) fn slot(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        match self.0.accounts.get(&address) {
            None => Ok(U256::ZERO),
            Some(account) => account.storage.get(&slot).copied().ok_or_else(|| {
                DbError::not_in_witness(format!("slot {slot:#x} of {address}"), Some(address))
            }),
        }
    }

    pub(super) fn block_hash(&self, number: u64) -> Result<B256, DbError> {
        self.0
            .block_hashes
            .get(&number)
            .copied()
            .ok_or_else(|| DbError::not_in_witness(format!("hash of block {number}"), None))
    }

    /// Every account, slot and code of the witness in one writable layer, codes analysed.
    pub(crate) fn preloaded(&self) -> Result<Db, DbError> {
        let mut db = CacheDB::new(Source::Witness(self.clone()));
        for (address, account) in &self.0.accounts {
            let Some(mut info) = self.account(*address) else { continue };
            // A witness leaves out the code of an account that is never run.
            info.code = account.code_hash.and_then(|code_hash| self.code(code_hash).ok());
            db.insert_account_info(*address, info);
            for (slot, value) in &account.storage {
                db.insert_account_storage(*address, *slot, *value)?;
            }
        }
        Ok(db)
    }
}
