//! Observation -> alarms: monitors of the chain itself and of the nodes that report it.
//!
//! In: [`Observation`]s in the order in which they were taken, and the operator's `[network]` table. Out: [`Change`]s,
//! at most one standing alarm per kind and subject. The list of signals is [`Signal`]; each has its file with its
//! thresholds, their source and the rate of false alarms. Must never: read a clock (the time comes with the
//! observation), take what is absent for good news, or grow with the time it runs: every window has a bound.

mod backlog;
mod base_fee;
mod binomial;
mod chain_halt;
mod finality;
mod mempool;
mod missed_slots;
mod oracle;
mod participation;
mod provider_split;
mod reorg;
mod replay;
mod sequencer;
mod slashing;
mod standing;
mod window;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::detectors::ConfigError;
use alloy_primitives::Address;
use cordon_model::network::observation::Observation;
use cordon_model::network::{NetworkAlarm, SignalKind};
use serde::Deserialize;
use std::num::NonZeroU64;

pub use backlog::BacklogConfig;
pub use base_fee::BaseFeeConfig;
pub use binomial::{PARTS, tail_parts};
pub use chain_halt::ChainHaltConfig;
pub use finality::FinalityConfig;
pub use mempool::MempoolConfig;
pub use missed_slots::MissedSlotsConfig;
pub use oracle::{FeedConfig, OracleConfig};
pub use participation::ParticipationConfig;
pub use provider_split::ProviderSplitConfig;
pub use reorg::ReorgConfig;
pub use replay::ReplayConfig;
pub use sequencer::SequencerConfig;
pub use slashing::{OperatorConfig, SlashingConfig};
pub use standing::Change;

use standing::{Reading, StandingAlarms};

/// Longest [`NetworkConfig::calm_s`], one day: an alarm that outlives its cause by more is wrong for most of its time.
const CALM_S_MAX: u64 = 86_400;

/// How blocks come on a chain; it decides which signals have a meaning there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainTiming {
    /// Time between two blocks, milliseconds; the mean where it varies.
    pub block_time_ms: NonZeroU64,
    /// Who makes blocks, and when.
    pub consensus: Consensus,
}

/// Who makes blocks, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consensus {
    /// Proposers in slots of fixed length, each of which has a block or has none: Ethereum, Gnosis.
    Slots,
    /// One sequencer: the OP stack, Arbitrum, Linea, Scroll.
    Sequencer,
    /// Anything else: proof of work, validators without empty slots.
    Irregular,
}

impl ChainTiming {
    /// As many seconds as this many blocks take, rounded up.
    fn blocks_to_s(self, blocks: u64) -> u64 {
        blocks.saturating_mul(self.block_time_ms.get()).div_ceil(1_000)
    }

    /// As many blocks as come within this time, rounded up.
    fn s_to_blocks(self, seconds: u64) -> u64 {
        seconds.saturating_mul(1_000).div_ceil(self.block_time_ms.get())
    }

    /// Length of a slot in whole seconds; `None` on a chain without slots, or with slots that timestamps cannot tell.
    fn slot_s(self) -> Option<u64> {
        let ms = self.block_time_ms.get();
        (self.consensus == Consensus::Slots && ms.is_multiple_of(1_000)).then_some(ms / 1_000)
    }
}

/// The `[network]` table: what is monitored, and from where on it is an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NetworkConfig {
    /// Signals that are not monitored. None by default.
    pub off: Vec<SignalKind>,
    /// How long a condition must be over, or must have eased, before its alarm says so, seconds. Default 300: a
    /// condition that comes and goes from block to block then makes at most three changes in five minutes (it is
    /// raised, it worsens, it is cleared), while the end of an outage is still told in time to act upon. Our choice.
    #[serde(rename = "calm_s")]
    pub calm_s: u64,
    /// Blocks that left the chain.
    pub reorg: ReorgConfig,
    /// Distance of finality.
    pub finality_delay: FinalityConfig,
    /// Slots without a block.
    pub missed_slots: MissedSlotsConfig,
    /// No blocks at all.
    pub chain_halt: ChainHaltConfig,
    /// Share of the sync committee.
    pub participation: ParticipationConfig,
    /// Slashed validators.
    pub slashing: SlashingConfig,
    /// A sequencer that does not produce or does not post.
    pub sequencer_stall: SequencerConfig,
    /// Nodes that disagree.
    pub provider_split: ProviderSplitConfig,
    /// The base fee.
    pub base_fee_spike: BaseFeeConfig,
    /// The mempool.
    pub mempool_spam: MempoolConfig,
    /// Price feeds.
    pub oracle_stall: OracleConfig,
    /// Blocks that wait.
    pub backlog: BacklogConfig,
    /// Replay that differs.
    pub replay_mismatch: ReplayConfig,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            off: Vec::new(),
            calm_s: 300,
            reorg: ReorgConfig::default(),
            finality_delay: FinalityConfig::default(),
            missed_slots: MissedSlotsConfig::default(),
            chain_halt: ChainHaltConfig::default(),
            participation: ParticipationConfig::default(),
            slashing: SlashingConfig::default(),
            sequencer_stall: SequencerConfig::default(),
            provider_split: ProviderSplitConfig::default(),
            base_fee_spike: BaseFeeConfig::default(),
            mempool_spam: MempoolConfig::default(),
            oracle_stall: OracleConfig::default(),
            backlog: BacklogConfig::default(),
            replay_mismatch: ReplayConfig::default(),
        }
    }
}

impl NetworkConfig {
    /// The monitors of one chain.
    ///
    /// # Errors
    /// A value that a monitor cannot use, by key.
    pub fn build(&self, timing: ChainTiming) -> Result<NetworkMonitors, ConfigError> {
        if self.calm_s > CALM_S_MAX {
            let value = self.calm_s.to_string();
            return Err(ConfigError { key: "network.calm_s", value, expected: "at most 86400" });
        }
        let all = [
            Some(Signal::Reorg(self.reorg.build()?)),
            Some(Signal::FinalityDelay(self.finality_delay.build(timing)?)),
            self.missed_slots.build(timing)?.map(Signal::MissedSlots),
            Some(Signal::ChainHalt(self.chain_halt.build(timing)?)),
            self.participation.build(timing)?.map(Signal::Participation),
            self.slashing.build(timing)?.map(Signal::Slashing),
            self.sequencer_stall.build(timing)?.map(Signal::SequencerStall),
            Some(Signal::ProviderSplit(self.provider_split.build(timing)?)),
            Some(Signal::BaseFeeSpike(self.base_fee_spike.build()?)),
            Some(Signal::MempoolSpam(self.mempool_spam.build()?)),
            Some(Signal::OracleStall(self.oracle_stall.build()?)),
            Some(Signal::Backlog(self.backlog.build(timing)?)),
            Some(Signal::ReplayMismatch(self.replay_mismatch.build()?)),
        ];
        let wanted = |signal: &Signal| !self.off.contains(&signal.kind());
        let signals = all.into_iter().flatten().filter(wanted).collect();
        Ok(NetworkMonitors { signals, alarms: StandingAlarms::new(self.calm_s) })
    }
}

/// The list of signals. One more is one more file and one more line in each match below.
#[derive(Debug)]
enum Signal {
    Reorg(reorg::Reorg),
    FinalityDelay(finality::Finality),
    MissedSlots(missed_slots::MissedSlots),
    ChainHalt(chain_halt::ChainHalt),
    Participation(participation::Participation),
    Slashing(slashing::Slashing),
    SequencerStall(sequencer::Sequencer),
    ProviderSplit(provider_split::ProviderSplit),
    BaseFeeSpike(base_fee::BaseFee),
    MempoolSpam(mempool::Mempool),
    OracleStall(oracle::Oracle),
    Backlog(backlog::Backlog),
    ReplayMismatch(replay::Replay),
}

impl Signal {
    fn kind(&self) -> SignalKind {
        match self {
            Self::Reorg(_) => SignalKind::Reorg,
            Self::FinalityDelay(_) => SignalKind::FinalityDelay,
            Self::MissedSlots(_) => SignalKind::MissedSlots,
            Self::ChainHalt(_) => SignalKind::ChainHalt,
            Self::Participation(_) => SignalKind::Participation,
            Self::Slashing(_) => SignalKind::Slashing,
            Self::SequencerStall(_) => SignalKind::SequencerStall,
            Self::ProviderSplit(_) => SignalKind::ProviderSplit,
            Self::BaseFeeSpike(_) => SignalKind::BaseFeeSpike,
            Self::MempoolSpam(_) => SignalKind::MempoolSpam,
            Self::OracleStall(_) => SignalKind::OracleStall,
            Self::Backlog(_) => SignalKind::Backlog,
            Self::ReplayMismatch(_) => SignalKind::ReplayMismatch,
        }
    }

    /// What the observation says of this signal; nothing where it says nothing.
    fn read(&mut self, seen: &Observation) -> Vec<Reading> {
        let one = match self {
            Self::OracleStall(oracle) => return oracle.read(seen),
            Self::Reorg(reorg) => reorg.read(seen),
            Self::FinalityDelay(finality) => finality.read(seen),
            Self::MissedSlots(slots) => slots.read(seen),
            Self::ChainHalt(halt) => halt.read(seen),
            Self::Participation(participation) => participation.read(seen),
            Self::Slashing(slashing) => slashing.read(seen),
            Self::SequencerStall(sequencer) => sequencer.read(seen),
            Self::ProviderSplit(split) => split.read(seen),
            Self::BaseFeeSpike(fee) => fee.read(seen),
            Self::MempoolSpam(mempool) => mempool.read(seen),
            Self::Backlog(backlog) => backlog.read(seen),
            Self::ReplayMismatch(replay) => replay.read(seen),
        };
        one.into_iter().collect()
    }

    /// True where this signal still judges what an alarm is about.
    fn watches(&self, kind: SignalKind, subject: Option<Address>) -> bool {
        self.kind() == kind
            && match (self, subject) {
                (Self::OracleStall(oracle), Some(feed)) => oracle.watches(feed),
                (_, subject) => subject.is_none(),
            }
    }
}

/// The monitors of one chain.
#[derive(Debug)]
pub struct NetworkMonitors {
    signals: Vec<Signal>,
    alarms: StandingAlarms,
}

impl NetworkMonitors {
    /// Judges one observation. An alarm of a signal or subject that is no longer monitored is cleared: nobody would
    /// ever clear it otherwise.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Change> {
        let signals = &self.signals;
        let watched = |kind, subject| signals.iter().any(|signal| signal.watches(kind, subject));
        let mut changes = self.alarms.clear_unwatched(watched);
        for signal in &mut self.signals {
            for reading in signal.read(observation) {
                changes.extend(self.alarms.judge(observation.at_s, reading));
            }
        }
        changes
    }

    /// Takes over the alarms that stand in the log, so that they are not raised again and are cleared when they are
    /// over. Windows start empty: what needs a window says nothing until it is full enough.
    pub fn restore(&mut self, standing: &[NetworkAlarm]) {
        self.alarms.restore(standing);
    }

    /// The alarms that stand, by kind and subject.
    #[must_use]
    pub fn standing(&self) -> Vec<(SignalKind, Option<Address>)> {
        self.alarms.standing()
    }

    /// The signals that are monitored here.
    #[must_use]
    pub fn kinds(&self) -> Vec<SignalKind> {
        self.signals.iter().map(Signal::kind).collect()
    }
}

/// Refuses a pair of thresholds of which the first is zero or above the second.
fn ascending(key: &'static str, warn: u64, page: u64) -> Result<(), ConfigError> {
    if warn == 0 || warn > page {
        let value = format!("{warn} / {page}");
        return Err(ConfigError {
            key,
            value,
            expected: "a warning of at least 1 that is not above the page",
        });
    }
    Ok(())
}

/// Refuses a number outside of its range.
fn within(
    key: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(ConfigError { key, value: value.to_string(), expected }) }
}
