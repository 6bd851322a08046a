//! Finality delay: how far the finalised block lies behind.
//!
//! In: epochs of the beacon API, or where there is none the finalised block of the node. Out: a warning or a page.
//! Must never: compare a chain whose finality takes twenty minutes by design with Ethereum's two epochs.
//!
//! # Source and false alarms
//!
//! In good times the finalised epoch lies two epochs back. Three mean that one epoch was not justified in time, four
//! that two were not; beyond four (`MIN_EPOCHS_TO_INACTIVITY_PENALTY`) the chain leaks stake. Prysm alarms at more than
//! ten. It takes a third of all stake to be absent at once, so chance alone does not get there; the rate is that of
//! real troubles of clients. Without a beacon API the distance in blocks tells the same: 64 to 95 blocks are two
//! epochs, and missed slots make it smaller, never larger, so this reading is later by up to a few slots per epoch and
//! never early. On chains without such epochs the usual distance differs from chain to chain and is learnt: twice its
//! median of six hours and a minute of blocks more is a warning, four times and five minutes more a page. That is our
//! choice; its false-alarm rate depends on how regularly the chain posts and is not known. While the distance is too
//! long it is not learnt from, or a long outage would become the usual.

use super::standing::{Reading, above, at_least};
use super::window::Window;
use super::{ChainTiming, Consensus};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;

/// Blocks of the unit in which the distance is told where there are no epochs: Ethereum's epoch.
const UNIT_BLOCKS: u64 = 32;

/// What must come on top of the learnt multiple, seconds of blocks: a minute, as for a sequencer that stalls.
const WARN_EXTRA_S: u64 = 60;

/// The same for a page: five minutes, in which somebody could act.
const PAGE_EXTRA_S: u64 = 300;

/// `[network.finality-delay]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinalityConfig {
    /// Epochs behind of a warning, where the chain has slots. Default 3.
    pub warn_epochs: u64,
    /// Epochs behind of a page. Default 4.
    pub page_epochs: u64,
    /// Slots of an epoch. Default 32, Ethereum's; Gnosis has 16.
    pub epoch_slots: u64,
    /// Multiple of the usual distance that is a warning, where the chain has no slots. Default 2.
    pub warn_multiple: u64,
    /// Multiple that is a page. Default 4.
    pub page_multiple: u64,
    /// Time over which the usual distance is learnt, seconds. Default 21600, six hours.
    pub window_s: u64,
}

impl Default for FinalityConfig {
    fn default() -> Self {
        Self {
            warn_epochs: 3,
            page_epochs: 4,
            epoch_slots: 32,
            warn_multiple: 2,
            page_multiple: 4,
            window_s: 21_600,
        }
    }
}

impl FinalityConfig {
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Finality, ConfigError> {
        super::ascending(
            "network.finality-delay.warn_epochs / page_epochs",
            self.warn_epochs,
            self.page_epochs,
        )?;
        super::ascending(
            "network.finality-delay.warn_multiple / page_multiple",
            self.warn_multiple,
            self.page_multiple,
        )?;
        super::within("network.finality-delay.epoch_slots", self.epoch_slots, 1..=8_192, "1 to 8192")?;
        super::within("network.finality-delay.window_s", self.window_s, 600..=86_400, "600 to 86400")?;
        let usual = Window::new(self.window_s);
        Ok(Finality { config: self.clone(), timing, usual })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Finality {
    config: FinalityConfig,
    timing: ChainTiming,
    /// Distances in blocks in good times.
    usual: Window,
}

impl Finality {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let (epochs, level) =
            match (self.timing.consensus, seen.beacon.as_ref().and_then(|sight| sight.finality)) {
                (_, Some(finality)) => self.slots(finality.current.saturating_sub(finality.finalized)),
                (Consensus::Slots, None) => {
                    // The finalised block is the first one of its epoch: at 96 blocks the next epoch has just begun.
                    self.slots(distance(seen)?.saturating_sub(1) / self.config.epoch_slots)
                }
                (Consensus::Sequencer | Consensus::Irregular, None) => {
                    self.learnt(seen.at_s, distance(seen)?)?
                }
            };
        Some(Reading::of(level, NetworkSignal::FinalityDelay { epochs, finalized: seen.finalized }))
    }

    fn slots(&self, epochs: u64) -> (u64, Option<AlarmLevel>) {
        (epochs, at_least(epochs, self.config.warn_epochs, self.config.page_epochs))
    }

    /// Judges against the usual distance; nothing before it is known.
    fn learnt(&mut self, at_s: u64, distance: u64) -> Option<(u64, Option<AlarmLevel>)> {
        let Some(usual) = self.usual.median() else {
            self.usual.push(at_s, distance);
            return None;
        };
        let limit = |multiple: u64, extra_s| {
            usual.saturating_mul(multiple).max(usual.saturating_add(self.timing.s_to_blocks(extra_s)))
        };
        let (warn, page) = (self.config.warn_multiple, self.config.page_multiple);
        let level = above(distance, limit(warn, WARN_EXTRA_S), limit(page, PAGE_EXTRA_S));
        if level.is_none() {
            self.usual.push(at_s, distance);
        }
        Some((distance / UNIT_BLOCKS, level))
    }
}

fn distance(seen: &Observation) -> Option<u64> {
    Some(seen.head?.block.number.saturating_sub(seen.finalized?.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, block, cleared, ethereum, raised, sequencer, watch};
    use cordon_model::network::SignalKind;
    use cordon_model::network::observation::{BeaconSight, FinalityEpochs};

    fn beacon(at_s: u64, current: u64, finalized: u64) -> Observation {
        let finality = Some(FinalityEpochs { current, finalized });
        Observation { beacon: Some(BeaconSight { finality, slots: Vec::new() }), ..at(at_s, 1_000) }
    }

    fn node(at_s: u64, head: u64, finalized: u64) -> Observation {
        Observation { finalized: Some(block(finalized)), ..at(at_s, head) }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::FinalityDelay)
    }

    #[test]
    fn epochs_behind_decide_the_level() {
        assert_eq!(levels(&[beacon(0, 10, 8)]), []);
        assert_eq!(levels(&[beacon(0, 10, 7), beacon(1, 10, 6)]), [AlarmLevel::Warn, AlarmLevel::Page]);
    }

    #[test]
    fn without_a_beacon_the_blocks_between_tell() {
        let good: Vec<_> = (64..=96).map(|distance| node(distance * 12, 1_000 + distance, 1_000)).collect();
        assert_eq!(levels(&good), [], "two epochs, and the first block of the next one");
        assert_eq!(levels(&[node(0, 1_097, 1_000)]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[node(0, 1_129, 1_000)]), [AlarmLevel::Page]);
    }

    #[test]
    fn nothing_is_said_where_neither_is_known() {
        assert_eq!(levels(&[at(0, 1_000)]), []);
        let no_head = Observation { finalized: Some(block(1)), ..Observation::default() };
        assert_eq!(levels(&[no_head]), []);
        // An absent answer is no recovery.
        let mut monitors = ethereum();
        watch(&mut monitors, &[beacon(0, 10, 5)]);
        let absent: Vec<_> = (1..100).map(|i| at(i * 12, 1_000 + i)).collect();
        assert_eq!(cleared(&watch(&mut monitors, &absent), SignalKind::FinalityDelay), 0);
    }

    #[test]
    fn recovery_clears_once() {
        let mut looks = vec![beacon(0, 10, 6)];
        looks.extend((1..=60).map(|i| beacon(i * 12, 12, 10)));
        let changes = watch(&mut ethereum(), &looks);
        assert_eq!(cleared(&changes, SignalKind::FinalityDelay), 1);
        assert_eq!(changes.len(), 2, "{changes:?}");
    }

    #[test]
    fn a_rollup_is_compared_with_its_own_past() {
        // Finality of a rollup by design: about 20 minutes of blocks of 2 s, moving in steps as batches become final.
        let usual = |i: u64| node(i * 60, 100_000 + i * 30, 100_000 + i * 30 - 500 - 30 * (i % 7));
        let mut looks: Vec<_> = (0..240).map(usual).collect();
        assert_eq!(raised(&watch(&mut sequencer(), &looks), SignalKind::FinalityDelay), []);
        let stuck = 100_000 + 239 * 30 - 500;
        looks.extend((240..360).map(|i| node(i * 60, 100_000 + i * 30, stuck)));
        let levels = raised(&watch(&mut sequencer(), &looks), SignalKind::FinalityDelay);
        assert_eq!(levels, [AlarmLevel::Warn, AlarmLevel::Page]);
    }
}
