//! Several nodes of one chain, made into one: who is asked, how often, and whom to believe.
//!
//! In: the nodes that the operator has. Out: one source to follow, one provider to read and to send with, a quorum that
//! asks each node by itself, and numbers. It must never let a node of another chain in, show a node's url, or take
//! part in what an answer means.

pub(crate) mod answer;
mod budget;
mod counters;
mod health;
mod hedge;
pub(crate) mod member;
pub(crate) mod pool;
mod probe;
mod quorum;

pub use counters::{Counters, MethodCounts, NodeCounts};
pub use quorum::{Quorum, Verdict};

use crate::error::SourceError;
use crate::sources::json_rpc::dial::Dial;
use crate::sources::json_rpc::node::{ATTEMPTS_MAX, BACKOFF_BASE, Node};
use crate::sources::json_rpc::{self, JsonRpc};
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use futures::future::join_all;
use member::Member;
use pool::{Pool, PoolTransport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Nodes of one chain; more would cost more in looking at them than they could add.
const ENDPOINTS_MAX: usize = 16;

/// Polls of the head between two looks at every node: lag and outages are known within four blocks, for a quarter more
/// requests at most.
const POLLS_PER_PROBE: u32 = 4;

/// One node that the operator has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// How people call it; scheme, host and port where it has no name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its url (http, https, ws, wss, ipc) or the absolute path of its socket. It may hold a key and is never shown.
    pub url: String,
    /// Requests per second that it may be asked; no limit where none is given.
    #[serde(default)]
    pub max_requests_per_s: Option<NonZeroU32>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("max_requests_per_s", &self.max_requests_per_s)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// A node without a name and without a limit.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { name: None, url: url.into(), max_requests_per_s: None }
    }
}

/// What several nodes are, once at least one of them is connected.
#[derive(Debug)]
pub struct Connected {
    /// Follows the chain.
    pub source: JsonRpc,
    /// Reads state and sends transactions.
    pub provider: DynProvider,
    /// Asks every node by itself.
    pub quorum: Quorum,
    /// What was asked of whom.
    pub counters: Counters,
}

/// Connects to all nodes. One that can be reached is enough; the others are named in a warning and tried again.
///
/// # Errors
/// [`SourceError::Url`] where an url is not usable or given twice, or there are none; [`SourceError::WrongChainId`]
/// where a node serves another chain; [`SourceError::Unreachable`] where none can be reached.
pub async fn connect_all(
    endpoints: &[Endpoint],
    config: &json_rpc::Config,
) -> Result<Connected, SourceError> {
    let limit = Duration::from_millis(config.request_timeout_ms.get());
    let members = members(endpoints, config, limit)?;
    raise(&members).await?;
    if members.len() > 1 {
        // Who lags must be known before the first block is asked for.
        join_all(members.iter().filter(|member| member.node().is_some()).map(probe::look)).await;
    }
    let pool = Pool::new(members.clone(), limit);
    let is_local = members.iter().all(|member| member.dial().is_local());
    let provider = RootProvider::new(RpcClient::new(PoolTransport(pool.clone()), is_local)).erased();
    let poll = Duration::from_millis(config.poll_interval_ms.get());
    probe::start(&pool, poll.saturating_mul(POLLS_PER_PROBE));
    let source = JsonRpc::checked(Node::pooled(provider.clone(), pool), config.clone());
    let quorum = Quorum::new(&members, config.integrity);
    Ok(Connected { source, provider, quorum, counters: Counters::new(members) })
}

fn members(
    endpoints: &[Endpoint],
    config: &json_rpc::Config,
    limit: Duration,
) -> Result<Vec<Arc<Member>>, SourceError> {
    let unusable = |reason: String| SourceError::Url { reason };
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        let count = endpoints.len();
        return Err(unusable(format!("{count} nodes are given, expected 1 to {ENDPOINTS_MAX}")));
    }
    let mut members: Vec<Arc<Member>> = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let dial = Dial::new(&endpoint.url, limit)?;
        // One node under two names would agree with itself.
        if let Some(twin) = members.iter().find(|member| member.dial().is_same(&dial)) {
            return Err(unusable(format!("the url of {} is given twice", twin.name())));
        }
        let (name, budget) = (endpoint.name.clone(), endpoint.max_requests_per_s);
        members.push(Arc::new(Member::new(name, dial, config.chain_id, budget)));
    }
    Ok(members)
}

/// Connects to all of them at once, and again where not even one is there.
async fn raise(members: &[Arc<Member>]) -> Result<(), SourceError> {
    let mut pause = BACKOFF_BASE;
    for attempt in 1..=ATTEMPTS_MAX {
        let outcomes = join_all(members.iter().map(|member| member.raise())).await;
        let mut missing = Vec::new();
        let mut worst = None;
        for (member, outcome) in members.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    missing.push(member.name());
                    worst = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match worst {
            Some(error) if missing.len() == members.len() => {
                if attempt == ATTEMPTS_MAX {
                    return Err(error);
                }
                tracing::debug!(%error, attempt, "no node can be reached, trying again");
            }
            Some(error) => {
                tracing::warn!(nodes = missing.join(", "), %error, "nodes cannot be reached; they are tried again");
                return Ok(());
            }
            None => return Ok(()),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
