//! What a function pays out and takes in, and whether it pays for nothing (token-in and token-out caps of Trace2Inv: 17 of 27 exploits at
//! 0.4 % false alarms; conservation).
//!
//! In: the entries of a transaction with what moved in them. Out: bounds for each function and asset. Shares of the protocol that
//! come back to be burned are a payment.

use super::Bound;
use crate::entry::{Entries, Entry};
use crate::parties::Crossing;
use crate::valuation::asset_key;
use alloy_primitives::U256;
use cordon_model::baseline::{Aspect, Baseline};
use cordon_model::units::Asset;
use std::collections::BTreeMap;

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    entries.calls.iter().flat_map(|entry| of_call(entries, entry)).collect()
}

fn of_call(entries: &Entries<'_>, entry: &Entry<'_>) -> Vec<Bound> {
    let (mut out, mut come_in): (BTreeMap<Asset, U256>, BTreeMap<Asset, U256>) = Default::default();
    for moved in entries.moved_in(entry) {
        let is_of_others = |account| !entries.protocol.protects(account) && is_own(entries, moved.asset);
        let side = match Crossing::of(entries.protocol, moved) {
            Some(Crossing::Out) => &mut out,
            Some(Crossing::In) => &mut come_in,
            // Shares that are burned come from outside; those that are issued cost the protocol something later.
            None if moved.to.is_zero() && is_of_others(moved.from) => &mut come_in,
            None if moved.from.is_zero() && is_of_others(moved.to) => &mut out,
            None => continue,
        };
        let sum = side.entry(moved.asset).or_default();
        *sum = sum.saturating_add(moved.amount_raw);
    }
    let bound = |aspect, part: &[u8], value| Bound::of_part(entry, aspect, part, value);
    let has_sent = !entry.frame.value_wei.is_zero();
    let for_nothing = !out.is_empty() && come_in.is_empty() && !has_sent;
    let mut bounds = vec![bound(Aspect::PaidForNothing, b"nothing", U256::from(u8::from(for_nothing)))];
    bounds.extend(out.iter().map(|(asset, sum)| bound(Aspect::PaidOut, asset_key(*asset).as_slice(), *sum)));
    bounds.extend(
        come_in.iter().map(|(asset, sum)| bound(Aspect::TakenIn, asset_key(*asset).as_slice(), *sum)),
    );
    bounds
}

fn is_own(entries: &Entries<'_>, asset: Asset) -> bool {
    matches!(asset, Asset::Token(token) if entries.protocol.protects(token))
}
