//! How many movements of value a protocol makes in one transaction.
//!
//! In: the movements of the transaction. Out: the number of those that touch the protocol, or happen below one of its calls.

use super::reach::Reach;
use alloy_primitives::{B256, U256};
use cordon_model::baseline::{Aspect, Measure};

pub(super) fn measure(reach: &Reach<'_>) -> Vec<Measure> {
    let of_protocol = reach.execution.transfers.iter().filter(|moved| {
        reach.holds(moved.frame) || reach.protocol.protects(moved.from) || reach.protocol.protects(moved.to)
    });
    let value = U256::from(of_protocol.count());
    let measure = Measure { aspect: Aspect::Transfers, key: B256::ZERO, value };
    (!value.is_zero()).then_some(measure).into_iter().collect()
}
