//! An Ethereum node over JSON-RPC: http and https are polled, ws, wss and ipc push hints and are polled as a safety net.
//!
//! In: `eth_chainId`, `eth_getBlockByNumber` and receipts. Out: one update after the caller's cursor. Blocks are always
//! fetched by number and compared by hash: a subscription that loses events after a reconnect loses hints, never
//! blocks. It must never print a node's url, which often holds a key.

mod ahead;
pub(crate) mod dial;
mod fetch;
pub(crate) mod guard;
mod hints;
pub(crate) mod node;
mod pending;
pub(crate) mod redact;

pub use pending::{Pending, PendingCounts, PendingFeed};

use crate::convert::Integrity;
use crate::error::SourceError;
use crate::follow::{Sight, Step, View, next_step};
use crate::source::{Advance, ChainSource};
use ahead::Ahead;
use alloy_provider::{DynProvider, Provider as _};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_model::units::{BlockRef, ChainId};
use fetch::Fetcher;
use futures::future::BoxFuture;
use hints::Hints;
use node::Node;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// How often a node is asked again when its answers contradict each other because the chain moved meanwhile. Three
/// looks take less than the shortest block time in use (250 ms) on a healthy node; more contradictions mean that
/// several nodes share one url and disagree.
const LOOKS_MAX: u32 = 3;

/// Default of [`Config::fetch_ahead`]. A node that takes 100 ms for a block and an engine that takes 15 are kept busy with
/// seven; more would only be memory, half a megabyte each, and load on the node.
pub const FETCH_AHEAD_DEFAULT: usize = 8;
/// Default of [`Config::poll_interval_ms`]: half of the two seconds of the OP stack, a twelfth of Ethereum's slot.
const POLL_INTERVAL_MS_DEFAULT: NonZeroU64 = NonZeroU64::new(1_000).expect("one thousand is not zero");

/// Default of [`Config::request_timeout_ms`]: a full block of 200 transactions takes a hosted node less than two
/// seconds; more than a slot of 12 seconds would be useless.
pub const REQUEST_TIMEOUT_MS_DEFAULT: NonZeroU64 = NonZeroU64::new(10_000).expect("ten thousand is not zero");

/// Configuration of a node. Its url is not part of it: urls hold keys and come from where the operator keeps secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Chain that the node must serve.
    pub chain_id: ChainId,
    /// Where an empty cursor begins.
    #[serde(default)]
    pub start: StartAt,
    /// Longest time between two looks at the head, in milliseconds.
    #[serde(default = "poll_interval_ms_default")]
    pub poll_interval_ms: NonZeroU64,
    /// Longest time for one attempt of one request, in milliseconds.
    #[serde(default = "request_timeout_ms_default")]
    pub request_timeout_ms: NonZeroU64,
    /// What is recomputed before a block is believed.
    #[serde(default)]
    pub integrity: Integrity,
    /// Whether the receipts of each block are fetched: for outcomes, and with [`Integrity::Full`] for their root.
    #[serde(default = "receipts_default")]
    pub receipts: bool,
    /// Last block, where there is one: the source ends after it.
    #[serde(default)]
    pub end: Option<u64>,
    /// Blocks that are fetched before they are asked for while a chain is caught up with; zero fetches none.
    #[serde(default = "fetch_ahead_default")]
    pub fetch_ahead: usize,
}

impl Config {
    /// Defaults for a chain: from the current head on, everything recomputed.
    #[must_use]
    pub fn new(chain_id: ChainId) -> Self {
        Self {
            chain_id,
            start: StartAt::default(),
            poll_interval_ms: POLL_INTERVAL_MS_DEFAULT,
            request_timeout_ms: REQUEST_TIMEOUT_MS_DEFAULT,
            integrity: Integrity::default(),
            receipts: receipts_default(),
            end: None,
            fetch_ahead: FETCH_AHEAD_DEFAULT,
        }
    }
}

fn fetch_ahead_default() -> usize {
    FETCH_AHEAD_DEFAULT
}

fn poll_interval_ms_default() -> NonZeroU64 {
    POLL_INTERVAL_MS_DEFAULT
}

fn request_timeout_ms_default() -> NonZeroU64 {
    REQUEST_TIMEOUT_MS_DEFAULT
}

/// On: a replay that disagrees with its receipt is the one sure sign of a fault of our own.
fn receipts_default() -> bool {
    true
}

/// Where an empty cursor begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At the newest block.
    #[default]
    Head,
    /// At this block.
    Block(u64),
}

/// A node that is followed.
#[derive(Debug)]
pub struct JsonRpc {
    fetcher: Fetcher,
    config: Config,
    chain_id: ChainIdCheck,
    /// First block that an empty cursor was given. Only a help: without it the first block of a watch cannot be
    /// reverted, and the source says so instead of guessing.
    begun_at: Option<u64>,
    hints: Hints,
    ahead: Ahead,
}

/// How far a chain cannot be reorganised any more, as its node says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finality {
    /// Newest block that is reorganised only if a third of the validators fail or lie (`safe`); on rollups, the newest
    /// one that was derived from data on the chain below.
    pub safe: Option<BlockRef>,
    /// Newest block that is never reorganised (`finalized`).
    pub finalized: Option<BlockRef>,
}

/// Connects to a node without following it, and asks it for its chain id, because over http nothing is connected before
/// the first request. Each request of the provider ends within the time limit, and none of its transport errors holds
/// any part of the url but scheme, host and port.
///
/// # Errors
/// The url is not usable, or the node does not answer a request as a node does.
pub async fn connect(url: &str, request_timeout_ms: NonZeroU64) -> Result<DynProvider, SourceError> {
    let node = Node::connect(url, Duration::from_millis(request_timeout_ms.get())).await?;
    node.chain_id().await?;
    Ok(node.provider().clone())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChainIdCheck {
    Pending,
    Done,
}

impl JsonRpc {
    /// Follows the node behind a provider that the caller made, for example an in-process chain. The chain id is
    /// checked before the first block is asked for.
    #[must_use]
    pub fn from_provider(provider: DynProvider, config: Config) -> Self {
        Self::over(Node::from_provider(provider, timeout(&config)), config)
    }

    /// Connects to a node and checks its chain id. The provider is returned too, for other reads of the same node: each
    /// of its requests ends within [`Config::request_timeout_ms`], and none of its transport errors holds any part of
    /// the url but scheme, host and port.
    ///
    /// # Errors
    /// The url is not usable, the node does not answer, or it serves another chain.
    pub async fn connect(url: &str, config: Config) -> Result<(Self, DynProvider), SourceError> {
        let node = Node::connect(url, timeout(&config)).await?;
        let provider = node.provider().clone();
        let mut source = Self::over(node, config);
        source.check_chain_id().await?;
        Ok((source, provider))
    }

    /// Follows nodes whose chain id was checked.
    pub(crate) fn checked(node: Node, config: Config) -> Self {
        Self { chain_id: ChainIdCheck::Done, ..Self::over(node, config) }
    }

    fn over(node: Node, config: Config) -> Self {
        let begun_at = match config.start {
            StartAt::Head => None,
            StartAt::Block(number) => Some(number),
        };
        let fetcher = Fetcher::new(Arc::new(node), &config);
        let (hints, ahead) = (Hints::default(), Ahead::default());
        Self { fetcher, config, chain_id: ChainIdCheck::Pending, begun_at, hints, ahead }
    }

    /// The newest block of the chain, for whoever wants to know how far behind a cursor is; `None` where there is none.
    ///
    /// # Errors
    /// The node does not answer, or not as a node does.
    pub async fn head(&self) -> Result<Option<BlockRef>, SourceError> {
        self.fetcher.tagged("latest").await
    }

    /// Opens the feed of transactions that wait to be mined, where a node can push them. It has a connection and a
    /// queue of its own: it never delays a block, and it does not count towards a node's budget.
    #[must_use]
    pub fn pending(&self) -> Pending {
        let (dials, provider) = (self.node().pushing(), self.node().provider());
        if !dials.is_empty() {
            return Pending::Feed(PendingFeed::open(pending::Source::Dials(dials)));
        }
        if self.node().is_given() && provider.client().pubsub_frontend().is_some() {
            let source = pending::Source::Given(provider.clone(), timeout(&self.config));
            return Pending::Feed(PendingFeed::open(source));
        }
        Pending::NotAvailable
    }

    /// How far the chain is final. A node that does not know one of the tags says nothing by it, which is no error.
    ///
    /// # Errors
    /// The node does not answer, or not as a node does.
    pub async fn finality(&self) -> Result<Finality, SourceError> {
        Ok(Finality { safe: self.known("safe").await?, finalized: self.known("finalized").await? })
    }

    async fn known(&self, tag: &str) -> Result<Option<BlockRef>, SourceError> {
        match self.fetcher.tagged(tag).await {
            Err(error @ (SourceError::Refused { .. } | SourceError::Unsupported { .. })) => {
                tracing::debug!(%error, tag, "node does not know the tag");
                Ok(None)
            }
            known => known,
        }
    }

    async fn check_chain_id(&mut self) -> Result<(), SourceError> {
        if self.chain_id == ChainIdCheck::Done {
            return Ok(());
        }
        let expected = self.config.chain_id;
        let found = self.node().chain_id().await?;
        if found != expected {
            return Err(SourceError::WrongChainId { node: self.node().name().to_owned(), expected, found });
        }
        self.chain_id = ChainIdCheck::Done;
        Ok(())
    }

    fn node(&self) -> &Node {
        self.fetcher.node()
    }

    async fn next_update(&mut self, cursor: &Cursor) -> Result<Advance, SourceError> {
        let expected = self.config.chain_id;
        if cursor.chain_id != expected {
            return Err(SourceError::CursorOfOtherChain { expected, found: cursor.chain_id });
        }
        self.check_chain_id().await?;
        if self.is_over(cursor) {
            return Ok(Advance::End);
        }
        let judged = cursor.head().map_or(0, |head| head.number);
        let mut newest_seen = judged;
        for _ in 0..LOOKS_MAX {
            let (sight, block) = self.look(cursor).await?;
            let view = View { begun_at: self.begun_at, sight };
            match (next_step(cursor, &view), block) {
                (Step::Apply, Some(block)) => return Ok(self.applied(cursor, block).await),
                (Step::Revert(block), _) => return Ok(Advance::Update(ChainUpdate::Reverted(block))),
                (Step::AtHead, _) => {
                    self.ahead.rest();
                    return Ok(Advance::AtHead);
                }
                (Step::Apply, None) => newest_seen = judged,
                (Step::LookAgain { newest }, _) => newest_seen = newest,
                (Step::Behind { newest }, _) => {
                    return Err(SourceError::Behind {
                        origin: self.node().name().to_owned(),
                        newest,
                        judged,
                    });
                }
                (Step::TooDeep { oldest }, _) => {
                    return Err(SourceError::ReorgTooDeep { chain_id: expected, oldest });
                }
            }
        }
        let (node, number) = (self.node().name().to_owned(), judged.saturating_add(1));
        Err(SourceError::BlockNotFound { node, number, newest: newest_seen })
    }

    /// Whether the cursor holds the last block that is wanted, or begins after it.
    fn is_over(&self, cursor: &Cursor) -> bool {
        let next = cursor.head().map_or(self.begun_at, |head| Some(head.number.saturating_add(1)));
        self.config.end.zip(next).is_some_and(|(end, next)| next > end)
    }

    async fn applied(&mut self, cursor: &Cursor, block: Block) -> Advance {
        if self.config.end.is_some_and(|end| block.number > end) {
            return Advance::End;
        }
        if cursor.recent.is_empty() {
            self.begun_at = Some(block.number);
        }
        let Config { end, fetch_ahead, .. } = self.config;
        self.ahead.handed_out(&self.fetcher, block.number, end, fetch_ahead).await;
        Advance::Update(ChainUpdate::Applied(Box::new(block)))
    }

    /// One look beyond the cursor's head. The block comes with the sight of it, so that it is fetched once.
    async fn look(&mut self, cursor: &Cursor) -> Result<(Sight, Option<Block>), SourceError> {
        let wanted = match (cursor.head(), self.begun_at) {
            (Some(head), _) => Some(head.number.saturating_add(1)),
            (None, begun_at) => begun_at,
        };
        let ahead = match cursor.head() {
            Some(head) => self.ahead.take(head.number.saturating_add(1), head.hash).await,
            None => None,
        };
        let block = match ahead {
            Some(block) => Some(block),
            None => self.fetcher.block(wanted).await?,
        };
        if let Some(block) = block {
            return Ok((Sight::Next { parent_hash: block.parent_hash }, Some(block)));
        }
        let newest = self.head().await?;
        Ok((newest.map_or(Sight::Nothing, Sight::Newest), None))
    }
}

fn timeout(config: &Config) -> Duration {
    Duration::from_millis(config.request_timeout_ms.get())
}

impl ChainSource for JsonRpc {
    fn advance<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Advance, SourceError>> {
        Box::pin(self.next_update(cursor))
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(async {
            let interval = Duration::from_millis(self.config.poll_interval_ms.get());
            self.hints.wait(self.fetcher.node(), interval).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
