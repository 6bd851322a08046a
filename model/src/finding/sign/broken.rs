//! What held in all ordinary use of a function does not hold.

use crate::baseline::Aspect;
use alloy_primitives::{Address, Selector, U256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// What was inferred and does not hold, the most established first.
    pub invariants: Vec<BrokenInvariant>,
}

/// One inferred invariant that a transaction breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenInvariant {
    /// Contract of which it was inferred.
    pub contract: Address,
    /// Its function; `None` for the fallback, and where the invariant is the contract's.
    pub function: Option<Selector>,
    /// What is bounded.
    pub aspect: Aspect,
    /// The bound, as people know it ([`Aspect::amount`]): the most, or the least where that is bounded; zero where it never was.
    pub bound: U256,
    /// What was found, likewise.
    pub found: U256,
    /// Uses in a row that kept to it, the newest ones.
    pub support: u64,
}

impl BrokenInvariant {
    /// How likely the next use keeps to it as well, in per mille: the rule of succession, `(n + 1) / (n + 2)`.
    #[must_use]
    pub fn confidence_permille(&self) -> u64 {
        let all = self.support.saturating_add(2);
        self.support.saturating_add(1).saturating_mul(1_000).checked_div(all).unwrap_or(0)
    }
}

impl fmt::Display for BrokenInvariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contract, function, aspect, bound, found, support } = self;
        if let Some(function) = function {
            write!(f, "{function} of ")?;
        }
        write!(f, "{contract}: {aspect}")?;
        if aspect.is_least() {
            write!(f, " {found}, at least {bound}")?;
        } else if bound.is_zero() {
            write!(f, " ({found}), never")?;
        } else {
            write!(f, " {found}, at most {bound}")?;
        }
        write!(f, " in {support} uses ({} per mille)", self.confidence_permille())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what always held does not hold")?;
        let separate = |index: usize| if index == 0 { ": " } else { "; " };
        self.invariants.iter().enumerate().try_for_each(|(index, one)| write!(f, "{}{one}", separate(index)))
    }
}
