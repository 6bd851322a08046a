//! What no record may do to any detector: stop it, or make it say two things of one transaction.
//!
//! In: the strike of the documentation with whatever a stranger could add to a record, or what a broken node could leave out of one.
//! Out: nothing but that every detector ends, twice alike, with scores that are scores. The events and functions are those that
//! detectors decode, so that it is their decoding that meets the rubbish.

use crate::detectors::DetectorConfig;
use crate::detectors::unbacked_mint::{BackingConfig, BridgeConfig, SourceConfig, UnbackedMintConfig};
use crate::set::DetectorSet;
use crate::testing::*;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_model::baseline::Baseline;
use cordon_model::execution::{
    AccessKind, Creation, Execution, Frame, FrameKind, Log, Status, StorageAccess, StorageChange, Transfer,
};
use cordon_model::units::Asset;
use proptest::collection::vec;
use proptest::prelude::*;

const EVENTS: [&str; 34] = [
    "Transfer(address,address,uint256)",
    "TransferSingle(address,address,address,uint256,uint256)",
    "TransferBatch(address,address,address,uint256[],uint256[])",
    "Approval(address,address,uint256)",
    "ApprovalForAll(address,address,bool)",
    "Deposit(address,uint256)",
    "Withdrawal(address,uint256)",
    "Deposit(address,address,uint256,uint256)",
    "Withdraw(address,address,address,uint256,uint256)",
    "Mint(address,uint256,uint256)",
    "Redeem(address,uint256,uint256)",
    "Swap(address,uint256,uint256,uint256,uint256,address)",
    "Swap(address,address,int256,int256,uint160,uint128,int24)",
    "Sync(uint112,uint112)",
    "AnswerUpdated(int256,uint256,uint256)",
    "OwnershipTransferred(address,address)",
    "RoleGranted(bytes32,address,address)",
    "AdminChanged(address,address)",
    "Upgraded(address)",
    "BeaconUpgraded(address)",
    "Initialized(uint64)",
    "EnabledModule(address)",
    "ChangedGuard(address)",
    "AddedOwner(address)",
    "ChangedThreshold(uint256)",
    "CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)",
    "CallExecuted(bytes32,uint256,address,uint256,bytes)",
    "QueueTransaction(bytes32,address,uint256,string,bytes,uint256)",
    "ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)",
    "ProposalQueued(uint256,uint256)",
    "TransactionAdded(uint256,bytes32,address,uint256,bytes,uint8)",
    "DelegateVotesChanged(address,uint256,uint256)",
    "VoteCast(address,uint256,uint8,uint256,string)",
    "LiquidationCall(address,address,address,uint256,uint256,address,bool)",
];

const FUNCTIONS: [&str; 22] = [
    "transfer(address,uint256)",
    "transferFrom(address,address,uint256)",
    "approve(address,uint256)",
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
    "setApprovalForAll(address,bool)",
    "safeTransferFrom(address,address,uint256)",
    "deposit(uint256,address)",
    "redeem(uint256,address,address)",
    "mint(uint256)",
    "flashLoan(address,address,uint256,bytes)",
    "swap(uint256,uint256,address,bytes)",
    "getReserves()",
    "slot0()",
    "latestRoundData()",
    "latestAnswer()",
    "totalSupply()",
    "balanceOf(address)",
    "convertToAssets(uint256)",
    "castVote(uint256,uint8)",
    "propose(address[],uint256[],bytes[],string)",
    "initialize(address)",
    "upgradeToAndCall(address,bytes)",
];

const PEOPLE: [Address; 10] = [
    ALICE,
    BOB,
    CONTROLLER,
    CHILD,
    COLLATERAL_VAULT,
    LENDING_VAULT,
    COIN_TOKEN,
    USD_TOKEN,
    Address::ZERO,
    Address::repeat_byte(0xff),
];

fn person() -> impl Strategy<Value = Address> {
    prop::sample::select(PEOPLE.to_vec())
}

/// An address, an extreme, or anything.
fn word() -> impl Strategy<Value = B256> {
    prop_oneof![
        person().prop_map(|account| account.into_word()),
        prop::sample::select(vec![B256::ZERO, B256::repeat_byte(0xff), B256::with_last_byte(32)]),
        any::<[u8; 32]>().prop_map(B256::from),
    ]
}

fn number() -> impl Strategy<Value = U256> {
    word().prop_map(|word| U256::from_be_bytes(word.0))
}

/// Words, as calldata and logs hold them, and at times not even whole ones.
fn data() -> impl Strategy<Value = Vec<u8>> {
    (vec(word(), 0..9), vec(any::<u8>(), 0..33), prop::bool::weighted(0.2)).prop_map(
        |(words, rest, ragged)| {
            let mut data: Vec<u8> = words.iter().flat_map(|word| word.0).collect();
            data.extend(rest.into_iter().filter(|_| ragged));
            data
        },
    )
}

fn asset() -> impl Strategy<Value = Asset> {
    person().prop_map(|token| if token.is_zero() { Asset::Native } else { Asset::Token(token) })
}

fn log() -> impl Strategy<Value = Log> {
    (any::<(u8, u8)>(), person(), prop::sample::select(EVENTS.to_vec()), vec(word(), 0..4), data()).prop_map(
        |((seq, frame), address, event, more, data)| {
            let topics = [keccak256(event)].into_iter().chain(more).collect();
            Log { seq: seq.into(), frame: (frame % 64).into(), address, topics, data: data.into() }
        },
    )
}

fn transfer() -> impl Strategy<Value = Transfer> {
    (any::<(u8, u8)>(), asset(), person(), person(), number()).prop_map(
        |((seq, frame), asset, from, to, amount_raw)| Transfer {
            seq: seq.into(),
            frame: (frame % 64).into(),
            asset,
            from,
            to,
            amount_raw,
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    let kinds = vec![FrameKind::Call, FrameKind::StaticCall, FrameKind::DelegateCall, FrameKind::Create];
    let places = (prop::option::of(0..64u32), any::<(u8, u8, u8)>(), any::<bool>());
    let function = (prop::sample::select(FUNCTIONS.to_vec()), data(), data());
    (places, prop::sample::select(kinds), (person(), person(), person()), number(), function).prop_map(
        |((parent, (depth, enter, exit), reverted), kind, (caller, address, code_address), value_wei, f)| {
            let (function, arguments, output) = f;
            let selector = keccak256(function);
            let input: Vec<u8> = selector.0.into_iter().take(4).chain(arguments).collect();
            Frame {
                index: 0,
                parent,
                depth: depth.into(),
                kind,
                caller,
                address,
                code_address,
                value_wei,
                input: input.into(),
                output: output.into(),
                gas_used: 0,
                status: Status::Success,
                reverted,
                precompile: false,
                enter_seq: enter.into(),
                exit_seq: exit.into(),
            }
        },
    )
}

fn change() -> impl Strategy<Value = (StorageChange, StorageAccess)> {
    let kind = prop::sample::select(vec![AccessKind::Read, AccessKind::Write]);
    (any::<(u8, u8)>(), person(), number(), (number(), number()), kind).prop_map(
        |((seq, frame), address, slot, (before, after), kind)| {
            let change = StorageChange { address, slot, before, after };
            let (seq, frame) = (seq.into(), (frame % 64).into());
            (change, StorageAccess { seq, frame, address, slot, kind, times: 1, before, value: after })
        },
    )
}

fn creation() -> impl Strategy<Value = Creation> {
    (0..64u32, person(), person(), word()).prop_map(|(frame, creator, address, hash)| Creation {
        frame,
        creator,
        address,
        init_code_hash: hash,
        code_hash: hash,
    })
}

/// The strike, or a plain call, with all of this in it.
fn record() -> impl Strategy<Value = Execution> {
    let more = (vec(frame(), 0..24), vec(log(), 0..12), vec(transfer(), 0..12));
    let state = (vec(change(), 0..8), vec(creation(), 0..3));
    (any::<(bool, bool)>(), more, state).prop_map(
        |((strikes, truncated), (frames, logs, transfers), (changes, creations))| {
            let script = World::new().script();
            let script = if strikes { script.strike() } else { script };
            let mut execution = script.finish(&[]);
            for mut frame in frames {
                frame.index = u32::try_from(execution.frames.len()).unwrap();
                execution.frames.push(frame);
            }
            execution.logs.extend(logs);
            execution.transfers.extend(transfers);
            for (change, access) in changes {
                execution.storage_changes.push(change);
                execution.accesses.push(access);
            }
            execution.creations.extend(creations);
            // Whatever a frame returned was stored, so that rubbish is scored as code.
            let left = execution.frames.iter().map(|frame| Creation {
                frame: frame.index,
                creator: frame.caller,
                address: frame.address,
                init_code_hash: B256::ZERO,
                code_hash: keccak256(&frame.output),
            });
            let left: Vec<Creation> = left.collect();
            execution.creations.extend(left);
            execution.truncated = truncated;
            execution
        },
    )
}

/// Every detector with what can be configured of it.
fn set() -> DetectorSet {
    let named = |name: &str| vec![name.to_owned()];
    let source = SourceConfig {
        chain: World::protocol().chain_id.0,
        contract: COLLATERAL_VAULT,
        event: "Deposit(address indexed from, uint256 amount)".to_owned(),
        id: named("from"),
        amount: Some("amount".to_owned()),
    };
    let bridge = BridgeConfig {
        custody: LENDING_VAULT,
        release_event: "Transfer(address indexed from, address indexed to, uint256 amount)".to_owned(),
        id: named("to"),
        amount: Some("amount".to_owned()),
        travels_max_hours: Some(1),
        clocks_s: 0,
        source: vec![source],
    };
    let backing = BackingConfig {
        token: COLLATERAL_VAULT,
        custody: COLLATERAL_VAULT,
        asset: COIN_TOKEN.to_string(),
        token_decimals: 18,
        asset_decimals: 0,
    };
    let mint =
        UnbackedMintConfig { bridge: vec![bridge], backing: vec![backing], ..UnbackedMintConfig::default() };
    let configs = DetectorConfig::all_beside(vec![DetectorConfig::UnbackedMint(mint)]);
    DetectorSet::from_configs(&configs, vec![World::protocol()]).unwrap()
}

/// The record with an answer of this kind to every question.
fn answered(set: &DetectorSet, mut execution: Execution, answers: &[Option<Vec<u8>>]) -> Execution {
    let mut answers = answers.iter().cycle();
    let mut answer = || answers.next().cloned().flatten().map(Bytes::from);
    let mut calls = set.views(&execution);
    calls.extend(set.rehearsal_views(&execution));
    let reading = |call| cordon_model::execution::ViewReading { call, before: answer(), after: answer() };
    execution.views = calls.into_iter().map(reading).collect();
    execution
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn no_record_stops_a_detector_or_makes_it_say_two_things(
        past in vec(record(), 0..3),
        execution in record(),
        answers in vec(prop::option::of(data()), 1..12),
    ) {
        let (set, protocol) = (set(), World::protocol());
        let mut baseline = Baseline::default();
        for before in past {
            set.compare_for(&protocol, &before, &baseline).pass_into(&mut baseline, &before, false);
        }
        let execution = answered(&set, execution, &answers);
        let judgement = set.judge(&execution);
        let compared = set.compare_for(&protocol, &execution, &baseline);
        let findings = || judgement.findings.iter().chain(&compared.findings);
        prop_assert!(findings().all(|finding| finding.score.0 <= 1_000));
        prop_assert!(findings().all(|finding| !finding.evidence.to_string().is_empty()));
        prop_assert_eq!(&judgement, &set.judge(&execution));
        prop_assert_eq!(&compared, &set.compare_for(&protocol, &execution, &baseline));
        prop_assert_eq!(set.messages(&execution), set.messages(&execution));
        let both = [execution.clone(), execution.clone()];
        let named = set.name_ordinary(&both, vec![judgement.findings.clone(), judgement.findings.clone()]);
        prop_assert_eq!(named.len(), 2);
        // What is to be tried is tried, and the trial is a record as broken as the first.
        let held = set.rehearsals(&execution).into_iter().map(|planned| (planned, vec![execution.clone()]));
        let held: Vec<_> = held.collect();
        prop_assert!(set.rehearsed(&execution, held).iter().all(|finding| finding.score.0 <= 1_000));
    }
}
