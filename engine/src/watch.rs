//! `cordon watch`: the loop around the engine for a real node.
//!
//! In: a configuration. Out: lines for people as things happen, until it is interrupted. A failing node is waited for;
//! a failing log ends the process, because nothing may happen that is not recorded. Must never: skip an update that
//! could not be handled. The cursor stands still until it was.

use crate::config::Config;
use crate::engine::{Engine, Event};
use crate::error::{EngineError, chain};
use crate::journal::Observer;
use crate::render::{self, Names};
use alloy_provider::DynProvider;
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::incident::Standing;
use cordon_model::log::{Cursor, EventLog};
use cordon_notify::{ChannelConfig, Moment, Outbox};
use cordon_replay::{ReplayError, StateError};
use cordon_store::SqliteLog;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender, channel};

/// First pause after a failure of the node; it doubles up to [`PAUSE_MAX`]. Shorter than any block time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause after failures of the node: one slot of Ethereum.
const PAUSE_MAX: Duration = Duration::from_secs(12);

/// How often an outbox looks for notices: people do not notice a quarter of a second.
const OUTBOX_PERIOD: Duration = Duration::from_millis(250);

/// Most blocks that are executed again after a restart to know what an open incident is about. It is time that the
/// containment waits for, so it is kept to what nodes without an archive hold and a few seconds.
const BACKFILL_BLOCKS_MAX: u64 = 64;

/// Failures of the node that are waited out while blocks are executed again: two seconds of it.
const REMEMBER_FAILURES_MAX: u32 = 8;

/// Blocks before the first finding that are executed again after a restart, for honest transactions to try.
const BACKFILL_HONEST_BLOCKS: u64 = 16;

/// Watches until `stop` says so or the log fails.
///
/// # Errors
/// [`EngineError`] where the configuration, a key, the log or the node cannot be used at the start, the chain was
/// reorganised beyond memory, or the log fails later.
pub async fn watch(
    config: &Config,
    say: Box<dyn Fn(String) + Send + Sync>,
    stop: Receiver<bool>,
) -> Result<(), EngineError> {
    let say: Arc<dyn Fn(String) + Send + Sync> = Arc::from(say);
    // Loading the KZG setup takes seconds of computing. Neither a restart in the middle of an incident nor the end of
    // the process may wait for it, so it has a thread of its own that nobody joins.
    drop(std::thread::spawn(cordon_replay::warm_up));
    let outboxes = ChannelConfig::build_all(&config.channels, &cordon_notify::environment)?;
    let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&config.store).await?);
    let (mut source, provider) =
        JsonRpc::connect(&config.chain.rpc, source_config(config, start(config))).await?;
    let observer = observer(Arc::clone(&say), Names::of(&config.protocols));
    let engine = Engine::open(config, provider.clone(), Arc::clone(&log), observer).await?;
    let mut engine = engine.with_reports(&config.reports);
    let (ended, over) = channel(false);
    let deliveries: Vec<_> = outboxes
        .into_iter()
        .map(|outbox| tokio::spawn(deliver(Outbox::new(outbox), Arc::clone(&log), over.clone())))
        .collect();
    restore(config, &mut engine, provider).await?;
    let next = engine.cursor().head().map(|head| format!("block {}", head.number.saturating_add(1)));
    let next = next.or_else(|| config.chain.start_block.map(|block| format!("block {block}")));
    say(format!(
        "watching chain {} from {}",
        config.chain.id,
        next.unwrap_or_else(|| "the newest block".to_owned())
    ));
    let outcome = follow(&mut source, &mut engine, stop).await;
    end(ended, deliveries).await;
    outcome
}

async fn end(ended: Sender<bool>, deliveries: Vec<tokio::task::JoinHandle<()>>) {
    ended.send_replace(true);
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            tracing::warn!(%error, "a delivery task did not end well; its notices stay queued");
        }
    }
}

/// The loop: one update after the other, each handled to its end before the next is asked for. It may be dropped at
/// any point, since the log knows what was done, so an interrupt does not wait for a node that hangs.
async fn follow(
    source: &mut JsonRpc,
    engine: &mut Engine,
    mut stop: Receiver<bool>,
) -> Result<(), EngineError> {
    let mut pause = PAUSE_FIRST;
    while !*stop.borrow_and_update() {
        let stepped = tokio::select! {
            biased;
            changed = stop.changed() => if changed.is_err() { return Ok(()) } else { continue },
            stepped = step(source, engine) => stepped,
        };
        let trouble = match stepped {
            Ok(Progress::Handled) => None,
            Ok(Progress::End) => return Ok(()),
            Ok(Progress::AtHead) if engine.is_unfinished() => Some(pause),
            Ok(Progress::AtHead) => {
                tokio::select! {
                    changed = stop.changed() => if changed.is_err() { return Ok(()) },
                    hint = source.wait() => if let Err(error) = hint { tracing::warn!(error = %chain(&error), "hint lost") },
                }
                None
            }
            Err(error) if is_transient(&error) => {
                tracing::warn!(error = %chain(&error), pause_ms = pause.as_millis(), "trying again");
                Some(pause)
            }
            Err(error) => return Err(error),
        };
        pause = match trouble {
            None => PAUSE_FIRST,
            Some(pause) => {
                tokio::select! {
                    changed = stop.changed() => if changed.is_err() { return Ok(()) },
                    () = tokio::time::sleep(pause) => {}
                }
                pause.saturating_mul(2).min(PAUSE_MAX)
            }
        };
    }
    Ok(())
}

enum Progress {
    Handled,
    AtHead,
    End,
}

async fn step(source: &mut JsonRpc, engine: &mut Engine) -> Result<Progress, EngineError> {
    match source.advance(engine.cursor()).await? {
        Advance::Update(update) => {
            engine.handle(Event::Chain(update)).await?;
            Ok(Progress::Handled)
        }
        Advance::AtHead => {
            engine.retry().await?;
            Ok(Progress::AtHead)
        }
        Advance::End => Ok(Progress::End),
    }
}

/// Whether trying again can help: the node was away or lagged, or somebody else wrote first. A failing log or a wrong
/// configuration is no such case.
fn is_transient(error: &EngineError) -> bool {
    match error {
        EngineError::Source(error) => error.is_transient(),
        EngineError::Replay(_) | EngineError::Node { .. } => true,
        error => !error.is_of_the_log() && matches!(error, EngineError::Journal(_) | EngineError::Log(_)),
    }
}

fn start(config: &Config) -> StartAt {
    config.chain.start_block.map_or(StartAt::Head, StartAt::Block)
}

fn source_config(config: &Config, start: StartAt) -> json_rpc::Config {
    let mut source = json_rpc::Config::new(config.chain.id);
    source.start = start;
    source.poll_interval_ms = NonZeroU64::new(config.chain.poll_interval_ms).unwrap_or(NonZeroU64::MIN);
    source
}

/// After a restart: executes the blocks of open incidents again, so that they can be simulated, and takes up what was
/// left undone.
///
/// # Errors
/// [`EngineError`] where the node does not give the blocks, or the log fails.
pub async fn restore(config: &Config, engine: &mut Engine, provider: DynProvider) -> Result<(), EngineError> {
    let Some(head) = engine.cursor().head() else { return Ok(()) };
    let open = engine.incidents().filter(|incident| incident.standing == Standing::Open);
    let findings = open.flat_map(|incident| &incident.findings).map(|finding| finding.tx.block.number);
    let Some(first) = findings.min() else { return Ok(()) };
    let oldest = head.number.saturating_sub(BACKFILL_BLOCKS_MAX);
    let from = first.saturating_sub(BACKFILL_HONEST_BLOCKS).max(oldest);
    let newest = remember(config, engine, provider, from..=head.number).await?;
    match newest.filter(|block| block.hash == head.hash) {
        Some(block) => engine.resume(block).await,
        // The chain moved on while nobody watched; the loop will revert what left and go on from there.
        None => Ok(()),
    }
}

/// Executes judged blocks again without judging them, and returns the newest. A request that fails is tried again;
/// a block whose state the node no longer has is passed over and said so.
pub(crate) async fn remember(
    config: &Config,
    engine: &mut Engine,
    provider: DynProvider,
    blocks: RangeInclusive<u64>,
) -> Result<Option<Arc<Block>>, EngineError> {
    let first = (*blocks.start()).max(1);
    let mut source = JsonRpc::from_provider(provider, source_config(config, StartAt::Block(first)));
    let mut cursor = Cursor { chain_id: config.chain.id, recent: Vec::new() };
    let mut newest: Option<Arc<Block>> = None;
    let mut failures = 0;
    while cursor.head().is_none_or(|at| at.number < *blocks.end()) {
        let block = match source.advance(&cursor).await {
            Ok(Advance::Update(ChainUpdate::Applied(block))) => Arc::new(*block),
            Ok(Advance::Update(_) | Advance::AtHead | Advance::End) => break,
            Err(error) if error.is_transient() && failures < REMEMBER_FAILURES_MAX => {
                failures += 1;
                tracing::warn!(error = %chain(&error), "trying again");
                tokio::time::sleep(PAUSE_FIRST).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        cursor.push(block.block_ref());
        let mut first = true;
        while let Err(error) = engine.remember(Arc::clone(&block)).await {
            // Without the attack's own block nothing can be simulated for the rest of this life, so one failing request
            // must not cost it. A node that refuses has dropped the state; it is asked once more and not waited for.
            let waits = is_passing(&error) && failures < REMEMBER_FAILURES_MAX;
            if !first && !waits {
                tracing::warn!(block = block.number, error = %chain(&error), "could not be executed again");
                break;
            }
            first = false;
            if waits {
                failures += 1;
                tokio::time::sleep(PAUSE_FIRST).await;
            }
        }
        newest = Some(block);
    }
    Ok(newest)
}

/// Whether a block could not be executed because a request failed on its way, and not because the node refused it.
fn is_passing(error: &EngineError) -> bool {
    match error {
        EngineError::Replay(ReplayError::State { source: StateError::Node(error), .. }) => {
            !error.is_error_resp()
        }
        EngineError::Replay(ReplayError::State { source: StateError::Timeout { .. }, .. }) => true,
        _ => false,
    }
}

/// Delivers notices of one channel at its own pace, until the engine has ended and the queue was tried once more.
async fn deliver(mut outbox: Outbox, log: Arc<dyn EventLog>, mut over: Receiver<bool>) {
    loop {
        let last = *over.borrow();
        let clock_s = unix_now_s();
        if let Err(error) = outbox.drain(log.as_ref(), Moment { clock_s, at_s: clock_s, at_block: 0 }).await {
            tracing::warn!(channel = outbox.channel_name(), error = %chain(&error), "outbox");
        }
        if last {
            return;
        }
        tokio::select! {
            changed = over.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(OUTBOX_PERIOD) => {}
        }
    }
}

fn unix_now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Tells people of every record, and of every change of state.
fn observer(say: Arc<dyn Fn(String) + Send + Sync>, names: Names) -> Observer {
    let mut states = std::collections::BTreeMap::new();
    Box::new(move |incident, record| {
        let cordon_model::log::Body::Incident(event) = &record.body else { return };
        let (title, lines) = render::event(event);
        say(format!("block {} {}: {}", record.at_block, incident.id, names.apply(&title)));
        lines.into_iter().for_each(|line| say(format!("    {}", names.apply(&line))));
        let state = incident.state();
        if states.insert(incident.id, state) != Some(state) {
            say(format!("block {} {} is {state}", record.at_block, incident.id));
        }
    })
}
