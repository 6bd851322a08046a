//! A protected contract will act when its time has come, and this is what it will do.

use crate::finding::{AttackClass, Evidence, Score};
use crate::units::{Asset, Bps, Due};
use alloy_primitives::{Address, B256, Selector, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most calls that a sentence names; the record has all that were kept.
const NAMED_MAX: usize = 4;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Contract that holds the entry.
    pub queue: Address,
    /// Account from which its calls will be made.
    pub executor: Address,
    /// What the queue calls the entry.
    pub id: B256,
    /// When it can be executed at the earliest.
    pub due: Due,
    /// Its calls in order.
    pub calls: Vec<QueuedCall>,
    /// What comes of them.
    pub prospect: Prospect,
}

/// One call of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedCall {
    /// Receiver.
    pub to: Address,
    /// Its function; `None` for the fallback.
    pub function: Option<Selector>,
    /// Native coin sent along.
    pub value_wei: U256,
    /// True where the receiver's code will run on the executor's own storage.
    pub delegate: bool,
}

/// What came of an entry when it was tried on the state after the block that queued it, at the time when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prospect {
    /// What it does is not known: it has more calls than can be tried, or they do more than can be recorded. No entry in ordinary
    /// use does.
    TooLong,
    /// One of its calls fails, so that nothing of it happens.
    Fails {
        /// Position of that call.
        call: usize,
        /// The reason as the EVM or the contract gives it.
        reason: String,
    },
    /// It goes through.
    Works {
        /// What leaves the protected contracts for the outside, net.
        leaving: Vec<Leaving>,
        /// Code that will run behind a protected contract and was created by the very transaction that queued this.
        newborn: Option<Address>,
        /// What the detectors say of its calls, changes of rights first, then the strongest.
        said: Vec<Said>,
    },
}

/// An asset that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Protected contract that pays first.
    pub from: Address,
    /// What.
    pub asset: Asset,
    /// How much.
    pub amount_raw: U256,
    /// Which part of what the paying contracts hold of it; `None` where that is not known.
    pub share_bps: Option<Bps>,
}

/// What a detector says of something that did not happen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Kind of attack.
    pub class: AttackClass,
    /// How strongly.
    pub score: Score,
    /// Grounds.
    pub evidence: Evidence,
}

impl fmt::Display for QueuedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, function, value_wei, delegate } = self;
        let function = function.map_or("fallback".to_owned(), |function| function.to_string());
        write!(f, "{function} of {to}")?;
        if !value_wei.is_zero() {
            write!(f, " with {value_wei} wei")?;
        }
        if *delegate { f.write_str(" as its own code") } else { Ok(()) }
    }
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, asset, amount_raw, share_bps } = self;
        write!(f, "{amount_raw} of {asset} leave {from}")?;
        share_bps.map_or(Ok(()), |share| write!(f, " ({share} of what is there)"))
    }
}

impl fmt::Display for Prospect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("it does more than can be tried, so what that is is not known"),
            Self::Fails { call, reason } => {
                write!(f, "as things are, call {} fails: {reason}", call.saturating_add(1))
            }
            Self::Works { leaving, newborn, said } => {
                let leaving = leaving.iter().map(Leaving::to_string);
                let newborn = newborn
                    .map(|code| format!("code {code}, created by the same transaction, becomes its own"));
                let said = said.iter().map(|said| format!("{}: {}", said.class, said.evidence));
                let effects: Vec<String> = leaving.chain(newborn).chain(said).collect();
                match effects.as_slice() {
                    [] => f.write_str("as things are, it goes through and nothing protected is worse off"),
                    effects => write!(f, "as things are: {}", effects.join("; ")),
                }
            }
        }
    }
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, executor, id, due, calls, prospect } = self;
        write!(f, "{queue} holds entry {id}, executable {due}: {executor} will call ")?;
        let named: Vec<String> = calls.iter().take(NAMED_MAX).map(QueuedCall::to_string).collect();
        f.write_str(&named.join(", "))?;
        if calls.len() > NAMED_MAX {
            write!(f, " and {} more", calls.len().saturating_sub(NAMED_MAX))?;
        }
        write!(f, "; {prospect}")
    }
}
