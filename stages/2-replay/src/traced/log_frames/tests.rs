//! Logs and calls of our own making, listed apart.

use super::*;
use alloy_primitives::{Bytes, U256};
use cordon_model::execution::Status;

const OWN: Address = Address::repeat_byte(1);
const TOKEN: Address = Address::repeat_byte(2);
const POOL: Address = Address::repeat_byte(3);
const CODE: Address = Address::repeat_byte(4);
const OTHER: Option<B256> = Some(B256::ZERO);

/// Frames by parent, kind, account, code and selector; the sequence counts entries and exits.
fn frames(calls: &[(Option<u32>, FrameKind, Address, Address, u32)]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let (mut open, mut seq): (Vec<usize>, u32) = (Vec::new(), 0);
    for (at, (parent, kind, address, code_address, selector)) in calls.iter().enumerate() {
        while open.last().is_some_and(|top| Some(*top) != parent.map(|parent| parent as usize)) {
            frames[open.pop().unwrap()].exit_seq = seq;
            seq += 1;
        }
        frames.push(Frame {
            index: u32::try_from(at).unwrap(),
            parent: *parent,
            depth: u32::try_from(open.len()).unwrap(),
            kind: *kind,
            caller: OWN,
            address: *address,
            code_address: *code_address,
            value_wei: U256::ZERO,
            input: Bytes::copy_from_slice(&selector.to_be_bytes()),
            output: Bytes::new(),
            gas_used: 0,
            status: Status::Success,
            reverted: false,
            precompile: false,
            enter_seq: seq,
            exit_seq: seq,
        });
        seq += 1;
        open.push(at);
    }
    while let Some(top) = open.pop() {
        frames[top].exit_seq = seq;
        seq += 1;
    }
    frames
}

fn call(parent: u32, address: Address, selector: u32) -> (Option<u32>, FrameKind, Address, Address, u32) {
    (Some(parent), FrameKind::Call, address, address, selector)
}

const ROOT: (Option<u32>, FrameKind, Address, Address, u32) = (None, FrameKind::Call, OWN, OWN, 0);

fn placed_in(frames: &[Frame], logs: &[(Address, Option<B256>)]) -> Vec<u32> {
    let placed = place(frames, logs);
    assert!(placed.windows(2).all(|pair| pair[0].before <= pair[1].before), "in order: {placed:?}");
    for at in &placed {
        let frame = &frames[at.frame as usize];
        assert!(frame.enter_seq < at.before && at.before <= frame.exit_seq, "{at:?} in {frame:?}");
    }
    placed.iter().map(|at| at.frame).collect()
}

#[test]
fn calls_and_logs_of_equal_number_belong_together() {
    // An approval between two movements takes neither of their logs.
    let frames = frames(&[
        ROOT,
        call(0, TOKEN, 0xa905_9cbb),
        call(0, TOKEN, 0x095e_a7b3),
        call(0, POOL, 7),
        call(3, TOKEN, 0x23b8_72dd),
    ]);
    let (moved, approved) = ((TOKEN, Some(TRANSFER_TOPIC)), (TOKEN, Some(APPROVAL_TOPIC)));
    assert_eq!(placed_in(&frames, &[moved, approved, moved, (POOL, OTHER)]), [1, 2, 4, 3]);
    // More logs than calls: spread over the calls that can move something.
    assert_eq!(placed_in(&frames, &[moved, moved, moved, moved]), [1, 1, 4, 4]);
}

#[test]
fn a_log_before_the_calls_of_its_frame_stays_before_them() {
    let frames = frames(&[ROOT, call(0, POOL, 7), call(1, TOKEN, 0xa905_9cbb)]);
    let placed = place(&frames, &[(POOL, OTHER), (TOKEN, Some(TRANSFER_TOPIC)), (POOL, OTHER)]);
    assert_eq!(placed[0], Placed { frame: 1, before: frames[2].enter_seq });
    assert_eq!(placed[2], Placed { frame: 1, before: frames[1].exit_seq });
}

#[test]
fn what_cannot_log_is_passed_over() {
    let mut frames = frames(&[
        ROOT,
        (Some(0), FrameKind::StaticCall, POOL, POOL, 7),
        (Some(1), FrameKind::Call, POOL, POOL, 7),
        call(0, POOL, 7),
        call(0, POOL, 7),
    ]);
    frames[3].reverted = true;
    assert_eq!(placed_in(&frames, &[(POOL, OTHER)]), [4]);
}

#[test]
fn a_proxys_log_is_written_by_its_implementation() {
    let frames = frames(&[
        ROOT,
        call(0, POOL, 7),
        (Some(1), FrameKind::DelegateCall, POOL, CODE, 7),
        call(2, TOKEN, 9),
    ]);
    assert_eq!(placed_in(&frames, &[(TOKEN, OTHER), (POOL, OTHER)]), [3, 2]);
}

#[test]
fn a_log_of_nobody_stands_with_the_transaction() {
    let frames = frames(&[ROOT, call(0, POOL, 7)]);
    assert_eq!(placed_in(&frames, &[(CODE, None), (POOL, OTHER)]), [0, 1]);
    assert_eq!(place(&[], &[(CODE, None)]), []);
    // Logs of one account before and after those of another cannot all come from one short call.
    assert_eq!(placed_in(&frames, &[(OWN, OTHER), (POOL, OTHER), (OWN, OTHER)]), [0, 1, 0]);
}
