//! Blocks of a node, judged as ordinary use.
//!
//! In: a URL and a range. Out: one verdict for each block, by the source that `watch` follows a chain with and the replay that
//! it uses. Must never: let the URL out, or pass over a block.

use super::judge::{RecordKind, Unjudged, Verdict};
use super::kept::Key;
use super::{Backtest, Progress, Task, Tell};
use crate::backfill::{FAILURES_MAX, PAUSE, ends};
use crate::error::EngineError;
use crate::node;
use alloy_provider::DynProvider;
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_model::units::ChainId;
use cordon_replay::{Replayer, Rules, Watch, no_views};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

/// Which blocks of which node.
#[derive(Clone)]
pub struct NodeRange {
    /// Where the node is. It must hold the state before the first block.
    pub rpc: String,
    /// Hardfork by name, for chains whose schedule is not built in.
    pub hardfork: Option<String>,
    /// First and last block.
    pub blocks: RangeInclusive<u64>,
}

impl fmt::Debug for NodeRange {
    /// Without the URL, which may carry a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rpc: _, hardfork, blocks } = self;
        f.debug_struct("NodeRange")
            .field("hardfork", hardfork)
            .field("blocks", blocks)
            .finish_non_exhaustive()
    }
}

impl Backtest {
    /// Judges blocks of a node, oldest first. Everything that they hold counts as ordinary use.
    ///
    /// # Errors
    /// A range without blocks or beyond the chain's head, or a node that keeps failing or lacks the state.
    pub async fn node(&mut self, range: &NodeRange, tell: Tell<'_>) -> Result<(), EngineError> {
        ends(&range.blocks)?;
        let (provider, chain_id) = node::connect(&range.rpc).await?;
        self.chain((provider, chain_id), range, tell).await
    }

    /// The same over a provider.
    pub(super) async fn chain(
        &mut self,
        (provider, chain_id): (DynProvider, ChainId),
        range: &NodeRange,
        tell: Tell<'_>,
    ) -> Result<(), EngineError> {
        let rules =
            Rules::new(chain_id, range.hardfork.as_deref()).map_err(cordon_replay::ReplayError::from)?;
        let (first, last) = ends(&range.blocks)?;
        let config = json_rpc::Config {
            start: StartAt::Block(first),
            end: Some(last),
            integrity: node::integrity(chain_id),
            ..json_rpc::Config::new(chain_id)
        };
        let mut source = JsonRpc::from_provider(provider.clone(), config);
        let mut replayer = Replayer::for_node(provider, rules);
        let mut cursor = Cursor::new(chain_id);
        let all = usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX).saturating_add(1);
        let mut done = 0usize;
        while let Some(block) = next(&mut source, &cursor, last).await? {
            cursor.push(block.block_ref());
            let task = Task {
                path: PathBuf::from(format!("block {} {}", block.number, block.hash)),
                source: PathBuf::from(format!("node of chain {chain_id}, blocks {first} to {last}")),
                is_attack: false,
            };
            let key = Key { path: task.path.display().to_string(), is_attack: false, content: block.hash };
            let verdict = match self.kept.take(&key) {
                Some(verdict) => verdict,
                None => {
                    let verdict = self.block(&mut replayer, block).await?;
                    self.kept.keep(key, &verdict)?;
                    verdict
                }
            };
            self.judged.push((task, verdict));
            done = done.saturating_add(1);
            tell(Progress::Judged { done, all });
        }
        Ok(())
    }

    async fn block(&self, replayer: &mut Replayer, block: Arc<Block>) -> Result<Verdict, EngineError> {
        let replayed = replayer.replay(block, Watch::everything(no_views())).await?;
        Ok(match replayed.mismatches.first() {
            Some(mismatch) => {
                Verdict::from(Unjudged::File(format!("replay differs from the chain: {}", mismatch.what)))
            }
            None => self.judge.executions(RecordKind::NodeBlock, &replayed.executions, false),
        })
    }
}

/// The next block; `None` after the last one. Failures of the node are waited out as `backfill` does.
async fn next(source: &mut JsonRpc, cursor: &Cursor, last: u64) -> Result<Option<Arc<Block>>, EngineError> {
    let mut failures = 0u32;
    loop {
        match source.advance(cursor).await {
            Ok(Advance::Update(ChainUpdate::Applied(block))) => return Ok(Some(Arc::new(*block))),
            Ok(Advance::Update(ChainUpdate::Reverted(block))) => {
                let (number, why) =
                    (block.number, "left the chain while its range was judged: judge it again");
                return Err(EngineError::Refused(format!("block {number} {why}")));
            }
            Ok(Advance::Update(ChainUpdate::Pending(_))) => {}
            Ok(Advance::End) => return Ok(None),
            Ok(Advance::AtHead) => {
                let expected = "a block that the chain has reached".to_owned();
                return Err(EngineError::Argument { what: "to", found: last.to_string(), expected });
            }
            Err(error) if error.is_transient() && failures < FAILURES_MAX => {
                failures = failures.saturating_add(1);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
