//! Functions that only accounts call, never contracts (`onlyEOA` of Trace2Inv: 15 of 27 exploits at 0.2 % false alarms).
//!
//! In: the entries of a transaction. Out: a bound for each function that a contract calls here. Records without callers give none.

use super::Bound;
use crate::entry::{Entries, Entry};
use alloy_primitives::U256;
use cordon_model::baseline::{Aspect, Baseline};
use cordon_model::execution::Detail;

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    if entries.execution.detail == Detail::Entries {
        return Vec::new();
    }
    let by_contract = |entry: &Entry<'_>| U256::from(u8::from(entry.frame.parent.is_some()));
    let bound = |entry| Bound::of_part(entry, Aspect::CalledByContract, &[], by_contract(entry));
    entries.calls.iter().map(bound).collect()
}
