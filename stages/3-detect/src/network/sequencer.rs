//! Sequencer stall: no new blocks, or no batches for the layer below.
//!
//! In: age of the newest block, and the distance between the newest and the safe block. Out: a warning or a page. Must
//! never: speak on chains without a sequencer, or learn what is usual while it is unusual.
//!
//! # Source and false alarms
//!
//! Older than 10 s / 60 s on chains of 2 s: five and thirty blocks, and never less than 10 s and 60 s, since the delay
//! of nodes does not shrink with the block time. Arbitrum stood for 78 minutes on 15 December 2023, Base for just over
//! half an hour on 5 August 2025. A block time that the protocol fixes has no chance in it; what remains are hiccups of
//! nodes and networks of more than 10 s, whose rate is the operator's own and is not known here. The warning is for
//! them, the page is not.
//!
//! The safe block follows in steps, one for each batch, so its distance is a sawtooth. Between a low of `a` and a high
//! of `b` the median is `(a + b) / 2` and the high never passes `a + b`, twice the median: a regular sawtooth gives no
//! false alarm at all, and one that waits for a batch twice as long does. Distances below a minute of blocks are not
//! judged. This part only warns.

use super::standing::{Reading, at_least};
use super::window::Window;
use super::{ChainTiming, Consensus};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;

/// Block time for which the ages were stated, seconds.
const STATED_BLOCK_S: u64 = 2;

/// Distance that is never an alarm, seconds of blocks: the page's age.
const LAG_MIN_S: u64 = 60;

/// `[network.sequencer-stall]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequencerConfig {
    /// Age of the newest block of a warning on a chain of 2 s, seconds; longer on slower chains. Default 10.
    pub warn_s: u64,
    /// The same of a page. Default 60.
    pub page_s: u64,
    /// Multiple of the usual distance of the safe block that is a warning. Default 2.
    pub safe_lag_multiple: u64,
    /// Time over which the usual distance is learnt, seconds. Default 3600: several batches of the slower rollups.
    pub window_s: u64,
}

impl Default for SequencerConfig {
    fn default() -> Self {
        Self { warn_s: 10, page_s: 60, safe_lag_multiple: 2, window_s: 3_600 }
    }
}

impl SequencerConfig {
    /// `None` on a chain without a sequencer.
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Option<Sequencer>, ConfigError> {
        super::ascending("network.sequencer-stall.warn_s / page_s", self.warn_s, self.page_s)?;
        super::within(
            "network.sequencer-stall.safe_lag_multiple",
            self.safe_lag_multiple,
            2..=1_000,
            "2 to 1000",
        )?;
        super::within("network.sequencer-stall.window_s", self.window_s, 600..=86_400, "600 to 86400")?;
        if timing.consensus != Consensus::Sequencer {
            return Ok(None);
        }
        let scaled_s = |stated_s: u64| timing.blocks_to_s(stated_s.div_ceil(STATED_BLOCK_S)).max(stated_s);
        Ok(Some(Sequencer {
            warn_s: scaled_s(self.warn_s),
            page_s: scaled_s(self.page_s),
            multiple: self.safe_lag_multiple,
            lag_min: timing.s_to_blocks(LAG_MIN_S),
            usual: Window::new(self.window_s),
        }))
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Sequencer {
    warn_s: u64,
    page_s: u64,
    multiple: u64,
    lag_min: u64,
    /// Distances of the safe block in good times.
    usual: Window,
}

impl Sequencer {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let head = seen.head?;
        let head_age_s = seen.at_s.saturating_sub(head.timestamp_s);
        let told = seen.rollup.map(|rollup| rollup.unsafe_number.saturating_sub(rollup.safe_number));
        let tagged = seen.safe.map(|safe| head.block.number.saturating_sub(safe.number));
        let safe_lag_blocks = told.or(tagged);
        let lags = safe_lag_blocks.is_some_and(|lag| self.lags(seen.at_s, lag));
        let level = at_least(head_age_s, self.warn_s, self.page_s).max(lags.then_some(AlarmLevel::Warn));
        Some(Reading::of(level, NetworkSignal::SequencerStall { head_age_s, safe_lag_blocks }))
    }

    fn lags(&mut self, at_s: u64, lag: u64) -> bool {
        let usual = self.usual.median();
        let too_far = usual.is_some_and(|usual| lag > self.lag_min.max(usual.saturating_mul(self.multiple)));
        if !too_far {
            self.usual.push(at_s, lag);
        }
        too_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, block, cleared, ethereum, raised, sequencer, timing, watch};
    use cordon_model::network::SignalKind;
    use cordon_model::network::observation::RollupSync;

    fn old(age_s: u64) -> Observation {
        Observation { at_s: 1_000 + age_s, ..at(1_000, 7) }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut sequencer(), looks), SignalKind::SequencerStall)
    }

    /// A look every 10 s; the safe block follows in batches of this many blocks.
    fn batches(from: u64, to: u64, batch: u64) -> impl Iterator<Item = Observation> {
        (from..to).map(move |i| {
            let number = 10_000 + i * 5;
            let safe_number = number / batch * batch - batch / 10;
            let rollup = Some(RollupSync { unsafe_number: number, safe_number, finalized_number: 0 });
            Observation { rollup, ..at(i * 10, number) }
        })
    }

    #[test]
    fn the_age_of_the_newest_block_decides() {
        assert_eq!(levels(&[old(9)]), []);
        assert_eq!(levels(&[old(10), old(59)]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[old(10), old(60), old(61)]), [AlarmLevel::Warn, AlarmLevel::Page]);
    }

    #[test]
    fn ages_grow_with_the_block_time_and_never_shrink() {
        let built = |ms| {
            let config = SequencerConfig::default();
            config.build(timing(ms, Consensus::Sequencer)).unwrap().map(|built| (built.warn_s, built.page_s))
        };
        assert_eq!(
            (built(2_000), built(250), built(4_000)),
            (Some((10, 60)), Some((10, 60)), Some((20, 120)))
        );
    }

    #[test]
    fn other_chains_have_no_sequencer() {
        let stalled = raised(&watch(&mut ethereum(), &[old(60)]), SignalKind::SequencerStall);
        assert_eq!(stalled, []);
    }

    #[test]
    fn a_regular_sawtooth_is_silent_and_a_late_batch_warns() {
        let mut looks: Vec<_> = batches(0, 360, 150).collect();
        assert_eq!(levels(&looks), []);
        let stuck = looks[359].rollup.unwrap().safe_number;
        let late = batches(360, 420, 150).map(|mut look| {
            look.rollup.as_mut().unwrap().safe_number = stuck;
            look
        });
        looks.extend(late);
        assert_eq!(levels(&looks), [AlarmLevel::Warn]);
        looks.extend(batches(420, 500, 150));
        let changes = watch(&mut sequencer(), &looks);
        assert_eq!(cleared(&changes, SignalKind::SequencerStall), 1);
    }

    #[test]
    fn without_a_rollup_node_the_tag_tells_and_without_both_the_age_alone() {
        let tagged =
            |i: u64, lag: u64| Observation { safe: Some(block(10_000 + i - lag)), ..at(i * 10, 10_000 + i) };
        let mut looks: Vec<_> = (0..100).map(|i| tagged(i, 100)).collect();
        looks.push(tagged(100, 200));
        assert_eq!(levels(&looks), []);
        looks.push(tagged(101, 201));
        assert_eq!(levels(&looks), [AlarmLevel::Warn]);
        assert_eq!(levels(&[at(0, 1), Observation { at_s: 3, ..Observation::default() }, at(4, 2)]), []);
    }
}
