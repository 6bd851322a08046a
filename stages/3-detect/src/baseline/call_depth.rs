//! How deep calls of a protocol are nested in each other.
//!
//! In: the calls of the protocol. Out: the deepest nesting. Whoever comes back into a protocol while it waits for him, in a
//! way that its own functions never do, goes deeper than anybody before.

use super::reach::Reach;
use alloy_primitives::{B256, U256};
use cordon_model::baseline::{Aspect, Measure};

pub(super) fn measure(reach: &Reach<'_>) -> Vec<Measure> {
    let deepest = reach.calls.iter().map(|(depth, _)| *depth).max();
    let measure = |depth| Measure { aspect: Aspect::Depth, key: B256::ZERO, value: U256::from(depth) };
    deepest.map(measure).into_iter().collect()
}
