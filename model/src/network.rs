//! What goes wrong with a chain itself or with the nodes that report it, as plain values.
//!
//! In: what monitors of heads, finality, fees, mempool, oracles and providers measured. Out: [`NetworkAlarm`]s, a
//! closed vocabulary like the evidence of findings, so that store and notices render each kind once.

use crate::units::BlockRef;
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::fmt;

pub mod observation;

/// A condition of a chain that people should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAlarm {
    /// How bad it is.
    pub level: AlarmLevel,
    /// What was measured.
    pub signal: NetworkSignal,
}

/// How bad a condition of a chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmLevel {
    /// Worth knowing.
    Warn,
    /// Somebody should look now.
    Page,
}

/// Kinds of conditions; at most one alarm of a kind and subject stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalKind {
    /// Blocks left the canonical chain.
    Reorg,
    /// Finality lags.
    FinalityDelay,
    /// Slots went without a block.
    MissedSlots,
    /// No blocks at all.
    ChainHalt,
    /// Too few validators take part.
    Participation,
    /// Validators were slashed.
    Slashing,
    /// A sequencer does not produce, or does not post its batches.
    SequencerStall,
    /// Nodes disagree on a block.
    ProviderSplit,
    /// The base fee rose far above its usual level.
    BaseFeeSpike,
    /// The mempool is flooded.
    MempoolSpam,
    /// A price feed is old, or stands at its bound.
    OracleStall,
    /// Blocks wait to be judged.
    Backlog,
    /// Our own replay disagrees with the chain.
    ReplayMismatch,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkSignal {
    /// Blocks left the canonical chain.
    Reorg {
        /// Blocks of the deepest one in the window.
        depth: u32,
        /// Reorganisations within the window.
        count: u32,
        /// Length of the window, seconds.
        window_s: u64,
    },
    /// Finality lags.
    FinalityDelay {
        /// Epochs between the current one and the finalised one; on chains without epochs, units of 32 blocks.
        epochs: u64,
        /// Newest finalised block, where known.
        finalized: Option<BlockRef>,
    },
    /// Slots went without a block.
    MissedSlots {
        /// How many.
        missed: u32,
        /// Of how many.
        slots: u32,
    },
    /// No blocks at all.
    ChainHalt {
        /// Newest block.
        newest: BlockRef,
        /// How long ago it came, seconds.
        silent_s: u64,
    },
    /// Too few validators take part.
    Participation {
        /// Share of the sync committee that signed, in thousandths.
        permille: u32,
    },
    /// Validators were slashed.
    Slashing {
        /// How many within the epoch.
        validators: u32,
        /// How many of them the operator watches.
        watched: u32,
    },
    /// A sequencer does not produce, or does not post its batches.
    SequencerStall {
        /// Age of the unsafe head, seconds.
        head_age_s: u64,
        /// Blocks between the unsafe and the safe head, where the node tells.
        safe_lag_blocks: Option<u64>,
    },
    /// Nodes disagree on a block.
    ProviderSplit {
        /// Height at which they disagree.
        number: u64,
        /// What each node says; nodes without credentials.
        answers: Vec<ProviderAnswer>,
    },
    /// The base fee rose far above its usual level.
    BaseFeeSpike {
        /// Base fee of the newest block.
        base_fee_wei: u64,
        /// Median of the window before.
        median_wei: u64,
    },
    /// The mempool is flooded.
    MempoolSpam {
        /// Pending transactions.
        pending: u64,
        /// Their median in the window before.
        median: u64,
    },
    /// A price feed is old, or stands at its bound.
    OracleStall {
        /// The feed.
        feed: Address,
        /// Age of its answer, seconds.
        age_s: u64,
        /// Longest age that its operator promises, seconds.
        heartbeat_s: u64,
        /// True where the answer equals the smallest or largest value that the feed can give.
        at_bound: bool,
    },
    /// Blocks wait to be judged.
    Backlog {
        /// How many.
        blocks: u64,
    },
    /// Our own replay disagrees with the chain: own bug or lying node.
    ReplayMismatch {
        /// Block that was not reproduced.
        block: BlockRef,
        /// What differs, the first of all.
        what: String,
    },
}

/// One node's word on a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAnswer {
    /// Node, without credentials.
    pub provider: String,
    /// Its client and version, where it tells.
    pub client: Option<String>,
    /// Hash of its block; `None` where it has none or did not answer.
    pub hash: Option<B256>,
    /// Root of its receipts.
    pub receipts_root: Option<B256>,
}

impl NetworkSignal {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> SignalKind {
        match self {
            Self::Reorg { .. } => SignalKind::Reorg,
            Self::FinalityDelay { .. } => SignalKind::FinalityDelay,
            Self::MissedSlots { .. } => SignalKind::MissedSlots,
            Self::ChainHalt { .. } => SignalKind::ChainHalt,
            Self::Participation { .. } => SignalKind::Participation,
            Self::Slashing { .. } => SignalKind::Slashing,
            Self::SequencerStall { .. } => SignalKind::SequencerStall,
            Self::ProviderSplit { .. } => SignalKind::ProviderSplit,
            Self::BaseFeeSpike { .. } => SignalKind::BaseFeeSpike,
            Self::MempoolSpam { .. } => SignalKind::MempoolSpam,
            Self::OracleStall { .. } => SignalKind::OracleStall,
            Self::Backlog { .. } => SignalKind::Backlog,
            Self::ReplayMismatch { .. } => SignalKind::ReplayMismatch,
        }
    }

    /// What it is about within its kind: a feed; nothing for the chain as a whole.
    #[must_use]
    pub fn subject(&self) -> Option<Address> {
        if let Self::OracleStall { feed, .. } = self { Some(*feed) } else { None }
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reorg => "reorganisation",
            Self::FinalityDelay => "finality delay",
            Self::MissedSlots => "missed slots",
            Self::ChainHalt => "chain halt",
            Self::Participation => "low participation",
            Self::Slashing => "slashing",
            Self::SequencerStall => "sequencer stall",
            Self::ProviderSplit => "nodes disagree",
            Self::BaseFeeSpike => "base fee spike",
            Self::MempoolSpam => "mempool flooded",
            Self::OracleStall => "oracle stall",
            Self::Backlog => "backlog",
            Self::ReplayMismatch => "replay differs from the chain",
        })
    }
}

impl fmt::Display for NetworkSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reorg { depth, count, window_s } => {
                write!(f, "{count} reorganisations within {window_s} s, the deepest of {depth} blocks")
            }
            Self::FinalityDelay { epochs, finalized } => {
                write!(f, "the finalised epoch lies {epochs} epochs back")?;
                finalized.map_or(Ok(()), |block| write!(f, ", at block {}", block.number))
            }
            Self::MissedSlots { missed, slots } => write!(f, "{missed} of {slots} slots without a block"),
            Self::ChainHalt { newest, silent_s } => {
                write!(f, "no block for {silent_s} s after block {}", newest.number)
            }
            Self::Participation { permille } => {
                write!(f, "{}.{} % of the sync committee signed", permille / 10, permille % 10)
            }
            Self::Slashing { validators, watched } => {
                write!(f, "{validators} validators slashed in this epoch, {watched} of them watched")
            }
            Self::SequencerStall { head_age_s, safe_lag_blocks } => {
                write!(f, "the newest block is {head_age_s} s old")?;
                safe_lag_blocks.map_or(Ok(()), |lag| write!(f, ", the safe head lies {lag} blocks back"))
            }
            Self::ProviderSplit { number, answers } => {
                write!(f, "at block {number}")?;
                answers.iter().try_for_each(|answer| write!(f, "; {answer}"))
            }
            Self::BaseFeeSpike { base_fee_wei, median_wei } => {
                write!(f, "base fee {base_fee_wei} wei, median before {median_wei} wei")
            }
            Self::MempoolSpam { pending, median } => {
                write!(f, "{pending} pending transactions, median before {median}")
            }
            Self::OracleStall { feed, age_s, heartbeat_s, at_bound } => {
                write!(f, "feed {feed} answered {age_s} s ago, promised every {heartbeat_s} s")?;
                if *at_bound { f.write_str(", and its answer stands at a bound") } else { Ok(()) }
            }
            Self::Backlog { blocks } => write!(f, "{blocks} blocks wait to be judged"),
            Self::ReplayMismatch { block, what } => write!(f, "block {}: {what}", block.number),
        }
    }
}

impl fmt::Display for ProviderAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.provider)?;
        if let Some(client) = &self.client {
            write!(f, " ({client})")?;
        }
        match (self.hash, self.receipts_root) {
            (Some(hash), Some(root)) => write!(f, " has {hash} with receipts {root}"),
            (Some(hash), None) => write!(f, " has {hash}"),
            (None, _) => f.write_str(" gave no block"),
        }
    }
}
