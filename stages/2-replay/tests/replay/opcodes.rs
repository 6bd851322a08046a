//! Facts that single instructions leave: values before, transient storage, destructions, precompiles, preimages.

use crate::contracts::*;
use alloy_primitives::{Address, B256, Bytes, address, hex, keccak256};
use cordon_model::execution::{AccessKind, Detail, Execution, FrameKind, StorageAccess};
use cordon_model::units::Asset;
use cordon_replay::{Watch, no_views, replay_witness};

const CONTRACT: Address = Address::repeat_byte(0x11);
const OUTER: Address = Address::repeat_byte(0x22);
const HEIR: Address = Address::repeat_byte(0x33);

fn run(state: State, to: Address, detail: Detail) -> Execution {
    let watch = Watch::everything(no_views()).with_detail(detail);
    let execution =
        replay_witness(&state.block(vec![transaction(to, 0, 0)]), &watch).unwrap().executions.remove(0);
    assert!(execution.status.is_success() && !execution.truncated, "{:?}", execution.status);
    assert_eq!(execution.detail, detail);
    execution
}

#[test]
fn an_access_carries_the_value_before_it() {
    // sload(0); sstore(0, 9); sload(0); sload(0); sstore(0, 7)
    let code = hex!("600054 50 6009 600055 600054 50 600054 50 6007 600055 00");
    let state = || State::new().contract(CONTRACT, &code, &[(0, 7)]);
    let facts = |execution: &Execution| -> Vec<_> {
        let fact = |access: &StorageAccess| (access.kind, access.times, access.before, access.value);
        execution.accesses.iter().map(fact).collect()
    };
    let (read, write) = (AccessKind::Read, AccessKind::Write);
    let full = [
        (read, 1, wei(7), wei(7)),
        (write, 1, wei(7), wei(9)),
        (read, 2, wei(9), wei(9)),
        (write, 1, wei(9), wei(7)),
    ];
    assert_eq!(facts(&run(state(), CONTRACT, Detail::Full)), full);
    // A read of what the frame itself has just written says nothing new.
    let watch = run(state(), CONTRACT, Detail::Watch);
    assert_eq!(facts(&watch), [full[0], full[1], full[3]]);
    assert!(watch.storage_changes.is_empty(), "the slot is back where it was");
}

#[test]
fn a_repetition_is_counted_only_where_nothing_stands_between() {
    // sload(0); log0; sload(0); sload(0); sload(1); sload(0); sstore(0, 7) twice
    let code =
        hex!("600054 50 6000 6000 a0 600054 50 600054 50 600154 50 600054 50 6007 600055 6007 600055 00");
    let state = State::new().contract(CONTRACT, &code, &[(0, 7), (1, 5)]);
    let execution = run(state, CONTRACT, Detail::Full);
    let fact = |access: &StorageAccess| (access.kind, access.slot, access.times);
    let (read, write) = (AccessKind::Read, AccessKind::Write);
    let facts = [(read, 0, 1), (read, 0, 2), (read, 1, 1), (read, 0, 1), (write, 0, 2)];
    let facts = facts.map(|(kind, slot, times)| (kind, wei(slot), times));
    assert_eq!(execution.accesses.iter().map(fact).collect::<Vec<_>>(), facts);
    // One frame and one log, each with its own place.
    assert_eq!(execution.logs[0].seq, execution.accesses[0].seq + 1);
    assert_eq!(execution.frames[0].exit_seq, execution.accesses[4].seq + 2);
}

#[test]
fn repetitions_are_left_out_on_both_sides_of_the_hash_table() {
    // Reads slots 0 to 49, twice: more than are searched one by one.
    let code = hex!("6000 5b 80 6032 90 06 54 50 6001 01 80 6064 11 6002 57 00");
    let slots: Vec<(u64, u64)> = (0..50).map(|slot| (slot, slot)).collect();
    let state = || State::new().contract(CONTRACT, &code, &slots);
    assert_eq!(run(state(), CONTRACT, Detail::Watch).accesses.len(), 50);
    assert_eq!(run(state(), CONTRACT, Detail::Full).accesses.len(), 100);
}

#[test]
fn transient_storage_is_kept_apart() {
    // tload(1); tstore(1, 5); tload(1); tstore(1, 6)
    let code = hex!("60015c 50 6005 60015d 60015c 50 6006 60015d 00");
    let execution = run(State::new().contract(CONTRACT, &code, &[]), CONTRACT, Detail::Full);
    let facts: Vec<_> = execution.transient.iter().map(|a| (a.kind, a.slot, a.before, a.value)).collect();
    let (read, write) = (AccessKind::Read, AccessKind::Write);
    assert_eq!(
        facts,
        [
            (read, wei(1), wei(0), wei(0)),
            (write, wei(1), wei(0), wei(5)),
            (read, wei(1), wei(5), wei(5)),
            (write, wei(1), wei(5), wei(6)),
        ]
    );
    assert!(execution.accesses.is_empty() && execution.storage_changes.is_empty());
}

#[test]
fn a_destruction_names_heir_and_balance_and_counts_as_one_payment() {
    let code = [&hex!("73")[..], HEIR.as_slice(), &[0xff]].concat();
    let state = State::new().contract(CONTRACT, &code, &[]).balance(CONTRACT, 40);
    let execution = run(state, CONTRACT, Detail::Watch);
    let [destroyed] = execution.destructions.as_slice() else { panic!("{:?}", execution.destructions) };
    assert_eq!((destroyed.frame, destroyed.contract, destroyed.beneficiary), (0, CONTRACT, HEIR));
    assert_eq!(destroyed.balance_wei, wei(40));
    let paid: Vec<_> = execution.transfers.iter().map(|t| (t.asset, t.from, t.to, t.amount_raw)).collect();
    assert_eq!(paid, [(Asset::Native, CONTRACT, HEIR, wei(40))]);
    // Undone with its frame, it is not listed: the outer call has too little gas to go on.
    let fails =
        [&hex!("6000 6000 6000 6000 6000 73")[..], CONTRACT.as_slice(), &hex!("5a f1 6000 6000 fd")].concat();
    let state =
        State::new().contract(CONTRACT, &code, &[]).balance(CONTRACT, 40).contract(OUTER, &fails, &[]);
    let block = state.block(vec![transaction(OUTER, 0, 0)]);
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert_eq!(execution.frames.len(), 2);
    assert!(execution.destructions.is_empty() && execution.transfers.is_empty());
}

#[test]
fn a_precompiled_contract_is_marked() {
    // The identity contract, then an account without code.
    let code = hex!("6000 6000 6020 6000 6004 5a fa 50 6000 6000 6000 6000 61dead 5a fa 50 00");
    let execution = run(State::new().contract(CONTRACT, &code, &[]), CONTRACT, Detail::Watch);
    let marked: Vec<_> = execution.frames.iter().map(|frame| (frame.address, frame.precompile)).collect();
    let identity = address!("0x0000000000000000000000000000000000000004");
    let nobody = address!("0x000000000000000000000000000000000000dead");
    assert_eq!(marked, [(CONTRACT, false), (identity, true), (nobody, false)]);
    assert_eq!((execution.frames[1].input.len(), execution.frames[1].output.len()), (32, 32));
}

#[test]
fn a_creation_carries_the_hash_of_its_init_code() {
    // create(0, 0, 0): empty code, by the transaction itself.
    let init = Bytes::from_static(&hex!("6001 6000 f3"));
    let mut creation = transaction(CONTRACT, 0, 0);
    (creation.to, creation.input) = (None, init.clone());
    let block = State::new().block(vec![creation]);
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    let [created] = execution.creations.as_slice() else { panic!("{:?}", execution.creations) };
    assert_eq!((created.frame, created.creator, created.address), (0, ALICE, ALICE.create(0)));
    assert_eq!(created.init_code_hash, keccak256(&init));
    assert_eq!(created.code_hash, keccak256([0u8]));
    assert_eq!((execution.frames[0].kind, &execution.frames[0].input), (FrameKind::Create, &init));
}

#[test]
fn preimages_of_slots_are_kept_in_full_detail_alone() {
    // keccak of 64 bytes twice, of 32 bytes once, and of 33 bytes, which is no slot.
    let code = hex!("6005 6000 52 6040 6000 20 50 6040 6000 20 50 6020 6000 20 50 6021 6000 20 50 00");
    let state = || State::new().contract(CONTRACT, &code, &[]);
    assert_eq!(run(state(), CONTRACT, Detail::Watch).preimages, []);
    let preimages = run(state(), CONTRACT, Detail::Full).preimages;
    let mut key = [0u8; 64];
    key[31] = 5;
    let found: Vec<(B256, Bytes)> = preimages.into_iter().map(|one| (one.hash, one.preimage)).collect();
    let expected = [&key[..], &key[..32]].map(|bytes| (keccak256(bytes), Bytes::copy_from_slice(bytes)));
    assert_eq!(found, expected);
}

#[test]
fn native_transfers_that_the_protocol_logs_are_counted_once() {
    let state = State::new().hardfork("Amsterdam");
    let mut payment = transaction(HEIR, 9, 0);
    payment.gas_limit = 1_000_000;
    let block = state.block(vec![payment]);
    let execution = replay_witness(&block, &Watch::everything(no_views())).unwrap().executions.remove(0);
    assert!(execution.status.is_success(), "{:?}", execution.status);
    assert_eq!(execution.logs.len(), 1, "EIP-7708 logs the payment");
    assert_eq!(execution.logs[0].frame, 0);
    let paid: Vec<_> = execution.transfers.iter().map(|t| (t.asset, t.from, t.to, t.amount_raw)).collect();
    assert_eq!(paid, [(Asset::Native, ALICE, HEIR, wei(9))]);
}
