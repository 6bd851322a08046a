//! A large share of a token is issued to the sender's side, which gave nothing.
//!
//! In: transfers, and the supply before: as read, or else the largest slot of the token that grew by exactly what was issued
//! and cannot be somebody's balance. Out: one statement for each such token. Must never: speak where the supply is not
//! known, of a token's first issue, or of what was destroyed again in the same transaction (a flash mint).
//!
//! What the sender's side gave, to whomever, excuses: it trades, deposits, or gives up a position. Where the operator
//! priced both, less than half of what was issued does not. A token that comes with coins in the same call is the
//! receipt of a debt (as Aave issues them), and no gain.

use super::{Heard, Said};
use crate::parties::{NetFlows, SendersSide, climb};
use crate::valuation::{PriceBook, Readings, total_supply};
use alloy_primitives::{Address, I256, U256};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::Score;
use cordon_model::finding::sign::Unbacked;
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, AssetDelta, Bps};
use std::collections::{BTreeMap, BTreeSet};

/// Below what adds up to an alarm: `profit` speaks of the same gain, and that a young token's claim is a large share of it
/// is no second reason.
const SCORE_WEAK: Score = Score(200);

/// Opens an incident alone.
const SCORE_STRONG: Score = Score(700);

/// Supplies that are read for one transaction. A claim of everything that an aggregator farms issues a dozen tokens.
const TOKENS_MAX: usize = 16;

/// See [`super::UnbackedMintConfig`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) weak: Bps,
    pub(super) strong: Bps,
    pub(super) dust_max_wei: U256,
}

/// Supplies to read: of protected tokens that were issued while the sender's side received some.
pub(super) fn views(protocol: &Protocol, side: &SendersSide, execution: &Execution) -> Vec<ViewCall> {
    issued(protocol, side, execution).into_keys().take(TOKENS_MAX).map(total_supply).collect()
}

impl Shares {
    pub(super) fn judge(&self, protocol: &Protocol, execution: &Execution, readings: &Readings<'_>) -> Heard {
        let side = SendersSide::of(protocol, execution);
        let issued = issued(protocol, &side, execution);
        let (mut said, mut gaps) = (Vec::new(), Vec::new());
        if issued.is_empty() {
            return (said, gaps);
        }
        let flows = NetFlows::of(execution);
        let receipts = receipts(&side, execution);
        let slots = Slots::of(execution, &flows);
        let paid: Vec<AssetDelta> =
            flows.of_side(&side).into_iter().filter(|delta| delta.delta_raw.is_negative()).collect();
        let book = PriceBook::read(protocol, readings);
        let unpaid = |token: &Address, minted: U256| {
            !receipts.contains(token) && self.is_unpaid(&book, *token, minted, &paid)
        };
        for (token, Issued { minted_raw, grown_raw }) in issued {
            if !unpaid(&token, minted_raw) {
                continue;
            }
            let read = readings.before(&total_supply(token));
            let Some(supply_raw) = read.or_else(|| slots.supply(token, grown_raw)) else {
                gaps.push(format!("what share of {token} was issued: its supply is not known"));
                continue;
            };
            let share_bps = Bps::ratio(minted_raw, supply_raw);
            if !supply_raw.is_zero() && share_bps >= self.weak {
                let score = if share_bps >= self.strong { SCORE_STRONG } else { SCORE_WEAK };
                let what = Unbacked::Issue { token, minted_raw, supply_raw, share_bps };
                said.push(Said { contract: token, score, what });
            }
        }
        (said, gaps)
    }

    /// True where nothing was given, or less than half by the operator's prices.
    fn is_unpaid(&self, book: &PriceBook, token: Address, minted_raw: U256, paid: &[AssetDelta]) -> bool {
        let is_dust = |delta: &AssetDelta| {
            delta.asset == Asset::Native && delta.delta_raw.unsigned_abs() <= self.dust_max_wei
        };
        let values = paid.iter().map(|delta| book.value_wad(delta.asset, delta.delta_raw.unsigned_abs()));
        let paid_wad = values.sum::<Option<U256>>();
        let minted_wad = book.value_wad(Asset::Token(token), minted_raw);
        let is_too_little = match (paid_wad, minted_wad) {
            (Some(paid), Some(minted)) => paid.saturating_mul(U256::from(2u8)) < minted,
            (None, _) | (_, None) => false,
        };
        is_too_little || paid.iter().all(is_dust)
    }
}

/// How much of a token was issued.
#[derive(Debug, Clone, Copy)]
struct Issued {
    /// Of what was issued, at most what the sender's side received; raw.
    minted_raw: U256,
    /// What was issued less what was destroyed; raw.
    grown_raw: U256,
}

/// Protected tokens of which there is more afterwards, and some went to the sender's side.
fn issued(protocol: &Protocol, side: &SendersSide, execution: &Execution) -> BTreeMap<Address, Issued> {
    let mut supplies: BTreeMap<Address, (I256, U256)> = BTreeMap::new();
    for moved in &execution.transfers {
        let Asset::Token(token) = moved.asset else { continue };
        let from_nobody = moved.from.is_zero();
        let is_received = side.has(moved.to) && !side.has(moved.from);
        if !(from_nobody || moved.to.is_zero() || is_received) || !protocol.protects(token) || side.has(token)
        {
            continue;
        }
        let amount = I256::try_from(moved.amount_raw).unwrap_or(I256::MAX);
        let (grown, received) = supplies.entry(token).or_default();
        match (from_nobody, moved.to.is_zero()) {
            (true, false) => *grown = grown.saturating_add(amount),
            (false, true) => *grown = grown.saturating_sub(amount),
            (true, true) | (false, false) => {}
        }
        if is_received {
            *received = received.saturating_add(moved.amount_raw);
        }
    }
    let positive =
        supplies.into_iter().filter(|(_, (grown, received))| grown.is_positive() && !received.is_zero());
    let issued = positive.map(|(token, (grown, received))| {
        let grown_raw = grown.unsigned_abs();
        (token, Issued { minted_raw: grown_raw.min(received), grown_raw })
    });
    issued.collect()
}

/// Tokens that came to the sender's side by a call that brought it something else as well.
fn receipts(side: &SendersSide, execution: &Execution) -> BTreeSet<Address> {
    let mut brought: BTreeMap<u32, BTreeSet<Asset>> = BTreeMap::new();
    let received = execution
        .transfers
        .iter()
        .filter(|moved| side.has(moved.to) && !side.has(moved.from) && !moved.amount_raw.is_zero());
    for moved in received {
        if let Some(entry) = climb(execution, moved.frame).find(|frame| side.has(frame.caller)) {
            brought.entry(entry.index).or_default().insert(moved.asset);
        }
    }
    let several = brought.into_values().filter(|assets| assets.len() > 1).flatten();
    let tokens = several.filter_map(|asset| match asset {
        Asset::Token(token) => Some(token),
        Asset::Native => None,
    });
    tokens.collect()
}

/// What supplies were, by the slots of tokens that grew by exactly what was issued: the balance of an account that gained
/// as much is one of them, the supply another, and the larger one.
#[derive(Debug, Default)]
struct Slots {
    /// How many slots of a token grew by an amount, and the most that one of them held before.
    grew: BTreeMap<(Address, U256), (usize, U256)>,
    /// How many accounts gained an amount of a token.
    holders: BTreeMap<(Address, U256), usize>,
}

impl Slots {
    fn of(execution: &Execution, flows: &NetFlows) -> Self {
        let mut slots = Self::default();
        for change in &execution.storage_changes {
            let Some(by) = change.after.checked_sub(change.before) else { continue };
            let (count, most) = slots.grew.entry((change.address, by)).or_default();
            *count = count.saturating_add(1);
            *most = change.before.max(*most);
        }
        for delta in flows.accounts().flat_map(|account| flows.of_account(account)) {
            if let (Asset::Token(token), false) = (delta.asset, delta.delta_raw.is_negative()) {
                let count = slots.holders.entry((token, delta.delta_raw.unsigned_abs())).or_default();
                *count = count.saturating_add(1);
            }
        }
        slots
    }

    fn supply(&self, token: Address, grown_raw: U256) -> Option<U256> {
        let (count, most) = self.grew.get(&(token, grown_raw))?;
        let holders = self.holders.get(&(token, grown_raw)).copied().unwrap_or_default();
        (*count > holders).then_some(*most)
    }
}
