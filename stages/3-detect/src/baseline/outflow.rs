//! How much of each asset leaves a protocol in one transaction.
//!
//! In: the movements of the transaction. Out: one measurement for each asset that left. What came in at the same time is
//! not taken off, since an attacker's own coins often do.

use super::reach::Reach;
use crate::parties::Crossing;
use crate::valuation::asset_key;
use alloy_primitives::{B256, U256};
use cordon_model::baseline::{Aspect, Measure};
use std::collections::BTreeMap;

pub(super) fn measure(reach: &Reach<'_>) -> Vec<Measure> {
    let mut left: BTreeMap<B256, U256> = BTreeMap::new();
    for moved in &reach.execution.transfers {
        if Crossing::of(reach.protocol, moved) == Some(Crossing::Out) {
            let left = left.entry(asset_key(moved.asset)).or_default();
            *left = left.saturating_add(moved.amount_raw);
        }
    }
    let measure = |(key, value)| Measure { aspect: Aspect::Outflow, key, value };
    left.into_iter().filter(|(_, value)| !value.is_zero()).map(measure).collect()
}
