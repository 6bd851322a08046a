//! Somebody new called a function that few ever called.

use alloy_primitives::{Address, Selector};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstActor {
    /// The contract.
    pub contract: Address,
    /// Its function; `None` for the fallback.
    pub function: Option<Selector>,
    /// Who called it.
    pub caller: Address,
    /// How many others ever did.
    pub callers: u64,
    /// How many transactions used it before.
    pub uses: u64,
}

impl fmt::Display for FirstActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contract, function, caller, callers, uses } = self;
        let function = function.map_or("fallback".to_owned(), |function| function.to_string());
        write!(
            f,
            "{function} of {contract} called by {caller} for the first time, by {callers} others in {uses} uses"
        )
    }
}
