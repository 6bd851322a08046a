//! What is protected where nobody said it: everybody but the sender.
//!
//! In: one execution. Out: a [`Protocol`] of all accounts that it touched and that do not stand on the sender's side. So
//! the same detectors judge transactions of a whole chain, or an archive of attacks whose victims are not named. Must
//! never: be configured for containment: it has no prices, no accounts, no levers, and its members change from
//! transaction to transaction.
//!
//! What the sender calls first counts as his own, unless it is known that others call it as well: be it a router or the
//! victim, a theft by one plain call to it is not seen otherwise.

use crate::parties::SendersSide;
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use cordon_model::execution::Execution;
use cordon_model::protocol::{Contracts, ProtectedContract, Protocol};
use cordon_model::units::ProtocolId;
use std::collections::{BTreeMap, BTreeSet};

/// Accounts that one transaction's protocol may have. A transaction that touches more is judged by those with the lowest
/// addresses, which is as good a choice as any; 30 million gas suffice for about 10,000 cold accounts (EIP-2929).
const ACCOUNTS_MAX: usize = 4_096;

/// Contracts that at least two senders call first in these transactions of one block. A contract of somebody's own has no
/// other callers.
#[must_use]
pub fn public_contracts(block: &[Execution]) -> AddressSet {
    let mut callers: BTreeMap<Address, BTreeSet<Address>> = BTreeMap::new();
    for transaction in block.iter().map(|execution| &execution.transaction) {
        if let Some(to) = transaction.to {
            callers.entry(to).or_default().insert(transaction.from);
        }
    }
    callers.into_iter().filter(|(_, callers)| callers.len() > 1).map(|(to, _)| to).collect()
}

/// Everybody whom the transaction touched, but the sender's side. A `public` contract is nobody's own.
#[must_use]
pub fn anyone(execution: &Execution, public: &AddressSet) -> Protocol {
    let mut protocol = Protocol {
        id: ProtocolId("anyone".to_owned()),
        chain_id: execution.tx.chain_id,
        contracts: Contracts::default(),
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    };
    let contract = |address: Address| ProtectedContract { address, name: address.to_string() };
    let first = execution.transaction.to.filter(|first| public.contains(first));
    protocol.contracts.extend(first.map(contract));
    let side = SendersSide::of(&protocol, execution);
    let called = execution.frames.iter().filter(|frame| !frame.reverted && !frame.precompile);
    let paid = execution.transfers.iter().map(|transfer| transfer.from);
    let touched: BTreeSet<Address> =
        called.map(|frame| frame.address).chain(paid).filter(|account| !account.is_zero()).collect();
    let others = touched.into_iter().filter(|account| !side.has(*account) && Some(*account) != first);
    protocol.contracts.extend(others.take(ACCOUNTS_MAX).map(contract));
    protocol
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn everybody_is_protected_but_the_sender_and_his() {
        let mut script = World::new().script();
        script.create(CHILD, |_| {});
        script.call(LENDING_VAULT, 1, |script| script.transfer(USD, BOB, CHILD, wad(1)));
        script.reverted(COLLATERAL_VAULT, 1, |_| {});
        let execution = script.finish(&[]);
        let protocol = anyone(&execution, &AddressSet::default());
        let protects = |account| protocol.protects(account);
        assert!([LENDING_VAULT, USD_TOKEN, BOB].into_iter().all(protects));
        assert!(![ALICE, CONTROLLER, CHILD, COLLATERAL_VAULT, Address::ZERO].into_iter().any(protects));
        let public = anyone(&execution, &[CONTROLLER].into_iter().collect());
        assert!(public.protects(CONTROLLER) && !public.protects(ALICE));
    }

    #[test]
    fn a_contract_is_public_where_several_senders_call_it() {
        let sent = |from, to| Script::new(World::new(), from, to).finish(&[]);
        let block = [sent(ALICE, CONTROLLER), sent(BOB, CONTROLLER), sent(BOB, CHILD), sent(BOB, CHILD)];
        assert_eq!(public_contracts(&block), [CONTROLLER].into_iter().collect::<AddressSet>());
        assert_eq!(public_contracts(&block[1..]), AddressSet::default());
    }
}
