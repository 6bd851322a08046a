//! More of an asset left a protocol within a time than ever before.

use crate::units::Asset;
use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outflow {
    /// What left.
    pub asset: Asset,
    /// Within how many seconds.
    pub window_s: u64,
    /// How much left in that time, this transaction included, less what came in; raw.
    pub amount_raw: U256,
    /// The most that ever did within such a time; raw.
    pub most_raw: U256,
    /// Of how many such times that is the most.
    pub times: u64,
}

impl fmt::Display for Outflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asset, window_s, amount_raw, most_raw, times } = self;
        write!(
            f,
            "{amount_raw} of {asset} left within {window_s} seconds, at most {most_raw} in {times} such times before"
        )
    }
}
