//! What a node says about its chain: newest, safe and final block, mempool, rollup synchronisation, price feeds.
//!
//! In: providers that the caller made. Out: parts of an observation. All questions of a look are asked at once, so a
//! look takes as long as the slowest answer and at most the time limit. Must never: retry, since the next look is one.

use super::{Fault, Part};
use crate::quantity;
use alloy_primitives::{Address, B256, Bytes, I256, U256};
use alloy_provider::{DynProvider, Provider as _};
use alloy_transport::{RpcError, TransportError};
use cordon_model::network::observation::{FeedSight, Head, Observation, RollupSync};
use cordon_model::units::BlockRef;
use futures::future::{OptionFuture, join_all};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::to_raw_value;
use std::time::Duration;

/// Most feeds that are read: more than any protocol has. Further ones are left out, and the log says so.
const FEEDS_MAX: usize = 64;

/// How long the bounds of a feed are believed, seconds. They change only when the feed gets a new aggregator.
const BOUNDS_S: u64 = 3_600;

/// JSON-RPC: no such method.
const METHOD_NOT_FOUND: i64 = -32_601;

/// EIP-1474: method not supported.
const METHOD_NOT_SUPPORTED: i64 = -32_004;

/// `latestRoundData()` of Chainlink's `AggregatorV3Interface`.
const LATEST_ROUND_DATA: [u8; 4] = [0xfe, 0xaf, 0x96, 0x8c];

/// `aggregator()` of Chainlink's proxies.
const AGGREGATOR: [u8; 4] = [0x24, 0x5a, 0x7b, 0xfc];

/// `minAnswer()` of Chainlink's aggregators.
const MIN_ANSWER: [u8; 4] = [0x22, 0xad, 0xbc, 0x78];

/// `maxAnswer()` of Chainlink's aggregators.
const MAX_ANSWER: [u8; 4] = [0x70, 0xda, 0x2f, 0x67];

/// What is asked of a node.
#[derive(Debug, Clone)]
pub struct NodeObserverConfig {
    /// Name of the node in the log, without credentials.
    pub node: String,
    /// Longest wait for one answer.
    pub request_timeout: Duration,
    /// Whether the mempool's size is asked for, with `txpool_status`.
    pub txpool: bool,
    /// Where `optimism_syncStatus` is asked for: the rollup's own node, which is another one than that of its blocks,
    /// unless its operator serves both under one url.
    pub rollup: Option<DynProvider>,
    /// Price feeds that are read, at most 64.
    pub feeds: Vec<Address>,
}

/// Looks at a node.
#[derive(Debug)]
pub struct NodeObserver {
    provider: DynProvider,
    config: NodeObserverConfig,
    latest: Part,
    safe: Part,
    finalized: Part,
    txpool: Part,
    rollup: Part,
    feeds: Vec<Feed>,
}

#[derive(Debug)]
struct Feed {
    address: Address,
    answer: Part,
    bounds: Part,
    /// Smallest and largest answer, and when they were read.
    known: Option<(Bounds, u64)>,
}

type Bounds = (I256, I256);

impl NodeObserver {
    /// An observer of the node behind `provider`.
    #[must_use]
    pub fn new(provider: DynProvider, config: NodeObserverConfig) -> Self {
        if config.feeds.len() > FEEDS_MAX {
            tracing::warn!(
                node = config.node,
                feeds = config.feeds.len(),
                most = FEEDS_MAX,
                "feeds are left out"
            );
        }
        let feed = |address: &Address| Feed {
            address: *address,
            answer: Part::new(format!("feed {address}")),
            bounds: Part::new(format!("bounds of feed {address}")),
            known: None,
        };
        let feeds = config.feeds.iter().take(FEEDS_MAX).map(feed).collect();
        Self {
            provider,
            latest: Part::new("newest block"),
            safe: Part::new("safe block"),
            finalized: Part::new("finalised block"),
            txpool: Part::new("txpool_status"),
            rollup: Part::new("optimism_syncStatus"),
            feeds,
            config,
        }
    }

    /// One look; what could not be read stays as it is in `seen`. The time of the look is that of `seen`.
    pub async fn observe(&mut self, seen: &mut Observation) {
        let (at_s, node) = (seen.at_s, self.config.node.as_str());
        let asker = Asker { provider: &self.provider, limit: self.config.request_timeout };
        let rollup = self.config.rollup.as_ref().filter(|_| self.rollup.is_due(at_s));
        let rollup = rollup.map(|provider| Asker { provider, limit: self.config.request_timeout });
        let pool_due = self.config.txpool && self.txpool.is_due(at_s);
        let feeds = join_all(self.feeds.iter_mut().map(|feed| feed.read(&asker, node, at_s)));
        let (latest, safe, finalized, pool, rollup, feeds) = futures::join!(
            asker.block("latest"),
            asker.block("safe"),
            asker.block("finalized"),
            OptionFuture::from(pool_due.then(|| asker.ask::<RawPool>("txpool_status", json!([])))),
            OptionFuture::from(
                rollup.as_ref().map(|asker| asker.ask::<RawSync>("optimism_syncStatus", json!([])))
            ),
            feeds,
        );
        if let Some(block) = self.latest.settle(node, at_s, latest) {
            let (timestamp_s, base_fee_wei) = (block.timestamp, block.base_fee_per_gas);
            seen.head = Some(Head { block: block.block_ref(), timestamp_s, base_fee_wei });
        }
        if let Some(block) = self.safe.settle(node, at_s, safe) {
            seen.safe = Some(block.block_ref());
        }
        if let Some(block) = self.finalized.settle(node, at_s, finalized) {
            seen.finalized = Some(block.block_ref());
        }
        if let Some(pool) = pool.and_then(|pool| self.txpool.settle(node, at_s, pool)) {
            seen.txpool_pending = Some(pool.pending);
        }
        if let Some(sync) = rollup.and_then(|sync| self.rollup.settle(node, at_s, sync)) {
            seen.rollup = Some(RollupSync {
                unsafe_number: sync.unsafe_l2.number,
                safe_number: sync.safe_l2.number,
                finalized_number: sync.finalized_l2.number,
            });
        }
        seen.feeds.extend(feeds.into_iter().flatten());
    }
}

impl Feed {
    async fn read(&mut self, asker: &Asker<'_>, node: &str, at_s: u64) -> Option<FeedSight> {
        let stale = self.known.is_none_or(|(_, read_at_s)| at_s.saturating_sub(read_at_s) >= BOUNDS_S);
        let bounds =
            OptionFuture::from((stale && self.bounds.is_due(at_s)).then(|| read_bounds(asker, self.address)));
        let (answer, bounds) = futures::join!(asker.call(self.address, LATEST_ROUND_DATA), bounds);
        if let Some(bounds) = bounds.and_then(|bounds| self.bounds.settle(node, at_s, bounds)) {
            self.known = Some((bounds, at_s));
        }
        let round = answer.and_then(|data| {
            let answer = I256::from_raw(word(&data, 1)?);
            let updated_at_s = u64::try_from(word(&data, 3)?).map_err(|_| Fault::Malformed)?;
            Ok((answer, updated_at_s))
        });
        let (answer, updated_at_s) = self.answer.settle(node, at_s, round)?;
        let (min, max) = self.known.map(|(bounds, _)| bounds).unzip();
        Some(FeedSight { feed: self.address, updated_at_s, answer, min, max })
    }
}

/// Bounds of the aggregator behind a feed, or of the feed where it is one itself. A contract that reverts has no such
/// function, which is no fault to be tried again with every look.
async fn read_bounds(asker: &Asker<'_>, feed: Address) -> Result<Bounds, Fault> {
    let aggregator = match asker.call(feed, AGGREGATOR).await {
        Ok(data) => Address::from_word(B256::from(word(&data, 0)?)),
        Err(Fault::Refused(_)) => feed,
        Err(fault) => return Err(fault),
    };
    let bound = |selector| async move {
        match asker.call(aggregator, selector).await {
            Ok(data) => word(&data, 0).map(I256::from_raw).map_err(|_| Fault::NotOffered),
            Err(Fault::Refused(_)) => Err(Fault::NotOffered),
            Err(fault) => Err(fault),
        }
    };
    futures::try_join!(bound(MIN_ANSWER), bound(MAX_ANSWER))
}

fn word(data: &Bytes, index: usize) -> Result<U256, Fault> {
    let word = data.chunks_exact(32).nth(index).ok_or(Fault::Malformed)?;
    Ok(U256::from_be_slice(word))
}

/// A provider with a time limit, whose errors become [`Fault`]s.
struct Asker<'a> {
    provider: &'a DynProvider,
    limit: Duration,
}

impl Asker<'_> {
    async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<T, Fault> {
        let params = to_raw_value(&params).map_err(|_| Fault::Malformed)?;
        let answer =
            tokio::time::timeout(self.limit, self.provider.raw_request_dyn(method.into(), &params)).await;
        let answer = answer.map_err(|_| Fault::Late)?.map_err(|error| fault(&error))?;
        serde_json::from_str::<Option<T>>(answer.get()).map_err(|_| Fault::Malformed)?.ok_or(Fault::Nothing)
    }

    async fn block(&self, tag: &'static str) -> Result<RawHead, Fault> {
        self.ask("eth_getBlockByNumber", (tag, false)).await
    }

    async fn call(&self, to: Address, selector: [u8; 4]) -> Result<Bytes, Fault> {
        let call = json!({ "to": to, "data": Bytes::copy_from_slice(&selector) });
        self.ask("eth_call", (call, "latest")).await
    }
}

fn fault(error: &TransportError) -> Fault {
    match error {
        RpcError::ErrorResp(payload) if matches!(payload.code, METHOD_NOT_FOUND | METHOD_NOT_SUPPORTED) => {
            Fault::NotOffered
        }
        RpcError::ErrorResp(payload) => Fault::Refused(payload.code),
        RpcError::NullResp => Fault::Nothing,
        RpcError::DeserError { .. } => Fault::Malformed,
        RpcError::Transport(kind) => match kind.as_http_error() {
            Some(http) => Fault::Status(http.status),
            None => Fault::Unreachable,
        },
        RpcError::UnsupportedFeature(_) | RpcError::LocalUsageError(_) | RpcError::SerError(_) => {
            Fault::Unreachable
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHead {
    #[serde(deserialize_with = "quantity::required")]
    number: u64,
    hash: B256,
    #[serde(deserialize_with = "quantity::required")]
    timestamp: u64,
    #[serde(default, deserialize_with = "quantity::optional")]
    base_fee_per_gas: Option<u64>,
}

impl RawHead {
    fn block_ref(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

#[derive(Debug, Deserialize)]
struct RawPool {
    #[serde(deserialize_with = "quantity::required")]
    pending: u64,
}

/// Of `optimism_syncStatus`; each of the heads has more fields.
#[derive(Debug, Deserialize)]
struct RawSync {
    unsafe_l2: RawNumber,
    safe_l2: RawNumber,
    finalized_l2: RawNumber,
}

#[derive(Debug, Deserialize)]
struct RawNumber {
    #[serde(deserialize_with = "quantity::required")]
    number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn selectors_are_those_of_the_functions() {
        let functions = [
            ("latestRoundData()", LATEST_ROUND_DATA),
            ("aggregator()", AGGREGATOR),
            ("minAnswer()", MIN_ANSWER),
            ("maxAnswer()", MAX_ANSWER),
        ];
        for (function, selector) in functions {
            assert_eq!(keccak256(function)[..4], selector, "{function}");
        }
    }

    #[test]
    fn short_answers_are_malformed() {
        assert_eq!(word(&Bytes::from(vec![0; 63]), 1), Err(Fault::Malformed));
        assert_eq!(word(&Bytes::from(vec![1; 64]), 1), Ok(U256::from_be_bytes([1; 32])));
    }
}
