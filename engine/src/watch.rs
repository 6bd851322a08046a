//! `cordon watch`: every configured chain followed at once, each on its own.
//!
//! In: one configuration per chain. Out: lines for people as things happen, until it is interrupted. A failing node is
//! waited for; a failing log ends the process, because nothing may happen that is not recorded. Must never: let one
//! chain wait for another. They share the log, the outboxes and the keys, and nothing else.

mod follow;
mod foresight;
mod lookout;
mod open;
mod reload;
mod restore;

pub(crate) use restore::remember;
pub use restore::restore;

use crate::config::Config;
use crate::error::{EngineError, chain};
use cordon_model::log::EventLog;
use cordon_notify::{ChannelConfig, Moment, Outbox};
use cordon_store::SqliteLog;
use reload::{RuleFiles, Units};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinSet;

/// First pause after a failure of the node; it doubles up to [`PAUSE_MAX`]. Shorter than any block time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause after failures of the node: one slot of Ethereum.
const PAUSE_MAX: Duration = Duration::from_secs(12);

/// How often an outbox looks for notices without being called: people who decide on the command line queue theirs from
/// another process, and do not notice a quarter of a second.
const OUTBOX_PERIOD: Duration = Duration::from_millis(250);

/// Tells a person something, one line.
type Say = Arc<dyn Fn(String) + Send + Sync>;

/// What the chains have in common, and nothing else.
#[derive(Clone)]
struct Shared {
    log: Arc<dyn EventLog>,
    say: Say,
    /// Detectors with the rules that are in force.
    units: Receiver<Units>,
    /// Rung when notices may have been queued, so that an outbox does not wait for its next look.
    bell: Sender<()>,
}

/// Why a chain is no longer watched.
#[derive(Debug)]
enum Ended {
    /// It was asked to stop, or its source is finished.
    Done,
    /// It could not be begun.
    AtStart(EngineError),
    /// It was followed and cannot be followed further.
    Halted(EngineError),
}

/// Watches until `stop` says so, the log fails, or no chain is left that can be followed.
///
/// # Errors
/// [`EngineError`] where the configuration, a key, the log or the node of a chain cannot be used at the start, and where
/// the log fails later. A chain that cannot be followed further (a reorganisation beyond memory) halts, which people are
/// told, while the others go on; when the last one halts, its error is returned.
pub async fn watch(
    configs: &[Config],
    say: Box<dyn Fn(String) + Send + Sync>,
    stop: Receiver<bool>,
) -> Result<(), EngineError> {
    let say: Say = Arc::from(say);
    let Some(first) = configs.first() else { return Ok(()) };
    cordon_replay::warm_up();
    let outboxes = ChannelConfig::build_all(&first.channels, &cordon_notify::environment)?;
    let log: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&first.store).await?);
    let (ended, over) = channel(false);
    let (bell, rung) = channel(());
    let deliveries: Vec<_> = outboxes
        .into_iter()
        .map(|outbox| {
            tokio::spawn(deliver(Outbox::new(outbox), Arc::clone(&log), rung.clone(), over.clone()))
        })
        .collect();
    let (ready, units) = channel(Arc::new(first.detectors.clone()));
    let files = RuleFiles::new(Arc::clone(&units.borrow()));
    let reload = tokio::spawn(reload::run(files, ready, Arc::clone(&say), over.clone()));
    let mut chains = JoinSet::new();
    for config in configs {
        let said = Arc::clone(&say);
        let id = config.chain.id;
        let tell: Say = match configs.len() {
            1 => said,
            _ => Arc::new(move |line| said(format!("chain {id}: {line}"))),
        };
        let patient = configs.len() > 1;
        let shared = Shared { log: Arc::clone(&log), say: tell, units: units.clone(), bell: bell.clone() };
        chains.spawn(follow::run(config.clone(), patient, shared, stop.clone()));
    }
    let outcome = attend(&mut chains).await;
    chains.shutdown().await;
    end(ended, deliveries).await;
    if let Err(error) = reload.await {
        tracing::warn!(%error, "looking at rule files did not end well");
    }
    outcome
}

/// Waits for the chains to end. What cannot begin, and a log that fails, ends all of them.
async fn attend(chains: &mut JoinSet<Ended>) -> Result<(), EngineError> {
    let mut halted = None;
    while let Some(ended) = chains.join_next().await {
        match ended {
            Ok(Ended::Done) => {}
            Ok(Ended::AtStart(error)) => return Err(error),
            Ok(Ended::Halted(error)) if error.is_of_the_log() => return Err(error),
            Ok(Ended::Halted(error)) => halted = Some(error),
            Err(error) => tracing::error!(%error, "a chain's task did not end well"),
        }
    }
    halted.map_or(Ok(()), Err)
}

async fn end(ended: Sender<bool>, deliveries: Vec<tokio::task::JoinHandle<()>>) {
    ended.send_replace(true);
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            tracing::warn!(%error, "a delivery task did not end well; its notices stay queued");
        }
    }
}

/// Delivers notices of one channel at its own pace, until the engine has ended and the queue was tried once more.
async fn deliver(
    mut outbox: Outbox,
    log: Arc<dyn EventLog>,
    mut rung: Receiver<()>,
    mut over: Receiver<bool>,
) {
    loop {
        let last = *over.borrow();
        // What is queued while the outbox is being emptied rings once more.
        rung.mark_unchanged();
        let clock_s = unix_now_s();
        if let Err(error) = outbox.drain(log.as_ref(), Moment { clock_s, at_s: clock_s, at_block: 0 }).await {
            tracing::warn!(channel = outbox.channel_name(), error = %chain(&error), "outbox");
        }
        if last {
            return;
        }
        tokio::select! {
            changed = over.changed() => if changed.is_err() { return },
            // The watch itself holds the bell until it is over.
            Ok(()) = rung.changed() => {}
            () = tokio::time::sleep(OUTBOX_PERIOD) => {}
        }
    }
}

fn unix_now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
