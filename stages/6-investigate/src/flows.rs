//! Movements of value, and what they add up to for each account.
//!
//! In: transfers of native coin and ERC-20 tokens that lasted. Out: [`Flow`]s and profit and loss. Transaction fees are
//! not part of it: they pay for inclusion and say nothing of the attack, and without them every asset adds up to zero
//! over all accounts (the zero address stands for mints and burns), which is checked by a property test. What a token
//! does without a `Transfer` log (rebasing, fees taken silently) is not seen here.

use crate::labels::Labels;
use alloy_primitives::{Address, I256, U256, U512};
use cordon_model::execution::{Execution, word};
use cordon_model::protocol::{AssetSpec, Price, Protocol, convert_to_assets};
use cordon_model::report::{Flow, ProfitAndLoss};
use cordon_model::units::{Asset, AssetDelta};
use std::collections::{BTreeMap, BTreeSet};

/// Value of one whole token, wad, per priced asset.
pub type Prices = BTreeMap<Asset, U256>;

/// Most decimals that are scaled by: `10^77` is the largest power of ten in 256 bits.
const DECIMALS_MAX: u8 = 77;

/// The movements of one transaction, in order.
#[must_use]
pub fn flows(execution: &Execution) -> Vec<Flow> {
    let flow = |transfer: &cordon_model::execution::Transfer| Flow {
        seq: transfer.seq,
        asset: transfer.asset,
        from: transfer.from,
        to: transfer.to,
        amount_raw: transfer.amount_raw,
    };
    execution.transfers.iter().map(flow).collect()
}

/// Prices as they were before the first of these executions that tells them: stated ones, and share rates that its
/// views were asked for. Executions come in the order of the chain, so that a rate which the attack moved is not
/// what the loss is valued by. An asset whose rate was never asked has no price here.
#[must_use]
pub fn prices(protocol: &Protocol, executions: &[Execution]) -> Prices {
    let price = |spec: &AssetSpec| executions.iter().find_map(|execution| price(protocol, spec, execution));
    protocol.assets.iter().filter_map(|spec| Some((spec.asset, price(spec)?))).collect()
}

fn price(protocol: &Protocol, spec: &AssetSpec, execution: &Execution) -> Option<U256> {
    match spec.price {
        Price::Fixed { value_wad } => Some(value_wad),
        Price::Unpriced => None,
        Price::ShareRate { vault, underlying } => {
            let one_share_raw = one(spec.decimals)?;
            let reading = execution.view(&convert_to_assets(vault, one_share_raw))?;
            let assets_raw = word(reading.before.as_ref()?)?;
            let underlying = protocol.asset(underlying)?;
            // One step down only: a share of a share is not priced, and a configured circle cannot hang.
            let Price::Fixed { value_wad } = underlying.price else {
                return None;
            };
            scaled(assets_raw, value_wad, one(underlying.decimals)?)
        }
    }
}

/// What movements add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Accounts whose holdings changed: largest gain in value first, then by address.
    pub rows: Vec<ProfitAndLoss>,
    /// Assets whose amounts are too large to be counted with a sign; they are left out of every row.
    pub uncountable: BTreeSet<Asset>,
}

/// Adds up movements per account and asset.
#[must_use]
pub fn tally<'a>(flows: impl IntoIterator<Item = &'a Flow>, prices: &Prices, labels: &Labels) -> Tally {
    let mut deltas: BTreeMap<Address, BTreeMap<Asset, I256>> = BTreeMap::new();
    let mut uncountable = BTreeSet::new();
    for flow in flows {
        let moved = I256::try_from(flow.amount_raw).ok();
        let mut add = |account: Address, amount: Option<I256>| {
            let held = deltas.entry(account).or_default().entry(flow.asset).or_default();
            match amount.and_then(|amount| held.checked_add(amount)) {
                Some(sum) => *held = sum,
                None => {
                    uncountable.insert(flow.asset);
                }
            }
        };
        add(flow.from, moved.and_then(I256::checked_neg));
        add(flow.to, moved);
    }
    let row = |(account, assets): (Address, BTreeMap<Asset, I256>)| {
        let counted =
            assets.into_iter().filter(|(asset, delta)| !uncountable.contains(asset) && !delta.is_zero());
        let deltas: Vec<AssetDelta> =
            counted.map(|(asset, delta_raw)| AssetDelta { asset, delta_raw }).collect();
        (!deltas.is_empty()).then(|| ProfitAndLoss {
            account,
            label: labels.get(account).map(str::to_owned),
            value_wad: value(&deltas, prices, labels),
            deltas,
        })
    };
    let mut rows: Vec<ProfitAndLoss> = deltas.into_iter().filter_map(row).collect();
    rows.sort_by(|a, b| b.value_wad.cmp(&a.value_wad).then(a.account.cmp(&b.account)));
    Tally { rows, uncountable }
}

/// Value of changes, as far as assets are priced; each asset is rounded towards zero, and sums stop at the bounds of the
/// type.
fn value(deltas: &[AssetDelta], prices: &Prices, labels: &Labels) -> I256 {
    let of = |delta: &AssetDelta| {
        let (price, decimals) = (prices.get(&delta.asset)?, labels.decimals(delta.asset)?);
        let magnitude = scaled(delta.delta_raw.unsigned_abs(), *price, one(decimals)?)?;
        let value = I256::try_from(magnitude).unwrap_or(I256::MAX);
        Some(if delta.delta_raw.is_negative() { value.saturating_neg() } else { value })
    };
    deltas.iter().filter_map(of).fold(I256::ZERO, |sum, value| sum.saturating_add(value))
}

fn one(decimals: u8) -> Option<U256> {
    (decimals <= DECIMALS_MAX).then(|| U256::from(10u8).saturating_pow(U256::from(decimals)))
}

/// `floor(amount * price / unit)` over a 512-bit product, stopped at the largest number.
fn scaled(amount: U256, price: U256, unit: U256) -> Option<U256> {
    let product: U512 = amount.widening_mul(price);
    product.checked_div(U512::from(unit)).map(|value| value.saturating_to::<U256>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{ATTACKER, LENDER, TxBuilder, USD, VAULT, labels, protocol};
    use alloy_primitives::Bytes;
    use cordon_model::execution::ViewReading;
    use cordon_model::units::WAD;
    use proptest::prelude::*;

    fn flow(asset: Asset, from: Address, to: Address, amount: u64) -> Flow {
        Flow { seq: 0, asset, from, to, amount_raw: U256::from(amount) }
    }

    fn signed(number: i64) -> I256 {
        I256::try_from(number).unwrap()
    }

    #[test]
    fn gains_and_losses_are_valued_where_priced() {
        let usd = Asset::Token(USD);
        let flows = [
            flow(usd, VAULT, ATTACKER, 3_000_000),
            flow(usd, ATTACKER, LENDER, 1_000_000),
            flow(Asset::Native, ATTACKER, VAULT, 5),
        ];
        let tally = tally(&flows, &Prices::from([(usd, WAD)]), &labels());
        let rows: Vec<_> = tally.rows.iter().map(|row| (row.account, row.value_wad)).collect();
        let wad = |whole: i64| signed(whole) * signed(1_000_000_000_000_000_000);
        assert_eq!(rows, [(ATTACKER, wad(2)), (LENDER, wad(1)), (VAULT, wad(-3))]);
        assert_eq!(tally.rows[2].label.as_deref(), Some("Vault"));
        assert_eq!(tally.rows[0].deltas.len(), 2);
    }

    #[test]
    fn what_passes_through_leaves_no_row() {
        let native = Asset::Native;
        let flows = [flow(native, VAULT, ATTACKER, 9), flow(native, ATTACKER, VAULT, 9)];
        assert!(tally(&flows, &Prices::new(), &labels()).rows.is_empty());
    }

    #[test]
    fn absurd_amounts_leave_the_asset_out_and_say_so() {
        let fake = Asset::Token(Address::repeat_byte(0xfa));
        let absurd = Flow { amount_raw: U256::MAX, ..flow(fake, VAULT, ATTACKER, 0) };
        let tally = tally(&[absurd, flow(Asset::Native, VAULT, ATTACKER, 1)], &Prices::new(), &labels());
        assert_eq!(tally.uncountable, BTreeSet::from([fake]));
        assert!(tally.rows.iter().all(|row| row.deltas.iter().all(|delta| delta.asset == Asset::Native)));
    }

    #[test]
    fn share_prices_are_those_before_the_transaction() {
        let protocol = protocol();
        let share = Asset::Token(VAULT);
        let mut execution = TxBuilder::new(1, ATTACKER, VAULT, Bytes::new()).build();
        let unasked = execution.clone();
        assert_eq!(
            prices(&protocol, std::slice::from_ref(&execution)),
            Prices::from([(Asset::Token(USD), WAD)])
        );
        let answer = |usd_raw: u64| Some(Bytes::from(U256::from(usd_raw).to_be_bytes::<32>()));
        execution.views.push(ViewReading {
            call: convert_to_assets(VAULT, WAD),
            before: answer(1_500_000),
            after: answer(9_000_000),
        });
        let mut moved = execution.clone();
        moved.views[0].before = answer(9_000_000);
        let found = prices(&protocol, &[unasked, execution, moved]);
        assert_eq!(found[&share], WAD * U256::from(3) / U256::from(2));
    }

    proptest! {
        #[test]
        fn every_asset_adds_up_to_zero(
            moves in proptest::collection::vec((0u8..3, 0u8..6, 0u8..6, any::<[u64; 4]>()), 0..60)
        ) {
            let flows: Vec<Flow> = moves
                .into_iter()
                .map(|(asset, from, to, limbs)| Flow {
                    seq: 0,
                    asset: if asset == 0 { Asset::Native } else { Asset::Token(Address::repeat_byte(asset)) },
                    // Account zero is the zero address: mints and burns.
                    from: Address::repeat_byte(from),
                    to: Address::repeat_byte(to),
                    amount_raw: U256::from_limbs(limbs) >> 8,
                })
                .collect();
            let tally = tally(&flows, &Prices::new(), &Labels::default());
            prop_assert!(tally.uncountable.is_empty());
            let mut sums: BTreeMap<Asset, I256> = BTreeMap::new();
            for delta in tally.rows.iter().flat_map(|row| &row.deltas) {
                let sum = sums.entry(delta.asset).or_default();
                *sum = sum.checked_add(delta.delta_raw).unwrap();
            }
            prop_assert!(sums.values().all(I256::is_zero));
        }
    }
}
