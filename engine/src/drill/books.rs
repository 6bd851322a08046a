//! Where every unit of the asset is at the end, and that nothing is missing.
//!
//! In: the token's transfer logs and balances at the snapshot and at the end. Out: a ledger in which each holder's
//! balance follows from its transfers, and whose lines add up to the supply, to the last unit; or the first thing that
//! does not add up. Must never: fill a gap.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::payback::{TRANSFER_TOPIC, balance_of};
use alloy_primitives::{Address, Bytes, U256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::Filter;
use cordon_model::execution::ViewCall;
use cordon_model::units::{Asset, BlockRef};
use cordon_recover::{Books, HolderLine, balance_sheet};
use serde::Serialize;
use std::collections::BTreeMap;

/// `totalSupply()` of ERC-20.
const TOTAL_SUPPLY: [u8; 4] = [0x18, 0x16, 0x0d, 0xdd];

/// The ledger of one asset between two blocks.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    /// Symbol of the asset; all tokens of the range have 18 decimals.
    pub symbol: &'static str,
    /// Block before the attack.
    pub from: BlockRef,
    /// Last block.
    pub to: BlockRef,
    /// Supply at the end, raw.
    pub supply_raw: U256,
    /// Every account that held or moved the asset.
    pub lines: Vec<LedgerLine>,
}

/// One account of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerLine {
    /// Account.
    pub account: Address,
    /// Name for people.
    pub name: String,
    /// Held before the attack, raw.
    pub before_raw: U256,
    /// Received since, raw.
    pub received_raw: U256,
    /// Sent since, raw.
    pub sent_raw: U256,
    /// Holds at the end, raw.
    pub after_raw: U256,
}

/// Draws up the ledger and checks it.
///
/// # Errors
/// [`EngineError::Recovery`] naming the account or the sum that does not add up.
pub(super) async fn ledger(
    engine: &Engine,
    (token, symbol): (Address, &'static str),
    from: BlockRef,
    to: BlockRef,
    name: impl Fn(Address) -> String,
) -> Result<Ledger, EngineError> {
    let flows = flows(engine, token, from.number).await?;
    let mut lines = Vec::new();
    for (account, (received_raw, sent_raw)) in flows {
        let question = balance_of(token, account);
        let before_raw = engine.ask(&question, Some(from)).await?;
        let after_raw = engine.ask(&question, Some(to)).await?;
        let expected = before_raw.checked_add(received_raw).and_then(|sum| sum.checked_sub(sent_raw));
        if expected != Some(after_raw) {
            let account = name(account);
            return Err(EngineError::Recovery(format!(
                "{account} held {before_raw}, received {received_raw}, sent {sent_raw}, and holds {after_raw}"
            )));
        }
        lines.push(LedgerLine {
            account,
            name: name(account),
            before_raw,
            received_raw,
            sent_raw,
            after_raw,
        });
    }
    let supply = ViewCall { target: token, input: Bytes::from(TOTAL_SUPPLY.to_vec()) };
    let holders = lines.iter().map(|line| HolderLine {
        account: line.account,
        name: line.name.clone(),
        before_raw: line.before_raw,
        after_raw: line.after_raw,
    });
    let books = Books {
        asset: Asset::Token(token),
        supply_before_raw: engine.ask(&supply, Some(from)).await?,
        supply_after_raw: engine.ask(&supply, Some(to)).await?,
        accounts: Vec::new(),
        holders: holders.collect(),
    };
    let sheet = balance_sheet(&books).map_err(|imbalance| EngineError::Recovery(imbalance.to_string()))?;
    Ok(Ledger { symbol, from, to, supply_raw: sheet.supply_after_raw, lines })
}

/// What every account ever holding the token received and sent after a block.
async fn flows(
    engine: &Engine,
    token: Address,
    after: u64,
) -> Result<BTreeMap<Address, (U256, U256)>, EngineError> {
    let filter = Filter::new().address(token).event_signature(TRANSFER_TOPIC).from_block(0);
    let node = |source| EngineError::Node { what: format!("transfers of {token}"), source };
    let logs = engine.provider.get_logs(&filter).await.map_err(node)?;
    let mut flows: BTreeMap<Address, (U256, U256)> = BTreeMap::new();
    for log in logs {
        let [_, from, to] = log.topics() else { continue };
        let amount = U256::from_be_slice(log.data().data.get(..32).unwrap_or_default());
        let counted = if log.block_number.is_some_and(|block| block > after) { amount } else { U256::ZERO };
        let (from, to) = (Address::from_word(*from), Address::from_word(*to));
        let sender = flows.entry(from).or_default();
        sender.1 = sender.1.saturating_add(counted);
        let receiver = flows.entry(to).or_default();
        receiver.0 = receiver.0.saturating_add(counted);
    }
    // The zero address stands for minting and burning, not for a holder.
    flows.remove(&Address::ZERO);
    Ok(flows)
}
