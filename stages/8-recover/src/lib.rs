//! Paying victims back: from holdings before and after to losses, an allocation, a claim tree, plans and final books.
//!
//! In: holdings per account, funds at hand, addresses of the treasury and of those who may act. Out:
//! `Allocation`, `ClaimTree`, `Plan` and a balance sheet. This crate must never use a float, round in anybody's
//! favour but the treasury's, or do arithmetic that could wrap: operators that may overflow are refused by the
//! compiler here.

#![deny(clippy::arithmetic_side_effects)]

pub mod account;
pub mod losses;
pub mod merkle;
pub mod methods;
pub mod plan;

pub use account::{AccountLine, Books, HolderLine, Imbalance, Sheet, SheetLine, balance_sheet};
pub use losses::{Excluded, Gain, Loss, Losses, losses};
pub use merkle::{CLAIMS_MAX, MerkleError, claim_tree, verify};
pub use methods::{AllocationError, AllocationInput, Method, RecoveryMethod};
pub use plan::{PlanError, Reimbursement, Reopening, Unpause, claim_call, claimed, reimbursement, reopening};
