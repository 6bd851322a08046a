//! What transactions of the same kind read earlier in this process.
//!
//! In: transactions and what they touched. Out: what a new one of the same kind is likely to touch. Must never: grow
//! without bound, be taken for more than a guess of which questions to ask, or let what was only tried, which costs its
//! sender nothing, push out what mined transactions read.

use crate::state::{Bounded, Wanted};
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, U256};
use cordon_model::block::Transaction;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kinds of mined transactions remembered, each with at most as many places as below: at most 15 MB. A busy hour of mainnet
/// holds a few thousand kinds, of which the rare ones need no memory.
const MAX_KINDS: usize = 2_048;
/// Kinds of transactions remembered that were only tried, pending ones above all: at most 2 MB more. The kinds that watched
/// contracts are called with are far fewer.
const MAX_TRIED_KINDS: usize = 256;
/// Places remembered per kind. The median transaction of the archive's blocks touches fewer than ten, a swap through
/// several pools about fifty.
const MAX_PLACES: usize = 96;

/// Receiver and first four bytes of the input (fewer where there are not as many).
type Kind = (Address, [u8; 4]);

/// A place in the state: an account, or a slot of it.
pub(crate) type Place = (Address, Option<U256>);

/// What transactions of the same kind read.
#[derive(Debug)]
pub(super) struct History(Bounded<Kind, Places>);

/// Places by whether a second transaction touched them, too. What only one did is its own business: a balance of its
/// sender, say.
type Places = HashMap<Place, bool>;

/// What is remembered of transactions that were mined, and of those that were only tried. A clone shares both.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    mined: Arc<Mutex<History>>,
    tried: Arc<Mutex<History>>,
}

impl Default for Habits {
    fn default() -> Self {
        let empty = |kinds| Arc::new(Mutex::new(History(Bounded::new(kinds))));
        Self { mined: empty(MAX_KINDS), tried: empty(MAX_TRIED_KINDS) }
    }
}

impl Habits {
    /// What mined transactions read.
    pub(super) fn mined(&self) -> MutexGuard<'_, History> {
        self.mined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What transactions read that were tried.
    pub(super) fn tried(&self) -> MutexGuard<'_, History> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Notes what a transaction touched.
    pub(super) fn learn(&mut self, transaction: &Transaction, touched: Vec<Place>) {
        let Some(kind) = kind(transaction) else { return };
        let places = self.0.at(kind);
        for place in touched {
            if let Some(again) = places.get_mut(&place) {
                *again = true;
                continue;
            }
            if places.len() >= MAX_PLACES {
                places.retain(|_, again| *again);
            }
            if places.len() < MAX_PLACES {
                places.insert(place, false);
            }
        }
    }

    /// Adds what transactions of the same kind have in common.
    pub(super) fn recall(&self, transaction: &Transaction, wanted: &mut Wanted) {
        let Some(places) = kind(transaction).and_then(|kind| self.0.peek(&kind)) else { return };
        for ((address, slot), _) in places.iter().filter(|(_, again)| **again) {
            match slot {
                None => wanted.accounts.insert(*address),
                Some(slot) => wanted.slots.insert((*address, *slot)),
            };
        }
    }
}

fn kind(transaction: &Transaction) -> Option<Kind> {
    let mut selector = [0; 4];
    selector.iter_mut().zip(&transaction.input).for_each(|(byte, input)| *byte = *input);
    Some((transaction.to?, selector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, U256};

    fn to(address: Address, input: &'static [u8]) -> Transaction {
        Transaction {
            to: Some(address),
            input: Bytes::from_static(input),
            ..Transaction::bare(Address::ZERO, None)
        }
    }

    fn recalled(history: &History, transaction: &Transaction) -> (usize, usize) {
        let mut wanted = Wanted::default();
        history.recall(transaction, &mut wanted);
        (wanted.accounts.len(), wanted.slots.len())
    }

    #[test]
    fn what_two_transactions_of_a_kind_touched_is_expected_of_the_third() {
        let (pool, token) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let swap = to(pool, &[1, 2, 3, 4, 5]);
        let mut history = History(Bounded::new(MAX_KINDS));
        let own = |user: u64| (token, Some(U256::from(user)));
        history.learn(&swap, vec![(pool, None), (pool, Some(U256::ZERO)), own(1)]);
        assert_eq!(recalled(&history, &swap), (0, 0));
        history.learn(&swap, vec![(pool, None), (pool, Some(U256::ZERO)), own(2)]);
        assert_eq!(recalled(&history, &swap), (1, 1));
        assert_eq!(recalled(&history, &to(pool, &[9, 9, 9, 9])), (0, 0), "another function");
        assert_eq!(recalled(&history, &to(token, &[1, 2, 3, 4])), (0, 0), "another contract");
    }

    #[test]
    fn the_memory_of_a_kind_is_bounded_and_keeps_what_is_common() {
        let pool = Address::repeat_byte(1);
        let call = to(pool, &[]);
        let mut history = History(Bounded::new(MAX_KINDS));
        history.learn(&call, vec![(pool, None)]);
        for user in 0..10_000u64 {
            history.learn(&call, vec![(pool, None), (pool, Some(U256::from(user)))]);
        }
        assert_eq!(recalled(&history, &call), (1, 0));
        assert!(history.0.peek(&kind(&call).unwrap()).unwrap().len() <= MAX_PLACES);
    }

    #[test]
    fn what_is_only_tried_pushes_nothing_out_that_was_mined() {
        let (pool, habits) = (Address::repeat_byte(1), Habits::default());
        let swap = to(pool, &[1, 2, 3, 4]);
        for _ in 0..2 {
            habits.mined().learn(&swap, vec![(pool, None)]);
        }
        for n in 0..10_000u64 {
            let flood = to(Address::from_word(U256::from(n).into()), &[]);
            habits.tried().learn(&flood, vec![(pool, Some(U256::from(n)))]);
        }
        assert_eq!(recalled(&habits.mined(), &swap), (1, 0));
        assert_eq!(habits.tried().0.len(), MAX_TRIED_KINDS);
    }
}
