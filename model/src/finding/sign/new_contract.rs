//! Somebody created a contract whose code is like code that attacked before.

use crate::units::Milli;
use alloy_primitives::{Address, B256, Selector};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewContract {
    /// The new contract.
    pub address: Address,
    /// Who created it.
    pub creator: Address,
    /// Hash of its code.
    pub code_hash: B256,
    /// How much it is like code that attacked, as log-odds.
    pub log_odds: Milli,
    /// From where on that is told.
    pub bound: Milli,
    /// True where hardly any ordinary code got when the model was tested.
    pub sure: bool,
    /// What counted most for it, the largest part first.
    pub parts: Vec<CodePart>,
    /// Protected contracts that it names.
    pub names: Vec<Address>,
}

/// One part of how much a code is like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodePart {
    /// Of what.
    pub what: CodeTrait,
    /// How much it adds to the log-odds.
    pub log_odds: Milli,
}

/// What a code has, as far as a model counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeTrait {
    /// Its instructions, by their short sequences.
    Instructions,
    /// It calls this function.
    Calls(Selector),
    /// It has this function.
    Has(Selector),
    /// It takes flash loans: a lender's callback is among its functions.
    LoanCallback,
    /// It takes part in swaps: a market's callback is among its functions.
    SwapCallback,
    /// It asks who sent the transaction.
    AsksOrigin,
    /// It can destroy itself.
    DestroysItself,
    /// It creates contracts.
    Creates,
    /// It runs code of others on its own storage.
    Delegates,
    /// Its compiler left no description, or somebody took it off.
    NoMetadata,
    /// It has no functions by name.
    NoFunctions,
    /// It logs nothing.
    NoLogs,
    /// It keeps nothing in storage.
    NoWrites,
    /// How many addresses stand in it.
    Addresses,
    /// How many functions it has.
    Functions,
    /// How many functions of others it calls.
    Callees,
    /// How many instructions it has.
    Size,
    /// Which part of its instructions are calls.
    CallDensity,
}

impl fmt::Display for CodeTrait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calls(function) => return write!(f, "it calls {function}"),
            Self::Has(function) => return write!(f, "it has {function}"),
            Self::Instructions => "its instructions",
            Self::LoanCallback => "it takes flash loans",
            Self::SwapCallback => "it answers markets",
            Self::AsksOrigin => "it asks who sent the transaction",
            Self::DestroysItself => "it can destroy itself",
            Self::Creates => "it creates contracts",
            Self::Delegates => "it runs code of others",
            Self::NoMetadata => "it carries no description by its compiler",
            Self::NoFunctions => "it has no named functions",
            Self::NoLogs => "it logs nothing",
            Self::NoWrites => "it keeps nothing",
            Self::Addresses => "the number of addresses in it",
            Self::Functions => "the number of its functions",
            Self::Callees => "the number of functions it calls",
            Self::Size => "its size",
            Self::CallDensity => "how many calls it has for its size",
        })
    }
}

impl fmt::Display for NewContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, creator, code_hash: _, log_odds, bound, sure, parts, names } = self;
        write!(f, "{creator} created {address}, whose code is like code that attacked")?;
        write!(f, " (log-odds {log_odds}, told from {bound}")?;
        f.write_str(if *sure { ", where hardly any ordinary code got" } else { "" })?;
        let parts: Vec<String> =
            parts.iter().map(|part| format!("{} {}", part.what, part.log_odds)).collect();
        if !parts.is_empty() {
            write!(f, "; {}", parts.join(", "))?;
        }
        f.write_str(")")?;
        let names: Vec<String> = names.iter().map(Address::to_string).collect();
        if names.is_empty() { Ok(()) } else { write!(f, " and which names {}", names.join(", ")) }
    }
}
