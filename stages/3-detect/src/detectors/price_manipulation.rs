//! Price manipulation: a market is traded forth and back in one transaction, and somebody asks for its price in between.
//!
//! In: transfers and calls. Out: one finding for the contract that was used at the moved price. Must never: take a trade
//! for a manipulation. Whoever trades in one direction, or on two markets, moves prices as everybody does.
//!
//! The sender's side gives a market one asset for another, and later in the same transaction the other way round. By
//! itself that only costs fees. In between it calls a protected contract that is neither the market nor one of the two
//! assets, and does not trade there for it, as a router would: that counts half. Where somebody who is not the sender looks
//! at the market while that contract works, or at how much of the two assets the market holds, the contract went by a price
//! that the sender made and unmade around it: that opens an incident alone.
//!
//! Source: the price manipulation pattern of DeFiRanger (TDSC 2023), with the look at the market in the place of price
//! models; 9 of 93 archived attacks against 0 of 6,041 ordinary calls, 2 of them with a look. Limits: a price that is read
//! from a third contract which the market informs is not a look; manipulations that are not undone in the same transaction;
//! markets whose coins lie elsewhere (the vaults of Balancer and Uniswap V4 are one market to this detector). What the
//! sender looks at himself does not count, nor do trades that moved nothing.

use crate::detector::{Detector, Statement, enters_from_outside};
use crate::parties::SendersSide;
use alloy_primitives::{Address, Selector};
use cordon_model::execution::{Execution, Frame, FrameKind};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Half of what opens an incident: whoever unwinds a position may do so over the market where he built it.
const SCORE: Score = Score(300);

/// Opens an incident alone: the contract went by a price that the sender made and unmade around it.
const SCORE_LOOKED: Score = Score(600);

/// Assets of one market that are looked at: markets of eight assets exist, and pairs of them are compared.
const ASSETS_MAX: usize = 8;

/// Markets that were traded forth and back and are looked at, each costing a pass over the calls. Attacks move one to
/// three.
const MARKETS_MAX: usize = 16;

/// `balanceOf(address)` of ERC-20.
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];

/// Configuration of [`PriceManipulation`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceManipulationConfig {}

impl PriceManipulationConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> PriceManipulation {
        PriceManipulation {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct PriceManipulation {}

impl Detector for PriceManipulation {
    fn name(&self) -> &'static str {
        "price-manipulation"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let trips = trips(&side, execution);
        let uses = trips.iter().filter_map(|trip| Some((trip, trip.used(protocol, &side, execution)?)));
        let best = uses.reduce(|best, next| if next.1.looked && !best.1.looked { next } else { best });
        let Some((trip, Use { contract, function, looked, .. })) = best else { return Vec::new() };
        vec![
            Statement {
                class: AttackClass::PriceManipulation,
                contract,
                score: if looked { SCORE_LOOKED } else { SCORE },
                evidence: Evidence::PriceManipulation {
                    market: trip.market,
                    given: trip.given,
                    taken: trip.taken,
                    contract,
                    function,
                    looked,
                },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

/// When an asset first and last moved between the sender's side and a market, each way.
#[derive(Debug, Clone, Copy, Default)]
struct Moves {
    given: Option<(u32, u32)>,
    taken: Option<(u32, u32)>,
}

/// A call of a protected contract between the two trades.
#[derive(Debug, Clone, Copy)]
struct Use {
    contract: Address,
    function: Option<Selector>,
    looked: bool,
    traded: bool,
}

/// A market that was traded one way and then the other.
#[derive(Debug, Clone, Copy)]
struct RoundTrip {
    market: Address,
    /// Asset that was given first.
    given: Asset,
    /// Asset that was taken first, and given back.
    taken: Asset,
    /// After the first trade forth, before the last one back.
    between: (u32, u32),
}

fn trips(side: &SendersSide, execution: &Execution) -> Vec<RoundTrip> {
    let mut markets: BTreeMap<Address, BTreeMap<Asset, Moves>> = BTreeMap::new();
    for transfer in execution.transfers.iter().filter(|transfer| !transfer.amount_raw.is_zero()) {
        let (from_own, to_own) = (side.has(transfer.from), side.has(transfer.to));
        let market = if from_own { transfer.to } else { transfer.from };
        if from_own == to_own || market.is_zero() {
            continue;
        }
        let moves = markets.entry(market).or_default().entry(transfer.asset).or_default();
        let way = if from_own { &mut moves.given } else { &mut moves.taken };
        *way = Some((way.map_or(transfer.seq, |(first, _)| first), transfer.seq));
    }
    let trips = markets.iter().filter_map(|(market, assets)| round_trip(*market, assets));
    trips.take(MARKETS_MAX).collect()
}

/// The first pair of assets that went forth and back.
fn round_trip(market: Address, assets: &BTreeMap<Asset, Moves>) -> Option<RoundTrip> {
    let both = || assets.iter().filter_map(|(asset, moves)| Some((*asset, moves.given?, moves.taken?)));
    both().take(ASSETS_MAX).find_map(|(given, gave, took_back)| {
        both().take(ASSETS_MAX).find_map(|(taken, gave_back, took)| {
            let between = (gave.0.max(took.0), gave_back.1.min(took_back.1));
            (given != taken && between.0 < between.1).then_some(RoundTrip { market, given, taken, between })
        })
    })
}

impl RoundTrip {
    /// The protected contract that was called in between: the first that looked at the market, else the first.
    fn used(&self, protocol: &Protocol, side: &SendersSide, execution: &Execution) -> Option<Use> {
        let mut uses: Vec<(u32, Use)> = Vec::new();
        for frame in execution.frames.iter().filter(|frame| !frame.reverted) {
            let open = uses.last_mut().filter(|(exit_seq, _)| frame.enter_seq < *exit_seq);
            if let Some((_, within)) = open {
                let is_strangers = !side.has(frame.caller);
                within.looked |= is_strangers && self.is_look(frame);
                within.traded |=
                    is_strangers && frame.kind == FrameKind::Call && frame.address == self.market;
            } else if self.is_use(frame) && side.has(frame.caller) && enters_from_outside(protocol, frame) {
                let (contract, function) = (frame.address, frame.selector());
                uses.push((frame.exit_seq, Use { contract, function, looked: false, traded: false }));
            }
        }
        // Whoever trades at the market for the sender is a router.
        let others = || uses.iter().map(|(_, one)| *one).filter(|one| !one.traded);
        others().find(|one| one.looked).or_else(|| others().next())
    }

    fn is_use(&self, frame: &Frame) -> bool {
        frame.kind == FrameKind::Call
            && (self.between.0 < frame.enter_seq && frame.exit_seq < self.between.1)
            && frame.address != self.market
            && !self.is_asset(frame.address)
    }

    fn is_asset(&self, address: Address) -> bool {
        [self.given, self.taken].contains(&Asset::Token(address))
    }

    /// A question to the market, or to one of the tokens about what the market holds.
    fn is_look(&self, frame: &Frame) -> bool {
        let asks_market = frame.address == self.market && frame.kind == FrameKind::StaticCall;
        let of_market = || frame.input.get(16..36) == Some(self.market.as_slice());
        let asks_token =
            || frame.selector().is_some_and(|s| s.0 == BALANCE_OF) && self.is_asset(frame.address);
        asks_market || (asks_token() && of_market())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn judged(script: Script) -> Vec<Finding> {
        PriceManipulationConfig::default().build().inspect(&World::protocol(), &script.finish(&[]))
    }

    /// Dollars for coins at Bob's market, `inside`, and back at `market`.
    fn trip(market: Address, inside: impl FnOnce(&mut Script)) -> Script {
        let mut script = World::new().script();
        script.transfer(USD, CONTROLLER, BOB, wad(100));
        script.transfer(COIN, BOB, CONTROLLER, wad(7));
        inside(&mut script);
        script.transfer(COIN, CONTROLLER, market, wad(7));
        script.transfer(USD, market, CONTROLLER, wad(99));
        script
    }

    fn look(script: &mut Script) {
        script.frame(FrameKind::StaticCall, BOB, selector(5).as_slice(), |_| {});
    }

    #[test]
    fn a_contract_that_looks_at_a_price_made_for_it_opens_an_incident() {
        let findings = judged(trip(BOB, |script| script.call(LENDING_VAULT, 1, look)));
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        let expected = Evidence::PriceManipulation {
            market: BOB,
            given: USD,
            taken: COIN,
            contract: LENDING_VAULT,
            function: Some(selector(1)),
            looked: true,
        };
        assert_eq!((finding.score, finding.class), (SCORE_LOOKED, AttackClass::PriceManipulation));
        assert_eq!((&finding.evidence, finding.contract), (&expected, LENDING_VAULT));
    }

    #[test]
    fn what_the_market_holds_says_its_price() {
        let balance = |holder| {
            let input = [&BALANCE_OF[..], &argument(holder)].concat();
            let ask = move |script: &mut Script| {
                script.frame(FrameKind::StaticCall, COIN_TOKEN, &input, |_| {});
            };
            judged(trip(BOB, |script| script.call(LENDING_VAULT, 1, ask)))[0].score
        };
        assert_eq!((balance(BOB), balance(ALICE)), (SCORE_LOOKED, SCORE));
    }

    #[test]
    fn use_in_between_without_a_look_counts_half() {
        let findings = judged(trip(BOB, |script| script.call(LENDING_VAULT, 1, |_| {})));
        assert_eq!(findings.iter().map(|finding| finding.score).collect::<Vec<_>>(), [SCORE]);
        let own = trip(BOB, |script| {
            look(script);
            script.call(LENDING_VAULT, 1, |_| {});
        });
        assert_eq!(judged(own)[0].score, SCORE, "what the sender looks at himself");
    }

    /// The benign twins: trades in one direction, on two markets, or with the protocol before or after them.
    #[test]
    fn trades_that_do_not_close_around_the_protocol_are_none() {
        let used = |script: &mut Script| script.call(LENDING_VAULT, 1, look);
        assert_eq!(judged(trip(CHILD, used)), [], "an arbitrage over two markets");
        assert_eq!(judged(trip(BOB, |_| {})), []);
        let mut after = trip(BOB, |_| {});
        used(&mut after);
        assert_eq!(judged(after), []);
        let router = |script: &mut Script| {
            script.call(LENDING_VAULT, 1, |script| {
                look(script);
                script.call(BOB, 2, |_| {});
            });
        };
        assert_eq!(judged(trip(BOB, router)), [], "a router that trades there for the sender");
        let undone = trip(BOB, |script| script.reverted(LENDING_VAULT, 1, look));
        assert_eq!(judged(undone), []);
    }

    /// Hostile input: a second look or a router's call does not hide the use, and many assets cost little.
    #[test]
    fn a_use_is_not_hidden_by_what_stands_beside_it() {
        let beside = trip(BOB, |script| {
            script.call(COLLATERAL_VAULT, 1, |script| script.call(BOB, 2, |_| {}));
            script.call(COLLATERAL_VAULT, 1, |_| {});
            script.call(LENDING_VAULT, 1, look);
        });
        assert_eq!(judged(beside)[0].contract, LENDING_VAULT);
        let many = trip(BOB, |script| {
            for number in 0..500u64 {
                let token = Address::from_word(U256::from(number + 1).into());
                script.transfer(Asset::Token(token), CONTROLLER, BOB, wad(1));
            }
            script.call(LENDING_VAULT, 1, look);
        });
        assert_eq!(judged(many).len(), 1);
    }

    use alloy_primitives::U256;
}
