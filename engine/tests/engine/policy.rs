//! Nothing is sent by default: what is not granted waits for a person, and says so.

use crate::watchtower::{Grants, Tower, Watch};
use alloy_primitives::B256;
use cordon_engine::{EngineError, Event, Kind};
use cordon_model::incident::{IncidentEvent, PlanStatus};
use cordon_model::log::{Actor, Body, StreamId};
use cordon_model::units::{BlockRef, PlanHash};
use std::io::Write;
use std::sync::{Arc, Mutex};

const SEED: u64 = 41;

async fn detected(grants: Grants) -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, grants);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    (tower, watch)
}

fn approval(plan: PlanHash) -> Event {
    Event::Approve { person: "Ada".to_owned(), why: "the drain is real".to_owned(), plan }
}

#[tokio::test]
async fn an_observe_only_lever_waits_for_a_person_and_is_then_pulled() {
    let (mut tower, mut watch) = detected(Grants::ObserveOnly).await;
    // Another block passes, and still nothing is sent.
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
    let incident = watch.incident();
    assert!(
        incident.simulations.iter().any(|simulation| simulation.contains_attack()),
        "what would help is known"
    );
    let (plan, record) = incident.plans.first_key_value().unwrap();
    assert_eq!((incident.plans.len(), record.status), (1, PlanStatus::Refused));
    let refusals: Vec<String> = watch
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            IncidentEvent::PlanRefused { rule, .. } => Some(rule),
            _ => None,
        })
        .collect();
    assert_eq!(refusals.len(), 1, "it is refused once, not with every block: {refusals:?}");
    assert!(refusals[0].contains("is observe-only"), "{}", refusals[0]);
    let lever = record.plan.capability.as_ref().unwrap().0.split('+').next().unwrap().to_owned();
    assert!(refusals[0].contains(&lever), "the rule names the lever: {}", refusals[0]);
    for account in [tower.guardian, tower.operator] {
        assert!(watch.lane(account).await.is_empty(), "nothing is even intended");
        assert!(tower.chain().pending().iter().all(|tx| tx.inner.signer() != account));
    }
    assert_eq!(tower.chain().next_nonce(tower.guardian), 0);

    watch.engine.handle(approval(*plan)).await.unwrap();
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "approved by a person").await;
    let queued = tower.assert_everybody_was_told(&watch, "approved by a person").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
    let records = watch.records(StreamId::incident(incident.id)).await;
    let approved = records.iter().find(|record| {
        matches!(&record.body, Body::Incident(IncidentEvent::PlanApproved { plan: approved }) if approved == plan)
    });
    let approved = approved.unwrap();
    assert_eq!(approved.actor, Actor::Person("Ada".to_owned()));
    assert_eq!(approved.why, "the drain is real");
}

#[tokio::test]
async fn an_approval_is_remembered_over_a_restart() {
    let (mut tower, watch) = detected(Grants::ObserveOnly).await;
    drop(watch);
    let mut watch = tower.wake().await;
    let plan = *watch.incident().plans.keys().next().unwrap();
    watch.engine.handle(approval(plan)).await.unwrap();
    drop(watch);
    let mut watch = tower.wake().await;
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "approved before a restart").await;
}

#[tokio::test]
async fn a_plan_that_nobody_chose_cannot_be_approved() {
    let (tower, mut watch) = detected(Grants::ObserveOnly).await;
    let before = watch.incident();
    let error = watch.engine.handle(approval(PlanHash(B256::repeat_byte(7)))).await.unwrap_err();
    assert!(matches!(error, EngineError::Argument { what: "plan", .. }), "{error}");
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(watch.incident(), before, "nothing is recorded");
    assert!(watch.lane(tower.guardian).await.is_empty());
}

/// The second approval is no crash and no second transaction.
#[tokio::test]
async fn a_plan_is_approved_once() {
    let (mut tower, mut watch) = detected(Grants::ObserveOnly).await;
    let plan = *watch.incident().plans.keys().next().unwrap();
    watch.engine.handle(approval(plan)).await.unwrap();
    let error = watch.engine.handle(approval(plan)).await.unwrap_err();
    assert!(error.to_string().contains("a plan is decided on once"), "{error}");
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "approved twice").await;
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_and_the_log_says_why() {
    let said = Said::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(said.clone()).finish();
    tracing_subscriber::util::SubscriberInitExt::try_init(subscriber).unwrap();
    let (mut tower, mut watch) = detected(Grants::ObserveOnlyWithoutKeys).await;
    let plan = *watch.incident().plans.keys().next().unwrap();
    watch.engine.handle(approval(plan)).await.unwrap();
    for _ in 0..3 {
        tower.world.step().unwrap();
        watch.follow().await.unwrap();
    }
    assert_eq!(watch.incident().plans[&plan].status, PlanStatus::Approved, "it waits for a key");
    assert_eq!(tower.chain().next_nonce(tower.guardian), 0);
    assert!(watch.lane(tower.guardian).await.is_empty());
    let said = said.text();
    let line =
        said.lines().find(|line| line.contains("no key is configured")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("WARN") && line.contains(&plan.to_string()), "{line}");
    let held = |event: &IncidentEvent| match event {
        IncidentEvent::StepHeld { plan: held, why, .. } => {
            *held == plan && why.contains("no key is configured")
        }
        _ => false,
    };
    let times = watch.events().await.iter().filter(|event| held(event)).count();
    assert_eq!(times, 1, "the incident says it too, once and not with every block");
    let queued = tower.assert_everybody_was_told(&watch, "held for want of a key").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
    let head: BlockRef = tower.head();
    assert_eq!(watch.engine.cursor().head(), Some(head), "the watch goes on");
}

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Said {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
