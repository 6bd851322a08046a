//! How often a contract is entered by transactions of one sender within a block (one call per origin and block of Trace2Inv: 11 of 27
//! exploits without a false alarm).
//!
//! In: the entries of a transaction, and what was counted in its block so far. Out: a bound for each contract, and what is to be counted.
//! A series for each contract holds the senders of about an hour: one for each contract and sender would be unbounded. Records without
//! senders give none.

use super::Bound;
use crate::entry::Entries;
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline};
use cordon_model::execution::Detail;
use cordon_model::tally::Tally;
use std::collections::BTreeMap;

/// Only the newest block is looked at.
const WINDOW_S: u64 = 1;

pub(super) fn bounds(entries: &Entries<'_>, baseline: &Baseline) -> Vec<Bound> {
    let (block, sender) = (entries.execution.tx.block, sender(entries));
    let bound = |(contract, count): (Address, u64)| {
        let key = key(contract);
        let earlier = baseline.tallies().sum_in(key, block, sender);
        let value = earlier.saturating_add(U256::from(count));
        Bound::alone(contract, Aspect::BlockEntries, key, value)
    };
    counts(entries).into_iter().map(bound).collect()
}

pub(super) fn tallies(entries: &Entries<'_>, _: &Baseline) -> Vec<Tally> {
    let value = sender(entries);
    let tally = |(contract, count): (Address, u64)| Tally {
        value,
        ..Tally::of(key(contract), WINDOW_S, U256::from(count))
    };
    counts(entries).into_iter().map(tally).collect()
}

fn counts(entries: &Entries<'_>) -> BTreeMap<Address, u64> {
    let mut counts: BTreeMap<Address, u64> = BTreeMap::new();
    if entries.execution.detail == Detail::Entries {
        return counts;
    }
    for entry in &entries.calls {
        let count = counts.entry(entry.contract()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn sender(entries: &Entries<'_>) -> B256 {
    entries.execution.transaction.from.into_word()
}

fn key(contract: Address) -> B256 {
    keccak256([contract.as_slice(), b"entries of a sender in a block"].concat())
}
