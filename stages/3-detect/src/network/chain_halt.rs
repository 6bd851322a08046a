//! Chain halt: no block for a long time.
//!
//! In: the newest block and the time. Out: a page when it is too old. Must never: speak where no node answered; a node
//! that is down says nothing about the chain.
//!
//! # Source and false alarms
//!
//! Two minutes on slots of 12 s, ten slots without a block; scaled as ten blocks, and never less than two minutes, since
//! the delay of nodes and the error of clocks do not shrink with the block time (a stalled sequencer has its own,
//! faster signal). With slots of which 1 % are missed the chance is 10^-20 per slot: never. Where block times are
//! exponential (proof of work) ten means would come 110 times a year at 13 s; twenty come e^-20 per block, once in
//! 200 years. A node that hangs at an old block while it answers looks the same: the alarm says what the node says.

use super::standing::Reading;
use super::{ChainTiming, Consensus};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;

/// `[network.chain-halt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainHaltConfig {
    /// Blocks that must be absent where they come regularly. Default 10.
    pub silent_blocks: u64,
    /// Blocks that must be absent where their times vary. Default 20.
    pub silent_blocks_irregular: u64,
    /// Shortest silence that counts, seconds. Default 120.
    pub silent_min_s: u64,
}

impl Default for ChainHaltConfig {
    fn default() -> Self {
        Self { silent_blocks: 10, silent_blocks_irregular: 20, silent_min_s: 120 }
    }
}

impl ChainHaltConfig {
    pub(super) fn build(&self, timing: ChainTiming) -> Result<ChainHalt, ConfigError> {
        let irregular = timing.consensus == Consensus::Irregular;
        let (key, blocks) = if irregular {
            ("network.chain-halt.silent_blocks_irregular", self.silent_blocks_irregular)
        } else {
            ("network.chain-halt.silent_blocks", self.silent_blocks)
        };
        super::within(key, blocks, 2..=100_000, "2 to 100000")?;
        Ok(ChainHalt { silent_s: timing.blocks_to_s(blocks).max(self.silent_min_s) })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct ChainHalt {
    silent_s: u64,
}

impl ChainHalt {
    pub(super) fn read(&self, seen: &Observation) -> Option<Reading> {
        let head = seen.head?;
        let silent_s = seen.at_s.saturating_sub(head.timestamp_s);
        let level = (silent_s >= self.silent_s).then_some(AlarmLevel::Page);
        Some(Reading::of(level, NetworkSignal::ChainHalt { newest: head.block, silent_s }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, ethereum, raised, sequencer, watch};
    use cordon_model::network::SignalKind;

    /// A look `age_s` after the newest block.
    fn old(age_s: u64) -> Observation {
        Observation { at_s: 1_000 + age_s, ..at(1_000, 7) }
    }

    #[test]
    fn two_minutes_without_a_block_are_a_halt() {
        assert_eq!(raised(&watch(&mut ethereum(), &[old(119)]), SignalKind::ChainHalt), []);
        let page = [AlarmLevel::Page];
        assert_eq!(raised(&watch(&mut ethereum(), &[old(120), old(121)]), SignalKind::ChainHalt), page);
        assert_eq!(raised(&watch(&mut sequencer(), &[old(120)]), SignalKind::ChainHalt), page);
    }

    #[test]
    fn irregular_chains_get_twenty_mean_block_times() {
        let timing =
            ChainTiming { block_time_ms: 13_000.try_into().unwrap(), consensus: Consensus::Irregular };
        assert_eq!(ChainHaltConfig::default().build(timing).unwrap().silent_s, 260);
    }

    #[test]
    fn a_silent_node_is_no_halt_and_a_clock_behind_the_chain_none_either() {
        let silent = Observation { at_s: 10_000, ..Observation::default() };
        assert_eq!(watch(&mut ethereum(), &[silent]), []);
        assert_eq!(watch(&mut ethereum(), &[Observation { at_s: 3, ..at(1_000, 7) }]), []);
    }

    #[test]
    fn blocks_end_it_once() {
        let mut looks = vec![old(200)];
        looks.extend((0..60).map(|i| at(1_300 + i * 12, 8 + i)));
        let changes = watch(&mut ethereum(), &looks);
        assert_eq!(raised(&changes, SignalKind::ChainHalt).len(), 1);
        assert_eq!(cleared(&changes, SignalKind::ChainHalt), 1);
    }
}
