//! Opening one chain: its nodes, its engine, and what an earlier process left.
//!
//! In: a configuration. Out: a source and an engine that stand where the log says. Must never: open keys or the log
//! before the node has answered as the configured chain.

use super::{PAUSE_FIRST, PAUSE_MAX, Say, Shared};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::journal::{News, Observer};
use crate::node::{self, Nodes};
use crate::render::{self, Names};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch::Receiver;

/// Connects to the chain's nodes. `patient` waits for nodes that do not answer, so that the other chains go on; `None`
/// where `stop` came first.
pub(super) async fn nodes(
    config: &Config,
    patient: bool,
    say: &Say,
    stop: &mut Receiver<bool>,
) -> Result<Option<Nodes>, EngineError> {
    let mut pause = PAUSE_FIRST;
    loop {
        let opened = tokio::select! {
            biased;
            () = stopped(stop) => return Ok(None),
            opened = node::open(config, node::start(config)) => opened,
        };
        match opened {
            Ok(nodes) => return Ok(Some(nodes)),
            Err(EngineError::Source(error)) if patient && error.is_transient() => {
                if pause == PAUSE_FIRST {
                    say(format!("no node answers, trying again: {}", chain(&error)));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stopped(stop) => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// Resolves when the process is asked to stop, or whoever could ask is gone.
pub(super) async fn stopped(stop: &mut Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _asked = stop.wait_for(|stop| *stop).await;
}

/// The engine of the chain, standing where the log says.
pub(super) async fn engine(config: &Config, nodes: &Nodes, shared: &Shared) -> Result<Engine, EngineError> {
    let observer = observer(shared, Names::of(&config.protocols));
    let engine = Engine::open(config, nodes.provider.clone(), Arc::clone(&shared.log), observer).await?;
    let monitors = config.chain.network.build(config.chain.timing)?;
    Ok(engine.with_reports(&config.reports).with_monitors(monitors).with_quorum(nodes.quorum.clone()))
}

/// Tells people of every record, of every change of state, and of what happens to the chain itself. Rings the bell of the
/// outboxes.
pub(super) fn observer(shared: &Shared, names: Names) -> Observer {
    let (say, bell) = (Arc::clone(&shared.say), shared.bell.clone());
    let mut states = BTreeMap::new();
    Box::new(move |news| {
        bell.send_replace(());
        let (incident, record) = match news {
            News::Incident(incident, record) => (incident, record),
            News::Chain(notices) => return render::notices(notices, &names).into_iter().for_each(&*say),
        };
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
