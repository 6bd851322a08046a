//! Who acts in the lending market. In go a seed and names, out come addresses and what each actor owns at the start.
//!
//! Addresses follow from the seed, so nothing that must not know an actor can learn its address from another run.
//! Nobody has a key for them: the range takes their transactions directly.

use alloy_primitives::{Address, U256, keccak256};

use super::act::milli_tokens;
use super::dice::SplitMix64;

/// Deploys the contracts and holds no role afterwards.
pub(crate) const DEPLOYER: &str = "deployer";
/// Administrator of the two tokens, the only one who can mint.
pub(crate) const ISSUER: &str = "issuer";
/// Lenders of the first half; in a block at most one of each half acts.
pub(crate) const LENDERS_A: [&str; 3] = ["lender-1", "lender-2", "lender-3"];
/// Lenders of the second half.
pub(crate) const LENDERS_B: [&str; 3] = ["lender-4", "lender-5", "lender-6"];
/// Holders of dollars who do not use the vault.
pub(crate) const USERS: [&str; 4] = ["user-1", "user-2", "user-3", "user-4"];
/// Borrows from its own account.
pub(crate) const BORROWER: &str = "borrower";
/// Borrows through a `LeverageZap`.
pub(crate) const ZAPPER: &str = "zapper";

/// What the lenders put into the vault at the start, whole dUSD.
const LENDERS_DEPOSIT_DUSD: u64 = 5_000_000;
/// What each lender keeps beside it for later deposits, whole dUSD.
const LENDER_SPARE_DUSD: u64 = 400_000;

/// What an actor owns at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endowment {
    pub(crate) name: &'static str,
    /// Whole dUSD.
    pub(crate) dusd: u64,
    /// Thousandths of sETH.
    pub(crate) seth_milli: u64,
}

impl Endowment {
    pub(crate) const fn new(name: &'static str, dusd: u64, seth_milli: u64) -> Self {
        Self { name, dusd, seth_milli }
    }
}

/// All lenders in order.
pub(crate) fn lenders() -> impl Iterator<Item = &'static str> {
    LENDERS_A.into_iter().chain(LENDERS_B)
}

/// sETH that the borrower puts into the collateral vault.
pub(crate) fn borrower_collateral() -> U256 {
    milli_tokens(1_200)
}

/// sETH that the zapper puts into the collateral vault.
pub(crate) fn zapper_collateral() -> U256 {
    milli_tokens(800)
}

/// The actors of one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) seed: u64,
}

impl Cast {
    /// Address of the actor `name`.
    pub(crate) fn address(self, name: &str) -> Address {
        let hash = keccak256(format!("cordon range, seed {}, actor {name}", self.seed));
        Address::from_word(hash)
    }

    /// How the lenders share the first deposits, whole dUSD, in steps of 100. The last one takes what the rounding of
    /// the others leaves.
    pub(crate) fn first_deposits(self) -> Vec<(&'static str, u64)> {
        let mut dice = SplitMix64::keyed(&[self.seed, 0]);
        let weights: Vec<_> = lenders().map(|name| (name, dice.between(50, 150, 1))).collect();
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        let share = |weight: u64| LENDERS_DEPOSIT_DUSD.saturating_mul(weight) / sum / 100 * 100;
        let mut deposits: Vec<_> = weights.into_iter().map(|(name, weight)| (name, share(weight))).collect();
        let given: u64 = deposits.iter().map(|(_, amount)| amount).sum();
        if let Some((_, last)) = deposits.last_mut() {
            *last = last.saturating_add(LENDERS_DEPOSIT_DUSD.saturating_sub(given));
        }
        deposits
    }

    /// What the actors of every scenario own at the start.
    pub(crate) fn endowments(self) -> Vec<Endowment> {
        let lenders = self.first_deposits().into_iter();
        let lenders =
            lenders.map(|(name, deposit)| Endowment::new(name, deposit.saturating_add(LENDER_SPARE_DUSD), 0));
        let users = USERS.into_iter().map(|name| Endowment::new(name, 50_000, 0));
        let borrowers = [Endowment::new(BORROWER, 5_000, 1_200), Endowment::new(ZAPPER, 1_000, 800)];
        lenders.chain(users).chain(borrowers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_deposits_add_up_for_every_seed() {
        for seed in 0..50 {
            let deposits = Cast { seed }.first_deposits();
            assert_eq!(deposits.iter().map(|(_, amount)| amount).sum::<u64>(), LENDERS_DEPOSIT_DUSD);
            assert!(deposits.iter().all(|(_, amount)| *amount >= 100_000 && amount % 100 == 0));
        }
    }

    #[test]
    fn another_seed_is_another_cast() {
        assert_ne!(Cast { seed: 1 }.address(BORROWER), Cast { seed: 2 }.address(BORROWER));
        assert_ne!(Cast { seed: 1 }.address(BORROWER), Cast { seed: 1 }.address(ZAPPER));
    }
}
