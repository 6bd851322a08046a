//! The response is repeatable: what was answered once is answered again when it happens again, when the answer failed,
//! and when somebody else had a hand in it.

use crate::faults::{Death, Fuse, Outage, Rival, RivalLog};
use crate::watchtower::{Grants, Tower, WATCHED_QUIET_STEPS, Watch};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use cordon_engine::{EngineError, Event};
use cordon_model::finding::Evidence;
use cordon_model::incident::{Incident, IncidentEvent, PlanRecord, PlanStatus, Severity, Standing, State};
use cordon_model::plan::Purpose;
use cordon_range::Call;
use std::collections::BTreeSet;
use std::sync::Arc;

const SEED: u64 = 51;

const GWEI: u128 = 1_000_000_000;

/// Blocks after which a containment has landed, or will not.
const SILENT_BLOCKS: usize = 6;

/// Retries of a response that keeps failing; people are told before that.
const RETRIES_MAX: usize = 12;

/// More commits than a containment takes; the loop ends with the first one that is never made.
const COMMITS_MAX: i64 = 100;

sol! {
    interface IControls {
        function unpause() external;
        function grantRole(bytes32 role, address account) external;
        function revokeRole(bytes32 role, address account) external;
        function mint(address to, uint256 amount) external;
    }
}

/// The next block of the scenario, judged.
async fn step(tower: &mut Tower, watch: &mut Watch) {
    tower.world.step().unwrap();
    watch.follow().await.unwrap();
}

/// A block without the scenario's actors, judged.
async fn mine(tower: &Tower, watch: &mut Watch) {
    tower.chain().mine();
    watch.follow().await.unwrap();
}

/// The attack just detected: the pause is signed and waits for a block, unless nothing is granted.
async fn detected(grants: Grants) -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, grants);
    let mut watch = tower.wake().await;
    watch.until_detected(&mut tower).await;
    (tower, watch)
}

/// Hands in a call of the operator that is mined before everything else that waits.
fn as_operator(tower: &Tower, to: Address, call: &impl SolCall) {
    let call = Call::new(to, call.abi_encode()).with_gas_limit(200_000).with_fees(1_000 * GWEI, 100 * GWEI);
    tower.world.submit_as(tower.operator, call).unwrap();
}

/// Somebody uses the guardian's key elsewhere: the nonce of the waiting pause goes to a payment that offers more.
fn use_the_guardians_nonce(tower: &Tower) {
    let payment = Call::transfer(tower.guardian, U256::ZERO).with_gas_limit(21_000);
    let payment = payment.with_fees(10_000 * GWEI, 1_000 * GWEI);
    tower.chain().submit_as_with_nonce(tower.guardian, 0, payment).unwrap();
}

/// Contracts that the operator's levers act on.
fn lever_targets(tower: &Tower) -> Vec<Address> {
    tower.world.facts().pause_levers.iter().map(|lever| lever.target).collect()
}

/// The containments, in the order of their attempts.
fn containments(incident: &Incident) -> Vec<PlanRecord> {
    let contains = |record: &&PlanRecord| record.plan.purpose == Purpose::Contain;
    let mut records: Vec<PlanRecord> = incident.plans.values().filter(contains).cloned().collect();
    records.sort_by_key(|record| record.plan.attempt);
    records
}

/// Attempt and status of the containments, in the order of their attempts.
fn outcomes(incident: &Incident) -> Vec<(u32, PlanStatus)> {
    containments(incident).iter().map(|record| (record.plan.attempt, record.status)).collect()
}

/// Transactions by which value left.
fn losses(incident: &Incident) -> BTreeSet<B256> {
    let loses = |evidence: &Evidence| matches!(evidence, Evidence::ValueLoss { .. });
    let losing = incident.findings.iter().filter(|finding| loses(&finding.evidence));
    losing.map(|finding| finding.tx.hash).collect()
}

fn count(events: &[IncidentEvent], is: impl Fn(&IncidentEvent) -> bool) -> usize {
    events.iter().filter(|event| is(event)).count()
}

/// The intents of the second containment have the nonces from `first` on.
async fn assert_second_containment_from(first: u64, tower: &Tower, watch: &Watch) {
    let second = containments(&watch.incident())[1].plan.clone();
    let intents = watch.intents(tower.guardian).await;
    let nonces = intents.iter().filter(|intent| intent.plan == second.hash()).map(|intent| intent.nonce);
    let expected: Vec<u64> = (first..).take(second.steps.len()).collect();
    assert_eq!(nonces.collect::<Vec<_>>(), expected);
    for step in &second.steps {
        assert!(tower.is_paused(step.call.to.unwrap()), "'{}' took effect", step.name);
    }
}

/// A donation moves the rate so far that it opens an incident by itself, and harms nobody. It must not use up the
/// response to what follows.
#[tokio::test]
async fn a_harmless_finding_does_not_disarm() {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    let mut watch = tower.wake().await;
    step(&mut tower, &mut watch).await;
    let facts = tower.world.facts();
    let token = facts.assets.iter().find(|asset| asset.symbol == "sETH").unwrap().token;
    let vault = facts.contracts.iter().find(|contract| contract.name == "CollateralVault").unwrap().address;
    let issuer = Address::from_word(keccak256(format!("cordon range, seed {SEED}, actor issuer")));
    // Half as much again as the vault holds.
    let amount = U256::from(1_000) * U256::from(10).pow(U256::from(18));
    let donation = IControls::mintCall { to: vault, amount };
    tower.world.submit_as(issuer, Call::new(token, donation.abi_encode())).unwrap();
    step(&mut tower, &mut watch).await;

    let opened = watch.incident();
    assert_eq!(opened.findings.len(), 1, "{:?}", opened.findings);
    assert_eq!(opened.findings[0].detector, "rate-jump");
    assert_eq!(opened.severity, Some(Severity::Medium));
    assert!(!opened.simulations.is_empty(), "what would help was tried");
    assert!(opened.simulations.iter().all(|simulation| !simulation.contains_attack()));
    assert!(opened.plans.is_empty(), "there is nothing to stop");
    assert!(opened.needs_person.is_some(), "a person is asked to look");
    assert!(watch.lane(tower.guardian).await.is_empty());

    watch.until_investigated(&mut tower).await;
    let incident = tower.assert_contained_once(&watch, "after a harmless finding").await;
    assert_eq!(incident.id, opened.id, "the strike joins it");
    assert_eq!(incident.severity, Some(Severity::Critical));
    let later = incident.simulations.get(opened.simulations.len()..).unwrap();
    assert!(later.iter().any(|simulation| simulation.contains_attack()), "the options were tried again");
    assert_eq!(losses(&incident).len(), 1);
    for _ in 0..SILENT_BLOCKS {
        step(&mut tower, &mut watch).await;
    }
    assert_eq!(losses(&watch.incident()).len(), 1, "the strikes after the pause take nothing");
}

/// The operator opens the protocol again before anything was fixed, and the attacker is still there.
#[tokio::test]
async fn a_loss_after_the_containment_is_contained_too() {
    let (mut tower, mut watch) = detected(Grants::Automatic).await;
    watch.until_investigated(&mut tower).await;
    let before = tower.assert_contained_once(&watch, "the first time").await;
    let first = containments(&before)[0].plan.clone();
    for target in first.steps.iter().map(|step| step.call.to.unwrap()) {
        as_operator(&tower, target, &IControls::unpauseCall {});
    }
    mine(&tower, &mut watch).await;
    assert!(first.steps.iter().all(|step| !tower.is_paused(step.call.to.unwrap())));
    step(&mut tower, &mut watch).await;

    let struck = watch.incident();
    assert_eq!(struck.id, before.id);
    assert_eq!(losses(&struck).len(), 2, "the second strike took something");
    assert_eq!(struck.state(), State::Triaged, "it is contained no more");
    assert_eq!(watch.told("AFTER the containment").await, 1);
    let again = struck.simulations.get(before.simulations.len()..).unwrap();
    assert!(!again.is_empty() && again.iter().all(|simulation| simulation.plan.attempt == 1));

    watch.until_investigated(&mut tower).await;
    let incident = watch.incident();
    assert_eq!(outcomes(&incident), [(0, PlanStatus::Completed), (1, PlanStatus::Completed)]);
    assert_ne!(containments(&incident)[1].plan.hash(), first.hash());
    assert_second_containment_from(first.steps.len() as u64, &tower, &watch).await;
    let events = watch.events().await;
    assert_eq!(count(&events, |event| matches!(event, IncidentEvent::Investigated { .. })), 2);
    assert_eq!(incident.investigated_findings, incident.findings.len(), "the report knows both strikes");
    assert_eq!(watch.told("is contained").await, 2);
    assert_eq!(watch.told("is investigated").await, 2, "the second report is news, with a larger loss");
    let queued = tower.assert_everybody_was_told(&watch, "twice").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
}

/// In the very block of the pause the guardian loses its role, and has it again in the next one.
#[tokio::test]
async fn a_pause_that_reverts_is_tried_again() {
    let (tower, mut watch) = detected(Grants::Automatic).await;
    let (role, account) = (keccak256("PAUSER_ROLE"), tower.guardian);
    for target in lever_targets(&tower) {
        as_operator(&tower, target, &IControls::revokeRoleCall { role, account });
    }
    mine(&tower, &mut watch).await;
    let mined = tower.mined_by(tower.guardian);
    assert_eq!(mined.iter().map(|tx| tx.success).collect::<Vec<_>>(), [false], "the pause reverted");
    assert_eq!(outcomes(&watch.incident()), [(0, PlanStatus::Failed)]);
    for target in lever_targets(&tower) {
        as_operator(&tower, target, &IControls::grantRoleCall { role, account });
    }
    watch.until_investigated_in_silence(&tower).await;
    let incident = watch.incident();
    assert_eq!(outcomes(&incident), [(0, PlanStatus::Failed), (1, PlanStatus::Completed)]);
    assert_second_containment_from(1, &tower, &watch).await;
    let events = watch.events().await;
    assert_eq!(count(&events, |event| matches!(event, IncidentEvent::PlanFailed { .. })), 1);
    let queued = tower.assert_everybody_was_told(&watch, "reverted").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
}

#[tokio::test]
async fn a_pause_whose_nonce_is_used_elsewhere_is_tried_again_with_the_next_one() {
    let (tower, mut watch) = detected(Grants::Automatic).await;
    use_the_guardians_nonce(&tower);
    mine(&tower, &mut watch).await;
    let failed = |event: &IncidentEvent| match event {
        IncidentEvent::PlanFailed { why, .. } => why.contains("nonce 0 is used on chain"),
        _ => false,
    };
    assert_eq!(count(&watch.events().await, failed), 1);
    watch.until_investigated_in_silence(&tower).await;
    let incident = watch.incident();
    assert_eq!(outcomes(&incident), [(0, PlanStatus::Failed), (1, PlanStatus::Completed)]);
    assert_second_containment_from(1, &tower, &watch).await;
    let queued = tower.assert_everybody_was_told(&watch, "the nonce was used").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
}

/// Somebody calls the alarm off while the pause waits, and cancels the pause with a payment at its nonce. That is the
/// end of this incident, and not of the watch.
#[tokio::test]
async fn a_pause_that_is_called_off_and_cancelled_does_not_end_the_watch() {
    let (mut tower, mut watch) = detected(Grants::Automatic).await;
    let called_off = watch.incident();
    tower.record_as_a_person(called_off.id, IncidentEvent::FalseAlarm).await;
    use_the_guardians_nonce(&tower);
    mine(&tower, &mut watch).await;
    for _ in 0..SILENT_BLOCKS {
        step(&mut tower, &mut watch).await;
    }
    let others: Vec<Incident> =
        watch.engine.incidents().filter(|incident| incident.id != called_off.id).cloned().collect();
    assert_eq!(others.len(), 1, "the next strike is an incident of its own");
    assert!(others[0].has_completed(Purpose::Contain), "it is {}", others[0].state());
    assert!(watch.intents(tower.guardian).await.iter().skip(1).all(|intent| intent.incident == others[0].id));
}

/// What a command line writes beside the running watch.
#[tokio::test]
async fn an_approval_from_another_process_is_taken_up() {
    let (mut tower, mut watch) = detected(Grants::ObserveOnly).await;
    let incident = watch.incident();
    let plan = *incident.plans.keys().next().unwrap();
    watch.engine.retry().await.unwrap();
    assert!(watch.lane(tower.guardian).await.is_empty(), "without news nothing is sent");
    tower.record_as_a_person(incident.id, IncidentEvent::PlanApproved { plan }).await;
    watch.engine.retry().await.unwrap();
    assert_eq!(watch.incident().plans[&plan].status, PlanStatus::Approved);
    assert_eq!(watch.intents(tower.guardian).await.len(), 1, "it is sent without waiting for a block");
    watch.until_investigated(&mut tower).await;
    tower.assert_contained_once(&watch, "approved elsewhere").await;
}

#[tokio::test]
async fn a_false_alarm_from_another_process_ends_the_response() {
    let (tower, mut watch) = forgetful().await;
    assert!(watch.engine.is_unfinished());
    let incident = watch.incident();
    tower.record_as_a_person(incident.id, IncidentEvent::FalseAlarm).await;
    watch.engine.retry().await.unwrap();
    assert!(!watch.engine.is_unfinished(), "there is nothing left to do");
    let before = watch.events().await.len();
    watch.remember(&tower).await;
    for _ in 0..SILENT_BLOCKS {
        mine(&tower, &mut watch).await;
        watch.engine.retry().await.unwrap();
    }
    assert_eq!(watch.incident().standing, Standing::FalseAlarm);
    assert_eq!(watch.events().await.len(), before, "nothing follows");
    assert!(watch.lane(tower.guardian).await.is_empty());
}

/// As the loop of `cordon watch`: a lost race is tried again, and nothing else may go wrong.
async fn follow_against_a_rival(watch: &mut Watch, what: &str) {
    for _ in 0..RETRIES_MAX {
        let outcome = match watch.handle_next().await {
            Ok(true) => continue,
            Ok(false) => watch.engine.retry().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) if !watch.engine.is_unfinished() => return watch.deliver().await.unwrap(),
            Ok(()) => {}
            Err(error) => {
                let raced = matches!(error, EngineError::Journal(_) | EngineError::Log(_));
                assert!(raced && !error.is_of_the_log(), "{what}: {error}");
            }
        }
    }
    panic!("{what}: it does not come to rest");
}

/// The rival writes before the n-th commit, for every n. Each scenario lasts until the response is over.
async fn races(event: IncidentEvent) -> Vec<(Tower, Watch)> {
    let mut lives = Vec::new();
    for at in 1..COMMITS_MAX {
        let what = format!("{} before commit {at}", event.name());
        let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
        let rival = Rival::at(at, event.clone());
        let log = RivalLog { inner: tower.open_log().await, rival: Arc::clone(&rival) };
        let mut watch = Watch::open(&tower, Arc::new(log), Outage::none(tower.chain())).await.unwrap();
        for _ in 0..=WATCHED_QUIET_STEPS {
            tower.world.step().unwrap();
            follow_against_a_rival(&mut watch, &what).await;
        }
        for _ in 0..SILENT_BLOCKS {
            tower.chain().mine();
            follow_against_a_rival(&mut watch, &what).await;
        }
        if !rival.spoke() {
            assert!(lives.len() > 5, "a containment takes more commits than {at}");
            return lives;
        }
        lives.push((tower, watch));
    }
    panic!("more than {COMMITS_MAX} commits");
}

#[tokio::test]
async fn a_write_race_is_tried_again_whichever_commit_it_hits() {
    let (severity, rationale) = (Severity::Critical, "seen by a person".to_owned());
    for (tower, watch) in races(IncidentEvent::Triaged { severity, rationale }).await {
        let incident = tower.assert_contained_once(&watch, "raced").await;
        assert_eq!(incident.state(), State::Investigated);
        let queued = tower.assert_everybody_was_told(&watch, "raced").await;
        assert!(queued.values().all(|times| *times == 1), "{queued:?}");
    }
}

#[tokio::test]
async fn a_false_alarm_wins_whichever_commit_it_races() {
    for (tower, mut watch) in races(IncidentEvent::FalseAlarm).await {
        assert_eq!(watch.incident().standing, Standing::FalseAlarm);
        let events = watch.events().await;
        assert_eq!(events.last(), Some(&IncidentEvent::FalseAlarm), "nothing follows");
        let intents = watch.intents(tower.guardian).await;
        let is_approved = |event: &IncidentEvent| matches!(event, IncidentEvent::PlanApproved { .. });
        assert!(intents.is_empty() || count(&events, is_approved) == 1, "nothing unapproved is intended");
        let Some(plan) = watch.incident().plans.keys().next().copied() else { continue };
        let (person, why) = ("Ada".to_owned(), "too late".to_owned());
        let error = watch.engine.handle(Event::Approve { person, why, plan }).await.unwrap_err();
        assert!(error.to_string().contains("only a reopening"), "{error}");
    }
}

/// The process died right after it judged the strike, and the next one goes on without the blocks of before.
async fn forgetful() -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, Grants::Automatic);
    // Every quiet block is one commit, and the strike is the next.
    let fuse = Fuse::at(WATCHED_QUIET_STEPS as i64 + 1, Death::AfterCommit);
    let mut watch = Watch::begin(&tower, fuse, Outage::none(tower.chain())).await.unwrap();
    for _ in 0..WATCHED_QUIET_STEPS {
        step(&mut tower, &mut watch).await;
    }
    tower.world.step().unwrap();
    watch.follow().await.unwrap_err();
    drop(watch);
    let log = tower.open_log().await;
    let mut watch = Watch::open(&tower, log, Outage::none(tower.chain())).await.unwrap();
    assert!(watch.incident().simulations.is_empty(), "nothing was tried yet");
    mine(&tower, &mut watch).await;
    (tower, watch)
}

/// A trial without the attack proves nothing, so none is recorded; it is tried again, and people hear of it.
#[tokio::test]
async fn an_attack_that_is_not_at_hand_is_waited_for_and_then_contained() {
    let (tower, mut watch) = forgetful().await;
    let mut retries = 0;
    while watch.incident().needs_person.is_none() {
        assert!(watch.engine.is_unfinished());
        assert!(watch.incident().simulations.is_empty(), "a trial without the attack is no trial");
        assert!(retries < RETRIES_MAX, "nobody is told");
        watch.engine.retry().await.unwrap();
        retries += 1;
    }
    assert!(retries > 1, "one failure is nobody's business");
    assert!(watch.incident().needs_person.unwrap().contains("not at hand"));
    assert!(watch.lane(tower.guardian).await.is_empty());

    watch.remember(&tower).await.unwrap();
    watch.engine.retry().await.unwrap();
    assert!(!watch.engine.is_unfinished());
    watch.until_investigated_in_silence(&tower).await;
    let incident = tower.assert_contained_once(&watch, "remembered later").await;
    assert!(incident.simulations.iter().all(|simulation| !simulation.attack.is_empty()));
    let queued = tower.assert_everybody_was_told(&watch, "remembered later").await;
    assert!(queued.values().all(|times| *times == 1), "{queued:?}");
    assert_eq!(watch.told("cannot go on by itself").await, 1);
}
