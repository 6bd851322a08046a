//! A contract that issues shares was given assets for which it issued none, or took a deposit and issued none.

use crate::units::{Asset, Bps};
use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Donation {
    /// Contract that issues the shares.
    pub contract: Address,
    /// What it was given.
    pub asset: Asset,
    /// How much, raw.
    pub amount_raw: U256,
    /// What came of it.
    pub effect: DonationEffect,
}

/// What came of a donation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DonationEffect {
    /// Shares were issued or redeemed afterwards; by how much dearer is not known.
    Traded,
    /// Another protected contract asked for the rate afterwards.
    Looked {
        /// Protected contract that was called.
        by: Address,
    },
    /// Shares were dearer afterwards.
    RateMoved {
        /// By how much.
        jump_bps: Bps,
    },
    /// There were next to no shares among which the gift could be divided.
    Empty {
        /// How many there were, in the smallest unit.
        shares_raw: U256,
    },
    /// It was meant as a deposit, and no share was issued for it.
    NoShares,
}

impl fmt::Display for Donation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contract, asset, amount_raw, effect } = self;
        if *effect == DonationEffect::NoShares {
            return write!(
                f,
                "{contract} took a deposit of {amount_raw} of {asset} and issued no share for it"
            );
        }
        write!(
            f,
            "the sender's side gave {amount_raw} of {asset} to {contract}, which issued no share for it"
        )?;
        match effect {
            DonationEffect::Traded => f.write_str(", and traded its shares afterwards"),
            DonationEffect::Looked { by } => write!(f, ", and {by} asked for its rate afterwards"),
            DonationEffect::RateMoved { jump_bps } => {
                write!(f, ", so that a share became dearer by {jump_bps}")
            }
            DonationEffect::Empty { shares_raw } => {
                write!(f, ", while no more than {shares_raw} units of its shares existed")
            }
            DonationEffect::NoShares => Ok(()),
        }
    }
}
