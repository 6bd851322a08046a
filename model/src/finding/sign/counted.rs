//! A rule of the operator counted more than it allows within a time.

use alloy_primitives::{Bytes, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Id of the rule.
    pub rule: String,
    /// What it says.
    pub title: String,
    /// What that means, in the words of whoever wrote the rule.
    pub explanation: String,
    /// Of whom, where the rule counts each apart.
    pub by: Option<Bytes>,
    /// Within how many seconds.
    pub window_s: u64,
    /// How much, with this transaction.
    pub total: U256,
    /// How much is allowed.
    pub limit: U256,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, title, by, window_s, total, limit, .. } = self;
        write!(f, "{title} (rule {rule}): {total} within {window_s} seconds")?;
        if let Some(by) = by {
            write!(f, " of {by}")?;
        }
        write!(f, ", more than {limit}")
    }
}
