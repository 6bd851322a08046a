//! What one share contract was given, took, paid, issued and redeemed, in order.
//!
//! In: an execution, a contract, and the sender's side. Out: [`Entry`]s, one for each call of the contract and one for each
//! plain gift. Must never: tell what a contract did inside one call apart, when its books are allowed to be open.

use crate::parties::SendersSide;
use alloy_primitives::{Address, B256, Selector, U256, b256};
use cordon_model::execution::{Execution, Frame, FrameKind, Log, Transfer};
use cordon_model::units::Asset;
use std::collections::BTreeMap;

/// `keccak256("Mint(address,uint256,uint256)")` of Compound's markets, nothing of it indexed: minter, assets, shares. Their
/// shares come from the market's own address instead of the zero address.
pub(super) const MINT_TOPIC: B256 =
    b256!("0x4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f");
/// `keccak256("Redeem(address,uint256,uint256)")` of the same.
pub(super) const REDEEM_TOPIC: B256 =
    b256!("0xe5b754fb1abb7f01b499791d0b820ae3b6af3424ac1c59768edb53f4ec31a929");

/// `deposit(uint256,address)` of ERC-4626, which returns the shares.
const DEPOSIT: Selector = Selector::new([0x6e, 0x55, 0x3f, 0x65]);

/// One thing that happened to a share contract.
#[derive(Debug)]
pub(super) enum Entry {
    /// The sender's side gave it something while nobody was calling it.
    Gift { asset: Asset, amount_raw: U256, seq: u32 },
    /// A call of it, with everything below.
    Call(Call),
}

/// What a share contract did during one outermost call of it.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) exit_seq: u32,
    /// Assets that came in, without its shares.
    pub(super) taken: BTreeMap<Asset, U256>,
    /// Assets that went out, without its shares.
    pub(super) paid: BTreeMap<Asset, U256>,
    pub(super) issued_raw: U256,
    pub(super) redeemed_raw: U256,
    /// True where it said that it issued shares, and that they were none.
    pub(super) issued_none: bool,
}

/// Shares that were issued or redeemed.
#[derive(Debug, Clone, Copy)]
struct ShareMove {
    vault: Address,
    seq: u32,
    amount_raw: U256,
    is_issue: bool,
}

/// Every contract whose shares were issued or redeemed by the transaction.
pub(super) fn issuers(execution: &Execution) -> impl Iterator<Item = Address> {
    share_moves(execution).map(|moved| moved.vault)
}

fn share_moves(execution: &Execution) -> impl Iterator<Item = ShareMove> {
    let minted = execution.transfers.iter().filter_map(|moved| {
        let Asset::Token(vault) = moved.asset else { return None };
        // What is sent to the zero address out of nothing is burned at birth.
        let is_issue = moved.from.is_zero();
        (is_issue != moved.to.is_zero()).then_some(ShareMove {
            vault,
            seq: moved.seq,
            amount_raw: moved.amount_raw,
            is_issue,
        })
    });
    minted.chain(execution.logs.iter().filter_map(market_move))
}

/// What a market in the manner of Compound says of its shares.
fn market_move(log: &Log) -> Option<ShareMove> {
    let [topic] = log.topics.as_slice() else { return None };
    let is_issue = *topic == MINT_TOPIC;
    if !is_issue && *topic != REDEEM_TOPIC || log.data.len() != 96 {
        return None;
    }
    let amount_raw = U256::from_be_slice(log.data.get(64..96)?);
    Some(ShareMove { vault: log.address, seq: log.seq, amount_raw, is_issue })
}

/// What the sender's side gave away by plain transfers that it ordered itself.
pub(super) fn gifts<'a>(
    side: &'a SendersSide,
    execution: &'a Execution,
) -> impl Iterator<Item = &'a Transfer> {
    execution.transfers.iter().filter(|moved| {
        !moved.amount_raw.is_zero() && side.has(moved.from) && !side.has(moved.to) && {
            matches!(moved.asset, Asset::Token(token) if token != moved.to && ordered_by_side(side, execution, moved, token))
        }
    })
}

/// True where the call of the token came from the sender's side: whoever lets a protocol pull its coins deposits them.
fn ordered_by_side(side: &SendersSide, execution: &Execution, moved: &Transfer, token: Address) -> bool {
    let mut frame = execution.frame(moved.frame);
    // Below the token's own frame there are at most those of its code: a proxy, its implementation, a library.
    for _ in 0..CODE_FRAMES_MAX {
        match frame {
            Some(inner) if inner.caller == token => {
                frame = inner
                    .parent
                    .filter(|above| *above < inner.index)
                    .and_then(|above| execution.frame(above));
            }
            Some(outer) => return side.has(outer.caller),
            None => return false,
        }
    }
    false
}

/// Frames of one token's own code that are climbed: a beacon proxy, its implementation, two libraries, calls of itself.
const CODE_FRAMES_MAX: usize = 8;

/// What happened to a contract, in order.
pub(super) fn entries(vault: Address, side: &SendersSide, execution: &Execution) -> Vec<Entry> {
    let mut calls = outermost_calls(vault, &execution.frames);
    let share = Asset::Token(vault);
    for moved in execution.transfers.iter().filter(|moved| moved.asset != share && moved.from != moved.to) {
        if moved.from != vault && moved.to != vault {
            continue;
        }
        let Some(call) = open_at(&mut calls, moved.seq) else { continue };
        let sums = if moved.to == vault { &mut call.taken } else { &mut call.paid };
        add(sums.entry(moved.asset).or_default(), moved.amount_raw);
    }
    for moved in share_moves(execution).filter(|moved| moved.vault == vault) {
        let Some(call) = open_at(&mut calls, moved.seq) else { continue };
        call.issued_none |= moved.is_issue && moved.amount_raw.is_zero();
        add(if moved.is_issue { &mut call.issued_raw } else { &mut call.redeemed_raw }, moved.amount_raw);
    }
    for frame in execution.frames.iter().filter(|frame| frame.address == vault && answers_no_shares(frame)) {
        if let Some(call) = open_at(&mut calls, frame.enter_seq) {
            call.issued_none = true;
        }
    }
    let plain = gifts(side, execution).filter(|gift| gift.to == vault);
    let outside: Vec<Entry> = plain
        .filter(|gift| open_at(&mut calls, gift.seq).is_none())
        .map(|gift| Entry::Gift { asset: gift.asset, amount_raw: gift.amount_raw, seq: gift.seq })
        .collect();
    let mut entries: Vec<Entry> =
        calls.into_iter().map(|(_, call)| Entry::Call(call)).chain(outside).collect();
    entries.sort_by_key(|entry| match entry {
        Entry::Gift { seq, .. } => *seq,
        Entry::Call(call) => call.exit_seq,
    });
    entries
}

/// The call that was open at a moment.
fn open_at(calls: &mut [(u32, Call)], seq: u32) -> Option<&mut Call> {
    let place = calls.partition_point(|(enter, _)| *enter <= seq).checked_sub(1)?;
    calls.get_mut(place).map(|(_, call)| call).filter(|call| seq <= call.exit_seq)
}

/// Lasting calls of a contract that are not within another one, by their entry.
fn outermost_calls(vault: Address, frames: &[Frame]) -> Vec<(u32, Call)> {
    let mut calls: Vec<(u32, Call)> = Vec::new();
    let entered = frames
        .iter()
        .filter(|frame| frame.address == vault && frame.kind == FrameKind::Call && !frame.reverted);
    for frame in entered {
        // Frames come in the order of entry, so one that begins inside the last call is nested in it.
        if calls.last().is_none_or(|(_, call)| frame.enter_seq > call.exit_seq) {
            calls.push((frame.enter_seq, Call { exit_seq: frame.exit_seq, ..Call::default() }));
        }
    }
    calls
}

/// True for a deposit by the standard that answers with no shares for some assets.
fn answers_no_shares(frame: &Frame) -> bool {
    let asked = || frame.input.get(4..36).map(U256::from_be_slice);
    let answered = || frame.output.get(..32).map(U256::from_be_slice);
    frame.selector() == Some(DEPOSIT)
        && frame.kind == FrameKind::Call
        && !frame.reverted
        && frame.output.len() == 32
        && asked().is_some_and(|assets| !assets.is_zero())
        && answered() == Some(U256::ZERO)
}

/// True where the transaction holds something that says of a contract that it issued no shares for a deposit.
pub(super) fn refused_shares(execution: &Execution) -> impl Iterator<Item = Address> {
    let said = share_moves(execution).filter(|moved| moved.is_issue && moved.amount_raw.is_zero());
    let answered = execution.frames.iter().filter(|frame| answers_no_shares(frame));
    said.map(|moved| moved.vault).chain(answered.map(|frame| frame.address))
}

fn add(sum: &mut U256, amount: U256) {
    *sum = sum.saturating_add(amount);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn words_are_those_of_their_signatures() {
        assert_eq!(MINT_TOPIC, keccak256("Mint(address,uint256,uint256)"));
        assert_eq!(REDEEM_TOPIC, keccak256("Redeem(address,uint256,uint256)"));
        assert_eq!(DEPOSIT.as_slice(), &keccak256("deposit(uint256,address)")[..4]);
    }
}
