//! How often a contract is entered in one transaction, and whether while an entry is not over (one call per sender and block, and the
//! re-entrancy lock of Trace2Inv, within a transaction).
//!
//! In: the entries of a transaction. Out: a bound for each contract.

use super::Bound;
use crate::entry::Entries;
use alloy_primitives::{Address, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline};
use std::collections::BTreeMap;

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    let mut counts: BTreeMap<Address, (u32, bool)> = BTreeMap::new();
    for entry in &entries.calls {
        let (count, is_nested) = counts.entry(entry.contract()).or_default();
        *count = count.saturating_add(1);
        *is_nested |= entry.is_nested;
    }
    let bound = |(contract, (count, is_nested)): (Address, (u32, bool))| {
        let key = keccak256(contract);
        let bound = |aspect, value| Bound::alone(contract, aspect, key, value);
        [bound(Aspect::Entries, U256::from(count)), bound(Aspect::Nested, U256::from(u8::from(is_nested)))]
    };
    counts.into_iter().flat_map(bound).collect()
}
