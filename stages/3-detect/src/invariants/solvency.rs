//! What the protocol loses by its books: nothing, where the operator gave prices and account lines.
//!
//! In: the books of `value-loss`. Out: the loss as a share of what was held, in basis points, where everything that the books need could
//! be read. Whatever is below a basis point, like rounding, is none; a fee or a write-off that recurs becomes the bound. It sees losses
//! below the operator's thresholds, and stands in for the bound on total borrow of Trace2Inv (6 of 27 exploits at 12.6 % false alarms),
//! which grows with the protocol while a loss does not.

use super::Bound;
use crate::detectors::value_loss::booked_loss;
use crate::entry::Entries;
use alloy_primitives::{U256, keccak256};
use cordon_model::baseline::{Aspect, Baseline};

pub(super) fn bounds(entries: &Entries<'_>, _: &Baseline) -> Vec<Bound> {
    let loss = booked_loss(entries.protocol, entries.execution);
    let key = keccak256(b"books");
    let bound =
        loss.map(|(contract, share)| Bound::alone(contract, Aspect::BookLoss, key, U256::from(share.0)));
    bound.into_iter().collect()
}
