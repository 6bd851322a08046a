//! A protected contract went by an answer of a price feed that does not hold.

use crate::units::Bps;
use alloy_primitives::{Address, I256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongPrice {
    /// Feed that was asked.
    pub feed: Address,
    /// Protected contract that went by the answer.
    pub reader: Address,
    /// What the feed said, in its own smallest unit.
    pub answer: I256,
    /// What is wrong with that.
    pub fault: PriceFault,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceFault {
    /// Zero or less.
    NotPositive,
    /// At the least or the most that the feed can say, so that the true price may be anywhere beyond.
    AtBound {
        /// That bound.
        bound: I256,
    },
    /// Older than any feed promises.
    Stale {
        /// Age when it was read, seconds.
        age_s: u64,
    },
    /// Carried over from an earlier round.
    CarriedOver,
    /// From after the block in which it was read.
    FromFuture {
        /// How far after, seconds.
        ahead_s: u64,
    },
    /// Further from what the operator expects than he allows.
    Deviates {
        /// By how much.
        deviation_bps: Bps,
        /// What he allows.
        allowed_bps: Bps,
    },
    /// Further from what a second feed says than the operator allows.
    Disagrees {
        /// The second feed.
        second: Address,
        /// By how much.
        deviation_bps: Bps,
        /// What he allows.
        allowed_bps: Bps,
    },
}

impl fmt::Display for WrongPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, reader, answer, fault } = self;
        write!(f, "{reader} moved value at the answer {answer} of {feed}, which is ")?;
        match fault {
            PriceFault::NotPositive => f.write_str("no price"),
            PriceFault::AtBound { bound } => write!(f, "at the bound {bound} of what that feed can say"),
            PriceFault::Stale { age_s } => write!(f, "{age_s} seconds old"),
            PriceFault::CarriedOver => f.write_str("carried over from an earlier round"),
            PriceFault::FromFuture { ahead_s } => write!(f, "{ahead_s} seconds ahead of the block"),
            PriceFault::Deviates { deviation_bps, allowed_bps } => {
                write!(f, "{deviation_bps} from what is expected ({allowed_bps} are allowed)")
            }
            PriceFault::Disagrees { second, deviation_bps, allowed_bps } => {
                write!(f, "{deviation_bps} from what {second} says ({allowed_bps} are allowed)")
            }
        }
    }
}
