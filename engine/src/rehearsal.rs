//! Rehearsals: what detectors want to be tried because of a transaction, tried on the state after its block.
//!
//! In: a judged transaction, and the state after its block. Out: what the detectors say of it then. Nothing of what is tried stays
//! anywhere but in their findings. Must never: hold up the watch or lose a block. A rehearsal that the node cannot serve is held
//! once more on a state that is read afresh, and is then named as not held. It is not retried with its block, as a block is that
//! cannot be executed: a node that has given up the state of that block would stop the watch for good, and whoever queues a call
//! that reads more than a node can serve would stop it at will.

use crate::engine::Engine;
use crate::error::chain;
use alloy_primitives::B256;
use cordon_detect::{DetectorSet, Planned};
use cordon_model::block::Block;
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_replay::{Fork, ReplayError, Views};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest that rehearsals may keep one block waiting: a slot of Ethereum, so that the watch falls behind by one block at most.
/// What they call pays no gas, so that only this limits what they read from a node.
const REHEARSALS_MAX: Duration = Duration::from_secs(12);

/// Rehearsals of one block.
#[derive(Debug)]
pub(crate) struct Rehearsals<'a> {
    engine: &'a Engine,
    detectors: &'a Arc<DetectorSet>,
    block: &'a Block,
    until: Instant,
}

impl Engine {
    /// Those of a block that was just executed.
    pub(crate) fn rehearsals<'a>(
        &'a self,
        detectors: &'a Arc<DetectorSet>,
        block: &'a Block,
    ) -> Rehearsals<'a> {
        let now = Instant::now();
        let until = now.checked_add(REHEARSALS_MAX).unwrap_or(now);
        Rehearsals { engine: self, detectors, block, until }
    }
}

impl Rehearsals<'_> {
    /// Holds those that a transaction asks for.
    pub(crate) async fn of(&self, execution: &Execution) -> Vec<Finding> {
        let mut held = Vec::new();
        for planned in self.detectors.rehearsals(execution) {
            match timeout_at(self.until, self.hold(&planned)).await {
                Ok(Ok(executions)) => held.push((planned, executions)),
                Ok(Err(why)) => say(execution.tx.hash, &planned, &why),
                Err(_) => say(execution.tx.hash, &planned, "it takes longer than a block may wait"),
            }
        }
        let findings = self.detectors.rehearsed(execution, held);
        for finding in &findings {
            // What wakes nobody is in no incident, and still worth a line: it says what will happen.
            tracing::info!(tx = %execution.tx.hash, score = %finding.score, what = %finding.evidence, "rehearsed");
        }
        findings
    }

    async fn hold(&self, planned: &Planned) -> Result<Vec<Execution>, String> {
        let Engine { replayer, provider, rules, .. } = self.engine;
        if !replayer.executes() {
            return Err("blocks are not executed here but traced by the node".to_owned());
        }
        let kept = replayer.fork_head().filter(|fork| fork.base() == self.block.block_ref());
        if let Some(fork) = kept {
            match self.play(fork, planned).await {
                Ok(executions) => return Ok(executions),
                Err(error) => tracing::warn!(error = %chain(&error), "rehearsed once more"),
            }
        }
        let fork = Fork::at_node(provider.clone(), rules, self.block).map_err(|error| chain(&error))?;
        self.play(fork, planned).await.map_err(|error| chain(&error))
    }

    /// The executions up to the first that fails.
    async fn play(&self, mut fork: Fork, planned: &Planned) -> Result<Vec<Execution>, ReplayError> {
        fork.wait_until(planned.rehearsal.due);
        let mut executions = Vec::new();
        for step in &planned.rehearsal.calls {
            let detectors = Arc::clone(self.detectors);
            let views: Views = Arc::new(move |tried: &Execution| detectors.rehearsal_views(tried));
            let execution = fork.call_viewed(step.from, &step.call, views).await?;
            let goes_on = execution.status.is_success();
            executions.push(execution);
            if !goes_on {
                break;
            }
        }
        Ok(executions)
    }
}

fn say(tx: B256, planned: &Planned, what: &str) {
    tracing::warn!(detector = planned.name, %tx, id = %planned.rehearsal.id, %what, "could not be rehearsed");
}
