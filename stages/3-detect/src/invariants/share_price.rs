//! The price at which a contract issues and redeems its own token for another asset: it does not fall, and it does not leap.
//!
//! In: the entries of a transaction with what moved in them, and the highest price so far. Out: for each pair of share and asset the
//! price, how far it fell below the highest, and how far it rose above it at once. A fee on the way out is a fall of every redemption,
//! which is then the bound. What moves by several assets at once has no price.
//!
//! Source: conservation in the sense of EIP-4626, "share price monotone"; every donation and rounding exploit of vaults and empty
//! lending markets moves it (Hundred Finance, Sonne, Resupply).

use super::Bound;
use crate::entry::{Entries, Entry};
use crate::parties::Crossing;
use alloy_primitives::{Address, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline};
use cordon_model::units::{Asset, WAD};
use std::collections::BTreeMap;

/// The least number of shares and of assets, raw, that give a price: rounding then moves it by less than a basis point.
const AMOUNT_MIN: u64 = 10_000;

const BPS: u64 = 10_000;

pub(super) fn bounds(entries: &Entries<'_>, baseline: &Baseline) -> Vec<Bound> {
    entries.calls.iter().filter_map(|entry| of_call(entries, entry, baseline)).flatten().collect()
}

fn of_call(entries: &Entries<'_>, entry: &Entry<'_>, baseline: &Baseline) -> Option<[Bound; 3]> {
    let contract = entry.contract();
    let (asset, shares_raw, assets_raw) = exchange(entries, entry, contract)?;
    let price = assets_raw.saturating_mul(WAD).checked_div(shares_raw)?;
    let of_asset = match asset {
        Asset::Native => Address::ZERO,
        Asset::Token(token) => token,
    };
    let key = keccak256([contract.as_slice(), of_asset.as_slice(), b"price"].concat());
    let highest = baseline.most(Aspect::SharePrice, key).unwrap_or(price);
    let part = |difference: U256| {
        difference.saturating_mul(U256::from(BPS)).checked_div(highest).unwrap_or_default()
    };
    let bound = |aspect, value| Bound::alone(contract, aspect, key, value);
    Some([
        bound(Aspect::SharePrice, price),
        bound(Aspect::SharePriceFall, part(highest.saturating_sub(price))),
        bound(Aspect::SharePriceRise, part(price.saturating_sub(highest))),
    ])
}

/// Shares of the contract that were issued or burned in the call, and the one asset that moved the other way.
fn exchange(entries: &Entries<'_>, entry: &Entry<'_>, contract: Address) -> Option<(Asset, U256, U256)> {
    let share = Asset::Token(contract);
    let (mut issued, mut burned) = (U256::ZERO, U256::ZERO);
    let (mut out, mut come_in): (BTreeMap<Asset, U256>, BTreeMap<Asset, U256>) = Default::default();
    let add = |sum: &mut U256, amount: U256| *sum = sum.saturating_add(amount);
    for moved in entries.moved_in(entry) {
        if moved.asset == share {
            match (moved.from.is_zero(), moved.to.is_zero()) {
                (true, false) => add(&mut issued, moved.amount_raw),
                (false, true) => add(&mut burned, moved.amount_raw),
                _ => {}
            }
            continue;
        }
        match Crossing::of(entries.protocol, moved) {
            Some(Crossing::Out) => add(out.entry(moved.asset).or_default(), moved.amount_raw),
            Some(Crossing::In) => add(come_in.entry(moved.asset).or_default(), moved.amount_raw),
            None => {}
        }
    }
    let (shares, mut assets) = match (issued.is_zero(), burned.is_zero()) {
        (false, true) if out.is_empty() => (issued, come_in.into_iter()),
        (true, false) if come_in.is_empty() => (burned, out.into_iter()),
        _ => return None,
    };
    let (asset, amount) = assets.next()?;
    let is_large = |amount: U256| amount >= U256::from(AMOUNT_MIN);
    (assets.next().is_none() && is_large(shares) && is_large(amount)).then_some((asset, shares, amount))
}
