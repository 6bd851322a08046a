//! The part of a transaction that runs inside a protocol.
//!
//! In: a protocol and an execution. Out: the calls of the protocol that may change something, with how deep they are nested
//! in each other, and which frames run inside or below one of them. One pass over the frames. Must never: count what was
//! undone, or what is only read.

use alloy_primitives::Address;
use cordon_model::execution::{Execution, Frame, FrameKind};
use cordon_model::protocol::Protocol;

/// See the module.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    pub(super) protocol: &'a Protocol,
    pub(super) execution: &'a Execution,
    /// Calls of the protocol in order, each with how many calls of the protocol it runs in, itself included.
    pub(super) calls: Vec<(u32, &'a Frame)>,
    /// How many calls of the protocol each frame runs in, itself included.
    nesting: Vec<Nesting>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: u32,
    /// Under a `STATICCALL`, so that nothing can change.
    is_static: bool,
}

impl<'a> Reach<'a> {
    pub(super) fn of(protocol: &'a Protocol, execution: &'a Execution) -> Self {
        let mut nesting: Vec<Nesting> = Vec::with_capacity(execution.frames.len());
        let mut calls = Vec::new();
        for frame in &execution.frames {
            let above = frame.parent.and_then(|parent| nesting.get(usize::try_from(parent).ok()?));
            let mut own = above.copied().unwrap_or_default();
            own.is_static |= frame.kind == FrameKind::StaticCall;
            if !own.is_static && !frame.reverted && is_of(protocol, frame) {
                own.depth = own.depth.saturating_add(1);
                calls.push((own.depth, frame));
            }
            nesting.push(own);
        }
        Self { protocol, execution, calls, nesting }
    }

    /// True where the frame runs in a call of the protocol that may change something.
    pub(super) fn holds(&self, frame: u32) -> bool {
        let nesting = usize::try_from(frame).ok().and_then(|frame| self.nesting.get(frame));
        nesting.is_some_and(|nesting| nesting.depth > 0)
    }

    /// The contract of the protocol that is reached first.
    pub(super) fn first(&self) -> Option<Address> {
        let (_, frame) = self.calls.first()?;
        Some(if self.protocol.protects(frame.address) { frame.address } else { frame.code_address })
    }
}

/// A call of a protected contract, or of protected code on the storage of another.
fn is_of(protocol: &Protocol, frame: &Frame) -> bool {
    protocol.protects(frame.address) || protocol.protects(frame.code_address)
}
