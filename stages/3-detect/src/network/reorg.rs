//! Reorganisations: how deep, and how many.
//!
//! In: blocks that left the chain, in the order in which they were followed. Out: the deepest reorganisation of the
//! last ten minutes and their number. Must never: take two reorganisations of one block for one of two blocks, or one
//! that was followed in several looks for several.
//!
//! # Source and false alarms
//!
//! Depth 2 / 3 and more than five in ten minutes: the rule that Prysm's cluster alarms use for the count, and for the
//! depth our choice: on Ethereum a late block is replaced at depth 1 in ordinary operation, while depth 2 needs two
//! proposers in a row. A reorganisation is a fact and no estimate, so there is no false alarm in the sense of chance; what
//! a chain does in good times differs (Polygon once had reorganisations of 32 blocks daily), so the depth is configured
//! per chain. Blocks that a source follows and whose node alone was wrong count too.

use super::standing::{Reading, at_least};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;
use std::collections::VecDeque;

/// Most reorganisations that are remembered. More than the count that is an alarm by far; beyond it the number shown is
/// a lower bound.
const REORGS_MAX: usize = 256;

/// `[network.reorg]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReorgConfig {
    /// Depth of a warning, blocks. Default 2.
    pub warn_depth: u32,
    /// Depth of a page, blocks. Default 3.
    pub page_depth: u32,
    /// Reorganisations within the window that are still ordinary. Default 5, of Prysm's `delta(reorg_counter[10m]) > 5`.
    pub count_max: u32,
    /// Length of the window, seconds. Default 600, of the same rule.
    pub window_s: u64,
}

impl Default for ReorgConfig {
    fn default() -> Self {
        Self { warn_depth: 2, page_depth: 3, count_max: 5, window_s: 600 }
    }
}

impl ReorgConfig {
    pub(super) fn build(&self) -> Result<Reorg, ConfigError> {
        super::ascending(
            "network.reorg.warn_depth / page_depth",
            self.warn_depth.into(),
            self.page_depth.into(),
        )?;
        super::within("network.reorg.count_max", self.count_max.into(), 1..=255, "1 to 255")?;
        super::within("network.reorg.window_s", self.window_s, 60..=86_400, "60 to 86400")?;
        Ok(Reorg { config: self.clone(), run: None, reorgs: VecDeque::new() })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Reorg {
    config: ReorgConfig,
    /// Height of the block that left last, and the depth up to it. The block below can leave next only as part of the
    /// same reorganisation: any block that came in between would have to leave before.
    run: Option<(u64, u32)>,
    /// Time and depth of each reorganisation of the window; the newest is the run.
    reorgs: VecDeque<(u64, u32)>,
}

impl Reorg {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        if seen.head.is_none() && seen.reverted.is_empty() {
            return None;
        }
        for block in &seen.reverted {
            self.left(seen.at_s, block.number);
        }
        let oldest_s = seen.at_s.saturating_sub(self.config.window_s);
        self.reorgs.retain(|(at_s, _)| *at_s >= oldest_s);
        let depth = self.reorgs.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
        let count = u32::try_from(self.reorgs.len()).unwrap_or(u32::MAX);
        let many = (count > self.config.count_max).then_some(AlarmLevel::Warn);
        let level = at_least(depth, self.config.warn_depth, self.config.page_depth).max(many);
        Some(Reading::of(level, NetworkSignal::Reorg { depth, count, window_s: self.config.window_s }))
    }

    fn left(&mut self, at_s: u64, number: u64) {
        let continued = self.run.filter(|(last, _)| number.checked_add(1) == Some(*last));
        let depth = continued.map_or(1, |(_, depth)| depth.saturating_add(1));
        if continued.is_some() {
            self.reorgs.pop_back();
        } else if self.reorgs.len() >= REORGS_MAX {
            self.reorgs.pop_front();
        }
        self.reorgs.push_back((at_s, depth));
        self.run = Some((number, depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, block, ethereum, raised, watch};
    use cordon_model::network::SignalKind;

    fn reverted(at_s: u64, numbers: &[u64]) -> Observation {
        Observation { reverted: numbers.iter().map(|number| block(*number)).collect(), ..at(at_s, 100) }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::Reorg)
    }

    #[test]
    fn depth_decides_the_level() {
        assert_eq!(levels(&[reverted(0, &[9])]), []);
        assert_eq!(levels(&[reverted(0, &[9, 8])]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[reverted(0, &[9, 8, 7])]), [AlarmLevel::Page]);
    }

    #[test]
    fn a_reorganisation_that_takes_several_looks_is_one() {
        let looks = [reverted(0, &[9]), reverted(1, &[8]), reverted(2, &[7])];
        assert_eq!(levels(&looks), [AlarmLevel::Warn, AlarmLevel::Page]);
    }

    #[test]
    fn two_siblings_in_turn_are_two_reorganisations_of_one_block() {
        assert_eq!(levels(&[reverted(0, &[9, 9, 9])]), []);
        assert_eq!(levels(&[reverted(0, &[9, 9, 8])]), [AlarmLevel::Warn], "the last two belong together");
    }

    #[test]
    fn the_sixth_in_ten_minutes_is_a_warning() {
        let every = |gap_s: u64| (0..6).map(|i| reverted(i * gap_s, &[50 + 2 * i])).collect::<Vec<_>>();
        assert_eq!(levels(&every(120)), [AlarmLevel::Warn]);
        assert_eq!(levels(&every(121)), [], "five gaps of 121 s are more than ten minutes");
    }

    #[test]
    fn it_is_over_when_the_window_and_the_calm_have_passed() {
        let mut looks = vec![reverted(0, &[9, 8, 7])];
        looks.extend((1..=100).map(|i| at(i * 12, 100 + i)));
        let changes = watch(&mut ethereum(), &looks);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(changes[1].0, 912, "600 s of window, 300 s of calm, and the next look");
    }

    #[test]
    fn memory_is_bounded() {
        let mut reorg = ReorgConfig::default().build().unwrap();
        (0..10_000).for_each(|i| reorg.left(0, 2 * i));
        assert_eq!(reorg.reorgs.len(), REORGS_MAX);
    }
}
