//! A protocol grows while it is watched: a factory makes a contract, and the contract is robbed in the same block.

use crate::watchtower::{Grants, Tower, Watch};
use alloy_primitives::{Address, Bytes, U256, keccak256};
use cordon_model::log::{Body, ChainEvent, FollowReason, StreamId};
use cordon_range::Call;

const SEED: u64 = 33;
const FACTORY: Address = Address::repeat_byte(0xfa);
const THIEF: Address = Address::repeat_byte(0x7e);

/// A contract that passes every call on to a token, whoever makes it: its tokens belong to anybody.
fn careless_purse(token: Address) -> Vec<u8> {
    let mut code = vec![0x36, 0x3d, 0x3d, 0x37, 0x3d, 0x3d, 0x36, 0x3d, 0x3d, 0x73];
    code.extend_from_slice(token.as_slice());
    code.extend_from_slice(&[0x5a, 0xf1, 0x00]);
    code
}

/// A contract that creates such a purse with every call.
fn factory(token: Address) -> Bytes {
    let runtime = careless_purse(token);
    let mut init = vec![0x60, u8::try_from(runtime.len()).unwrap(), 0x80, 0x60, 0x09, 0x3d, 0x39, 0x3d, 0xf3];
    init.extend(runtime);
    let mut code = vec![0x60, u8::try_from(init.len()).unwrap(), 0x80, 0x60, 0x0b];
    code.extend_from_slice(&[0x3d, 0x39, 0x3d, 0x3d, 0xf0, 0x00]);
    code.extend(init);
    code.into()
}

fn transfer(to: Address, amount: U256) -> Bytes {
    let mut input = keccak256("transfer(address,uint256)")[..4].to_vec();
    input.extend_from_slice(to.into_word().as_slice());
    input.extend_from_slice(&amount.to_be_bytes::<32>());
    input.into()
}

/// Creation, deposit and robbery in one block; returns the purse.
fn rob_a_new_purse(tower: &Tower) -> Address {
    let chain = tower.chain();
    let treasury = &tower.world.facts().treasury;
    let purse = FACTORY.create(chain.next_nonce(FACTORY));
    chain.fund(THIEF, U256::from(10).pow(U256::from(18)));
    let amount = treasury.amount_raw;
    let submit = |from, to, input, tip: u128| {
        let call =
            Call::new(to, input).with_fees(Call::DEFAULT_MAX_FEE_WEI, tip * Call::DEFAULT_PRIORITY_FEE_WEI);
        tower.world.submit_as(from, call).unwrap()
    };
    let hashes = [
        submit(treasury.holder, FACTORY, Bytes::new(), 9),
        submit(treasury.holder, treasury.token, transfer(purse, amount), 8),
        submit(THIEF, purse, transfer(THIEF, amount), 7),
    ];
    chain.mine();
    assert!(hashes.iter().all(|hash| chain.receipt(*hash).unwrap().status()));
    assert_eq!(tower.world.balance_of(treasury.token, THIEF).unwrap(), amount);
    purse
}

async fn followed(tower: &Tower, watch: &Watch) -> Vec<(Address, FollowReason)> {
    let records = watch.records(StreamId::chain(tower.chain_id())).await;
    let follow = |record: cordon_model::log::Record| match record.body {
        Body::Chain(ChainEvent::Followed { contract, because, .. }) => Some((contract, because)),
        _ => None,
    };
    records.into_iter().filter_map(follow).collect()
}

async fn watched_factory() -> (Tower, Watch) {
    let mut tower = Tower::before_the_attack(SEED, Grants::ObserveOnly);
    tower.chain().set_code(FACTORY, factory(tower.world.facts().treasury.token));
    tower.config.protocols[0].factories = vec![FACTORY];
    let watch = tower.wake().await;
    (tower, watch)
}

#[tokio::test]
async fn a_child_that_is_robbed_in_the_block_of_its_creation_is_noticed() {
    let (tower, mut watch) = watched_factory().await;
    watch.follow().await.unwrap();
    let purse = rob_a_new_purse(&tower);
    watch.follow().await.unwrap();
    assert_eq!(followed(&tower, &watch).await, [(purse, FollowReason::CreatedBy(FACTORY))]);
    assert!(watch.engine.protocols().any(|protocol| protocol.protects(purse)));
    let incident = watch.incident();
    assert!(incident.findings.iter().any(|finding| finding.contract == purse), "{:?}", incident.findings);

    // The next process knows the child from the log.
    drop(watch);
    let mut watch = tower.wake().await;
    assert!(watch.engine.protocols().any(|protocol| protocol.protects(purse)));
    tower.chain().mine();
    watch.follow().await.unwrap();
    assert_eq!(followed(&tower, &watch).await.len(), 1, "it joins once");
}

#[tokio::test]
async fn without_the_factory_nobody_joins_and_nothing_is_noticed() {
    let (mut tower, watch) = watched_factory().await;
    drop(watch);
    tower.config.protocols[0].factories.clear();
    let mut watch = tower.wake().await;
    rob_a_new_purse(&tower);
    watch.follow().await.unwrap();
    assert_eq!(followed(&tower, &watch).await, []);
    assert_eq!(watch.engine.incidents().count(), 0);
}

#[tokio::test]
async fn a_child_whose_creation_leaves_the_chain_leaves_the_protocol() {
    let (tower, mut watch) = watched_factory().await;
    watch.follow().await.unwrap();
    let purse = rob_a_new_purse(&tower);
    watch.follow().await.unwrap();
    tower.chain().reorg(1).unwrap();
    tower.chain().mine();
    watch.follow().await.unwrap();
    assert!(watch.engine.protocols().all(|protocol| !protocol.protects(purse)));
    assert!(watch.incident().findings.is_empty(), "what is not on the chain is no finding");
}
