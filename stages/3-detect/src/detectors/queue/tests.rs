//! Each format as its contract writes it, what is no entry, and what is made to be too much.

use super::entries::Entries;
use super::*;
use crate::DetectorSet;
use crate::members::IMPLEMENTATION_SLOT;
use crate::testing::*;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::SolEvent;
use cordon_model::execution::{Creation, Frame, FrameKind, Log, Status, StorageChange, ViewReading};
use cordon_model::finding::sign::{Prospect, Queued};
use cordon_model::units::{BlockRef, Due};

const TARGET: Address = COLLATERAL_VAULT;
const CODE: Address = Address::repeat_byte(0xc0);

fn id(number: u8) -> B256 {
    B256::with_last_byte(number)
}

fn told(address: Address, event: &impl SolEvent) -> Log {
    let data = event.encode_log_data();
    Log { seq: 1, frame: 0, address, topics: data.topics().to_vec(), data: data.data.clone() }
}

fn scheduled(number: u8, index: u64, data: &'static [u8]) -> timelock::CallScheduled {
    timelock::CallScheduled {
        id: id(number),
        index: U256::from(index),
        target: TARGET,
        value: U256::from(5),
        data: Bytes::from_static(data),
        predecessor: B256::ZERO,
        delay: U256::from(3_600),
    }
}

fn queueing(logs: Vec<Log>) -> Execution {
    let mut execution = World::new().script().finish(&[]);
    execution.timestamp_s = 1_700_000_000;
    execution.frames.push(touch(LENDING_VAULT));
    execution.logs = logs;
    execution
}

fn touch(address: Address) -> Frame {
    Frame {
        index: 0,
        parent: None,
        depth: 0,
        kind: FrameKind::Call,
        caller: ALICE,
        address,
        code_address: address,
        value_wei: U256::ZERO,
        input: Bytes::new(),
        output: Bytes::new(),
        gas_used: 0,
        status: Status::Success,
        reverted: false,
        precompile: false,
        enter_seq: 0,
        exit_seq: 1,
    }
}

fn answered(execution: &mut Execution, call: ViewCall, word: B256) {
    let answer = Some(Bytes::from(word.0));
    execution.views.push(ViewReading { call, before: answer.clone(), after: answer });
}

fn read(execution: &Execution) -> Entries {
    Entries::of(&World::protocol(), execution)
}

fn set() -> DetectorSet {
    let detectors: Vec<Box<dyn Detector>> = vec![
        Box::new(QueueConfig {}.build()),
        Box::new(crate::detectors::privilege::PrivilegeConfig::default().build()),
    ];
    DetectorSet::new(detectors, vec![World::protocol()])
}

/// What is said when every rehearsal ends like this.
fn said(execution: &Execution, tried: &[Execution]) -> Vec<(u16, Queued)> {
    let set = set();
    let held = set.rehearsals(execution).into_iter().map(|planned| (planned, tried.to_vec())).collect();
    let queued = |finding: Finding| match finding.evidence {
        Evidence::Sign(Sign::Queued(queued)) => (finding.score.0, queued),
        other => panic!("{other}"),
    };
    set.rehearsed(execution, held).into_iter().map(queued).collect()
}

/// A call of the queue on the fork, with a transfer out of a protected contract.
fn tried(paid: u64) -> Execution {
    let mut script = Script::new(World::new(), LENDING_VAULT, TARGET);
    script.call(COLLATERAL_VAULT, 1, |_| ());
    if paid > 0 {
        script.transfer(COIN, COLLATERAL_VAULT, ALICE, U256::from(paid) * wad(1));
    }
    let set = set();
    let record = script.finish(&[]);
    let calls = set.rehearsal_views(&record);
    let mut script = Script::new(World::new(), LENDING_VAULT, TARGET);
    script.call(COLLATERAL_VAULT, 1, |_| ());
    if paid > 0 {
        script.transfer(COIN, COLLATERAL_VAULT, ALICE, U256::from(paid) * wad(1));
    }
    let mut execution = script.finish(&calls);
    execution.tx.block = BlockRef { number: 7, hash: B256::ZERO };
    execution
}

fn one_call() -> Execution {
    queueing(vec![told(LENDING_VAULT, &scheduled(1, 0, &[0xaa, 0, 0, 1]))])
}

#[test]
fn a_timelocks_batch_is_one_entry_in_its_order() {
    let logs = vec![
        told(LENDING_VAULT, &scheduled(1, 0, &[1, 1, 1, 1])),
        told(LENDING_VAULT, &scheduled(2, 0, &[3, 3, 3, 3])),
        told(LENDING_VAULT, &scheduled(1, 1, &[2, 2, 2, 2])),
    ];
    let execution = queueing(logs);
    let rehearsals = QueueConfig {}.build().rehearsals(&World::protocol(), &execution);
    let calls = |place: usize| -> Vec<(Address, Option<Address>, u8)> {
        let calls = rehearsals[place].calls.iter();
        calls.map(|step| (step.from, step.call.to, step.call.data[0])).collect()
    };
    assert_eq!(
        calls(0),
        [(LENDING_VAULT, Some(TARGET), 1), (LENDING_VAULT, Some(TARGET), 2)],
        "the timelock calls itself"
    );
    assert_eq!(calls(1), [(LENDING_VAULT, Some(TARGET), 3)]);
    assert_eq!(rehearsals[0].due, Due::AtS(1_700_003_600));
    assert_eq!(rehearsals[0].calls[0].call.value_wei, U256::from(5));
    // The topic of the contract as it is deployed, so that a change of the words above cannot go unnoticed.
    let topic = hex!("4cf4410cc57040e44862ef0f45f3dd5a5e02db8eb8add648d4b0e236f1d07dca");
    assert_eq!(execution.logs[0].topics[0].0, topic);
}

#[test]
fn compounds_signature_becomes_calldata_and_one_time_is_one_entry() {
    let event = |number, signature: &str, eta: u64| compound::QueueTransaction {
        txHash: id(number),
        target: TARGET,
        value: U256::ZERO,
        signature: signature.to_owned(),
        data: Bytes::from(U256::from(7).to_be_bytes::<32>()),
        eta: U256::from(eta),
    };
    let logs = vec![
        told(LENDING_VAULT, &event(1, "setPendingAdmin(address)", 1_700_200_000)),
        told(LENDING_VAULT, &event(2, "", 1_700_200_000)),
        told(LENDING_VAULT, &event(3, "", 1_700_300_000)),
    ];
    let topic = hex!("76e2796dc3a81d57b0e8504b647febcbeeb5f4af818e164f11eef8131a6a763f");
    assert_eq!(logs[0].topics[0].0, topic);
    let entries = read(&queueing(logs)).list;
    assert_eq!(entries.iter().map(|entry| entry.calls.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((entries[0].id, entries[0].due), (id(1), Due::AtS(1_700_200_000)));
    assert_eq!(entries[0].calls[0].input[..4], keccak256("setPendingAdmin(address)")[..4]);
    assert_eq!((entries[0].calls[0].input.len(), entries[0].calls[1].input.len()), (36, 32));
}

fn proposal(vote_end: u64, targets: usize, values: usize) -> governor::ProposalCreated {
    governor::ProposalCreated {
        proposalId: U256::from(9),
        proposer: ALICE,
        targets: vec![TARGET; targets],
        values: vec![U256::ZERO; values],
        signatures: vec![String::new(); targets],
        calldatas: vec![Bytes::from_static(&[4, 4, 4, 4]); targets],
        voteStart: U256::from(1),
        voteEnd: U256::from(vote_end),
        description: "why".to_owned(),
    }
}

#[test]
fn a_proposal_is_made_by_the_governors_timelock_when_the_vote_is_over() {
    let mut execution = queueing(vec![told(LENDING_VAULT, &proposal(19_000_000, 2, 2))]);
    let topic = hex!("7d84a6263ae0d98d3329bd7b46bb4e8d6f98cd35a7adb45c274c8b7fd5ebd5e0");
    assert_eq!(execution.logs[0].topics[0].0, topic);
    let [alone] = &read(&execution).list[..] else { panic!() };
    assert_eq!((alone.executor, alone.due, alone.calls.len()), (LENDING_VAULT, Due::AtBlock(19_000_000), 2));
    let asked = QueueConfig {}.build().views(&World::protocol(), &execution);
    assert_eq!(asked, [governor::timelock(LENDING_VAULT)]);
    answered(&mut execution, asked[0].clone(), BOB.into_word());
    assert_eq!(read(&execution).list[0].executor, BOB);
    let in_seconds = queueing(vec![told(LENDING_VAULT, &proposal(1_700_500_000, 1, 1))]);
    assert_eq!(read(&in_seconds).list[0].due, Due::AtS(1_700_500_000));
    let uneven = read(&queueing(vec![told(LENDING_VAULT, &proposal(19_000_000, 2, 1))]));
    assert!(uneven.list.is_empty() && uneven.gaps[0].contains("2 targets"), "{:?}", uneven.gaps);
}

#[test]
fn a_delay_module_has_its_safe_make_the_call() {
    let event = delay::TransactionAdded {
        queueNonce: U256::from(3),
        txHash: id(4),
        to: TARGET,
        value: U256::ZERO,
        data: Bytes::from_static(&[6, 6, 6, 6]),
        operation: 1,
    };
    let mut execution = queueing(vec![told(LENDING_VAULT, &event)]);
    let topic = hex!("4c8a9c748e976c17c2eb2c2bc50da76eac9cd90ff529f0fe900e0c10a179f031");
    assert_eq!(execution.logs[0].topics[0].0, topic);
    let unknown = read(&execution);
    assert!(unknown.list.is_empty() && unknown.gaps[0].contains("for whom"), "{:?}", unknown.gaps);
    answered(&mut execution, delay::target(LENDING_VAULT), BOB.into_word());
    assert!(read(&execution).gaps[0].contains("how long"));
    answered(&mut execution, delay::cooldown(LENDING_VAULT), B256::from(U256::from(86_400)));
    let [entry] = &read(&execution).list[..] else { panic!() };
    let rehearsal = entry.rehearsal();
    let [step] = &rehearsal.calls[..] else { panic!() };
    assert_eq!((step.from, step.call.to), (LENDING_VAULT, Some(BOB)));
    assert_eq!(step.call.data[..4], keccak256("execTransactionFromModule(address,uint256,bytes,uint8)")[..4]);
    assert_eq!(rehearsal.due, Due::AtS(1_700_086_400));

    // The Safe goes on where the call in it failed, and says so.
    let answering = |word: u8| {
        let mut tried = tried(0);
        tried.frames[0].output = B256::with_last_byte(word).0.into();
        tried
    };
    let [(score, queued)] = &said(&execution, &[answering(0)])[..] else { panic!() };
    assert!(matches!(queued.prospect, Prospect::Fails { call: 0, .. }), "{queued}");
    assert_eq!((*score, queued.executor, queued.calls[0].delegate), (200, BOB, true));
    let [(_, queued)] = &said(&execution, &[answering(1)])[..] else { panic!() };
    assert!(matches!(queued.prospect, Prospect::Works { .. }), "{queued}");
}

/// Near misses: a contract that is not protected, another event, a log that is no such event.
#[test]
fn what_is_no_entry_of_a_protected_contract_is_passed_over_or_named() {
    let foreign = queueing(vec![told(BOB, &scheduled(1, 0, &[1]))]);
    assert!(read(&foreign).list.is_empty() && read(&foreign).gaps.is_empty());
    assert!(QueueConfig {}.build().views(&World::protocol(), &foreign).is_empty());
    let mut other = told(LENDING_VAULT, &scheduled(1, 0, &[1]));
    other.topics[0] = keccak256("CallExecuted(bytes32,uint256,address,uint256,bytes)");
    assert!(read(&queueing(vec![other])).list.is_empty());
    let mut short = told(LENDING_VAULT, &scheduled(1, 0, &[1]));
    short.data = short.data.slice(..64);
    let mut bare = told(LENDING_VAULT, &scheduled(1, 0, &[1]));
    bare.topics.truncate(1);
    let unread = read(&queueing(vec![short, bare]));
    assert!(unread.list.is_empty());
    assert_eq!(unread.gaps.len(), 1, "one is enough: {:?}", unread.gaps);
    let gaps = |execution: &Execution| QueueConfig {}.build().gaps(&World::protocol(), execution).len();
    assert_eq!(gaps(&one_call()), 0);
    assert_eq!(gaps(&Execution { truncated: true, ..one_call() }), 1);
}

/// Hostile input: what is too much to be tried is an alarm, and nothing of it is tried.
#[test]
fn thousands_of_calls_hide_nothing() {
    let logs = |ids: u8| {
        (0..5_000u64).map(move |index| {
            told(LENDING_VAULT, &scheduled(u8::try_from(index % u64::from(ids)).unwrap(), index, &[1]))
        })
    };
    for ids in [1, 200] {
        let execution = queueing(logs(ids).collect());
        let kept: usize = read(&execution).list.iter().map(|entry| entry.calls.len()).sum();
        assert!(kept <= 256, "{kept}");
        let said = said(&execution, &[]);
        assert!(said.len() <= 64);
        assert!(said.iter().any(|(score, queued)| *score == 600 && queued.prospect == Prospect::TooLong));
    }
    let endless = Execution { truncated: true, ..tried(0) };
    let [(600, queued)] = &said(&one_call(), &[endless])[..] else { panic!() };
    assert_eq!(queued.prospect, Prospect::TooLong);
    // Offsets that point to the same bytes over and over.
    let mut data = vec![0u8; 32 * 9];
    let mut head = |place: usize, value: u64| {
        data[place * 32 + 24..place * 32 + 32].copy_from_slice(&value.to_be_bytes());
    };
    (2..6).for_each(|place| head(place, 9 * 32));
    head(8, 9 * 32);
    let count = 3_000u64;
    let word = |number: u64| U256::from(number).to_be_bytes::<32>();
    data.extend(word(count));
    (0..count).for_each(|_| data.extend(word(count * 32)));
    data.extend(word(100_000));
    data.extend(vec![b'x'; 100_000]);
    let topics = vec![governor::ProposalCreated::SIGNATURE_HASH];
    let bomb = Log { seq: 1, frame: 0, address: LENDING_VAULT, topics, data: data.into() };
    let unread = read(&queueing(vec![bomb]));
    assert!(unread.list.is_empty() && unread.gaps.len() == 1, "{:?}", unread.gaps);
}

#[test]
fn what_leaves_is_told_by_its_part_of_what_is_there() {
    // The vault holds 10 coins.
    let expected = [(0, 200), (1, 300), (5, 300), (6, 700), (10, 700)];
    for (paid, score) in expected {
        let [(found, queued)] = &said(&one_call(), &[tried(paid)])[..] else { panic!() };
        assert_eq!(*found, score, "{paid} of 10 coins: {queued}");
    }
    let mut unknown = tried(10);
    unknown.views.clear();
    let [(found, queued)] = &said(&one_call(), &[unknown])[..] else { panic!() };
    assert_eq!(*found, 300, "{queued}");
}

/// Benign twins: coins that come back, that stay inside, or that the entry only moves.
#[test]
fn what_comes_back_or_stays_inside_does_not_leave() {
    let moved = |ways: &[(Address, Address)]| {
        let mut script = Script::new(World::new(), LENDING_VAULT, TARGET);
        ways.iter().for_each(|(from, to)| script.transfer(COIN, *from, *to, wad(10)));
        script.finish(&[])
    };
    let score = |execution| said(&one_call(), &[execution])[0].0;
    assert_eq!(score(moved(&[(COLLATERAL_VAULT, ALICE), (ALICE, LENDING_VAULT)])), 200);
    assert_eq!(score(moved(&[(COLLATERAL_VAULT, LENDING_VAULT)])), 200);
    assert_eq!(score(moved(&[(COLLATERAL_VAULT, Address::ZERO)])), 200);
    assert_eq!(score(moved(&[(ALICE, BOB)])), 200);
    assert_eq!(score(moved(&[(COLLATERAL_VAULT, ALICE)])), 300, "without readings");
}

#[test]
fn rights_count_and_code_born_with_the_proposal_wakes() {
    let mut upgrade = tried(0);
    let slot = U256::from_be_bytes(IMPLEMENTATION_SLOT.0);
    let after = U256::from_be_bytes(CODE.into_word().0);
    upgrade.storage_changes.push(StorageChange { address: COLLATERAL_VAULT, slot, before: U256::ONE, after });
    let [(score, queued)] = &said(&one_call(), &[upgrade.clone()])[..] else { panic!() };
    assert_eq!(*score, 300, "{queued}");
    assert!(queued.to_string().contains("change of rights"), "{queued}");
    let mut born = one_call();
    let creation =
        |address| Creation { frame: 0, creator: ALICE, address, init_code_hash: id(1), code_hash: id(2) };
    born.creations.push(creation(BOB));
    assert_eq!(said(&born, &[upgrade.clone()])[0].0, 300, "another contract was created");
    born.creations.push(creation(CODE));
    let [(score, queued)] = &said(&born, &[upgrade])[..] else { panic!() };
    assert_eq!(*score, 600);
    assert!(queued.to_string().contains("created by the same transaction"), "{queued}");
}

#[test]
fn an_entry_that_fails_in_the_end_does_nothing() {
    let batch = queueing(vec![
        told(LENDING_VAULT, &scheduled(1, 0, &[1])),
        told(LENDING_VAULT, &scheduled(1, 1, &[2])),
    ]);
    let mut fails = tried(0);
    let reason = hex!(
        "08c379a00000000000000000000000000000000000000000000000000000000000000020"
        "0000000000000000000000000000000000000000000000000000000000000003"
        "6e6f740000000000000000000000000000000000000000000000000000000000"
    );
    fails.status = Status::Revert { output: reason.into() };
    let [(score, queued)] = &said(&batch, &[tried(10), fails])[..] else { panic!() };
    assert_eq!(*score, 200);
    let Prospect::Fails { call: 1, reason } = &queued.prospect else { panic!("{queued}") };
    assert!(reason.contains("not"), "{reason}");
    let mut wordy = tried(0);
    wordy.status = Status::Halt { reason: "why".repeat(10_000) };
    assert!(said(&batch, &[wordy])[0].1.to_string().len() < 1_000);
    let [(score, queued)] = &said(&batch, &[tried(10)])[..] else { panic!() };
    assert!((*score, matches!(queued.prospect, Prospect::Fails { call: 1, .. })) == (200, true), "{queued}");
}

#[test]
fn what_was_not_tried_is_not_spoken_of_and_entries_have_names_of_their_own() {
    let execution = queueing(vec![
        told(LENDING_VAULT, &scheduled(1, 0, &[1])),
        told(LENDING_VAULT, &scheduled(2, 0, &[2])),
    ]);
    let set = set();
    assert!(set.rehearsed(&execution, Vec::new()).is_empty());
    assert!(set.inspect(&execution).is_empty());
    let held = set.rehearsals(&execution).into_iter().map(|planned| (planned, vec![tried(0)])).collect();
    let findings = set.rehearsed(&execution, held);
    assert_eq!(findings.len(), 2);
    assert_ne!(findings[0].id, findings[1].id);
    assert!(findings.iter().all(|finding| finding.tx == execution.tx && finding.contract == LENDING_VAULT));
    let text = serde_json::to_string(&findings).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Finding>>(&text).unwrap(), findings);
}
