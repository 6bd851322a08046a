//! How much gas a function uses with all that it calls.
//!
//! In: the entries of a transaction. Out: a bound for each function. Records that do not tell gas give none.

use super::Bound;
use crate::entry::{Entries, Entry};
use alloy_primitives::U256;
use cordon_model::baseline::{Aspect, Baseline};

/// Gas is compared in steps of this much, so that a slot that was cold and now is warm makes no record: a cold write costs
/// about 22,000 (EIP-2929).
const STEP: u64 = 50_000;

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    let known = entries.calls.iter().filter(|entry| entry.frame.gas_used > 0);
    let steps = |entry: &Entry<'_>| U256::from(entry.frame.gas_used.div_ceil(STEP).saturating_mul(STEP));
    known.map(|entry| Bound::of_part(entry, Aspect::Gas, &[], steps(entry))).collect()
}
