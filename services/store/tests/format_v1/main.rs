//! A log that was written in format 1 stays readable for ever.
//!
//! The fixture holds one record of every kind as the first release writes it, one JSON text a line. This test fails
//! where the JSON of a model type changes shape: then either the change is taken back (a field renamed), or it is
//! made readable (a new field with a default, and a new fixture beside this one), or the format version goes up.
//! Until the first release `CORDON_FIXTURES=write` writes the fixture anew; afterwards the file is never edited.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does: by a panic")]

mod chain;

use alloy_primitives::{Address, B256, Bytes, I256, Selector, U256};
use cordon_model::allocation::{Allocation, Entitlement};
use cordon_model::execution::ViewCall;
use cordon_model::finding::sign::{CodePart, CodeTrait, Imitation, ImitationKind, NewContract, Sign};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::incident::{IncidentEvent, Severity};
use cordon_model::lane::{Intent, LaneEvent};
use cordon_model::log::{Actor, Body, ChainEvent, EventLog, Record};
use cordon_model::notice::{Audience, Notice, OutboxEvent};
use cordon_model::plan::{
    Call, Certainty, Check, Expectation, Plan, Purpose, Receipt, Step, Undo, Verification,
};
use cordon_model::remedy::{HonestDifference, LayoutChange, Remedy, RemedyRule, Verdict};
use cordon_model::simulation::{AttackTrial, Ground, HonestTrial, Simulation, TrialOutcome};
use cordon_model::units::{
    Asset, AssetDelta, BlockRef, Bps, CapabilityId, ChainId, FindingId, IncidentId, Milli, NoticeId,
    PlanHash, ProtocolId, TxRef,
};
use cordon_store::SqliteLog;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use std::collections::BTreeSet;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/log-v1.jsonl");

#[tokio::test]
async fn a_log_of_format_1_is_read_and_means_the_same() {
    if std::env::var("CORDON_FIXTURES").is_ok_and(|mode| mode == "write") {
        let lines: String =
            samples().iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
        std::fs::write(FIXTURE, lines).unwrap();
    }
    let fixture = std::fs::read_to_string(FIXTURE).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = SqliteLog::open(&path).await.unwrap();
    let mut old = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    for (json, position) in fixture.lines().zip(1i64..) {
        sqlx::query("INSERT INTO record (position, stream, version, json) VALUES ($1, 'v1', $1, $2)")
            .bind(position)
            .bind(json)
            .execute(&mut old)
            .await
            .unwrap();
    }
    let found: Vec<Record> =
        log.since(0, u32::MAX).await.unwrap().into_iter().map(|stored| stored.record).collect();
    assert_eq!(found.len(), samples().len(), "the fixture must hold one record of every kind");
    for (found, expected) in found.iter().zip(samples()) {
        assert_eq!(*found, expected, "an old record means something else now");
    }
    // Format 1 is also still written the same way: other programs read the log too.
    for (json, record) in fixture.lines().zip(&found) {
        assert_eq!(serde_json::to_string(record).unwrap(), json);
    }
}

#[test]
fn every_kind_of_record_has_a_sample() {
    let kinds: BTreeSet<&str> = samples().iter().map(|record| kind(&record.body)).collect();
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
}

/// Number of names that [`kind`] can give.
const KINDS: usize = 47;

/// Names a record's kind. Without a wildcard on purpose: a new kind does not compile until it has a name here, and
/// then the test above wants a sample of it.
fn kind(body: &Body) -> &'static str {
    match body {
        Body::Incident(event) => match event {
            IncidentEvent::Detected { .. }
            | IncidentEvent::FindingAdded { .. }
            | IncidentEvent::FindingWithdrawn { .. }
            | IncidentEvent::FindingConfirmed { .. }
            | IncidentEvent::Triaged { .. }
            | IncidentEvent::Simulated { .. }
            | IncidentEvent::PlanChosen { .. }
            | IncidentEvent::PlanApproved { .. }
            | IncidentEvent::PlanRefused { .. }
            | IncidentEvent::StepLanded { .. }
            | IncidentEvent::NeedsPerson { .. }
            | IncidentEvent::PlanFailed { .. }
            | IncidentEvent::StepReverted { .. }
            | IncidentEvent::StepHeld { .. }
            | IncidentEvent::EffectsChecked { .. }
            | IncidentEvent::PlanCompleted { .. }
            | IncidentEvent::Investigated { .. }
            | IncidentEvent::RemedyJudged { .. }
            | IncidentEvent::AllocationSettled { .. }
            | IncidentEvent::ClaimPaid { .. }
            | IncidentEvent::FalseAlarm
            | IncidentEvent::Reopened
            | IncidentEvent::Closed => event.name(),
        },
        Body::Lane(event) => match event {
            LaneEvent::IntentRecorded { .. } => "intent recorded",
            LaneEvent::Signed { .. } => "signed",
            LaneEvent::Mined { .. } => "mined",
            LaneEvent::Unmined { .. } => "unmined",
        },
        Body::Outbox(event) => match event {
            OutboxEvent::Queued { .. } => "queued",
            OutboxEvent::Delivered { .. } => "delivered",
            OutboxEvent::Failed { .. } => "failed",
        },
        Body::Chain(event) => match event {
            ChainEvent::Reverted { .. } => "reverted",
            ChainEvent::ReplayMismatch { .. } => "replay mismatch",
            ChainEvent::Finality { .. } => "finality",
            ChainEvent::AlarmRaised { .. } => "alarm raised",
            ChainEvent::AlarmCleared { .. } => "alarm cleared",
            ChainEvent::Held { .. } => "held",
            ChainEvent::Released { .. } => "released",
            ChainEvent::Halted { .. } => "halted",
            ChainEvent::Followed { .. } => "followed",
            ChainEvent::Learned { .. } => "learned",
            ChainEvent::Withheld { .. } => "withheld",
            ChainEvent::Accepted { .. } => "accepted",
            ChainEvent::Tallied { .. } => "tallied",
            ChainEvent::RulesTaken { .. } => "rules taken",
            ChainEvent::Weighed { .. } => "weighed",
            ChainEvent::JudgedBy { .. } => "judged by",
            ChainEvent::Messages { .. } => "messages",
        },
    }
}

fn samples() -> Vec<Record> {
    let mut bodies: Vec<Body> = incident_events().into_iter().map(Body::Incident).collect();
    bodies.extend(lane_events().into_iter().map(Body::Lane));
    bodies.extend(outbox_events().into_iter().map(Body::Outbox));
    bodies.extend(chain::chain_events().into_iter().map(Body::Chain));
    bodies.push(Body::Incident(imitation()));
    // What came later stands behind what was there, so that no older line changes.
    bodies.push(Body::Incident(IncidentEvent::FindingAdded { finding: Box::new(new_contract()) }));
    let actors = [Actor::Cordon("decide".to_owned()), Actor::Person("alice".to_owned())];
    let actors = actors.into_iter().cycle();
    let record = |(body, actor)| Record {
        format: 1,
        at_s: 1_700_000_000,
        at_block: 18_000_000,
        actor,
        why: "value left that nobody was owed".to_owned(),
        body,
    };
    bodies.into_iter().zip(actors).map(record).collect()
}

fn incident_events() -> Vec<IncidentEvent> {
    let plan = PlanHash(hash(0x50));
    let [loss, reentry, rate] = findings();
    let incident = IncidentId(hash(0x10));
    vec![
        IncidentEvent::Detected {
            incident,
            chain_id: ChainId(1),
            protocol: protocol(),
            finding: Box::new(loss),
        },
        IncidentEvent::FindingAdded { finding: Box::new(reentry) },
        IncidentEvent::FindingAdded { finding: Box::new(rate) },
        IncidentEvent::FindingWithdrawn { finding: FindingId(hash(0x20)) },
        IncidentEvent::FindingConfirmed { finding: FindingId(hash(0x20)), certainty: Certainty::Safe },
        IncidentEvent::Triaged { severity: Severity::Critical, rationale: "value is leaving".to_owned() },
        IncidentEvent::Simulated { simulation: Box::new(simulation()) },
        IncidentEvent::PlanChosen { plan: Box::new(self::plan()), rationale: "least harm".to_owned() },
        IncidentEvent::NeedsPerson { why: "no option stops the attack".to_owned() },
        IncidentEvent::PlanApproved { plan },
        IncidentEvent::PlanRefused { plan, rule: "observe only".to_owned() },
        IncidentEvent::StepLanded { receipt: receipt() },
        IncidentEvent::StepReverted { plan, step: 0, block: block() },
        IncidentEvent::StepHeld { plan, step: 0, why: "its nonce was used elsewhere".to_owned() },
        IncidentEvent::EffectsChecked { verification: verification() },
        IncidentEvent::PlanFailed { plan, why: "it landed without effect".to_owned() },
        IncidentEvent::PlanCompleted { plan },
        IncidentEvent::Investigated {
            root_cause: "donation moved the rate".to_owned(),
            loss_wad: U256::MAX,
            report_hash: hash(0x60),
        },
        IncidentEvent::RemedyJudged { remedy: Box::new(remedy(Verdict::Proven)) },
        IncidentEvent::RemedyJudged {
            remedy: Box::new(remedy(Verdict::Refused(vec![
                RemedyRule::LayoutCompatible,
                RemedyRule::UpgradeSucceeds,
                RemedyRule::AttackTakesNothing,
                RemedyRule::AttackReproduced,
                RemedyRule::HonestUnchanged,
            ]))),
        },
        IncidentEvent::AllocationSettled { allocation: Box::new(allocation()), merkle_root: hash(0x61) },
        IncidentEvent::ClaimPaid { account: address(0xaa), amount_raw: U256::from(5), tx_hash: hash(0x62) },
        IncidentEvent::FalseAlarm,
        IncidentEvent::Reopened,
        IncidentEvent::Closed,
    ]
}

/// A finding of a kind that is younger than the others; the fixture grows at its end.
fn imitation() -> IncidentEvent {
    let likeness = ImitationKind::SameInstructions { contract: address(0xdd), instructions: 1_200 };
    let imitation = Imitation {
        signature: "inc-02c2a115-1".to_owned(),
        known_tx: hash(0x30),
        text: "learned from incident inc-02c2a115, block 18000000".to_owned(),
        likeness,
    };
    let [loss, ..] = findings();
    let evidence = Evidence::Sign(Sign::Imitation(imitation));
    let finding = Finding { detector: "known-attack".to_owned(), evidence, ..loss };
    IncidentEvent::FindingAdded { finding: Box::new(finding) }
}

fn lane_events() -> Vec<LaneEvent> {
    let intent = Intent {
        incident: IncidentId(hash(0x10)),
        plan: PlanHash(hash(0x50)),
        step: 0,
        chain_id: ChainId(1),
        from: address(0xbb),
        nonce: 7,
        gas_limit: 60_000,
        call: call(),
    };
    vec![
        LaneEvent::IntentRecorded { intent },
        LaneEvent::Signed {
            nonce: 7,
            tx_hash: hash(0x70),
            raw: Bytes::from_static(&[2, 0xf8]),
            // Larger than 64 bits: a reader that goes through a float would lose it.
            max_fee_per_gas_wei: u128::MAX,
            max_priority_fee_per_gas_wei: 1_000_000_000,
            at_block: 18_000_000,
        },
        LaneEvent::Mined { nonce: 7, receipt: receipt() },
        LaneEvent::Unmined { nonce: 7, block: block() },
    ]
}

fn outbox_events() -> Vec<OutboxEvent> {
    let id = NoticeId(hash(0x80));
    let audiences = [Audience::Responders, Audience::Signers, Audience::Users, Audience::Operators];
    let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let queued = |(audience, severity)| OutboxEvent::Queued {
        notice: Notice {
            id,
            incident: Some(IncidentId(hash(0x10))),
            protocol: Some(protocol()),
            chain_id: ChainId(1),
            severity,
            audience,
            title: "vault drained".to_owned(),
            lines: vec!["loss 5".to_owned()],
        },
    };
    let mut events: Vec<_> = audiences.into_iter().zip(severities).map(queued).collect();
    events.push(OutboxEvent::Delivered { notice: id, attempts: 2 });
    events.push(OutboxEvent::Failed { notice: id, attempt: 1, error: "status 503".to_owned() });
    events
}

fn findings() -> [Finding; 3] {
    let finding = |detector: &str, class, evidence| Finding {
        id: FindingId(hash(0x20)),
        detector: detector.to_owned(),
        class,
        protocol: protocol(),
        contract: address(0xcc),
        tx: tx(),
        score: Score(900),
        evidence,
        suspects: vec![address(0xdd)],
    };
    let delta_raw = I256::try_from(-5).unwrap();
    let loss = Evidence::ValueLoss {
        loss_wad: U256::from(5),
        holdings: vec![
            AssetDelta { asset: Asset::Native, delta_raw },
            AssetDelta { asset: Asset::Token(address(0xee)), delta_raw },
        ],
        obligations_delta_wad: I256::MIN,
        loss_share_bps: Some(Bps(250)),
        gainers: vec![(address(0xdd), I256::MAX)],
    };
    let reentry = Evidence::Reentry {
        contract: address(0xcc),
        outer: Some(Selector::from([1, 2, 3, 4])),
        inner: None,
        via: address(0xdd),
        slots: vec![U256::from(9)],
        kind: None,
    };
    let rate = Evidence::RateJump {
        contract: address(0xcc),
        underlying: Asset::Token(address(0xee)),
        before_raw: U256::from(1),
        extreme_raw: U256::from(2),
        jump_bps: Bps(10_000),
    };
    [
        finding("value_loss", AttackClass::ValueExtraction, loss),
        finding("reentrancy", AttackClass::Reentrancy, reentry),
        finding("rate_jump", AttackClass::RateManipulation, rate),
    ]
}

fn new_contract() -> Finding {
    let part = |what, milli| CodePart { what, log_odds: Milli(milli) };
    let function = Selector::from([1, 2, 3, 4]);
    let sign = NewContract {
        address: address(0xdd),
        creator: address(0xaa),
        code_hash: hash(0x64),
        log_odds: Milli(2_345),
        bound: Milli(-678),
        sure: true,
        parts: vec![
            part(CodeTrait::Calls(function), 900),
            part(CodeTrait::Has(function), 800),
            part(CodeTrait::LoanCallback, 700),
            part(CodeTrait::Instructions, 600),
        ],
        names: vec![address(0xcc)],
    };
    Finding {
        detector: "new-contract".to_owned(),
        class: AttackClass::Preparation,
        evidence: Evidence::Sign(Sign::NewContract(sign)),
        ..findings()[0].clone()
    }
}

fn plan() -> Plan {
    let check = |expect| Check {
        what: "the vault is paused".to_owned(),
        view: ViewCall { target: address(0xcc), input: Bytes::from_static(&[0x5c, 0x97, 0x5a, 0xbb]) },
        expect,
    };
    let step = |undo| Step {
        name: "pause".to_owned(),
        from: address(0xbb),
        call: call(),
        preconditions: vec![check(Expectation::Reverts), check(Expectation::AtLeast(U256::from(1)))],
        effects: vec![check(Expectation::Returns(Bytes::from_static(&[1])))],
        undo,
    };
    Plan {
        incident: IncidentId(hash(0x10)),
        purpose: Purpose::Contain,
        chain_id: ChainId(1),
        title: "pause the vault".to_owned(),
        capability: Some(CapabilityId("vault-pause".to_owned())),
        attempt: 0,
        steps: vec![
            step(Undo::Call { from: Some(address(0xbb)), call: call() }),
            step(Undo::NoUndo { why: "it is final".to_owned() }),
        ],
    }
}

fn simulation() -> Simulation {
    Simulation {
        plan: plan(),
        head: block(),
        covers: vec![FindingId(hash(0x20))],
        plan_error: Some("reverted".to_owned()),
        attack: vec![trial(Ground::BeforeAttack), trial(Ground::Head)],
        honest: vec![HonestTrial {
            tx_hash: hash(0x31),
            from: address(0xaa),
            to: Some(address(0xcc)),
            selector: Some(Selector::from([1, 2, 3, 4])),
            works_without: true,
            works_with: false,
        }],
    }
}

fn trial(ground: Ground) -> AttackTrial {
    let outcome = |success, error| TrialOutcome { success, loss_wad: U256::from(u8::from(success)), error };
    AttackTrial {
        tx_hash: hash(0x30),
        ground,
        without: outcome(true, None),
        with: outcome(false, Some("EnforcedPause".to_owned())),
    }
}

fn remedy(verdict: Verdict) -> Remedy {
    Remedy {
        incident: IncidentId(hash(0x10)),
        candidate: "VaultV2".to_owned(),
        init_code_hash: hash(0x63),
        proxy: address(0xcc),
        verdict,
        layout: vec![LayoutChange { label: "owner".to_owned(), what: "moved".to_owned(), breaking: true }],
        attack: vec![trial(Ground::BeforeAttack)],
        honest_differences: vec![HonestDifference {
            tx_hash: hash(0x31),
            what: "gas".to_owned(),
            breaking: true,
        }],
        honest_replayed: 12,
        plan: Some(plan()),
    }
}

fn allocation() -> Allocation {
    let amount = |account, raw: u64| Entitlement {
        account: address(account),
        loss_raw: U256::from(raw),
        amount_raw: U256::from(raw),
    };
    Allocation {
        asset: Asset::Native,
        method: "pro rata 1".to_owned(),
        snapshot: block(),
        funds_raw: U256::from(6),
        total_loss_raw: U256::from(5),
        entitlements: vec![amount(0xaa, 3), amount(0xab, 2)],
        dust_raw: U256::from(1),
    }
}

fn receipt() -> Receipt {
    Receipt {
        plan: PlanHash(hash(0x50)),
        step: 0,
        tx_hash: hash(0x70),
        block: block(),
        index: 4,
        created: Some(address(0xfe)),
        gas_used: 51_234,
        fee_wei: U256::from(1_000_000u64),
        success: true,
    }
}

fn verification() -> Verification {
    Verification {
        plan: PlanHash(hash(0x50)),
        step: 0,
        block: block(),
        certainty: Certainty::Finalized,
        effects: vec![("the vault is paused".to_owned(), true)],
    }
}

fn call() -> Call {
    Call {
        to: Some(address(0xcc)),
        value_wei: U256::ZERO,
        data: Bytes::from_static(&[0x84, 0x56, 0xcb, 0x59]),
    }
}

fn protocol() -> ProtocolId {
    ProtocolId("vault".to_owned())
}

fn tx() -> TxRef {
    TxRef { chain_id: ChainId(1), block: block(), index: 3, hash: hash(0x30) }
}

fn block() -> BlockRef {
    BlockRef { number: 18_000_000, hash: hash(0x01) }
}

fn hash(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn address(byte: u8) -> Address {
    Address::repeat_byte(byte)
}
