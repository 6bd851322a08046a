//! The measuring itself: every mode on every block in every round.
//!
//! In: blocks made ready. Out: the time of each mode, block and round. Must never: let one mode always run first, since
//! whoever runs second finds warm caches.

use super::Watched;
use super::figures::{Decimal, count, median, spread as deciles};
use crate::error::EngineError;
use cordon_model::units::ChainId;
use cordon_replay::Prepared;

/// One round on one block: the thread's own time per mode, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    pub(super) bare_ns: u64,
    pub(super) watch_ns: u64,
    pub(super) filtered_ns: u64,
    pub(super) full_ns: u64,
}

/// A block with its rounds.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) chain_id: ChainId,
    pub(super) number: u64,
    pub(super) hardfork: String,
    pub(super) transactions: u64,
    pub(super) gas_used: u64,
    /// Transactions that the filtered replay delivered.
    pub(super) delivered: u64,
    pub(super) rounds: Vec<Round>,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Bare,
    Watch,
    Filtered,
    Full,
}

const MODES: [Mode; 4] = [Mode::Bare, Mode::Watch, Mode::Filtered, Mode::Full];

/// All modes on all blocks, `rounds` times after one round that is not counted.
pub(super) fn measure(
    blocks: &[Prepared],
    rounds: u32,
    watched: &Watched,
) -> Result<Vec<Measured>, EngineError> {
    let mut measured: Vec<Measured> = blocks.iter().map(Measured::new).collect();
    for round in 0..=rounds {
        for (index, (block, measured)) in blocks.iter().zip(&mut measured).enumerate() {
            let mut order = MODES;
            let turn = usize::try_from(round).unwrap_or(0).saturating_add(index) % MODES.len();
            order.rotate_left(turn);
            let mut lap = Round::default();
            for mode in order {
                match mode {
                    Mode::Bare => lap.bare_ns = block.bare()?.cpu_ns,
                    Mode::Watch => lap.watch_ns = block.watched(&watched.everything)?.0.cpu_ns,
                    Mode::Full => lap.full_ns = block.watched(&watched.full)?.0.cpu_ns,
                    Mode::Filtered => {
                        let (time, replay) = block.watched(&watched.filtered)?;
                        lap.filtered_ns = time.cpu_ns;
                        measured.delivered = count(replay.executions.len());
                    }
                }
            }
            if round > 0 {
                measured.rounds.push(lap);
            }
        }
    }
    Ok(measured)
}

impl Measured {
    fn new(prepared: &Prepared) -> Self {
        let block = prepared.block();
        Self {
            chain_id: block.chain_id,
            number: block.number,
            hardfork: block.witness.as_ref().map(|witness| witness.hardfork.clone()).unwrap_or_default(),
            transactions: count(block.transactions.len()),
            gas_used: block.gas_used,
            delivered: 0,
            rounds: Vec::new(),
        }
    }
}

/// Time of each round, summed over blocks.
fn sums<'a>(blocks: impl IntoIterator<Item = &'a Measured>, of: impl Fn(&Round) -> u64) -> Vec<u64> {
    let mut sums: Vec<u64> = Vec::new();
    for block in blocks {
        sums.resize(sums.len().max(block.rounds.len()), 0);
        for (sum, round) in sums.iter_mut().zip(&block.rounds) {
            *sum = sum.saturating_add(of(round));
        }
    }
    sums
}

/// Median over the rounds of a mode's time divided by the bare time of the same round.
pub(super) fn ratio<'a>(
    blocks: impl IntoIterator<Item = &'a Measured> + Clone,
    of: impl Fn(&Round) -> u64,
) -> Decimal {
    let (bare, ours) = (sums(blocks.clone(), |round| round.bare_ns), sums(blocks, of));
    median(ours.into_iter().zip(bare).map(|(ours, bare)| Decimal::ratio(ours, bare)).collect())
}

/// Median over the rounds of a mode's time.
pub(super) fn median_ns(blocks: &[&Measured], of: impl Fn(&Round) -> u64) -> u64 {
    median(sums(blocks.iter().copied(), of))
}

/// Spread of the bare EVM's rounds.
pub(super) fn spread(blocks: &[Measured]) -> Decimal {
    deciles(sums(blocks, |round| round.bare_ns))
}
