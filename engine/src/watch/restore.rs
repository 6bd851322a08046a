//! After a restart: the blocks of open incidents are executed again, so that they can be simulated, and what was left
//! undone is taken up.
//!
//! In: an engine that stands where the log says. Out: the same engine with its recent past. Must never: judge a block a
//! second time.

use super::PAUSE_FIRST;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{EngineError, chain};
use crate::node::source_config;
use alloy_provider::DynProvider;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::incident::Standing;
use cordon_model::log::Cursor;
use cordon_replay::{ReplayError, StateError};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Most blocks that are executed again after a restart to know what an open incident is about. It is time that the
/// containment waits for, so it is kept to what nodes without an archive hold and a few seconds.
const BACKFILL_BLOCKS_MAX: u64 = 64;

/// Failures of the node that are waited out while blocks are executed again: two seconds of it.
const REMEMBER_FAILURES_MAX: u32 = 8;

/// Blocks before the first finding that are executed again after a restart, for honest transactions to try.
const BACKFILL_HONEST_BLOCKS: u64 = 16;

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
    let mut cursor = Cursor::new(config.chain.id);
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
