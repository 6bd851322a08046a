//! The way to nodes: those of a configured chain, or one that a command is pointed at.
//!
//! In: a configuration, or a URL. Out: a source, a provider. Must never print a URL, which may carry a key.

use crate::config::Config;
use crate::error::EngineError;
use alloy_provider::{DynProvider, Provider};
use cordon_ingest::sources::json_rpc::{self, REQUEST_TIMEOUT_MS_DEFAULT};
use cordon_ingest::{Connected, Counters, Endpoint, Integrity, JsonRpc, Quorum, StartAt};
use cordon_model::chains::chain_spec;
use cordon_model::units::ChainId;
use std::num::{NonZeroU64, NonZeroUsize};

/// Connects to a node and asks for its chain id.
///
/// # Errors
/// [`EngineError::Source`] or [`EngineError::Node`] where the URL or the node cannot be used.
pub(crate) async fn connect(rpc: &str) -> Result<(DynProvider, ChainId), EngineError> {
    let provider = cordon_ingest::connect(rpc, REQUEST_TIMEOUT_MS_DEFAULT).await?;
    let node = |source| EngineError::Node { what: "chain id".to_owned(), source };
    let chain_id = ChainId(provider.get_chain_id().await.map_err(node)?);
    Ok((provider, chain_id))
}

/// The nodes of a configured chain.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// Follows the chain.
    pub(crate) source: JsonRpc,
    /// For everything else that is asked or sent.
    pub(crate) provider: DynProvider,
    /// Each of them asked by itself.
    pub(crate) quorum: Quorum,
    /// What was asked of whom.
    pub(crate) counters: Counters,
}

/// Connects to the nodes of a chain, which must serve it. One that answers is enough to begin.
pub(crate) async fn open(config: &Config, start: StartAt) -> Result<Nodes, EngineError> {
    connected(config, source_config(config, start)).await
}

/// The same for a range of blocks; the source ends after the last one.
pub(crate) async fn open_range(config: &Config, start: StartAt, end: u64) -> Result<Nodes, EngineError> {
    connected(config, json_rpc::Config { end: Some(end), ..source_config(config, start) }).await
}

async fn connected(config: &Config, source: json_rpc::Config) -> Result<Nodes, EngineError> {
    let endpoint = |node: &crate::config::Node| Endpoint {
        name: node.name.clone(),
        url: node.url.clone(),
        max_requests_per_s: node.requests_per_s,
    };
    let endpoints: Vec<Endpoint> = config.chain.nodes.iter().map(endpoint).collect();
    let Connected { source, provider, quorum, counters } =
        cordon_ingest::connect_all(&endpoints, &source).await?;
    let quorum = match config.chain.quorum.and_then(NonZeroUsize::new) {
        Some(needed) => quorum.with_needed(needed),
        None => quorum,
    };
    Ok(Nodes { source, provider, quorum, counters })
}

/// Where watching begins when nothing was judged yet.
pub(crate) fn start(config: &Config) -> StartAt {
    config.chain.start_block.map_or(StartAt::Head, StartAt::Block)
}

/// How a chain is followed.
pub(crate) fn source_config(config: &Config, start: StartAt) -> json_rpc::Config {
    let mut source = json_rpc::Config::new(config.chain.id);
    source.start = start;
    source.integrity = integrity(config.chain.id);
    source.fetch_ahead = config.chain.fetch_ahead;
    source.poll_interval_ms = NonZeroU64::new(config.chain.poll_interval_ms).unwrap_or(NonZeroU64::MIN);
    source
}

/// How much of a block is checked against its header. Some chains list transactions that their headers do not commit to.
pub(crate) fn integrity(chain_id: ChainId) -> Integrity {
    let checkable = chain_spec(chain_id).is_none_or(|spec| spec.transactions_root_checkable);
    if checkable { Integrity::Full } else { Integrity::Header }
}
