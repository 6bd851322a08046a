//! Decisions of people beside a watcher, on a real log.

use super::*;
use alloy_primitives::{Address, B256, U256};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::log::{Cursor, LogFuture};
use cordon_model::plan::{Call, Plan, Purpose, Step, Undo};
use cordon_model::units::{BlockRef, ChainId, FindingId, IncidentId, ProtocolId, TxRef};
use std::sync::atomic::{AtomicU32, Ordering};

fn incident() -> IncidentId {
    IncidentId::derive(&["an incident"])
}

fn detected() -> IncidentEvent {
    let block = BlockRef { number: 7, hash: B256::ZERO };
    let evidence = Evidence::Reentry {
        contract: Address::ZERO,
        outer: None,
        inner: None,
        via: Address::ZERO,
        slots: vec![],
        kind: None,
    };
    let finding = Finding {
        id: FindingId::derive(&["a finding"]),
        detector: "reentrancy".to_owned(),
        class: AttackClass::Reentrancy,
        protocol: ProtocolId("vault".to_owned()),
        contract: Address::ZERO,
        tx: TxRef { chain_id: ChainId(1), block, index: 0, hash: B256::ZERO },
        score: Score(900),
        evidence,
        suspects: vec![],
    };
    let (protocol, finding) = (finding.protocol.clone(), Box::new(finding));
    IncidentEvent::Detected { incident: incident(), chain_id: ChainId(1), protocol, finding }
}

fn plan(title: &str) -> Plan {
    let step = Step {
        name: "pause".to_owned(),
        from: Address::ZERO,
        call: Call { to: Some(Address::ZERO), value_wei: U256::ZERO, data: Default::default() },
        preconditions: vec![],
        effects: vec![],
        undo: Undo::NoUndo { why: "a test".to_owned() },
    };
    Plan {
        incident: incident(),
        purpose: Purpose::Contain,
        chain_id: ChainId(1),
        title: title.to_owned(),
        capability: None,
        attempt: 0,
        steps: vec![step],
    }
}

fn record(event: IncidentEvent) -> Record {
    let actor = Actor::Cordon("engine".to_owned());
    let (format, why, body) = (FORMAT_VERSION, "a test".to_owned(), Body::Incident(event));
    Record { format, at_s: 1_700_000_000, at_block: 9, actor, why, body }
}

/// A log as a watcher leaves it that observes only: one plan chosen and refused, one channel that was told.
async fn watched(log: &dyn EventLog) -> PlanHash {
    let plan = plan("pause the vault");
    let hash = plan.hash();
    let chosen = IncidentEvent::PlanChosen { plan: Box::new(plan), rationale: "least harm".to_owned() };
    let refused = IncidentEvent::PlanRefused { plan: hash, rule: "the lever is observe-only".to_owned() };
    let mut incidents = Vec::new();
    let mut folded = None;
    let mut notices = Vec::new();
    for event in [detected(), chosen, refused] {
        let after = Incident::next(folded, &event).unwrap();
        notices.extend(cordon_decide::notices(&after, &event));
        incidents.push(record(event));
        folded = Some(after);
    }
    assert!(!notices.is_empty(), "a channel that was never told has no stream");
    let queued = cordon_notify::queue_records(&notices, 1_700_000_000, 9);
    let append = |stream, records| Append { stream, expected_version: 0, records };
    let appends =
        vec![append(StreamId::incident(incident()), incidents), append(StreamId::outbox("on-call"), queued)];
    log.commit(Batch { appends, cursor: None }).await.unwrap();
    hash
}

fn decree(ruling: Ruling) -> Decree {
    Decree { ruling, by: "Ada".to_owned(), why: "I looked at the trace".to_owned() }
}

fn approve(plan: impl ToString) -> Decree {
    decree(Ruling::Approve { plan: plan.to_string() })
}

#[tokio::test]
async fn a_person_approves_what_the_policy_refused() {
    for full in [true, false] {
        let log = SqliteLog::in_memory().await.unwrap();
        let plan = watched(&log).await;
        let name = if full { plan.0.to_string() } else { plan.to_string() };
        let after = append(&log, &incident().to_string(), &approve(name)).await.unwrap();
        assert_eq!(after.incident.plans[&plan].status, PlanStatus::Approved);

        let stored = log.read(StreamId::incident(incident())).await.unwrap();
        let last = &stored.last().unwrap().record;
        assert_eq!(stored.len(), 4, "one event and nothing else");
        assert_eq!(last.actor, Actor::Person("Ada".to_owned()));
        assert_eq!(
            (last.at_s, last.at_block, last.why.as_str()),
            (1_700_000_000, 9, "I looked at the trace")
        );
        assert_eq!(last.body, Body::Incident(IncidentEvent::PlanApproved { plan }));
        assert_eq!(read(&log).await.unwrap()[0].incident, after.incident, "the log tells the same");
    }
}

#[tokio::test]
async fn a_decision_that_does_not_fit_is_refused_by_its_rule() {
    let log = SqliteLog::in_memory().await.unwrap();
    let plan = watched(&log).await;
    let id = incident().0.to_string();
    append(&log, &id, &approve(plan)).await.unwrap();
    let twice = append(&log, &id, &approve(plan)).await.unwrap_err();
    assert!(
        matches!(&twice, EngineError::Refused(why) if why.contains("a plan is decided on once")),
        "{twice}"
    );

    assert_eq!(append(&log, &id, &decree(Ruling::FalseAlarm)).await.unwrap().state, State::FalseAlarm);
    let closed = append(&log, &id, &decree(Ruling::Close)).await.unwrap_err();
    assert!(closed.to_string().contains("a closed incident takes only a reopening"), "{closed}");
    assert_eq!(log.read(StreamId::incident(incident())).await.unwrap().len(), 5);
}

#[tokio::test]
async fn who_and_what_must_be_named() {
    let log = SqliteLog::in_memory().await.unwrap();
    let plan = watched(&log).await;
    let id = incident().to_string();
    let close = decree(Ruling::Close);
    let wrong = [
        ("inc-00000000", close.clone(), "incident: found 'inc-00000000'"),
        (&id, approve("pln-00000000"), &format!("these wait for approval: {}", plan.0)),
        (&id, Decree { by: " ".to_owned(), ..close.clone() }, "the name of the person"),
        (&id, Decree { by: "cordon/engine".to_owned(), ..close.clone() }, "the name of the person"),
        (&id, Decree { why: String::new(), ..close }, "why, in one sentence"),
    ];
    for (id, decree, expected) in wrong {
        let error = append(&log, id, &decree).await.unwrap_err();
        assert!(matches!(error, EngineError::Argument { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(log.read(StreamId::incident(incident())).await.unwrap().len(), 3, "nothing was written");
}

#[tokio::test]
async fn every_channel_of_the_log_hears_what_follows() {
    let log = SqliteLog::in_memory().await.unwrap();
    watched(&log).await;
    let channel = StreamId::outbox("on-call");
    let before = log.read(channel.clone()).await.unwrap().len();
    // Of the events that have notices, this is the simplest; what people hear of which event is decided elsewhere.
    let event = IncidentEvent::NeedsPerson { why: "no lever is ready".to_owned() };
    let dossier = pick(read(&log).await.unwrap(), &incident().to_string()).unwrap();
    let after = Incident::next(Some(dossier.incident.clone()), &event).unwrap();
    let expected = cordon_decide::notices(&after, &event);
    assert!(!expected.is_empty());

    let written = batch(&log, &dossier, &after, &record(event)).await.unwrap();
    log.commit(written).await.unwrap();
    let pending = cordon_notify::pending(&log.read(channel).await.unwrap()).unwrap();
    let heard: Vec<_> = pending.into_iter().skip(before).map(|pending| pending.notice).collect();
    assert_eq!(heard, expected);
    assert_eq!(log.streams(OUTBOXES.to_owned()).await.unwrap().len(), 1, "no channel is made up");
}

/// The real log, beside a watcher that is quicker for a while: before each of the first `races` commits it appends.
#[derive(Debug)]
struct Raced {
    log: SqliteLog,
    races: AtomicU32,
}

impl Raced {
    async fn race(&self) -> Result<(), LogError> {
        if self.races.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Ok(());
        }
        let stream = StreamId::incident(incident());
        let expected_version = self.log.read(stream.clone()).await?.len().try_into().unwrap();
        let news = record(IncidentEvent::NeedsPerson { why: format!("news {expected_version}") });
        let appends = vec![Append { stream, expected_version, records: vec![news] }];
        self.log.commit(Batch { appends, cursor: None }).await
    }
}

impl EventLog for Raced {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(async move {
            self.race().await?;
            self.log.commit(batch).await
        })
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        self.log.read(stream)
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        self.log.streams(prefix)
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        self.log.since(position, limit)
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        self.log.cursor(chain_id)
    }
}

#[tokio::test]
async fn a_quicker_watcher_is_read_again_a_bounded_number_of_times() {
    for (races, wins) in [(CONFLICT_TRIES_MAX - 1, true), (CONFLICT_TRIES_MAX, false)] {
        let log = SqliteLog::in_memory().await.unwrap();
        let plan = watched(&log).await;
        let raced = Raced { log, races: AtomicU32::new(races) };
        let outcome = append(&raced, &incident().to_string(), &approve(plan)).await;
        if wins {
            let written = u32::try_from(outcome.unwrap().records.len()).unwrap();
            assert_eq!(written, 3 + races + 1, "the watcher's records come first, none is lost");
        } else {
            assert!(matches!(outcome, Err(EngineError::Log(LogError::Conflict { .. }))));
        }
    }
}

#[tokio::test]
async fn an_empty_file_is_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cordon.sqlite");
    std::fs::write(&path, "").unwrap();
    let error = decide(&path, "inc-00000000", &decree(Ruling::Close)).await.unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::File);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}
