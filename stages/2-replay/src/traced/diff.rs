//! The prestate tracer's difference, read into what changed per account.
//!
//! In: JSON of `prestateTracer` with `diffMode`. Out: balances, slots and codes before and after one transaction.
//!
//! The tracer lists accounts that changed: under `pre` as they were, under `post` the fields that differ, slots that are
//! zero left out on either side. An account that stands under `post` alone was created, one under `pre` alone is gone.

use super::json::Text;
use alloy_primitives::{Address, B256, Bytes, I256, KECCAK256_EMPTY, U256, hex, keccak256};
use cordon_model::execution::StorageChange;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::collections::{BTreeMap, BTreeSet};

/// What one transaction changed.
#[derive(Debug, Default)]
pub(crate) struct StateDiff {
    pub(crate) accounts: BTreeMap<Address, AccountDiff>,
}

/// What changed of one account.
#[derive(Debug, Default)]
pub(crate) struct AccountDiff {
    pub(crate) balance_before_wei: U256,
    pub(crate) balance_after_wei: U256,
    /// True where the account is there after the transaction.
    pub(crate) remains: bool,
    /// True where it had code before.
    pub(crate) had_code: bool,
    /// Code before, where it differs after.
    pub(crate) code_before: Option<Bytes>,
    /// Hash of a code that is new.
    pub(crate) new_code_hash: Option<B256>,
    /// Slot, value before, value after.
    pub(crate) slots: Vec<(U256, U256, U256)>,
}

#[derive(Deserialize)]
struct WireDiff<'a> {
    #[serde(borrow)]
    pre: BTreeMap<Address, WireAccount<'a>>,
    #[serde(borrow)]
    post: BTreeMap<Address, WireAccount<'a>>,
}

#[derive(Default, Deserialize)]
struct WireAccount<'a> {
    #[serde(default)]
    balance: Option<U256>,
    #[serde(borrow, default)]
    code: Option<Text<'a>>,
    #[serde(default)]
    storage: Option<BTreeMap<U256, U256>>,
}

impl WireAccount<'_> {
    fn code(&self) -> Result<Option<Bytes>, hex::FromHexError> {
        self.code.as_ref().map(|Text(code)| hex::decode(code.as_ref()).map(Bytes::from)).transpose()
    }

    fn slot(&self, slot: &U256) -> U256 {
        self.storage.as_ref().and_then(|storage| storage.get(slot)).copied().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for StateDiff {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let WireDiff { mut pre, mut post } = WireDiff::deserialize(json)?;
        let mut accounts = BTreeMap::new();
        let touched: BTreeSet<Address> = pre.keys().chain(post.keys()).copied().collect();
        for address in touched {
            let diff = account_diff(pre.remove(&address), post.remove(&address))
                .map_err(|error| D::Error::custom(format!("code of {address}: {error}")))?;
            accounts.insert(address, diff);
        }
        Ok(Self { accounts })
    }
}

fn account_diff(
    pre: Option<WireAccount<'_>>,
    post: Option<WireAccount<'_>>,
) -> Result<AccountDiff, hex::FromHexError> {
    let before = pre.unwrap_or_default();
    let balance_before_wei = before.balance.unwrap_or_default();
    let code_before = before.code()?.unwrap_or_default();
    let Some(after) = post else {
        return Ok(AccountDiff {
            balance_before_wei,
            had_code: !code_before.is_empty(),
            code_before: Some(code_before),
            ..AccountDiff::default()
        });
    };
    let code_after = after.code()?;
    let slots: BTreeSet<U256> = [&before, &after]
        .into_iter()
        .flat_map(|side| side.storage.iter().flatten())
        .map(|(slot, _)| *slot)
        .collect();
    let slots = slots.into_iter().map(|slot| (slot, before.slot(&slot), after.slot(&slot)));
    Ok(AccountDiff {
        balance_before_wei,
        balance_after_wei: after.balance.unwrap_or(balance_before_wei),
        remains: true,
        had_code: !code_before.is_empty(),
        new_code_hash: code_after.as_ref().map(|code| hash_of(code)),
        code_before: code_after.is_some().then_some(code_before),
        slots: slots.filter(|(_, before, after)| before != after).collect(),
    })
}

/// Hash of a code as accounts state it.
pub(crate) fn hash_of(code: &[u8]) -> B256 {
    if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) }
}

impl StateDiff {
    /// Slots that differ, in the order of account and slot. Those of a contract that is gone are not listed: which ones it
    /// held is not known without its whole storage.
    pub(crate) fn storage_changes(&self) -> Vec<StorageChange> {
        let remaining = self.accounts.iter().filter(|(_, account)| account.remains);
        let changes = remaining.flat_map(|(address, account)| {
            account.slots.iter().map(|(slot, before, after)| StorageChange {
                address: *address,
                slot: *slot,
                before: *before,
                after: *after,
            })
        });
        changes.collect()
    }

    /// Balances that differ.
    pub(crate) fn balance_changes_wei(&self) -> BTreeMap<Address, I256> {
        let changed = self
            .accounts
            .iter()
            .filter(|(_, account)| account.balance_before_wei != account.balance_after_wei);
        // Both are below the total supply of the coin, far from the sign bit.
        let delta = |account: &AccountDiff| {
            I256::from_raw(account.balance_after_wei.wrapping_sub(account.balance_before_wei))
        };
        changed.map(|(address, account)| (*address, delta(account))).collect()
    }
}
