//! What each account lost: holdings before the attack against holdings after it.
//!
//! In: two snapshots of one asset, and the accounts that are left out with the reason for each. Out: [`Losses`].
//! Must never: net one account's gain against another's loss, or drop an account silently. Whoever is not paid
//! appears in a list of its own.

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One account's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Account.
    pub account: Address,
    /// What it held at the snapshot before the attack, raw.
    pub before_raw: U256,
    /// What it held after the attack, raw.
    pub after_raw: U256,
    /// The difference, raw; never zero.
    pub amount_raw: U256,
}

/// One account that holds more than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gain {
    /// Account.
    pub account: Address,
    /// How much more, raw.
    pub amount_raw: U256,
}

/// An account that is not paid whatever it lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Account.
    pub account: Address,
    /// What it held before, raw.
    pub before_raw: U256,
    /// What it held after, raw.
    pub after_raw: U256,
    /// Why it is left out.
    pub why: String,
}

/// All accounts of two snapshots, sorted by what happened to them. Each list is ordered by account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Accounts that lost.
    pub losses: Vec<Loss>,
    /// Accounts that gained; their loss is zero.
    pub gains: Vec<Gain>,
    /// Accounts that hold exactly what they held.
    pub unchanged: Vec<Address>,
    /// Accounts that were left out by decision.
    pub excluded: Vec<Excluded>,
}

impl Losses {
    /// Sum of all losses, raw; `None` where it exceeds 256 bits.
    #[must_use]
    pub fn total_raw(&self) -> Option<U256> {
        self.losses.iter().try_fold(U256::ZERO, |sum, loss| sum.checked_add(loss.amount_raw))
    }
}

/// Compares two snapshots of one asset. An account that a snapshot does not name held nothing then. `exclude` names the
/// accounts that are not paid (the attacker, the protocol's own contracts) and why; one of them that appears in no
/// snapshot is listed all the same, so that the decision stays visible.
#[must_use]
pub fn losses(
    before: &BTreeMap<Address, U256>,
    after: &BTreeMap<Address, U256>,
    exclude: &BTreeMap<Address, String>,
) -> Losses {
    let accounts: BTreeSet<Address> =
        before.keys().chain(after.keys()).chain(exclude.keys()).copied().collect();
    let held = |snapshot: &BTreeMap<Address, U256>, account: &Address| {
        snapshot.get(account).copied().unwrap_or(U256::ZERO)
    };

    let mut result = Losses { losses: vec![], gains: vec![], unchanged: vec![], excluded: vec![] };
    for account in accounts {
        let (before_raw, after_raw) = (held(before, &account), held(after, &account));
        if let Some(why) = exclude.get(&account) {
            result.excluded.push(Excluded { account, before_raw, after_raw, why: why.clone() });
        } else if let Some(amount_raw) = before_raw.checked_sub(after_raw).filter(|loss| !loss.is_zero()) {
            result.losses.push(Loss { account, before_raw, after_raw, amount_raw });
        } else if let Some(amount_raw) = after_raw.checked_sub(before_raw).filter(|gain| !gain.is_zero()) {
            result.gains.push(Gain { account, amount_raw });
        } else {
            result.unchanged.push(account);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn account(byte: u8) -> Address {
        Address::repeat_byte(byte)
    }

    fn snapshot(entries: &[(u8, u64)]) -> BTreeMap<Address, U256> {
        entries.iter().map(|(byte, amount)| (account(*byte), U256::from(*amount))).collect()
    }

    #[test]
    fn every_account_ends_in_exactly_one_list() {
        let before = snapshot(&[(1, 100), (2, 50), (3, 7), (4, 10)]);
        let after = snapshot(&[(1, 40), (2, 60), (3, 7), (9, 93)]);
        let exclude = BTreeMap::from([(account(9), "sent the attack".to_owned())]);
        let result = losses(&before, &after, &exclude);

        let lost: Vec<_> = result.losses.iter().map(|loss| (loss.account, loss.amount_raw)).collect();
        assert_eq!(lost, [(account(1), U256::from(60)), (account(4), U256::from(10))]);
        assert_eq!(result.gains, [Gain { account: account(2), amount_raw: U256::from(10) }]);
        assert_eq!(result.unchanged, [account(3)]);
        assert_eq!(result.excluded.len(), 1);
        assert_eq!(result.excluded[0].after_raw, U256::from(93));
        assert_eq!(result.excluded[0].why, "sent the attack");
        assert_eq!(result.total_raw(), Some(U256::from(70)));
    }

    #[test]
    fn a_gain_of_one_does_not_lessen_the_loss_of_another() {
        let result = losses(&snapshot(&[(1, 10)]), &snapshot(&[(2, 10)]), &BTreeMap::new());
        assert_eq!(result.total_raw(), Some(U256::from(10)));
        assert_eq!(result.gains.len(), 1);
    }

    #[test]
    fn a_sum_beyond_256_bits_is_not_wrapped() {
        let before = BTreeMap::from([(account(1), U256::MAX), (account(2), U256::MAX)]);
        assert_eq!(losses(&before, &BTreeMap::new(), &BTreeMap::new()).total_raw(), None);
    }
}
