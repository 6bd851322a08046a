//! Observations for the tests of the monitors, and real block times from the shared archive.

use super::{ChainTiming, Change, Consensus, NetworkConfig, NetworkMonitors};
use cordon_model::network::observation::{Head, Observation};
use cordon_model::network::{AlarmLevel, SignalKind};
use cordon_model::units::BlockRef;

/// Monitors of a chain with this block time and the default thresholds.
pub(super) fn monitors(block_time_ms: u64, consensus: Consensus) -> NetworkMonitors {
    NetworkConfig::default().build(timing(block_time_ms, consensus)).unwrap()
}

pub(super) fn timing(block_time_ms: u64, consensus: Consensus) -> ChainTiming {
    ChainTiming { block_time_ms: block_time_ms.try_into().unwrap(), consensus }
}

pub(super) fn ethereum() -> NetworkMonitors {
    monitors(12_000, Consensus::Slots)
}

pub(super) fn sequencer() -> NetworkMonitors {
    monitors(2_000, Consensus::Sequencer)
}

pub(super) fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: [number.to_le_bytes()[0]; 32].into() }
}

/// A look at the moment of a new block.
pub(super) fn at(at_s: u64, number: u64) -> Observation {
    let head = Head { block: block(number), timestamp_s: at_s, base_fee_wei: Some(2_000_000_000) };
    Observation { at_s, head: Some(head), ..Observation::default() }
}

/// All changes, each with the time of its look.
pub(super) fn watch(monitors: &mut NetworkMonitors, looks: &[Observation]) -> Vec<(u64, Change)> {
    let changes = looks.iter().map(|look| (look.at_s, monitors.observe(look)));
    changes.flat_map(|(at_s, changes)| changes.into_iter().map(move |change| (at_s, change))).collect()
}

/// The levels at which alarms of a kind were raised, in order.
pub(super) fn raised(changes: &[(u64, Change)], kind: SignalKind) -> Vec<AlarmLevel> {
    let levels = changes.iter().filter_map(|(_, change)| match change {
        Change::Raised(alarm) if alarm.signal.kind() == kind => Some(alarm.level),
        Change::Raised(_) | Change::Cleared { .. } => None,
    });
    levels.collect()
}

/// How often alarms of a kind were cleared.
pub(super) fn cleared(changes: &[(u64, Change)], wanted: SignalKind) -> usize {
    changes
        .iter()
        .filter(|(_, change)| matches!(change, Change::Cleared { kind, .. } if *kind == wanted))
        .count()
}
