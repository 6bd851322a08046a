//! The state of all accounts after one block: balances, nonces, code, storage, and the state root over them.
//!
//! In goes what the EVM changed, out come values and the Merkle Patricia root. Copies share every account that did
//! not change, so one copy per block is cheap. Maps are ordered, so no hash seed can leak into a result.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_consensus::proofs::{state_root_unhashed, storage_root_unhashed};
use alloy_consensus::{EMPTY_ROOT_HASH, TrieAccount};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::state::{Account, AccountInfo, EvmState};

/// One account. Never stored while it is empty in the sense of EIP-161.
#[derive(Debug, Clone)]
pub(crate) struct AccountState {
    nonce: u64,
    balance_wei: U256,
    code_hash: B256,
    code: Bytecode,
    storage: Arc<BTreeMap<U256, U256>>,
    /// `None` after a change, until the next state root is taken.
    storage_root: Option<B256>,
}

impl Default for AccountState {
    fn default() -> Self {
        Self {
            nonce: 0,
            balance_wei: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
            code: Bytecode::default(),
            storage: Arc::default(),
            storage_root: Some(EMPTY_ROOT_HASH),
        }
    }
}

impl AccountState {
    fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance_wei.is_zero() && self.code_hash == KECCAK256_EMPTY
    }

    fn set_slot(&mut self, slot: U256, value: U256) {
        let storage = Arc::make_mut(&mut self.storage);
        if value.is_zero() {
            storage.remove(&slot);
        } else {
            storage.insert(slot, value);
        }
        self.storage_root = None;
    }

    fn root(&mut self) -> B256 {
        if let Some(root) = self.storage_root {
            return root;
        }
        let root = storage_root_unhashed(
            self.storage.iter().map(|(slot, value)| (B256::from(slot.to_be_bytes()), *value)),
        );
        self.storage_root = Some(root);
        root
    }
}

/// All accounts after one block.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    accounts: BTreeMap<Address, Arc<AccountState>>,
}

impl World {
    pub(crate) fn balance_wei(&self, address: Address) -> U256 {
        self.accounts.get(&address).map_or(U256::ZERO, |account| account.balance_wei)
    }

    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.accounts.get(&address).map_or(0, |account| account.nonce)
    }

    pub(crate) fn code(&self, address: Address) -> Bytes {
        self.accounts.get(&address).map_or_else(Bytes::new, |account| account.code.original_bytes())
    }

    /// Whether the account may send transactions: it has no code, or only an EIP-7702 delegation.
    pub(crate) fn may_send(&self, address: Address) -> bool {
        self.accounts.get(&address).is_none_or(|account| account.code.is_empty() || account.code.is_eip7702())
    }

    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        self.accounts
            .get(&address)
            .and_then(|account| account.storage.get(&slot).copied())
            .unwrap_or_default()
    }

    pub(crate) fn add_balance(&mut self, address: Address, amount_wei: U256) {
        self.edit(address, |account| account.balance_wei = account.balance_wei.saturating_add(amount_wei));
    }

    pub(crate) fn set_code(&mut self, address: Address, code: Bytes) {
        // Bytes that start like an EIP-7702 delegation without being one are kept as ordinary code.
        let code = Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code));
        self.edit(address, |account| {
            account.code_hash = code.hash_slow();
            account.code = code;
            // A contract starts at nonce one (EIP-161).
            account.nonce = account.nonce.max(1);
        });
    }

    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        self.edit(address, |account| account.set_slot(slot, value));
    }

    fn edit(&mut self, address: Address, change: impl FnOnce(&mut AccountState)) {
        let account = Arc::make_mut(self.accounts.entry(address).or_default());
        change(account);
        if account.is_empty() {
            self.accounts.remove(&address);
        }
    }

    /// Takes over what one transaction changed.
    pub(crate) fn commit(&mut self, changes: EvmState) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            if account.is_selfdestructed() {
                self.accounts.remove(&address);
            } else {
                self.edit(address, |state| apply(state, account));
            }
        }
    }

    /// The Merkle Patricia root over all accounts, as it stands in a block header.
    pub(crate) fn state_root(&mut self) -> B256 {
        let leaves: Vec<(Address, TrieAccount)> = self
            .accounts
            .iter_mut()
            .map(|(address, account)| {
                let root = match account.storage_root {
                    Some(root) => root,
                    None => Arc::make_mut(account).root(),
                };
                (*address, TrieAccount::new(account.nonce, account.balance_wei, root, account.code_hash))
            })
            .collect();
        state_root_unhashed(leaves)
    }
}

fn apply(state: &mut AccountState, account: Account) {
    if account.is_created() {
        state.storage = Arc::default();
        state.storage_root = Some(EMPTY_ROOT_HASH);
    }
    state.nonce = account.info.nonce;
    state.balance_wei = account.info.balance;
    if state.code_hash != account.info.code_hash
        && let Some(code) = account.info.code
    {
        state.code_hash = account.info.code_hash;
        state.code = code;
    }
    for (slot, value) in account.storage {
        let present = value.present_value();
        if state.storage.get(&slot).copied().unwrap_or_default() != present {
            state.set_slot(slot, present);
        }
    }
}

/// What the EVM reads from: one state and the hashes of the blocks before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    /// Hashes by number, for the `BLOCKHASH` instruction.
    pub(crate) hashes: &'a BTreeMap<u64, B256>,
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.world.accounts.get(&address).map(|account| {
            AccountInfo::new(account.balance_wei, account.nonce, account.code_hash, account.code.clone())
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        // Accounts are handed out with their code, so this lookup is a fallback; a scan is good enough.
        let found = self.world.accounts.values().find(|account| account.code_hash == code_hash);
        Ok(found.map(|account| account.code.clone()).unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Infallible> {
        Ok(self.world.slot(address, index))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_world_has_the_empty_root_and_an_emptied_account_vanishes() {
        let mut world = World::default();
        assert_eq!(world.state_root(), EMPTY_ROOT_HASH);
        let who = Address::repeat_byte(7);
        world.add_balance(who, U256::from(1));
        assert_ne!(world.state_root(), EMPTY_ROOT_HASH);
        world.edit(who, |account| account.balance_wei = U256::ZERO);
        assert_eq!(world.state_root(), EMPTY_ROOT_HASH);
    }

    #[test]
    fn a_copy_keeps_its_values_and_a_slot_set_to_zero_restores_the_root() {
        let who = Address::repeat_byte(7);
        let mut world = World::default();
        world.set_code(who, Bytes::from_static(&[0x00]));
        let before = world.state_root();
        let mut copy = world.clone();
        world.set_slot(who, U256::from(3), U256::from(9));
        assert_eq!((copy.slot(who, U256::from(3)), copy.state_root()), (U256::ZERO, before));
        assert_ne!(world.state_root(), before);
        world.set_slot(who, U256::from(3), U256::ZERO);
        assert_eq!(world.state_root(), before);
    }
}
