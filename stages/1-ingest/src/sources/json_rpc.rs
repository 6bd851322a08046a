//! An Ethereum node over JSON-RPC: http and https are polled, ws and wss push hints and are polled as a safety net.
//!
//! In: `eth_chainId` and `eth_getBlockByNumber`. Out: one update after the caller's cursor. Blocks are always fetched by
//! number and compared by hash: a subscription that loses events after a reconnect loses hints, never blocks. It must
//! never print a node's url, which often holds a key.

mod guard;
mod node;
mod redact;

use crate::convert::{self, Integrity, RawBody, RawHeader};
use crate::error::SourceError;
use crate::follow::{Sight, Step, View, next_step};
use crate::source::{Advance, ChainSource};
use alloy_provider::{DynProvider, Provider as _};
use cordon_model::block::{Block, ChainUpdate};
use cordon_model::log::Cursor;
use cordon_model::units::{BlockRef, ChainId};
use futures::future::BoxFuture;
use node::Node;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How often a node is asked again when its answers contradict each other because the chain moved meanwhile. Three
/// looks take less than the shortest block time in use (250 ms) on a healthy node; more contradictions mean that
/// several nodes share one url and disagree.
const LOOKS_MAX: u32 = 3;

/// Most hints that are dropped at once after one was taken: the size of alloy's channel, so that a backlog wakes the
/// caller once and not sixteen times.
const HINTS_DROPPED_MAX: usize = 16;

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
        }
    }
}

fn poll_interval_ms_default() -> NonZeroU64 {
    POLL_INTERVAL_MS_DEFAULT
}

fn request_timeout_ms_default() -> NonZeroU64 {
    REQUEST_TIMEOUT_MS_DEFAULT
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
    node: Node,
    config: Config,
    chain_id: ChainIdCheck,
    /// First block that an empty cursor was given. Only a help: without it the first block of a watch cannot be
    /// reverted, and the source says so instead of guessing.
    begun_at: Option<u64>,
    hints: Option<Receiver<Box<RawValue>>>,
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

    fn over(node: Node, config: Config) -> Self {
        let begun_at = match config.start {
            StartAt::Head => None,
            StartAt::Block(number) => Some(number),
        };
        Self { node, config, chain_id: ChainIdCheck::Pending, begun_at, hints: None }
    }

    async fn check_chain_id(&mut self) -> Result<(), SourceError> {
        if self.chain_id == ChainIdCheck::Done {
            return Ok(());
        }
        let found = self.node.chain_id().await?;
        if found != self.config.chain_id {
            let (node, expected) = (self.node.name().to_owned(), self.config.chain_id);
            return Err(SourceError::WrongChainId { node, expected, found });
        }
        self.chain_id = ChainIdCheck::Done;
        Ok(())
    }

    async fn next_update(&mut self, cursor: &Cursor) -> Result<Advance, SourceError> {
        let expected = self.config.chain_id;
        if cursor.chain_id != expected {
            return Err(SourceError::CursorOfOtherChain { expected, found: cursor.chain_id });
        }
        self.check_chain_id().await?;
        let judged = cursor.head().map_or(0, |head| head.number);
        let mut newest_seen = judged;
        for _ in 0..LOOKS_MAX {
            let (sight, block) = self.look(cursor).await?;
            let view = View { begun_at: self.begun_at, sight };
            match (next_step(cursor, &view), block) {
                (Step::Apply, Some(block)) => return Ok(self.applied(cursor, block)),
                (Step::Revert(block), _) => return Ok(Advance::Update(ChainUpdate::Reverted(block))),
                (Step::AtHead, _) => return Ok(Advance::AtHead),
                (Step::Apply, None) => newest_seen = judged,
                (Step::LookAgain { newest }, _) => newest_seen = newest,
                (Step::Behind { newest }, _) => {
                    return Err(SourceError::Behind { origin: self.node.name().to_owned(), newest, judged });
                }
                (Step::TooDeep { oldest }, _) => {
                    return Err(SourceError::ReorgTooDeep { chain_id: expected, oldest });
                }
            }
        }
        let (node, number) = (self.node.name().to_owned(), judged.saturating_add(1));
        Err(SourceError::BlockNotFound { node, number, newest: newest_seen })
    }

    fn applied(&mut self, cursor: &Cursor, block: Block) -> Advance {
        if cursor.recent.is_empty() {
            self.begun_at = Some(block.number);
        }
        Advance::Update(ChainUpdate::Applied(Box::new(block)))
    }

    /// One look beyond the cursor's head. The block comes with the sight of it, so that it is fetched once.
    async fn look(&self, cursor: &Cursor) -> Result<(Sight, Option<Block>), SourceError> {
        let wanted = match (cursor.head(), self.begun_at) {
            (Some(head), _) => Some(head.number.saturating_add(1)),
            (None, begun_at) => begun_at,
        };
        if let Some(block) = self.full_block(wanted).await? {
            return Ok((Sight::Next { parent_hash: block.parent_hash }, Some(block)));
        }
        let newest = self.newest().await?;
        Ok((newest.map_or(Sight::Nothing, Sight::Newest), None))
    }

    /// The block with this number, or the newest one; `None` where the node has none.
    async fn full_block(&self, number: Option<u64>) -> Result<Option<Block>, SourceError> {
        let tag = number.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let answer = self.node.request("eth_getBlockByNumber", &(tag, true)).await?;
        if is_null(&answer) {
            return Ok(None);
        }
        let (origin, text) = (self.node.origin("eth_getBlockByNumber"), answer.get().as_bytes());
        let header: RawHeader = convert::read_json(text, &origin)?;
        let body: RawBody = convert::read_json(text, &origin)?;
        let block = convert::block(&header, &body, self.config.chain_id, &origin, self.config.integrity)?;
        match number {
            Some(expected) if expected != block.number => {
                Err(SourceError::WrongBlock { origin, expected, found: block.number })
            }
            Some(_) | None => Ok(Some(block)),
        }
    }

    async fn newest(&self) -> Result<Option<BlockRef>, SourceError> {
        let answer = self.node.request("eth_getBlockByNumber", &("latest", false)).await?;
        if is_null(&answer) {
            return Ok(None);
        }
        let origin = self.node.origin("eth_getBlockByNumber");
        let header: RawHeader = convert::read_json(answer.get().as_bytes(), &origin)?;
        convert::header_ref(&header, &origin, self.config.integrity).map(Some)
    }

    /// Sleeps for the poll interval at most; a pushed header ends it early.
    async fn wait_for_hint(&mut self) {
        let interval = Duration::from_millis(self.config.poll_interval_ms.get());
        let hinted = async {
            if self.hints.is_none() {
                self.hints = subscribe(&self.node).await;
            }
            match &mut self.hints {
                Some(hints) => hint(hints).await,
                None => std::future::pending().await,
            }
        };
        // Elapsed is the ordinary end of a wait without a push.
        let lost = matches!(tokio::time::timeout(interval, hinted).await, Ok(Hint::Lost));
        if lost {
            tracing::warn!(
                node = self.node.name(),
                "subscription to new heads was lost; polling until it is back"
            );
            self.hints = None;
            tokio::time::sleep(interval).await;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Hint {
    Head,
    Lost,
}

/// Waits for a pushed header and drops what queued up behind it.
async fn hint(hints: &mut Receiver<Box<RawValue>>) -> Hint {
    match hints.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {
            for _ in 0..HINTS_DROPPED_MAX {
                if hints.try_recv().is_err() {
                    break;
                }
            }
            Hint::Head
        }
        Err(RecvError::Closed) => Hint::Lost,
    }
}

/// Subscribes to new heads where the transport can push.
async fn subscribe(node: &Node) -> Option<Receiver<Box<RawValue>>> {
    node.provider().client().pubsub_frontend()?;
    match node.provider().subscribe::<_, IgnoredAny>(("newHeads",)).await {
        Ok(subscription) => Some(subscription.into_raw().rx),
        Err(error) => {
            tracing::debug!(
                node = node.name(),
                reason = node.describe(&error),
                "new heads cannot be subscribed"
            );
            None
        }
    }
}

fn is_null(answer: &RawValue) -> bool {
    answer.get().trim() == "null"
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
            self.wait_for_hint().await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
