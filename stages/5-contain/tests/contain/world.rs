//! A practice chain with a pausable vault, an incident with an approved plan, and ways to make the log and the node
//! fail at a chosen point.

use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::{DynProvider, Provider, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_sol_types::SolValue;
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use cordon_contain::levers::adapter;
use cordon_contain::{Authority, Gate, KeystoreSigner, SendPolicy, Sender, Signer, Stamp, create_keystore};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::incident::IncidentEvent;
use cordon_model::log::{
    Actor, Append, Batch, Body, EventLog, FORMAT_VERSION, LogError, LogFuture, Record, Stored, StreamId,
};
use cordon_model::plan::{Certainty, Plan, Verification};
use cordon_model::protocol::{Capability, Grant, LeverKind};
use cordon_model::units::{
    BlockRef, CapabilityId, ChainId, FindingId, IncidentId, PlanHash, ProtocolId, TxRef,
};
use cordon_range::{Chain, ChainConfig, ChainTransport};
use cordon_store::SqliteLog;
use secrecy::SecretString;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tower::Service;

pub(crate) const CHAIN: ChainId = ChainId(31_337);
pub(crate) const ADMIN: Address = Address::repeat_byte(0xad);
pub(crate) const STRANGER: Address = Address::repeat_byte(0x57);

/// A key from a real keystore file; made once per test process because deriving takes a moment.
fn open_signer(seed: u8) -> Arc<dyn Signer> {
    let dir = tempfile::tempdir().unwrap();
    let (key, password) = (B256::with_last_byte(seed), SecretString::from("drill"));
    let path = create_keystore(dir.path(), key, &password).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap();
    Arc::new(KeystoreSigner::decrypt(&path, &password, name.parse().unwrap()).unwrap())
}

pub(crate) fn guardian() -> Arc<dyn Signer> {
    static GUARDIAN: OnceLock<Arc<dyn Signer>> = OnceLock::new();
    GUARDIAN.get_or_init(|| open_signer(0xa1)).clone()
}

pub(crate) fn owner() -> Arc<dyn Signer> {
    static OWNER: OnceLock<Arc<dyn Signer>> = OnceLock::new();
    OWNER.get_or_init(|| open_signer(0xa2)).clone()
}

pub(crate) fn incident_id() -> IncidentId {
    IncidentId::derive(&["31337", "vault", "first"])
}

/// Everything that stands after a crash: the chain and the log.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) vault: Address,
}

impl World {
    /// A chain with a vault that the guardian may pause and the owner may unpause, and an open incident.
    pub(crate) async fn new() -> Self {
        Self::with_config(ChainConfig::default()).await
    }

    pub(crate) async fn with_config(config: ChainConfig) -> Self {
        let chain = Chain::new(config);
        for account in [guardian().address(), owner().address(), ADMIN, STRANGER] {
            chain.fund(account, U256::from(10).pow(U256::from(21)));
        }
        let token_args = ("Drill Dollar", "DUSD", ADMIN).abi_encode_params();
        let token = chain.deploy_as(ADMIN, artifact("DrillToken"), &token_args).unwrap();
        chain.mine();
        let vault_args =
            (token, "Vault", "vDUSD", owner().address(), guardian().address()).abi_encode_params();
        let vault = chain.deploy_as(ADMIN, artifact("CollateralVault"), &vault_args).unwrap();
        chain.mine();
        let log: Arc<dyn EventLog> = Arc::new(SqliteLog::in_memory().await.unwrap());
        let world = Self { chain, log, vault };
        world.say(detected(vault)).await;
        world
    }

    pub(crate) fn capability(&self) -> Capability {
        Capability {
            id: CapabilityId("pause-vault".to_owned()),
            adapter: LeverKind::Pausable,
            target: self.vault,
            authority: guardian().address(),
            undo_authority: Some(owner().address()),
            grant: Grant::Automatic,
        }
    }

    pub(crate) fn pause_plan(&self) -> Plan {
        adapter(LeverKind::Pausable).plan(incident_id(), CHAIN, &self.capability())
    }

    pub(crate) fn unpause_plan(&self) -> Plan {
        adapter(LeverKind::Pausable).undo_plan(incident_id(), CHAIN, &self.capability()).unwrap()
    }

    /// Chain time, as the engine would stamp it.
    pub(crate) fn now(&self) -> Stamp {
        Stamp { at_s: 1_767_225_600, at_block: self.chain.head().number }
    }

    /// Appends an event to the incident, as Cordon.
    pub(crate) async fn say(&self, event: IncidentEvent) {
        self.say_as(Actor::Cordon("test".to_owned()), event).await;
    }

    pub(crate) async fn say_as(&self, actor: Actor, event: IncidentEvent) {
        let stream = StreamId::incident(incident_id());
        let expected_version = self.log.read(stream.clone()).await.unwrap().len() as u64;
        let record = Record {
            format: FORMAT_VERSION,
            at_s: 0,
            at_block: 0,
            actor,
            why: "a test".to_owned(),
            body: Body::Incident(event),
        };
        let append = Append { stream, expected_version, records: vec![record] };
        self.log.commit(Batch { appends: vec![append], cursor: None }).await.unwrap();
    }

    pub(crate) async fn choose(&self, plan: &Plan) -> PlanHash {
        let (hash, rationale) = (plan.hash(), "a test".to_owned());
        self.say(IncidentEvent::PlanChosen { plan: Box::new(plan.clone()), rationale }).await;
        hash
    }

    pub(crate) async fn approve(&self, plan: &Plan) -> PlanHash {
        let plan = self.choose(plan).await;
        self.say(IncidentEvent::PlanApproved { plan }).await;
        plan
    }

    /// Records that a step's effect was seen.
    pub(crate) async fn took_effect(&self, plan: PlanHash, step: u32) {
        let head = self.chain.head();
        let block = BlockRef { number: head.number, hash: head.hash };
        let effects = vec![("it holds".to_owned(), true)];
        let verification = Verification { plan, step, block, certainty: Certainty::Latest, effects };
        self.say(IncidentEvent::EffectsChecked { verification }).await;
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::new(CHAIN, guardian().address()).with_levers(&[self.capability()])
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::new(self.log.clone(), self.authority())
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender_over(self.chain.provider(), self.log.clone(), SendPolicy::default())
    }

    pub(crate) fn sender_over(
        &self,
        provider: DynProvider,
        log: Arc<dyn EventLog>,
        policy: SendPolicy,
    ) -> Sender {
        Sender::new(provider, Gate::new(log.clone(), self.authority()), guardian(), log, policy)
    }

    pub(crate) fn is_paused(&self) -> bool {
        let paused = self.chain.call(self.vault, Bytes::from_static(&[0x5c, 0x97, 0x5a, 0xbb])).unwrap();
        U256::from_be_slice(&paused) == U256::ONE
    }

    /// Transactions of the guardian that are in blocks: the nonce that the chain counts.
    pub(crate) async fn guardian_nonce(&self) -> u64 {
        self.chain.provider().get_transaction_count(guardian().address()).await.unwrap()
    }
}

pub(crate) fn detected(contract: Address) -> IncidentEvent {
    let block = BlockRef { number: 1, hash: B256::ZERO };
    let tx = TxRef { chain_id: CHAIN, block, index: 0, hash: B256::ZERO };
    let evidence = Evidence::Reentry {
        contract,
        outer: None,
        inner: None,
        via: Address::ZERO,
        slots: vec![],
        kind: None,
    };
    let protocol = ProtocolId("vault".to_owned());
    let finding = Finding {
        id: FindingId::derive(&["first"]),
        detector: "reentrancy".to_owned(),
        class: AttackClass::Reentrancy,
        protocol: protocol.clone(),
        contract,
        tx,
        score: Score(900),
        evidence,
        suspects: vec![],
    };
    let (incident, chain_id) = (incident_id(), CHAIN);
    IncidentEvent::Detected { incident, chain_id, protocol, finding: Box::new(finding) }
}

/// Creation code of a committed artifact.
fn artifact(name: &str) -> Bytes {
    let path = format!("{}/../../contracts/artifacts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    artifact["bytecode"].as_str().unwrap().parse().unwrap()
}

/// A fuse that blows at the n-th use: from then on everything that hangs on it is dead, as after `kill -9`.
#[derive(Debug)]
pub(crate) struct Fuse {
    left: AtomicI64,
    /// Whether the use that blows it still takes effect, only its answer being lost.
    after: bool,
    blown: AtomicBool,
}

/// What one use of a fuse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Works,
    WorksWithoutAnswer,
    Dead,
}

impl Fuse {
    pub(crate) fn at(uses: i64, after: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(uses), after, blown: AtomicBool::new(false) })
    }

    pub(crate) fn endless() -> Arc<Self> {
        Self::at(i64::MAX, false)
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.blown.load(Ordering::SeqCst)
    }

    fn take(&self) -> Use {
        if self.is_blown() {
            return Use::Dead;
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Use::Works;
        }
        self.blown.store(true, Ordering::SeqCst);
        if self.after { Use::WorksWithoutAnswer } else { Use::Dead }
    }
}

/// A log whose commits hang on one fuse and whose reads die with any of two.
#[derive(Debug)]
pub(crate) struct FusedLog {
    pub(crate) inner: Arc<dyn EventLog>,
    pub(crate) commits: Arc<Fuse>,
    pub(crate) also: Arc<Fuse>,
}

fn dead() -> LogError {
    LogError::Storage { doing: "dying".to_owned(), source: "the process is dead".into() }
}

impl FusedLog {
    fn alive(&self) -> Result<(), LogError> {
        if self.commits.is_blown() || self.also.is_blown() { Err(dead()) } else { Ok(()) }
    }
}

impl EventLog for FusedLog {
    fn commit(&self, batch: Batch) -> LogFuture<'_, ()> {
        Box::pin(async move {
            self.alive()?;
            match self.commits.take() {
                Use::Works => self.inner.commit(batch).await,
                Use::WorksWithoutAnswer => {
                    self.inner.commit(batch).await?;
                    Err(dead())
                }
                Use::Dead => Err(dead()),
            }
        })
    }

    fn read(&self, stream: StreamId) -> LogFuture<'_, Vec<Stored>> {
        Box::pin(async move {
            self.alive()?;
            self.inner.read(stream).await
        })
    }

    fn streams(&self, prefix: String) -> LogFuture<'_, Vec<StreamId>> {
        self.inner.streams(prefix)
    }

    fn since(&self, position: u64, limit: u32) -> LogFuture<'_, Vec<Stored>> {
        self.inner.since(position, limit)
    }

    fn cursor(&self, chain_id: ChainId) -> LogFuture<'_, Option<cordon_model::log::Cursor>> {
        self.inner.cursor(chain_id)
    }
}

/// A node whose every request hangs on one fuse and that dies with another.
#[derive(Debug, Clone)]
pub(crate) struct FusedNode {
    pub(crate) inner: ChainTransport,
    pub(crate) requests: Arc<Fuse>,
    pub(crate) also: Arc<Fuse>,
}

impl FusedNode {
    pub(crate) fn provider(self) -> DynProvider {
        RootProvider::new(RpcClient::new(self, true)).erased()
    }
}

impl Service<RequestPacket> for FusedNode {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let mut node = self.clone();
        Box::pin(async move {
            let lost = || Err(TransportErrorKind::custom_str("the process is dead"));
            if node.also.is_blown() {
                return lost();
            }
            match node.requests.take() {
                Use::Works => node.inner.call(packet).await,
                Use::WorksWithoutAnswer => {
                    node.inner.call(packet).await?;
                    lost()
                }
                Use::Dead => lost(),
            }
        })
    }
}
