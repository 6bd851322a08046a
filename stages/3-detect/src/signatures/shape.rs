//! The shape of a transaction: what crosses the border of the sender's side, without addresses and amounts.
//!
//! In: a protocol and an execution. Out: a [`Shape`], its hash, and its grams. Must never: take the beginning of a shape for all of it.
//! A record that was cut has no exact shape.
//!
//! A *step* is a call across the border that may change something and was kept: from the sender's side to anybody else, or back. What
//! happens on one side is left out, so that another contract in between, or another name of an own function, changes nothing. Loops
//! collapse: a part of up to [`PERIOD_MAX`] steps that is repeated at once counts once, since how often a step pays depends on amounts.
//!
//! The hash knows who was called only as "own" or "somebody else": which contracts are protected is the choice of each
//! installation, and a recording names none. Where a signature knows which steps entered the protocol that was hurt, the
//! comparison asks for one of them by itself (see [`hurts_alike`]).

use crate::parties::{NetFlows, SendersSide};
use alloy_primitives::{B256, keccak256};
use cordon_model::execution::{Detail, Execution, Frame, FrameKind};
use cordon_model::protocol::Protocol;
use cordon_model::signature::{Callee, Direction, Flow, FlowAsset, Shape, Step};
use cordon_model::units::Asset;
use std::collections::{BTreeMap, BTreeSet};

/// Most steps that are kept after loops were collapsed. The longest of 93 archived attacks has fewer (`cordon signatures evaluate`
/// prints it); more are hardly the same twice.
pub const STEPS_MAX: usize = 512;

/// Longest part whose repetition is left out: approve, deposit, borrow, withdraw, repay with their payments fit in.
const PERIOD_MAX: usize = 8;

/// Steps of one gram. Two are in every swap; four are nearly the shape itself where shapes have a dozen steps.
const GRAM_STEPS: usize = 3;

/// The shape of a transaction; nothing where the record does not know who called.
pub(crate) fn shape(protocol: &Protocol, execution: &Execution, side: &SendersSide) -> Option<Shape> {
    if execution.detail == Detail::Entries {
        return None;
    }
    let mut steps = Vec::new();
    let mut whole = !execution.truncated;
    // Calls across the border that are not over, by the number of their end.
    let mut open: Vec<u32> = Vec::new();
    for frame in crossings(execution, side) {
        while open.last().is_some_and(|exit_seq| *exit_seq <= frame.enter_seq) {
            open.pop();
        }
        let depth = u16::try_from(open.len()).unwrap_or(u16::MAX);
        open.push(frame.exit_seq);
        let callee = called(frame);
        let callee = match (side.has(callee), protocol.protects(callee)) {
            (true, _) => Callee::Own,
            (false, true) => Callee::Protected,
            (false, false) => Callee::Foreign,
        };
        if steps.len() == STEPS_MAX {
            whole = false;
            break;
        }
        steps.push(Step { callee, function: frame.selector(), kind: frame.kind, depth });
        collapse(&mut steps);
    }
    let flows = execution.detail.knows_logs().then(|| flows(execution, side));
    Some(Shape { steps, whole, flows })
}

/// The calls across the border of the sender's side that may change something and were kept, in order.
pub(crate) fn crossings<'a>(
    execution: &'a Execution,
    side: &'a SendersSide,
) -> impl Iterator<Item = &'a Frame> {
    // Until where a `STATICCALL` that was met reaches.
    let mut static_until = 0u32;
    execution.frames.iter().filter(move |frame| {
        if frame.kind == FrameKind::StaticCall {
            static_until = static_until.max(frame.exit_seq);
        }
        let may_change = frame.enter_seq >= static_until && frame.kind != FrameKind::StaticCall;
        may_change && lasted(frame) && side.has(frame.caller) != side.has(called(frame))
    })
}

fn lasted(frame: &Frame) -> bool {
    !frame.reverted && !frame.precompile && frame.status.is_success()
}

/// Whose code runs, or who is created.
fn called(frame: &Frame) -> alloy_primitives::Address {
    match frame.kind {
        FrameKind::DelegateCall | FrameKind::CallCode => frame.code_address,
        FrameKind::Call | FrameKind::StaticCall | FrameKind::Create | FrameKind::Create2 => frame.address,
    }
}

/// Takes the end off where it repeats what stands right before it.
fn collapse(steps: &mut Vec<Step>) {
    for period in 1..=PERIOD_MAX {
        let Some(middle) = steps.len().checked_sub(period) else { return };
        let Some(start) = middle.checked_sub(period) else { return };
        if steps.get(start..middle) == steps.get(middle..) {
            steps.truncate(middle);
            return;
        }
    }
}

/// How many assets of each kind the sender's side gained and lost.
fn flows(execution: &Execution, side: &SendersSide) -> Vec<Flow> {
    let mut counts: BTreeMap<(FlowAsset, Direction), u16> = BTreeMap::new();
    for delta in NetFlows::of(execution).of_side(side) {
        let asset = match delta.asset {
            Asset::Native => FlowAsset::Native,
            Asset::Token(token) if side.has(token) => FlowAsset::Own,
            Asset::Token(_) => FlowAsset::Others,
        };
        let direction = if delta.delta_raw.is_negative() { Direction::Lost } else { Direction::Gained };
        let count = counts.entry((asset, direction)).or_default();
        *count = count.saturating_add(1);
    }
    counts.into_iter().map(|((asset, direction), assets)| Flow { asset, direction, assets }).collect()
}

/// A step as the hash knows it.
fn word(step: &Step) -> [u8; 9] {
    let own = u8::from(step.callee == Callee::Own);
    let kind = match step.kind {
        FrameKind::Call => 0u8,
        FrameKind::CallCode => 1,
        FrameKind::DelegateCall => 2,
        FrameKind::StaticCall => 3,
        FrameKind::Create => 4,
        FrameKind::Create2 => 5,
    };
    let [a, b, c, d] = step.function.unwrap_or_default().0;
    let [high, low] = step.depth.to_be_bytes();
    [own, kind, u8::from(step.function.is_some()), a, b, c, d, high, low]
}

/// One hash of all steps in order; nothing for the beginning of a shape.
pub(crate) fn hash(shape: &Shape) -> Option<B256> {
    let words: Vec<u8> = shape.steps.iter().flat_map(word).collect();
    (shape.whole && !shape.steps.is_empty()).then(|| keccak256(words))
}

/// Every run of [`GRAM_STEPS`] steps, once, without their depth, as the first eight bytes of its hash.
pub(crate) fn grams(shape: &Shape) -> BTreeSet<u64> {
    let gram = |run: &[Step]| {
        let words: Vec<u8> = run.iter().flat_map(|step| word(&Step { depth: 0, ..*step })).collect();
        let [a, b, c, d, e, f, g, h, ..] = keccak256(words).0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    shape.steps.windows(GRAM_STEPS).map(gram).collect()
}

/// Whether two shapes with equal hashes can be of one kind of attack: what was gained and lost agrees where both know it, and one of
/// the steps that entered the protocol that was hurt enters a protected contract here, where the signature knows them.
pub(crate) fn hurts_alike(known: &Shape, seen: &Shape) -> bool {
    let flows_agree = match (&known.flows, &seen.flows) {
        (Some(known), Some(seen)) => known == seen,
        (None, _) | (_, None) => true,
    };
    let enters = |shape: &Shape| shape.steps.iter().any(|step| step.callee == Callee::Protected);
    let both =
        |(known, seen): (&Step, &Step)| known.callee == Callee::Protected && seen.callee == Callee::Protected;
    flows_agree && (!enters(known) || known.steps.iter().zip(&seen.steps).any(both))
}

#[cfg(test)]
mod tests;
