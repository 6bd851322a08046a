//! The sender against a real chain and a real log: the ordinary way, replacement, reorganisation, and everything that
//! must stop it.

use crate::world::{ADMIN, CHAIN, STRANGER, World, guardian, owner};
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::Provider;
use cordon_contain::verify::newest;
use cordon_contain::{
    Authority, Delivery, FeePolicy, FeeRefused, Gate, HeldWhy, LaneUpdate, Rule, SendError, SendPolicy,
    Sender, Submitted, verify_effects,
};
use cordon_model::incident::IncidentEvent;
use cordon_model::plan::{Certainty, Plan};
use cordon_model::units::ChainId;
use cordon_range::{Call, ChainConfig};

/// Fills the next block with a transaction that burns all gas it has and pays more than anybody else.
fn fill_next_block(world: &World, burner: Address) {
    const GWEI: u128 = 1_000_000_000;
    let gas_limit = world.chain.config().gas_limit;
    let call = Call::new(burner, Bytes::new()).with_gas_limit(gas_limit).with_fees(900 * GWEI, 500 * GWEI);
    world.chain.submit_as(STRANGER, call).unwrap();
}

/// A chain whose block has room for one transaction of the largest size, and a contract that burns all its gas.
async fn narrow_world() -> (World, Address) {
    let world = World::with_config(ChainConfig { gas_limit: 16_777_216, ..ChainConfig::default() }).await;
    let burner = Address::repeat_byte(0xbb);
    // JUMPDEST PUSH0 JUMP: back to the start until the gas is gone.
    world.chain.set_code(burner, Bytes::from_static(&[0x5b, 0x5f, 0x56]));
    (world, burner)
}

fn in_flight(submitted: Submitted) -> (u64, alloy_primitives::B256) {
    match submitted {
        Submitted::InFlight { nonce, tx_hash, delivery: Delivery::Accepted, .. } => (nonce, tx_hash),
        other => panic!("expected an accepted transaction, got {other:?}"),
    }
}

#[tokio::test]
async fn an_approved_pause_lands_in_the_next_block_and_is_verified() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    let (nonce, tx_hash) = in_flight(sender.submit(&plan, 0, world.now()).await.unwrap());
    let head = world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let [LaneUpdate::Mined { receipt }] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!((receipt.tx_hash, receipt.block.number, receipt.success), (tx_hash, head.number, true));
    assert_eq!((nonce, world.is_paused()), (0, true));
    assert!(receipt.gas_used > 21_000 && receipt.fee_wei > U256::ZERO);

    let provider = world.chain.provider();
    let block = newest(&provider, Certainty::Latest).await.unwrap();
    let verified = verify_effects(&provider, &plan, 0, block, Certainty::Latest).await.unwrap();
    assert!(verified.passed());
    // The finalised state is from before the pause, and the check says so.
    let block = newest(&provider, Certainty::Finalized).await.unwrap();
    let early = verify_effects(&provider, &plan, 0, block, Certainty::Finalized).await.unwrap();
    assert!(!early.passed());
    assert!(sender.poll(world.now()).await.unwrap().is_empty(), "a mined step makes no more news");
}

#[tokio::test]
async fn submitting_again_changes_nothing() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    let (_, first) = in_flight(sender.submit(&plan, 0, world.now()).await.unwrap());
    let again = world.sender().submit(&plan, 0, world.now()).await.unwrap();
    assert!(matches!(again, Submitted::InFlight { tx_hash, .. } if tx_hash == first), "{again:?}");
    assert_eq!(world.chain.pending().len(), 1);
    world.chain.mine();
    let mined = world.sender().submit(&plan, 0, world.now()).await.unwrap();
    assert!(matches!(mined, Submitted::Mined(receipt) if receipt.tx_hash == first));
    assert_eq!(world.guardian_nonce().await, 1);
    assert_eq!(sender.lane().await.unwrap().version(), 3, "intent, signature, receipt");
}

#[tokio::test]
async fn what_two_full_blocks_left_out_is_replaced_with_the_same_nonce() {
    let (world, burner) = narrow_world().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    let (nonce, first) = in_flight(sender.submit(&plan, 0, world.now()).await.unwrap());
    fill_next_block(&world, burner);
    world.chain.mine();
    assert!(sender.poll(world.now()).await.unwrap().is_empty(), "one block proves nothing");
    fill_next_block(&world, burner);
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let [LaneUpdate::Signed { nonce: same, tx_hash, replaces, delivery, .. }] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    assert_eq!((*same, *replaces, delivery), (nonce, Some(first), &Delivery::Accepted));
    assert_eq!(world.chain.pending().len(), 1, "the node took the replacement for the first");
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(matches!(&updates[..], [LaneUpdate::Mined { receipt }] if receipt.tx_hash == *tx_hash));
    assert_eq!((world.guardian_nonce().await, world.is_paused()), (1, true));
}

#[tokio::test]
async fn where_the_budget_ends_the_offer_stays_and_says_so() {
    let (world, burner) = narrow_world().await;
    let fees = FeePolicy {
        budget_wei: U256::from(350_000u64) * U256::from(1_000_000_000u64),
        ..FeePolicy::default()
    };
    let policy = SendPolicy { fees, ..SendPolicy::default() };
    let sender = world.sender_over(world.chain.provider(), world.log.clone(), policy);
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let (_, first) = in_flight(sender.submit(&plan, 0, world.now()).await.unwrap());
    for _ in 0..2 {
        fill_next_block(&world, burner);
        world.chain.mine();
    }
    let mut held = Vec::new();
    for _ in 0..6 {
        held.extend(sender.poll(world.now()).await.unwrap());
        fill_next_block(&world, burner);
        world.chain.mine();
    }
    let refused = |update: &LaneUpdate| {
        matches!(
            update,
            LaneUpdate::Held { why: HeldWhy::Fees(FeeRefused::BudgetBelowReplacement { .. }), .. }
        )
    };
    assert!(held.iter().any(refused), "{held:?}");
    let lane = sender.lane().await.unwrap();
    let cap_wei = 350_000u128 * 1_000_000_000 / u128::from(lane.entry(0).unwrap().intent.gas_limit);
    assert!(lane.entry(0).unwrap().signatures.iter().all(|made| made.fees.max_fee_per_gas_wei <= cap_wei));
    assert_eq!(lane.entry(0).unwrap().signatures[0].tx_hash, first);
    assert_eq!(
        world.chain.pending().iter().filter(|tx| tx.inner.signer() == guardian().address()).count(),
        1
    );
}

#[tokio::test]
async fn a_budget_below_the_market_is_refused_before_anything_is_recorded() {
    let world = World::new().await;
    let fees = FeePolicy { budget_wei: U256::from(1), ..FeePolicy::default() };
    let policy = SendPolicy { fees, ..SendPolicy::default() };
    let sender = world.sender_over(world.chain.provider(), world.log.clone(), policy);
    let plan = world.pause_plan();
    world.approve(&plan).await;
    let refused = sender.submit(&plan, 0, world.now()).await.unwrap_err();
    assert!(matches!(refused, SendError::Fees(FeeRefused::BudgetBelowMarket { .. })), "{refused:?}");
    assert_eq!(sender.lane().await.unwrap().version(), 0);
}

#[tokio::test]
async fn a_reorganisation_opens_the_step_and_it_lands_again_with_its_nonce() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    let before = world.chain.mine();
    sender.poll(world.now()).await.unwrap();
    world.chain.reorg(1).unwrap();
    assert!(!world.is_paused());
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let [LaneUpdate::Unmined { block, .. }, rest @ ..] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(block.hash, before.hash);
    assert!(matches!(rest, [LaneUpdate::Resent { .. } | LaneUpdate::Signed { nonce: 0, .. }]), "{rest:?}");
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(matches!(&updates[..], [LaneUpdate::Mined { receipt }] if receipt.success), "{updates:?}");
    assert_eq!((world.guardian_nonce().await, world.is_paused()), (1, true));
}

#[tokio::test]
async fn a_chain_that_became_shorter_opens_the_step_and_a_lagging_node_does_not() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    world.chain.mine();
    sender.poll(world.now()).await.unwrap();
    let seen = world.now();
    world.chain.reorg(1).unwrap();
    assert!(sender.poll(seen).await.unwrap().is_empty(), "the caller has seen a block that this node lacks");
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(matches!(updates.first(), Some(LaneUpdate::Unmined { .. })), "{updates:?}");
}

#[tokio::test]
async fn a_step_of_a_closed_incident_is_neither_replaced_nor_sent_again() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    world.say(IncidentEvent::FalseAlarm).await;
    let updates = sender.poll(world.now()).await.unwrap();
    let held = matches!(
        &updates[..],
        [LaneUpdate::Held { why: HeldWhy::Rule(Rule::IncidentOpen { .. }), nonce: 0, .. }]
    );
    assert!(held, "{updates:?}");
    // It was sent before, so it may land all the same, and that is followed.
    world.chain.mine();
    assert!(matches!(&sender.poll(world.now()).await.unwrap()[..], [LaneUpdate::Mined { .. }]));
}

/// A transaction that a person sends by hand with the guardian's key, with the nonce and instead of the first step.
fn use_nonce_by_hand(world: &World, nonce: u64) {
    const GWEI: u128 = 1_000_000_000;
    let foreign = Call::transfer(ADMIN, U256::from(1)).with_fees(900 * GWEI, 500 * GWEI);
    world.chain.submit_as_with_nonce(guardian().address(), nonce, foreign).unwrap();
}

fn taken(update: &LaneUpdate, plan: &Plan) -> bool {
    matches!(update, LaneUpdate::Held { plan: held, why: HeldWhy::NonceTaken { nonce: 0, .. }, .. }
        if *held == plan.hash())
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_reported_and_never_given_twice() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    use_nonce_by_hand(&world, 0);
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let first = HeldWhy::NonceTaken { nonce: 0, chain_nonce: 1 };
    assert!(matches!(&updates[..], [LaneUpdate::Held { why, .. }] if *why == first), "{updates:?}");
    let again = sender.submit(&plan, 0, world.now()).await.unwrap();
    assert!(matches!(again, Submitted::Held { why, .. } if why == first));
    // The account is used on; the reason is the same, and is said in the same words.
    use_nonce_by_hand(&world, 1);
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let [LaneUpdate::Held { why, .. }] = &updates[..] else { panic!("{updates:?}") };
    assert_eq!(why, &HeldWhy::NonceTaken { nonce: 0, chain_nonce: 2 });
    assert_eq!(why.to_string(), first.to_string());
    let lane = sender.lane().await.unwrap();
    assert_eq!((lane.entries().count(), lane.entry(0).unwrap().signatures.len()), (1, 1));
}

#[tokio::test]
async fn where_somebody_else_used_the_nonce_another_plan_gets_the_next_one_and_lands() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    let second = Plan { attempt: 1, ..plan.clone() };
    world.approve(&plan).await;
    world.approve(&second).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    let refused = sender.submit(&second, 0, world.now()).await.unwrap_err().to_string();
    assert!(refused.contains("the lane must be free"), "{refused}");
    use_nonce_by_hand(&world, 0);
    world.chain.mine();
    assert!(taken(&sender.poll(world.now()).await.unwrap()[0], &plan));

    let (nonce, tx_hash) = in_flight(sender.submit(&second, 0, world.now()).await.unwrap());
    assert_eq!(nonce, 1);
    let again = world.sender().submit(&second, 0, world.now()).await.unwrap();
    assert!(matches!(again, Submitted::InFlight { nonce: 1, tx_hash: same, .. } if same == tx_hash));
    world.chain.mine();
    let updates = sender.poll(world.now()).await.unwrap();
    let [held, LaneUpdate::Mined { receipt }] = &updates[..] else { panic!("{updates:?}") };
    assert!(taken(held, &plan));
    assert_eq!((receipt.plan, receipt.tx_hash, receipt.success), (second.hash(), tx_hash, true));
    assert_eq!((world.guardian_nonce().await, world.is_paused()), (2, true));
    let lane = sender.lane().await.unwrap();
    assert_eq!(lane.entries().map(|entry| entry.signatures.len()).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_step_that_lands_after_all_is_recorded_and_nothing_is_signed_twice() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    let second = Plan { attempt: 1, ..plan.clone() };
    world.approve(&plan).await;
    world.approve(&second).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    let raw = sender.lane().await.unwrap().entry(0).unwrap().newest().unwrap().raw.clone();
    use_nonce_by_hand(&world, 0);
    world.chain.mine();
    sender.submit(&second, 0, world.now()).await.unwrap();
    world.chain.mine();
    sender.poll(world.now()).await.unwrap();

    // Both blocks leave the chain, and of the two transactions with nonce 0 the lane's own one is mined this time.
    world.chain.reorg(2).unwrap();
    drop(world.chain.provider().send_raw_transaction(&raw).await.unwrap());
    world.chain.mine_many(2);
    let mut landed = Vec::new();
    for _ in 0..4 {
        for update in sender.poll(world.now()).await.unwrap() {
            if let LaneUpdate::Mined { receipt } = update {
                landed.push((receipt.plan, receipt.success));
            }
        }
        world.chain.mine();
    }
    // The second plan's pause finds the vault paused, which costs its gas and nothing else.
    assert_eq!(landed, [(plan.hash(), true), (second.hash(), false)]);
    assert_eq!((world.guardian_nonce().await, world.is_paused()), (2, true));
    let lane = sender.lane().await.unwrap();
    assert_eq!(lane.open().count(), 0);
    let nonces: Vec<_> = lane.entries().map(|entry| (entry.intent.plan, entry.intent.nonce)).collect();
    assert_eq!(nonces, [(plan.hash(), 0), (second.hash(), 1)]);
    assert_eq!(
        lane.entry(0).unwrap().signatures.len(),
        1,
        "what was signed landed, no second signature was made"
    );
}

#[tokio::test]
async fn a_step_that_was_given_up_is_not_signed_again_but_does_not_leave_a_gap_before_a_newer_one() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    let second = Plan { attempt: 1, ..plan.clone() };
    let hash = world.approve(&plan).await;
    world.approve(&second).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    use_nonce_by_hand(&world, 0);
    world.chain.mine();
    world.say(IncidentEvent::PlanFailed { plan: hash, why: "its nonce is used".to_owned() }).await;
    sender.submit(&second, 0, world.now()).await.unwrap();
    world.chain.mine();
    sender.poll(world.now()).await.unwrap();

    // The foreign transaction is lost with its block, so nonce 0 must be used before nonce 1 can be.
    world.chain.reorg(2).unwrap();
    world.chain.mine_many(2);
    for _ in 0..4 {
        sender.poll(world.now()).await.unwrap();
        world.chain.mine();
    }
    sender.poll(world.now()).await.unwrap();
    let lane = sender.lane().await.unwrap();
    assert_eq!((lane.open().count(), world.guardian_nonce().await), (0, 2));
    assert_eq!(lane.entry(0).unwrap().signatures.len(), 1, "what is given up is not signed again");
    assert!(world.is_paused());
}

#[tokio::test]
async fn what_cannot_work_is_not_sent() {
    let world = World::new().await;
    let (sender, plan) = (world.sender(), world.pause_plan());
    world.approve(&plan).await;

    // Without the role.
    let mut capability = world.capability();
    capability.authority = owner().address();
    let lever = cordon_contain::levers::adapter(capability.adapter);
    let foreign: Plan = lever.plan(crate::world::incident_id(), CHAIN, &capability);
    world.approve(&foreign).await;
    let authority = Authority::new(CHAIN, owner().address()).with_levers(&[capability]);
    let owners = Sender::new(
        world.chain.provider(),
        Gate::new(world.log.clone(), authority.clone()),
        owner(),
        world.log.clone(),
        SendPolicy::default(),
    );
    let error = owners.submit(&foreign, 0, world.now()).await.unwrap_err().to_string();
    assert!(error.contains("would revert: AccessControlUnauthorizedAccount"), "{error}");

    // With a signer that is not the gate's.
    let gate = Gate::new(world.log.clone(), authority);
    let mixed =
        Sender::new(world.chain.provider(), gate, guardian(), world.log.clone(), SendPolicy::default());
    let error = mixed.submit(&foreign, 0, world.now()).await.unwrap_err();
    assert!(matches!(error, SendError::WrongSigner { .. }), "{error}");

    // On a node of another chain.
    let other = World::with_config(ChainConfig { chain_id: 1, ..ChainConfig::default() }).await;
    let misled = world.sender_over(other.chain.provider(), world.log.clone(), SendPolicy::default());
    let error = misled.submit(&plan, 0, world.now()).await.unwrap_err();
    assert!(matches!(error, SendError::WrongChain { node: 1, gate: ChainId(31_337) }), "{error}");

    // When it is paused already.
    let pause = Call::new(world.vault, Bytes::from_static(&[0x84, 0x56, 0xcb, 0x59]));
    world.chain.submit_as(guardian().address(), pause).unwrap();
    world.chain.mine();
    let error = sender.submit(&plan, 0, world.now()).await.unwrap_err();
    assert!(matches!(&error, SendError::Precondition { what, .. } if what.ends_with("is false")), "{error}");
    assert_eq!(sender.lane().await.unwrap().version(), 0);
}

/// What is asked first about an open step.
const ASKED_FIRST: &str = "reading the chain id and the account's nonce";

#[tokio::test]
async fn a_node_that_is_down_is_news_and_not_the_end() {
    let world = World::new().await;
    let transport = world.chain.transport();
    let sender = world.sender_over(transport.provider(), world.log.clone(), SendPolicy::default());
    let plan = world.pause_plan();
    world.approve(&plan).await;
    sender.submit(&plan, 0, world.now()).await.unwrap();
    transport.set_offline(true);
    let updates = sender.poll(world.now()).await.unwrap();
    assert!(
        matches!(&updates[..], [LaneUpdate::Held { why: HeldWhy::Node { doing }, .. }] if *doing == ASKED_FIRST),
        "{updates:?}"
    );
    let LaneUpdate::Held { why, .. } = &updates[0] else { panic!("{updates:?}") };
    assert_eq!(why.to_string(), format!("the node failed while {ASKED_FIRST}"));
    transport.set_offline(false);
    world.chain.mine();
    assert!(matches!(&sender.poll(world.now()).await.unwrap()[..], [LaneUpdate::Mined { .. }]));
}
