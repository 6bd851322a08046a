//! The drill from its first to its last line: what it finds, what it leaves, and that it is the same each time.

use crate::watchtower::Tower;
use alloy_primitives::{Address, I256, U256};
use cordon_engine::drill::{Drill, DrillEvent, DrillReport, Verdict, run};
use cordon_model::incident::Standing;
use cordon_model::log::{Body, ChainEvent, StreamId};
use cordon_model::plan::Purpose;
use cordon_model::remedy::{Remedy, RemedyRule, Verdict as Judgement};
use cordon_range::{Scenario, Setup};

const ATTACK: Scenario = Scenario::DonationReentrancy;
const HONEST: Scenario = Scenario::DonationReentrancyBenign;

async fn play(scenario: Scenario, seed: u64, defended: bool) -> (DrillReport, Vec<DrillEvent>) {
    let mut events = Vec::new();
    let drill = Drill { scenario, seed, defended };
    let report = run(drill, &mut |event| events.push(event)).await.unwrap();
    (report, events)
}

/// What the attacker has after the first strike of this seed, if nobody has done anything.
fn profit_of_one_strike(seed: u64) -> I256 {
    let (guardian, operator) = (Address::repeat_byte(0x61), Address::repeat_byte(0x62));
    let mut world = ATTACK.build(Setup { seed, guardian, operator }).unwrap();
    while !world.is_over() {
        world.step().unwrap();
        let profit = world.scorecard().unwrap().attacker_profit_dusd_raw;
        if profit.is_positive() {
            return profit;
        }
    }
    panic!("nothing was ever taken");
}

async fn an_attack_ends_as_expected(seed: u64) {
    let (report, _) = play(ATTACK, seed, true).await;
    assert_eq!(report.verdict, Verdict::AsExpected, "seed {seed}: {:?}", report.summary());
    let [incident] = report.incidents.as_slice() else { panic!("seed {seed}: {:?}", report.summary()) };
    assert_eq!(incident.standing, Standing::Closed);

    let latency = report.latency.unwrap();
    assert_eq!(latency.detected_at, latency.attacked_at, "seed {seed}: detected in its own block");
    assert_eq!(latency.contained_at, latency.attacked_at + 1, "seed {seed}: contained one block later");
    assert_eq!(report.attacker_profit_raw, profit_of_one_strike(seed), "seed {seed}: one strike and no more");
    assert!(report.undefended_profit_raw > report.attacker_profit_raw, "seed {seed}");

    for purpose in [Purpose::Contain, Purpose::Eradicate, Purpose::Reimburse, Purpose::Reopen] {
        assert!(incident.has_completed(purpose), "seed {seed}: {purpose}");
    }
    let allocation = incident.allocation.as_ref().unwrap();
    assert!(!allocation.entitlements.is_empty(), "seed {seed}: lenders lost something");
    for owed in &allocation.entitlements {
        assert_eq!(
            incident.paid_raw.get(&owed.account),
            Some(&owed.amount_raw),
            "seed {seed}: {}",
            owed.account
        );
    }
    let paid: U256 = incident.paid_raw.values().sum();
    assert_eq!(Some(paid), allocation.total_paid_raw(), "seed {seed}: nobody else is paid");
    assert_eq!(paid + allocation.dust_raw, allocation.funds_raw, "seed {seed}: nothing is lost on the way");
    // A ledger that does not add up to the last unit is an error, so these are the tokens that do.
    let symbols: Vec<&str> = report.ledgers.iter().map(|ledger| ledger.symbol).collect();
    assert_eq!(symbols, ["dUSD", "sETH", "dLEND", "vsETH"], "seed {seed}");
}

#[tokio::test]
async fn an_attack_is_stopped_fixed_and_paid_back_seed_1() {
    an_attack_ends_as_expected(1).await;
}

#[tokio::test]
async fn an_attack_is_stopped_fixed_and_paid_back_seed_2() {
    an_attack_ends_as_expected(2).await;
}

#[tokio::test]
async fn an_attack_is_stopped_fixed_and_paid_back_seed_3() {
    an_attack_ends_as_expected(3).await;
}

#[tokio::test]
async fn honest_use_raises_no_alarm() {
    for seed in 1..=5 {
        let (report, events) = play(HONEST, seed, true).await;
        assert_eq!(report.verdict, Verdict::AsExpected, "seed {seed}: {:?}", report.summary());
        assert!(report.incidents.is_empty(), "seed {seed}");
        let told = events.iter().find(|e| matches!(e, DrillEvent::Record { .. } | DrillEvent::Notice { .. }));
        assert!(told.is_none(), "seed {seed}: nobody is woken, but: {told:?}");
    }
}

/// The drill keeps its chain to itself, so the same scenario is watched once more where its chain can be seen.
#[tokio::test]
async fn on_honest_use_nothing_is_ever_sent() {
    for seed in 1..=5 {
        let mut tower = Tower::new(HONEST, seed);
        let mut watch = tower.wake().await;
        while !tower.world.is_over() {
            tower.world.step().unwrap();
            watch.follow().await.unwrap();
        }
        assert_eq!(watch.engine.incidents().count(), 0, "seed {seed}");
        assert_eq!(watch.engine.cursor().head(), Some(tower.head()), "seed {seed}: all of it was judged");
        for account in [tower.guardian, tower.operator] {
            assert!(watch.lane(account).await.is_empty(), "seed {seed}");
            assert!(tower.mined_by(account).is_empty(), "seed {seed}");
        }
        assert_eq!(tower.chain().next_nonce(tower.guardian), 0, "seed {seed}");
        let chain = watch.records(StreamId::chain(tower.chain_id())).await;
        // Who judges, and what was far too weak to wake anybody, is recorded; that a block reproduces is not.
        let other = chain.iter().find(|record| {
            !matches!(record.body, Body::Chain(ChainEvent::JudgedBy { .. } | ChainEvent::Weighed { .. }))
        });
        assert!(other.is_none(), "seed {seed}: every block reproduces, but: {chain:?}");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let (first, first_events) = play(ATTACK, 4, true).await;
    let (second, second_events) = play(ATTACK, 4, true).await;
    let json = |event: &DrillEvent| serde_json::to_string(event).unwrap();
    for (one, other) in first_events.iter().zip(&second_events) {
        assert_eq!(json(one), json(other));
    }
    assert_eq!(first_events.len(), second_events.len());
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
    assert_eq!(first.markdown(), second.markdown());
    let (other, _) = play(ATTACK, 5, true).await;
    assert_ne!(first.markdown(), other.markdown(), "another seed is another story");
}

#[tokio::test]
async fn the_undefended_run_tells_the_larger_loss() {
    let (undefended, events) = play(ATTACK, 1, false).await;
    let (defended, _) = play(ATTACK, 1, true).await;
    assert_eq!(undefended.verdict, Verdict::AsExpected);
    assert!(undefended.incidents.is_empty(), "nobody watched");
    assert_eq!(undefended.attacker_profit_raw, defended.undefended_profit_raw);
    assert!(undefended.attacker_profit_raw > defended.attacker_profit_raw);
    assert_eq!(defended.prevented_raw(), undefended.attacker_profit_raw - defended.attacker_profit_raw);
    let Some(DrillEvent::Result { lines }) = events.last() else {
        panic!("it ends with a result: {events:?}")
    };
    assert!(lines[0].starts_with("attacker's profit"), "{lines:?}");
}

#[tokio::test]
async fn wrong_fixes_are_refused_by_the_rule_they_break() {
    let (report, _) = play(ATTACK, 1, true).await;
    let remedies = &report.incidents[0].remedies;
    let names: Vec<&str> = remedies.iter().map(|remedy| remedy.candidate.as_str()).collect();
    assert_eq!(names, ["LendingVaultV2Wrong", "LendingVaultV2BadLayout", "LendingVaultV2"]);
    assert!(broken(&remedies[0]).contains(&RemedyRule::AttackTakesNothing), "{:?}", remedies[0].verdict);
    assert!(broken(&remedies[1]).contains(&RemedyRule::LayoutCompatible), "{:?}", remedies[1].verdict);
    assert_eq!(remedies[2].verdict, Judgement::Proven);
    assert!(remedies[2].plan.is_some() && remedies[0].plan.is_none() && remedies[1].plan.is_none());
}

fn broken(remedy: &Remedy) -> &[RemedyRule] {
    match &remedy.verdict {
        Judgement::Refused(rules) => rules,
        Judgement::Proven => &[],
    }
}
