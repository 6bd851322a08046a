//! `cordon backfill`: a range of past blocks judged as `watch` would have judged them, without a trace.
//!
//! In: a configuration and a range. Out: the incidents that would have been opened. It runs the same engine over a log in
//! memory, without keys and without channels. Must never: touch the operator's log, tell anybody, or sign.

use crate::config::Config;
use crate::engine::{Engine, Event};
use crate::error::EngineError;
use crate::node;
use cordon_ingest::{Advance, ChainSource, StartAt};
use cordon_model::block::ChainUpdate;
use cordon_model::incident::Incident;
use cordon_model::log::{EventLog, StreamId};
use cordon_model::units::ChainId;
use cordon_store::SqliteLog;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Blocks after which progress is told.
const PROGRESS_BLOCKS: u64 = 100;

/// Failures of the node in a row that are waited out.
pub(crate) const FAILURES_MAX: u32 = 8;

/// Pause after a failure of the node.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What a range of blocks would have led to.
#[derive(Debug, Clone, Serialize)]
pub struct Backfill {
    /// First and last block.
    pub range: (u64, u64),
    /// Blocks judged.
    pub blocks: u64,
    /// Blocks that were not reproduced as the chain states them.
    pub mismatches: u64,
    /// Incidents that would have been opened.
    pub incidents: Vec<Incident>,
}

/// Judges a range of a chain's blocks, oldest first.
///
/// # Errors
/// [`EngineError`] where the chain is not configured, the range is empty, or the node keeps failing.
pub async fn backfill(
    configs: &[Config],
    chain: Option<u64>,
    range: RangeInclusive<u64>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Backfill, EngineError> {
    let config = chosen(configs, chain)?;
    let (first, last) = ends(&range)?;
    let quiet = Config { signers: Vec::new(), channels: Vec::new(), ..config.clone() };
    let nodes = node::open_range(&quiet, StartAt::Block(first), last).await?;
    let log: Arc<dyn EventLog> = Arc::new(SqliteLog::in_memory().await?);
    let mut engine = Engine::open(&quiet, nodes.provider.clone(), Arc::clone(&log), Box::new(|_| {})).await?;
    let (mut source, mut blocks, mut failures) = (nodes.source, 0u64, 0u32);
    loop {
        let update = match source.advance(engine.cursor()).await {
            Ok(Advance::Update(update)) => update,
            Ok(Advance::End) => break,
            Ok(Advance::AtHead) => {
                let expected = "a block that the chain has reached".to_owned();
                return Err(EngineError::Argument { what: "to", found: last.to_string(), expected });
            }
            Err(error) if error.is_transient() && failures < FAILURES_MAX => {
                failures = failures.saturating_add(1);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failures = 0;
        let applied = matches!(update, ChainUpdate::Applied(_));
        engine.handle(Event::Chain(update)).await?;
        blocks = blocks.saturating_add(u64::from(applied));
        if applied && blocks.is_multiple_of(PROGRESS_BLOCKS) {
            progress(blocks);
        }
    }
    let mismatches = mismatched(&log, quiet.chain.id).await?;
    Ok(Backfill {
        range: (first, last),
        blocks,
        mismatches,
        incidents: engine.incidents().cloned().collect(),
    })
}

/// First and last block of a range that has one before it.
pub(crate) fn ends(range: &RangeInclusive<u64>) -> Result<(u64, u64), EngineError> {
    let (first, last) = (*range.start(), *range.end());
    if first == 0 || first > last {
        let expected = "a range from block 1 on whose first block is not above its last".to_owned();
        return Err(EngineError::Argument { what: "range", found: format!("{first} to {last}"), expected });
    }
    Ok((first, last))
}

fn chosen(configs: &[Config], chain: Option<u64>) -> Result<&Config, EngineError> {
    let known = || configs.iter().map(|config| config.chain.id.to_string()).collect::<Vec<_>>().join(", ");
    match (chain, configs) {
        (None, [only]) => Ok(only),
        (chain, _) => configs.iter().find(|config| chain == Some(config.chain.id.0)).ok_or_else(|| {
            EngineError::Argument {
                what: "chain",
                found: chain.map_or_else(|| "nothing".to_owned(), |chain| chain.to_string()),
                expected: format!("one of the configured chains ({})", known()),
            }
        }),
    }
}

async fn mismatched(log: &Arc<dyn EventLog>, chain: ChainId) -> Result<u64, EngineError> {
    use cordon_model::log::{Body, ChainEvent};
    let mut blocks = std::collections::BTreeSet::new();
    for stored in log.read(StreamId::chain(chain)).await? {
        if let Body::Chain(ChainEvent::ReplayMismatch { block, .. }) = stored.record.body {
            blocks.insert(block.number);
        }
    }
    Ok(u64::try_from(blocks.len()).unwrap_or(u64::MAX))
}
