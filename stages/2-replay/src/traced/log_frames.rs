//! Which call emitted which log, where a record lists calls and logs apart.
//!
//! In: the calls of a transaction, and its logs in order, each with its emitter. Out: for each log a frame of its emitter
//! and a moment, in the order of the logs. Must never: place a log in a frame of another account, unless its emitter
//! has none. The rest is inference, and whoever reads the result is told so.
//!
//! A contract that is called as often as it logs something logs it once per call. Otherwise the logs are spread evenly over
//! its calls. Within its frame a log stands as late as the logs after it allow, because contracts log what they did.

use alloy_primitives::{Address, B256, b256};
use cordon_model::execution::{Frame, FrameKind};
use std::collections::BTreeMap;

/// `keccak256("Transfer(address,address,uint256)")`.
const TRANSFER_TOPIC: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// `keccak256("Approval(address,address,uint256)")`.
const APPROVAL_TOPIC: B256 = b256!("0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925");
/// `transfer(address,uint256)` and `transferFrom(address,address,uint256)`.
const MOVES: [[u8; 4]; 2] = [[0xa9, 0x05, 0x9c, 0xbb], [0x23, 0xb8, 0x72, 0xdd]];
/// `approve(address,uint256)`.
const APPROVES: [[u8; 4]; 1] = [[0x09, 0x5e, 0xa7, 0xb3]];

/// Where a log is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Frame that is taken to have emitted it.
    pub(super) frame: u32,
    /// Moment just before which it stands, on the sequence of the frames.
    pub(super) before: u32,
}

/// A place for each log, given by emitter and first topic, in order. Frames list parents before children and stand on a
/// sequence of their own; there is at least the transaction's own, or no log has a place.
pub(super) fn place(frames: &[Frame], logs: &[(Address, Option<B256>)]) -> Vec<Placed> {
    let Some(root) = frames.first() else { return Vec::new() };
    let emitters = Emitters::of(frames);
    let (chosen, earliest) = (emitters.choose(logs), emitters.earliest(logs));
    let mut placed = Vec::with_capacity(logs.len());
    let mut until = root.exit_seq;
    for (((emitter, _), chosen), earliest) in logs.iter().zip(&chosen).zip(&earliest).rev() {
        // The frame must begin before the logs that follow, and must not end before those that precede.
        let fits = |frame: &&Frame| frame.enter_seq < until && frame.exit_seq >= *earliest;
        let frame = chosen
            .filter(|chosen| fits(chosen))
            .or_else(|| emitters.calls_of(*emitter).iter().copied().rfind(|frame| fits(frame)))
            .unwrap_or(root);
        let at = innermost(frames, frame, moment(frames, frame, until), *earliest);
        let before = at.before.max(*earliest).min(until);
        placed.push(Placed { before, ..at });
        until = before;
    }
    placed.reverse();
    placed
}

/// The latest moment within a frame that is not after `until`: at its end, or before the call that contains `until`.
fn moment(frames: &[Frame], frame: &Frame, until: u32) -> u32 {
    if frame.exit_seq <= until {
        return frame.exit_seq;
    }
    children(frames, frame)
        .find(|child| child.enter_seq < until && until <= child.exit_seq)
        .map_or(until, |child| child.enter_seq)
}

/// The frame of borrowed code on the same account, where a frame that ends did nothing but lend itself: a proxy's log is
/// written by its implementation.
fn innermost<'a>(frames: &'a [Frame], mut frame: &'a Frame, mut before: u32, earliest: u32) -> Placed {
    while before == frame.exit_seq {
        let mut lent = children(frames, frame).filter(|child| child.kind == FrameKind::DelegateCall);
        match (lent.next(), lent.next()) {
            (Some(only), None) if only.exit_seq >= earliest => (frame, before) = (only, only.exit_seq),
            _ => break,
        }
    }
    Placed { frame: frame.index, before }
}

fn children<'a>(frames: &'a [Frame], frame: &'a Frame) -> impl Iterator<Item = &'a Frame> {
    let start = usize::try_from(frame.index).unwrap_or(usize::MAX);
    let below = frames.get(start..).unwrap_or_default().iter();
    let exit_seq = frame.exit_seq;
    below
        .take_while(move |other| other.enter_seq < exit_seq)
        .filter(|other| other.parent == Some(frame.index))
}

/// The calls of each account that may have logged something, in order.
struct Emitters<'a>(BTreeMap<Address, Vec<&'a Frame>>);

impl<'a> Emitters<'a> {
    fn of(frames: &'a [Frame]) -> Self {
        let mut by_account: BTreeMap<Address, Vec<&Frame>> = BTreeMap::new();
        let mut is_static: Vec<bool> = Vec::with_capacity(frames.len());
        for frame in frames {
            let above = frame.parent.and_then(|parent| usize::try_from(parent).ok());
            let static_above = above.and_then(|above| is_static.get(above)).copied().unwrap_or(false);
            let may_log = !static_above && frame.kind != FrameKind::StaticCall;
            is_static.push(!may_log);
            // Code that an account borrows, and calls to itself, belong to the call that entered the account.
            let entered =
                above.and_then(|above| frames.get(above)).is_none_or(|above| above.address != frame.address);
            if may_log && entered && !frame.reverted {
                by_account.entry(frame.address).or_default().push(frame);
            }
        }
        Self(by_account)
    }

    /// The call of each log, as far as its emitter was called; logs of a kind go to the calls in order.
    fn choose(&self, logs: &[(Address, Option<B256>)]) -> Vec<Option<&'a Frame>> {
        let mut kinds: BTreeMap<(Address, Option<B256>), Vec<usize>> = BTreeMap::new();
        for (at, kind) in logs.iter().enumerate() {
            kinds.entry(*kind).or_default().push(at);
        }
        let mut chosen = vec![None; logs.len()];
        for ((emitter, topic), places) in kinds {
            let calls = self.calls(emitter, topic, places.len());
            for (nth, at) in places.iter().enumerate() {
                let call = nth.saturating_mul(calls.len()) / places.len();
                if let Some(place) = chosen.get_mut(*at) {
                    *place = calls.get(call).copied();
                }
            }
        }
        chosen
    }

    /// The calls that may have written `count` logs of one kind.
    fn calls(&self, emitter: Address, topic: Option<B256>, count: usize) -> Vec<&'a Frame> {
        let all = self.calls_of(emitter);
        let among = |selectors: &[[u8; 4]], wanted: bool| -> Vec<&'a Frame> {
            let has = |frame: &Frame| frame.selector().is_some_and(|found| selectors.contains(&found.0));
            all.iter().copied().filter(|frame| has(frame) == wanted).collect()
        };
        let (named, others) = match topic {
            Some(TRANSFER_TOPIC) => (among(&MOVES, true), among(&APPROVES, false)),
            Some(APPROVAL_TOPIC) => (among(&APPROVES, true), all.to_vec()),
            _ => return all.to_vec(),
        };
        match (named.len() == count, others.is_empty()) {
            (true, _) => named,
            (false, false) => others,
            (false, true) => all.to_vec(),
        }
    }

    /// The earliest moment of each log, as far as the logs before it and the calls of its emitter tell.
    fn earliest(&self, logs: &[(Address, Option<B256>)]) -> Vec<u32> {
        let mut earliest = Vec::with_capacity(logs.len());
        let mut from = 1u32;
        for (emitter, _) in logs {
            if let Some(next) = self.calls_of(*emitter).iter().find(|frame| frame.exit_seq >= from) {
                from = from.max(next.enter_seq.saturating_add(1));
            }
            earliest.push(from);
        }
        earliest
    }

    fn calls_of(&self, emitter: Address) -> &[&'a Frame] {
        self.0.get(&emitter).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
