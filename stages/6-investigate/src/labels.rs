//! Names for addresses and units for amounts.
//!
//! In: the operator's configuration and names that the caller knows. Out: text for people. Must never: replace an
//! address by a name alone where the reader needs to act on it; tables show both.

use crate::text::plain;
use alloy_primitives::{Address, I256, U256};
use cordon_model::protocol::Protocol;
use cordon_model::report::{Party, PartyRole};
use cordon_model::units::{Asset, format_signed_units, format_units};
use std::collections::BTreeMap;

/// Symbol of the native coin where the operator names none. Its smallest unit is a wei on every EVM chain.
const NATIVE: (&str, u8) = ("native coin", 18);

/// Names of addresses, and symbols and decimals of assets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    names: BTreeMap<Address, String>,
    assets: BTreeMap<Asset, (String, u8)>,
}

impl Labels {
    /// The names that the operator gave to contracts and assets.
    #[must_use]
    pub fn of(protocol: &Protocol) -> Self {
        let mut labels = Self::default();
        for spec in &protocol.assets {
            labels.assets.insert(spec.asset, (plain(&spec.symbol), spec.decimals));
            if let Asset::Token(token) = spec.asset {
                labels.name(token, &spec.symbol);
            }
        }
        for contract in &protocol.contracts {
            labels.name(contract.address, &contract.name);
        }
        labels
    }

    /// Names an address. A later name replaces an earlier one.
    pub fn name(&mut self, address: Address, name: &str) {
        self.names.insert(address, plain(name));
    }

    /// Names parties by their part where they have no name of their own, and the zero address by what it stands for:
    /// `attacker`, or `attack contract 2` where there are several.
    #[must_use]
    pub fn with_roles(&self, parties: &[Party]) -> Self {
        let mut labels = self.clone();
        let mut suggest = |address: Address, name: String| {
            labels.names.entry(address).or_insert(name);
        };
        suggest(Address::ZERO, "minted and burned".to_owned());
        for role in
            [PartyRole::Attacker, PartyRole::AttackContract, PartyRole::Beneficiary, PartyRole::Victim]
        {
            let alike: Vec<&Party> = parties.iter().filter(|party| party.role == role).collect();
            for (number, party) in (1u32..).zip(&alike) {
                let name = role_name(role);
                suggest(
                    party.address,
                    if alike.len() == 1 { name.to_owned() } else { format!("{name} {number}") },
                );
            }
        }
        labels
    }

    /// The name of an address, if it has one.
    #[must_use]
    pub fn get(&self, address: Address) -> Option<&str> {
        self.names.get(&address).map(String::as_str)
    }

    /// The name of an address, or the address.
    #[must_use]
    pub fn short(&self, address: Address) -> String {
        self.get(address).map_or_else(|| address.to_string(), str::to_owned)
    }

    /// The address, with its name where there is one.
    #[must_use]
    pub fn full(&self, address: Address) -> String {
        self.get(address).map_or_else(|| address.to_string(), |name| format!("{address} ({name})"))
    }

    /// Symbol of an asset.
    #[must_use]
    pub fn symbol(&self, asset: Asset) -> String {
        match (self.assets.get(&asset), asset) {
            (Some((symbol, _)), _) => symbol.clone(),
            (None, Asset::Native) => NATIVE.0.to_owned(),
            (None, Asset::Token(token)) => self.short(token),
        }
    }

    /// Decimals of an asset, where they are known.
    #[must_use]
    pub fn decimals(&self, asset: Asset) -> Option<u8> {
        let native = || (asset == Asset::Native).then_some(NATIVE.1);
        self.assets.get(&asset).map(|(_, decimals)| *decimals).or_else(native)
    }

    /// An amount with its symbol. Without known decimals the smallest unit is counted, and the text says so.
    #[must_use]
    pub fn amount(&self, asset: Asset, raw: U256) -> String {
        match self.decimals(asset) {
            Some(decimals) => format!("{} {}", format_units(raw, decimals), self.symbol(asset)),
            None => format!("{raw} smallest units of {}", self.symbol(asset)),
        }
    }

    /// A change with its sign and symbol.
    #[must_use]
    pub fn change(&self, asset: Asset, raw: I256) -> String {
        match self.decimals(asset) {
            Some(decimals) => format!("{} {}", format_signed_units(raw, decimals), self.symbol(asset)),
            None => format!("{} smallest units of {}", format_signed_units(raw, 0), self.symbol(asset)),
        }
    }
}

/// A party's part, for people.
pub(crate) fn role_name(role: PartyRole) -> &'static str {
    match role {
        PartyRole::Attacker => "attacker",
        PartyRole::AttackContract => "attack contract",
        PartyRole::Beneficiary => "beneficiary",
        PartyRole::Victim => "victim",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parties_are_named_by_their_part_and_numbered_if_several() {
        let party = |byte, role| Party { address: Address::repeat_byte(byte), role, why: String::new() };
        let mut labels = Labels::default();
        labels.name(Address::repeat_byte(4), "Vault");
        let labels = labels.with_roles(&[
            party(1, PartyRole::Attacker),
            party(2, PartyRole::AttackContract),
            party(3, PartyRole::AttackContract),
            party(4, PartyRole::Victim),
        ]);
        let names: Vec<_> = (1..=4).map(|byte| labels.short(Address::repeat_byte(byte))).collect();
        assert_eq!(names, ["attacker", "attack contract 1", "attack contract 2", "Vault"]);
    }

    #[test]
    fn amounts_say_their_unit() {
        let token = Address::repeat_byte(7);
        let mut labels = Labels::default();
        labels.assets.insert(Asset::Token(token), ("USD".to_owned(), 6));
        assert_eq!(labels.amount(Asset::Token(token), U256::from(1_500_000)), "1.5 USD");
        assert_eq!(
            labels.change(Asset::Native, I256::try_from(-1).unwrap()),
            "-0.000000000000000001 native coin"
        );
        let unknown = Asset::Token(Address::ZERO);
        assert_eq!(
            labels.amount(unknown, U256::from(7)),
            "7 smallest units of 0x0000000000000000000000000000000000000000"
        );
    }

    #[test]
    fn names_are_made_plain() {
        let mut labels = Labels::default();
        labels.name(Address::ZERO, "Vault\n`x`");
        assert_eq!(labels.short(Address::ZERO), "Vault\\u{a}\\u{60}x\\u{60}");
        assert!(labels.full(Address::ZERO).starts_with("0x0000000000000000000000000000000000000000 (Vault"));
    }
}
