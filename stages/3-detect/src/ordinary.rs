//! Arbitrage and liquidation, recognised and named, so that what they have in common with an attack adds up to nothing.
//!
//! In: a protocol, an execution, and what the detectors said of it. Out: the same findings; those that only describe what
//! every arbitrage looks like (a flash loan, many calls, a gain for nothing) carry the name and a score that adds up to no
//! alarm. Must never: lower a strong finding, one about a named victim, or one of the operator's rules; and never stay
//! silent, since the finding is kept with its grounds.
//!
//! # What is one
//!
//! The sender's side goes round in a circle. All of these hold, or it has no name:
//!
//! 1. Logs are known and the record is complete.
//! 2. It calls nobody but markets (whose log says that they swapped or liquidated), by the functions for that; lenders, by
//!    the functions of flash loans; tokens, by those of ERC-20 and WETH9; and whom it pays coins without calldata.
//! 3. No market swaps twice. Who trades forth and back on one market, or a hundred times, moves it.
//! 4. Nobody loses: every other account gains, or is one of the markets and got another asset for what it gave, or unwraps
//!    coins. The borrower of a liquidation is excepted, whose market says that he was liquidated, unless he was called.
//! 5. The circle is closed: the sender's side pays no token net. Every gain is at most [`MARGIN_MAX`] of what went through
//!    its hands into markets in that same asset; [`MARGIN_LIQUIDATION_MAX`] with a liquidation.
//!
//! # Why this does not sell silence
//!
//! An attack within an arbitrage calls its victim, so 2 fails, unless the victim is a market that is only swapped with,
//! once. Through a false market of his own it calls the victim as well, and then the victim loses and 4 fails, since it is
//! no market. Tokens that were made of nothing are a loss of their issuer (4), tokens that were held before are a payment
//! (5). What is left is a market that gives somewhat too much for what it gets, in a single swap; beyond a tenth it has no
//! name, and whoever hides less than that behind a larger circle pays that circle's fees. Detectors of strong findings are
//! not touched at all.
//!
//! A sandwich is two transactions around others, each of them a plain trade; a single transaction cannot tell, a block can:
//! see `sandwich`.
//!
//! Source: the cyclic arbitrage and liquidation heuristics of Qin et al., "Quantifying Blockchain Extractable Value"
//! (S&P 2022), with conditions 2 and 4 added. Limits: markets whose events are not in the list; circles through routers and
//! aggregators; without logs nothing has a name.

mod owed;
pub(crate) mod sandwich;
mod words;

use crate::parties::{NetFlows, SendersSide, wrapped_moves};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, B256, I256, U256};
use cordon_model::execution::{Execution, Frame, FrameKind, Log};
use cordon_model::finding::{Evidence, Finding, OrdinaryPattern, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, AssetDelta, Bps};
use std::collections::{BTreeMap, BTreeSet};
use words::WORDS;

/// A finding of this score or less may be lowered: it needs another one to raise an alarm.
const WEAK_MAX: Score = Score(300);

/// What a lowered finding has: below what adds up to an alarm under the default policy, above nothing.
const ORDINARY: Score = Score(200);

/// Most that an arbitrage gains on what it trades. Markets that differ by more than a tenth did not come apart by trade.
const MARGIN_MAX: Bps = Bps(1_000);

/// The same with a liquidation: bonuses go up to 15 %, on the riskiest collateral to 20 %, plus what the sale yields.
const MARGIN_LIQUIDATION_MAX: Bps = Bps(2_500);

/// The findings, those that an ordinary pattern explains marked with its name.
pub(crate) fn explained(protocol: &Protocol, execution: &Execution, findings: Vec<Finding>) -> Vec<Finding> {
    if owed::explains(protocol, execution, &findings) {
        return findings.into_iter().map(|finding| named(finding, OrdinaryPattern::Owed, 0)).collect();
    }
    if !findings.iter().any(is_shape) {
        return findings;
    }
    let Some(circle) = Circle::of(protocol, execution) else { return findings };
    let Circle { pattern, markets } = circle;
    let explain =
        |finding: Finding| if is_shape(&finding) { named(finding, pattern, markets) } else { finding };
    findings.into_iter().map(explain).collect()
}

/// The finding with the name of what explains it.
fn named(finding: Finding, pattern: OrdinaryPattern, markets: u32) -> Finding {
    let evidence = Evidence::Ordinary { pattern, markets, instead_of: Box::new(finding.evidence) };
    Finding { score: finding.score.min(ORDINARY), evidence, ..finding }
}

/// True for a weak finding that only says what arbitrage and attacks have in common.
fn is_shape(finding: &Finding) -> bool {
    let shared = match &finding.evidence {
        Evidence::FlashLoan { .. } | Evidence::RepeatedCalls { .. } | Evidence::FreshCaller { .. } => true,
        // A victim that is named is none of an arbitrage.
        Evidence::Profit { loser, .. } => loser.is_none(),
        Evidence::ValueLoss { .. }
        | Evidence::Reentry { .. }
        | Evidence::RateJump { .. }
        | Evidence::AllowanceDrain { .. }
        | Evidence::PriceManipulation { .. }
        | Evidence::Privilege { .. }
        | Evidence::Ordinary { .. }
        | Evidence::Unprecedented { .. }
        | Evidence::Sign(_)
        | Evidence::Rule { .. } => false,
    };
    shared && finding.score <= WEAK_MAX
}

/// A closed circle over markets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Circle {
    pattern: OrdinaryPattern,
    markets: u32,
}

impl Circle {
    fn of(protocol: &Protocol, execution: &Execution) -> Option<Self> {
        let side = SendersSide::of(protocol, execution);
        let flows = NetFlows::of(execution);
        let markets = Markets::traded_by(&side, execution, &flows)?;
        let liquidates = !markets.liquidated.is_empty();
        let is_closed = markets.is_closed(&side, execution, &flows);
        let pattern = if liquidates { OrdinaryPattern::Liquidation } else { OrdinaryPattern::Arbitrage };
        let count = u32::try_from(markets.traded.len()).unwrap_or(u32::MAX);
        is_closed.then_some(Self { pattern, markets: count })
    }
}

/// Markets that traded, by their own logs.
#[derive(Debug, Default)]
struct Markets {
    /// Contracts that swapped or liquidated.
    traded: AddressSet,
    /// Tokens that moved, and wrapped coins.
    tokens: AddressSet,
    /// Tokens that were given for as many coins, or taken for as many.
    wrapped: AddressSet,
    /// Accounts that paid anything.
    payers: AddressSet,
    /// Accounts that a liquidation names.
    liquidated: AddressSet,
}

impl Markets {
    /// The markets of a transaction in which the conditions 1 to 4 hold.
    fn traded_by(side: &SendersSide, execution: &Execution, flows: &NetFlows) -> Option<Self> {
        if !execution.detail.knows_logs() || execution.truncated {
            return None;
        }
        let markets = Self::of(execution)?;
        let calls_only_markets = execution.frames.iter().all(|frame| markets.is_ordinary_call(side, frame));
        let mut others = flows.accounts().filter(|account| !side.has(*account));
        let nobody_loses = others.all(|account| markets.is_whole(account, &flows.of_account(account)));
        (calls_only_markets && nobody_loses).then_some(markets)
    }

    /// `None` where no market traded, or one of them twice.
    fn of(execution: &Execution) -> Option<Self> {
        let mut markets = Self::default();
        let mut seen = BTreeSet::new();
        for log in &execution.logs {
            let Some(topic) = log.topics.first() else { continue };
            if let Some(is_shared) = WORDS.swaps.get(topic) {
                let market = is_shared.then(|| log.topics.get(1).copied().unwrap_or_default());
                if !seen.insert((log.address, market)) {
                    return None;
                }
                markets.traded.insert(log.address);
            } else if WORDS.liquidations.contains(topic) {
                markets.traded.insert(log.address);
                markets.liquidated.extend(named_by(log));
            }
        }
        // Whoever is liquidated is not asked. A contract that is called is no borrower, whatever somebody logs of it.
        let calls = execution.frames.iter().filter(|frame| frame.kind == FrameKind::Call && !frame.reverted);
        for frame in calls.filter(|frame| !frame.input.is_empty()) {
            markets.liquidated.remove(&frame.address);
        }
        markets.payers = execution.transfers.iter().map(|transfer| transfer.from).collect();
        let moved = execution.transfers.iter().filter_map(|transfer| match transfer.asset {
            Asset::Token(token) => Some(token),
            Asset::Native => None,
        });
        markets.wrapped = wrapped_moves(execution).map(|moved| moved.token).collect();
        markets.tokens = moved.chain(markets.wrapped.iter().copied()).collect();
        (!markets.traded.is_empty()).then_some(markets)
    }

    /// Condition 2, for one call.
    fn is_ordinary_call(&self, side: &SendersSide, frame: &Frame) -> bool {
        let is_strangers = !side.has(frame.caller) || side.has(frame.address);
        if is_strangers || frame.reverted || frame.precompile {
            return true;
        }
        match frame.kind {
            // What is looked at changes nothing, and foreign code on one's own storage is one's own.
            FrameKind::StaticCall | FrameKind::DelegateCall | FrameKind::CallCode => return true,
            FrameKind::Create | FrameKind::Create2 => return false,
            FrameKind::Call => {}
        }
        let Some(function) = frame.selector() else { return frame.input.is_empty() };
        let is_market = self.traded.contains(&frame.address);
        (is_market && WORDS.market_calls.contains(&function))
            || ((is_market || self.tokens.contains(&frame.address)) && WORDS.token_calls.contains(&function))
            || (self.payers.contains(&frame.address) && WORDS.loan_calls.contains(&function))
    }

    /// Condition 4, for one account that is not the sender's.
    fn is_whole(&self, account: Address, deltas: &[AssetDelta]) -> bool {
        let loses = deltas.iter().any(|delta| delta.delta_raw.is_negative());
        let gains = deltas.iter().any(|delta| delta.delta_raw.is_positive());
        let may_trade = self.traded.contains(&account) || self.wrapped.contains(&account);
        !loses || (gains && may_trade) || self.liquidated.contains(&account)
    }

    /// Condition 5. Unwrapped coins count as the token that they were.
    fn is_closed(&self, side: &SendersSide, execution: &Execution, flows: &NetFlows) -> bool {
        // Before coins are unwrapped in thought: a bank that pays out twice what it wrote off pays with nothing.
        let pays = |delta: &AssetDelta| delta.delta_raw.is_negative() && delta.asset != Asset::Native;
        if flows.of_side(side).iter().any(pays) {
            return false;
        }
        let margin = if self.liquidated.is_empty() { MARGIN_MAX } else { MARGIN_LIQUIDATION_MAX };
        let traded = self.turnover(side, execution);
        self.net(side, execution, flows).iter().all(|(asset, change)| {
            let through = traded.get(asset).copied().unwrap_or_default();
            let limit = through.saturating_mul(U256::from(margin.0)) / U256::from(10_000u32);
            // Coins that are paid are tips to whoever includes the transaction.
            if change.is_negative() { *asset == Asset::Native } else { change.unsigned_abs() <= limit }
        })
    }

    /// What the sender's side gained and lost, unwrapped coins counted as the token that they were.
    fn net(&self, side: &SendersSide, execution: &Execution, flows: &NetFlows) -> BTreeMap<Asset, I256> {
        let mut net: BTreeMap<Asset, I256> =
            flows.of_side(side).into_iter().map(|delta| (delta.asset, delta.delta_raw)).collect();
        for moved in wrapped_moves(execution).filter(|moved| side.has(moved.holder)) {
            let amount = I256::try_from(moved.amount_raw).unwrap_or(I256::MAX);
            let amount = if moved.is_withdrawal { amount } else { amount.saturating_neg() };
            for (asset, change) in
                [(Asset::Token(moved.token), amount), (Asset::Native, amount.saturating_neg())]
            {
                let sum = net.entry(asset).or_default();
                *sum = sum.saturating_add(change);
            }
        }
        net
    }

    /// What the sender's side gave to markets, per asset.
    fn turnover(&self, side: &SendersSide, execution: &Execution) -> BTreeMap<Asset, U256> {
        let mut turnover: BTreeMap<Asset, U256> = BTreeMap::new();
        let given = execution.transfers.iter().filter(|transfer| side.has(transfer.from));
        for transfer in given.filter(|transfer| self.traded.contains(&transfer.to)) {
            let sum = turnover.entry(transfer.asset).or_default();
            *sum = sum.saturating_add(transfer.amount_raw);
        }
        turnover
    }
}

/// Accounts that stand in a log, in its topics and its first eight words.
fn named_by(log: &Log) -> impl Iterator<Item = Address> {
    let words = log.data.chunks_exact(32).take(8).map(B256::from_slice);
    let account = |word: B256| word.starts_with(&[0; 12]).then(|| Address::from_word(word));
    log.topics.iter().skip(1).copied().chain(words).filter_map(account)
}

#[cfg(test)]
mod tests;
