//! What a protected timelock will do is said when it is queued: OpenZeppelin's own timelock over the drill's market.

use crate::learning::events;
use crate::watchtower::{Grants, Tower, Watch};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::{SolCall, SolValue, sol};
use cordon_detect::{BaselineConfig, DetectorConfig};
use cordon_engine::EngineError;
use cordon_model::finding::sign::{Prospect, Queued, Sign};
use cordon_model::finding::{Evidence, Finding};
use cordon_model::log::ChainEvent;
use cordon_model::protocol::ProtectedContract;
use cordon_model::units::Due;
use cordon_range::{Call, artifacts};

const SEED: u64 = 61;

/// The timelock's delay: two days, as most teams have it.
const DELAY_S: u64 = 172_800;

const THIEF: Address = Address::repeat_byte(0x7e);

/// Code that was there long before it is proposed.
const PLUNDERER: Address = Address::repeat_byte(0xbd);

/// More requests than a block of this story takes.
const REQUESTS_MAX: i64 = 2_000;

sol! {
    interface IControls {
        function schedule(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt, uint256 delay);
        function scheduleBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt, uint256 delay);
        function execute(address target, uint256 value, bytes payload, bytes32 predecessor, bytes32 salt);
        function updateDelay(uint256 delay);
        function upgradeToAndCall(address implementation, bytes data);
        function grantRole(bytes32 role, address account);
        function UPGRADER_ROLE() returns (bytes32 role);
        function pause();
    }
}

/// The market with a timelock that may upgrade it.
struct Stage {
    tower: Tower,
    timelock: Address,
    vault: Address,
    /// What the vault lends.
    token: Address,
}

impl Stage {
    /// Watched by every detector.
    fn new() -> Self {
        let mut tower = Tower::after_steps(2, SEED, Grants::ObserveOnly);
        let (chain, operator) = (tower.chain(), tower.operator);
        let people = vec![operator];
        let args = (U256::from(DELAY_S), people.clone(), people, Address::ZERO).abi_encode_params();
        let code = artifacts::creation_code("TimelockController").unwrap();
        let timelock = chain.deploy_as(operator, code, &args).unwrap();
        chain.mine();
        let (vault, token) = (tower.world.facts().upgrade.proxy, tower.world.facts().treasury.token);
        let role = chain.call(vault, IControls::UPGRADER_ROLECall {}.abi_encode()).unwrap();
        let role = B256::from_slice(&role);
        act(&tower, operator, vault, &IControls::grantRoleCall { role, account: timelock });
        let held = tower.world.balance_of(token, vault).unwrap();
        tower.chain().set_code(PLUNDERER, plunderer(token, held));
        tower.config.chain.start_block = Some(tower.chain().head().number);
        tower.config.detectors = DetectorConfig::all();
        let entry = ProtectedContract { address: timelock, name: "timelock".to_owned() };
        tower.config.protocols[0].contracts.push(entry);
        Self { tower, timelock, vault, token }
    }

    fn schedule(&self, target: Address, data: Bytes) {
        let call = IControls::scheduleCall {
            target,
            value: U256::ZERO,
            data,
            predecessor: B256::ZERO,
            salt: B256::ZERO,
            delay: U256::from(DELAY_S),
        };
        act(&self.tower, self.tower.operator, self.timelock, &call);
    }

    fn upgrade_to(&self, implementation: Address, data: &'static [u8]) -> Bytes {
        IControls::upgradeToAndCallCall { implementation, data: Bytes::from_static(data) }.abi_encode().into()
    }
}

/// A transaction in a block of its own, which must succeed.
fn act(tower: &Tower, from: Address, to: Address, call: &impl SolCall) {
    let hash = tower.world.submit_as(from, Call::new(to, call.abi_encode())).unwrap();
    tower.chain().mine();
    assert!(tower.chain().receipt(hash).unwrap().status());
}

/// Says that it can stand behind a UUPS proxy, and on every other call gives the thief what the proxy holds.
fn plunderer(token: Address, amount: U256) -> Bytes {
    let slot = hex!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");
    let mut code = hex!("5f3560e01c6352d1902d14").to_vec();
    // Where the answer begins follows from the lengths below.
    code.extend(hex!("60785763a9059cbb60e01b5f5273"));
    code.extend(THIEF.as_slice());
    code.extend(hex!("6004527f"));
    code.extend(amount.to_be_bytes::<32>());
    code.extend(hex!("6024525f5f60445f5f73"));
    code.extend(token.as_slice());
    code.extend(hex!("5af1005b7f"));
    let answer = code.iter().rposition(|byte| *byte == 0x5b).unwrap();
    code[12] = u8::try_from(answer).unwrap();
    code.extend(slot);
    code.extend(hex!("5f5260205ff3"));
    code.into()
}

fn queued(findings: &[Finding]) -> Vec<(u16, Queued)> {
    let told = findings.iter().filter_map(|finding| match &finding.evidence {
        Evidence::Sign(Sign::Queued(queued)) => Some((finding.score.0, queued.clone())),
        _ => None,
    });
    told.collect()
}

#[tokio::test]
async fn a_queued_robbery_is_told_with_its_amount_two_days_before_it_can_happen() {
    let stage = Stage::new();
    let mut watch = stage.tower.wake().await;
    watch.follow().await.unwrap();
    let held = stage.tower.world.balance_of(stage.token, stage.vault).unwrap();
    let robbery = stage.upgrade_to(PLUNDERER, &[1]);
    stage.schedule(stage.vault, robbery.clone());
    watch.follow().await.unwrap();

    let incident = watch.incident();
    let told = queued(&incident.findings);
    let [(score, entry)] = told.as_slice() else { panic!("{:?}", incident.findings) };
    assert_eq!((*score, entry.queue, entry.executor), (700, stage.timelock, stage.timelock));
    let Due::AtS(due_s) = entry.due else { panic!("{:?}", entry.due) };
    assert_eq!(due_s, watch.engine.stamp().at_s + DELAY_S);
    let Prospect::Works { leaving, newborn: None, said } = &entry.prospect else { panic!("{entry}") };
    let [leaves] = leaving.as_slice() else { panic!("{leaving:?}") };
    assert_eq!((leaves.from, leaves.amount_raw), (stage.vault, held));
    assert_eq!(leaves.share_bps.map(|share| share.0), Some(10_000));
    let words = entry.to_string();
    assert!(said.iter().any(|said| said.evidence.to_string().contains("implementation")), "{words}");
    assert!(words.contains(&format!("{held} of {} leave {}", leaves.asset, stage.vault)), "{words}");
    assert!(words.contains("0x4f1ef286"), "{words}");
    assert_eq!(stage.tower.world.balance_of(stage.token, THIEF).unwrap(), U256::ZERO, "nothing happened yet");

    // And it comes true, to the last unit.
    stage.tower.chain().skip_time(DELAY_S);
    let call = IControls::executeCall {
        target: stage.vault,
        value: U256::ZERO,
        payload: robbery,
        predecessor: B256::ZERO,
        salt: B256::ZERO,
    };
    act(&stage.tower, stage.tower.operator, stage.timelock, &call);
    assert_eq!(stage.tower.world.balance_of(stage.token, THIEF).unwrap(), leaves.amount_raw);
}

/// The benign twins: the fix, a shorter delay, a call that the timelock has no right to, and the first two in one batch.
async fn administered(alarm_score: u16) -> Vec<Finding> {
    let mut stage = Stage::new();
    stage.tower.config.policy.alarm_score = alarm_score;
    let mut watch = stage.tower.wake().await;
    watch.follow().await.unwrap();
    let code = artifacts::creation_code("LendingVaultV2").unwrap();
    let fix = stage.tower.chain().deploy_as(stage.tower.operator, code, &[]).unwrap();
    stage.tower.chain().mine();
    let upgrade = stage.upgrade_to(fix, &[]);
    let shorter = Bytes::from(IControls::updateDelayCall { delay: U256::from(3_600) }.abi_encode());
    stage.schedule(stage.vault, upgrade.clone());
    stage.schedule(stage.timelock, shorter.clone());
    stage.schedule(stage.vault, IControls::pauseCall {}.abi_encode().into());
    let batch = IControls::scheduleBatchCall {
        targets: vec![stage.vault, stage.timelock],
        values: vec![U256::ZERO; 2],
        payloads: vec![upgrade, shorter],
        predecessor: B256::ZERO,
        salt: B256::with_last_byte(1),
        delay: U256::from(DELAY_S),
    };
    act(&stage.tower, stage.tower.operator, stage.timelock, &batch);
    watch.follow().await.unwrap();
    assert_eq!(watch.engine.cursor().head(), Some(stage.tower.head()));
    watch.engine.incidents().flat_map(|incident| incident.findings.clone()).collect()
}

#[tokio::test]
async fn ordinary_administration_is_tried_and_wakes_nobody() {
    let default = Tower::after_steps(0, SEED, Grants::ObserveOnly).config.policy.alarm_score;
    assert_eq!(administered(default).await, []);
    // The same for somebody who wants to be told of everything.
    let told = queued(&administered(200).await);
    assert_eq!(told.iter().map(|(score, _)| *score).collect::<Vec<_>>(), [300, 300, 200, 300]);
    let [_, (_, shorter), (_, pause), (_, batch)] = told.as_slice() else { panic!("{told:?}") };
    let Prospect::Works { leaving, newborn: None, said } = &shorter.prospect else { panic!("{shorter}") };
    assert!(leaving.is_empty() && said.len() == 1, "{shorter}");
    assert!(matches!(pause.prospect, Prospect::Fails { call: 0, .. }), "{pause}");
    assert_eq!(batch.calls.len(), 2);
    let Prospect::Works { said, .. } = &batch.prospect else { panic!("{batch}") };
    assert_eq!(said.len(), 2, "{batch}");
}

#[tokio::test]
async fn a_timelock_that_is_not_protected_is_nobodys_business() {
    let mut stage = Stage::new();
    let contracts = stage.tower.config.protocols[0].contracts.to_vec();
    let others: Vec<_> = contracts.into_iter().filter(|entry| entry.address != stage.timelock).collect();
    stage.tower.config.protocols[0].contracts = others.into();
    let mut watch = stage.tower.wake().await;
    stage.schedule(stage.vault, stage.upgrade_to(PLUNDERER, &[1]));
    watch.follow().await.unwrap();
    assert_eq!(watch.engine.incidents().count(), 0);
}

/// What is learned, counted and followed is the same whether entries are tried or not.
#[tokio::test]
async fn what_is_tried_leaves_nothing_behind_but_its_finding() {
    async fn lived(stage: &mut Stage, units: Vec<DetectorConfig>) -> (Vec<ChainEvent>, Watch) {
        stage.tower.config.detectors = units;
        let mut watch = stage.tower.wake().await;
        stage.schedule(stage.vault, stage.upgrade_to(PLUNDERER, &[]));
        for _ in 0..3 {
            stage.tower.world.step().unwrap();
        }
        watch.follow().await.unwrap();
        (events(&stage.tower, &watch).await, watch)
    }
    let baseline = DetectorConfig::Baseline(BaselineConfig::default());
    let queue: DetectorConfig = serde_json::from_str(r#"{"type":"queue"}"#).unwrap();
    let (mut with, watch) = lived(&mut Stage::new(), vec![baseline.clone(), queue]).await;
    let (mut without, _) = lived(&mut Stage::new(), vec![baseline]).await;
    // Who judges differs, and with it what is said.
    let is_said =
        |event: &ChainEvent| matches!(event, ChainEvent::JudgedBy { .. } | ChainEvent::Weighed { .. });
    [&mut with, &mut without].into_iter().for_each(|events| events.retain(|event| !is_said(event)));
    assert!(with.iter().any(|event| matches!(event, ChainEvent::Learned { .. })), "{with:?}");
    assert_eq!(with, without);
    assert_eq!(
        watch.engine.incidents().count(),
        0,
        "code that only waits is told of, and wakes nobody alone"
    );
}

/// One outage at any request only delays what is said; one that comes with every attempt loses it, and not the block.
#[tokio::test]
async fn a_node_that_goes_away_in_a_rehearsal_delays_it() {
    let mut away = 0;
    for at in (3..REQUESTS_MAX).step_by(7) {
        let stage = Stage::new();
        let mut watch = stage.tower.wake().await;
        watch.follow().await.unwrap();
        stage.schedule(stage.vault, stage.upgrade_to(PLUNDERER, &[1]));
        watch.outage.arm(at);
        let handled = watch.handle_next().await;
        let was_away = watch.outage.end();
        assert!(matches!(handled, Ok(true) | Err(EngineError::Replay(_))), "request {at}: {handled:?}");
        watch.follow().await.unwrap();
        assert_eq!(queued(&watch.incident().findings).len(), 1, "request {at}");
        away += usize::from(was_away);
        if !was_away {
            break;
        }
    }
    assert!(away > 3, "the node was away {away} times");
}

#[tokio::test]
async fn a_node_that_never_serves_a_rehearsal_does_not_stop_the_watch() {
    let stage = Stage::new();
    let mut watch = stage.tower.wake().await;
    watch.follow().await.unwrap();
    stage.schedule(stage.vault, stage.upgrade_to(PLUNDERER, &[1]));
    // The node goes away one request later each time: first while the block is executed, then in every rehearsal.
    for at in 3..REQUESTS_MAX {
        watch.outage.arm(at);
        let handled = watch.handle_next().await;
        assert!(watch.outage.end(), "request {at}: the node was never away, so this shows nothing");
        match handled {
            Ok(is_handled) => {
                assert!(is_handled, "request {at}");
                assert_eq!(watch.engine.cursor().head(), Some(stage.tower.head()));
                assert_eq!(watch.engine.incidents().count(), 0, "what was not tried is not spoken of");
                return;
            }
            Err(error) => assert!(matches!(error, EngineError::Replay(_)), "request {at}: {error}"),
        }
    }
    panic!("the block was never judged");
}
