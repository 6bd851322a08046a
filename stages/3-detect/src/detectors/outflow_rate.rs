//! Outflow rate: within an hour or a day more of an asset left the protocol than ever did, and a part of it that matters.
//!
//! In: movements of value, the balances left behind, and the windows of the protocol's past. Out: a finding per asset, and what the
//! windows count. Must never: know a limit that nobody learned or wrote. What is compared is net: what came in meanwhile is taken
//! off, so that deposits and withdrawals by turns are no outflow.
//!
//! | what left within the window | score |
//! |---|---|
//! | `times_min` times the most that ever did, and `share_min_bps` of what the protocol held of the asset when it began | 600 |
//! | the same, the balance not being known | 200 |
//!
//! What left within the last hour is compared with the most that ever left within an hour of the clock that is *over*, counting
//! ordinary transactions only. So a drain by many small transactions adds up, and does not raise the limit while it climbs.
//!
//! Source: outflow caps and circuit breakers (the draft ERC-7265 measures net flow within a period against what was held); over 27
//! exploits caps on tokens going out caught 17 at 0.4 % false alarms (Trace2Inv, FSE 2024), and Ronin, Harmony and Nomad are seen
//! by hardly anything else. Limits: a protocol that winds down, migrates, or lives from one large user looks the same; balances of coins are known
//! where Multicall3 stands; a drain slower than the windows is ordinary use.

use crate::detector::{Comparison, Detector, Statement};
use crate::detectors::ConfigError;
use crate::parties::Crossing;
use crate::valuation::{asset_key, holding};
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline, Measure};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::sign::{Outflow, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::tally::{Tallies, Tally};
use cordon_model::units::{Asset, Bps};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Opens an incident alone, as the default policy has it.
const ALARM: Score = Score(600);

/// Below what counts together with another detector: of one transaction the learned baseline says the same.
const UNSURE: Score = Score(200);

/// Windows that are over, and in which anything left, after which the most of them says something: the next one is the largest by chance
/// once in 31, and has to be the largest by far. A limit by the hour is known after about a day, one by the day after a month.
const TIMES_MIN: u64 = 30;

/// Most assets and contracts of which the balance is asked for one transaction. Batches move a handful.
const BALANCES_MAX: usize = 64;

/// Configuration of [`OutflowRate`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutflowRateConfig {
    /// Windows in seconds. An hour and a day: most drains are over within the first, and the second sees those that are not.
    pub windows_s: Vec<u64>,
    /// How many times the most that ever left. Twice: any hour may hold parts of two hours of the clock.
    pub times_min: u32,
    /// Least share of what was held when the window began. A tenth: chosen and not measured, so that a single large withdrawal from a
    /// quiet protocol, which twice the most that ever left may be, does not wake anybody.
    pub share_min_bps: Bps,
}

impl Default for OutflowRateConfig {
    fn default() -> Self {
        Self { windows_s: vec![3_600, 86_400], times_min: 2, share_min_bps: Bps(1_000) }
    }
}

impl OutflowRateConfig {
    /// # Errors
    /// No windows or such as are too long to be kept, no factor, or a share that nothing reaches.
    pub fn build(&self) -> Result<OutflowRate, ConfigError> {
        let wrong = |key, value, expected| Err(ConfigError { key, value, expected });
        let is_window = |window: &u64| (60..=604_800).contains(window);
        if self.windows_s.is_empty() || self.windows_s.len() > 8 || !self.windows_s.iter().all(is_window) {
            let value = format!("{:?}", self.windows_s);
            return wrong("outflow-rate.windows_s", value, "one to eight windows of 60 to 604800 seconds");
        }
        if self.times_min == 0 {
            return wrong("outflow-rate.times_min", "0".to_owned(), "at least 1");
        }
        if !(1..=10_000).contains(&self.share_min_bps.0) {
            let value = self.share_min_bps.0.to_string();
            return wrong("outflow-rate.share_min_bps", value, "basis points from 1 to 10000");
        }
        Ok(OutflowRate(self.clone()))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct OutflowRate(OutflowRateConfig);

impl Detector for OutflowRate {
    fn name(&self) -> &'static str {
        "outflow-rate"
    }

    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        Flows::of(protocol, execution).0.into_iter().flat_map(|(asset, flow)| flow.balances(asset)).collect()
    }

    /// Nothing: a single transaction has no rate.
    fn inspect(&self, _: &Protocol, _: &Execution) -> Vec<Finding> {
        Vec::new()
    }

    fn compares(&self) -> bool {
        true
    }

    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let mut comparison = Comparison::default();
        for (asset, flow) in Flows::of(protocol, execution).0 {
            comparison.tallies.extend(self.tallies(asset, &flow));
            let windows = self.0.windows_s.iter();
            let windows: Vec<Window> =
                windows.map(|window_s| Window::of(*window_s, asset, &flow, execution, baseline)).collect();
            let held = flow.held(asset, execution);
            let scored = windows.iter().filter_map(|window| Some((self.score(window, held)?, window)));
            // Of several windows the one that says most, the shortest of equals.
            let strongest = scored.rev().max_by_key(|(score, _)| *score);
            // An alarm is learned as it is, once people call it ordinary; ordinary use when its hour is over.
            let measures: Vec<Measure> = match strongest {
                Some((_, window)) => vec![window.measure(Aspect::OutflowRate, asset, window.amount_raw)],
                None => {
                    let over =
                        |window: &Window| window.over(asset, execution.timestamp_s, baseline.tallies());
                    windows.iter().filter_map(over).flatten().collect()
                }
            };
            comparison.firsts.extend(baseline.firsts(&measures));
            comparison.findings.extend(strongest.map(|(score, window)| {
                let evidence = Evidence::Sign(Sign::Outflow(window.evidence(asset)));
                let (class, contract) = (AttackClass::ValueExtraction, flow.from);
                Statement { class, contract, score, evidence }.by(self.name(), protocol, execution)
            }));
        }
        comparison
    }
}

impl OutflowRate {
    fn tallies(&self, asset: Asset, flow: &Flow) -> impl Iterator<Item = Tally> {
        let window_s = self.0.windows_s.iter().copied().max().unwrap_or_default();
        let ways = [(Way::Out, flow.out), (Way::In, flow.come_in)].into_iter();
        let counted = ways.filter(|(_, amount)| !amount.is_zero());
        counted.map(move |(way, amount)| Tally::of(way.key(asset), window_s, amount))
    }

    fn score(&self, window: &Window, held: Option<U256>) -> Option<Score> {
        let is_learned = window.times >= TIMES_MIN;
        let limit = window.most_raw.saturating_mul(U256::from(self.0.times_min));
        // What is held now was held at the beginning of the window, less what left since.
        let share = held.map(|now| {
            let before = now.saturating_add(window.amount_raw);
            let parts = window.amount_raw.saturating_mul(U256::from(10_000u32));
            parts >= before.saturating_mul(U256::from(self.0.share_min_bps.0))
        });
        if !is_learned || window.amount_raw <= limit {
            return None;
        }
        match share {
            Some(true) => Some(ALARM),
            None => Some(UNSURE),
            Some(false) => None,
        }
    }
}

/// Which way value went.
#[derive(Debug, Clone, Copy)]
enum Way {
    Out,
    In,
}

impl Way {
    /// The series of an asset.
    fn key(self, asset: Asset) -> B256 {
        let way: &[u8] = match self {
            Self::Out => b"outflow-rate/out",
            Self::In => b"outflow-rate/in",
        };
        keccak256([way, asset_key(asset).as_slice()].concat())
    }
}

/// What one transaction moved of one asset over the border of the protocol, net.
#[derive(Debug)]
struct Flow {
    out: U256,
    come_in: U256,
    /// Contract from which it left first.
    from: Address,
    /// Contracts that it left.
    left: Vec<Address>,
}

impl Flow {
    fn balances(&self, asset: Asset) -> Vec<ViewCall> {
        self.left.iter().map(|holder| holding(asset, *holder)).collect()
    }

    /// What the contracts that paid hold after the transaction; `None` where that is not known of all of them.
    fn held(&self, asset: Asset, execution: &Execution) -> Option<U256> {
        let calls = self.balances(asset);
        if calls.is_empty() {
            return None;
        }
        let after = |call: &ViewCall| Some(execution.view(call)?.words()?.1);
        calls.iter().try_fold(U256::ZERO, |sum, call| Some(sum.saturating_add(after(call)?)))
    }
}

/// Flows by asset. The protocol's own shares are left out: that they are issued and handed out is its business.
struct Flows(BTreeMap<Asset, Flow>);

impl Flows {
    fn of(protocol: &Protocol, execution: &Execution) -> Self {
        let mut flows: BTreeMap<Asset, Flow> = BTreeMap::new();
        let is_own = |asset: Asset| matches!(asset, Asset::Token(token) if protocol.protects(token));
        let mut asked = 0usize;
        for moved in execution.transfers.iter().filter(|moved| !is_own(moved.asset)) {
            let Some(crossing) = Crossing::of(protocol, moved) else { continue };
            let flow = flows.entry(moved.asset).or_insert_with(|| Flow {
                out: U256::ZERO,
                come_in: U256::ZERO,
                from: moved.to,
                left: Vec::new(),
            });
            if crossing == Crossing::In {
                flow.come_in = flow.come_in.saturating_add(moved.amount_raw);
                continue;
            }
            flow.out = flow.out.saturating_add(moved.amount_raw);
            if !flow.left.contains(&moved.from) && asked < BALANCES_MAX {
                asked = asked.saturating_add(1);
                flow.from = if flow.left.is_empty() { moved.from } else { flow.from };
                flow.left.push(moved.from);
            }
        }
        for flow in flows.values_mut() {
            let both = flow.out.min(flow.come_in);
            (flow.out, flow.come_in) = (flow.out.saturating_sub(both), flow.come_in.saturating_sub(both));
        }
        Self(flows)
    }
}

/// What left within one window.
#[derive(Debug)]
struct Window {
    window_s: u64,
    amount_raw: U256,
    most_raw: U256,
    /// How many such windows were seen.
    times: u64,
}

impl Window {
    fn of(window_s: u64, asset: Asset, flow: &Flow, execution: &Execution, baseline: &Baseline) -> Self {
        let from_s = execution.timestamp_s.saturating_sub(window_s);
        let sum =
            |way: Way, now: U256| sum_since(baseline.tallies(), way.key(asset), from_s).saturating_add(now);
        let out = if flow.out.is_zero() { U256::ZERO } else { sum(Way::Out, flow.out) };
        let amount_raw = out.saturating_sub(sum(Way::In, flow.come_in));
        let most = |aspect| baseline.most(aspect, Self::key(window_s, asset)).unwrap_or_default();
        let (most_raw, times) = (most(Aspect::OutflowRate), most(Aspect::OutflowTimes).saturating_to());
        Self { window_s, amount_raw, most_raw, times }
    }

    fn key(window_s: u64, asset: Asset) -> B256 {
        keccak256([&window_s.to_be_bytes()[..], asset_key(asset).as_slice()].concat())
    }

    fn measure(&self, aspect: Aspect, asset: Asset, value: U256) -> Measure {
        Measure { aspect, key: Self::key(self.window_s, asset), value }
    }

    /// What left in the last window of the clock in which anything did, if that is over; and that it is one more.
    fn over(&self, asset: Asset, now_s: u64, tallies: &Tallies) -> Option<[Measure; 2]> {
        let start =
            |at_s: u64| at_s.checked_div(self.window_s).map(|count| count.saturating_mul(self.window_s));
        let last = start(tallies.last_ordinary_s(Way::Out.key(asset))?)?;
        if start(now_s)? <= last {
            return None;
        }
        let sum = |way: Way| tallies.ordinary(way.key(asset), last, last.saturating_add(self.window_s));
        let left = sum(Way::Out).saturating_sub(sum(Way::In));
        let times = U256::from(self.times.saturating_add(1));
        Some([
            self.measure(Aspect::OutflowRate, asset, left),
            self.measure(Aspect::OutflowTimes, asset, times),
        ])
    }

    fn evidence(&self, asset: Asset) -> Outflow {
        let Self { window_s, amount_raw, most_raw, times } = *self;
        Outflow { asset, window_s, amount_raw, most_raw, times }
    }
}

/// From the second after `from_s` on, so that a window of an hour holds an hour.
fn sum_since(tallies: &Tallies, key: B256, from_s: u64) -> U256 {
    tallies.sum(key, from_s.saturating_add(1))
}

#[cfg(test)]
mod tests;
