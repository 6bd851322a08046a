//! Missed slots: more of them than chance explains.
//!
//! In: slots that the beacon API told, or where there is none the gaps between block times. Out: a warning or a page
//! as soon as a window has too many. Must never: count a gap of our own watching as missed slots.
//!
//! # Source and false alarms
//!
//! With a share of 1 % missed in good times, a window of 32 slots has at least four by chance with probability 2.9e-4
//! and at least five with 1.6e-5. On 12 s slots these are 23.6 and 1.3 false alarms a year; `false_alarms` computes
//! them for other settings. The windows do not overlap (one begins every 32 slots), which is what makes these figures
//! true: a window that slides by one slot would pass four 88 and five 6.2 times a year. The price is that a burst
//! across a border of two windows counts half in each; long outages have signals of their own.
//!
//! Timestamps tell only where every slot has at most one block, so there are no missed slots on proof of work.

use super::ChainTiming;
use super::binomial::{PARTS, TRIALS_MAX, tail_parts};
use super::standing::{Reading, at_least};
use crate::detectors::ConfigError;
use cordon_model::network::NetworkSignal;
use cordon_model::network::observation::{BeaconSight, Head, Observation};
use serde::Deserialize;

/// Seconds of a year of 365.25 days.
const YEAR_S: u64 = 31_557_600;

/// Windows after which a beacon API that fell silent is no longer waited for: one could be cut by an outage of its
/// own, two are a source that is gone.
const BEACON_WINDOWS_MAX: u64 = 2;

/// `[network.missed-slots]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MissedSlotsConfig {
    /// Missed slots of a warning. Default 4.
    pub warn: u32,
    /// Missed slots of a page. Default 5.
    pub page: u32,
    /// Slots of a window. Default 32, an epoch of Ethereum; at most 40, to which the rate can be computed exactly.
    pub window_slots: u32,
    /// Slots that are missed in good times, thousandths. Default 10; only the stated rate depends on it.
    pub baseline_permille: u32,
}

impl Default for MissedSlotsConfig {
    fn default() -> Self {
        Self { warn: 4, page: 5, window_slots: 32, baseline_permille: 10 }
    }
}

impl MissedSlotsConfig {
    /// `None` on a chain without slots.
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Option<MissedSlots>, ConfigError> {
        super::ascending("network.missed-slots.warn / page", self.warn.into(), self.page.into())?;
        let slots = self.window_slots.into();
        super::within("network.missed-slots.window_slots", slots, 2..=TRIALS_MAX.into(), "2 to 40")?;
        super::within("network.missed-slots.page", self.page.into(), 1..=slots, "at most window_slots")?;
        let baseline = self.baseline_permille.into();
        super::within("network.missed-slots.baseline_permille", baseline, 0..=1_000, "at most 1000")?;
        Ok(timing.slot_s().map(|slot_s| MissedSlots {
            config: self.clone(),
            slot_s,
            head: None,
            by_time: Counter::default(),
            by_beacon: Counter::default(),
            beacon_until_s: 0,
        }))
    }

    /// False warnings and false pages that chance alone gives in a thousand years; `None` without slots.
    #[must_use]
    pub fn false_alarms(&self, timing: ChainTiming) -> Option<(u64, u64)> {
        let window_s = timing.slot_s()?.checked_mul(self.window_slots.into())?;
        let rate = |missed| {
            let parts = tail_parts(self.window_slots, missed, self.baseline_permille)?;
            let windows = YEAR_S.checked_mul(1_000)?.checked_div(window_s)?;
            u64::try_from(u128::from(parts) * u128::from(windows) / u128::from(PARTS)).ok()
        };
        Some((rate(self.warn)?, rate(self.page)?))
    }
}

/// Missed slots of the newest window.
#[derive(Debug, Default)]
struct Counter {
    window: u64,
    missed: u32,
}

impl Counter {
    /// Goes on to the window of a slot, and adds what was missed up to it.
    fn add(&mut self, window: u64, missed: u64) {
        if window > self.window {
            *self = Self { window, missed: 0 };
        }
        if window == self.window {
            self.missed = self.missed.saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
        }
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct MissedSlots {
    config: MissedSlotsConfig,
    slot_s: u64,
    /// Newest block of which the time was used.
    head: Option<Head>,
    by_time: Counter,
    by_beacon: Counter,
    /// Until when the beacon's word counts and not the timestamps.
    beacon_until_s: u64,
}

impl MissedSlots {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let by_beacon = seen.beacon.as_ref().is_some_and(|sight| self.count_beacon(seen.at_s, sight));
        let by_time = seen.head.is_some_and(|head| self.count_time(head));
        let missed = if seen.at_s < self.beacon_until_s {
            by_beacon.then_some(self.by_beacon.missed)?
        } else {
            by_time.then_some(self.by_time.missed)?
        };
        let slots = self.config.window_slots;
        let missed = missed.min(slots);
        let level = at_least(missed, self.config.warn, self.config.page);
        Some(Reading::of(level, NetworkSignal::MissedSlots { missed, slots }))
    }

    /// True where something new was told.
    fn count_beacon(&mut self, at_s: u64, sight: &BeaconSight) -> bool {
        for slot in &sight.slots {
            let window = slot.slot / u64::from(self.config.window_slots);
            self.by_beacon.add(window, u64::from(slot.block.is_none()));
            let lasting = u64::from(self.config.window_slots) * self.slot_s * BEACON_WINDOWS_MAX;
            self.beacon_until_s = at_s.saturating_add(lasting);
        }
        !sight.slots.is_empty()
    }

    /// True where the block is a new one.
    fn count_time(&mut self, head: Head) -> bool {
        let Some(before) = self.head.replace(head) else { return true };
        // A block of the same or a lower height replaces one whose gap was counted.
        let blocks = head.block.number.saturating_sub(before.block.number);
        if blocks == 0 {
            return head.block != before.block;
        }
        let slots = head.timestamp_s.saturating_sub(before.timestamp_s) / self.slot_s;
        let window_slots = u64::from(self.config.window_slots);
        // Between neighbours every slot was missed; in a long stretch that was not watched nobody knows where they lie.
        let known = blocks == 1 || slots <= window_slots;
        let missed = if known { slots.saturating_sub(blocks) } else { 0 };
        self.by_time.add(head.timestamp_s / self.slot_s / window_slots, missed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Consensus;
    use crate::network::testing::{at, cleared, ethereum, raised, timing, watch};
    use cordon_model::network::observation::{SlotBlock, SlotSight};
    use cordon_model::network::{AlarmLevel, SignalKind};

    /// Looks at blocks of consecutive heights in these slots. Slot 0 of the test begins a window.
    fn in_slots(slots: impl IntoIterator<Item = u64>) -> Vec<Observation> {
        slots.into_iter().enumerate().map(|(i, slot)| at(slot * 12, 500 + i as u64)).collect()
    }

    fn without(missed: &[u64], slots: u64) -> Vec<Observation> {
        in_slots((0..slots).filter(|slot| !missed.contains(slot)))
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::MissedSlots)
    }

    #[test]
    fn four_of_a_window_warn_and_five_page() {
        assert_eq!(levels(&without(&[3, 9, 20], 32)), []);
        assert_eq!(levels(&without(&[3, 9, 20, 25], 32)), [AlarmLevel::Warn]);
        assert_eq!(levels(&without(&[3, 9, 20, 25, 29], 32)), [AlarmLevel::Warn, AlarmLevel::Page]);
        assert_eq!(levels(&without(&[3, 4, 5, 6, 7], 32)), [AlarmLevel::Page]);
    }

    #[test]
    fn a_burst_across_the_border_of_two_windows_is_split() {
        assert_eq!(
            levels(&without(&[29, 30, 33, 34], 64)),
            [],
            "stated as the price of windows that do not overlap"
        );
    }

    #[test]
    fn the_stated_rates_are_those_of_the_binomial_distribution() {
        let config = MissedSlotsConfig::default();
        let rates = |slot_s: u64| config.false_alarms(timing(slot_s * 1_000, Consensus::Slots)).unwrap();
        assert_eq!(rates(12), (23_624, 1_321), "23.6 and 1.3 a year");
        assert_eq!(rates(5), (56_699, 3_170), "Gnosis: 56.7 and 3.2 a year");
        assert_eq!(config.false_alarms(timing(2_000, Consensus::Sequencer)), None);
    }

    #[test]
    fn chance_alone_gives_about_the_stated_rate() {
        // 30 years of 12 s slots, 1 % missed, from a fixed xorshift: 709 warnings and 40 pages are expected. The test
        // allows four standard deviations of a Poisson count, 106 and 25.
        let mut monitor =
            MissedSlotsConfig::default().build(timing(12_000, Consensus::Slots)).unwrap().unwrap();
        let (mut state, mut warned, mut paged) = (0x9e37_79b9_7f4a_7c15u64, 0u32, 0u32);
        let windows = 30 * YEAR_S / 384;
        for window in 0..windows {
            let mut missed = 0;
            for slot in 0..32 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let lost = state % 1_000 < 10;
                let block = (!lost).then(SlotBlock::default);
                let slots = vec![SlotSight { slot: window * 32 + slot, block }];
                monitor.count_beacon(0, &BeaconSight { finality: None, slots });
                missed = monitor.by_beacon.missed;
            }
            warned += u32::from(missed >= 4);
            paged += u32::from(missed >= 5);
        }
        assert!(warned.abs_diff(709) <= 106 && paged.abs_diff(40) <= 25, "{warned} warnings, {paged} pages");
    }

    #[test]
    fn a_stretch_that_was_not_watched_is_not_judged() {
        let mut looks = in_slots(0..5);
        looks.push(at(100 * 12, 580));
        assert_eq!(levels(&looks), [], "100 slots later, 75 blocks later: nobody knows where the gaps lie");
        let mut looks = in_slots(0..5);
        looks.push(at(45 * 12, 505));
        assert_eq!(levels(&looks), [AlarmLevel::Page], "the very next block, 40 slots later");
    }

    #[test]
    fn a_replaced_block_adds_nothing_and_a_missing_head_neither() {
        let mut looks = without(&[3, 9, 20], 25);
        looks.extend([
            at(24 * 12, 520),
            Observation { at_s: 290, ..Observation::default() },
            at(25 * 12, 521),
        ]);
        assert_eq!(levels(&looks), []);
    }

    #[test]
    fn the_beacon_is_believed_before_the_timestamps_and_missed_when_it_falls_silent() {
        let sight = |slot: u64, has_block: bool| BeaconSight {
            finality: None,
            slots: vec![SlotSight { slot, block: has_block.then(SlotBlock::default) }],
        };
        let with = |slot: u64, has_block| Observation {
            beacon: Some(sight(slot, has_block)),
            ..at(slot * 12, slot)
        };
        let looks: Vec<_> = (0..32).map(|slot| with(slot, slot % 7 != 0)).collect();
        assert_eq!(levels(&looks), [AlarmLevel::Warn, AlarmLevel::Page], "slots 0, 7, 14, 21, 28");
        let mut looks = vec![with(0, true)];
        looks.extend(in_slots((1..96).filter(|slot| !(70..75).contains(slot))));
        assert_eq!(levels(&looks), [AlarmLevel::Page], "after two windows of silence the timestamps tell");
    }

    #[test]
    fn recovery_clears_once() {
        let changes = watch(&mut ethereum(), &without(&[1, 2, 3, 4, 5], 128));
        assert_eq!((changes.len(), cleared(&changes, SignalKind::MissedSlots)), (2, 1), "{changes:?}");
    }
}
