//! The gate against a real log: who gets an authorisation, who does not and by which rule, and what two callers get
//! who ask at once.

use crate::world::{CHAIN, World, guardian, incident_id};
use alloy_primitives::{Address, Bytes, U256};
use cordon_contain::{Authority, Authorized, Gate, PlanGrant, Refused, Rule, Stamp, StepRequest};
use cordon_model::incident::{IncidentEvent, PlanStatus, Standing};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Actor, Batch, Body, Cursor, EventLog, LogFuture, Stored, StreamId};
use cordon_model::plan::{Call, Plan, Step, Undo};
use cordon_model::units::ChainId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn request(plan: &Plan, step: u32) -> StepRequest<'_> {
    let at = Stamp { at_s: 1, at_block: 2 };
    StepRequest { plan, step, gas_limit: 60_000, chain_nonce: 0, at }
}

async fn rule(gate: &Gate, request: StepRequest<'_>) -> Rule {
    match gate.authorize(request).await {
        Err(Refused::Rule { rule, .. }) => rule,
        other => panic!("expected a refusal by a rule, got {other:?}"),
    }
}

async fn intents(world: &World) -> usize {
    let lane = world.log.read(StreamId::lane(CHAIN, guardian().address())).await.unwrap();
    let intents = lane
        .iter()
        .filter(|stored| matches!(stored.record.body, Body::Lane(LaneEvent::IntentRecorded { .. })));
    intents.count()
}

/// A plan of two pauses with different names, so that it has a second step.
fn two_steps(world: &World) -> Plan {
    let mut plan = world.pause_plan();
    let mut second = plan.steps[0].clone();
    second.name = "pause again".to_owned();
    plan.steps.push(second);
    plan
}

#[tokio::test]
async fn an_approved_step_gets_the_chains_nonce_and_is_recorded_before_anything_else() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let authorized =
        world.gate().authorize(StepRequest { chain_nonce: 7, ..request(&plan, 0) }).await.unwrap();
    let intent = authorized.intent();
    assert_eq!((intent.nonce, intent.step, intent.plan), (7, 0, plan.hash()));
    assert_eq!((intent.from, intent.call.clone()), (guardian().address(), plan.steps[0].call.clone()));
    assert_eq!(intents(&world).await, 1);
}

#[tokio::test]
async fn the_same_step_twice_is_the_same_intent() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let first = world.gate().authorize(request(&plan, 0)).await.unwrap();
    // Another process, other numbers: what was recorded counts.
    let again = StepRequest { gas_limit: 99_999, ..request(&plan, 0) };
    let second = world.gate().authorize(again).await.unwrap();
    assert_eq!(first.intent(), second.intent());
    assert_eq!(intents(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_racing_gates_one_records_and_all_get_the_same_nonce() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (gate, plan) = (world.gate(), plan.clone());
            tokio::spawn(async move { gate.authorize(request(&plan, 0)).await })
        })
        .collect();
    for racer in racers {
        assert_eq!(racer.await.unwrap().unwrap().intent().nonce, 0);
    }
    assert_eq!(intents(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_racing_plans_one_gets_the_lane() {
    let world = World::new().await;
    let one = world.pause_plan();
    let two = Plan { title: "the other one".to_owned(), ..world.pause_plan() };
    world.approve(&one).await;
    world.approve(&two).await;
    let race = |plan: Plan| {
        let gate = world.gate();
        tokio::spawn(async move { gate.authorize(request(&plan, 0)).await })
    };
    let (first, second) = (race(one), race(two));
    let outcomes = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let busy = |outcome: &Result<Authorized, Refused>| {
        matches!(outcome, Err(Refused::Rule { rule: Rule::LaneFree { nonce: 0, .. }, .. }))
    };
    assert_eq!(outcomes.iter().filter(|outcome| busy(outcome)).count(), 1);
    assert_eq!(intents(&world).await, 1);
}

#[tokio::test]
async fn whatever_the_chain_says_nonces_rise_and_belong_to_one_step_each() {
    let world = World::new().await;
    let plans: Vec<Plan> = (0..24).map(|attempt| Plan { attempt, ..world.pause_plan() }).collect();
    for plan in &plans {
        world.approve(plan).await;
    }
    let mut given = std::collections::BTreeMap::new();
    let mut highest: Option<u64> = None;
    // The chain's nonce jumps up and down, as it does where nodes lag and blocks leave the chain.
    for round in 0..96u64 {
        let chain_nonce = (round * 37 + round * round * 11) % 29;
        let plan = &plans[usize::try_from((round * 5) % 24).unwrap()];
        match world.gate().authorize(StepRequest { chain_nonce, ..request(plan, 0) }).await {
            Ok(authorized) => {
                let nonce = authorized.intent().nonce;
                assert!(nonce >= chain_nonce, "a used nonce is never signed");
                let known = given.insert(plan.hash(), nonce);
                assert!(known.is_none_or(|known| known == nonce), "a step has one nonce for ever");
                if known.is_none() {
                    assert!(highest.is_none_or(|highest| highest < nonce && highest < chain_nonce));
                    highest = Some(nonce);
                }
            }
            Err(Refused::Rule { rule: Rule::LaneFree { nonce, .. }, .. }) => assert!(nonce >= chain_nonce),
            Err(Refused::Rule { rule: Rule::NonceUnused { nonce, .. }, .. }) => {
                assert_eq!(given.get(&plan.hash()), Some(&nonce));
                assert!(nonce < chain_nonce);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(given.len() > 2, "{given:?}");
    assert_eq!(intents(&world).await, given.len());
}

#[tokio::test]
async fn only_a_plan_that_was_chosen_and_approved_in_an_open_incident_is_signed() {
    let world = World::new().await;
    let (gate, plan) = (world.gate(), world.pause_plan());
    assert_eq!(rule(&gate, request(&plan, 0)).await, Rule::PlanApproved { status: None });
    let hash = world.choose(&plan).await;
    let waiting = rule(&gate, request(&plan, 0)).await;
    assert_eq!(waiting, Rule::PlanApproved { status: Some(PlanStatus::Chosen) });
    world.say(IncidentEvent::PlanApproved { plan: hash }).await;
    // What was approved is the plan by its hash: the same steps under another title are another plan.
    let altered = Plan { title: "altered".to_owned(), ..plan.clone() };
    assert_eq!(rule(&gate, request(&altered, 0)).await, Rule::PlanApproved { status: None });
    world.say(IncidentEvent::FalseAlarm).await;
    let closed = rule(&gate, request(&plan, 0)).await;
    assert_eq!(closed, Rule::IncidentOpen { standing: Some(Standing::FalseAlarm) });
    let unknown = Plan { incident: cordon_model::units::IncidentId::derive(&["x"]), ..plan };
    assert_eq!(rule(&gate, request(&unknown, 0)).await, Rule::IncidentOpen { standing: None });
    assert_eq!(intents(&world).await, 0);
}

/// A log into which somebody writes that it was a false alarm, just before the first commit.
#[derive(Debug)]
struct MeddledLog {
    world: World,
    meddled: AtomicBool,
}

impl EventLog for MeddledLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(async move {
            if !self.meddled.swap(true, Ordering::SeqCst) {
                self.world.say(IncidentEvent::FalseAlarm).await;
            }
            self.world.log.commit(batch).await
        })
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        self.world.log.read(stream)
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        self.world.log.streams(prefix)
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        self.world.log.since(position, limit)
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<Cursor>> {
        self.world.log.cursor(chain_id)
    }
}

#[tokio::test]
async fn an_incident_that_is_closed_while_a_step_is_judged_is_not_acted_on() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let log = Arc::new(MeddledLog { world: world.clone(), meddled: AtomicBool::new(false) });
    let gate = Gate::new(log, world.authority());
    let closed = rule(&gate, request(&plan, 0)).await;
    assert_eq!(closed, Rule::IncidentOpen { standing: Some(Standing::FalseAlarm) });
    assert_eq!(intents(&world).await, 0);
}

#[tokio::test]
async fn a_refused_plan_stays_refused() {
    let world = World::new().await;
    let plan = world.pause_plan();
    let hash = world.choose(&plan).await;
    world.say(IncidentEvent::PlanRefused { plan: hash, rule: "harm".to_owned() }).await;
    let refused = rule(&world.gate(), request(&plan, 0)).await;
    assert_eq!(refused, Rule::PlanApproved { status: Some(PlanStatus::Refused) });
}

#[tokio::test]
async fn chain_and_signer_must_match() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let elsewhere = Authority { chain_id: ChainId(1), ..world.authority() };
    let gate = Gate::new(world.log.clone(), elsewhere);
    let mismatch = Rule::ChainMatches { held: ChainId(1), asked: CHAIN };
    assert_eq!(rule(&gate, request(&plan, 0)).await, mismatch);

    let foreign = Plan { chain_id: ChainId(5), title: "foreign".to_owned(), ..plan.clone() };
    world.approve(&foreign).await;
    let mismatch = Rule::ChainMatches { held: CHAIN, asked: ChainId(5) };
    assert_eq!(rule(&world.gate(), request(&foreign, 0)).await, mismatch);

    let other = Address::repeat_byte(9);
    let gate = Gate::new(world.log.clone(), Authority { account: other, ..world.authority() });
    let wrong = Rule::SignerHoldsFrom { held: other, from: guardian().address() };
    assert_eq!(rule(&gate, request(&plan, 0)).await, wrong);
}

#[tokio::test]
async fn steps_are_signed_in_their_order_and_each_once() {
    let world = World::new().await;
    let (gate, plan) = (world.gate(), two_steps(&world));
    let hash = world.approve(&plan).await;
    assert_eq!(rule(&gate, request(&plan, 1)).await, Rule::PreviousStepDone { previous: 0 });
    // Somebody else paused: the effect is there without a transaction of ours.
    world.took_effect(hash, 0).await;
    assert_eq!(rule(&gate, request(&plan, 0)).await, Rule::StepOpen);
    assert!(gate.authorize(request(&plan, 1)).await.is_ok());
    world.took_effect(hash, 1).await;
    assert_eq!(rule(&gate, request(&plan, 2)).await, Rule::StepExists { steps: 2 });
}

#[tokio::test]
async fn a_call_without_grant_or_over_its_limit_is_refused() {
    let world = World::new().await;
    let pause = world.pause_plan();
    let nothing = Authority::new(CHAIN, guardian().address());
    world.approve(&pause).await;
    let gate = Gate::new(world.log.clone(), nothing.clone());
    assert!(matches!(rule(&gate, request(&pause, 0)).await, Rule::CallGranted { .. }));

    let mut paying = pause.clone();
    paying.steps[0].call.value_wei = U256::from(1);
    world.approve(&paying).await;
    let over = Rule::ValueWithinGrant { value_wei: U256::from(1), limit_wei: U256::ZERO };
    assert_eq!(rule(&world.gate(), request(&paying, 0)).await, over);

    let grant = PlanGrant { plan: paying.hash(), value_max_wei: U256::from(1) };
    let gate = Gate::new(world.log.clone(), nothing.with_plan(grant));
    assert!(gate.authorize(request(&paying, 0)).await.is_ok());
}

#[tokio::test]
async fn a_persons_approval_in_the_log_covers_a_creation_where_the_operator_lets_it() {
    let world = World::new().await;
    let call = Call { to: None, value_wei: U256::ZERO, data: Bytes::from_static(&[0x5f, 0x5f, 0xf3]) };
    let undo = Undo::NoUndo { why: "a contract stays".to_owned() };
    let step = Step {
        name: "deploy the fix".to_owned(),
        from: guardian().address(),
        call,
        preconditions: vec![],
        effects: vec![],
        undo,
    };
    let plan = Plan { title: "fix".to_owned(), steps: vec![step], ..world.pause_plan() };
    let hash = world.choose(&plan).await;
    let person = Actor::Person("ada".to_owned());
    world.say_as(person, IncidentEvent::PlanApproved { plan: hash }).await;
    assert!(matches!(rule(&world.gate(), request(&plan, 0)).await, Rule::CallGranted { target: None, .. }));
    let gate = Gate::new(world.log.clone(), world.authority().with_people(U256::ZERO));
    assert!(gate.authorize(request(&plan, 0)).await.is_ok());

    // The policy's approval is not a person's.
    let policy = Plan { title: "fix by policy".to_owned(), ..plan };
    world.approve(&policy).await;
    assert!(matches!(rule(&gate, request(&policy, 0)).await, Rule::CallGranted { .. }));
}

#[tokio::test]
async fn gas_and_nonces_are_bounded_by_the_chain() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let greedy = StepRequest { gas_limit: 16_777_217, ..request(&plan, 0) };
    assert_eq!(rule(&world.gate(), greedy).await, Rule::GasWithinCap { gas_limit: 16_777_217 });
    assert!(world.gate().authorize(request(&plan, 0)).await.is_ok());
    let used = StepRequest { chain_nonce: 1, ..request(&plan, 0) };
    assert_eq!(rule(&world.gate(), used).await, Rule::NonceUnused { nonce: 0, chain_nonce: 1 });
}

#[tokio::test]
async fn every_refusal_says_which_plan_and_step_and_what_must_hold() {
    let world = World::new().await;
    let plan = world.pause_plan();
    world.choose(&plan).await;
    let refused = world.gate().authorize(request(&plan, 0)).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("step 0 of plan pln-"), "{text}");
    assert!(text.ends_with("the plan must be approved; it is waiting for approval"), "{text}");
    assert_eq!(plan.incident, incident_id());
}
