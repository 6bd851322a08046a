//! What is protected, and with which levers.
//!
//! In: the operator's configuration. Out: [`Protocol`]. Every price is fixed-point: value in wad (10^18 is one unit
//! of account) per whole token.

use crate::execution::ViewCall;
use crate::units::{Asset, CapabilityId, ChainId, ProtocolId};
use alloy_primitives::map::AddressMap;
use alloy_primitives::{Address, Bytes, Selector, U256};
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// A protected protocol on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// The operator's name for it.
    pub id: ProtocolId,
    /// Chain it lives on.
    pub chain_id: ChainId,
    /// Contracts whose holdings and control flow are protected.
    pub contracts: Contracts,
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
        self.contracts.named(address).is_some()
    }

    /// The valued asset, if it is one.
    #[must_use]
    pub fn asset(&self, asset: Asset) -> Option<&AssetSpec> {
        self.assets.iter().find(|spec| spec.asset == asset)
    }

    /// The operator's name for an address of this protocol: a contract, or a valued token.
    #[must_use]
    pub fn label(&self, address: Address) -> Option<&str> {
        let token = || self.asset(Asset::Token(address)).map(|spec| spec.symbol.as_str());
        self.contracts.named(address).map(|contract| contract.name.as_str()).or_else(token)
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

/// Protected contracts in the order given. Whether an address is one of them is asked several times per call frame of
/// every transaction, so it is looked up and not searched for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<ProtectedContract>", into = "Vec<ProtectedContract>")]
pub struct Contracts {
    list: Vec<ProtectedContract>,
    places: AddressMap<usize>,
}

impl Contracts {
    /// The contract of this address; the first one where several have it.
    #[must_use]
    pub fn named(&self, address: Address) -> Option<&ProtectedContract> {
        self.list.get(*self.places.get(&address)?)
    }

    /// Takes one more.
    pub fn push(&mut self, contract: ProtectedContract) {
        self.places.entry(contract.address).or_insert(self.list.len());
        self.list.push(contract);
    }
}

impl Deref for Contracts {
    type Target = [ProtectedContract];

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl<'a> IntoIterator for &'a Contracts {
    type Item = &'a ProtectedContract;
    type IntoIter = std::slice::Iter<'a, ProtectedContract>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// The same contracts in the same order.
impl PartialEq for Contracts {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Contracts {}

impl Extend<ProtectedContract> for Contracts {
    fn extend<T: IntoIterator<Item = ProtectedContract>>(&mut self, contracts: T) {
        contracts.into_iter().for_each(|contract| self.push(contract));
    }
}

impl FromIterator<ProtectedContract> for Contracts {
    fn from_iter<T: IntoIterator<Item = ProtectedContract>>(contracts: T) -> Self {
        let mut all = Self::default();
        all.extend(contracts);
        all
    }
}

impl From<Vec<ProtectedContract>> for Contracts {
    fn from(contracts: Vec<ProtectedContract>) -> Self {
        contracts.into_iter().collect()
    }
}

impl From<Contracts> for Vec<ProtectedContract> {
    fn from(contracts: Contracts) -> Self {
        contracts.list
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(byte: u8, name: &str) -> ProtectedContract {
        ProtectedContract { address: Address::repeat_byte(byte), name: name.to_owned() }
    }

    #[test]
    fn contracts_are_found_by_address_however_they_came() {
        let mut contracts = Contracts::from(vec![contract(1, "one"), contract(2, "two")]);
        contracts.push(contract(3, "three"));
        contracts.extend([contract(1, "one again")]);
        let name = |byte| contracts.named(Address::repeat_byte(byte)).map(|found| found.name.as_str());
        assert_eq!([name(1), name(2), name(3), name(4)], [Some("one"), Some("two"), Some("three"), None]);
        assert_eq!(contracts.len(), 4, "the list is as given");
    }

    #[test]
    fn contracts_are_written_as_a_list_and_read_back_with_their_places() {
        let contracts: Contracts = [contract(1, "one"), contract(2, "two")].into_iter().collect();
        let text = serde_json::to_string(&contracts).unwrap();
        assert_eq!(text, serde_json::to_string(&contracts.to_vec()).unwrap());
        let read: Contracts = serde_json::from_str(&text).unwrap();
        assert_eq!(read, contracts);
        assert!(read.named(Address::repeat_byte(2)).is_some() && read.named(Address::ZERO).is_none());
    }
}
