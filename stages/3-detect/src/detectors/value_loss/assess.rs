//! The two sides of a protected system's books over one transaction.
//!
//! In: a protocol and an execution with its readings. Out: [`Assessment`]. Balances and supplies are taken from
//! readings before and after, which also see tokens that move without a log; transfers stand in where a reading is
//! missing and the record is whole. Must never: let an amount overflow; values are cut at a stated ceiling.

use super::accounts::{ACCOUNTS_MAX, touched_accounts};
use crate::valuation::{
    PriceBook, Quote, Readings, balance_of, difference, rate_call, signed, total_supply, value_ceiling_wad,
};
use alloy_primitives::{Address, I256, U256};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::protocol::{AccountSide, AssetSpec, Price, Protocol};
use cordon_model::units::{Asset, AssetDelta, Bps};
use std::collections::BTreeMap;

/// Most gainers named as evidence: people read the top of the list.
const GAINERS_MAX: usize = 10;

/// Readings about the system as a whole: rates, supplies of issued shares, balances.
pub(crate) fn system_views(protocol: &Protocol) -> Vec<ViewCall> {
    let mut calls: Vec<ViewCall> = protocol.assets.iter().filter_map(share_rate).collect();
    calls.extend(issued_shares(protocol).map(|(_, token)| total_supply(token)));
    for spec in &protocol.assets {
        if let Asset::Token(token) = spec.asset {
            calls.extend(protocol.contracts.iter().map(|contract| balance_of(token, contract.address)));
        }
    }
    calls
}

fn share_rate(spec: &AssetSpec) -> Option<ViewCall> {
    match spec.price {
        Price::ShareRate { vault, .. } => rate_call(spec, vault),
        Price::Fixed { .. } | Price::Unpriced => None,
    }
}

/// Shares that protected vaults issue.
fn issued_shares(protocol: &Protocol) -> impl Iterator<Item = (&AssetSpec, Address)> {
    protocol.assets.iter().filter_map(|spec| match (spec.price, spec.asset) {
        (Price::ShareRate { vault, .. }, Asset::Token(token)) if protocol.protects(vault) => {
            Some((spec, token))
        }
        (Price::ShareRate { .. } | Price::Fixed { .. } | Price::Unpriced, _) => None,
    })
}

/// What the transaction did to the system's books.
#[derive(Debug)]
pub(crate) struct Assessment {
    holdings_delta_wad: I256,
    /// How much of the result may be rounding, wad.
    rounding_wad: U256,
    pub(crate) obligations_delta_wad: I256,
    pub(crate) holdings: Vec<AssetDelta>,
    /// Value of the outside assets that the system held before, wad; zero where none could be read.
    base_wad: U256,
    /// Accounts that gained in value, largest gain first.
    pub(crate) gainers: Vec<(Address, I256)>,
    /// The contract whose holdings fell most.
    pub(crate) contract: Address,
    /// Amounts that should count and could not be read; the loss is uncertain where there are any.
    pub(crate) unread: Vec<String>,
    /// Bounds that were met.
    pub(crate) notes: Vec<String>,
}

impl Assessment {
    pub(crate) fn of(protocol: &Protocol, execution: &Execution) -> Self {
        let readings = Readings::of(execution);
        let books = Books { protocol, execution, prices: PriceBook::read(protocol, &readings), readings };
        let mut assessment = Self {
            holdings_delta_wad: I256::ZERO,
            rounding_wad: U256::ZERO,
            obligations_delta_wad: I256::ZERO,
            holdings: Vec::new(),
            base_wad: U256::ZERO,
            gainers: Vec::new(),
            contract: protocol.contracts.first().map_or(Address::ZERO, |contract| contract.address),
            unread: Vec::new(),
            notes: Vec::new(),
        };
        assessment.count_holdings(&books);
        assessment.count_issued_shares(&books);
        let mut gains = books.flows();
        assessment.count_accounts(&books, &mut gains);
        assessment.name_gainers(gains);
        if execution.truncated {
            assessment
                .notes
                .push("the record of the transaction was cut; accounts may be missing".to_owned());
        }
        assessment
    }

    /// Net loss, wad; zero for a gain, and for what rounding alone can make.
    pub(crate) fn loss_wad(&self) -> U256 {
        let loss = self.obligations_delta_wad.saturating_sub(self.holdings_delta_wad);
        let loss_wad = if loss.is_negative() { U256::ZERO } else { loss.unsigned_abs() };
        if loss_wad <= self.rounding_wad { U256::ZERO } else { loss_wad }
    }

    /// The loss as a share of what the system held; `None` where that is not known.
    pub(crate) fn loss_share(&self) -> Option<Bps> {
        (!self.base_wad.is_zero()).then(|| Bps::ratio(self.loss_wad(), self.base_wad))
    }

    fn count_holdings(&mut self, books: &Books<'_>) {
        // Without assets there is nothing to hold, however many contracts there are.
        if books.protocol.assets.is_empty() {
            return;
        }
        let mut worst_wad = I256::ZERO;
        let mut totals: BTreeMap<Asset, I256> = BTreeMap::new();
        for contract in &books.protocol.contracts {
            let mut contract_wad = I256::ZERO;
            for spec in &books.protocol.assets {
                let Some(delta_raw) = books.holding_delta(contract.address, spec.asset) else {
                    if books.prices.quote(spec.asset) != Quote::Unpriced {
                        self.unread.push(format!(
                            "holdings of {} by {} could not be read",
                            spec.symbol, contract.name
                        ));
                    }
                    continue;
                };
                let total = totals.entry(spec.asset).or_default();
                *total = total.saturating_add(delta_raw);
                let value_wad = self.value(books, spec, delta_raw);
                contract_wad = contract_wad.saturating_add(value_wad);
                self.base_wad = self.base_wad.saturating_add(books.base_wad(contract.address, spec));
            }
            self.holdings_delta_wad = self.holdings_delta_wad.saturating_add(contract_wad);
            if contract_wad < worst_wad {
                (worst_wad, self.contract) = (contract_wad, contract.address);
            }
        }
        let changed = totals.into_iter().filter(|(_, delta_raw)| !delta_raw.is_zero());
        self.holdings = changed.map(|(asset, delta_raw)| AssetDelta { asset, delta_raw }).collect();
    }

    fn count_issued_shares(&mut self, books: &Books<'_>) {
        for (spec, token) in issued_shares(books.protocol) {
            match books.supply_delta(token) {
                Some(delta_raw) => {
                    let value_wad = self.value(books, spec, delta_raw);
                    self.obligations_delta_wad = self.obligations_delta_wad.saturating_add(value_wad);
                }
                None => self.unread.push(format!("the supply of {} could not be read", spec.symbol)),
            }
        }
    }

    fn count_accounts(&mut self, books: &Books<'_>, gains: &mut BTreeMap<Address, I256>) {
        let touched = touched_accounts(books.protocol, books.execution);
        if touched.cut {
            self.notes.push(format!("more than {ACCOUNTS_MAX} accounts were touched; the rest was not read"));
        }
        let mut unread = 0u32;
        for account in touched.list {
            let Some(EquityChange { before, after, rounding_wad }) = books.equity_change(account) else {
                unread += 1;
                continue;
            };
            self.rounding_wad = self.rounding_wad.saturating_add(rounding_wad);
            let delta_wad = difference(before.value_wad(), after.value_wad());
            self.obligations_delta_wad = self.obligations_delta_wad.saturating_add(delta_wad);
            let gain = gains.entry(account).or_default();
            *gain = gain.saturating_add(delta_wad);
        }
        if unread > 0 {
            self.unread.push(format!("the lines of {unread} accounts could not be read"));
        }
    }

    fn name_gainers(&mut self, gains: BTreeMap<Address, I256>) {
        self.gainers = gains.into_iter().filter(|(_, gain)| gain.is_positive()).collect();
        self.gainers.sort_by(|(a, gain_a), (b, gain_b)| gain_b.cmp(gain_a).then(a.cmp(b)));
        self.gainers.truncate(GAINERS_MAX);
    }

    /// Value of a change; zero for an asset without a price, which is said where there should be one.
    fn value(&mut self, books: &Books<'_>, spec: &AssetSpec, delta_raw: I256) -> I256 {
        if delta_raw.is_zero() {
            return I256::ZERO;
        }
        let Some(value_wad) = books.prices.signed_wad(spec.asset, delta_raw) else {
            if books.prices.quote(spec.asset) == Quote::Unread {
                self.unread.push(format!("the price of {} could not be read", spec.symbol));
            }
            return I256::ZERO;
        };
        if value_wad.unsigned_abs() == value_ceiling_wad() {
            self.notes.push(format!("the value of a change in {} was cut", spec.symbol));
        }
        let rounding_wad = books.prices.rounding_wad(spec.asset, delta_raw.unsigned_abs());
        self.rounding_wad = self.rounding_wad.saturating_add(rounding_wad);
        value_wad
    }
}

struct Books<'a> {
    protocol: &'a Protocol,
    execution: &'a Execution,
    readings: Readings<'a>,
    prices: PriceBook,
}

impl Books<'_> {
    fn holding_delta(&self, holder: Address, asset: Asset) -> Option<I256> {
        match asset {
            Asset::Native if !self.execution.balance_changes_wei.is_empty() => {
                Some(self.execution.balance_changes_wei.get(&holder).copied().unwrap_or_default())
            }
            Asset::Native => self.moved(asset, holder),
            Asset::Token(token) => match self.readings.both(&balance_of(token, holder)) {
                Some((before, after)) => Some(difference(before, after)),
                None => self.moved(asset, holder),
            },
        }
    }

    /// Minted less burnt shares.
    fn supply_delta(&self, token: Address) -> Option<I256> {
        match self.readings.both(&total_supply(token)) {
            Some((before, after)) => Some(difference(before, after)),
            None => self.moved(Asset::Token(token), Address::ZERO).map(I256::saturating_neg),
        }
    }

    /// Transfers into less transfers out of an account; `None` where the record may lack some.
    fn moved(&self, asset: Asset, account: Address) -> Option<I256> {
        if self.execution.truncated {
            return None;
        }
        let moved = self.execution.transfers.iter().filter(|moved| moved.asset == asset);
        Some(moved.fold(I256::ZERO, |sum, moved| {
            let sum = if moved.to == account { sum.saturating_add(signed(moved.amount_raw)) } else { sum };
            if moved.from == account { sum.saturating_sub(signed(moved.amount_raw)) } else { sum }
        }))
    }

    /// Value held before, of assets that the system does not issue itself; those would count a deposit twice.
    fn base_wad(&self, holder: Address, spec: &AssetSpec) -> U256 {
        let own_share = issued_shares(self.protocol).any(|(issued, _)| issued.asset == spec.asset);
        let balance = match spec.asset {
            Asset::Token(token) if !own_share => self.readings.before(&balance_of(token, holder)),
            Asset::Token(_) | Asset::Native => None,
        };
        balance.and_then(|raw| self.prices.value_wad(spec.asset, raw)).unwrap_or_default()
    }

    /// Collateral and debt before and after, at prices from before; `None` where a line could not be read.
    fn equity_change(&self, account: Address) -> Option<EquityChange> {
        let mut change = EquityChange::default();
        for line in &self.protocol.account_views {
            let (raw_before, raw_after) = self.readings.both(&line.call(account))?;
            change.before.add(line.side, self.line_wad(line.asset, raw_before)?);
            change.after.add(line.side, self.line_wad(line.asset, raw_after)?);
            let rounding_wad = self.prices.rounding_wad(line.asset, raw_before.max(raw_after));
            change.rounding_wad = change.rounding_wad.saturating_add(rounding_wad);
        }
        Some(change)
    }

    /// Value of an account line. An asset without any price counts nothing; an unread price makes the line unread.
    fn line_wad(&self, asset: Asset, raw: U256) -> Option<U256> {
        match self.prices.quote(asset) {
            Quote::Known { .. } => self.prices.value_wad(asset, raw),
            Quote::Unpriced => Some(U256::ZERO),
            Quote::Unread if raw.is_zero() => Some(U256::ZERO),
            Quote::Unread => None,
        }
    }

    /// Value that each outside account received less what it gave, by transfers.
    fn flows(&self) -> BTreeMap<Address, I256> {
        let mut flows: BTreeMap<Address, I256> = BTreeMap::new();
        let outside = |account: Address| !account.is_zero() && !self.protocol.protects(account);
        for moved in &self.execution.transfers {
            let Some(value) = self.prices.value_wad(moved.asset, moved.amount_raw).map(signed) else {
                continue;
            };
            if outside(moved.to) {
                let flow = flows.entry(moved.to).or_default();
                *flow = flow.saturating_add(value);
            }
            if outside(moved.from) {
                let flow = flows.entry(moved.from).or_default();
                *flow = flow.saturating_sub(value);
            }
        }
        flows
    }
}

#[derive(Default)]
struct EquityChange {
    before: Equity,
    after: Equity,
    rounding_wad: U256,
}

#[derive(Default)]
struct Equity {
    collateral_wad: U256,
    debt_wad: U256,
}

impl Equity {
    fn add(&mut self, side: AccountSide, value_wad: U256) {
        let line = match side {
            AccountSide::Collateral => &mut self.collateral_wad,
            AccountSide::Debt => &mut self.debt_wad,
        };
        *line = line.saturating_add(value_wad);
    }

    fn value_wad(&self) -> U256 {
        self.collateral_wad.saturating_sub(self.debt_wad)
    }
}
