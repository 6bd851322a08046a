//! A node without a configuration: for commands that are pointed at a URL.
//!
//! In: a URL. Out: a provider and the chain id that the node states. Must never print the URL, which may carry a key.

use crate::error::EngineError;
use alloy_provider::{DynProvider, Provider};
use cordon_ingest::sources::json_rpc::REQUEST_TIMEOUT_MS_DEFAULT;
use cordon_model::units::ChainId;

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
