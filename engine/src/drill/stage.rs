//! The stage of a defended drill: the range's world, Cordon's engine, and the one step that moves both.
//!
//! In: a scenario and keys. Out: told events. A step mines one block and then lets the engine follow until it stands at
//! the head, so that the order of events never depends on timing. Must never: let the engine see anything but the node.

use super::Drill;
use super::config;
use super::tell::DrillEvent;
use crate::config::Config;
use crate::engine::{Engine, Event};
use crate::error::EngineError;
use crate::journal::News;
use crate::render::{self, Names};
use alloy_primitives::{Address, B256, keccak256};
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::incident::Incident;
use cordon_model::log::{Body, EventLog, Record};
use cordon_model::units::ChainId;
use cordon_notify::channels::terminal::TerminalChannel;
use cordon_notify::{Moment, Outbox};
use cordon_range::{Setup, World};
use cordon_store::SqliteLog;
use secrecy::SecretString;
use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Password of the drill's keystores. They live in a temporary folder for the length of one drill and hold keys that
/// anybody can derive from the seed.
const PASSWORD: &str = "drill";

/// Most steps that the stage waits for anything: three times what the longest part of a scenario takes.
const PATIENCE_STEPS: usize = 200;

/// Most records that one step writes: a hundred times what the longest step of a drill does.
const RECORDS_PER_STEP_MAX: u32 = 10_000;

/// The drill's own keys, derived from the seed, as keystores in a folder of their own.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) folder: TempDir,
    pub(super) guardian: Address,
    pub(super) operator: Address,
    keystores: Vec<(Address, PathBuf)>,
}

impl Keys {
    pub(super) fn new(seed: u64) -> Result<Self, EngineError> {
        let file =
            |doing: &'static str, path: PathBuf| move |source| EngineError::File { doing, path, source };
        let folder = TempDir::with_prefix("cordon-drill-").map_err(file("create", std::env::temp_dir()))?;
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).map_err(file("write", password))?;
        let (guardian, first) = keystore(&folder, seed, "guardian")?;
        let (operator, second) = keystore(&folder, seed, "operator")?;
        Ok(Self { folder, guardian, operator, keystores: vec![(guardian, first), (operator, second)] })
    }
}

fn keystore(folder: &TempDir, seed: u64, role: &str) -> Result<(Address, PathBuf), EngineError> {
    let key: B256 = keccak256(format!("cordon drill key: {role} of seed {seed}"));
    let password = SecretString::from(PASSWORD.to_owned());
    let failed = |source| EngineError::Key { address: Address::ZERO, source };
    let path = cordon_contain::create_keystore(folder.path(), key, &password).map_err(failed)?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let expected = || "a keystore that is named after its address".to_owned();
    let address = stem.parse().map_err(|_| EngineError::Argument {
        what: "keystore",
        found: stem.to_owned(),
        expected: expected(),
    })?;
    Ok((address, path))
}

/// What the engine's observer collects until it is told.
type Heard = Arc<Mutex<Vec<(Incident, Record)>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) engine: Engine,
    source: JsonRpc,
    pub(super) log: Arc<dyn EventLog>,
    outbox: Outbox,
    shown: Shown,
    heard: Heard,
    pub(super) names: Names,
    /// How much of the log has been told.
    position: u64,
    /// Longest time that the engine took for one block, with the block.
    pub(super) slowest: (u64, Duration),
    /// Everything told so far, as text lines of the timeline.
    pub(super) timeline: Vec<String>,
}

/// What the terminal channel has shown.
#[derive(Debug, Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Stage {
    pub(super) async fn open(drill: Drill, keys: &Keys, setup: Setup) -> Result<Self, EngineError> {
        let world = drill.scenario.build(setup)?;
        let names = keys.keystores.iter().map(|(address, path)| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            (*address, name.to_owned())
        });
        let text = config::toml(world.facts(), &names.collect::<Vec<_>>());
        let config = Config::parse(&text, "the drill's configuration", keys.folder.path())?;
        let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&config.store).await?);
        let provider = world.chain().provider();
        let mut following = json_rpc::Config::new(ChainId(world.facts().chain_id));
        following.start = StartAt::Block(world.facts().start_block);
        let heard = Heard::default();
        let hearing = Arc::clone(&heard);
        let observer = Box::new(move |news: News<'_>| {
            let News::Incident(incident, record) = news else { return };
            hearing.lock().unwrap_or_else(PoisonError::into_inner).push((incident.clone(), record.clone()));
        });
        let mut engine = Engine::open(&config, provider.clone(), Arc::clone(&log), observer).await?;
        for name in cordon_range::artifacts::names() {
            engine.learn_abi(name, cordon_range::artifacts::json(name).unwrap_or_default())?;
        }
        let shown = Shown::default();
        let outbox = Outbox::new(Box::new(TerminalChannel::new("terminal", Box::new(shown.clone()))));
        let source = JsonRpc::from_provider(provider, following);
        let (slowest, names) = ((0, Duration::ZERO), Names::of(&config.protocols));
        Ok(Self {
            world,
            engine,
            source,
            log,
            outbox,
            shown,
            heard,
            names,
            position: 0,
            slowest,
            timeline: Vec::new(),
        })
    }

    /// Tells an event and keeps it for the report.
    pub(super) fn tell(&mut self, event: DrillEvent, tell: &mut (dyn FnMut(DrillEvent) + Send)) {
        self.timeline.push(super::text(&event));
        tell(event);
    }

    /// Mines one block with whatever waits, and lets the engine follow.
    pub(super) async fn step(
        &mut self,
        tell: &mut (dyn FnMut(DrillEvent) + Send),
    ) -> Result<(), EngineError> {
        let outcome = self.world.step()?;
        for text in outcome.narration {
            self.tell(DrillEvent::Scene { block: outcome.block.number, text }, tell);
        }
        let started = Instant::now();
        while let Advance::Update(update) = self.source.advance(self.engine.cursor()).await? {
            self.engine.handle(Event::Chain(update)).await?;
        }
        let took = started.elapsed();
        if took > self.slowest.1 {
            self.slowest = (outcome.block.number, took);
        }
        self.hear(tell).await
    }

    /// Tells what the engine recorded, and delivers notices.
    pub(super) async fn hear(
        &mut self,
        tell: &mut (dyn FnMut(DrillEvent) + Send),
    ) -> Result<(), EngineError> {
        let mut heard: VecDeque<_> =
            std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner)).into();
        for stored in self.log.since(self.position, RECORDS_PER_STEP_MAX).await? {
            self.position = stored.position;
            match &stored.record.body {
                Body::Incident(_) => {
                    if let Some((incident, record)) = heard.pop_front() {
                        self.tell(DrillEvent::record(&incident, &record, &self.names), tell);
                    }
                }
                Body::Lane(event) => {
                    let text = self.names.apply(&render::lane(event));
                    self.tell(DrillEvent::Lane { block: stored.record.at_block, text }, tell);
                }
                Body::Outbox(_) | Body::Chain(_) => {}
            }
        }
        let stamp = self.engine.stamp();
        let moment = Moment { clock_s: stamp.at_s, at_s: stamp.at_s, at_block: stamp.at_block };
        self.outbox.drain(self.log.as_ref(), moment).await?;
        let shown = self.names.apply(&self.shown.take());
        if !shown.is_empty() {
            self.tell(DrillEvent::Notice { block: stamp.at_block, text: shown }, tell);
        }
        Ok(())
    }

    /// Steps until `done` holds for the engine.
    pub(super) async fn until(
        &mut self,
        what: &str,
        tell: &mut (dyn FnMut(DrillEvent) + Send),
        done: impl Fn(&Engine) -> bool,
    ) -> Result<(), EngineError> {
        for _ in 0..PATIENCE_STEPS {
            if done(&self.engine) {
                return Ok(());
            }
            self.step(tell).await?;
        }
        Err(EngineError::Refused(format!("the drill waited {PATIENCE_STEPS} blocks for this: {what}")))
    }
}
