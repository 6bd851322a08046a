//! Words for how bad an incident is, how far it is, and whether it takes events.
//!
//! In: nothing. Out: closed lists, in order. Must never: hold a rule; those are in the transition function.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad an incident is, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look in working hours.
    Low,
    /// Worth a look today.
    Medium,
    /// Wake somebody.
    High,
    /// Wake everybody: value is leaving now.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// The incident's state, derived from its phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Seen.
    Detected,
    /// Severity known.
    Triaged,
    /// The attack is stopped and that was verified on chain.
    Contained,
    /// Contained, and the report is written.
    Investigated,
    /// The cause is removed and that was verified on chain.
    Eradicated,
    /// Victims can be paid and the system is open again.
    Recovered,
    /// Done.
    Closed,
    /// Not an attack.
    FalseAlarm,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detected => "detected",
            Self::Triaged => "triaged",
            Self::Contained => "contained",
            Self::Investigated => "investigated",
            Self::Eradicated => "eradicated",
            Self::Recovered => "recovered",
            Self::Closed => "closed",
            Self::FalseAlarm => "false alarm",
        })
    }
}

/// Whether an incident takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Being worked on.
    Open,
    /// Closed as done.
    Closed,
    /// Closed as no attack.
    FalseAlarm,
}
