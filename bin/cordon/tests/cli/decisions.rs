//! `cordon incident`: what a person decides beside a watcher is in the log, and nothing else is.

use super::{complaint, cordon};
use alloy_primitives::{Address, B256, U256};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::incident::IncidentEvent;
use cordon_model::log::{Actor, Append, Batch, Body, EventLog, FORMAT_VERSION, Record, StreamId};
use cordon_model::plan::{Call, Plan, Purpose, Step, Undo};
use cordon_model::units::{BlockRef, ChainId, FindingId, IncidentId, ProtocolId, TxRef};
use cordon_store::SqliteLog;
use std::path::Path;
use tempfile::TempDir;

fn detected(incident: IncidentId) -> IncidentEvent {
    let (protocol, block) = (ProtocolId("vault".to_owned()), BlockRef { number: 7, hash: B256::ZERO });
    let (contract, slots) = (Address::ZERO, vec![]);
    let finding = Finding {
        id: FindingId::derive(&["a finding"]),
        detector: "reentrancy".to_owned(),
        class: AttackClass::Reentrancy,
        protocol: protocol.clone(),
        contract,
        tx: TxRef { chain_id: ChainId(1), block, index: 0, hash: B256::ZERO },
        score: Score(900),
        evidence: Evidence::Reentry { contract, outer: None, inner: None, via: contract, slots, kind: None },
        suspects: vec![],
    };
    IncidentEvent::Detected { incident, chain_id: ChainId(1), protocol, finding: Box::new(finding) }
}

fn plan(incident: IncidentId) -> Plan {
    let step = Step {
        name: "pause".to_owned(),
        from: Address::ZERO,
        call: Call { to: Some(Address::ZERO), value_wei: U256::ZERO, data: Default::default() },
        preconditions: vec![],
        effects: vec![],
        undo: Undo::NoUndo { why: "a test".to_owned() },
    };
    let (purpose, chain_id, title) = (Purpose::Contain, ChainId(1), "pause the vault".to_owned());
    Plan { incident, purpose, chain_id, title, capability: None, attempt: 0, steps: vec![step] }
}

/// A log with one incident whose only plan was refused, and the two ids as people see them.
async fn refused_plan(folder: &Path) -> (String, String) {
    let incident = IncidentId::derive(&["an incident"]);
    let plan = plan(incident);
    let hash = plan.hash();
    let events = [
        detected(incident),
        IncidentEvent::PlanChosen { plan: Box::new(plan), rationale: "least harm".to_owned() },
        IncidentEvent::PlanRefused { plan: hash, rule: "the lever is observe-only".to_owned() },
    ];
    let record = |event| {
        let actor = Actor::Cordon("engine".to_owned());
        let (why, body) = ("a test".to_owned(), Body::Incident(event));
        Record { format: FORMAT_VERSION, at_s: 1_700_000_000, at_block: 9, actor, why, body }
    };
    let (stream, records) = (StreamId::incident(incident), events.map(record).to_vec());
    let log = SqliteLog::open(&folder.join("cordon.sqlite")).await.unwrap();
    let appends = vec![Append { stream, expected_version: 0, records }];
    log.commit(Batch { appends, cursor: None }).await.unwrap();
    log.close().await;
    (incident.to_string(), hash.to_string())
}

fn records(folder: &Path, id: &str) -> Vec<serde_json::Value> {
    let shown = cordon(folder, &["incident", "show", id, "--json"]);
    let dossier: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    dossier.get("records").and_then(serde_json::Value::as_array).unwrap().clone()
}

#[tokio::test]
async fn a_person_approves_a_refused_plan_once() {
    let folder = TempDir::new().unwrap();
    let (id, plan) = refused_plan(folder.path()).await;
    let approve = ["incident", "approve", &id, &plan, "--by", "Ada"];
    let output = cordon(folder.path(), &approve);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&id));

    let written = records(folder.path(), &id);
    assert_eq!(written.len(), 4, "one event and nothing else");
    assert_eq!(written[3]["actor"], serde_json::json!({ "person": "Ada" }));
    assert_eq!(written[3]["at_block"], 9);
    assert!(written[3]["body"]["incident"]["plan_approved"].is_object(), "{}", written[3]);

    let said = complaint(folder.path(), &approve, 5);
    assert!(said.contains("a plan is decided on once"), "{said}");
    assert_eq!(records(folder.path(), &id).len(), 4);
}

#[tokio::test]
async fn a_person_ends_an_incident_with_a_reason() {
    for (command, state) in [("false-alarm", "false alarm"), ("close", "closed")] {
        let folder = TempDir::new().unwrap();
        let (id, plan) = refused_plan(folder.path()).await;
        let said = complaint(folder.path(), &["incident", command, &id, "--by", "Ada"], 2);
        assert!(said.contains("--why"), "{said}");
        let output =
            cordon(folder.path(), &["incident", command, &id, "--by", "Ada", "--why", "a test trade"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains(state));
        let said = complaint(folder.path(), &["incident", "approve", &id, &plan, "--by", "Ada"], 5);
        assert!(said.contains("a closed incident takes only a reopening"), "{said}");
    }
}

#[tokio::test]
async fn an_unknown_plan_is_answered_with_those_that_wait() {
    let folder = TempDir::new().unwrap();
    let (id, _) = refused_plan(folder.path()).await;
    let said = complaint(folder.path(), &["incident", "approve", &id, "pln-00000000", "--by", "Ada"], 2);
    assert!(said.contains("these wait for approval: 0x"), "{said}");
}

#[test]
fn an_empty_file_is_no_log_and_stays_empty() {
    for arguments in [
        &["incident", "list"][..],
        &["incident", "show", "inc-00000000"],
        &["incident", "close", "inc-00000000", "--by", "Ada", "--why", "a test"],
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("cordon.sqlite");
        std::fs::write(&path, "").unwrap();
        let said = complaint(folder.path(), arguments, 6);
        assert!(said.contains("cordon.sqlite") && said.contains("empty"), "{said}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it either");
    }
}
