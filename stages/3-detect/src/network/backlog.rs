//! Backlog: blocks wait to be judged.
//!
//! In: how many. Out: a warning or a page by how old the newest judged block must be. Must never: treat a short queue
//! as trouble on a chain whose blocks come many at once.
//!
//! # Source and false alarms
//!
//! Our choice: what counts is how late a response would be, so the thresholds are times, turned into blocks by the
//! block time. One minute of blocks is a warning: an attack of several transactions is then half over before it is
//! seen. Five minutes are a page: nothing can be contained. At least three and six blocks, since two blocks can come
//! together after one late one. It is a count of our own books: exact, no false alarm by chance. It is raised while an
//! outage is caught up with, and should be: until then nobody is protected.

use super::ChainTiming;
use super::standing::{Reading, at_least};
use crate::detectors::ConfigError;
use cordon_model::network::NetworkSignal;
use cordon_model::network::observation::Observation;
use serde::Deserialize;

/// Fewest blocks of a warning and of a page.
const BLOCKS_MIN: (u64, u64) = (3, 6);

/// `[network.backlog]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BacklogConfig {
    /// Time's worth of blocks of a warning, seconds. Default 60.
    pub warn_s: u64,
    /// Time's worth of blocks of a page, seconds. Default 300.
    pub page_s: u64,
}

impl Default for BacklogConfig {
    fn default() -> Self {
        Self { warn_s: 60, page_s: 300 }
    }
}

impl BacklogConfig {
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Backlog, ConfigError> {
        super::ascending("network.backlog.warn_s / page_s", self.warn_s, self.page_s)?;
        let (warn_min, page_min) = BLOCKS_MIN;
        Ok(Backlog {
            warn_blocks: timing.s_to_blocks(self.warn_s).max(warn_min),
            page_blocks: timing.s_to_blocks(self.page_s).max(page_min),
        })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Backlog {
    warn_blocks: u64,
    page_blocks: u64,
}

impl Backlog {
    pub(super) fn read(&self, seen: &Observation) -> Option<Reading> {
        let blocks = seen.backlog_blocks?;
        let level = at_least(blocks, self.warn_blocks, self.page_blocks);
        Some(Reading::of(level, NetworkSignal::Backlog { blocks }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{cleared, ethereum, monitors, raised, watch};
    use crate::network::{Consensus, NetworkMonitors};
    use cordon_model::network::{AlarmLevel, SignalKind};

    fn look(at_s: u64, blocks: Option<u64>) -> Observation {
        Observation { at_s, backlog_blocks: blocks, ..Observation::default() }
    }

    fn levels(mut monitors: NetworkMonitors, blocks: u64) -> Vec<AlarmLevel> {
        raised(&watch(&mut monitors, &[look(0, Some(blocks))]), SignalKind::Backlog)
    }

    #[test]
    fn a_minute_of_blocks_warns_and_five_page() {
        let (warn, page) = ([AlarmLevel::Warn], [AlarmLevel::Page]);
        assert_eq!((levels(ethereum(), 4), levels(ethereum(), 5)), (vec![], warn.to_vec()));
        assert_eq!((levels(ethereum(), 24), levels(ethereum(), 25)), (warn.to_vec(), page.to_vec()));
        let fast = || monitors(250, Consensus::Sequencer);
        assert_eq!((levels(fast(), 239), levels(fast(), 240)), (vec![], warn.to_vec()));
        assert_eq!(levels(fast(), 1_200), page);
        let slow = || monitors(600_000, Consensus::Irregular);
        assert_eq!(
            (levels(slow(), 2), levels(slow(), 3), levels(slow(), 6)),
            (vec![], warn.to_vec(), page.to_vec())
        );
    }

    #[test]
    fn catching_up_clears_once_and_not_knowing_does_not() {
        let mut looks = vec![look(0, Some(100))];
        looks.extend((1..600).map(|s| look(s, None)));
        assert_eq!(cleared(&watch(&mut ethereum(), &looks), SignalKind::Backlog), 0);
        looks.extend((600..1_200).map(|s| look(s, Some(0))));
        assert_eq!(cleared(&watch(&mut ethereum(), &looks), SignalKind::Backlog), 1);
    }
}
