//! Rehearsals: what detectors want to be tried because of a transaction, tried on the state after its block.
//!
//! In: the transactions of a block, and the state after it. Out: what the detectors say of them then. Nothing of what is tried
//! stays anywhere but in their findings. Must never: hold up the watch for good, or lose a block.
//!
//! A state that cannot be read fails the block, which is then judged again like one that could not be executed: what a queue will
//! do is said nowhere else. But a node may have given up that state, and who queues a call may have it read more than any node
//! serves. So after a few failures, or when the time is up, it is named as not rehearsed and the block passes.

use crate::engine::Engine;
use crate::error::{EngineError, chain};
use cordon_detect::{DetectorSet, Planned};
use cordon_model::block::Block;
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::units::BlockRef;
use cordon_replay::{Fork, ReplayError, Views};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest that rehearsals may keep one block waiting: a slot of Ethereum, so that the watch falls behind by one block at most.
/// What they call pays no gas, so that only this limits what they read from a node.
const REHEARSALS_MAX: Duration = Duration::from_secs(12);

/// Times that a block is judged again because a rehearsal failed. The source waits for a node that is away before it hands out the
/// block again, so that what fails this often is not there any more.
const FAILURES_MAX: u32 = 3;

/// Failed rehearsals of the newest block that had any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Failures {
    block: Option<BlockRef>,
    times: u32,
}

impl Failures {
    /// One more; true where the block is to be judged again.
    fn again(&mut self, block: BlockRef) -> bool {
        if self.block != Some(block) {
            *self = Self { block: Some(block), times: 0 };
        }
        self.times = self.times.saturating_add(1);
        self.times <= FAILURES_MAX
    }
}

impl Engine {
    /// What is said of each transaction of a block that was just executed, after its rehearsals.
    ///
    /// # Errors
    /// [`EngineError`] where the block should be judged again.
    pub(crate) async fn rehearse(
        &mut self,
        detectors: &Arc<DetectorSet>,
        block: &Block,
        executions: &[Execution],
    ) -> Result<Vec<Vec<Finding>>, EngineError> {
        let until = Instant::now().checked_add(REHEARSALS_MAX).unwrap_or_else(Instant::now);
        let mut said = Vec::new();
        for execution in executions {
            let wanted = detectors.rehearsals(execution);
            if wanted.is_empty() {
                said.push(Vec::new());
                continue;
            }
            let mut held = Vec::new();
            for planned in wanted {
                match self.hold_rehearsal(detectors, block, &planned, until).await? {
                    Ok(executions) => held.push((planned, executions)),
                    Err(why) => {
                        let (detector, tx) = (planned.name, execution.tx.hash);
                        tracing::warn!(detector, %tx, id = %planned.rehearsal.id, %why, "could not be rehearsed");
                    }
                }
            }
            let findings = detectors.rehearsed(execution, held);
            for finding in &findings {
                // What wakes nobody is in no incident, and still worth a line: it says what will happen.
                let (tx, score) = (execution.tx.hash, finding.score);
                tracing::info!(%tx, %score, what = %finding.evidence, "rehearsed");
            }
            said.push(findings);
        }
        Ok(said)
    }

    /// What the calls do, or why that cannot be known.
    async fn hold_rehearsal(
        &mut self,
        detectors: &Arc<DetectorSet>,
        block: &Block,
        planned: &Planned,
        until: Instant,
    ) -> Result<Result<Vec<Execution>, String>, EngineError> {
        if planned.rehearsal.calls.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        if !self.replayer.executes() {
            return Ok(Err("blocks are not executed here but traced by the node".to_owned()));
        }
        match timeout_at(until, self.try_out(detectors, block, planned)).await {
            Ok(Ok(executions)) => Ok(Ok(executions)),
            Ok(Err(error)) if self.rehearsal_failures.again(block.block_ref()) => Err(error.into()),
            Ok(Err(error)) => Ok(Err(chain(&error))),
            Err(_) => Ok(Err("it takes longer than a block may wait".to_owned())),
        }
    }

    /// The executions of the calls, up to the first that fails.
    async fn try_out(
        &self,
        detectors: &Arc<DetectorSet>,
        block: &Block,
        planned: &Planned,
    ) -> Result<Vec<Execution>, ReplayError> {
        let kept = self.replayer.fork_head().filter(|fork| fork.base() == block.block_ref());
        let mut fork = match kept {
            Some(fork) => fork,
            None => Fork::at_node(self.provider.clone(), &self.rules, block)?,
        };
        fork.wait_until(planned.rehearsal.due);
        let mut executions = Vec::new();
        for step in &planned.rehearsal.calls {
            let detectors = Arc::clone(detectors);
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    #[test]
    fn a_block_is_judged_again_a_few_times_and_the_next_one_as_often() {
        let block = |number| BlockRef { number, hash: B256::with_last_byte(1) };
        let mut failures = Failures::default();
        assert!((0..FAILURES_MAX).all(|_| failures.again(block(1))));
        assert!(!failures.again(block(1)));
        assert!(!failures.again(block(1)));
        assert!((0..FAILURES_MAX).all(|_| failures.again(block(2))));
        assert!(!failures.again(block(2)));
    }
}
