//! Words of a function's arguments that may be amounts, and coins sent along.
//!
//! In: the entries of a transaction. Out: bounds from above and below for each word below 2^128, and one for the coins. Addresses,
//! hashes and "everything" (2^256 - 1) are larger than any amount and left out; a word that sometimes is one of these is bounded
//! where it is not. From below stands what is missing to 2^256 - 1, of which the most is bounded as of all else.

use super::Bound;
use crate::entry::{Entries, Entry};
use alloy_primitives::U256;
use cordon_model::baseline::{Aspect, Baseline};

/// Most words of one call. Beyond them calldata is mostly what arrays hold.
const WORDS_MAX: u8 = 8;

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    entries.calls.iter().flat_map(of_call).collect()
}

fn of_call(entry: &Entry<'_>) -> Vec<Bound> {
    let bound = |aspect, part: &[u8], value| Bound::of_part(entry, aspect, part, value);
    let arguments = entry.frame.input.get(4..).unwrap_or_default();
    let words = (0..WORDS_MAX).zip(arguments.chunks_exact(32));
    let words = words.map(|(place, word)| (place, U256::from_be_slice(word)));
    let amounts = words.filter(|(_, word)| word.bit_len() <= 128);
    let both = |(place, word): (u8, U256)| {
        [Aspect::Argument, Aspect::ArgumentLeast].map(|aspect| bound(aspect, &[place], aspect.amount(word)))
    };
    let mut bounds: Vec<Bound> = amounts.flat_map(both).collect();
    bounds.push(bound(Aspect::CallValue, b"value", entry.frame.value_wei));
    bounds
}
