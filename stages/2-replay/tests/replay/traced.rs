//! A real node's traces against our own replay of the same blocks: every fact that tracers tell must be the same.

use crate::anvil::{Anvil, binary};
use crate::contracts::{COUNTER, caller_of, token_transfer, undone, wei};
use crate::market::Market;
use crate::node::block_of;
use alloy_primitives::{Address, Bytes, hex};
use alloy_provider::{DynProvider, Provider as _, ProviderBuilder};
use cordon_model::execution::{Detail, Execution, FrameKind, Status, ViewCall};
use cordon_model::units::ChainId;
use cordon_replay::{BlockReplay, ReplayError, Replayer, Rules, TraceError, Watch, ask, no_views};
use serde_json::json;

const ANVIL: ChainId = ChainId(31_337);

fn provider(node: &Anvil) -> DynProvider {
    let url = format!("http://127.0.0.1:{}", node.port).parse().unwrap();
    ProviderBuilder::new().connect_http(url).erased()
}

/// Code that deploys `runtime`: copies everything behind its own ten bytes.
fn deployer(runtime: &[u8]) -> Vec<u8> {
    let len = u16::try_from(runtime.len()).unwrap().to_be_bytes();
    [[0x61].as_slice(), len.as_slice(), &hex!("80 600a 3d 39 3d f3"), runtime].concat()
}

/// Logs, calls the counter, logs, asks the identity contract, logs, borrows the counter's code, logs.
fn talkative(counter: Address) -> Vec<u8> {
    [
        hex!("6001 6000 52 6020 6000 a0 6000 6000 6000 6000 6000 73").as_slice(),
        counter.as_slice(),
        &hex!("5a f1 50 6002 6000 52 6020 6000 a0 6000 6000 6020 6000 6004 5a fa 50"),
        &hex!("6003 6000 52 6020 6000 a0 6000 6000 6000 6000 73"),
        counter.as_slice(),
        &hex!("5a f4 50 6004 6000 52 6020 6000 a0 00"),
    ]
    .concat()
}

/// Calls with too little gas, with more value than it has, and into an invalid instruction; borrows code by `CALLCODE`.
fn clumsy(counter: Address, broken: Address) -> Vec<u8> {
    [
        hex!("6000 6000 6000 6000 6000 73").as_slice(),
        counter.as_slice(),
        &hex!("6064 f1 50 6000 6000 6000 6000 69ffffffffffffffffffff 73"),
        counter.as_slice(),
        &hex!("5a f1 50 6000 6000 6000 6000 6000 73"),
        broken.as_slice(),
        &hex!("612710 f1 50 6000 6000 6000 6000 6001 73"),
        counter.as_slice(),
        &hex!("5a f2 50 00"),
    ]
    .concat()
}

/// Creates what the calldata says twice, with one wei each: by nonce and by salt.
const FACTORY: &[u8] = &hex!("36 6000 6000 37 36 6000 6001 f0 50 6007 36 6000 6001 f5 50 00");
/// Leaves its balance to the caller.
const LEAVER: &[u8] = &hex!("33 ff");
/// Leaves its balance to itself.
const STAYER: &[u8] = &hex!("30 ff");

struct Scene {
    node: Anvil,
    provider: DynProvider,
    accounts: Vec<Address>,
    counter: Address,
}

impl Scene {
    async fn start() -> Option<Self> {
        let node = Anvil::start(&binary()?);
        let (provider, accounts) = (provider(&node), node.accounts().await);
        let counter = node.deploy(accounts[0], deployer(COUNTER)).await;
        Some(Self { node, provider, accounts, counter })
    }

    async fn deploy(&self, runtime: &[u8]) -> Address {
        self.node.deploy(self.accounts[0], deployer(runtime)).await
    }

    async fn send(&self, to: Address, value: u64, input: &[u8]) {
        let tx = json!({ "from": self.accounts[1], "to": to, "value": wei(value), "data": Bytes::copy_from_slice(input),
            "gas": "0x7a1200", "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x3b9aca00" });
        self.node.rpc("eth_sendTransaction", json!([tx])).await;
    }

    fn count(&self) -> ViewCall {
        ViewCall { target: self.counter, input: Bytes::from_static(&[1]) }
    }

    /// Mines what waits and compares both replays of it.
    async fn mined(&self) -> BlockReplay {
        self.node.mine().await;
        self.compared(self.node.block_number().await).await
    }

    async fn compared(&self, number: u64) -> BlockReplay {
        let block = block_of(&self.provider, ANVIL, number).await;
        let rules = Rules::new(ANVIL, Some("osaka")).unwrap();
        let views = ask(vec![self.count(), ViewCall { target: self.accounts[9], input: Bytes::new() }]);
        let watch = Watch::everything(views);
        let mut local = Replayer::for_node(self.provider.clone(), rules);
        let local = local.replay(block.clone(), watch.clone()).await.unwrap();
        let mut traced = Replayer::for_traces(self.provider.clone(), ANVIL);
        let traced_replay = traced.replay(block, watch).await.unwrap();
        assert!(traced.fork_head().is_none());
        assert_eq!(local.mismatches, []);
        assert_eq!(traced_replay.mismatches, []);
        assert_eq!(local.gas_used, traced_replay.gas_used);
        assert_eq!(local.executions.len(), traced_replay.executions.len());
        for (ours, theirs) in local.executions.iter().zip(&traced_replay.executions) {
            same(ours, theirs);
        }
        traced_replay
    }
}

/// Frames, logs and transfers in the order in which they happened.
fn order(execution: &Execution) -> Vec<String> {
    let frames = execution.frames.iter();
    let frames = frames.flat_map(|f| {
        [(f.enter_seq, format!("enter {}", f.index)), (f.exit_seq, format!("exit {}", f.index))]
    });
    let logs = execution.logs.iter().enumerate().map(|(index, log)| (log.seq, format!("log {index}")));
    let moves = execution.transfers.iter().enumerate().map(|(index, t)| (t.seq, format!("transfer {index}")));
    let mut events: Vec<(u32, String)> = frames.chain(logs).chain(moves).collect();
    // A token's movement has the number of its log.
    events.sort_by_key(|(seq, _)| *seq);
    events.into_iter().map(|(_, event)| event).collect()
}

/// Compares every field that tracers tell. They do not tell accesses, the EVM's names of halts, the gas of the first
/// frame without the transaction's intrinsic gas (and our recorder not that a halted frame used all of its gas),
/// and the address of a creation that failed before it called anything.
fn same(ours: &Execution, theirs: &Execution) {
    let at = ours.tx.hash;
    assert_eq!(ours.tx, theirs.tx);
    assert_eq!((ours.timestamp_s, &ours.transaction), (theirs.timestamp_s, &theirs.transaction));
    assert_eq!(class(&ours.status), class(&theirs.status), "{at}");
    assert_eq!(ours.gas_used, theirs.gas_used, "{at}");
    assert_eq!(ours.frames.len(), theirs.frames.len(), "{at}: {:#?}\n{:#?}", ours.frames, theirs.frames);
    for (a, b) in ours.frames.iter().zip(&theirs.frames) {
        let at = format!("{at} frame {}", a.index);
        assert_eq!((a.index, a.parent, a.depth, a.kind), (b.index, b.parent, b.depth, b.kind), "{at}");
        let failed_creation =
            matches!(a.kind, FrameKind::Create | FrameKind::Create2) && !a.status.is_success();
        if !failed_creation || !b.address.is_zero() {
            assert_eq!((a.address, a.code_address), (b.address, b.code_address), "{at}");
        }
        assert_eq!((a.caller, a.value_wei), (b.caller, b.value_wei), "{at}");
        assert_eq!((&a.input, &a.output), (&b.input, &b.output), "{at}");
        assert_eq!((class(&a.status), a.reverted), (class(&b.status), b.reverted), "{at}");
        if a.index > 0 && !matches!(a.status, Status::Halt { .. }) {
            assert_eq!(a.gas_used, b.gas_used, "{at}");
        }
        assert!(b.precompile || !a.precompile, "{at}");
    }
    let logs = |e: &Execution| -> Vec<_> {
        e.logs.iter().map(|l| (l.frame, l.address, l.topics.clone(), l.data.clone())).collect()
    };
    assert_eq!(logs(ours), logs(theirs), "{at}");
    let moves = |e: &Execution| -> Vec<_> {
        e.transfers.iter().map(|t| (t.frame, t.asset, t.from, t.to, t.amount_raw)).collect()
    };
    assert_eq!(moves(ours), moves(theirs), "{at}");
    assert_eq!(order(ours), order(theirs), "{at}");
    assert_eq!(ours.creations, theirs.creations, "{at}");
    assert_eq!(ours.storage_changes, theirs.storage_changes, "{at}");
    assert_eq!(ours.balance_changes_wei, theirs.balance_changes_wei, "{at}");
    assert_eq!(ours.views, theirs.views, "{at}");
    assert_eq!((ours.truncated, theirs.truncated), (false, false), "{at}");
    assert_eq!((theirs.detail, theirs.accesses.len()), (Detail::Traced, 0), "{at}");
}

fn class(status: &Status) -> (u8, Bytes) {
    match status {
        Status::Success => (0, Bytes::new()),
        Status::Revert { output } => (1, output.clone()),
        Status::Halt { .. } => (2, Bytes::new()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_logs_and_transfers_are_those_of_our_own_replay() {
    let Some(scene) = Scene::start().await else { return };
    let alice = scene.accounts[2];
    let token = scene.deploy(&token_transfer(alice, scene.accounts[3])).await;
    let talkative = scene.deploy(&talkative(scene.counter)).await;
    let broken = scene.deploy(&hex!("fe")).await;
    let clumsy = scene.deploy(&clumsy(scene.counter, broken)).await;
    let undone = scene.deploy(&undone(alice)).await;
    let forgiving = scene.deploy(&caller_of(undone)).await;

    scene.send(alice, 5, &[]).await;
    scene.send(scene.counter, 0, &[]).await;
    scene.send(token, 0, &[]).await;
    scene.send(talkative, 0, &[]).await;
    scene.send(undone, 7, &[]).await;
    scene.send(forgiving, 0, &[]).await;
    scene.send(clumsy, 3, &[]).await;
    scene.send(broken, 0, &[]).await;
    let replay = scene.mined().await;

    assert_eq!(replay.executions.len(), 8);
    let [sent, counted, moved, talked, reverted, forgiven, clumsy, halted] = &replay.executions[..] else {
        panic!("eight transactions")
    };
    assert_eq!((sent.transfers.len(), moved.transfers.len(), moved.logs.len()), (1, 1, 1));
    // The counter stood at zero before the block; within it every answer is that of its own moment.
    let count = |execution: &Execution| execution.view(&scene.count()).unwrap().words().unwrap();
    assert_eq!(
        (count(sent), count(counted), count(talked)),
        ((wei(0), wei(0)), (wei(0), wei(1)), (wei(1), wei(2)))
    );
    assert_eq!((talked.logs.len(), talked.frames.len()), (4, 4));
    assert!(talked.frames[2].precompile && !talked.frames[1].precompile);
    assert!(matches!(&reverted.status, Status::Revert { output } if output.len() == 32));
    assert_eq!((forgiven.logs.len(), forgiven.frames.len()), (1, 3));
    assert!(forgiven.frames[1].reverted && forgiven.frames[2].reverted && !forgiven.frames[0].reverted);
    assert_eq!(clumsy.frames.iter().filter(|frame| frame.reverted).count(), 3);
    assert!(matches!(halted.status, Status::Halt { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creations_and_destructions_are_those_of_our_own_replay() {
    let Some(scene) = Scene::start().await else { return };
    let factory = scene.deploy(FACTORY).await;
    let (leaver, stayer) = (scene.deploy(LEAVER).await, scene.deploy(STAYER).await);
    scene.send(factory, 2, &deployer(COUNTER)).await;
    scene.send(factory, 2, &deployer(&[])).await;
    // Init code that fails, and init code that destroys what it creates.
    scene.send(factory, 2, &undone(scene.accounts[2])).await;
    scene.send(factory, 2, LEAVER).await;
    scene.send(leaver, 9, &[]).await;
    scene.send(stayer, 9, &[]).await;
    let made = scene.mined().await;
    let creations: Vec<usize> = made.executions.iter().map(|e| e.creations.len()).collect();
    assert_eq!(creations, [2, 2, 0, 0, 0, 0]);
    let destroyed: Vec<usize> = made.executions.iter().map(|e| e.destructions.len()).collect();
    assert_eq!(destroyed, [0, 0, 0, 2, 1, 1]);
    let [destruction] = made.executions[4].destructions[..] else { panic!("one destruction") };
    assert_eq!((destruction.contract, destruction.beneficiary), (leaver, scene.accounts[1]));
    assert_eq!(destruction.balance_wei, wei(9));
    // A transaction that creates a contract by itself.
    scene.node.send(scene.accounts[3], None, deployer(COUNTER)).await;
    assert_eq!(scene.mined().await.executions[0].creations.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_names_a_watched_account_is_delivered_with_its_code() {
    let Some(scene) = Scene::start().await else { return };
    let watched = Address::repeat_byte(0x77);
    // balance(watched); stop
    let code =
        [&alloy_primitives::hex!("73")[..], watched.as_slice(), &alloy_primitives::hex!("31 50 00")].concat();
    for code in [COUNTER, &code[..]] {
        scene.node.send(scene.accounts[3], None, deployer(code)).await;
    }
    scene.node.mine().await;
    let block = block_of(&scene.provider, ANVIL, scene.node.block_number().await).await;
    assert_eq!(block.transactions.len(), 2);
    let watch = Watch::touching([watched].into_iter().collect(), no_views());
    let mut traced = Replayer::for_traces(scene.provider.clone(), ANVIL);
    let replay = traced.replay(block, watch).await.unwrap();
    let [execution] = &replay.executions[..] else { panic!("{} delivered", replay.executions.len()) };
    let [created] = execution.creations[..] else { panic!("one contract") };
    assert_eq!(execution.frame(created.frame).unwrap().output, code);
    assert_eq!(created.code_hash, alloy_primitives::keccak256(&code));
}

/// The drill's market with its attack: proxies, re-entrancy, tokens, creations by the attacker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attack_on_the_market_is_told_alike() {
    let Some(scene) = Scene::start().await else { return };
    let market = Market::deploy(&scene.node).await;
    market.strike(&scene.node).await;
    let replay = scene.mined().await;
    let [attack] = &replay.executions[..] else { panic!("one transaction") };
    assert!(attack.status.is_success() && attack.frames.len() > 20 && attack.transfers.len() > 3);
    for number in 1..scene.node.block_number().await {
        scene.compared(number).await;
    }
}

/// The in-process range is a node without the debug API.
#[tokio::test]
async fn a_node_without_the_debug_api_is_named_as_such() {
    let chain = cordon_range::Chain::default();
    let chain_id = ChainId(chain.config().chain_id);
    let alice = Address::repeat_byte(0xa1);
    chain.fund(alice, alloy_primitives::U256::from(10).pow(wei(20)));
    chain.submit_as(alice, cordon_range::Call::new(alice, Bytes::new())).unwrap();
    chain.mine();
    let block = block_of(&chain.provider(), chain_id, chain.head().number).await;
    let mut traced = Replayer::for_traces(chain.provider(), chain_id);
    let error = traced.replay(block.clone(), Watch::everything(no_views())).await.unwrap_err();
    assert!(matches!(&error, ReplayError::Trace(TraceError::NotOffered { .. })), "{error:?}");
    assert!(
        error.to_string().starts_with("debug_traceBlockByHash(callTracer): the node does not offer it"),
        "{error}"
    );

    let mut elsewhere = Replayer::for_traces(chain.provider(), ChainId(1));
    let error = elsewhere.replay(block, Watch::everything(no_views())).await.unwrap_err();
    assert!(matches!(error, ReplayError::WrongChain { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_the_node_does_not_know_are_an_error_with_the_method() {
    let Some(scene) = Scene::start().await else { return };
    scene.send(scene.counter, 0, &[]).await;
    scene.node.mine().await;
    let block = block_of(&scene.provider, ANVIL, scene.node.block_number().await).await;
    let mut other = (*block).clone();
    other.hash = alloy_primitives::B256::repeat_byte(9);
    let mut traced = Replayer::for_traces(scene.provider.clone(), ANVIL);
    let error = traced.replay(other.into(), Watch::everything(no_views())).await.unwrap_err();
    assert!(error.to_string().starts_with("debug_traceBlockByHash("), "{error}");

    let mut other = (*block).clone();
    other.transactions[0].hash = alloy_primitives::B256::repeat_byte(9);
    let error = traced.replay(other.into(), Watch::everything(no_views())).await.unwrap_err();
    let ReplayError::Trace(TraceError::Malformed { place, reason, .. }) = &error else { panic!("{error:?}") };
    assert!(place.starts_with("[0]") && reason.contains("expected 0x0909"), "{place}: {reason}");

    let mut other = (*block).clone();
    (other.gas_used, other.outcomes[0].gas_used) = (1, 2);
    other.outcomes[0].success = Some(false);
    let replay = traced.replay(other.into(), Watch::everything(no_views())).await.unwrap();
    assert_eq!(replay.mismatches.len(), 3, "{:?}", replay.mismatches);
}
