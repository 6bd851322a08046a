//! Chain readings, and amounts turned into value.
//!
//! In: the readings that travel with an execution, and the operator's prices. Out: values in wad, always at prices
//! from before the transaction, so that a rate that was moved inside it cannot hide what it took. Must never:
//! overflow, or value what could not be read: an unread price is its own answer.

use alloy_primitives::{Address, B256, Bytes, I256, U256, U512, address};
use cordon_model::execution::{Execution, ViewCall, ViewReading, word};
use cordon_model::protocol::{AssetSpec, Price, Protocol, convert_to_assets};
use cordon_model::units::Asset;
use std::collections::BTreeMap;

/// Most steps from a share to the asset that is priced. A vault over a vault over a vault is the deepest nesting in
/// use; a longer chain is taken for a cycle in the configuration and left unread.
const PRICE_DEPTH_MAX: u8 = 4;

/// Rounding is at most one part in this many of a value. A rate that is coarser has too few digits to be one, and
/// an amount that was cut at the ceiling must not be excused as rounding.
const ROUNDING_PART_MIN: u32 = 100;

/// Bits of the largest value that is told apart. `2^200` wad is far beyond all money, and leaves room to add up
/// `2^54` such values in 255 bits, so that no sum can overflow.
const VALUE_BITS_MAX: usize = 200;

/// Multicall3, which stands at this address on most chains and tells balances of coins; where it does not, they are not known.
pub(crate) const MULTICALL3: Address = address!("0xca11bde05977b3631167028862be2a173976ca11");

/// `getEthBalance(address)` of Multicall3.
const GET_ETH_BALANCE: [u8; 4] = [0x4d, 0x23, 0x01, 0xcc];

/// The value at which larger ones are cut, wad.
pub(crate) fn value_ceiling_wad() -> U256 {
    U256::ONE << VALUE_BITS_MAX
}

/// `balanceOf(address)` of ERC-20.
pub(crate) fn balance_of(token: Address, holder: Address) -> ViewCall {
    let mut input = vec![0x70, 0xa0, 0x82, 0x31];
    input.extend_from_slice(holder.into_word().as_slice());
    ViewCall { target: token, input: Bytes::from(input) }
}

/// The question for what an account holds of an asset.
pub(crate) fn holding(asset: Asset, holder: Address) -> ViewCall {
    match asset {
        Asset::Token(token) => balance_of(token, holder),
        Asset::Native => {
            let input = [&GET_ETH_BALANCE[..], holder.into_word().as_slice()].concat();
            ViewCall { target: MULTICALL3, input: input.into() }
        }
    }
}

/// The token's address as a word; zero for coins.
pub(crate) fn asset_key(asset: Asset) -> B256 {
    match asset {
        Asset::Native => B256::ZERO,
        Asset::Token(token) => token.into_word(),
    }
}

/// `totalSupply()` of ERC-20.
pub(crate) fn total_supply(token: Address) -> ViewCall {
    ViewCall { target: token, input: Bytes::from_static(&[0x18, 0x16, 0x0d, 0xdd]) }
}

/// One whole token, raw; `None` where 256 bits cannot hold it.
pub(crate) fn one_token_raw(decimals: u8) -> Option<U256> {
    U256::from(10u8).checked_pow(U256::from(decimals))
}

/// The question for the rate of a share: what one whole share converts to.
pub(crate) fn rate_call(spec: &AssetSpec, vault: Address) -> Option<ViewCall> {
    one_token_raw(spec.decimals).map(|one| convert_to_assets(vault, one))
}

/// The readings of an execution, by question.
#[derive(Debug)]
pub(crate) struct Readings<'a>(BTreeMap<&'a ViewCall, &'a ViewReading>);

impl<'a> Readings<'a> {
    pub(crate) fn of(execution: &'a Execution) -> Self {
        Self(execution.views.iter().map(|reading| (&reading.call, reading)).collect())
    }

    /// The word answered before the transaction.
    pub(crate) fn before(&self, call: &ViewCall) -> Option<U256> {
        word(self.0.get(call)?.before.as_ref()?)
    }

    /// The words answered before and after the transaction.
    pub(crate) fn both(&self, call: &ViewCall) -> Option<(U256, U256)> {
        self.0.get(call)?.words()
    }
}

/// What is known of an asset's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    /// Value of one whole token, how much too low it may be by rounding, both in wad, and one whole token raw.
    Known { value_wad: U256, rounding_wad: U256, one_raw: U256 },
    /// The operator gave no price.
    Unpriced,
    /// There should be a price, and it could not be read.
    Unread,
}

/// Prices of a protocol's assets before one transaction.
#[derive(Debug)]
pub(crate) struct PriceBook(BTreeMap<Asset, Quote>);

impl PriceBook {
    pub(crate) fn read(protocol: &Protocol, readings: &Readings<'_>) -> Self {
        let quotes = protocol.assets.iter().map(|spec| (spec.asset, quote(protocol, readings, spec, 0)));
        Self(quotes.collect())
    }

    pub(crate) fn quote(&self, asset: Asset) -> Quote {
        self.0.get(&asset).copied().unwrap_or(Quote::Unpriced)
    }

    /// Value of an amount in wad, cut at the ceiling; `None` for an asset without a known price.
    pub(crate) fn value_wad(&self, asset: Asset, raw: U256) -> Option<U256> {
        match self.quote(asset) {
            Quote::Known { value_wad, one_raw, .. } => scale(raw, value_wad, one_raw),
            Quote::Unpriced | Quote::Unread => None,
        }
    }

    /// How far the value of an amount may be off because a rate is answered in whole units of the underlying, wad.
    pub(crate) fn rounding_wad(&self, asset: Asset, raw: U256) -> U256 {
        match self.quote(asset) {
            Quote::Known { value_wad, rounding_wad, one_raw } => {
                let value = scale(raw, value_wad, one_raw).unwrap_or_default();
                let rounding = scale(raw, rounding_wad, one_raw).unwrap_or_default();
                rounding.min(value / U256::from(ROUNDING_PART_MIN)).saturating_add(U256::ONE)
            }
            Quote::Unpriced | Quote::Unread => U256::ZERO,
        }
    }

    /// [`PriceBook::value_wad`] of a change.
    pub(crate) fn signed_wad(&self, asset: Asset, delta_raw: I256) -> Option<I256> {
        let value = I256::try_from(self.value_wad(asset, delta_raw.unsigned_abs())?).ok()?;
        Some(if delta_raw.is_negative() { value.saturating_neg() } else { value })
    }
}

fn quote(protocol: &Protocol, readings: &Readings<'_>, spec: &AssetSpec, depth: u8) -> Quote {
    let Some(one_raw) = one_token_raw(spec.decimals) else { return Quote::Unread };
    match spec.price {
        Price::Fixed { value_wad } => Quote::Known { value_wad, rounding_wad: U256::ZERO, one_raw },
        Price::Unpriced => Quote::Unpriced,
        Price::ShareRate { .. } if depth == PRICE_DEPTH_MAX => Quote::Unread,
        Price::ShareRate { vault, underlying } => {
            let Some(below) = protocol.asset(underlying) else { return Quote::Unpriced };
            let rate_raw = rate_call(spec, vault).and_then(|call| readings.before(&call));
            match (quote(protocol, readings, below, depth + 1), rate_raw) {
                (Quote::Known { value_wad, rounding_wad, one_raw: below_one }, Some(rate_raw)) => {
                    share_quote(rate_raw, value_wad, rounding_wad, below_one).map_or(
                        Quote::Unread,
                        |(value_wad, rounding_wad)| Quote::Known { value_wad, rounding_wad, one_raw },
                    )
                }
                (Quote::Known { .. } | Quote::Unread, _) => Quote::Unread,
                (Quote::Unpriced, _) => Quote::Unpriced,
            }
        }
    }
}

/// Value and rounding of a share from its rate: the answer is whole units of the underlying, so it may be one too low.
fn share_quote(
    rate_raw: U256,
    below_wad: U256,
    below_rounding_wad: U256,
    below_one: U256,
) -> Option<(U256, U256)> {
    let unit_wad = scale(U256::ONE, below_wad, below_one)?.saturating_add(U256::ONE);
    let inherited_wad = scale(rate_raw, below_rounding_wad, below_one)?.saturating_add(U256::ONE);
    Some((scale(rate_raw, below_wad, below_one)?, unit_wad.saturating_add(inherited_wad)))
}

/// `amount * factor / unit` without overflow, rounded down and cut at the ceiling.
fn scale(amount: U256, factor: U256, unit: U256) -> Option<U256> {
    let product: U512 = amount.widening_mul(factor);
    let value: U256 = product.checked_div(U512::from(unit))?.saturating_to();
    Some(value.min(value_ceiling_wad()))
}

/// `after - before`; cut at the ends of 255 bits.
pub(crate) fn difference(before: U256, after: U256) -> I256 {
    let size = I256::try_from(before.abs_diff(after)).unwrap_or(I256::MAX);
    if after < before { size.saturating_neg() } else { size }
}

/// An amount as a signed number; cut at the end of 255 bits.
pub(crate) fn signed(amount: U256) -> I256 {
    I256::try_from(amount).unwrap_or(I256::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{COIN, DSHARE, USD, World};
    use cordon_model::units::WAD;

    #[test]
    fn a_share_is_worth_its_rate_before_the_transaction() {
        let protocol = World::protocol();
        let mut execution = World::new().script().finish(&[]);
        let coin_price = U256::from(100) * WAD;
        let call = rate_call(protocol.asset(DSHARE).unwrap(), crate::testing::COLLATERAL_VAULT).unwrap();
        let rate = |wad: U256| Some(Bytes::from(wad.to_be_bytes::<32>().to_vec()));
        execution.views =
            vec![ViewReading { call, before: rate(WAD * U256::from(3)), after: rate(WAD * U256::from(9)) }];
        let book = PriceBook::read(&protocol, &Readings::of(&execution));
        assert_eq!(book.value_wad(COIN, WAD), Some(coin_price));
        assert_eq!(book.value_wad(DSHARE, WAD), Some(coin_price * U256::from(3)));
    }

    #[test]
    fn a_missing_reading_is_not_a_price_of_zero() {
        let execution = World::new().script().finish(&[]);
        let book = PriceBook::read(&World::protocol(), &Readings::of(&execution));
        assert_eq!(book.quote(DSHARE), Quote::Unread);
        assert_eq!(book.value_wad(DSHARE, WAD), None);
    }

    #[test]
    fn a_cycle_of_rates_ends() {
        let mut protocol = World::protocol();
        for spec in &mut protocol.assets {
            if spec.asset == COIN {
                spec.price = Price::ShareRate { vault: crate::testing::COLLATERAL_VAULT, underlying: DSHARE };
            }
        }
        let execution = World::new().script().finish(&[]);
        assert_eq!(PriceBook::read(&protocol, &Readings::of(&execution)).quote(DSHARE), Quote::Unread);
    }

    #[test]
    fn extreme_amounts_are_cut_and_do_not_overflow() {
        let execution = World::new().script().finish(&[]);
        let book = PriceBook::read(&World::protocol(), &Readings::of(&execution));
        assert_eq!(book.value_wad(USD, U256::MAX), Some(value_ceiling_wad()));
        assert_eq!(book.signed_wad(USD, I256::MIN), Some(signed(value_ceiling_wad()).saturating_neg()));
        assert_eq!(difference(U256::MAX, U256::ZERO), -I256::MAX);
        assert_eq!(one_token_raw(78), None);
    }
}
