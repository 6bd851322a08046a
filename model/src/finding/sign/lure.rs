//! Users were led to sign or to send what they did not mean to.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lure {
    /// What was done to them.
    pub kind: LureKind,
    /// The first of them.
    pub victim: Address,
    /// How many there are.
    pub victims: u32,
    /// First token concerned.
    pub token: Address,
    /// How many there are.
    pub tokens: u32,
    /// Who takes, may take, or poses as somebody else.
    pub taker: Address,
}

/// What is done to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LureKind {
    /// Signed permits were used to take their coins, for nothing.
    Permit,
    /// Several of them allowed the sender's side to take their coins.
    Approvals,
    /// An account allowed a contract to take what it has, which it did in the same transaction.
    Drainer,
    /// Their histories were filled with movements of nothing that they did not make.
    Poisoning,
    /// The same, to an address that looks like one of those they pay.
    Lookalike,
}

impl fmt::Display for Lure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, victim, victims, token, tokens, taker } = self;
        match kind {
            LureKind::Permit => {
                write!(f, "{token} of {victim} taken to {taker} by signed permits and for nothing")?
            }
            LureKind::Approvals => {
                write!(f, "{victim} and others allowed the sender's {taker} to take {token}")?
            }
            LureKind::Drainer => {
                write!(f, "{victim} allowed {taker} to take {token}, which it did for nothing")?
            }
            LureKind::Poisoning => {
                write!(f, "{token} shows movements of nothing from {victim} to {taker}, which did not act")?
            }
            LureKind::Lookalike => {
                write!(
                    f,
                    "{token} shows movements of nothing from {victim} to {taker}, which looks like whom it pays"
                )?;
            }
        }
        write!(f, " ({victims} accounts, {tokens} tokens)")
    }
}
