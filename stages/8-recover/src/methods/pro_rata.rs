//! Pro rata: everybody gets the same share of what was lost.
//!
//! In: losses and funds. Out: `floor(loss * payable / total loss)` per account, where `payable` is the lesser of funds
//! and total loss. The product is computed in 512 bits, so that no amount is too large. What rounding leaves (less than
//! one unit per account) and what exceeds the total loss stays with the treasury as dust. The largest-remainder
//! method would distribute that rest as well, but it makes one account's payment depend on another's order in the
//! list; a unit of dust is a smaller price than a rule that victims cannot check with one division.
//!
//! Source: the pro-rata distributions of Balancer, Nomad and Euler, which pay the same share of every loss.

use super::{AllocationError, RecoveryMethod};
use crate::losses::Loss;
use alloy_primitives::{U256, U512};
use cordon_model::allocation::Entitlement;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct ProRata;

impl RecoveryMethod for ProRata {
    fn id(&self) -> &'static str {
        "pro-rata/1"
    }

    fn entitlements(
        &self,
        losses: &[Loss],
        total_loss_raw: U256,
        funds_raw: U256,
    ) -> Result<Vec<Entitlement>, AllocationError> {
        let payable_raw = funds_raw.min(total_loss_raw);
        let entitlement = |loss: &Loss| {
            let amount_raw =
                mul_div(loss.amount_raw, payable_raw, total_loss_raw).ok_or(AllocationError::NoLoss)?;
            Ok(Entitlement { account: loss.account, loss_raw: loss.amount_raw, amount_raw })
        };
        losses.iter().map(entitlement).collect()
    }
}

/// `floor(a * b / divisor)` over a 512-bit product; `None` for a zero divisor or a result beyond 256 bits.
fn mul_div(a: U256, b: U256, divisor: U256) -> Option<U256> {
    let product: U512 = a.widening_mul(b);
    let quotient = product.checked_div(U512::from(divisor))?;
    (quotient <= U512::from(U256::MAX)).then(|| quotient.saturating_to::<U256>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Losses, losses};
    use crate::methods::{AllocationInput, Method};
    use alloy_primitives::{Address, B256};
    use cordon_model::allocation::Allocation;
    use cordon_model::units::{Asset, BlockRef};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn lost(before: &BTreeMap<Address, U256>) -> Losses {
        losses(before, &BTreeMap::new(), &BTreeMap::new())
    }

    fn allocate(before: &BTreeMap<Address, U256>, funds_raw: U256) -> Allocation {
        let (losses, snapshot) = (lost(before), BlockRef { number: 1, hash: B256::ZERO });
        Method::ProRata
            .allocate(&AllocationInput { asset: Asset::Native, snapshot, losses: &losses, funds_raw })
            .unwrap()
    }

    fn amounts(amounts: &[u64]) -> BTreeMap<Address, U256> {
        (1u8..).zip(amounts).map(|(byte, raw)| (Address::repeat_byte(byte), U256::from(*raw))).collect()
    }

    fn paid(allocation: &Allocation) -> Vec<u64> {
        allocation.entitlements.iter().map(|entitlement| entitlement.amount_raw.to::<u64>()).collect()
    }

    #[test]
    fn half_the_funds_pay_half_of_every_loss() {
        let allocation = allocate(&amounts(&[10, 30, 60]), U256::from(50));
        assert_eq!(paid(&allocation), [5, 15, 30]);
        assert_eq!(allocation.dust_raw, U256::ZERO);
        assert_eq!(allocation.method, "pro-rata/1");
    }

    #[test]
    fn rounding_stays_with_the_treasury() {
        let allocation = allocate(&amounts(&[1, 1, 1]), U256::from(2));
        assert_eq!(paid(&allocation), [0, 0, 0]);
        assert_eq!(allocation.dust_raw, U256::from(2));
    }

    #[test]
    fn funds_beyond_the_loss_are_not_paid_out() {
        let allocation = allocate(&amounts(&[10, 5]), U256::from(100));
        assert_eq!(paid(&allocation), [10, 5]);
        assert_eq!(allocation.dust_raw, U256::from(85));
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let half = U256::MAX >> 1;
        let before = BTreeMap::from([(Address::repeat_byte(1), half), (Address::repeat_byte(2), half)]);
        let allocation = allocate(&before, U256::MAX);
        assert!(allocation.entitlements.iter().all(|entitlement| entitlement.amount_raw == half));
        assert_eq!(allocation.dust_raw, U256::from(1));
    }

    /// Up to forty accounts; amounts over the full width that a sum of forty leaves.
    fn holdings() -> impl Strategy<Value = BTreeMap<Address, U256>> {
        let amount = prop_oneof![any::<u8>().prop_map(U256::from), any::<[u64; 4]>().prop_map(wide)];
        let account = any::<[u8; 20]>().prop_map(Address::from);
        proptest::collection::btree_map(account, amount, 1..40)
            .prop_filter("somebody lost something", |before| before.values().any(|raw| !raw.is_zero()))
    }

    fn wide(limbs: [u64; 4]) -> U256 {
        U256::from_limbs(limbs).wrapping_shr(6)
    }

    proptest! {
        #[test]
        fn value_is_conserved_and_nobody_profits(before in holdings(), funds in any::<[u64; 4]>()) {
            let funds = U256::from_limbs(funds);
            let allocation = allocate(&before, funds);
            let paid = allocation.total_paid_raw().unwrap();
            prop_assert_eq!(paid.checked_add(allocation.dust_raw), Some(funds));
            for entitlement in &allocation.entitlements {
                prop_assert!(entitlement.amount_raw <= entitlement.loss_raw);
            }
            // Rounding costs less than one unit per account.
            let payable = funds.min(allocation.total_loss_raw);
            prop_assert!(payable.saturating_sub(paid) < U256::from(allocation.entitlements.len()));
        }

        #[test]
        fn who_lost_more_gets_no_less(before in holdings(), funds in any::<[u64; 4]>()) {
            let mut shares = allocate(&before, U256::from_limbs(funds)).entitlements;
            shares.sort_by_key(|entitlement| entitlement.loss_raw);
            for pair in shares.windows(2) {
                prop_assert!(pair[0].amount_raw <= pair[1].amount_raw);
                prop_assert!(pair[0].loss_raw != pair[1].loss_raw || pair[0].amount_raw == pair[1].amount_raw);
            }
        }

        #[test]
        fn the_order_of_accounts_does_not_matter(before in holdings(), funds in any::<[u64; 4]>()) {
            let funds = U256::from_limbs(funds);
            let forwards = allocate(&before, funds);
            // Complementing every address reverses their order.
            let turned: BTreeMap<Address, U256> = before.iter().map(|(key, raw)| (turn(*key), *raw)).collect();
            let mut backwards = allocate(&turned, funds);
            for entitlement in &mut backwards.entitlements {
                entitlement.account = turn(entitlement.account);
            }
            backwards.entitlements.reverse();
            prop_assert_eq!(forwards, backwards);
        }
    }

    fn turn(account: Address) -> Address {
        Address::from(account.0.0.map(|byte| !byte))
    }
}
