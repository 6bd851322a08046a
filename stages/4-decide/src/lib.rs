//! Findings -> Incident, simulations -> decision: what is going on, how bad it is, and what may be done about it.
//!
//! In: findings of one block, open incidents, simulations, the operator's policy. Out: which incident each finding
//! belongs to, a severity, the option with the least harm, and a decision that names its rule. Pure: the same log
//! gives the same decisions, years later. Must never: act, or allow what the operator did not grant.

mod chain_notices;
mod choose;
mod correlate;
mod notices;
mod playbook;
mod policy;
mod rarity;
mod triage;

#[cfg(test)]
mod testing;

pub use chain_notices::chain_notices;
pub use choose::{Choice, choose};
pub use correlate::{Assignment, correlate};
pub use notices::notices;
pub use playbook::{Playbook, PlaybookError, StepKind, Who};
pub use policy::{Decision, Policy, PolicyRule, decide};
pub use rarity::rarity;
pub use triage::triage;
