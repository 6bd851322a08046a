//! Replay mismatch: our own execution of a block differs from what the chain states.
//!
//! In: blocks that were replayed, and those that differ. Out: a page for any. Must never: call it over because one
//! block came out right.
//!
//! # Source and false alarms
//!
//! Any difference in gas, logs or status is either an error of ours or a node that lies, and both end the trust in what
//! Cordon says; so there is no threshold and no chance in it. What triggers it (a precompile, a rule of a fork) need
//! not come in every block: it is over after 32 blocks in a row that agree, the blocks of an epoch. Our choice.

use super::standing::Reading;
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal, SignalKind};
use serde::Deserialize;

/// Longest text of a difference, characters: one line of a message.
const WHAT_CHARS_MAX: usize = 300;

/// `[network.replay-mismatch]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Blocks in a row that must agree before it is over. Default 32.
    pub agree_blocks: u64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { agree_blocks: 32 }
    }
}

impl ReplayConfig {
    pub(super) fn build(&self) -> Result<Replay, ConfigError> {
        super::within("network.replay-mismatch.agree_blocks", self.agree_blocks, 1..=100_000, "1 to 100000")?;
        Ok(Replay { agree_blocks: self.agree_blocks, agreed: 0 })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Replay {
    agree_blocks: u64,
    /// Blocks that agreed since the last difference.
    agreed: u64,
}

impl Replay {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let replay = seen.replay.as_ref()?;
        let Some((block, what)) = replay.mismatches.first() else {
            self.agreed = self.agreed.saturating_add(replay.blocks);
            let over = self.agreed >= self.agree_blocks;
            return over.then_some(Reading::Calm { kind: SignalKind::ReplayMismatch, subject: None });
        };
        self.agreed = 0;
        let what = what.chars().take(WHAT_CHARS_MAX).collect();
        Some(Reading::of(Some(AlarmLevel::Page), NetworkSignal::ReplayMismatch { block: *block, what }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{block, cleared, ethereum, raised, watch};
    use cordon_model::network::observation::ReplaySight;

    fn look(at_s: u64, differs: bool) -> Observation {
        let mismatches = if differs { vec![(block(at_s), "gas".to_owned())] } else { Vec::new() };
        Observation { at_s, replay: Some(ReplaySight { blocks: 1, mismatches }), ..Observation::default() }
    }

    #[test]
    fn any_difference_pages_once() {
        let changes = watch(&mut ethereum(), &[look(0, false), look(12, true), look(24, true)]);
        assert_eq!(raised(&changes, SignalKind::ReplayMismatch), [AlarmLevel::Page]);
    }

    #[test]
    fn it_is_over_after_enough_blocks_in_a_row() {
        let mut looks = vec![look(0, true)];
        looks.extend((1..=31).map(|i| look(i * 100, false)));
        looks.push(look(3_200, true));
        looks.extend((33..=64).map(|i| look(i * 100, false)));
        let mut monitors = ethereum();
        assert_eq!(
            cleared(&watch(&mut monitors, &looks), SignalKind::ReplayMismatch),
            0,
            "31, then 32 but not yet calm"
        );
        let over: Vec<_> = (65..70).map(|i| look(i * 100, false)).collect();
        assert_eq!(cleared(&watch(&mut monitors, &over), SignalKind::ReplayMismatch), 1);
    }

    #[test]
    fn what_was_not_replayed_says_nothing() {
        let mut looks = vec![look(0, true)];
        looks.extend((1..200).map(|i| Observation { at_s: i * 12, ..Observation::default() }));
        assert_eq!(watch(&mut ethereum(), &looks).len(), 1);
    }
}
