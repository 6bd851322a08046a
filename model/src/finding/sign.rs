//! Grounds that name a pattern: one kind, one file.
//!
//! In: nothing but values. Out: [`Sign`], which is a sentence for people and figures for whoever reads the record. A new kind is one
//! file, one variant and one line of words here; no later room asks which it is. Must never: be what an amount is paid by.

mod broken;
mod counted;
mod donation;
mod first_actor;
mod imitation;
mod lure;
mod new_contract;
mod outflow;
mod queued;
mod unbacked;
mod votes;
mod wrong_price;

pub use broken::{Broken, BrokenInvariant};
pub use counted::Counted;
pub use donation::{Donation, DonationEffect};
pub use first_actor::FirstActor;
pub use imitation::{Imitation, ImitationKind};
pub use lure::{Lure, LureKind};
pub use new_contract::{CodePart, CodeTrait, NewContract};
pub use outflow::Outflow;
pub use queued::{Leaving, Prospect, Queued, QueuedCall, Said};
pub use unbacked::{MessageFault, Unbacked};
pub use votes::{ReturnedVotes, VoteStep, Votes};
pub use wrong_price::{PriceFault, WrongPrice};

use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// What held in all ordinary use does not hold.
    Broken(Broken),
    /// A rule of the operator counted more than it allows within a time.
    Counted(Counted),
    /// Somebody new called a function that few ever called.
    FirstActor(FirstActor),
    /// The transaction is like a known attack.
    Imitation(Imitation),
    /// A contract was created whose code is like code that attacked before.
    NewContract(NewContract),
    /// More of an asset left within a time than ever before.
    Outflow(Outflow),
    /// A protected contract will act when its time has come.
    Queued(Queued),
    /// A contract that issues shares was given assets, or took some, without issuing any.
    Donation(Donation),
    /// Users were led to sign or send what they did not mean to.
    Lure(Lure),
    /// Tokens were issued, or coins paid out, for nothing.
    Unbacked(Unbacked),
    /// Votes that nobody means to keep decided.
    Votes(Votes),
    /// A protected contract went by a price that does not hold.
    WrongPrice(WrongPrice),
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(sign) => sign.fmt(f),
            Self::Counted(sign) => sign.fmt(f),
            Self::FirstActor(sign) => sign.fmt(f),
            Self::Imitation(sign) => sign.fmt(f),
            Self::NewContract(sign) => sign.fmt(f),
            Self::Outflow(sign) => sign.fmt(f),
            Self::Queued(sign) => sign.fmt(f),
            Self::Donation(sign) => sign.fmt(f),
            Self::Lure(sign) => sign.fmt(f),
            Self::Unbacked(sign) => sign.fmt(f),
            Self::Votes(sign) => sign.fmt(f),
            Self::WrongPrice(sign) => sign.fmt(f),
        }
    }
}
