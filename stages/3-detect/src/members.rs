//! Which contracts join a protocol while it is watched: children of its factories, and the code behind its proxies.
//!
//! In: a protocol and what a transaction did. Out: contracts that belong to it from now on. Must never: take a contract
//! for a member because it says so. A child counts where a factory's own frame created it, an implementation where a
//! member's storage or a member's own event names it.

use alloy_primitives::{Address, B256, U256, b256};
use cordon_model::execution::Execution;
use cordon_model::log::FollowReason;
use cordon_model::protocol::{ProtectedContract, Protocol};
use cordon_model::units::ProtocolId;

/// `keccak256("eip1967.proxy.implementation") - 1` (ERC-1967).
pub const IMPLEMENTATION_SLOT: B256 =
    b256!("0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

/// `keccak256("eip1967.proxy.beacon") - 1` (ERC-1967).
pub const BEACON_SLOT: B256 = b256!("0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50");

/// `keccak256("Upgraded(address)")`: proxies and beacons say so when their code changes (ERC-1967).
const UPGRADED: B256 = b256!("0xbc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b");

/// Most contracts that join one protocol. A factory with more children than this is a public good and not a protocol's
/// own; the operator names those that matter.
pub const MEMBERS_MAX: usize = 10_000;

/// A contract that joins a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Protocol.
    pub protocol: ProtocolId,
    /// The contract.
    pub contract: Address,
    /// Why.
    pub because: FollowReason,
}

/// The contracts that join a protocol by a transaction, in the order in which it shows them; each once, and none that
/// is a member already. A transaction that failed, or that ran on another chain, adds nothing.
#[must_use]
pub fn joining(protocol: &Protocol, execution: &Execution) -> Vec<Joining> {
    if !execution.status.is_success() || execution.tx.chain_id != protocol.chain_id {
        return Vec::new();
    }
    let created = execution
        .creations
        .iter()
        .filter(|creation| protocol.factories.contains(&creation.creator))
        .map(|creation| (creation.address, FollowReason::CreatedBy(creation.creator)));
    let mut found: Vec<(Address, FollowReason)> = created.collect();
    // A child may be a proxy whose code is set within its own creation.
    let children: Vec<Address> = found.iter().map(|(child, _)| *child).collect();
    let is_member = |address: Address| protocol.protects(address) || children.contains(&address);
    let pointed = execution
        .storage_changes
        .iter()
        .filter(|change| is_member(change.address) && is_code_slot(change.slot))
        .filter_map(|change| {
            Some((as_address(change.after)?, FollowReason::ImplementationOf(change.address)))
        });
    let announced = execution.logs.iter().filter_map(|log| match log.topics.as_slice() {
        [UPGRADED, implementation] if is_member(log.address) => {
            let implementation = as_address(U256::from_be_bytes(implementation.0))?;
            Some((implementation, FollowReason::ImplementationOf(log.address)))
        }
        _ => None,
    });
    found.extend(pointed.chain(announced));
    let mut joining: Vec<Joining> = Vec::new();
    for (contract, because) in found {
        let known = protocol.protects(contract) || joining.iter().any(|other| other.contract == contract);
        if !known && protocol.contracts.len().saturating_add(joining.len()) < MEMBERS_MAX {
            joining.push(Joining { protocol: protocol.id.clone(), contract, because });
        }
    }
    joining
}

/// A member as an entry of its protocol, with a name that says where it is from.
#[must_use]
pub fn member(protocol: &Protocol, contract: Address, because: FollowReason) -> ProtectedContract {
    let (what, of) = match because {
        FollowReason::CreatedBy(factory) => ("child", factory),
        FollowReason::ImplementationOf(proxy) => ("implementation", proxy),
    };
    let of = protocol.label(of).map_or_else(|| of.to_string(), ToOwned::to_owned);
    ProtectedContract { address: contract, name: format!("{what} of {of}") }
}

/// The address in a storage word; `None` for zero, and for a word that holds more than an address.
#[must_use]
pub fn as_address(word: U256) -> Option<Address> {
    let word = B256::from(word);
    let address = Address::from_word(word);
    (address.into_word() == word && !address.is_zero()).then_some(address)
}

fn is_code_slot(slot: U256) -> bool {
    let slot = B256::from(slot);
    slot == IMPLEMENTATION_SLOT || slot == BEACON_SLOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CHILD, CONTROLLER, IMPLEMENTATION, LENDING_VAULT, World};
    use alloy_primitives::{Bytes, keccak256};
    use cordon_model::execution::{Creation, Log, Status, StorageChange};

    fn created(creator: Address) -> Creation {
        let (init_code_hash, code_hash) = (B256::repeat_byte(8), B256::repeat_byte(9));
        Creation { frame: 0, creator, address: CHILD, init_code_hash, code_hash }
    }

    fn with(edit: impl FnOnce(&mut Execution)) -> Vec<Joining> {
        let mut protocol = World::protocol();
        protocol.factories = vec![CONTROLLER];
        let mut execution = World::new().script().finish(&[]);
        edit(&mut execution);
        joining(&protocol, &execution)
    }

    fn contracts(found: &[Joining]) -> Vec<Address> {
        found.iter().map(|joining| joining.contract).collect()
    }

    #[test]
    fn the_slots_and_the_event_are_those_of_the_standard() {
        let slot = |name: &str| B256::from(U256::from_be_bytes(keccak256(name).0) - U256::ONE);
        assert_eq!(IMPLEMENTATION_SLOT, slot("eip1967.proxy.implementation"));
        assert_eq!(BEACON_SLOT, slot("eip1967.proxy.beacon"));
        assert_eq!(UPGRADED, keccak256("Upgraded(address)"));
    }

    #[test]
    fn a_factorys_child_joins_and_a_strangers_does_not() {
        let found = with(|execution| execution.creations.push(created(CONTROLLER)));
        assert_eq!(contracts(&found), [CHILD]);
        assert_eq!(found[0].because, FollowReason::CreatedBy(CONTROLLER));
        assert!(with(|execution| execution.creations.push(created(CHILD))).is_empty());
        let failed = with(|execution| {
            execution.creations.push(created(CONTROLLER));
            execution.status = Status::Revert { output: Bytes::new() };
        });
        assert!(failed.is_empty());
    }

    #[test]
    fn the_code_behind_a_member_joins_once_however_it_is_told() {
        let change = |address| StorageChange {
            address,
            slot: IMPLEMENTATION_SLOT.into(),
            before: U256::ZERO,
            after: U256::from_be_bytes(IMPLEMENTATION.into_word().0),
        };
        let log = |address| Log {
            seq: 1,
            frame: 0,
            address,
            topics: vec![UPGRADED, IMPLEMENTATION.into_word()],
            data: Bytes::new(),
        };
        let found = with(|execution| {
            execution.storage_changes.push(change(LENDING_VAULT));
            execution.logs.push(log(LENDING_VAULT));
        });
        assert_eq!(contracts(&found), [IMPLEMENTATION]);
        let child_proxy = with(|execution| {
            execution.creations.push(created(CONTROLLER));
            execution.storage_changes.push(change(CHILD));
        });
        assert_eq!(contracts(&child_proxy), [CHILD, IMPLEMENTATION]);
        let foreign = with(|execution| {
            execution.storage_changes.push(change(CHILD));
            execution.logs.push(log(CHILD));
        });
        assert!(foreign.is_empty(), "anybody may emit such an event");
    }

    #[test]
    fn a_word_that_is_no_address_names_nobody() {
        assert_eq!(as_address(U256::ZERO), None);
        assert_eq!(as_address(U256::MAX), None);
    }
}
