//! The suite that every lever passes, against real contracts: it is probed truly, it takes effect, pulling it twice is
//! noticed, and it can be undone.

use crate::world::{CHAIN, World, guardian, incident_id, owner};
use alloy_primitives::{Address, Bytes, U256};
use cordon_contain::levers::adapter;
use cordon_contain::{
    Authority, Gate, PlanGrant, ProbeState, SendError, SendPolicy, Sender, Signer, verify_effects,
};
use cordon_model::plan::{Certainty, Plan};
use cordon_model::protocol::Capability;
use cordon_model::units::BlockRef;
use std::sync::Arc;

async fn probe(world: &World, capability: &Capability) -> cordon_contain::Probe {
    adapter(capability.adapter).probe(&world.chain.provider(), capability).await.unwrap()
}

async fn why_unavailable(world: &World, capability: &Capability) -> String {
    match probe(world, capability).await.state {
        ProbeState::Unavailable { why } => why,
        state => panic!("expected an unavailable lever, got {state:?}"),
    }
}

fn sender_of(world: &World, signer: Arc<dyn Signer>, plan: &Plan) -> Sender {
    let grant = PlanGrant { plan: plan.hash(), value_max_wei: U256::ZERO };
    let authority = Authority::new(CHAIN, signer.address()).with_plan(grant);
    let gate = Gate::new(world.log.clone(), authority);
    Sender::new(world.chain.provider(), gate, signer, world.log.clone(), SendPolicy::default())
}

async fn effect_holds(world: &World, plan: &Plan) -> bool {
    let head = world.chain.head();
    let block = BlockRef { number: head.number, hash: head.hash };
    let provider = world.chain.provider();
    verify_effects(&provider, plan, 0, block, Certainty::Latest).await.unwrap().passed()
}

#[tokio::test]
async fn a_lever_is_pulled_noticed_as_pulled_and_undone() {
    let world = World::new().await;
    let capability = world.capability();
    let ready = probe(&world, &capability).await;
    assert_eq!(ready.state, ProbeState::Ready);
    assert!(ready.gas_estimate.is_some_and(|gas| (21_000..100_000).contains(&gas)), "{ready:?}");

    let pull = world.pause_plan();
    world.approve(&pull).await;
    let guardians = sender_of(&world, guardian(), &pull);
    guardians.submit(&pull, 0, world.now()).await.unwrap();
    world.chain.mine();
    guardians.poll(world.now()).await.unwrap();
    assert!(effect_holds(&world, &pull).await);

    // Pulled twice: the probe says so, and a plan that is sent all the same stops at its precondition.
    assert_eq!(probe(&world, &capability).await.state, ProbeState::AlreadyActive);
    let twice = Plan { title: "pause once more".to_owned(), ..pull.clone() };
    world.approve(&twice).await;
    let error = sender_of(&world, guardian(), &twice).submit(&twice, 0, world.now()).await.unwrap_err();
    assert!(matches!(error, SendError::Precondition { .. }), "{error}");

    // Undone by the account that may, which is another one.
    let undo = world.unpause_plan();
    world.approve(&undo).await;
    let owners = sender_of(&world, owner(), &undo);
    owners.submit(&undo, 0, world.now()).await.unwrap();
    world.chain.mine();
    owners.poll(world.now()).await.unwrap();
    assert!(effect_holds(&world, &undo).await && !effect_holds(&world, &pull).await);
    assert_eq!(probe(&world, &capability).await.state, ProbeState::Ready);
}

#[tokio::test]
async fn a_lever_that_cannot_be_pulled_says_why() {
    let world = World::new().await;
    let without_role = Capability { authority: owner().address(), ..world.capability() };
    let why = why_unavailable(&world, &without_role).await;
    assert!(why.ends_with("reverts: AccessControlUnauthorizedAccount(address,bytes32)"), "{why}");

    let nobody = Capability { target: Address::repeat_byte(0x99), ..world.capability() };
    assert!(why_unavailable(&world, &nobody).await.starts_with("there is no contract at"));

    // A contract that answers everything with nothing, and one that reverts everything.
    let (silent, refusing) = (Address::repeat_byte(0x98), Address::repeat_byte(0x97));
    world.chain.set_code(silent, Bytes::from_static(&[0x00]));
    world.chain.set_code(refusing, Bytes::from_static(&[0x5f, 0x5f, 0xfd]));
    let silent = Capability { target: silent, ..world.capability() };
    assert!(why_unavailable(&world, &silent).await.ends_with("does not answer with true or false"));
    let refusing = Capability { target: refusing, ..world.capability() };
    assert!(why_unavailable(&world, &refusing).await.starts_with("paused() reverts"));
}

#[tokio::test]
async fn a_node_that_is_down_is_an_error_and_not_an_answer() {
    let world = World::new().await;
    world.chain.set_offline(true);
    let capability = world.capability();
    assert!(adapter(capability.adapter).probe(&world.chain.provider(), &capability).await.is_err());
    assert_eq!(world.pause_plan().incident, incident_id());
}
