//! Executions from the kept history of one protocol (see [`Detail::Entries`]).
//!
//! In: JSON of one block, as the artifact of CrossGuard (ICSE 2026) keeps it:
//! `{tx: [[[contract, selector, status, start, end, kind, {contract: [[sload or sstore, slot, value, pc, at]]}] ...],
//! [[token, from, to, amount] ...]]}`, or `{tx: []}` where the protocol was not touched. `start`, `end` and `at` count
//! instructions, so that they order calls and accesses. Out: one [`Execution`] for each transaction that touched the
//! protocol. Must never: be taken for a replay. Calls of others, the sender and logs are not known; callers are known as
//! far as one call of the protocol runs inside another.

use super::error::TraceError;
use super::json;
use alloy_primitives::{Address, B256, Bytes, Selector, U256};
use cordon_model::block::Transaction;
use cordon_model::execution::{
    AccessKind, Detail, Execution, Frame, FrameKind, Status, StorageAccess, Transfer,
};
use cordon_model::units::{Asset, BlockRef, ChainId, TxRef};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Name of the source, in errors.
const ARCHIVE: &str = "history of a protocol";

/// What names a function, in errors.
const A_SELECTOR: &str = "expected a selector of four bytes, fallback or constructor";

/// Calls and accesses that are read of one transaction. The largest known has 29,163.
const ENTRIES_MAX: usize = 1 << 20;

/// Transactions of one block, in order.
struct Raw(Vec<(B256, RawTransaction)>);

#[derive(Default)]
struct RawTransaction {
    calls: Vec<RawCall>,
    moves: Vec<RawMove>,
}

/// Contract, selector, status, start, end, kind, accesses.
#[derive(Deserialize)]
struct RawCall(Address, Function, String, i64, i64, String, Accesses);

/// First four bytes of the calldata; nothing for `fallback` and `constructor`.
struct Function(Bytes);

/// Accesses by contract; an empty list where there are none.
struct Accesses(BTreeMap<Address, Vec<RawAccess>>);

/// Operation, slot, value, and where it was made, as far as that was kept.
struct RawAccess {
    kind: AccessKind,
    slot: U256,
    value: U256,
    at: i64,
}

/// Token, from, to, amount.
#[derive(Deserialize)]
struct RawMove(String, Address, Address, Box<RawValue>);

/// Reads the transactions of one block that touched the protocol.
///
/// # Errors
/// [`TraceError::Malformed`] and [`TraceError::TooLarge`] where the text is no block of a history.
pub fn read_history_block(text: &str, number: u64) -> Result<Vec<Execution>, TraceError> {
    let Raw(transactions) = json::read_one(ARCHIVE, text)?;
    let block = BlockRef { number, hash: B256::ZERO };
    let touched = transactions.into_iter().filter(|(_, raw)| !raw.calls.is_empty());
    touched
        .zip(0u32..)
        .map(|((hash, raw), index)| execution(raw, TxRef { chain_id: ChainId(0), block, index, hash }))
        .collect()
}

fn execution(mut raw: RawTransaction, tx: TxRef) -> Result<Execution, TraceError> {
    let malformed =
        |reason: String| Err(TraceError::Malformed { method: ARCHIVE, place: tx.hash.to_string(), reason });
    // Outer calls before inner ones.
    raw.calls.sort_by_key(|call| (call.3, std::cmp::Reverse(call.4)));
    let (mut frames, mut accesses) = (Vec::new(), Vec::new());
    let mut open: Vec<(u32, i64)> = Vec::new();
    for call in raw.calls {
        while open.pop_if(|(_, end)| *end <= call.3).is_some() {}
        let (Ok(index), Ok(depth)) = (u32::try_from(frames.len()), u32::try_from(open.len())) else {
            return malformed(format!("has more than {} calls", u32::MAX));
        };
        let parent = open.last().map(|(parent, _)| *parent);
        open.push((index, call.4));
        let caller = parent.and_then(|parent| frames.get(usize::try_from(parent).ok()?));
        let caller = caller.map_or(Address::ZERO, |frame: &Frame| frame.address);
        let Some(kind) = kind(&call.5) else {
            return malformed(format!("has a call of kind '{}'", call.5));
        };
        accesses.extend(call.6.0.iter().flat_map(|(address, list)| {
            list.iter().map(move |raw| StorageAccess {
                seq: place(raw.at),
                frame: index,
                address: *address,
                slot: raw.slot,
                kind: raw.kind,
                times: 1,
                before: if raw.kind == AccessKind::Read { raw.value } else { U256::ZERO },
                value: raw.value,
            })
        }));
        frames.push(frame(&call, kind, (index, parent, depth), caller));
        if accesses.len().saturating_add(frames.len()) > ENTRIES_MAX {
            return malformed(format!("has more than {ENTRIES_MAX} calls and accesses"));
        }
    }
    accesses.sort_by_key(|access| access.seq);
    let transfers = raw.moves.iter().map(transfer).collect::<Result<Vec<_>, String>>();
    let transfers = match transfers {
        Ok(transfers) => transfers,
        Err(reason) => return malformed(reason),
    };
    let to = frames.first().map(|frame| frame.address);
    let bare = Execution::bare(tx, 0, Transaction { hash: tx.hash, ..Transaction::bare(Address::ZERO, to) });
    Ok(Execution { frames, accesses, transfers, detail: Detail::Entries, ..bare })
}

fn frame(call: &RawCall, kind: FrameKind, place_of: (u32, Option<u32>, u32), caller: Address) -> Frame {
    let (index, parent, depth) = place_of;
    let is_complete = call.2 == "complete";
    Frame {
        index,
        parent,
        depth,
        kind,
        caller,
        address: call.0,
        code_address: call.0,
        value_wei: U256::ZERO,
        input: call.1.0.clone(),
        output: Bytes::new(),
        gas_used: 0,
        status: if is_complete { Status::Success } else { Status::Revert { output: Bytes::new() } },
        reverted: !is_complete,
        precompile: false,
        enter_seq: place(call.3),
        exit_seq: place(call.4),
    }
}

fn kind(name: &str) -> Option<FrameKind> {
    Some(match name {
        "firstcall" | "call" => FrameKind::Call,
        "callcode" => FrameKind::CallCode,
        "delegatecall" => FrameKind::DelegateCall,
        "staticcall" => FrameKind::StaticCall,
        "create" => FrameKind::Create,
        "create2" => FrameKind::Create2,
        _ => return None,
    })
}

/// Instructions are counted from minus one.
fn place(at: i64) -> u32 {
    u32::try_from(at.saturating_add(1).max(0)).unwrap_or(u32::MAX)
}

fn transfer(raw: &RawMove) -> Result<Transfer, String> {
    let asset = match raw.0.as_str() {
        "ether" => Asset::Native,
        token => {
            Asset::Token(token.parse().map_err(|_| format!("moves '{token}', expected ether or a token"))?)
        }
    };
    let digits = raw.3.get().trim_matches('"');
    let amount_raw =
        digits.parse().map_err(|_| format!("moves the amount {digits}, expected a whole number"))?;
    Ok(Transfer { seq: 0, frame: 0, asset, from: raw.1, to: raw.2, amount_raw })
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Transactions;
        impl<'de> Visitor<'de> for Transactions {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of transactions")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut transactions = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    transactions.push(entry);
                }
                Ok(Raw(transactions))
            }
        }
        deserializer.deserialize_map(Transactions)
    }
}

impl<'de> Deserialize<'de> for RawTransaction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = RawTransaction;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of calls and a list of movements, or an empty list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawTransaction, A::Error> {
                let Some(calls) = seq.next_element()? else { return Ok(RawTransaction::default()) };
                let moves = seq.next_element()?.unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawTransaction { calls, moves })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if matches!(text.as_str(), "fallback" | "constructor") {
            return Ok(Self(Bytes::new()));
        }
        let selector: Result<Selector, _> = text.parse();
        let wrong = |_| D::Error::custom(format!("found '{text}', {A_SELECTOR}"));
        Ok(Self(Bytes::copy_from_slice(selector.map_err(wrong)?.as_slice())))
    }
}

impl<'de> Deserialize<'de> for Accesses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByContract;
        impl<'de> Visitor<'de> for ByContract {
            type Value = Accesses;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("accesses by contract, or an empty list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Accesses, A::Error> {
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::custom("expected accesses by contract, found a list")),
                    None => Ok(Accesses(BTreeMap::new())),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Accesses, A::Error> {
                let mut accesses: BTreeMap<Address, Vec<RawAccess>> = BTreeMap::new();
                while let Some((address, list)) = map.next_entry::<Address, Vec<RawAccess>>()? {
                    accesses.entry(address).or_default().extend(list);
                }
                Ok(Accesses(accesses))
            }
        }
        deserializer.deserialize_any(ByContract)
    }
}

impl<'de> Deserialize<'de> for RawAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Access;
        impl<'de> Visitor<'de> for Access {
            type Value = RawAccess;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sload or sstore, slot, value, and numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawAccess, A::Error> {
                let missing = || A::Error::custom("expected sload or sstore, slot and value");
                let name: String = seq.next_element()?.ok_or_else(missing)?;
                let kind = match name.as_str() {
                    "sload" => AccessKind::Read,
                    "sstore" => AccessKind::Write,
                    other => {
                        return Err(A::Error::custom(format!("found '{other}', expected sload or sstore")));
                    }
                };
                let slot = seq.next_element()?.ok_or_else(missing)?;
                let value = seq.next_element()?.ok_or_else(missing)?;
                // The program counter, then the place in the transaction; older files have only one of the two.
                let mut at = 0;
                while let Some(number) = seq.next_element()? {
                    at = number;
                }
                Ok(RawAccess { kind, slot, value, at })
            }
        }
        deserializer.deserialize_seq(Access)
    }
}

#[cfg(test)]
mod tests;
