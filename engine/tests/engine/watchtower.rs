//! A scenario of the range with everything that outlives a process (chain, keys, configuration, log file), and the
//! process that watches it.
//!
//! [`Tower`] is what stands for ever; [`Watch`] is one life of a process. A life begins as `cordon watch` begins: the
//! log is opened, the engine is opened over it, and the past is restored. `restore` itself is private to the crate, so
//! [`Watch::begin`] goes the same way over `Engine::remember` and `Engine::resume`.

use crate::chain_edits::{MinedTx, transactions_since};
use crate::faults::{CountedNode, Fuse, FusedLog, Outage};
use crate::node;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_provider::DynProvider;
use cordon_engine::{Config, Engine, EngineError, Entries, Entry, Event, Journal, Stamp};
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::incident::{Incident, IncidentEvent, PlanRecord, Standing, State};
use cordon_model::lane::{Intent, LaneEvent};
use cordon_model::log::{Body, Cursor, EventLog, Record, StreamId};
use cordon_model::notice::{Notice, OutboxEvent};
use cordon_model::plan::Purpose;
use cordon_model::units::{BlockRef, ChainId, IncidentId, NoticeId};
use cordon_notify::{Channel, DeliveryFuture, Moment, Outbox};
use cordon_range::world::{AssetPrice, Facts, LineSide};
use cordon_range::{Chain, Scenario, Setup, World};
use cordon_store::SqliteLog;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The channel that the configuration names and the tests listen on.
const CHANNEL: &str = "terminal";

/// Steps of the attack's script before the first strike; the market has lived a while by then.
pub(crate) const QUIET_STEPS: u64 = 22;

/// Honest blocks that are watched before the first strike, so that simulations have something to replay.
pub(crate) const WATCHED_QUIET_STEPS: u64 = 6;

/// More blocks than any containment takes.
const PATIENCE_BLOCKS: usize = 12;

/// What the operator granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grants {
    /// Levers act by themselves.
    Automatic,
    /// Levers are shown and not pulled, which is the default of the configuration.
    ObserveOnly,
    /// As before, and there is no key at all.
    ObserveOnlyWithoutKeys,
}

/// What stands for ever.
#[derive(Debug)]
pub(crate) struct Tower {
    pub(crate) world: World,
    pub(crate) guardian: Address,
    pub(crate) operator: Address,
    pub(crate) config: Config,
    /// What the channel accepted, over all lives.
    delivered: Arc<Mutex<Vec<NoticeId>>>,
    folder: TempDir,
}

impl Tower {
    /// A scenario that is watched from its first block on.
    pub(crate) fn new(scenario: Scenario, seed: u64) -> Self {
        Self::build(scenario, seed, Grants::Automatic, 0)
    }

    /// The attack, played up to shortly before the first strike and watched from there on.
    pub(crate) fn before_the_attack(seed: u64, grants: Grants) -> Self {
        Self::after_steps(QUIET_STEPS - WATCHED_QUIET_STEPS, seed, grants)
    }

    /// The attack, played for so many steps and watched from there on.
    pub(crate) fn after_steps(unwatched: u64, seed: u64, grants: Grants) -> Self {
        Self::build(Scenario::DonationReentrancy, seed, grants, unwatched)
    }

    fn build(scenario: Scenario, seed: u64, grants: Grants, unwatched: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "range").unwrap();
        let key = |role: &str| {
            let key = keccak256(format!("engine test: {role} of seed {seed}"));
            let password = SecretString::from("range");
            let path = cordon_contain::create_keystore(folder.path(), key, &password).unwrap();
            path.file_stem().unwrap().to_str().unwrap().parse::<Address>().unwrap()
        };
        let (guardian, operator) = (key("guardian"), key("operator"));
        let mut world = scenario.build(Setup { seed, guardian, operator }).unwrap();
        for _ in 0..unwatched {
            world.step().unwrap();
        }
        let text = toml(world.facts(), world.chain().head().number + 1, grants);
        let config = Config::parse(&text, "the test's configuration", folder.path()).unwrap();
        Self { world, guardian, operator, config, delivered: Arc::default(), folder }
    }

    pub(crate) fn chain(&self) -> &Chain {
        self.world.chain()
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        self.config.chain.id
    }

    pub(crate) fn store(&self) -> PathBuf {
        assert!(self.config.store.starts_with(self.folder.path()));
        self.config.store.clone()
    }

    /// The log as the next process would open it.
    pub(crate) async fn open_log(&self) -> Arc<dyn EventLog> {
        Arc::new(SqliteLog::open(&self.store()).await.unwrap())
    }

    /// A life with nothing in its way.
    pub(crate) async fn wake(&self) -> Watch {
        Watch::begin(self, Fuse::solid(), Outage::none(self.chain())).await.unwrap()
    }

    /// Records something in a person's name, as a process of its own beside the one that watches.
    pub(crate) async fn record_as_a_person(&self, incident: IncidentId, event: IncidentEvent) {
        let (log, channels) = (self.open_log().await, [CHANNEL.to_owned()]);
        let journal = Journal::open(log, self.chain_id(), &channels, Box::new(|_| {})).await;
        let entry = Entry::person("on call", "looked at it", event);
        let stamp = Stamp { at_s: 0, at_block: self.chain().head().number };
        journal.unwrap().append(stamp, Entries::of(incident, vec![entry])).await.unwrap();
    }

    /// The configuration's tables for the source.
    fn source_config(&self, start: u64) -> json_rpc::Config {
        let mut config = json_rpc::Config::new(self.chain_id());
        config.start = StartAt::Block(start);
        config
    }

    pub(crate) fn head(&self) -> BlockRef {
        let head = self.chain().head();
        BlockRef { number: head.number, hash: head.hash }
    }

    /// Everything that an account had mined since watching began.
    pub(crate) fn mined_by(&self, account: Address) -> Vec<MinedTx> {
        let first = self.config.chain.start_block.unwrap();
        transactions_since(self.chain(), first).into_iter().filter(|tx| tx.from == account).collect()
    }

    /// `paused()` of a contract.
    pub(crate) fn is_paused(&self, contract: Address) -> bool {
        let answer = self.chain().call(contract, Bytes::from_static(&[0x5c, 0x97, 0x5a, 0xbb])).unwrap();
        B256::from_slice(&answer) == B256::with_last_byte(1)
    }

    /// What must hold however the way to the containment was: one incident, one intent and one nonce per step, one
    /// transaction per step on chain, nothing left over, everybody told once, and everything judged.
    pub(crate) async fn assert_contained_once(&self, watch: &Watch, what: &str) -> Incident {
        let incidents: Vec<&Incident> = watch.engine.incidents().collect();
        assert_eq!(incidents.len(), 1, "{what}: one attack is one incident");
        let incident = incidents[0].clone();
        assert!(incident.has_completed(Purpose::Contain), "{what}: {}", incident.state());
        let containments: Vec<&PlanRecord> =
            incident.plans.values().filter(|record| record.plan.purpose == Purpose::Contain).collect();
        assert_eq!(containments.len(), 1, "{what}: one containment is chosen");
        let record = containments[0];
        let steps = record.plan.steps.len();

        let intents = watch.intents(self.guardian).await;
        let expected: Vec<(u32, u64)> =
            (0..u32::try_from(steps).unwrap()).map(|step| (step, step.into())).collect();
        let found: Vec<(u32, u64)> = intents.iter().map(|intent| (intent.step, intent.nonce)).collect();
        assert_eq!(found, expected, "{what}: one intent and one nonce per step");
        assert!(intents.iter().all(|intent| intent.plan == record.plan.hash()), "{what}");

        let mined = self.mined_by(self.guardian);
        let calls: Vec<Option<Address>> = mined.iter().map(|tx| tx.call.to).collect();
        let wanted: Vec<Option<Address>> = record.plan.steps.iter().map(|step| step.call.to).collect();
        assert_eq!(calls, wanted, "{what}: each step is mined once, in order");
        assert!(mined.iter().all(|tx| tx.success), "{what}: {mined:?}");
        let next_nonce = self.chain().next_nonce(self.guardian);
        assert_eq!(usize::try_from(next_nonce).unwrap(), steps, "{what}: nothing of the guardian waits");
        for step in &record.plan.steps {
            assert!(self.is_paused(step.call.to.unwrap()), "{what}: '{}' took effect", step.name);
        }
        for (step, receipt) in &record.receipts {
            let tx = mined.iter().find(|tx| tx.hash == receipt.tx_hash);
            assert_eq!(tx.map(|tx| tx.block), Some(receipt.block.number), "{what}: receipt of step {step}");
        }
        assert_eq!(record.receipts.len(), steps, "{what}: each step has its receipt");
        assert_eq!(watch.engine.cursor().head(), Some(self.head()), "{what}: everything is judged");
        incident
    }

    /// How often each notice was accepted by the channel.
    pub(crate) fn deliveries(&self) -> BTreeMap<NoticeId, usize> {
        let mut deliveries = BTreeMap::new();
        self.delivered.lock().unwrap().iter().for_each(|id| *deliveries.entry(*id).or_default() += 1);
        deliveries
    }

    /// Every notice that the log asks for was accepted by the channel at least once; how often each was queued is
    /// returned.
    pub(crate) async fn assert_everybody_was_told(
        &self,
        watch: &Watch,
        what: &str,
    ) -> BTreeMap<NoticeId, usize> {
        let mut queued: BTreeMap<NoticeId, usize> = BTreeMap::new();
        for record in watch.records(StreamId::outbox(CHANNEL)).await {
            if let Body::Outbox(OutboxEvent::Queued { notice }) = record.body {
                *queued.entry(notice.id).or_default() += 1;
            }
        }
        let delivered = self.deliveries();
        assert!(!queued.is_empty(), "{what}: an incident is told of");
        for id in queued.keys() {
            assert!(delivered.contains_key(id), "{what}: {id} was never delivered");
        }
        queued
    }
}

/// One life of the process that watches.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) engine: Engine,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) outage: Arc<Outage>,
    provider: DynProvider,
    source: JsonRpc,
    outbox: Outbox,
}

impl Watch {
    /// Starts as `cordon watch` does.
    pub(crate) async fn begin(
        tower: &Tower,
        fuse: Arc<Fuse>,
        outage: Arc<Outage>,
    ) -> Result<Self, EngineError> {
        let log = FusedLog { inner: tower.open_log().await, fuse: Arc::clone(&fuse) };
        let mut watch = Self::open(tower, Arc::new(log), outage).await?;
        watch.fuse = fuse;
        if let Some(head) = watch.remember(tower).await {
            watch.engine.resume(head).await?;
        }
        Ok(watch)
    }

    /// Starts over a log, and takes nothing up from the past.
    pub(crate) async fn open(
        tower: &Tower,
        log: Arc<dyn EventLog>,
        outage: Arc<Outage>,
    ) -> Result<Self, EngineError> {
        let node = CountedNode { inner: tower.chain().transport(), outage: Arc::clone(&outage) };
        let provider = node::provider(node);
        let start = tower.config.chain.start_block.unwrap();
        let source = JsonRpc::from_provider(provider.clone(), tower.source_config(start));
        let engine =
            Engine::open(&tower.config, provider.clone(), Arc::clone(&log), Box::new(|_| {})).await?;
        let inbox = Inbox { delivered: Arc::clone(&tower.delivered) };
        let outbox = Outbox::new(Box::new(inbox));
        Ok(Self { engine, log, fuse: Fuse::solid(), outage, provider, source, outbox })
    }

    /// As the first half of `watch::restore`: executes the blocks of open incidents again. Returns the newest judged
    /// block, where it is still on the chain.
    pub(crate) async fn remember(&mut self, tower: &Tower) -> Option<Arc<Block>> {
        let head = self.engine.cursor().head()?;
        let open = self.engine.incidents().filter(|incident| incident.standing == Standing::Open);
        let findings = open.flat_map(|incident| &incident.findings).map(|finding| finding.tx.block.number);
        let from = findings.min()?.saturating_sub(16).max(head.number.saturating_sub(64));
        let from = from.max(tower.config.chain.start_block.unwrap());
        let mut source = JsonRpc::from_provider(self.provider.clone(), tower.source_config(from));
        let mut cursor = Cursor::new(tower.chain_id());
        let mut newest = None;
        while cursor.head().is_none_or(|at| at.number < head.number) {
            let Ok(Advance::Update(ChainUpdate::Applied(block))) = source.advance(&cursor).await else {
                break;
            };
            let block = Arc::new(*block);
            cursor.push(block.block_ref());
            self.engine.remember(Arc::clone(&block)).await.ok();
            newest = Some(block);
        }
        newest.filter(|block| block.hash == head.hash)
    }

    /// The next update, handled; false at the head.
    pub(crate) async fn handle_next(&mut self) -> Result<bool, EngineError> {
        match self.source.advance(self.engine.cursor()).await? {
            Advance::Update(update) => self.engine.handle(Event::Chain(update)).await.map(|()| true),
            Advance::AtHead | Advance::End => Ok(false),
        }
    }

    /// Follows the chain to its head, then delivers notices.
    pub(crate) async fn follow(&mut self) -> Result<(), EngineError> {
        while self.handle_next().await? {}
        self.deliver().await
    }

    pub(crate) async fn deliver(&mut self) -> Result<(), EngineError> {
        let stamp = self.engine.stamp();
        let moment = Moment { clock_s: stamp.at_s, at_s: stamp.at_s, at_block: stamp.at_block };
        self.outbox.drain(self.log.as_ref(), moment).await?;
        Ok(())
    }

    /// Plays the scenario block by block until there is an incident.
    pub(crate) async fn until_detected(&mut self, tower: &mut Tower) {
        for _ in 0..=QUIET_STEPS {
            tower.world.step().unwrap();
            self.follow().await.unwrap();
            if self.engine.incidents().next().is_some() {
                return;
            }
        }
        panic!("the first strike was not detected");
    }

    /// Plays the scenario on until the incident is contained and its report written.
    pub(crate) async fn until_investigated(&mut self, tower: &mut Tower) {
        for _ in 0..PATIENCE_BLOCKS {
            if self.is_investigated() {
                return;
            }
            tower.world.step().unwrap();
            self.follow().await.unwrap();
        }
        panic!("not contained: {:?}", self.engine.incidents().map(Incident::state).collect::<Vec<_>>());
    }

    /// Mines blocks without the scenario's actors until the incident is contained and its report written.
    pub(crate) async fn until_investigated_in_silence(&mut self, tower: &Tower) {
        for _ in 0..PATIENCE_BLOCKS {
            if self.is_investigated() {
                return;
            }
            tower.chain().mine();
            self.follow().await.unwrap();
        }
        panic!("not contained: {:?}", self.engine.incidents().map(Incident::state).collect::<Vec<_>>());
    }

    pub(crate) fn is_investigated(&self) -> bool {
        self.engine.incidents().any(|incident| incident.state() == State::Investigated)
    }

    /// The one incident.
    pub(crate) fn incident(&self) -> Incident {
        let incidents: Vec<&Incident> = self.engine.incidents().collect();
        assert_eq!(incidents.len(), 1, "one attack is one incident");
        incidents[0].clone()
    }

    pub(crate) async fn records(&self, stream: StreamId) -> Vec<Record> {
        self.log.read(stream).await.unwrap().into_iter().map(|stored| stored.record).collect()
    }

    /// How many notices whose title holds `words` were queued for the channel. One that is queued again is the same
    /// notice, and is not delivered again.
    pub(crate) async fn told(&self, words: &str) -> usize {
        let id = |record: Record| match record.body {
            Body::Outbox(OutboxEvent::Queued { notice }) if notice.title.contains(words) => Some(notice.id),
            _ => None,
        };
        let records = self.records(StreamId::outbox(CHANNEL)).await;
        records.into_iter().filter_map(id).collect::<BTreeSet<_>>().len()
    }

    /// The one incident's events.
    pub(crate) async fn events(&self) -> Vec<IncidentEvent> {
        let records = self.records(StreamId::incident(self.incident().id)).await;
        let event = |record: Record| match record.body {
            Body::Incident(event) => event,
            other => panic!("not of an incident: {other:?}"),
        };
        records.into_iter().map(event).collect()
    }

    pub(crate) async fn lane(&self, account: Address) -> Vec<LaneEvent> {
        let records = self.records(StreamId::lane(self.engine.cursor().chain_id, account)).await;
        let event = |record: Record| match record.body {
            Body::Lane(event) => event,
            other => panic!("not of a lane: {other:?}"),
        };
        records.into_iter().map(event).collect()
    }

    pub(crate) async fn intents(&self, account: Address) -> Vec<Intent> {
        let intent = |event| match event {
            LaneEvent::IntentRecorded { intent } => Some(intent),
            _ => None,
        };
        self.lane(account).await.into_iter().filter_map(intent).collect()
    }
}

/// A channel that accepts everything and remembers it.
#[derive(Debug)]
struct Inbox {
    delivered: Arc<Mutex<Vec<NoticeId>>>,
}

impl Channel for Inbox {
    fn name(&self) -> &str {
        CHANNEL
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, _: u64) -> DeliveryFuture<'a> {
        self.delivered.lock().unwrap().push(notice.id);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What an operator would write, from what an operator knows.
fn toml(facts: &Facts, start_block: u64, grants: Grants) -> String {
    let mut text = vec![
        "[chain]".to_owned(),
        format!("id = {}", facts.chain_id),
        "rpc = \"http://range.invalid\"".to_owned(),
        format!("hardfork = \"{}\"", facts.hardfork),
        format!("start_block = {start_block}"),
        "[[protocol]]".to_owned(),
        format!("id = \"{}\"", facts.protocol),
        "contracts = [".to_owned(),
    ];
    let contract = |c: &cordon_range::world::NamedContract| {
        format!("  {{ address = \"{}\", name = \"{}\" }},", c.address, c.name)
    };
    text.extend(facts.contracts.iter().map(contract));
    text.push("]".to_owned());
    for asset in &facts.assets {
        text.push("[[protocol.asset]]".to_owned());
        text.push(format!("token = \"{}\"", asset.token));
        text.push(format!("symbol = \"{}\"", asset.symbol));
        text.push(format!("decimals = {}", asset.decimals));
        match asset.price {
            AssetPrice::FixedUsd(dollars) => text.push(format!("price = \"{dollars}\"")),
            AssetPrice::ShareOf { underlying } => {
                text.push(format!("share_of = \"{}\"", asset.token));
                text.push(format!("underlying = \"{underlying}\""));
            }
        }
    }
    for line in &facts.account_lines {
        let side = match line.side {
            LineSide::Collateral => "collateral",
            LineSide::Debt => "debt",
        };
        text.push("[[protocol.account]]".to_owned());
        text.push(format!("target = \"{}\"", line.target));
        text.push(format!("function = \"{}\"", line.function));
        text.push(format!("asset = \"{}\"", line.asset));
        text.push(format!("side = \"{side}\""));
    }
    for lever in &facts.pause_levers {
        text.push("[[protocol.lever]]".to_owned());
        text.push(format!("id = \"{}\"", lever.id));
        text.push("type = \"pausable\"".to_owned());
        text.push(format!("target = \"{}\"", lever.target));
        text.push(format!("authority = \"{}\"", lever.authority));
        text.push(format!("undo_authority = \"{}\"", lever.undo_authority));
        if grants == Grants::Automatic {
            text.push("grant = \"automatic\"".to_owned());
        }
    }
    for detector in ["value-loss", "reentrancy", "rate-jump"] {
        text.push(format!("[[detector]]\ntype = \"{detector}\""));
    }
    if grants != Grants::ObserveOnlyWithoutKeys {
        for account in [facts.guardian, facts.operator] {
            text.push("[[signer]]".to_owned());
            text.push(format!("address = \"{account}\""));
            text.push(format!("keystore = \"{account:#x}.json\""));
            text.push("password_file = \"password\"".to_owned());
        }
    }
    text.push("[[channel]]\ntype = \"terminal\"".to_owned());
    text.join("\n")
}
