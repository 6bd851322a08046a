//! Votes that nobody means to keep decided, or a proposal was carried through in one transaction.

use crate::units::Asset;
use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Contract that counts the votes.
    pub governor: Address,
    /// What was done there in this transaction, each once, in the order of a proposal's life.
    pub steps: Vec<VoteStep>,
    /// Votes that were given back after they were cast.
    pub returned: Option<ReturnedVotes>,
    /// Code that the proposal ran and that the same transaction had put there.
    pub fresh_code: Option<Address>,
}

/// What is done with a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteStep {
    /// It was made.
    Proposed,
    /// It was voted on.
    Voted,
    /// It was put in the queue for execution.
    Queued,
    /// It was carried out.
    Executed,
}

/// What came before a vote and went after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedVotes {
    /// Who lent it, held it as a stake, or voted by delegation.
    pub with: Address,
    /// What it was.
    pub asset: Asset,
    /// How much of it stood behind the vote; raw.
    pub amount_raw: U256,
}

impl fmt::Display for VoteStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proposed => "made",
            Self::Voted => "voted on",
            Self::Queued => "queued",
            Self::Executed => "executed",
        })
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { governor, steps, returned, fresh_code } = self;
        write!(f, "proposal of {governor}")?;
        for (index, step) in steps.iter().enumerate() {
            write!(f, "{} {step}", if index == 0 { "" } else { "," })?;
        }
        f.write_str(" in one transaction")?;
        if let Some(ReturnedVotes { with, asset, amount_raw }) = returned {
            write!(
                f,
                "; {amount_raw} of {asset} came or went by {with} before the vote and was returned after it"
            )?;
        }
        match fresh_code {
            Some(code) => write!(f, "; it ran the code of {code}, which the same transaction had put there"),
            None => Ok(()),
        }
    }
}
