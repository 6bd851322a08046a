//! Copy on write: changes that are finished and shared, under a writable layer of each branch's own.
//!
//! In: a writable layer that is to be shared. Out: a source under which any number of branches write on their own.
//! Must never: show a branch what another one wrote, or let storage that was cleared shine through from below.

use super::{Db, Source};
use alloy_primitives::{Address, B256, U256};
use revm::database::{AccountState, Cache, DbAccount};
use revm::state::{AccountInfo, Bytecode};
use std::sync::Arc;

/// A layer is merged into the one below as long as that is at most so many times larger. Every layer is thus more
/// than four times the one above it: nine layers hold a million entries, so a read looks at few, and an entry is
/// copied about as many times as there are layers, however often a branch is taken.
const GROWTH: usize = 4;

/// Entries up to which layers are merged, about 10 MB. A carried state is thus several layers, of which the oldest can
/// be given up alone.
const MAX_MERGED: usize = 100_000;
/// Ancestor hashes that `BLOCKHASH` reaches (yellow paper, section 9.4.2).
const BLOCK_HASH_REACH: u64 = 256;
/// Codes that every cache holds from the start: the empty one, under its hash and under zero.
const STARTING_CODES: usize = 2;

/// Finished changes above a state. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    /// The newest last.
    layers: Vec<Arc<Layer>>,
    below: Box<Source>,
}

#[derive(Debug, Clone)]
struct Layer {
    cache: Cache,
    entries: usize,
}

/// Moves what was written (and read) so far into a shared layer and puts an empty one on top. Costs nothing where
/// nothing was written since the last time. The answer is the source for further branches.
pub(crate) fn freeze(db: &mut Db) -> Source {
    let entries = entries(&db.cache);
    if entries > 0 {
        let cache = std::mem::take(&mut db.cache);
        let layer = Layer { cache, entries };
        if let Source::Layers(layers) = &mut db.db {
            layers.push(layer);
        } else {
            let mut layers = Layers::none(db.db.clone());
            layers.push(layer);
            db.db = Source::Layers(layers);
        }
    }
    db.db.clone()
}

fn entries(cache: &Cache) -> usize {
    let slots: usize = cache.accounts.values().map(|account| account.storage.len()).sum();
    let codes = cache.contracts.len().saturating_sub(STARTING_CODES);
    cache.accounts.len().saturating_add(slots).saturating_add(codes).saturating_add(cache.block_hashes.len())
}

impl Layers {
    /// No changes above a state.
    pub(crate) fn none(below: Source) -> Self {
        Self { layers: Vec::new(), below: Box::new(below) }
    }

    fn push(&mut self, mut top: Layer) {
        while let Some(below) = self.layers.pop_if(|below| {
            below.entries <= top.entries.saturating_mul(GROWTH)
                && below.entries.saturating_add(top.entries) <= MAX_MERGED
        }) {
            // Copied only where another branch still stands on it.
            top = Arc::unwrap_or_clone(below).under(top);
        }
        self.layers.push(Arc::new(top));
    }

    /// The state below the layers.
    pub(crate) fn below(&self) -> &Source {
        &self.below
    }

    /// The same changes above another state that agrees with them: the state of the block that made them.
    pub(crate) fn above(self, below: Source) -> Self {
        Self { below: Box::new(below), ..self }
    }

    /// Drops the oldest layers until at most `limit` entries are left. Right only where the state below agrees with the
    /// layers. Whatever was used lately was copied up into a newer layer, so what goes is what nobody asked for.
    pub(crate) fn trim(&mut self, limit: usize) {
        while self.entries() > limit {
            self.layers.remove(0);
        }
    }

    /// Accounts, slots, codes and hashes in all layers.
    pub(crate) fn entries(&self) -> usize {
        self.layers.iter().map(|layer| layer.entries).sum()
    }

    #[cfg(test)]
    pub(crate) fn depth(&self) -> usize {
        self.layers.len()
    }

    fn newest_first(&self) -> impl Iterator<Item = &Cache> {
        self.layers.iter().rev().map(|layer| &layer.cache)
    }

    fn note<T>(&self, found: Option<T>) -> Option<T> {
        if found.is_some()
            && let Some(node) = self.below.node()
        {
            node.note_carried();
        }
        found
    }

    pub(super) fn account(&self, address: Address) -> Option<Option<AccountInfo>> {
        self.note(self.peek_account(address))
    }

    pub(super) fn slot(&self, address: Address, slot: U256) -> Option<U256> {
        self.note(self.peek_slot(address, slot))
    }

    /// The account, without counting the read.
    pub(super) fn peek_account(&self, address: Address) -> Option<Option<AccountInfo>> {
        self.newest_first().find_map(|cache| cache.accounts.get(&address)).map(DbAccount::info)
    }

    /// The slot, without counting the read.
    pub(super) fn peek_slot(&self, address: Address, slot: U256) -> Option<U256> {
        for account in self.newest_first().filter_map(|cache| cache.accounts.get(&address)) {
            if let Some(value) = account.storage.get(&slot) {
                return Some(*value);
            }
            if is_cleared(account) {
                return Some(U256::ZERO);
            }
        }
        None
    }

    pub(super) fn code(&self, code_hash: B256) -> Option<Bytecode> {
        self.newest_first().find_map(|cache| cache.contracts.get(&code_hash)).cloned()
    }

    pub(super) fn block_hash(&self, number: u64) -> Option<B256> {
        let number = U256::from(number);
        self.newest_first().find_map(|cache| cache.block_hashes.get(&number)).copied()
    }
}

/// True where no storage below an account counts any more.
fn is_cleared(account: &DbAccount) -> bool {
    matches!(account.account_state, AccountState::StorageCleared | AccountState::NotExisting)
}

impl Layer {
    /// This layer with a newer one laid over it.
    fn under(mut self, newer: Self) -> Self {
        for (address, account) in newer.cache.accounts {
            match self.cache.accounts.get_mut(&address) {
                Some(older) => lay_over(older, account),
                None => {
                    self.cache.accounts.insert(address, account);
                }
            }
        }
        self.cache.contracts.extend(newer.cache.contracts);
        self.cache.block_hashes.extend(newer.cache.block_hashes);
        // Every block adds the hash of one; without an end they would push out state that is still used.
        if let Some(newest) = self.cache.block_hashes.keys().max().copied() {
            let oldest = newest.saturating_sub(U256::from(BLOCK_HASH_REACH));
            self.cache.block_hashes.retain(|number, _| *number >= oldest);
        }
        self.entries = entries(&self.cache);
        self
    }
}

fn lay_over(older: &mut DbAccount, newer: DbAccount) {
    if is_cleared(&newer) {
        *older = newer;
        return;
    }
    // Storage that was cleared stays cleared, whatever happened to the account since.
    let state = if is_cleared(older) { AccountState::StorageCleared } else { newer.account_state };
    older.info = newer.info;
    older.account_state = state;
    older.storage.extend(newer.storage);
}

#[cfg(test)]
mod tests;
