//! The report of a small attack, from hand-built facts to the page that people read.
//!
//! The attacker's contract donates to a vault, borrows, and comes back in before the borrow is settled; its second
//! attempt meets the pause.

use alloy_primitives::{Address, B256, Bytes, I256, U256, keccak256};
use cordon_investigate::{
    Interfaces, Investigation, Labels, inspect, investigate, report_json, report_markdown, tx_markdown,
};
use cordon_model::block::Transaction;
use cordon_model::execution::{Execution, Frame, FrameKind, Status, Transfer};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::incident::{Incident, IncidentEvent, Severity};
use cordon_model::log::{Actor, Body, FORMAT_VERSION, Record};
use cordon_model::protocol::{AssetSpec, Price, ProtectedContract, Protocol};
use cordon_model::report::Report;
use cordon_model::units::{Asset, AssetDelta, BlockRef, Bps, ChainId, IncidentId, ProtocolId, TxRef, WAD};

const ATTACKER: Address = Address::repeat_byte(0xaa);
const DRAINER: Address = Address::repeat_byte(0xab);
const VAULT: Address = Address::repeat_byte(0x11);
const USD: Address = Address::repeat_byte(0x22);

const ABI: &str = r#"[
    {"type": "function", "name": "borrow", "stateMutability": "nonpayable", "outputs": [],
     "inputs": [{"name": "assets", "type": "uint256"}, {"name": "data", "type": "bytes"}]},
    {"type": "function", "name": "withdrawCollateral", "stateMutability": "nonpayable", "outputs": [],
     "inputs": [{"name": "shares", "type": "uint256"}, {"name": "to", "type": "address"}]}
]"#;

fn data(signature: &str, words: &[B256]) -> Bytes {
    let mut data = keccak256(signature).to_vec();
    data.truncate(4);
    words.iter().for_each(|word| data.extend_from_slice(word.as_slice()));
    Bytes::from(data)
}

fn number(number: u64) -> B256 {
    B256::from(U256::from(number))
}

/// A frame by position: parent, caller, callee, calldata, first and last sequence number.
type Row = (Option<u32>, Address, Address, Bytes, (u32, u32));

fn frames(rows: &[Row], failed: Option<&Bytes>) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for (index, (parent, caller, address, input, (enter_seq, exit_seq))) in (0u32..).zip(rows) {
        let above = parent.and_then(|parent| frames.get(parent as usize));
        let status = failed.map_or(Status::Success, |output| Status::Revert { output: output.clone() });
        let depth = above.map_or(0, |frame| frame.depth + 1);
        frames.push(Frame {
            index,
            parent: *parent,
            depth,
            kind: FrameKind::Call,
            caller: *caller,
            address: *address,
            code_address: *address,
            value_wei: U256::ZERO,
            input: input.clone(),
            output: failed.cloned().unwrap_or_default(),
            gas_used: 1,
            status,
            reverted: failed.is_some(),
            precompile: false,
            enter_seq: *enter_seq,
            exit_seq: *exit_seq,
        });
    }
    frames
}

fn execution(seed: u8, frames: Vec<Frame>, transfers: Vec<Transfer>) -> Execution {
    let first = frames.first().expect("a transaction has a call");
    let (status, input, to) = (first.status.clone(), first.input.clone(), Some(first.address));
    let block = BlockRef { number: 100 + u64::from(seed), hash: B256::repeat_byte(0xb0 + seed) };
    let hash = B256::repeat_byte(seed);
    let transaction = Transaction {
        hash,
        input,
        gas_limit: 1_000_000,
        max_fee_per_gas_wei: Some(1),
        max_priority_fee_per_gas_wei: Some(1),
        chain_id: Some(1),
        ..Transaction::bare(ATTACKER, to)
    };
    let tx = TxRef { chain_id: ChainId(1), block, index: 0, hash };
    let timestamp_s = 1_700_000_000 + 12 * u64::from(seed);
    Execution { status, gas_used: 1, frames, transfers, ..Execution::bare(tx, timestamp_s, transaction) }
}

fn strike() -> Execution {
    let go = data("strike(uint256)", &[number(1)]);
    let transfer = |to: Address, amount| data("transfer(address,uint256)", &[to.into_word(), number(amount)]);
    let borrow = data("borrow(uint256,bytes)", &[number(9_000_000), number(64), number(0)]);
    let withdraw = data("withdrawCollateral(uint256,address)", &[number(7), DRAINER.into_word()]);
    let rows = [
        (None, ATTACKER, DRAINER, go, (1, 16)),
        (Some(0), DRAINER, USD, transfer(VAULT, 2_000_000), (2, 4)),
        (Some(0), DRAINER, VAULT, borrow, (5, 12)),
        (Some(2), VAULT, USD, transfer(DRAINER, 9_000_000), (6, 8)),
        (Some(2), VAULT, DRAINER, data("onBorrow(uint256,bytes)", &[]), (9, 12)),
        (Some(4), DRAINER, VAULT, withdraw, (10, 11)),
        (Some(0), DRAINER, USD, transfer(ATTACKER, 7_000_000), (13, 15)),
    ];
    let moved = |seq, frame, from, to, amount: u64| {
        let (asset, amount_raw) = (Asset::Token(USD), U256::from(amount));
        Transfer { seq, frame, asset, from, to, amount_raw }
    };
    let transfers = vec![
        moved(3, 1, DRAINER, VAULT, 2_000_000),
        moved(7, 3, VAULT, DRAINER, 9_000_000),
        moved(14, 6, DRAINER, ATTACKER, 7_000_000),
    ];
    execution(1, frames(&rows, None), transfers)
}

fn failed_strike() -> Execution {
    let paused = data("EnforcedPause()", &[]);
    let borrow = data("borrow(uint256,bytes)", &[number(9_000_000), number(64), number(0)]);
    let rows = [
        (None, ATTACKER, DRAINER, data("strike(uint256)", &[number(1)]), (1, 4)),
        (Some(0), DRAINER, VAULT, borrow, (2, 3)),
    ];
    execution(3, frames(&rows, Some(&paused)), vec![])
}

fn protocol() -> Protocol {
    Protocol {
        id: ProtocolId("lending".to_owned()),
        chain_id: ChainId(1),
        contracts: vec![ProtectedContract { address: VAULT, name: "Lending Vault".to_owned() }].into(),
        factories: vec![],
        assets: vec![AssetSpec {
            asset: Asset::Token(USD),
            symbol: "USD".to_owned(),
            decimals: 6,
            price: Price::Fixed { value_wad: WAD },
        }],
        account_views: vec![],
        capabilities: vec![],
    }
}

fn finding(execution: &Execution, detector: &str, class: AttackClass, evidence: Evidence) -> Box<Finding> {
    Box::new(Finding {
        id: Finding::derive_id(detector, ChainId(1), VAULT, &execution.tx),
        detector: detector.to_owned(),
        class,
        protocol: ProtocolId("lending".to_owned()),
        contract: VAULT,
        tx: execution.tx,
        score: Score(950),
        evidence,
        suspects: vec![ATTACKER, DRAINER],
    })
}

fn events(strike: &Execution) -> Vec<(u64, IncidentEvent)> {
    let selector = |signature: &str| data(signature, &[]).get(..4).and_then(|bytes| bytes.try_into().ok());
    let reentry = Evidence::Reentry {
        contract: VAULT,
        outer: selector("borrow(uint256,bytes)"),
        inner: selector("withdrawCollateral(uint256,address)"),
        via: DRAINER,
        slots: vec![U256::from(6)],
        kind: None,
    };
    let loss_raw = I256::try_from(-7_000_000).unwrap_or_default();
    let value = Evidence::ValueLoss {
        loss_wad: WAD * U256::from(7),
        holdings: vec![AssetDelta { asset: Asset::Token(USD), delta_raw: loss_raw }],
        obligations_delta_wad: I256::ZERO,
        loss_share_bps: Some(Bps(700)),
        gainers: vec![(ATTACKER, I256::ONE)],
    };
    let rationale = "the loss is above the limit\n| of `policy` <b>".to_owned();
    let detected = IncidentEvent::Detected {
        incident: IncidentId::derive(&["i"]),
        chain_id: ChainId(1),
        protocol: ProtocolId("lending".to_owned()),
        finding: finding(strike, "reentrancy", AttackClass::Reentrancy, reentry),
    };
    let added = finding(strike, "value-loss", AttackClass::ValueExtraction, value);
    vec![
        (101, detected),
        (101, IncidentEvent::FindingAdded { finding: added }),
        (102, IncidentEvent::Triaged { severity: Severity::Critical, rationale }),
    ]
}

fn report() -> (Report, Labels) {
    let (strike, failed) = (strike(), failed_strike());
    let events = events(&strike);
    let incident = Incident::fold(events.iter().map(|(_, event)| event))
        .expect("the events fit")
        .expect("the incident is open");
    let record = |(at_block, event): (u64, IncidentEvent)| Record {
        format: FORMAT_VERSION,
        at_s: 1_700_000_000 + 12 * (at_block - 100),
        at_block,
        actor: Actor::Cordon("detect".to_owned()),
        why: "a test".to_owned(),
        body: Body::Incident(event),
    };
    let records: Vec<Record> = events.into_iter().map(record).collect();
    let mut interfaces = Interfaces::standard();
    interfaces.add_abi("vault", ABI).expect("the ABI is well formed");
    let protocol = protocol();
    let labels = Labels::of(&protocol);
    let report = investigate(&Investigation {
        incident: &incident,
        protocol: &protocol,
        // Out of order on purpose.
        executions: &[failed, strike],
        records: &records,
        interfaces: &interfaces,
        labels: &labels,
    });
    (report, labels)
}

#[test]
fn the_page_reads_as_agreed() {
    let (report, labels) = report();
    insta::assert_snapshot!("incident", report_markdown(&report, &labels));
}

#[test]
fn a_single_transaction_is_inspected_without_an_incident() {
    let labels = Labels::of(&protocol());
    let report = inspect(&strike(), &Interfaces::standard(), &labels);
    insta::assert_snapshot!("transaction", tx_markdown(&report, &labels));
}

#[test]
fn json_reads_back_as_the_same_report() {
    let (report, _) = report();
    assert_eq!(serde_json::from_str::<Report>(&report_json(&report)).unwrap(), report);
}

#[test]
fn losses_and_gains_are_the_attackers() {
    let (report, _) = report();
    assert_eq!(report.loss_wad, WAD * U256::from(7));
    assert_eq!(report.profit_and_loss[0].account, ATTACKER);
    assert_eq!(report.transactions.len(), 2);
    assert!(report.transactions[1].calls[0].text.ends_with("!! reverted: EnforcedPause()"));
}
