//! Re-entrancy: a protected contract is entered again through a foreign account while an outer call of it waits, and
//! the inner call uses state that the outer one has not settled yet.
//!
//! In: frames and storage accesses. Out: at most one finding per contract and transaction, the strongest. Must never:
//! judge by the shape of the calls where accesses are known. Callbacks are everyday business; only state that both
//! calls use in conflict is a ground.
//!
//! # What is compared
//!
//! An *activation* is one entry into an account together with everything that runs on the same storage without
//! leaving it: delegate calls (so a proxy and its implementation are one) and calls of itself. For an inner activation
//! and each outer one that waits for it across a foreign account, with effects that lasted:
//!
//! | conflict | score | meaning |
//! |---|---|---|
//! | the inner call used a slot that the outer one changed after the inner returned, and control wrote to the protected system on the way | 800 | acted on unsettled state |
//! | the inner call wrote a slot that the outer one had read before and did not read again | 500 | the outer call went on with a stale value |
//! | as the first, but nothing protected was written on the way | 300 | read unsettled state only |
//!
//! The third is what read-only re-entrancy leaves behind, and also what a harmless callback leaves that asks for a
//! total. Seen alone it stays below the policy's incident threshold; together with a loss in the same transaction,
//! which is another detector's to see, it confirms. A slot that ends with the value which the inner call saw is no
//! conflict. A guard that works makes the inner call revert, and what was undone is not looked at.
//!
//! # Source and limits
//!
//! Sereum (Rodler et al., NDSS 2019) follows data from re-entered calls into later writes and reports 0.06 % of
//! transactions as false alarms; comparing slots and values is its cheap form. Foreign is every account that the
//! operator did not name: named tokens and vaults do not hand control to strangers by themselves. Limits: transient
//! storage is not compared; a conflict over state that lives in another contract is seen where that contract is
//! protected and entered again. Executions that come from a node's traces carry no accesses: the shape of the calls is
//! seen, the conflict is not. The shape alone (a call that may write, into a contract whose own call is still open
//! under the sender's side) has a score of 300, and a gap says what is not known: 6 of 93 archived attacks have it, and
//! none of the 6,187 ordinary transactions at hand whose accesses are not known (`cordon backtest`).

use crate::detector::{Detector, Statement, is_named};
use alloy_primitives::{Address, U256};
use cordon_model::execution::{AccessKind, Execution, Frame, FrameKind};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Score of a conflict of this kind; see the table of the module. The order, not the distance, carries meaning.
const SCORE_ACTED: Score = Score(800);
/// Score of an outer call that went on with a stale value.
const SCORE_STALE: Score = Score(500);
/// Score of a read without any write; below the default of the policy's `alarm_score`.
const SCORE_READ_ONLY: Score = Score(300);

/// Score of calls of that shape where no accesses are known.
const SCORE_SHAPE: Score = Score(300);

/// Most steps up the call tree over all inner calls of one transaction: a thousand re-entries at the depth limit of
/// 1,024. Beyond it the rest is not judged, which is stated.
const WALK_STEPS_MAX: usize = 1 << 20;

/// Most slots named as evidence; people look at the first few.
const SLOTS_MAX: usize = 16;

/// Configuration of [`Reentrancy`]: nothing to set. What is protected and what is foreign follows from the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReentrancyConfig {}

impl ReentrancyConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> Reentrancy {
        Reentrancy {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Reentrancy {}

impl Detector for Reentrancy {
    fn name(&self) -> &'static str {
        "reentrancy"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let tree = CallTree::of(protocol, execution);
        let mut strongest: BTreeMap<Address, Conflict> = BTreeMap::new();
        for conflict in tree.conflicts().found {
            match strongest.get_mut(&conflict.contract) {
                Some(known) => known.merge(conflict),
                None => {
                    strongest.insert(conflict.contract, conflict);
                }
            }
        }
        let finding = |conflict: Conflict| {
            Statement {
                class: AttackClass::Reentrancy,
                contract: conflict.contract,
                score: conflict.score,
                evidence: Evidence::Reentry {
                    contract: conflict.contract,
                    outer: tree.frame(conflict.outer).and_then(Frame::selector),
                    inner: tree.frame(conflict.inner).and_then(Frame::selector),
                    via: conflict.via,
                    slots: conflict.slots.into_iter().take(SLOTS_MAX).collect(),
                },
            }
            .by(self.name(), protocol, execution)
        };
        strongest.into_values().map(finding).collect()
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let mut gaps = Vec::new();
        if execution.truncated {
            gaps.push("the record of the transaction was cut; calls and accesses may be missing".to_owned());
        }
        let conflicts = CallTree::of(protocol, execution).conflicts();
        if conflicts.entered_again && !execution.detail.knows_accesses() {
            gaps.push(
                "a protected contract was entered again through a foreign account; the record comes from a node's \
                 traces, which do not tell the storage accesses, so whether the calls conflict is not known"
                    .to_owned(),
            );
        }
        if conflicts.cut {
            gaps.push(format!(
                "more than {WALK_STEPS_MAX} steps through the call tree; the rest was not judged"
            ));
        }
        gaps
    }
}

/// An inner activation in conflict with an outer one.
#[derive(Debug)]
struct Conflict {
    contract: Address,
    outer: usize,
    inner: usize,
    via: Address,
    score: Score,
    slots: BTreeSet<U256>,
}

impl Conflict {
    /// Keeps the stronger of two, the earlier of equals, with the slots of both where they are equal.
    fn merge(&mut self, other: Self) {
        if other.score > self.score {
            *self = other;
        } else if other.score == self.score {
            self.slots.extend(other.slots);
        }
    }
}

#[derive(Debug, Default)]
struct Conflicts {
    found: Vec<Conflict>,
    /// True where the calls have the shape, whatever the accesses say.
    entered_again: bool,
    cut: bool,
}

/// What an activation did to one slot.
#[derive(Debug, Clone, Copy)]
struct SlotUse {
    first_read_seq: Option<u32>,
    last_read: Option<(u32, U256)>,
    last_write: Option<(u32, U256)>,
    /// Value at its last access.
    last_value: U256,
}

/// Frames by activation, with their storage uses.
struct CallTree<'a> {
    protocol: &'a Protocol,
    frames: &'a [Frame],
    /// For each frame the first frame of its activation.
    roots: Vec<usize>,
    uses: BTreeMap<usize, BTreeMap<U256, SlotUse>>,
    /// Sequence numbers of lasting writes to protected contracts, ascending.
    protected_writes: Vec<u32>,
    knows_accesses: bool,
}

impl<'a> CallTree<'a> {
    fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let frames = execution.frames.as_slice();
        let mut tree = Self {
            protocol,
            frames,
            roots: vec![],
            uses: BTreeMap::new(),
            protected_writes: vec![],
            knows_accesses: execution.detail.knows_accesses(),
        };
        for (index, frame) in frames.iter().enumerate() {
            let above = tree
                .parent(index)
                .filter(|above| tree.frame(*above).is_some_and(|parent| parent.address == frame.address));
            let root = above.and_then(|above| tree.roots.get(above).copied()).unwrap_or(index);
            tree.roots.push(root);
        }
        tree.sort_accesses(execution);
        tree
    }

    fn sort_accesses(&mut self, execution: &Execution) {
        for access in &execution.accesses {
            let Ok(index) = usize::try_from(access.frame) else { continue };
            let Some(frame) = self.frame(index) else { continue };
            if frame.reverted || frame.address != access.address || !self.protocol.protects(access.address) {
                continue;
            }
            let Some(root) = self.roots.get(index).copied() else { continue };
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
                AccessKind::Write => {
                    entry.last_write = Some((access.seq, access.value));
                    self.protected_writes.push(access.seq);
                }
            }
        }
        self.protected_writes.sort_unstable();
    }

    fn frame(&self, index: usize) -> Option<&'a Frame> {
        self.frames.get(index)
    }

    /// The frame above; a parent that does not come before its child is not followed.
    fn parent(&self, index: usize) -> Option<usize> {
        let parent = usize::try_from(self.frame(index)?.parent?).ok()?;
        (parent < index).then_some(parent)
    }

    fn conflicts(&self) -> Conflicts {
        let mut conflicts = Conflicts::default();
        let mut steps = WALK_STEPS_MAX;
        for (inner, frame) in self.frames.iter().enumerate() {
            let entered = self.roots.get(inner) == Some(&inner);
            if entered && !frame.reverted && self.protocol.protects(frame.address) {
                self.walk_up(inner, frame, &mut steps, &mut conflicts);
            }
        }
        conflicts
    }

    /// Looks for outer activations of the same account above a foreign one.
    fn walk_up(&self, inner: usize, frame: &Frame, steps: &mut usize, conflicts: &mut Conflicts) {
        let mut foreign: Option<(Address, usize)> = None;
        let mut cursor = inner;
        while let Some(above) = self.parent(cursor) {
            if *steps == 0 {
                conflicts.cut = true;
                return;
            }
            *steps -= 1;
            let (Some(parent), Some(root)) = (self.frame(above), self.roots.get(above).copied()) else {
                return;
            };
            match foreign {
                None if !is_named(self.protocol, parent.address) => foreign = Some((parent.address, cursor)),
                Some((via, entry)) if parent.address == frame.address => {
                    conflicts.entered_again |= !parent.reverted;
                    conflicts.found.extend(self.compare(root, inner, via, entry));
                    cursor = root;
                    continue;
                }
                None | Some(_) => {}
            }
            cursor = above;
        }
    }

    fn compare(&self, outer: usize, inner: usize, via: Address, entry: usize) -> Option<Conflict> {
        let (outer_frame, inner_frame) = (self.frame(outer)?, self.frame(inner)?);
        if outer_frame.reverted {
            return None;
        }
        if !self.knows_accesses {
            let may_write = |frame: &Frame| frame.kind == FrameKind::Call && frame.selector().is_some();
            let has_shape = may_write(outer_frame) && may_write(inner_frame);
            let (contract, score, slots) = (inner_frame.address, SCORE_SHAPE, BTreeSet::new());
            return has_shape.then_some(Conflict { contract, outer, inner, via, score, slots });
        }
        let (outer_uses, inner_uses) = (self.uses.get(&outer)?, self.uses.get(&inner)?);
        let shared = || {
            let uses = inner_uses.iter();
            uses.filter_map(|(slot, inner_use)| Some((*slot, *inner_use, *outer_uses.get(slot)?)))
        };
        let settled_later: BTreeSet<U256> = shared()
            .filter(|(_, inner_use, outer_use)| is_settled_later(inner_use, outer_use, inner_frame.exit_seq))
            .map(|(slot, ..)| slot)
            .collect();
        let (score, slots) = if settled_later.is_empty() {
            let stale = shared()
                .filter(|(_, inner_use, outer_use)| is_stale(inner_use, outer_use, inner_frame.enter_seq))
                .map(|(slot, ..)| slot);
            (SCORE_STALE, stale.collect())
        } else if self.acted(entry) {
            (SCORE_ACTED, settled_later)
        } else {
            (SCORE_READ_ONLY, settled_later)
        };
        let contract = inner_frame.address;
        (!slots.is_empty()).then_some(Conflict { contract, outer, inner, via, score, slots })
    }

    /// True where the call that came back from foreign hands changed the protected system.
    fn acted(&self, entry: usize) -> bool {
        let Some(frame) = self.frame(entry) else { return false };
        let first = self.protected_writes.partition_point(|seq| *seq < frame.enter_seq);
        let wrote = self.protected_writes.get(first).is_some_and(|seq| *seq <= frame.exit_seq);
        frame.kind != FrameKind::StaticCall && wrote
    }
}

/// The outer call changed the slot after the inner one had used it and returned.
fn is_settled_later(inner: &SlotUse, outer: &SlotUse, inner_exit_seq: u32) -> bool {
    outer.last_write.is_some_and(|(seq, value)| seq > inner_exit_seq && value != inner.last_value)
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

#[cfg(test)]
mod tests;
