//! Calls by activation, and which of them wait for which across a foreign account.
//!
//! In: a protocol and frames. Out: [`Pair`]s of an outer call and one that came back into the same account. Must never:
//! follow a parent that does not come before its child.

use crate::detector::is_named;
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use cordon_model::execution::{Execution, Frame, FrameKind};
use cordon_model::protocol::Protocol;

/// Most steps up the call tree over all inner calls of one transaction: a thousand re-entries at the depth limit of
/// 1,024. Beyond it the rest is not judged, which is stated.
pub(super) const WALK_STEPS_MAX: usize = 1 << 20;

/// An activation that waits, and one of the same account that came through foreign hands meanwhile. All are frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) outer: usize,
    pub(super) inner: usize,
    /// Foreign account through which control came back.
    pub(super) via: Address,
    /// The call by which it came back.
    pub(super) entry: usize,
    /// Where the inner call may change nothing: the activation that wanted to know.
    pub(super) reader: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) found: Vec<Pair>,
    pub(super) cut: bool,
}

/// Frames by activation.
pub(super) struct Calls<'a> {
    pub(super) protocol: &'a Protocol,
    pub(super) frames: &'a [Frame],
    /// For each frame the first frame of its activation.
    pub(super) roots: Vec<usize>,
}

impl<'a> Calls<'a> {
    pub(super) fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let frames = execution.frames.as_slice();
        let mut calls = Self { protocol, frames, roots: Vec::with_capacity(frames.len()) };
        for (index, frame) in frames.iter().enumerate() {
            let above = calls
                .parent(index)
                .filter(|above| calls.frame(*above).is_some_and(|parent| parent.address == frame.address));
            let root = above.and_then(|above| calls.roots.get(above).copied()).unwrap_or(index);
            calls.roots.push(root);
        }
        calls
    }

    pub(super) fn frame(&self, index: usize) -> Option<&'a Frame> {
        self.frames.get(index)
    }

    /// The frame above; a parent that does not come before its child is not followed.
    fn parent(&self, index: usize) -> Option<usize> {
        let parent = usize::try_from(self.frame(index)?.parent?).ok()?;
        (parent < index).then_some(parent)
    }

    pub(super) fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::default();
        let mut steps = WALK_STEPS_MAX;
        let mut entered: AddressSet = AddressSet::default();
        for (inner, frame) in self.frames.iter().enumerate() {
            if self.roots.get(inner) != Some(&inner) || frame.reverted || frame.precompile {
                continue;
            }
            // Nobody waits for the first activation of an account.
            if !entered.insert(frame.address) {
                self.walk_up(inner, frame, &mut steps, &mut pairs);
            }
        }
        pairs
    }

    /// Looks for outer activations of the same account above a foreign one.
    fn walk_up(&self, inner: usize, frame: &Frame, steps: &mut usize, pairs: &mut Pairs) {
        let reader = (frame.kind == FrameKind::StaticCall).then(|| self.reader(inner, steps)).flatten();
        let is_ours = |index: usize| self.frame(index).is_some_and(|by| self.protocol.protects(by.address));
        // A protected contract that asks, through whomever, is where control came back to; what it asks on the way is its
        // own choice. Of accounts that are not protected only what protected ones ask of them matters.
        let mut cursor = match reader.filter(|by| is_ours(*by)) {
            Some(by) => by,
            None if self.protocol.protects(frame.address) => inner,
            None => return,
        };
        let mut foreign: Option<(Address, usize)> = None;
        while let Some(above) = self.parent(cursor) {
            if *steps == 0 {
                pairs.cut = true;
                return;
            }
            *steps -= 1;
            let (Some(parent), Some(root)) = (self.frame(above), self.roots.get(above).copied()) else {
                return;
            };
            match foreign {
                None if !is_named(self.protocol, parent.address) && parent.address != frame.address => {
                    foreign = Some((parent.address, cursor));
                }
                Some((via, entry)) if parent.address == frame.address => {
                    if !parent.reverted {
                        pairs.found.push(Pair { outer: root, inner, via, entry, reader });
                    }
                    cursor = root;
                    continue;
                }
                None | Some(_) => {}
            }
            cursor = above;
        }
    }

    /// The nearest activation above a question that may change something itself: whoever goes by the answer.
    fn reader(&self, inner: usize, steps: &mut usize) -> Option<usize> {
        let mut cursor = self.parent(inner)?;
        loop {
            *steps = steps.checked_sub(1)?;
            let root = self.roots.get(cursor).copied()?;
            if self.frame(root)?.kind != FrameKind::StaticCall {
                return Some(root);
            }
            cursor = self.parent(root)?;
        }
    }
}
