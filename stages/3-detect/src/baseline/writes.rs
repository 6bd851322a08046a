//! How many storage slots a protocol's calls write in one transaction.
//!
//! In: the accesses of the transaction. Out: the number of writes in and below the protocol's calls. Where accesses are not
//! recorded nothing is measured, so that nothing is learned either.

use super::reach::Reach;
use alloy_primitives::{B256, U256};
use cordon_model::baseline::{Aspect, Measure};
use cordon_model::execution::AccessKind;

pub(super) fn measure(reach: &Reach<'_>) -> Vec<Measure> {
    let accesses = reach.execution.accesses.iter();
    let writes = accesses.filter(|access| access.kind == AccessKind::Write && reach.holds(access.frame));
    let value: U256 = writes.map(|access| U256::from(access.times)).sum();
    let measure = Measure { aspect: Aspect::Writes, key: B256::ZERO, value };
    (!value.is_zero()).then_some(measure).into_iter().collect()
}
