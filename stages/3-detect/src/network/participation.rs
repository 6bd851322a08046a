//! Participation: how much of the sync committee signs.
//!
//! In: shares of beacon blocks. Out: a warning or a page for their median. Must never: take one proposer that gathered
//! few signatures for a network that lost its validators.
//!
//! # Source and false alarms
//!
//! Below 95 % / 80 %; below two thirds finality is lost. The troubles of December 2025 went to 74.7 %, those of May 2023
//! to 30.7 %. If each of the 512 members were absent by itself 1 % of the time, a block would fall below 95 % with
//! 3.3e-11 (once in 11,000 years), at 2 % absent with 2.0e-5 (54 blocks a year). The median of five blocks in a row
//! takes away what one block's proposer causes. Members of one operator fail together, so the true rate of warnings is
//! that of large operators' troubles, which are what it is for.

use super::standing::Reading;
use super::{ChainTiming, Consensus};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;
use std::collections::VecDeque;

/// Blocks of which the median is judged: the least odd number of which two may be wrong. One minute on 12 s slots.
const BLOCKS: usize = 5;

/// `[network.participation]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParticipationConfig {
    /// Share below which it is a warning, thousandths. Default 950.
    pub warn_permille: u32,
    /// Share below which it is a page, thousandths. Default 800.
    pub page_permille: u32,
}

impl Default for ParticipationConfig {
    fn default() -> Self {
        Self { warn_permille: 950, page_permille: 800 }
    }
}

impl ParticipationConfig {
    /// `None` on a chain without slots.
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Option<Participation>, ConfigError> {
        let (warn, page) = (self.warn_permille, self.page_permille);
        super::within("network.participation.warn_permille", warn.into(), 1..=1_000, "1 to 1000")?;
        super::within(
            "network.participation.page_permille",
            page.into(),
            0..=warn.into(),
            "a value not above warn_permille",
        )?;
        let slots = timing.consensus == Consensus::Slots;
        Ok(slots.then(|| Participation { config: self.clone(), shares: VecDeque::new() }))
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Participation {
    config: ParticipationConfig,
    /// Shares of the newest blocks, at most [`BLOCKS`].
    shares: VecDeque<u32>,
}

impl Participation {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let blocks = seen.beacon.iter().flat_map(|sight| &sight.slots).filter_map(|slot| slot.block.as_ref());
        let before = self.shares.len();
        self.shares.extend(blocks.filter_map(|block| block.sync_permille));
        let added = self.shares.len() - before;
        while self.shares.len() > BLOCKS {
            self.shares.pop_front();
        }
        if added == 0 || self.shares.len() < BLOCKS {
            return None;
        }
        let mut sorted: Vec<u32> = self.shares.iter().copied().collect();
        let permille = *sorted.select_nth_unstable(BLOCKS / 2).1;
        let level = if permille < self.config.page_permille {
            Some(AlarmLevel::Page)
        } else {
            (permille < self.config.warn_permille).then_some(AlarmLevel::Warn)
        };
        Some(Reading::of(level, NetworkSignal::Participation { permille }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, ethereum, raised, watch};
    use cordon_model::network::SignalKind;
    use cordon_model::network::observation::{BeaconSight, SlotBlock, SlotSight};

    fn looks(shares: &[u32]) -> Vec<Observation> {
        let look = |(i, share): (usize, &u32)| {
            let slot = i as u64;
            let block = Some(SlotBlock { sync_permille: Some(*share), slashed: Vec::new() });
            let beacon = BeaconSight { finality: None, slots: vec![SlotSight { slot, block }] };
            Observation { beacon: Some(beacon), ..at(slot * 12, slot) }
        };
        shares.iter().enumerate().map(look).collect()
    }

    fn levels(shares: &[u32]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), &looks(shares)), SignalKind::Participation)
    }

    #[test]
    fn the_median_of_five_blocks_decides() {
        assert_eq!(levels(&[950; 20]), [], "just enough");
        assert_eq!(levels(&[949; 20]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[800; 20]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[747; 20]), [AlarmLevel::Page]);
        assert_eq!(levels(&[300; 4]), [], "four blocks are too few");
    }

    #[test]
    fn a_proposer_that_gathers_few_signatures_is_no_alarm() {
        assert_eq!(levels(&[990, 995, 0, 990, 300, 992, 991, 0, 990, 990]), []);
    }

    #[test]
    fn a_missed_slot_or_an_absent_beacon_says_nothing() {
        let mut seen = looks(&[300; 5]);
        for look in &mut seen {
            look.beacon =
                Some(BeaconSight { finality: None, slots: vec![SlotSight { slot: 1, block: None }] });
        }
        assert_eq!(raised(&watch(&mut ethereum(), &seen), SignalKind::Participation), []);
        seen.iter_mut().for_each(|look| look.beacon = None);
        assert_eq!(watch(&mut ethereum(), &seen), []);
    }

    #[test]
    fn recovery_clears_once() {
        let mut shares = vec![700; 6];
        shares.extend([990; 60]);
        let changes = watch(&mut ethereum(), &looks(&shares));
        assert_eq!((changes.len(), cleared(&changes, SignalKind::Participation)), (2, 1));
    }
}
