//! How many calls a transaction makes in a protocol, and how often one function.
//!
//! In: the calls of the protocol. Out: both numbers, as one aspect, since the one rises with the other.

use super::reach::Reach;
use alloy_primitives::{Address, B256, Selector, U256};
use cordon_model::baseline::{Aspect, Measure};
use std::collections::BTreeMap;

/// Key of all calls.
const ALL: B256 = B256::ZERO;
/// Key of the function that was called most.
const OF_ONE_FUNCTION: B256 = B256::with_last_byte(1);

pub(super) fn measure(reach: &Reach<'_>) -> Vec<Measure> {
    let mut times: BTreeMap<(Address, Option<Selector>), usize> = BTreeMap::new();
    for (_, frame) in &reach.calls {
        let times = times.entry((frame.code_address, frame.selector())).or_default();
        *times = times.saturating_add(1);
    }
    let most = times.into_values().max().unwrap_or(0);
    [(ALL, reach.calls.len()), (OF_ONE_FUNCTION, most)]
        .map(|(key, calls)| Measure { aspect: Aspect::Calls, key, value: U256::from(calls) })
        .into_iter()
        .filter(|measure| !measure.value.is_zero())
        .collect()
}
