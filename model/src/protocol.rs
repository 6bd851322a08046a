//! What is protected, and with which levers.
//!
//! In: the operator's configuration. Out: [`Protocol`]. Every price is fixed-point: value in wad (10^18 is one unit
//! of account) per whole token.

use crate::execution::ViewCall;
use crate::units::{Asset, CapabilityId, ChainId, ProtocolId};
use alloy_primitives::{Address, Bytes, Selector, U256};
use serde::{Deserialize, Serialize};

/// A protected protocol on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// The operator's name for it.
    pub id: ProtocolId,
    /// Chain it lives on.
    pub chain_id: ChainId,
    /// Contracts whose holdings and control flow are protected.
    pub contracts: Vec<ProtectedContract>,
    /// Contracts whose creations join the protocol: every contract that one of them creates is protected from its
    /// first block on.
    #[serde(default)]
    pub factories: Vec<Address>,
    /// Assets that are valued.
    pub assets: Vec<AssetSpec>,
    /// What each user is owed and owes, readable per account.
    pub account_views: Vec<AccountView>,
    /// Levers that exist on chain.
    pub capabilities: Vec<Capability>,
}

impl Protocol {
    /// True where the address is one of the protected contracts.
    #[must_use]
    pub fn protects(&self, address: Address) -> bool {
        self.contracts.iter().any(|contract| contract.address == address)
    }

    /// The valued asset, if it is one.
    #[must_use]
    pub fn asset(&self, asset: Asset) -> Option<&AssetSpec> {
        self.assets.iter().find(|spec| spec.asset == asset)
    }

    /// The operator's name for an address of this protocol: a contract, or a valued token.
    #[must_use]
    pub fn label(&self, address: Address) -> Option<&str> {
        let contract = self.contracts.iter().find(|contract| contract.address == address);
        let token = || self.asset(Asset::Token(address)).map(|spec| spec.symbol.as_str());
        contract.map(|contract| contract.name.as_str()).or_else(token)
    }
}

/// One protected contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedContract {
    /// Its address: for a proxy, the proxy.
    pub address: Address,
    /// Name for people.
    pub name: String,
}

/// An asset and where its price comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetSpec {
    /// Which asset.
    pub asset: Asset,
    /// Symbol for people.
    pub symbol: String,
    /// Decimals of the smallest unit.
    pub decimals: u8,
    /// Where the price comes from.
    pub price: Price,
}

/// Source of a price in wad per whole token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Price {
    /// Stated by the operator.
    Fixed {
        /// Value of one whole token.
        value_wad: U256,
    },
    /// A share of an ERC-4626 vault: `convertToAssets(one share)` of `vault`, times the underlying's price.
    /// Always read before the transaction, so that a manipulated rate cannot hide a loss.
    ShareRate {
        /// The vault whose shares these are.
        vault: Address,
        /// What a share converts to.
        underlying: Asset,
    },
    /// Not priced: losses are reported in asset units only.
    Unpriced,
}

/// `convertToAssets(uint256)` of ERC-4626.
pub const CONVERT_TO_ASSETS: Selector = Selector::new([0x07, 0xa2, 0xd1, 0x3a]);

/// The view call `convertToAssets(shares_raw)` (ERC-4626).
#[must_use]
pub fn convert_to_assets(vault: Address, shares_raw: U256) -> ViewCall {
    let mut input = CONVERT_TO_ASSETS.to_vec();
    input.extend_from_slice(&shares_raw.to_be_bytes::<32>());
    ViewCall { target: vault, input: Bytes::from(input) }
}

/// One line of a user's account with the protocol, readable as `function(address) -> uint256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// Contract to ask.
    pub target: Address,
    /// Selector of the view; its only argument is the account.
    pub selector: Selector,
    /// Asset in which the answer is counted.
    pub asset: Asset,
    /// Whether the protocol owes it to the account or the account owes it to the protocol.
    pub side: AccountSide,
}

impl AccountView {
    /// The view call for one account.
    #[must_use]
    pub fn call(&self, account: Address) -> ViewCall {
        let mut input = self.selector.to_vec();
        input.extend_from_slice(account.into_word().as_slice());
        ViewCall { target: self.target, input: Bytes::from(input) }
    }
}

/// Direction of an account line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountSide {
    /// The protocol holds it for the account.
    Collateral,
    /// The account owes it.
    Debt,
}

/// A lever that exists on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The operator's name for it.
    pub id: CapabilityId,
    /// Which adapter knows its interface.
    pub adapter: LeverKind,
    /// Contract that carries the lever.
    pub target: Address,
    /// Account that may pull it.
    pub authority: Address,
    /// Account that may undo it; often not the same.
    pub undo_authority: Option<Address>,
    /// Whether the operator granted automatic use. Without it Cordon proposes and does not send.
    pub grant: Grant,
}

/// Kinds of lever for which an adapter exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeverKind {
    /// OpenZeppelin `Pausable` with public `pause()` and `unpause()`.
    Pausable,
}

/// What the operator allows Cordon to do with a lever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Propose only: nothing is ever sent. The default.
    #[default]
    ObserveOnly,
    /// Send without a person, where policy and proof allow it.
    Automatic,
}
