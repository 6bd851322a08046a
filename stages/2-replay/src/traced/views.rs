//! View calls before and after one transaction of a block, answered by a node.
//!
//! In: what each transaction changed, the calls. Out: their answers. Must never: take the state before or after the whole
//! block for that before or after one transaction.
//!
//! A node answers at the end of a block. The state between two transactions is that end with the changes of the later
//! transactions taken back, which `eth_call` accepts as state overrides (its third parameter); the block's own number and
//! time hold meanwhile, as in a local replay. What the protocol changes at the end of a block (withdrawals) is not taken
//! back: transactions do not see it, and views of a protocol do not read it.

use super::diff::StateDiff;
use super::{Limits, TraceError, in_time};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_provider::{DynProvider, Provider};
use alloy_transport::TransportError;
use cordon_model::execution::{ViewCall, ViewReading};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Method of the answers.
const METHOD: &str = "eth_call with state overrides";
/// Slots and accounts that are overridden in one call. A full Ethereum block changes about 700; beyond a few megabytes of
/// request nodes refuse.
const MAX_OVERRIDES: usize = 16_384;
/// Calls that are under way at once; as many as reads of state.
const WIDTH: usize = 8;

/// What must be put back on top of the block's end.
#[derive(Debug, Default, Serialize)]
struct Override {
    balance: U256,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Bytes>,
    #[serde(rename = "stateDiff", skip_serializing_if = "BTreeMap::is_empty")]
    slots: BTreeMap<B256, B256>,
}

/// Takes the transactions of a block back, the last one first.
#[derive(Debug, Default)]
struct Undo {
    accounts: BTreeMap<Address, Override>,
    slots: usize,
    /// True where a contract went away whose whole storage the differences do not tell.
    incomplete: bool,
}

impl Undo {
    fn take_back(&mut self, diff: &StateDiff) {
        for (address, account) in &diff.accounts {
            self.incomplete |= !account.remains && account.had_code;
            let back = self.accounts.entry(*address).or_default();
            back.balance = account.balance_before_wei;
            if let Some(code) = &account.code_before {
                back.code = Some(code.clone());
            }
            for (slot, before, _) in &account.slots {
                if back.slots.insert(B256::from(*slot), B256::from(*before)).is_none() {
                    self.slots = self.slots.saturating_add(1);
                }
            }
        }
    }

    /// The overrides, or `None` where the state cannot be told or is too large to send.
    fn overrides(&self) -> Option<Box<RawValue>> {
        let small = self.accounts.len().saturating_add(self.slots) <= MAX_OVERRIDES;
        (small && !self.incomplete).then(|| serde_json::value::to_raw_value(&self.accounts).ok())?
    }
}

/// State between two transactions.
#[derive(Debug)]
enum Between {
    /// The block's end.
    End,
    /// The block's end with these overrides.
    Overridden(Box<RawValue>),
    /// Not to be told.
    Unknown,
}

impl Between {
    fn of(undo: &Undo) -> Self {
        if undo.accounts.is_empty() && !undo.incomplete {
            return Self::End;
        }
        undo.overrides().map_or_else(
            || {
                let (accounts, slots, incomplete) = (undo.accounts.len(), undo.slots, undo.incomplete);
                tracing::warn!(
                    accounts,
                    slots,
                    incomplete,
                    "views between two transactions cannot be answered"
                );
                Self::Unknown
            },
            Self::Overridden,
        )
    }
}

/// Readings for each transaction of a block, in order; `calls` and `diffs` have one entry per transaction.
pub(crate) async fn read(
    provider: &DynProvider,
    block: B256,
    diffs: &[StateDiff],
    calls: Vec<Vec<ViewCall>>,
    limits: Limits,
) -> Result<Vec<Vec<ViewReading>>, TraceError> {
    let mut undo = Undo::default();
    let mut readings = Vec::with_capacity(calls.len());
    let last_asked = calls.iter().rposition(|calls| !calls.is_empty());
    if last_asked.is_none() {
        readings.resize_with(calls.len(), Vec::new);
        return Ok(readings);
    }
    for (calls, diff) in calls.into_iter().zip(diffs).rev() {
        if calls.is_empty() {
            undo.take_back(diff);
            readings.push(Vec::new());
            continue;
        }
        let after = Between::of(&undo);
        undo.take_back(diff);
        let before = Between::of(&undo);
        let asked = futures::stream::iter(calls).map(|call| async {
            let ask = |between| answer(provider, block, &call, between, limits);
            let (before, after) = futures::try_join!(ask(&before), ask(&after))?;
            Ok::<_, TraceError>(ViewReading { call, before, after })
        });
        readings.push(asked.buffered(WIDTH).try_collect().await?);
    }
    readings.reverse();
    Ok(readings)
}

#[derive(Debug, Clone, Serialize)]
struct Question<'a> {
    to: Address,
    input: &'a Bytes,
    gas: U64,
}

async fn answer(
    provider: &DynProvider,
    block: B256,
    call: &ViewCall,
    between: &Between,
    limits: Limits,
) -> Result<Option<Bytes>, TraceError> {
    let question =
        Question { to: call.target, input: &call.input, gas: U64::from(crate::machine::VIEW_GAS_LIMIT) };
    let at = BlockId::from(block);
    let asked = async {
        match between {
            Between::End => provider.raw_request("eth_call".into(), (question, at)).await,
            Between::Overridden(overrides) => {
                provider.raw_request("eth_call".into(), (question, at, overrides)).await
            }
            Between::Unknown => Ok(None),
        }
    };
    match in_time(METHOD, limits.view_timeout_ms, asked).await {
        Err(TraceError::Node { source, .. }) if is_failed_call(&source) => Ok(None),
        other => other,
    }
}

/// True where the call itself failed, as opposed to the request. Clients agree on no code for it: a revert carries data or
/// code 3, a halt is told in words.
fn is_failed_call(error: &TransportError) -> bool {
    let Some(answer) = error.as_error_resp() else { return false };
    let message = answer.message.to_ascii_lowercase();
    let halts = [
        "revert",
        "out of gas",
        "outofgas",
        "invalid opcode",
        "invalid jump",
        "stack underflow",
        "stack overflow",
    ];
    answer.code == 3 || answer.as_revert_data().is_some() || halts.iter().any(|halt| message.contains(halt))
}

#[cfg(test)]
mod tests {
    use super::super::diff::AccountDiff;
    use super::*;
    use serde_json::{Value, json};

    const VAULT: Address = Address::repeat_byte(7);

    fn diff(account: AccountDiff) -> StateDiff {
        StateDiff { accounts: [(VAULT, account)].into() }
    }

    fn change(slot: u64, before: u64, after: u64) -> AccountDiff {
        AccountDiff {
            balance_before_wei: U256::from(before),
            balance_after_wei: U256::from(after),
            remains: true,
            slots: vec![(U256::from(slot), U256::from(before), U256::from(after))],
            ..AccountDiff::default()
        }
    }

    #[test]
    fn the_earliest_value_wins_where_transactions_are_taken_back() {
        let mut undo = Undo::default();
        assert!(matches!(Between::of(&undo), Between::End));
        undo.take_back(&diff(change(1, 20, 30)));
        undo.take_back(&diff(change(1, 10, 20)));
        undo.take_back(&diff(change(2, 0, 5)));
        let overrides: Value = serde_json::from_str(undo.overrides().unwrap().get()).unwrap();
        let word = |value: u8| B256::with_last_byte(value).to_string();
        let slots = json!({ word(1): word(10), word(2): word(0) });
        assert_eq!(
            overrides,
            json!({ VAULT.to_string().to_lowercase(): { "balance": "0x0", "stateDiff": slots } })
        );
    }

    #[test]
    fn what_cannot_be_put_back_is_not_answered() {
        let gone = AccountDiff { had_code: true, ..AccountDiff::default() };
        let mut undo = Undo::default();
        undo.take_back(&diff(gone));
        assert!(matches!(Between::of(&undo), Between::Unknown));

        let mut undo = Undo::default();
        for slot in 0..=MAX_OVERRIDES {
            undo.take_back(&diff(change(u64::try_from(slot).unwrap(), 1, 2)));
        }
        assert!(matches!(Between::of(&undo), Between::Unknown));
    }

    #[test]
    fn a_call_that_fails_is_told_from_a_request_that_fails() {
        let failed = |payload: Value| {
            is_failed_call(&TransportError::ErrorResp(serde_json::from_value(payload).unwrap()))
        };
        assert!(failed(json!({ "code": 3, "message": "execution reverted", "data": "0x" })));
        assert!(failed(json!({ "code": -32000, "message": "out of gas" })));
        assert!(failed(json!({ "code": -32015, "message": "VM execution error: Reverted" })));
        assert!(!failed(json!({ "code": -32000, "message": "header not found" })));
        assert!(!failed(json!({ "code": -32602, "message": "too many arguments, want at most 2" })));
    }
}
