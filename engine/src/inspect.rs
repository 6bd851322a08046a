//! `cordon inspect`: one transaction explained.
//!
//! In: a transaction hash, a node, known interfaces. Out: decoded calls, movements of value, profit and loss. Must never
//! explain a transaction whose gas does not match the chain's without saying so.

use crate::error::EngineError;
use alloy_primitives::B256;
use alloy_provider::Provider;
use cordon_ingest::sources::json_rpc;
use cordon_ingest::{Advance, ChainSource, JsonRpc, StartAt};
use cordon_investigate::{Interfaces, Labels};
use cordon_model::block::ChainUpdate;
use cordon_model::log::Cursor;
use cordon_model::report::TxReport;
use cordon_model::units::{ChainId, TxRef};
use cordon_replay::{Fork, Rules, no_views};
use std::sync::Arc;

/// A transaction, explained.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The explanation.
    pub report: TxReport,
    /// Gas as replayed.
    pub gas_used: u64,
    /// Gas as the chain states it.
    pub gas_used_on_chain: u64,
}

impl Inspection {
    /// The explanation as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = cordon_investigate::tx_markdown(&self.report, &Labels::default());
        if self.gas_used != self.gas_used_on_chain {
            text.push_str(&format!(
                "\nReplay used {} gas, the chain states {}: do not rely on this explanation.\n",
                self.gas_used, self.gas_used_on_chain
            ));
        }
        text
    }
}

/// Explains a mined transaction of a node's chain.
///
/// # Errors
/// [`EngineError`] where the hash is no hash, the node cannot be used, or it does not know the transaction.
pub async fn inspect(
    hash: &str,
    rpc: &str,
    hardfork: Option<&str>,
    abis: &[(String, String)],
) -> Result<Inspection, EngineError> {
    let argument = |expected: &str| EngineError::Argument {
        what: "transaction",
        found: hash.to_owned(),
        expected: expected.to_owned(),
    };
    let hash: B256 = hash.parse().map_err(|_| argument("a transaction hash: 0x and 64 hex digits"))?;
    let mut interfaces = Interfaces::standard();
    for (file, text) in abis {
        interfaces.add_abi(file, &crate::engine::abi_of(text))?;
    }
    let (provider, chain_id) = crate::node::connect(rpc).await?;
    let rules = Rules::new(chain_id, hardfork).map_err(cordon_replay::ReplayError::from)?;
    let node = |source| EngineError::Node { what: format!("receipt of {hash}"), source };
    let receipt = provider.get_transaction_receipt(hash).await.map_err(node)?;
    let receipt = receipt.ok_or_else(|| argument("a transaction that the node has mined"))?;
    let number = receipt.block_number.ok_or_else(|| argument("a transaction that is mined"))?;
    let block = block(provider.clone(), chain_id, number).await?;
    let at = block.transactions.iter().position(|transaction| transaction.hash == hash);
    let at = at.ok_or_else(|| argument("a transaction of the block that its receipt names"))?;
    let index = u32::try_from(at).map_err(|_| argument("a position that fits a block"))?;
    let transaction =
        block.transactions.get(at).ok_or_else(|| argument("a transaction of its block"))?.clone();
    let block = Arc::new(block);
    let mut fork = Fork::before(Some(provider), &rules, Arc::clone(&block), index).await?;
    let mut execution = fork.transaction_in_full(&transaction, no_views()).await?;
    execution.tx = TxRef { chain_id, block: block.block_ref(), index, hash };
    let report = cordon_investigate::inspect(&execution, &interfaces, &Labels::default());
    Ok(Inspection { report, gas_used: execution.gas_used, gas_used_on_chain: receipt.gas_used })
}

/// A block of a node's chain.
pub(crate) async fn block(
    provider: alloy_provider::DynProvider,
    chain_id: ChainId,
    number: u64,
) -> Result<cordon_model::block::Block, EngineError> {
    let mut config = json_rpc::Config::new(chain_id);
    config.start = StartAt::Block(number);
    let mut source = JsonRpc::from_provider(provider, config);
    let empty = Cursor::new(chain_id);
    match source.advance(&empty).await? {
        Advance::Update(ChainUpdate::Applied(block)) => Ok(*block),
        Advance::Update(ChainUpdate::Reverted(_) | ChainUpdate::Pending(_))
        | Advance::AtHead
        | Advance::End => {
            let expected = "a block that the node has".to_owned();
            Err(EngineError::Argument { what: "block", found: number.to_string(), expected })
        }
    }
}
