//! Transactions that make as many facts as gas can buy: each list is cut at its bound, and only what was really cut is
//! flagged.

use crate::contracts::*;
use alloy_primitives::Address;
use cordon_model::execution::{AccessKind, Detail, Execution, Status};
use cordon_replay::{MAX_ACCESSES, MAX_DATA_BYTES, MAX_FRAMES, MAX_LOGS, Watch, no_views, replay_witness};

const FLOOD: Address = Address::repeat_byte(0x11);
const OUTER: Address = Address::repeat_byte(0x22);

fn flooded(instructions: &[u8], detail: Detail) -> Execution {
    let state = State::new().contract(FLOOD, &flood(instructions), &[(0, 7)]);
    let watch = Watch::everything(no_views()).with_detail(detail);
    let block = state.block(vec![transaction(FLOOD, 0, 0)]);
    let execution = replay_witness(&block, &watch).unwrap().executions.remove(0);
    assert!(execution.status.is_success(), "{:?}", execution.status);
    execution
}

#[test]
fn a_flood_of_logs_is_cut_and_flagged() {
    let execution = flooded(EMIT, Detail::Watch);
    assert!(execution.truncated);
    assert_eq!(execution.logs.len(), MAX_LOGS);
    assert!(execution.logs.is_sorted_by_key(|log| log.seq));
}

#[test]
fn a_flood_of_logs_that_was_undone_has_lost_nothing() {
    // The flood runs in a frame that gets too little gas to end well: all its logs are taken back.
    let endless = alloy_primitives::hex!("5b 6000 6000 a0 6000 56");
    let state = State::new().contract(FLOOD, &endless, &[]).contract(OUTER, &caller_of(FLOOD), &[]);
    let block = state.block(vec![transaction(OUTER, 0, 0)]);
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert!(execution.frames[1].reverted && !execution.truncated);
    let kept: Vec<_> = execution.logs.iter().map(|log| (log.frame, log.address)).collect();
    assert_eq!(kept, [(0, OUTER)]);
    assert!(execution.logs[0].seq > execution.frames[1].exit_seq);
}

#[test]
fn a_flood_of_calls_is_cut_and_flagged() {
    let execution = flooded(CALL_NOBODY, Detail::Watch);
    assert!(execution.truncated);
    assert_eq!(execution.frames.len(), MAX_FRAMES);
    // The first frame is closed all the same, with its own gas.
    assert!(execution.frames[0].gas_used > 14_000_000);
}

#[test]
fn a_flood_of_writes_is_cut_and_flagged() {
    let execution = flooded(WRITE, Detail::Watch);
    assert!(execution.truncated);
    assert_eq!(execution.accesses.len(), MAX_ACCESSES / 2);
    // The first write finds seven, the others what the one before wrote; what changed in the end is exact.
    assert_eq!((execution.accesses[0].before, execution.accesses[0].value), (wei(7), wei(1)));
    assert_eq!((execution.accesses[1].before, execution.accesses[1].value), (wei(1), wei(1)));
    assert_eq!(execution.storage_changes.len(), 1);
}

#[test]
fn a_flood_of_equal_reads_says_one_thing_once() {
    let execution = flooded(READ, Detail::Watch);
    assert!(!execution.truncated);
    assert_eq!(execution.accesses.len(), 1);
    assert_eq!(execution.accesses[0].kind, AccessKind::Read);
    // In full every single one is counted, with its place in the sequence.
    let full = flooded(READ, Detail::Full);
    let times: u32 = full.accesses.iter().map(|access| u32::from(access.times)).sum();
    assert!(!full.truncated && times > 100_000 && full.accesses.len() < 100, "{times}");
    assert!(full.accesses.iter().all(|access| access.value == wei(7) && access.before == wei(7)));
    let follow = full.accesses.windows(2).all(|pair| pair[0].seq + u32::from(pair[0].times) == pair[1].seq);
    assert!(follow && full.accesses.iter().rev().skip(1).all(|access| access.times == u16::MAX));
    assert_eq!(full.frames[0].exit_seq, full.accesses[0].seq + times);
}

/// A call of a million frames: memory is bounded, the record says that it is cut, and the transaction ends as it does
/// without a recorder.
#[test]
fn a_trace_bomb_of_a_million_frames_is_cut_and_flagged() {
    let state = State::new().contract(FLOOD, &flood(CALL_NOBODY), &[]).hardfork("Cancun");
    let mut bomb = transaction(FLOOD, 0, 0);
    bomb.gas_limit = 160_000_000;
    let mut block = state.block(vec![bomb]);
    block.gas_limit = 160_000_000;
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert!(execution.status.is_success() && execution.truncated);
    assert_eq!(execution.frames.len(), MAX_FRAMES);
    // What a frame took tells how many there were: the gas of the loop's body over the whole.
    let (first, second) = (&execution.frames[1], &execution.frames[2]);
    assert_eq!((first.depth, second.parent), (1, Some(0)));
    let made = execution.frames[0].exit_seq / 2;
    assert!(made > 1_000_000, "{made} frames");
    let kept: usize = execution.frames.iter().map(|frame| frame.input.len() + frame.output.len()).sum();
    assert_eq!(kept, 0);
}

#[test]
fn a_recursion_to_the_evms_own_limit_is_whole() {
    // call(gas, self, 0, 0, 0, 0, 0); stop
    let recursive = alloy_primitives::hex!("6000 6000 6000 6000 6000 30 5a f1 50 00");
    let state = State::new().contract(FLOOD, &recursive, &[]).hardfork("Cancun");
    let mut deep = transaction(FLOOD, 0, 0);
    deep.gas_limit = 100_000_000_000;
    let mut block = state.block(vec![deep]);
    block.gas_limit = 100_000_000_000;
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert!(!execution.truncated);
    let deepest = execution.frames.last().unwrap();
    assert_eq!((execution.frames.len(), deepest.depth), (1_026, 1_025));
    // The last call is refused: the stack of calls is 1,024 deep below the first.
    assert_eq!(deepest.status, Status::Halt { reason: "CallTooDeep".to_owned() });
}

#[test]
fn a_flood_of_return_data_is_cut_and_flagged() {
    // Returns 256 kB of zeros.
    let returns = alloy_primitives::hex!("62040000 6000 f3");
    let call = [&alloy_primitives::hex!("6000 6000 6000 6000 73")[..], OUTER.as_slice(), &[0x5a, 0xfa, 0x50]]
        .concat();
    let state = State::new().contract(FLOOD, &flood(&call), &[]).contract(OUTER, &returns, &[]);
    let block = state.block(vec![transaction(FLOOD, 0, 0)]);
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert!(execution.status.is_success() && execution.truncated);
    let kept: usize = execution.frames.iter().map(|frame| frame.output.len()).sum();
    assert!(kept > 0 && kept <= MAX_DATA_BYTES, "{kept} bytes");
    assert!(execution.frames.len() > 20, "the frames themselves are kept");
}
