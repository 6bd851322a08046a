//! What calls that wait for each other did to the same storage.
//!
//! In: pairs of calls, and accesses. Out: slots in conflict. Must never: call a slot conflicting that ends as the inner call
//! saw it.

use super::calls::{Calls, Pair};
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, U256};
use cordon_model::execution::{AccessKind, Execution, FrameKind, StorageAccess};
use std::collections::{BTreeMap, BTreeSet};

/// Largest value of a lock: OpenZeppelin's guard goes from 1 to 2, a flag from 0 to 1.
const LOCK_MAX: u8 = 2;

/// What an activation did to one slot.
#[derive(Debug, Clone, Copy)]
struct SlotUse {
    first_read_seq: Option<u32>,
    last_read: Option<(u32, U256)>,
    last_write: Option<(u32, U256)>,
    /// Value at its last access.
    last_value: U256,
}

/// A conflict of an inner call with an outer one that waits for it.
#[derive(Debug)]
pub(super) enum Conflict {
    /// The inner call used what the outer one changed after it.
    Unsettled(BTreeSet<U256>),
    /// The inner call changed what the outer one had read and did not read again.
    Stale(BTreeSet<U256>),
}

/// Storage uses of the accounts in question, by activation.
#[derive(Debug, Default)]
pub(super) struct Uses {
    uses: BTreeMap<usize, BTreeMap<U256, SlotUse>>,
    /// Sequence numbers of lasting writes to protected contracts, ascending.
    protected_writes: Vec<u32>,
}

impl Uses {
    pub(super) fn of(calls: &Calls<'_>, pairs: &[Pair], execution: &Execution) -> Self {
        let mut uses = Self::default();
        let of_pairs = pairs.iter().filter_map(|pair| Some(calls.frame(pair.inner)?.address));
        let wanted: AddressSet = of_pairs.collect();
        for access in &execution.accesses {
            let Ok(index) = usize::try_from(access.frame) else { continue };
            let Some(frame) = calls.frame(index) else { continue };
            if frame.reverted || frame.address != access.address {
                continue;
            }
            if access.kind == AccessKind::Write && calls.protocol.protects(access.address) {
                uses.protected_writes.push(access.seq);
            }
            let Some(root) = calls.roots.get(index).copied() else { continue };
            if wanted.contains(&access.address) {
                uses.note(root, access);
            }
        }
        uses.protected_writes.sort_unstable();
        uses
    }

    fn note(&mut self, root: usize, access: &StorageAccess) {
        let slots = self.uses.entry(root).or_default();
        let entry = slots.entry(access.slot).or_insert(SlotUse {
            first_read_seq: None,
            last_read: None,
            last_write: None,
            last_value: access.value,
        });
        entry.last_value = access.value;
        match access.kind {
            AccessKind::Read => {
                entry.first_read_seq.get_or_insert(access.seq);
                entry.last_read = Some((access.seq, access.value));
            }
            AccessKind::Write => entry.last_write = Some((access.seq, access.value)),
        }
    }

    /// What the two calls of a pair disagree about.
    pub(super) fn conflict(&self, calls: &Calls<'_>, pair: &Pair) -> Option<Conflict> {
        let inner_frame = calls.frame(pair.inner)?;
        let (outer_uses, inner_uses) = (self.uses.get(&pair.outer)?, self.uses.get(&pair.inner)?);
        let shared = || {
            let uses = inner_uses.iter();
            uses.filter_map(|(slot, inner_use)| Some((*slot, *inner_use, *outer_uses.get(slot)?)))
        };
        let is_question = inner_frame.kind == FrameKind::StaticCall;
        let unsettled: BTreeSet<U256> = shared()
            .filter(|(_, inner, outer)| is_settled_later(inner, outer, inner_frame.exit_seq, is_question))
            .map(|(slot, ..)| slot)
            .collect();
        if !unsettled.is_empty() {
            return Some(Conflict::Unsettled(unsettled));
        }
        let stale: BTreeSet<U256> = shared()
            .filter(|(_, inner, outer)| is_stale(inner, outer, inner_frame.enter_seq))
            .map(|(slot, ..)| slot)
            .collect();
        (!stale.is_empty()).then_some(Conflict::Stale(stale))
    }

    /// True where a call changed the protected system.
    pub(super) fn wrote(&self, calls: &Calls<'_>, entry: usize) -> bool {
        let Some(frame) = calls.frame(entry) else { return false };
        let first = self.protected_writes.partition_point(|seq| *seq < frame.enter_seq);
        let wrote = self.protected_writes.get(first).is_some_and(|seq| *seq <= frame.exit_seq);
        frame.kind != FrameKind::StaticCall && wrote
    }
}

/// True where an account gave or received something after a question and before its call ended.
pub(super) fn moved_after(
    calls: &Calls<'_>,
    execution: &Execution,
    account: Address,
    within: usize,
    asked: usize,
) -> bool {
    let (Some(within), Some(asked)) = (calls.frame(within), calls.frame(asked)) else { return false };
    execution.transfers.iter().any(|moved| {
        let is_after = asked.exit_seq < moved.seq && moved.seq <= within.exit_seq;
        is_after && !moved.amount_raw.is_zero() && (moved.from == account || moved.to == account)
    })
}

/// The outer call changed the slot after the inner one had used it and returned. A question that sees a lock is none.
fn is_settled_later(inner: &SlotUse, outer: &SlotUse, inner_exit_seq: u32, is_question: bool) -> bool {
    let later = outer.last_write.filter(|(seq, value)| *seq > inner_exit_seq && *value != inner.last_value);
    later.is_some_and(|(_, value)| !(is_question && is_lock(inner.last_value, value)))
}

/// True where two values differ in one byte only, in which neither holds more than a lock does: the slot of a guard, or one
/// that a guard shares with what did not change.
fn is_lock(seen: U256, left: U256) -> bool {
    let bytes = || seen.to_be_bytes::<32>().into_iter().zip(left.to_be_bytes::<32>());
    let mut apart = bytes().filter(|(seen, left)| seen != left);
    let first = apart.next().is_some_and(|(seen, left)| seen.max(left) <= LOCK_MAX);
    first && apart.next().is_none()
}

/// The inner call changed a slot whose old value the outer one had read, and which the outer one never looked at again.
fn is_stale(inner: &SlotUse, outer: &SlotUse, inner_enter_seq: u32) -> bool {
    let Some((_, written)) = inner.last_write else { return false };
    let (Some(first_read), Some((last_read, read))) = (outer.first_read_seq, outer.last_read) else {
        return false;
    };
    let settled = outer.last_write.is_some_and(|(seq, _)| seq > inner_enter_seq);
    first_read < inner_enter_seq && last_read < inner_enter_seq && !settled && written != read
}
