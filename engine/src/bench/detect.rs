//! `cordon bench detect`: what judging costs, beside bare revm on the same blocks in the same run.
//!
//! In: a block file or a folder of them, a number of rounds. Out: a [`DetectReport`]. Each setting executes every block
//! as `cordon watch` does, with the readings that its detectors want, and judges every transaction that concerns it; all
//! of it is timed by the thread's own clock, in changing order within each round. Must never: time a judgement of
//! another execution than the one that was just made.

use super::figures::{self, Decimal, SPREAD_MAX, median};
use super::judging::{Live, Setting, settings};
use super::{MEGA, MODERN_MAINNET, check, load};
use crate::error::EngineError;
use crate::trials::views;
use cordon_model::block::Block;
use cordon_model::execution::Execution;
use cordon_model::units::ChainId;
use cordon_replay::{Interest, Lap, Prepared, Watch, no_views, replay_witness};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// The whole measurement. Every ratio is CPU time over that of bare revm in the same round, median over the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct DetectReport {
    /// Blocks measured: those of modern mainnet where the archive has some, otherwise all.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Bare revm, million gas per second of one thread.
    pub bare_mgas_per_s: u64,
    /// Every setting.
    pub settings: Vec<SettingReport>,
    /// Time of the whole detector set on one transaction, without executing it.
    pub latency: Latency,
    /// Rounds.
    pub rounds: u32,
    /// Ninth decile of the bare rounds over the first.
    pub bare_spread: Decimal,
    /// False where that spread says that something else was running: then no ratio should be judged.
    pub is_quiet: bool,
    /// Load of the machine over the last minute.
    pub load_average: Option<Decimal>,
}

/// One setting's cost.
#[derive(Debug, Clone, Serialize)]
pub struct SettingReport {
    /// What is measured.
    pub name: String,
    /// User rules.
    pub rules: u64,
    /// Protected contracts.
    pub contracts: u64,
    /// Transactions judged.
    pub judged: u64,
    /// Executing and judging over bare revm.
    pub ratio: Decimal,
    /// The block of the highest ratio; blocks of less than half a millisecond are left out.
    pub worst_block_ratio: Decimal,
    /// Its number.
    pub worst_block: u64,
    /// Judging alone, in nanoseconds per judged transaction.
    pub judging_ns_per_transaction: u64,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Judgements timed.
    pub samples: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One setting's times: per round and block, executing with judging, and judging alone.
#[derive(Debug, Default)]
struct Times {
    whole_ns: Vec<Vec<u64>>,
    judging_ns: u64,
    judged: u64,
    each_ns: Vec<u64>,
}

/// Measures every block under `path`.
///
/// # Errors
/// As [`super::replay`].
pub fn detect(path: &Path, rounds: u32) -> Result<DetectReport, EngineError> {
    cordon_replay::warm_up();
    let (_, right) = check(&load(path)?)?;
    let modern = |block: &&Arc<Block>| block.chain_id == ChainId(1) && block.number >= MODERN_MAINNET;
    let chosen: Vec<Arc<Block>> = right.iter().filter(modern).cloned().collect();
    let blocks = if chosen.is_empty() { right } else { chosen };
    let mut executions: Vec<Execution> = Vec::new();
    for block in &blocks {
        executions.extend(replay_witness(block, &Watch::everything(no_views()))?.executions);
    }
    let chains = blocks.iter().map(|block| block.chain_id).collect();
    let mut settings = settings(&Live::of(executions.iter()), &chains)?;
    settings.iter_mut().for_each(|setting| setting.learn(executions.iter()));
    drop(executions);
    let gas: u64 = blocks.iter().map(|block| block.gas_used).sum();
    let transactions = blocks.iter().map(|block| figures::count(block.transactions.len())).sum();
    let prepared: Vec<Prepared> = blocks.into_iter().map(Prepared::new).collect::<Result<_, _>>()?;
    let rounds = rounds.max(1);
    let (bare, times) = measure(&prepared, rounds, &settings)?;
    let sums: Vec<u64> = bare.iter().map(|round| round.iter().sum()).collect();
    let bare_spread = figures::spread(sums.clone());
    let latency = times
        .iter()
        .zip(&settings)
        .find(|(_, setting)| setting.name == "every detector and rules")
        .map(|(times, _)| Latency::of(times.each_ns.clone()));
    Ok(DetectReport {
        blocks: figures::count(prepared.len()),
        transactions,
        bare_mgas_per_s: figures::per_s(gas, median(sums)) / MEGA,
        settings: settings
            .iter()
            .zip(&times)
            .map(|(setting, times)| report(setting, times, &bare, &prepared))
            .collect(),
        latency: latency.unwrap_or_default(),
        rounds,
        bare_spread,
        is_quiet: bare_spread <= SPREAD_MAX,
        load_average: figures::load_average(),
    })
}

/// Bare time per round and block, and every setting's times.
fn measure(
    blocks: &[Prepared],
    rounds: u32,
    settings: &[Setting],
) -> Result<(Vec<Vec<u64>>, Vec<Times>), EngineError> {
    let watches: Vec<Watch> = settings.iter().map(watch).collect();
    let mut times: Vec<Times> = settings.iter().map(|_| Times::default()).collect();
    let mut bare = Vec::new();
    for round in 0..=rounds {
        // The first round warms caches and is not counted.
        let counts = round > 0;
        let mut bare_ns = Vec::new();
        times.iter_mut().filter(|_| counts).for_each(|times| times.whole_ns.push(Vec::new()));
        for (index, block) in blocks.iter().enumerate() {
            bare_ns.push(block.bare()?.cpu_ns);
            let turn = usize::try_from(round).unwrap_or(0).saturating_add(index);
            let mut order: Vec<_> = settings.iter().zip(&watches).zip(&mut times).collect();
            let turn = turn.checked_rem(order.len()).unwrap_or(0);
            order.rotate_left(turn);
            for ((setting, watch), times) in order {
                let (executing, replay) = block.watched(watch)?;
                let laps = judge(setting, &replay.executions);
                if let Some(round) = times.whole_ns.last_mut().filter(|_| counts) {
                    let judging: u64 = laps.iter().sum();
                    round.push(executing.cpu_ns.saturating_add(judging));
                    times.judging_ns = times.judging_ns.saturating_add(judging);
                    times.judged = times.judged.saturating_add(figures::count(laps.len()));
                    times.each_ns.extend(laps);
                }
            }
        }
        if counts {
            bare.push(bare_ns);
        }
    }
    Ok((bare, times))
}

/// As the engine does: only what concerns a protocol is judged.
fn judge(setting: &Setting, executions: &[Execution]) -> Vec<u64> {
    let mut laps = Vec::new();
    for execution in executions {
        let (lap, is_judged) = Lap::of(|| setting.judge(execution));
        if is_judged {
            laps.push(lap.cpu_ns);
        }
    }
    laps
}

fn watch(setting: &Setting) -> Watch {
    let interest = Interest::Touching(setting.watched());
    Watch { interest, ..Watch::everything(views(&setting.detectors)) }
}

/// Blocks that take bare revm less than this are too short for a ratio of their own.
const WORST_BLOCK_MIN_NS: u64 = 500_000;

fn report(setting: &Setting, times: &Times, bare: &[Vec<u64>], prepared: &[Prepared]) -> SettingReport {
    let whole = times.whole_ns.iter().zip(bare);
    let ratios = whole.map(|(ours, bare)| Decimal::ratio(ours.iter().sum(), bare.iter().sum()));
    let of_block = |index: usize, rounds: &[Vec<u64>]| -> u64 {
        median(rounds.iter().filter_map(|round| round.get(index).copied()).collect())
    };
    let worst = prepared.iter().enumerate().filter_map(|(index, block)| {
        let bare_ns = of_block(index, bare);
        let ratio = || Decimal::ratio(of_block(index, &times.whole_ns), bare_ns);
        (bare_ns >= WORST_BLOCK_MIN_NS).then(|| (ratio(), block.block().number))
    });
    let (worst_block_ratio, worst_block) = worst.max().unwrap_or_default();
    let rounds = figures::count(bare.len()).max(1);
    SettingReport {
        name: setting.name.clone(),
        rules: figures::count(setting.rules),
        contracts: figures::count(setting.contracts),
        judged: times.judged / rounds,
        ratio: median(ratios.collect()),
        worst_block_ratio,
        worst_block,
        judging_ns_per_transaction: times.judging_ns.checked_div(times.judged).unwrap_or(0),
    }
}

impl Latency {
    fn of(mut times_ns: Vec<u64>) -> Self {
        times_ns.sort_unstable();
        let last = times_ns.len().saturating_sub(1);
        let at = |hundredths: usize| {
            times_ns.get(last.saturating_mul(hundredths).div_ceil(100)).copied().unwrap_or(0)
        };
        Self { samples: figures::count(times_ns.len()), p50_ns: at(50), p99_ns: at(99), max_ns: at(100) }
    }
}

impl DetectReport {
    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<28} {:>6} {:>9} {:>7} {:>7} {:>12} {:>9} {:>14}",
            "", "rules", "contracts", "judged", "ratio", "worst block", "which", "judging ns/tx"
        )];
        lines.extend(self.settings.iter().map(|setting| {
            format!(
                "{:<28} {:>6} {:>9} {:>7} {:>7} {:>12} {:>9} {:>14}",
                setting.name,
                setting.rules,
                setting.contracts,
                setting.judged,
                setting.ratio,
                setting.worst_block_ratio,
                setting.worst_block,
                setting.judging_ns_per_transaction
            )
        }));
        let Latency { samples, p50_ns, p99_ns, max_ns } = self.latency;
        lines.push(format!(
            "every detector and rules, per transaction: p50 {p50_ns} ns, p99 {p99_ns} ns, at most {max_ns} ns ({samples} judgements)"
        ));
        let load = self.load_average.map_or_else(|| "unknown".to_owned(), |load| load.to_string());
        let verdict = if self.is_quiet { "usable" } else { "UNUSABLE, the machine was too busy" };
        lines.push(format!(
            "{} blocks, {} transactions, bare {} Mgas/s; {} rounds, spread of bare {} (at most {SPREAD_MAX}: {verdict}), load {load}",
            self.blocks, self.transactions, self.bare_mgas_per_s, self.rounds, self.bare_spread
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_read_off_the_sorted_times() {
        let latency = Latency::of((1..=1_000).rev().collect());
        assert_eq!(
            (latency.samples, latency.p50_ns, latency.p99_ns, latency.max_ns),
            (1_000, 501, 991, 1_000)
        );
        assert_eq!(Latency::of(Vec::new()).max_ns, 0);
    }
}
