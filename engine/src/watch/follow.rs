//! The loop around the engine of one chain.
//!
//! In: a source and an engine. Out: one update after the other, each handled to its end before the next is asked for.
//! Must never: skip an update that could not be handled. The cursor stands still until it was.

use super::foresight;
use super::lookout;
use super::open::{self, stopped};
use super::reload::Units;
use super::restore::restore;
use super::{Ended, PAUSE_FIRST, PAUSE_MAX, Shared};
use crate::config::Config;
use crate::engine::{Engine, Event, Scene};
use crate::error::{EngineError, chain};
use cordon_ingest::{Advance, ChainSource, JsonRpc, Pending};
use cordon_model::network::observation::Observation;
use std::sync::Arc;
use tokio::sync::watch::Receiver;
use tokio::sync::{mpsc, watch};

/// A chain that is being watched.
struct Begun {
    source: JsonRpc,
    engine: Engine,
    looks: mpsc::Receiver<Observation>,
    /// The state after the newest judged block, for whoever looks ahead.
    scenes: watch::Sender<Option<Scene>>,
    /// Detectors with the rules that are in force.
    units: Receiver<Units>,
}

/// Watches one chain until `stop` says so or it cannot be followed.
pub(super) async fn run(config: Config, patient: bool, shared: Shared, mut stop: Receiver<bool>) -> Ended {
    let mut begun = match begin(&config, patient, &shared, &mut stop).await {
        Ok(Some(begun)) => begun,
        Ok(None) => return Ended::Done,
        Err(error) => return Ended::AtStart(error),
    };
    match follow(&mut begun, stop).await {
        Ok(()) => Ended::Done,
        Err(error) if error.is_of_the_log() => Ended::Halted(error),
        Err(error) => match begun.engine.halt(chain(&error)).await {
            Ok(()) => Ended::Halted(error),
            Err(failed) => Ended::Halted(failed),
        },
    }
}

async fn begin(
    config: &Config,
    patient: bool,
    shared: &Shared,
    stop: &mut Receiver<bool>,
) -> Result<Option<Begun>, EngineError> {
    let say = &shared.say;
    let Some(nodes) = open::nodes(config, patient, say, stop).await? else { return Ok(None) };
    let mut engine = open::engine(config, &nodes, shared).await?;
    engine.survey().await?;
    restore(config, &mut engine, nodes.provider.clone()).await?;
    let next = engine.cursor().head().map(|head| format!("block {}", head.number.saturating_add(1)));
    let next = next.or_else(|| config.chain.start_block.map(|block| format!("block {block}")));
    let next = next.unwrap_or_else(|| "the newest block".to_owned());
    say(format!("watching chain {} from {next}", config.chain.id));
    let looks = lookout::begin(&config.chain, &nodes);
    let (scenes, seen) = watch::channel(engine.scene());
    if config.chain.pending {
        match nodes.source.pending() {
            Pending::Feed(feed) => drop(tokio::spawn(foresight::run(feed, seen, Arc::clone(say)))),
            Pending::NotAvailable => {
                say("pending transactions cannot be watched: no node pushes them".to_owned());
            }
        }
    }
    let units = shared.units.clone();
    Ok(Some(Begun { source: nodes.source, engine, looks, scenes, units }))
}

/// It may be dropped at any point, since the log knows what was done, so an interrupt does not wait for a node that
/// hangs.
async fn follow(begun: &mut Begun, mut stop: Receiver<bool>) -> Result<(), EngineError> {
    let Begun { source, engine, looks, scenes, units } = begun;
    let mut pause = PAUSE_FIRST;
    loop {
        take_up(units, engine, scenes);
        // Looks that queued up while blocks were judged; they never wait for the head of the chain to be reached.
        while let Ok(seen) = looks.try_recv() {
            engine.observe(seen).await?;
        }
        let stepped = tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(()),
            stepped = step(source, engine) => stepped,
        };
        let trouble = match stepped {
            Ok(Progress::Handled) => {
                scenes.send_replace(engine.scene());
                None
            }
            Ok(Progress::End) => return Ok(()),
            Ok(Progress::AtHead) if engine.is_unfinished() => Some(pause),
            Ok(Progress::AtHead) => {
                tokio::select! {
                    () = stopped(&mut stop) => return Ok(()),
                    Some(seen) = looks.recv() => engine.observe(seen).await?,
                    Ok(()) = units.changed() => units.mark_changed(),
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
                    () = stopped(&mut stop) => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause.saturating_mul(2).min(PAUSE_MAX)
            }
        };
    }
}

/// Takes up rules that changed, between two blocks.
fn take_up(units: &mut Receiver<Units>, engine: &mut Engine, scenes: &watch::Sender<Option<Scene>>) {
    if !units.has_changed().unwrap_or(false) {
        return;
    }
    let fresh = Arc::clone(&units.borrow_and_update());
    match engine.judge_by(&fresh) {
        Ok(()) => drop(scenes.send_replace(engine.scene())),
        // They were built once before they were handed out.
        Err(error) => {
            tracing::error!(error = %chain(&error), "new rules cannot be taken up; the old ones stay")
        }
    }
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
