//! What is known of a node's state at the end of one block.
//!
//! In: answers of the node. Out: the same values, without asking again. Must never: hold more than its bounds.

use alloy_primitives::{Address, B256, U256};
use lru::LruCache;
use revm::state::AccountInfo;
use std::hash::Hash;

/// Accounts of one node state that all its branches share: about 200 bytes each, so 10 MB. A block touches about 250.
const MAX_ACCOUNTS: usize = 50_000;
/// Slots of one node state that all its branches share: about 120 bytes each, so 24 MB. A block touches about 720.
const MAX_SLOTS: usize = 200_000;
/// Ancestor hashes, as many as `BLOCKHASH` reaches (yellow paper, section 9.4.2).
const MAX_HASHES: usize = 256;

#[derive(Debug)]
pub(super) struct Known {
    pub(super) accounts: Bounded<Address, Option<AccountInfo>>,
    pub(super) slots: Bounded<(Address, U256), U256>,
    pub(super) hashes: Bounded<u64, B256>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            accounts: Bounded::new(MAX_ACCOUNTS),
            slots: Bounded::new(MAX_SLOTS),
            hashes: Bounded::new(MAX_HASHES),
        }
    }
}

/// A map from which the entry that was used longest ago leaves when it is full.
#[derive(Debug)]
pub(crate) struct Bounded<K: Hash + Eq, V> {
    map: LruCache<K, V>,
    limit: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    /// Room is taken as it is needed, not for the whole bound at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self { map: LruCache::unbounded(), limit }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.map.get(key).cloned()
    }

    /// The value, without counting as a use of it.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.map.peek(key)
    }

    /// The value to be changed, made where there is none.
    pub(crate) fn at(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if self.map.len() >= self.limit && !self.map.contains(&key) {
            self.map.pop_lru();
        }
        self.map.get_or_insert_mut(key, V::default)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        self.map.put(key, value);
        if self.map.len() > self.limit {
            self.map.pop_lru();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_was_used_longest_ago_leaves_first() {
        let mut map = Bounded::new(2);
        map.put(1, 'a');
        map.put(2, 'b');
        assert_eq!(map.get(&1), Some('a'));
        map.put(3, 'c');
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some('a'), None, Some('c')));
        assert_eq!(map.len(), 2);
    }
}
