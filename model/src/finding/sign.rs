//! Grounds that name a pattern: one kind, one file.
//!
//! In: nothing but values. Out: [`Sign`], which is a sentence for people and figures for whoever reads the record. A new kind is one
//! file, one variant and one line of words here; no later room asks which it is. Must never: be what an amount is paid by.

mod lure;
mod outflow;
mod unbacked;
mod votes;

pub use lure::{Lure, LureKind};
pub use outflow::Outflow;
pub use unbacked::{MessageFault, Unbacked};
pub use votes::{ReturnedVotes, VoteStep, Votes};

use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// More of an asset left within a time than ever before.
    Outflow(Outflow),
    /// Votes that nobody means to keep decided.
    Votes(Votes),
    /// Tokens were issued, or coins paid out, for nothing.
    Unbacked(Unbacked),
    /// Users were led to sign or send what they did not mean to.
    Lure(Lure),
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outflow(sign) => sign.fmt(f),
            Self::Votes(sign) => sign.fmt(f),
            Self::Unbacked(sign) => sign.fmt(f),
            Self::Lure(sign) => sign.fmt(f),
        }
    }
}
