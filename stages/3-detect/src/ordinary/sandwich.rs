//! Sandwiches: somebody trades before and after others, who trade the same way in between and get a worse price for it.
//!
//! In: the executions of one block in order, and what the detectors said of each. Out: the sandwiches, and the findings with
//! those that a sandwich explains marked with its name. Must never: lower a finding on a transaction that does more than
//! trade, or call it harmless: a user in between loses, the protocol does not.
//!
//! # What is one
//!
//! 1. Three transactions or more, in order, in one market: the first and the last by the same actor in opposite ways, those
//!    in between by others the way of the first. The actor is the sender or the contract that he calls; whoever calls
//!    the same contract in between is no victim, so that users of one router do not sandwich each other.
//! 2. The last gives what the first took, up to [`REST_MAX`].
//!
//! # When it explains a finding
//!
//! Both outer transactions do nothing but trade, by the conditions 1 to 4 of a circle (`ordinary`), and together they
//! are closed as a circle is (5). An attack that is dressed up as half a sandwich calls its victim, or somebody
//! loses, or what came of it exceeds the margin.
//!
//! Source: Qin et al., "Quantifying Blockchain Extractable Value" (S&P 2022), whose heuristic asks for one victim and the
//! amounts of the outer trades to agree. Limits: markets other than those that log as Uniswap V2, V3 and V4 or
//! PancakeSwap V3 do; a sandwich over
//! several blocks; an actor who trades by different senders and contracts; outer trades that are split.

use super::{MARGIN_MAX, Markets, ORDINARY, is_shape};
use crate::parties::{NetFlows, SendersSide};
use alloy_primitives::{Address, B256, I256, U256, keccak256};
use cordon_model::execution::{Execution, Log};
use cordon_model::finding::{Evidence, Finding, OrdinaryPattern};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, Bps};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// How far apart what the first trade took and what the last one gives may be, as a share of the first. Taxes of tokens and
/// a remainder that the contract keeps are below it; Qin et al. allow as much.
const REST_MAX: Bps = Bps(1_000);

/// Trades of one market between the first and the last, beyond which two trades have nothing to do with each other. Builders
/// place the parts of a sandwich next to each other.
const BETWEEN_MAX: usize = 64;

/// Sandwiches that a transaction is looked at as a part of. One transaction opens or closes those of one bot, in a handful of
/// markets at once; the bound keeps one that is made to fit a hundred from costing a hundred looks.
const PAIRS_MAX: usize = 8;

/// A trade before, trades of others, and a trade after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandwich {
    /// Market in which it is made; several in one contract where that is a vault of many.
    pub market: Address,
    /// Sender of both outer transactions, or the contract that both call.
    pub actor: Address,
    /// Place of the first transaction in the block's executions.
    pub front: usize,
    /// Places of those in between, in order.
    pub victims: Vec<usize>,
    /// Place of the last.
    pub back: usize,
}

/// How a market logs what it was given and gave.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Given and taken of both coins.
    InOut,
    /// Changes of both coins, signed.
    Signed,
    /// The same for one market of many.
    SignedShared,
}

static FORMS: LazyLock<BTreeMap<B256, Form>> = LazyLock::new(|| {
    let forms = [
        ("Swap(address,uint256,uint256,uint256,uint256,address)", Form::InOut),
        ("Swap(address,address,int256,int256,uint160,uint128,int24)", Form::Signed),
        ("Swap(address,address,int256,int256,uint160,uint128,int24,uint128,uint128)", Form::Signed),
        ("Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)", Form::SignedShared),
    ];
    forms.into_iter().map(|(text, form)| (keccak256(text), form)).collect()
});

/// A market: its contract, and which one of many within it.
type Market = (Address, B256);

/// All that one transaction traded in one market, net.
#[derive(Debug, Clone, Copy)]
struct Trade {
    /// Place of the transaction.
    at: usize,
    from: Address,
    to: Option<Address>,
    /// True where the first coin is given for the second.
    forward: bool,
    given: U256,
    taken: U256,
}

/// The sandwiches of a block whose transactions are given in order.
#[must_use]
pub fn sandwiches(block: &[Execution]) -> Vec<Sandwich> {
    let mut found: Vec<Sandwich> =
        trades(block).iter().flat_map(|(market, trades)| within(*market, trades)).collect();
    found.sort_by_key(|sandwich| (sandwich.front, sandwich.back, sandwich.market));
    found
}

/// The trades of each market in order.
fn trades(block: &[Execution]) -> BTreeMap<Market, Vec<Trade>> {
    let mut markets: BTreeMap<Market, Vec<Trade>> = BTreeMap::new();
    for (at, execution) in block.iter().enumerate().filter(|(_, execution)| execution.status.is_success()) {
        let mut net: BTreeMap<Market, (I256, I256)> = BTreeMap::new();
        for (market, first, second) in execution.logs.iter().filter_map(trade) {
            let sums = net.entry(market).or_default();
            *sums = (sums.0.saturating_add(first), sums.1.saturating_add(second));
        }
        let (from, to) = (execution.transaction.from, execution.transaction.to);
        for (market, (first, second)) in net {
            // Both ways at once is no trade, but a fee, or a round trip.
            if first.is_zero() || second.is_zero() || first.is_negative() == second.is_negative() {
                continue;
            }
            let forward = first.is_positive();
            let (given, taken) = if forward { (first, second) } else { (second, first) };
            let (given, taken) = (given.unsigned_abs(), taken.unsigned_abs());
            markets.entry(market).or_default().push(Trade { at, from, to, forward, given, taken });
        }
    }
    markets
}

/// What a market received of both its coins, by its log; negative where it gave.
fn trade(log: &Log) -> Option<(Market, I256, I256)> {
    let form = FORMS.get(log.topics.first()?)?;
    let word = |at: usize| {
        let from = at.checked_mul(32)?;
        log.data.get(from..from.checked_add(32)?).map(U256::from_be_slice)
    };
    let signed = |at: usize| word(at).map(I256::from_raw);
    let unsigned = |at: usize| word(at).map(|amount| I256::try_from(amount).unwrap_or(I256::MAX));
    Some(match form {
        Form::InOut => {
            let of = |coin: usize| Some(unsigned(coin)?.saturating_sub(unsigned(coin.saturating_add(2))?));
            ((log.address, B256::ZERO), of(0)?, of(1)?)
        }
        Form::Signed => ((log.address, B256::ZERO), signed(0)?, signed(1)?),
        // Counted as the trader sees it.
        Form::SignedShared => {
            let negated = |at: usize| signed(at).map(I256::saturating_neg);
            ((log.address, *log.topics.get(1)?), negated(0)?, negated(1)?)
        }
    })
}

/// The sandwiches in one market. A trade is the first of at most one.
fn within(market: Market, trades: &[Trade]) -> Vec<Sandwich> {
    let mut open: BTreeMap<(Address, bool), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (place, back) in trades.iter().enumerate() {
        let actors = [Some(back.from), back.to];
        let closed = actors.into_iter().flatten().find_map(|actor| {
            let first = *open.get(&(actor, !back.forward))?;
            let front = trades.get(first)?;
            let between = trades.get(first.checked_add(1)?..place)?;
            let agrees = between.len() <= BETWEEN_MAX && agree(front.taken, back.given);
            let is_victim = |trade: &&Trade| {
                trade.forward == front.forward && trade.from != actor && trade.to != Some(actor)
            };
            let victims: Vec<usize> = if agrees {
                between.iter().filter(is_victim).map(|trade| trade.at).collect()
            } else {
                Vec::new()
            };
            let sandwich = Sandwich { market: market.0, actor, front: front.at, victims, back: back.at };
            (!sandwich.victims.is_empty()).then_some((front, sandwich))
        });
        if let Some((front, sandwich)) = closed {
            for actor in [Some(front.from), front.to].into_iter().flatten() {
                open.remove(&(actor, front.forward));
            }
            found.push(sandwich);
        }
        for actor in actors.into_iter().flatten() {
            open.insert((actor, back.forward), place);
        }
    }
    found
}

fn agree(taken: U256, given: U256) -> bool {
    taken.abs_diff(given) <= REST_MAX.of(taken)
}

/// The findings of each execution, those that a sandwich explains marked with its name. `protocols` are those that the
/// findings speak of; a finding on another one is judged with nobody named.
pub(crate) fn explained(
    protocols: &[Protocol],
    block: &[Execution],
    mut findings: Vec<Vec<Finding>>,
) -> Vec<Vec<Finding>> {
    let shapes: BTreeSet<usize> = findings
        .iter()
        .enumerate()
        .filter(|(_, found)| found.iter().any(is_shape))
        .map(|(at, _)| at)
        .collect();
    if shapes.is_empty() {
        return findings;
    }
    let pairs: BTreeSet<(usize, usize)> =
        sandwiches(block).into_iter().map(|sandwich| (sandwich.front, sandwich.back)).collect();
    let mut tried: BTreeMap<usize, usize> = BTreeMap::new();
    for (front, back) in pairs {
        let (Some(first), Some(last)) = (block.get(front), block.get(back)) else { continue };
        for place in [front, back].into_iter().filter(|leg| shapes.contains(leg)) {
            let times = tried.entry(place).or_default();
            *times = times.saturating_add(1);
            let Some(found) = findings.get_mut(place).filter(|_| *times <= PAIRS_MAX) else { continue };
            for finding in found.iter_mut().filter(|finding| is_shape(finding)) {
                let protocol = protocols.iter().find(|protocol| protocol.id == finding.protocol);
                if let Some(markets) = closed(protocol, [first, last]) {
                    name(finding, markets);
                }
            }
        }
    }
    findings
}

fn name(finding: &mut Finding, markets: u32) {
    finding.score = finding.score.min(ORDINARY);
    finding.evidence = Evidence::Ordinary {
        pattern: OrdinaryPattern::Sandwich,
        markets,
        instead_of: Box::new(finding.evidence.clone()),
    };
}

/// In how many markets both transactions trade, where they do nothing else and gain no more by it than a circle may.
fn closed(protocol: Option<&Protocol>, legs: [&Execution; 2]) -> Option<u32> {
    let mut net: BTreeMap<Asset, I256> = BTreeMap::new();
    let mut through: BTreeMap<Asset, U256> = BTreeMap::new();
    let mut traded: BTreeSet<Address> = BTreeSet::new();
    for leg in legs {
        let side =
            protocol.map_or_else(|| SendersSide::unnamed(leg), |protocol| SendersSide::of(protocol, leg));
        let flows = NetFlows::of(leg);
        let markets = Markets::traded_by(&side, leg, &flows)?;
        for (asset, change) in markets.net(&side, leg, &flows) {
            let sum = net.entry(asset).or_default();
            *sum = sum.saturating_add(change);
        }
        for (asset, amount) in markets.turnover(&side, leg) {
            let sum = through.entry(asset).or_default();
            *sum = sum.saturating_add(amount);
        }
        traded.extend(markets.traded.iter().copied());
    }
    let is_closed = net.iter().all(|(asset, change)| {
        let limit = MARGIN_MAX.of(through.get(asset).copied().unwrap_or_default());
        // Coins that are paid are tips to whoever includes the transactions.
        change.unsigned_abs() <= limit || (change.is_negative() && *asset == Asset::Native)
    });
    is_closed.then(|| u32::try_from(traded.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
