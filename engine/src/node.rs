//! A node without a configuration: for commands that are pointed at a URL.
//!
//! In: a URL. Out: a provider and the chain id that the node states. Must never print the URL, which may carry a key.

use crate::error::EngineError;
use alloy_provider::{DynProvider, Provider, ProviderBuilder};
use cordon_model::units::ChainId;

/// Connects to a node and asks for its chain id.
///
/// # Errors
/// [`EngineError::Node`] or [`EngineError::Argument`] where the URL or the node cannot be used.
pub(crate) async fn connect(rpc: &str) -> Result<(DynProvider, ChainId), EngineError> {
    let argument = |_| EngineError::Argument {
        what: "rpc",
        found: "a URL that cannot be used".to_owned(),
        expected: "a reachable http, https, ws or wss URL".to_owned(),
    };
    let provider = ProviderBuilder::default().connect(rpc).await.map_err(argument)?.erased();
    let node = |source| EngineError::Node { what: "chain id".to_owned(), source };
    let chain_id = ChainId(provider.get_chain_id().await.map_err(node)?);
    Ok((provider, chain_id))
}
