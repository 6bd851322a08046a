//! An allocation as a Merkle tree from which people claim.
//!
//! In: an `Allocation`. Out: `ClaimTree`, in the form of OpenZeppelin's `StandardMerkleTree` with the leaf encoding
//! `(address, uint256)`, hashed twice so that an inner node can never pass as a leaf. Every proof is checked with code
//! that does not share a line with the library that made it. Must never: hold an account twice, since a claim
//! contract pays each account once.

use alloy_primitives::{Address, B256, Keccak256, U256, keccak256};
use cordon_model::allocation::{Allocation, Claim, ClaimTree};
use merkrs::StandardMerkleTree;
use std::collections::BTreeSet;

/// Most claims in one tree. Each costs about 200 bytes here and a proof of twenty hashes; beyond this, an allocation
/// should be split by asset or tranche.
pub const CLAIMS_MAX: usize = 1_000_000;

/// Why there is no claim tree.
#[derive(Debug, thiserror::Error)]
pub enum MerkleError {
    /// Nobody is to be paid.
    #[error("the allocation pays nobody: all {entitlements} entitlements are zero")]
    Empty {
        /// Number of entitlements.
        entitlements: usize,
    },
    /// An account is named twice.
    #[error("account {account} appears twice in the allocation, expected each account once")]
    Duplicate {
        /// The account.
        account: Address,
    },
    /// Most tokens refuse a transfer to the zero address, so the claim could never be paid.
    #[error("the zero address is allocated {amount_raw}, expected an account that can be paid")]
    ZeroAddress {
        /// Its amount, raw.
        amount_raw: U256,
    },
    /// There are too many claims.
    #[error("the allocation holds {claims} claims, expected at most {CLAIMS_MAX}")]
    TooMany {
        /// Number of claims.
        claims: usize,
    },
    /// The tree could not be built.
    #[error("the claim tree cannot be built")]
    Tree {
        /// Cause.
        #[source]
        source: merkrs::Error,
    },
    /// A proof does not lead to the root.
    #[error("the proof of account {account} does not lead to the root {root}")]
    ProofFails {
        /// The account.
        account: Address,
        /// Root of the tree.
        root: B256,
    },
}

impl From<merkrs::Error> for MerkleError {
    fn from(source: merkrs::Error) -> Self {
        Self::Tree { source }
    }
}

/// The claim tree of an allocation. Entitlements of zero get no claim.
///
/// # Errors
/// [`MerkleError`] where nobody is paid, an account cannot be paid or appears twice, or a proof fails.
pub fn claim_tree(allocation: &Allocation) -> Result<ClaimTree, MerkleError> {
    let payable = payable(allocation)?;
    let leaf =
        |(account, amount): &(Address, U256)| vec![format!("{account:#x}").into(), amount.to_string().into()];
    let encoding = vec!["address".to_owned(), "uint256".to_owned()];
    let values = payable.iter().map(leaf).collect();
    let tree = StandardMerkleTree::new(values, encoding, merkrs::standard::Options::default())?;

    let root = B256::from(*tree.root());
    let mut claims = Vec::with_capacity(payable.len());
    for (index, (account, amount_raw)) in payable.into_iter().enumerate() {
        let proof = tree.proof_by_index(index)?.into_iter().map(B256::from).collect();
        let claim = Claim { account, amount_raw, proof };
        if !verify(root, &claim) {
            return Err(MerkleError::ProofFails { account, root });
        }
        claims.push(claim);
    }
    Ok(ClaimTree { root, claims })
}

fn payable(allocation: &Allocation) -> Result<Vec<(Address, U256)>, MerkleError> {
    let mut seen = BTreeSet::new();
    let mut payable = Vec::new();
    for entitlement in &allocation.entitlements {
        let (account, amount_raw) = (entitlement.account, entitlement.amount_raw);
        if !seen.insert(account) {
            return Err(MerkleError::Duplicate { account });
        }
        if amount_raw.is_zero() {
            continue;
        }
        if account.is_zero() {
            return Err(MerkleError::ZeroAddress { amount_raw });
        }
        payable.push((account, amount_raw));
    }
    if payable.is_empty() {
        return Err(MerkleError::Empty { entitlements: allocation.entitlements.len() });
    }
    if payable.len() > CLAIMS_MAX {
        return Err(MerkleError::TooMany { claims: payable.len() });
    }
    Ok(payable)
}

/// Whether a claim's proof leads to the root, computed as OpenZeppelin's `MerkleProof.verify` does.
#[must_use]
pub fn verify(root: B256, claim: &Claim) -> bool {
    let mut encoded = claim.account.into_word().to_vec();
    encoded.extend_from_slice(&claim.amount_raw.to_be_bytes::<32>());
    let leaf = keccak256(keccak256(encoded));
    claim.proof.iter().fold(leaf, |node, sibling| hash_pair(node, *sibling)) == root
}

fn hash_pair(left: B256, right: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(left.min(right));
    hasher.update(left.max(right));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;
    use cordon_model::allocation::Entitlement;
    use cordon_model::units::{Asset, BlockRef};

    fn allocation(entries: &[(Address, U256)]) -> Allocation {
        let entitlement = |(account, raw): &(Address, U256)| Entitlement {
            account: *account,
            loss_raw: *raw,
            amount_raw: *raw,
        };
        let total = entries.iter().fold(U256::ZERO, |sum, (_, raw)| sum.saturating_add(*raw));
        Allocation {
            asset: Asset::Token(Address::repeat_byte(0xee)),
            method: "pro-rata/1".to_owned(),
            snapshot: BlockRef { number: 1, hash: B256::ZERO },
            funds_raw: total,
            total_loss_raw: total,
            entitlements: entries.iter().map(entitlement).collect(),
            dust_raw: U256::ZERO,
        }
    }

    /// The example of OpenZeppelin's documentation of `@openzeppelin/merkle-tree`.
    #[test]
    fn the_root_is_that_of_openzeppelin() {
        let tree = claim_tree(&allocation(&[
            (Address::repeat_byte(0x11), U256::from(5_000_000_000_000_000_000u64)),
            (Address::repeat_byte(0x22), U256::from(2_500_000_000_000_000_000u64)),
        ]))
        .unwrap();
        let root = b256!("d4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77");
        assert_eq!(tree.root, root);
        assert_eq!(tree.claims.len(), 2);
        assert!(tree.claims.iter().all(|claim| claim.proof.len() == 1 && verify(root, claim)));
    }

    #[test]
    fn a_claim_holds_for_its_own_account_and_amount_only() {
        let entries: Vec<_> =
            (1u64..=300).map(|i| (Address::left_padding_from(&i.to_be_bytes()), U256::from(i))).collect();
        let tree = claim_tree(&allocation(&entries)).unwrap();
        for claim in &tree.claims {
            assert!(verify(tree.root, claim));
            assert!(!verify(tree.root, &Claim { amount_raw: U256::from(301), ..claim.clone() }));
            assert!(!verify(tree.root, &Claim { account: Address::repeat_byte(0xcc), ..claim.clone() }));
            let shorter = claim.proof.iter().skip(1).copied().collect();
            assert!(!verify(tree.root, &Claim { proof: shorter, ..claim.clone() }));
        }
    }

    #[test]
    fn a_single_claim_is_its_own_root_and_zero_gets_none() {
        let tree = claim_tree(&allocation(&[
            (Address::repeat_byte(1), U256::MAX),
            (Address::repeat_byte(2), U256::ZERO),
        ]))
        .unwrap();
        assert_eq!(tree.claims.len(), 1);
        assert!(tree.claims[0].proof.is_empty());
        assert!(verify(tree.root, &tree.claims[0]));
    }

    #[test]
    fn what_cannot_be_paid_is_refused() {
        let one = (Address::repeat_byte(1), U256::from(1));
        let refused = [
            (vec![], "the allocation pays nobody: all 0 entitlements are zero"),
            (vec![(one.0, U256::ZERO)], "the allocation pays nobody: all 1 entitlements are zero"),
            (vec![one, one], "appears twice in the allocation, expected each account once"),
            (vec![(Address::ZERO, U256::from(7))], "the zero address is allocated 7"),
        ];
        for (entries, text) in refused {
            let error = claim_tree(&allocation(&entries)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
