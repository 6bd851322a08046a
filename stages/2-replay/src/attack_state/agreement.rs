//! Whether an execution does what a tree of calls tells.
//!
//! In: the tree as an execution, and the execution. Out: the first frame in which they differ. Must never: pass over a
//! frame that one of them has and the other has not.
//!
//! Compared are, frame by frame in the order of entry: kind, caller, account, code, selector, length of the calldata, and
//! whether it succeeded. Not compared are amounts in the calldata (some follow the block's time, which is assumed), gas,
//! return data, and calls of precompiled contracts, which some tracers leave out.

use alloy_primitives::{Address, Selector};
use cordon_model::execution::{Execution, Frame, FrameKind};
use std::fmt;

/// What has to be equal of a frame.
struct Shape {
    call: Call,
    succeeded: bool,
}

/// The part of it that is known when the frame is entered.
#[derive(PartialEq, Eq)]
struct Call {
    kind: FrameKind,
    caller: Address,
    address: Address,
    code_address: Address,
    selector: Option<Selector>,
    input_len: usize,
}

impl Shape {
    fn of(frame: &Frame) -> Self {
        let call = Call {
            kind: frame.kind,
            caller: frame.caller,
            address: frame.address,
            code_address: frame.code_address,
            selector: frame.selector(),
            input_len: frame.input.len(),
        };
        Self { call, succeeded: frame.status.is_success() }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, code, len, caller) = (self.kind, self.code_address, self.input_len, self.caller);
        match self.selector {
            Some(selector) => write!(f, "{kind:?} of {code} ({selector}, {len} bytes) by {caller}"),
            None => write!(f, "{kind:?} of {code} ({len} bytes) by {caller}"),
        }
    }
}

/// Where they part, and how; `None` where all agree. That is the last call that both made before their calls differ,
/// if it ended differently, or else the first call that differs.
pub(super) fn difference(tree: &Execution, executed: &Execution) -> Option<(usize, String)> {
    if tree.truncated || executed.truncated {
        return Some((0, "a record is cut, so that not all calls can be compared".to_owned()));
    }
    let (mut expected, mut found) = (shapes(tree), shapes(executed));
    let mut at = 0usize;
    let mut ended: Option<(usize, String)> = None;
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return ended,
            (Some(expected), Some(found)) if expected.call == found.call => {
                if expected.succeeded != found.succeeded {
                    let word = |succeeded| if succeeded { "succeeds" } else { "fails" };
                    let (is, should) = (word(found.succeeded), word(expected.succeeded));
                    ended = Some((at, format!("{} {is}, it {should} there", found.call)));
                }
                at = at.saturating_add(1);
            }
            (Some(expected), Some(found)) => {
                return ended.or_else(|| Some((at, format!("{} instead of {}", found.call, expected.call))));
            }
            (Some(expected), None) => {
                return ended.or_else(|| Some((at, format!("it ends before {}", expected.call))));
            }
            (None, Some(found)) => {
                return ended.or_else(|| Some((at, format!("it goes on with {}", found.call))));
            }
        }
    }
}

fn shapes(execution: &Execution) -> impl Iterator<Item = Shape> {
    execution.frames.iter().filter(|frame| !frame.precompile).map(Shape::of)
}
