//! Tokens were issued, or coins paid out, for which nothing was given.

use crate::units::{Asset, Bps};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unbacked {
    /// A large share of a token was issued to the sender's side, who gave nothing.
    Issue {
        /// The token.
        token: Address,
        /// How much was issued; raw.
        minted_raw: U256,
        /// How much there was before; raw.
        supply_raw: U256,
        /// The first as a share of the second.
        share_bps: Bps,
    },
    /// There is more of a token than its custody holds, by more than before.
    Backing {
        /// The token.
        token: Address,
        /// Who holds what stands behind it.
        custody: Address,
        /// What that is.
        asset: Asset,
        /// By how much the lack grew, in the smaller of both units.
        grown_raw: U256,
    },
    /// A custody paid out without a message that says so.
    Release {
        /// The custody.
        custody: Address,
        /// What is wrong with the message.
        fault: MessageFault,
        /// The message, where there is one.
        message: Option<B256>,
    },
}

/// What is wrong with the message by which a bridge pays out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageFault {
    /// There is none.
    Missing,
    /// It was used more than once.
    Twice,
    /// It is zero, which is what was never written reads as.
    Zero,
    /// No chain that could have sent it did.
    Unsent,
    /// It was sent, and about less than was paid.
    More,
}

impl fmt::Display for Unbacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issue { token, minted_raw, supply_raw, share_bps } => write!(
                f,
                "{minted_raw} of {token} issued to the sender's side for nothing, {share_bps} of the {supply_raw} there were"
            ),
            Self::Backing { token, custody, asset, grown_raw } => {
                write!(
                    f,
                    "{token} exceeds the {asset} that {custody} holds for it by {grown_raw} more than before"
                )
            }
            Self::Release { custody, fault, message } => {
                write!(f, "{custody} paid out ")?;
                f.write_str(match fault {
                    MessageFault::Missing => "without a message",
                    MessageFault::Twice => "twice for one message",
                    MessageFault::Zero => "for a message of zero",
                    MessageFault::Unsent => "for a message that was never sent",
                    MessageFault::More => "more than was sent in the message",
                })?;
                message.map_or(Ok(()), |message| write!(f, " ({message})"))
            }
        }
    }
}
