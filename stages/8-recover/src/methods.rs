//! The methods by which funds are distributed, and the check that all of them pass.
//!
//! In: losses and funds at hand. Out: an `Allocation`. A new method is one file under `methods/` and one line in each
//! `match` below. Whatever a method computes is checked here before anybody sees it: the amounts and the dust add up
//! to the funds, nobody gets more than was lost, and nobody who lost is missing.

mod pro_rata;

pub use pro_rata::ProRata;

use crate::losses::{Loss, Losses};
use alloy_primitives::U256;
use cordon_model::allocation::{Allocation, Entitlement};
use cordon_model::units::{Asset, BlockRef};

/// Distributes funds among those who lost.
pub trait RecoveryMethod {
    /// Name and version, as it is written into the allocation, for instance `pro-rata/1`.
    fn id(&self) -> &'static str;

    /// One entitlement per loss, in the same order. `total_loss_raw` is the sum of the losses and is not zero.
    ///
    /// # Errors
    /// [`AllocationError`] where the method cannot be applied to these losses.
    fn entitlements(
        &self,
        losses: &[Loss],
        total_loss_raw: U256,
        funds_raw: U256,
    ) -> Result<Vec<Entitlement>, AllocationError>;
}

/// The visible list of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// See [`ProRata`].
    ProRata,
}

impl Method {
    /// All methods.
    pub const ALL: &'static [Self] = &[Self::ProRata];

    /// The name by which a method is configured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProRata => "pro-rata",
        }
    }

    /// The method of this name.
    ///
    /// # Errors
    /// [`AllocationError::UnknownMethod`], which lists the known names.
    pub fn from_name(name: &str) -> Result<Self, AllocationError> {
        Self::ALL.iter().copied().find(|method| method.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|method| method.name()).collect();
            AllocationError::UnknownMethod { name: name.to_owned(), known: known.join(", ") }
        })
    }

    fn implementation(self) -> &'static dyn RecoveryMethod {
        match self {
            Self::ProRata => &ProRata,
        }
    }

    /// Distributes the funds and checks the result.
    ///
    /// # Errors
    /// [`AllocationError`] where there is no loss, the losses exceed 256 bits, or the method breaks a rule.
    pub fn allocate(self, input: &AllocationInput<'_>) -> Result<Allocation, AllocationError> {
        allocate_by(self.implementation(), input)
    }
}

/// What an allocation is computed from.
#[derive(Debug, Clone, Copy)]
pub struct AllocationInput<'a> {
    /// Asset in which losses and funds are counted.
    pub asset: Asset,
    /// Last block before the loss.
    pub snapshot: BlockRef,
    /// Who lost what.
    pub losses: &'a Losses,
    /// Funds at hand, raw.
    pub funds_raw: U256,
}

/// Why funds cannot be allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// There is no method of this name.
    #[error("recovery method '{name}' is unknown, expected one of: {known}")]
    UnknownMethod {
        /// What was asked for.
        name: String,
        /// Known names.
        known: String,
    },
    /// Nobody lost anything.
    #[error("no account lost anything, so there is nothing to allocate")]
    NoLoss,
    /// The losses do not fit the number type, so the token's amounts cannot be real.
    #[error("the sum of {accounts} losses exceeds 256 bits")]
    LossOverflow {
        /// Number of accounts that lost.
        accounts: usize,
    },
    /// The method's result is wrong; nothing of it is used.
    #[error("recovery method '{method}' broke the rule: {rule}")]
    RuleBroken {
        /// Method and version.
        method: String,
        /// The rule.
        rule: &'static str,
    },
}

fn allocate_by(
    method: &dyn RecoveryMethod,
    input: &AllocationInput<'_>,
) -> Result<Allocation, AllocationError> {
    let losses = input.losses.losses.as_slice();
    let total_loss_raw =
        input.losses.total_raw().ok_or(AllocationError::LossOverflow { accounts: losses.len() })?;
    if total_loss_raw.is_zero() {
        return Err(AllocationError::NoLoss);
    }
    let entitlements = method.entitlements(losses, total_loss_raw, input.funds_raw)?;
    let dust_raw = check(losses, &entitlements, input.funds_raw)
        .map_err(|rule| AllocationError::RuleBroken { method: method.id().to_owned(), rule })?;
    Ok(Allocation {
        asset: input.asset,
        method: method.id().to_owned(),
        snapshot: input.snapshot,
        funds_raw: input.funds_raw,
        total_loss_raw,
        entitlements,
        dust_raw,
    })
}

/// The rules of every allocation; gives what is left of the funds.
fn check(losses: &[Loss], entitlements: &[Entitlement], funds_raw: U256) -> Result<U256, &'static str> {
    if losses.len() != entitlements.len() {
        return Err("everybody who lost is named once");
    }
    let mut left_raw = funds_raw;
    for (loss, entitlement) in losses.iter().zip(entitlements) {
        if entitlement.account != loss.account || entitlement.loss_raw != loss.amount_raw {
            return Err("every entitlement belongs to the loss in its place");
        }
        if entitlement.amount_raw > loss.amount_raw {
            return Err("nobody is paid more than was lost");
        }
        left_raw =
            left_raw.checked_sub(entitlement.amount_raw).ok_or("no more is paid than there are funds")?;
    }
    Ok(left_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};
    use std::collections::BTreeMap;

    /// A method that pays everybody in full, whatever the funds.
    struct Generous;

    impl RecoveryMethod for Generous {
        fn id(&self) -> &'static str {
            "generous/1"
        }

        fn entitlements(
            &self,
            losses: &[Loss],
            _total_loss_raw: U256,
            _funds_raw: U256,
        ) -> Result<Vec<Entitlement>, AllocationError> {
            let full = |loss: &Loss| Entitlement {
                account: loss.account,
                loss_raw: loss.amount_raw,
                amount_raw: loss.amount_raw,
            };
            Ok(losses.iter().map(full).collect())
        }
    }

    fn lost(amounts: &[u64]) -> Losses {
        let before: BTreeMap<Address, U256> =
            (1u8..).zip(amounts).map(|(byte, raw)| (Address::repeat_byte(byte), U256::from(*raw))).collect();
        crate::losses::losses(&before, &BTreeMap::new(), &BTreeMap::new())
    }

    fn input(losses: &Losses, funds: u64) -> AllocationInput<'_> {
        let snapshot = BlockRef { number: 1, hash: B256::ZERO };
        AllocationInput { asset: Asset::Native, snapshot, losses, funds_raw: U256::from(funds) }
    }

    #[test]
    fn a_method_that_spends_more_than_there_is_is_refused() {
        let losses = lost(&[10, 20]);
        let error = allocate_by(&Generous, &input(&losses, 29)).unwrap_err();
        let text = "recovery method 'generous/1' broke the rule: no more is paid than there are funds";
        assert_eq!(error.to_string(), text);
        assert_eq!(allocate_by(&Generous, &input(&losses, 31)).unwrap().dust_raw, U256::from(1));
    }

    #[test]
    fn nothing_is_allocated_where_nobody_lost() {
        let losses = lost(&[]);
        assert_eq!(Method::ProRata.allocate(&input(&losses, 5)), Err(AllocationError::NoLoss));
    }

    #[test]
    fn methods_are_found_by_name() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name()), Ok(*method));
        }
        let error = Method::from_name("lottery").unwrap_err();
        assert_eq!(error.to_string(), "recovery method 'lottery' is unknown, expected one of: pro-rata");
    }
}
