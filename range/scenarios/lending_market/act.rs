//! One transaction of one actor, with the words that tell it. In go acts, out come a mined block and plain sentences.
//! What a sentence says happened is read from the receipt and never assumed.

use std::fmt;

use alloy_primitives::{Address, B256, U256, uint};
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_sol_types::SolEvent as _;

use super::interfaces::IToken;
use crate::world::RangeError;
use crate::{BlockRef, Call, Chain};

/// Base units of one whole token; every token of the market has 18 decimals.
const UNIT: U256 = uint!(1_000_000_000_000_000_000_U256);
/// Base units of a hundredth of a token.
const CENT: U256 = uint!(10_000_000_000_000_000_U256);

/// `count` whole tokens in base units.
pub(crate) fn tokens(count: u64) -> U256 {
    U256::from(count).saturating_mul(UNIT)
}

/// `count` thousandths of a token in base units.
pub(crate) fn milli_tokens(count: u64) -> U256 {
    U256::from(count).saturating_mul(uint!(1_000_000_000_000_000_U256))
}

/// `raw` rounded down to whole hundreds of tokens, as people choose large amounts.
pub(crate) fn round_to_hundreds(raw: U256) -> U256 {
    let hundred = tokens(100);
    raw / hundred * hundred
}

/// An amount of base units as people write it: `1,234` or `1,234.56`, rounded down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount(pub(crate) U256);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = (self.0 / UNIT).to_string();
        let first = digits.len() % 3;
        let mut text = String::with_capacity(digits.len() * 2);
        for (at, digit) in digits.chars().enumerate() {
            if at != 0 && at % 3 == first {
                text.push(',');
            }
            text.push(digit);
        }
        let cents = (self.0 % UNIT) / CENT;
        if !cents.is_zero() {
            text.push_str(&format!(".{cents:0>2}"));
        }
        f.pad(&text)
    }
}

/// A token whose receipt by the sender is part of the story.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gain {
    pub(crate) token: Address,
    pub(crate) symbol: &'static str,
}

/// One transaction of one actor.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    /// Name of the actor, for the narration only.
    pub(crate) actor: &'static str,
    pub(crate) from: Address,
    pub(crate) call: Call,
    /// What the actor does, as the sentence after its name.
    pub(crate) text: String,
    /// If set, the sentence ends with how much of the token the sender got.
    pub(crate) gain: Option<Gain>,
}

/// A mined block and what became of the acts.
#[derive(Debug)]
pub(crate) struct Performed {
    pub(crate) block: BlockRef,
    pub(crate) narration: Vec<String>,
    /// Acts that were mined and failed.
    pub(crate) reverted: usize,
}

/// Hands in all acts in order, mines one block and tells what happened.
pub(crate) fn perform(chain: &Chain, acts: &[Act]) -> Result<Performed, RangeError> {
    let mut hashes: Vec<B256> = Vec::with_capacity(acts.len());
    for act in acts {
        hashes.push(chain.submit_as(act.from, act.call.clone())?);
    }
    let block = chain.mine();
    let mut narration = Vec::with_capacity(acts.len());
    let mut reverted = 0;
    for (act, hash) in acts.iter().zip(hashes) {
        let receipt = chain.receipt(hash);
        reverted += usize::from(receipt.as_ref().is_some_and(|receipt| !receipt.status()));
        narration.push(tell(block, act, receipt.as_ref()));
    }
    Ok(Performed { block, narration, reverted })
}

fn tell(block: BlockRef, act: &Act, receipt: Option<&TransactionReceipt>) -> String {
    let line = format!("block {}: {} {}", block.number, act.actor, act.text);
    match (receipt, act.gain) {
        (None, _) => format!("{line}: waits for a later block"),
        (Some(receipt), _) if !receipt.status() => format!("{line}: reverted"),
        (Some(_), None) => line,
        (Some(receipt), Some(gain)) => {
            format!("{line} and gets {} {}", Amount(received(receipt, gain.token, act.from)), gain.symbol)
        }
    }
}

/// Base units of `token` that `account` got, by the transfer events of the transaction.
fn received(receipt: &TransactionReceipt, token: Address, account: Address) -> U256 {
    let transfers = receipt.logs().iter().filter(|log| log.address() == token);
    let decoded = transfers.filter_map(|log| IToken::Transfer::decode_log(&log.inner).ok());
    decoded.filter(|log| log.to == account).fold(U256::ZERO, |sum, log| sum.saturating_add(log.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let shown = |raw: U256| Amount(raw).to_string();
        assert_eq!(shown(U256::ZERO), "0");
        assert_eq!(shown(tokens(999)), "999");
        assert_eq!(shown(tokens(1_000)), "1,000");
        assert_eq!(shown(tokens(12_345_678)), "12,345,678");
        assert_eq!(shown(milli_tokens(1_059)), "1.05");
        assert_eq!(format!("{:>8}", Amount(milli_tokens(800))), "    0.80");
        assert_eq!(round_to_hundreds(tokens(150_528)), tokens(150_500));
    }
}
