//! What transactions of the same kind read in earlier blocks of this process.
//!
//! In: transactions and what they touched. Out: what a new one of the same kind is likely to touch. Must never: grow
//! without bound, or be taken for more than a guess of which questions to ask.

use crate::state::{Bounded, Wanted};
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, U256};
use cordon_model::block::Transaction;

/// Kinds of transactions remembered, each with at most as many places as below: at most 15 MB. A busy hour of mainnet
/// holds a few thousand kinds, of which the rare ones need no memory.
const MAX_KINDS: usize = 2_048;
/// Places remembered per kind. The median transaction of the archive's blocks touches fewer than ten, a swap through
/// several pools about fifty.
const MAX_PLACES: usize = 96;

/// Receiver and first four bytes of the input (fewer where there are not as many).
type Kind = (Address, [u8; 4]);

/// A place in the state: an account, or a slot of it.
pub(crate) type Place = (Address, Option<U256>);

/// What transactions of the same kind read.
#[derive(Debug)]
pub(crate) struct History(Bounded<Kind, Places>);

/// Places by whether a second transaction touched them, too. What only one did is its own business: a balance of its
/// sender, say.
type Places = HashMap<Place, bool>;

impl Default for History {
    fn default() -> Self {
        Self(Bounded::new(MAX_KINDS))
    }
}

impl History {
    /// Notes what a transaction touched.
    pub(crate) fn learn(&mut self, transaction: &Transaction, touched: Vec<Place>) {
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
    pub(crate) fn recall(&self, transaction: &Transaction, wanted: &mut Wanted) {
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
    use crate::samples::nothing;
    use alloy_primitives::{Bytes, U256};

    fn to(address: Address, input: &'static [u8]) -> Transaction {
        Transaction { to: Some(address), input: Bytes::from_static(input), ..nothing() }
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
        let mut history = History::default();
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
        let mut history = History::default();
        history.learn(&call, vec![(pool, None)]);
        for user in 0..10_000u64 {
            history.learn(&call, vec![(pool, None), (pool, Some(U256::from(user)))]);
        }
        assert_eq!(recalled(&history, &call), (1, 0));
        assert!(history.0.peek(&kind(&call).unwrap()).unwrap().len() <= MAX_PLACES);
    }
}
