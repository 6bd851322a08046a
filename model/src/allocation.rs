//! Who is owed what, in integers.
//!
//! In: losses per account and the funds at hand. Out: [`Allocation`]. Conservation is part of the type's meaning:
//! the amounts and the dust add up to the funds, to the last unit.

use crate::units::{Asset, BlockRef};
use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

/// A distribution of funds among those who lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Asset that is paid out.
    pub asset: Asset,
    /// Method and its version.
    pub method: String,
    /// Block whose state was the last before the loss.
    pub snapshot: BlockRef,
    /// Funds at hand, raw.
    pub funds_raw: U256,
    /// Sum of all losses, raw.
    pub total_loss_raw: U256,
    /// Entitlements, ordered by account.
    pub entitlements: Vec<Entitlement>,
    /// Funds that are not paid out: rounding, or what exceeds the losses.
    pub dust_raw: U256,
}

impl Allocation {
    /// Sum of all amounts, raw; `None` on overflow.
    #[must_use]
    pub fn total_paid_raw(&self) -> Option<U256> {
        self.entitlements
            .iter()
            .try_fold(U256::ZERO, |sum, entitlement| sum.checked_add(entitlement.amount_raw))
    }
}

/// One account's loss and share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// Account.
    pub account: Address,
    /// What it lost, raw.
    pub loss_raw: U256,
    /// What it is paid, raw.
    pub amount_raw: U256,
}

/// An allocation as a Merkle tree whose leaves people claim (OpenZeppelin `StandardMerkleTree`, leaf encoding
/// `address, uint256`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimTree {
    /// Root that the claim contract holds.
    pub root: B256,
    /// One claim per entitlement of more than zero.
    pub claims: Vec<Claim>,
}

/// One account's claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Account.
    pub account: Address,
    /// Amount, raw.
    pub amount_raw: U256,
    /// Sibling hashes from leaf to root.
    pub proof: Vec<B256>,
}
