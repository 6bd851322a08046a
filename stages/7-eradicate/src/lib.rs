//! Removing the cause: a candidate implementation is read, compared, judged, and turned into an upgrade plan.
//!
//! In: compiled artifacts of the live and the candidate contract, outcomes of replays that somebody else ran on a fork.
//! Out: a `Remedy`, proven with its `Plan` or refused with every rule that it broke. This crate must never run code or
//! reach a chain, and must never call a fix proven because a check could not be made.

pub mod artifact;
pub mod judge;
pub mod layout;
pub mod upgrade;

pub use artifact::{ARTIFACT_BYTES_MAX, Artifact, ArtifactError};
pub use judge::{Difference, HonestComparison, HonestOutcome, Trials, judge, reasons};
pub use layout::{StorageLayout, compare};
pub use upgrade::{
    ERC1967_IMPLEMENTATION_SLOT, UpgradeError, UpgradeOrder, distinguishing_check, implementation_address,
    upgrade_call, upgrade_plan,
};
