//! Slashing: validators that the operator watches, or many at once.
//!
//! In: validators that beacon blocks slash. Out: a warning for one that is watched; a page for a cluster. Must never:
//! count a validator twice, or hold more of them than an epoch can slash.
//!
//! # Source and false alarms
//!
//! At least one watched, or three of the same operator or ten within an epoch: on 10 September 2025, 39 validators of few operators
//! were slashed at once; fewer than 500 of 1.2 million ever were before. The penalty grows with how many are slashed
//! together, so a cluster is worse than its parts. A slashing is a proven fact: there are no false alarms by chance.

use super::standing::Reading;
use super::{ChainTiming, Consensus};
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Most validators of an epoch that are remembered. A block slashes at most 16 proposers and a few thousand
/// attesters; beyond 4,096 the number shown is a lower bound and the alarm is a page long since.
const VALIDATORS_MAX: usize = 4_096;

/// Most validators in the configuration: a tenth of Ethereum's.
const CONFIGURED_MAX: usize = 100_000;

/// `[network.slashing]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlashingConfig {
    /// Validators of one operator within an epoch that are a page. Default 3.
    pub page_same_operator: u32,
    /// Validators of anybody within an epoch that are a page. Default 10.
    pub page_any: u32,
    /// Slots of an epoch. Default 32, Ethereum's; Gnosis has 16.
    pub epoch_slots: u64,
    /// Operators whose validators are known.
    pub operators: Vec<OperatorConfig>,
}

/// `[[network.slashing.operators]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// Name, for people.
    pub name: String,
    /// True where a single slashing is worth a warning: one's own validators, or those one's stake depends on.
    #[serde(default)]
    pub watched: bool,
    /// Indices of its validators.
    pub validators: BTreeSet<u64>,
}

impl Default for SlashingConfig {
    fn default() -> Self {
        Self { page_same_operator: 3, page_any: 10, epoch_slots: 32, operators: Vec::new() }
    }
}

impl SlashingConfig {
    /// `None` on a chain without slots.
    pub(super) fn build(&self, timing: ChainTiming) -> Result<Option<Slashing>, ConfigError> {
        let same = self.page_same_operator.into();
        super::within("network.slashing.page_same_operator", same, 1..=4_096, "1 to 4096")?;
        super::within("network.slashing.page_any", self.page_any.into(), 1..=4_096, "1 to 4096")?;
        super::within("network.slashing.epoch_slots", self.epoch_slots, 1..=8_192, "1 to 8192")?;
        let configured: usize = self.operators.iter().map(|operator| operator.validators.len()).sum();
        if configured > CONFIGURED_MAX {
            let value = format!("{configured} validators");
            let expected = "at most 100000 validators in all";
            return Err(ConfigError { key: "network.slashing.operators", value, expected });
        }
        let slots = timing.consensus == Consensus::Slots;
        Ok(slots.then(|| Slashing { config: self.clone(), epoch: 0, slashed: BTreeSet::new() }))
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Slashing {
    config: SlashingConfig,
    epoch: u64,
    /// Validators slashed within the epoch.
    slashed: BTreeSet<u64>,
}

impl Slashing {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let sight = seen.beacon.as_ref().filter(|sight| !sight.slots.is_empty())?;
        for slot in &sight.slots {
            let epoch = slot.slot / self.config.epoch_slots;
            if epoch > self.epoch {
                self.epoch = epoch;
                self.slashed.clear();
            }
            for validator in slot.block.iter().flat_map(|block| &block.slashed) {
                if self.slashed.len() < VALIDATORS_MAX {
                    self.slashed.insert(*validator);
                }
            }
        }
        Some(self.judge())
    }

    fn judge(&self) -> Reading {
        let count = |validators: &BTreeSet<u64>| {
            u32::try_from(self.slashed.intersection(validators).count()).unwrap_or(u32::MAX)
        };
        let of_operators = self.config.operators.iter().map(|operator| count(&operator.validators));
        let same_operator = of_operators.max().unwrap_or(0);
        let watched_operators = self.config.operators.iter().filter(|operator| operator.watched);
        let watched: u32 = watched_operators.map(|operator| count(&operator.validators)).sum();
        let validators = u32::try_from(self.slashed.len()).unwrap_or(u32::MAX);
        let level = if same_operator >= self.config.page_same_operator || validators >= self.config.page_any {
            Some(AlarmLevel::Page)
        } else {
            (watched > 0).then_some(AlarmLevel::Warn)
        };
        Reading::of(level, NetworkSignal::Slashing { validators, watched })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, raised, timing, watch};
    use crate::network::{NetworkConfig, NetworkMonitors};
    use cordon_model::network::SignalKind;
    use cordon_model::network::observation::{BeaconSight, SlotBlock, SlotSight};

    fn monitors() -> NetworkMonitors {
        let operator = |name: &str, watched, range: std::ops::Range<u64>| OperatorConfig {
            name: name.to_owned(),
            watched,
            validators: range.collect(),
        };
        let operators = vec![operator("ours", true, 0..100), operator("theirs", false, 100..200)];
        let slashing = SlashingConfig { operators, ..SlashingConfig::default() };
        NetworkConfig { slashing, ..NetworkConfig::default() }
            .build(timing(12_000, Consensus::Slots))
            .unwrap()
    }

    fn look(slot: u64, slashed: &[u64]) -> Observation {
        let block = Some(SlotBlock { sync_permille: None, slashed: slashed.to_vec() });
        let beacon = BeaconSight { finality: None, slots: vec![SlotSight { slot, block }] };
        Observation { beacon: Some(beacon), ..at(slot * 12, slot) }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut monitors(), looks), SignalKind::Slashing)
    }

    #[test]
    fn one_of_ours_warns_and_a_stranger_does_not() {
        assert_eq!(levels(&[look(1, &[7])]), [AlarmLevel::Warn]);
        assert_eq!(levels(&[look(1, &[700])]), []);
        assert_eq!(
            levels(&[look(1, &[100, 101]), look(2, &[101])]),
            [],
            "two of another operator, one told twice"
        );
    }

    #[test]
    fn a_cluster_pages() {
        assert_eq!(levels(&[look(1, &[100, 101]), look(2, &[102])]), [AlarmLevel::Page]);
        let strangers: Vec<u64> = (1_000..1_009).collect();
        assert_eq!(levels(&[look(1, &strangers)]), [], "nine strangers");
        assert_eq!(levels(&[look(1, &strangers), look(2, &[2_000])]), [AlarmLevel::Page]);
    }

    #[test]
    fn another_epoch_begins_anew() {
        assert_eq!(levels(&[look(30, &[100, 101]), look(33, &[102])]), []);
    }

    #[test]
    fn it_clears_once_when_nothing_follows() {
        let mut looks = vec![look(1, &[7])];
        looks.extend((2..100).map(|slot| look(slot, &[])));
        let changes = watch(&mut monitors(), &looks);
        assert_eq!((changes.len(), cleared(&changes, SignalKind::Slashing)), (2, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut slashing =
            SlashingConfig::default().build(timing(12_000, Consensus::Slots)).unwrap().unwrap();
        slashing.read(&look(1, &(0..50_000).collect::<Vec<_>>()));
        assert_eq!(slashing.slashed.len(), VALIDATORS_MAX);
    }
}
