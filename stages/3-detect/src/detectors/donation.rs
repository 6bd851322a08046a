//! Donation: a contract that issues shares is given assets for which it issues none, so that its shares become dearer; or it
//! takes a deposit and issues no share for it.
//!
//! In: transfers, calls and logs; where a node can be asked, the supply of shares and the assets held before. Out: one
//! finding per share contract, the strongest. Must never: take a payment for a gift. Markets and pools that are paid first
//! and called afterwards are what most gifts turn out to be.
//!
//! # What is computed
//!
//! A *share contract* is a protected contract whose own token is issued or redeemed in the transaction, by transfers from
//! and to the zero address or by the events of Compound's markets, or whose answers say so. A *gift* is a transfer to it that the sender's side
//! orders itself while nobody is calling the contract. Issues and redemptions against a single asset tell the price of a
//! share, as an interval that leaves room for rounding; nothing has to be configured, and no rate has to be offered.
//!
//! | what | score | because |
//! |---|---|---|
//! | a deposit gets no share while at most 10,000 units of shares exist | 700 | what rounding took is more than a ten-thousandth of everything deposited; where the supply is not known: 300 |
//! | a gift while at most 1,000 units of shares exist | 700 | nobody divides a gift among nobody; only a dear unit comes of it; 300 where none are issued or redeemed here, since they may be collectibles |
//! | a gift of 1,000 times what was paid for at most 1,000 new units, or at least a tenth of what at most 1,000 units are then redeemed for | 600 | the same, with the supply inferred |
//! | a gift after which a share is dearer by more than `jump_max_bps` | 300 to 700 by size | whoever gives more than yield gives to the other holders, or means the rate |
//! | a gift of at least a tenth of what is then redeemed, the price of a share before it not known | 300 | it confirms what others see |
//! | a gift to a contract that another protected contract, called afterwards, asks for its rate | 300 | the same |
//!
//! # Benign twins
//!
//! Payment first, call afterwards (pools of Uniswap V2's kind, routers): a call that issues shares without taking anything
//! was paid by the gift, one that pays out another asset sold it. Harvests are pushed by a strategy, which is not on the
//! sender's side, or inside the contract's own call. Fees on entry, exit and transfer make shares dearer by their own size,
//! below the bound; rebasing moves no transfer. A gift that leaves the price where it was is no finding.
//!
//! # Source and limits
//!
//! The inflation attack that OpenZeppelin's ERC-4626 documentation describes, with its dead and virtual shares as the remedy
//! (Uniswap V2 locks 1,000 units for the same reason); empty markets of Compound's kind: Hundred Finance (April 2023), Onyx
//! (November 2023), Sonne (May 2024); a vault taken for an oracle: Cream (October 2021), Resupply (June 2025). Not seen:
//! gifts in native coin, gifts that a third party delivers at the sender's order, gifts and uses in different
//! transactions. Trees of calls show no issue of shares, so that only the last row can be seen there.

mod books;

use crate::detector::{Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::SendersSide;
use crate::valuation::{Readings, total_supply};
use alloy_primitives::{Address, Selector, U256, U512};
use books::{Call, Entry, entries, gifts, issuers, refused_shares};
use cordon_model::execution::{Execution, FrameKind, ViewCall};
use cordon_model::finding::sign::{self, DonationEffect, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, Bps};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Half of what opens an incident: it confirms what another detector sees.
const SCORE_WEAK: Score = Score(300);
/// What a jump of `jump_full_bps` adds to that.
const SCORE_SPAN: u16 = 400;
/// An emptiness that follows from amounts alone.
const SCORE_INFERRED: Score = Score(600);
/// An emptiness that was read from the contract.
const SCORE_READ: Score = Score(700);

/// Units of shares up to which a contract counts as empty: Uniswap V2 burns as many at birth, so that no pool is below it.
const TINY_SHARES: u64 = 1_000;

/// A gift is large beside a deposit from here on: three orders of magnitude are no deposit's fee, tip or rounding.
const GIFT_TIMES_MIN: u64 = 1_000;

/// Part of a redemption that a gift must be, one in this many, to have mattered to it.
const GIFT_PART_MAX: u64 = 10;

/// Units of shares above which a deposit that gets none is dust: less than this part of everything deposited.
const DUST_SHARES: u64 = 10_000;

/// Contracts of one transaction that are looked at, each costing a pass over it; those that issue shares come first. The
/// batch deposits of aggregators touch about ten; whoever gives dust to more to hide one is named by a gap.
const CONTRACTS_MAX: usize = 128;

/// Functions by which others ask what a share is worth: ERC-4626, Yearn, Curve, Compound, Balancer's rate providers.
const RATE_QUESTIONS: [(&str, Selector); 10] = [
    ("convertToAssets(uint256)", Selector::new([0x07, 0xa2, 0xd1, 0x3a])),
    ("previewRedeem(uint256)", Selector::new([0x4c, 0xda, 0xd5, 0x06])),
    ("totalAssets()", Selector::new([0x01, 0xe1, 0xd1, 0x14])),
    ("pricePerShare()", Selector::new([0x99, 0x53, 0x0b, 0x06])),
    ("getPricePerFullShare()", Selector::new([0x77, 0xc7, 0xb8, 0xfc])),
    ("get_virtual_price()", Selector::new([0xbb, 0x7b, 0x8b, 0x80])),
    ("exchangeRateStored()", Selector::new([0x18, 0x2d, 0xf0, 0xf5])),
    ("exchangeRateCurrent()", Selector::new([0xbd, 0x6d, 0x89, 0x4d])),
    ("exchangeRate()", Selector::new([0x3b, 0xa0, 0xb9, 0xa9])),
    ("getRate()", Selector::new([0x67, 0x9a, 0xef, 0xce])),
];

/// Configuration of [`Donation`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DonationConfig {
    /// Largest rise of a share's price beside a gift that says nothing. Default 200 (2 %), as for `rate-jump`: more than
    /// fees on entry and exit usually are, and less than any known attack.
    pub jump_max_bps: Bps,
    /// Rise at which the score is full. Default 5000 (50 %), as for `rate-jump`.
    pub jump_full_bps: Bps,
}

impl Default for DonationConfig {
    fn default() -> Self {
        Self { jump_max_bps: Bps(200), jump_full_bps: Bps(5_000) }
    }
}

impl DonationConfig {
    /// The detector.
    ///
    /// # Errors
    /// A bound that rounding alone would pass, or a full score below it.
    pub fn build(&self) -> Result<Donation, ConfigError> {
        let Self { jump_max_bps, jump_full_bps } = *self;
        let refuse =
            |key, value: Bps, expected| Err(ConfigError { key, value: value.0.to_string(), expected });
        if jump_max_bps.0 < 2 {
            return refuse("donation.jump_max_bps", jump_max_bps, "at least 2");
        }
        if jump_full_bps < jump_max_bps {
            return refuse("donation.jump_full_bps", jump_full_bps, "a value not below jump_max_bps");
        }
        Ok(Donation { jump_max_bps, jump_full_bps })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Donation {
    jump_max_bps: Bps,
    jump_full_bps: Bps,
}

impl Detector for Donation {
    fn name(&self) -> &'static str {
        "donation"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let side = SendersSide::of(protocol, execution);
        let candidates = candidates(protocol, &side, execution);
        candidates.into_iter().take(CONTRACTS_MAX).map(total_supply).collect()
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let contracts = candidates(protocol, &side, execution);
        let readings = Readings::of(execution);
        let issuers: BTreeSet<Address> =
            if contracts.is_empty() { BTreeSet::new() } else { issuers(execution).collect() };
        let judge = |contract: Address| {
            let mut ledger = Ledger::new(self, readings.before(&total_supply(contract)));
            for entry in entries(contract, &side, execution) {
                ledger.take(&entry);
            }
            // Of a contract that issues nothing here it is not known whether what it counts are shares.
            let weaken = |best: Remark| match best.effect {
                DonationEffect::NoShares => best,
                _ if issuers.contains(&contract) => best,
                _ => Remark { score: SCORE_WEAK, ..best },
            };
            let said = ledger.best.map(weaken);
            let best = said.or_else(|| ledger.looked(protocol, &side, execution, contract));
            let Remark { score, asset, amount_raw, effect } = best?;
            let sign = sign::Donation { contract, asset, amount_raw, effect };
            let evidence = Evidence::Sign(Sign::Donation(sign));
            let statement = Statement { class: AttackClass::RateManipulation, contract, score, evidence };
            Some(statement.by(self.name(), protocol, execution))
        };
        contracts.into_iter().take(CONTRACTS_MAX).filter_map(judge).collect()
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let side = SendersSide::of(protocol, execution);
        let count = candidates(protocol, &side, execution).len();
        let mut gaps = Vec::new();
        if execution.truncated && count > 0 {
            gaps.push("the record of the transaction was cut; what a gift was for may be missing".to_owned());
        }
        if count > CONTRACTS_MAX {
            gaps.push(format!("{count} contracts were given something, {CONTRACTS_MAX} are looked at"));
        }
        gaps
    }
}

/// Protected contracts that were given something, or issued no shares for something: those first whose shares moved, then
/// by address.
fn candidates(protocol: &Protocol, side: &SendersSide, execution: &Execution) -> Vec<Address> {
    let given = gifts(side, execution).map(|gift| gift.to);
    let all: BTreeSet<Address> = given.chain(refused_shares(execution)).collect();
    let theirs = all.into_iter().filter(|contract| protocol.protects(*contract) && !side.has(*contract));
    let mut candidates: Vec<Address> = theirs.collect();
    if candidates.len() > 1 {
        let issuers: BTreeSet<Address> = issuers(execution).collect();
        candidates.sort_by_key(|contract| !issuers.contains(contract));
    }
    candidates
}

/// What a ledger has to say.
#[derive(Debug, Clone, Copy)]
struct Remark {
    score: Score,
    asset: Asset,
    amount_raw: U256,
    effect: DonationEffect,
}

/// What was given in one asset and not paid for with shares.
#[derive(Debug, Clone, Copy, Default)]
struct Gift {
    amount_raw: U256,
    first_seq: u32,
    /// True where the contract paid out something else afterwards, as a market does.
    is_sold: bool,
}

/// An amount of assets against an amount of shares. Rounding leaves one unit of either open.
#[derive(Debug, Clone, Copy)]
struct Trade {
    assets_raw: U256,
    shares_raw: U256,
    is_issue: bool,
}

impl Trade {
    /// `assets / shares`: the least that the price of a share can have been.
    fn low(&self) -> (U256, U256) {
        let open = U256::from(u8::from(self.is_issue));
        (self.assets_raw, self.shares_raw.saturating_add(open))
    }

    /// The most that it can have been.
    fn high(&self) -> (U256, U256) {
        let open = U256::from(u8::from(!self.is_issue));
        (self.assets_raw.saturating_add(open), self.shares_raw)
    }

    /// By how much a share is dearer here than there, at the least.
    fn dearer_than(&self, before: &Self) -> Bps {
        let ((assets, shares), (assets_before, shares_before)) = (self.low(), before.high());
        let now: U512 = assets.widening_mul(shares_before);
        let then: U512 = assets_before.widening_mul(shares);
        let rise = now.saturating_sub(then);
        let scaled = rise.saturating_mul(U512::from(10_000u32)).checked_div(then);
        scaled.map_or(Bps(u32::MAX), |bps| Bps(u32::try_from(bps).unwrap_or(u32::MAX)))
    }
}

/// One share contract's transaction, read in order.
#[derive(Debug)]
struct Ledger<'a> {
    detector: &'a Donation,
    supply_before_raw: Option<U256>,
    issued_raw: U256,
    redeemed_raw: U256,
    taken: BTreeMap<Asset, U256>,
    paid: BTreeMap<Asset, U256>,
    gifts: BTreeMap<Asset, Gift>,
    /// The cheapest trade of shares in each asset before anything was given in it.
    before: BTreeMap<Asset, Trade>,
    best: Option<Remark>,
}

impl<'a> Ledger<'a> {
    fn new(detector: &'a Donation, supply_before_raw: Option<U256>) -> Self {
        Self {
            detector,
            supply_before_raw,
            issued_raw: U256::ZERO,
            redeemed_raw: U256::ZERO,
            taken: BTreeMap::new(),
            paid: BTreeMap::new(),
            gifts: BTreeMap::new(),
            before: BTreeMap::new(),
            best: None,
        }
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Gift { asset, amount_raw, seq } => self.give(*asset, *amount_raw, *seq),
            Entry::Call(call) => self.call(call),
        }
    }

    fn say(&mut self, score: Score, asset: Asset, amount_raw: U256, effect: DonationEffect) {
        if self.best.is_none_or(|best| best.score < score) {
            self.best = Some(Remark { score, asset, amount_raw, effect });
        }
    }

    /// Shares that exist at this point, where the supply was read.
    fn supply_raw(&self) -> Option<U256> {
        let issued = self.supply_before_raw?.saturating_add(self.issued_raw);
        Some(issued.saturating_sub(self.redeemed_raw))
    }

    fn give(&mut self, asset: Asset, amount_raw: U256, seq: u32) {
        let gift = self.gifts.entry(asset).or_insert(Gift { first_seq: seq, ..Gift::default() });
        gift.amount_raw = gift.amount_raw.saturating_add(amount_raw);
        gift.is_sold = false;
        let given_raw = gift.amount_raw;
        let tiny = |shares: &U256| !shares.is_zero() && *shares <= U256::from(TINY_SHARES);
        if let Some(supply) = self.supply_raw() {
            if tiny(&supply) {
                self.say(SCORE_READ, asset, given_raw, DonationEffect::Empty { shares_raw: supply });
            }
            return;
        }
        let new = self.issued_raw.saturating_sub(self.redeemed_raw);
        let sum = |sums: &BTreeMap<Asset, U256>| sums.get(&asset).copied().unwrap_or_default();
        let (taken, paid) = (sum(&self.taken), sum(&self.paid));
        let price = taken.saturating_sub(paid).max(U256::ONE);
        if tiny(&new) && !taken.is_zero() && given_raw >= price.saturating_mul(U256::from(GIFT_TIMES_MIN)) {
            self.say(SCORE_INFERRED, asset, given_raw, DonationEffect::Empty { shares_raw: new });
        }
    }

    fn call(&mut self, call: &Call) {
        self.refused(call);
        let (issued, redeemed) = (!call.issued_raw.is_zero(), !call.redeemed_raw.is_zero());
        match (issued, redeemed) {
            (true, false) if call.taken.is_empty() => self.was_payment(call.issued_raw),
            (true, false) => self.trade(&call.taken, call.issued_raw, true),
            (false, true) => self.trade(&call.paid, call.redeemed_raw, false),
            (false, false) => self.sold(call),
            (true, true) => {}
        }
        self.issued_raw = self.issued_raw.saturating_add(call.issued_raw);
        self.redeemed_raw = self.redeemed_raw.saturating_add(call.redeemed_raw);
        for (sums, moved) in [(&mut self.taken, &call.taken), (&mut self.paid, &call.paid)] {
            for (asset, amount_raw) in moved {
                let sum = sums.entry(*asset).or_default();
                *sum = sum.saturating_add(*amount_raw);
            }
        }
    }

    /// A deposit for which no share was issued.
    fn refused(&mut self, call: &Call) {
        let is_refused = call.issued_none && call.issued_raw.is_zero() && call.redeemed_raw.is_zero();
        let deposit = call.taken.iter().find(|(_, amount_raw)| !amount_raw.is_zero());
        let Some((asset, amount_raw)) = deposit.filter(|_| is_refused) else { return };
        match self.supply_raw() {
            Some(supply) if supply > U256::from(DUST_SHARES) => {}
            Some(_) => self.say(SCORE_READ, *asset, *amount_raw, DonationEffect::NoShares),
            None => self.say(SCORE_WEAK, *asset, *amount_raw, DonationEffect::NoShares),
        }
    }

    /// Shares were issued for nothing in the same call: they were paid before. What they cost at the price before is
    /// taken off the gifts; a gift whose price is not known is taken for a payment.
    fn was_payment(&mut self, shares_raw: U256) {
        let before = &self.before;
        self.gifts.retain(|asset, gift| {
            let Some(price) = before.get(asset) else { return false };
            let (assets, shares) = price.high();
            let product: U512 = shares_raw.widening_mul(assets);
            let cost: U256 =
                product.checked_div(U512::from(shares)).map_or(U256::MAX, |cost| cost.saturating_to());
            gift.amount_raw = gift.amount_raw.saturating_sub(cost.saturating_add(U256::ONE));
            !gift.amount_raw.is_zero()
        });
    }

    /// The contract paid without redeeming: it gave back, lent out, or sold.
    fn sold(&mut self, call: &Call) {
        for (asset, amount_raw) in &call.paid {
            if let Some(gift) = self.gifts.get_mut(asset) {
                gift.amount_raw = gift.amount_raw.saturating_sub(*amount_raw);
            }
        }
        for (asset, gift) in &mut self.gifts {
            gift.is_sold |= call.paid.keys().any(|paid| paid != asset);
        }
    }

    /// Shares against assets. Where several assets moved it is not known which of them the shares are for.
    fn trade(&mut self, moved: &BTreeMap<Asset, U256>, shares_raw: U256, is_issue: bool) {
        let mut assets = moved.iter().filter(|(_, amount_raw)| !amount_raw.is_zero());
        let (Some((asset, assets_raw)), None) = (assets.next(), assets.next()) else { return };
        let trade = Trade { assets_raw: *assets_raw, shares_raw, is_issue };
        match self.gifts.get(asset).copied().filter(|gift| !gift.amount_raw.is_zero()) {
            Some(gift) => self.after_gift(*asset, gift, &trade),
            None => {
                let cheapest = self.before.entry(*asset).or_insert(trade);
                if cheapest.dearer_than(&trade) > Bps(0) {
                    *cheapest = trade;
                }
            }
        }
    }

    fn after_gift(&mut self, asset: Asset, gift: Gift, trade: &Trade) {
        let amount_raw = gift.amount_raw;
        let known = self.before.get(&asset).map(|before| trade.dearer_than(before));
        if let Some(jump_bps) = known.or_else(|| self.jump_by_supply(amount_raw, trade)) {
            if jump_bps > self.detector.jump_max_bps {
                let score = self.detector.score(jump_bps);
                self.say(score, asset, amount_raw, DonationEffect::RateMoved { jump_bps });
            }
            return;
        }
        let share_of_trade = amount_raw.saturating_mul(U256::from(GIFT_PART_MAX));
        if share_of_trade < trade.assets_raw || gift.is_sold {
            return;
        }
        if trade.shares_raw <= U256::from(TINY_SHARES) {
            let effect = DonationEffect::Empty { shares_raw: trade.shares_raw };
            self.say(SCORE_INFERRED, asset, amount_raw, effect);
        } else if self.supply_raw().is_none() {
            // Where the supply was read it was zero: a fresh contract, whose first holder gets back what he gave.
            self.say(SCORE_WEAK, asset, amount_raw, DonationEffect::Traded);
        }
    }

    /// How much dearer a gift made the shares that existed, where their number was read: what all are worth now, with and
    /// without it.
    fn jump_by_supply(&self, amount_raw: U256, trade: &Trade) -> Option<Bps> {
        let (assets, shares) = trade.low();
        let product: U512 = self.supply_raw().filter(|supply| !supply.is_zero())?.widening_mul(assets);
        let worth: U256 = product.checked_div(U512::from(shares))?.saturating_to();
        Some(Bps::ratio(amount_raw, worth.saturating_sub(amount_raw)))
    }

    /// A gift that nothing followed but a question: another protected contract, called afterwards, asked for the rate.
    fn looked(
        &self,
        protocol: &Protocol,
        side: &SendersSide,
        execution: &Execution,
        contract: Address,
    ) -> Option<Remark> {
        let open = self.gifts.iter().filter(|(_, gift)| !gift.is_sold && !gift.amount_raw.is_zero());
        let (asset, gift) = open.min_by_key(|(_, gift)| gift.first_seq)?;
        let mut user: Option<(u32, Address)> = None;
        let later =
            execution.frames.iter().filter(|frame| frame.enter_seq > gift.first_seq && !frame.reverted);
        for frame in later {
            let within = user.filter(|(exit_seq, _)| frame.enter_seq < *exit_seq);
            let Some((_, by)) = within else {
                let is_use = frame.kind == FrameKind::Call
                    && side.has(frame.caller)
                    && protocol.protects(frame.address)
                    && frame.address != contract
                    && Asset::Token(frame.address) != *asset;
                user = is_use.then_some((frame.exit_seq, frame.address));
                continue;
            };
            let asks = frame.address == contract
                && frame.caller != contract
                && !side.has(frame.caller)
                && frame
                    .selector()
                    .is_some_and(|asked| RATE_QUESTIONS.iter().any(|(_, known)| *known == asked));
            if asks {
                let effect = DonationEffect::Looked { by };
                return Some(Remark {
                    score: SCORE_WEAK,
                    asset: *asset,
                    amount_raw: gift.amount_raw,
                    effect,
                });
            }
        }
        None
    }
}

impl Donation {
    fn score(&self, jump_bps: Bps) -> Score {
        let strength = Score::scaled(U256::from(jump_bps.0), U256::from(self.jump_full_bps.0));
        SCORE_WEAK.and(SCORE_SPAN, strength)
    }
}

#[cfg(test)]
mod tests;
