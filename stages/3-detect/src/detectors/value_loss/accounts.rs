//! Which users of a protocol a transaction may have changed.
//!
//! In: an execution. Out: accounts outside the protected set, those that dealt with it directly first. A liquidated
//! borrower neither calls nor moves anything, so addresses in calldata and logs count too. Must never: leave an
//! account out because of where it stands in a list that an attacker can fill; the direct parties come first.

use crate::detector::enters_from_outside;
use alloy_primitives::{Address, B256};
use cordon_model::execution::Execution;
use cordon_model::protocol::Protocol;
use std::collections::BTreeSet;

/// Most accounts whose lines are read for one transaction. Batch liquidations of more than a hundred accounts do not
/// fit into a block of today.
pub(crate) const ACCOUNTS_MAX: usize = 128;

/// Most words of one call's arguments that are looked at for addresses: a batch over [`ACCOUNTS_MAX`] accounts with
/// one amount each.
const CALLDATA_WORDS_MAX: usize = 2 * ACCOUNTS_MAX;

/// A word of 20 bytes that begins with this many zero bytes is taken for an amount: amounts below `2^128` are
/// everyday, addresses mined to begin with four zero bytes are rare and mostly contracts.
const ZERO_BYTES_OF_AN_AMOUNT: usize = 4;

/// Accounts, and whether the bound left some out.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Accounts in order of importance.
    pub(crate) list: Vec<Address>,
    /// True where there were more than [`ACCOUNTS_MAX`].
    pub(crate) cut: bool,
    seen: BTreeSet<Address>,
}

impl Touched {
    fn add(&mut self, protocol: &Protocol, account: Address) {
        if account.is_zero() || protocol.protects(account) || !self.seen.insert(account) {
            return;
        }
        if self.list.len() < ACCOUNTS_MAX {
            self.list.push(account);
        } else {
            self.cut = true;
        }
    }
}

/// Outside accounts that the transaction may have changed, in a fixed order.
pub(crate) fn touched_accounts(protocol: &Protocol, execution: &Execution) -> Touched {
    let mut touched = Touched::default();
    if protocol.account_views.is_empty() {
        return touched;
    }
    let entries = || execution.frames.iter().filter(|frame| enters_from_outside(protocol, frame));
    let (direct, indirect): (Vec<_>, Vec<_>) = execution
        .transfers
        .iter()
        .partition(|moved| protocol.protects(moved.from) || protocol.protects(moved.to));
    let parties = direct.into_iter().chain(indirect).flat_map(|moved| [moved.from, moved.to]);
    let words = entries().flat_map(|frame| {
        let arguments = frame.input.get(4..).unwrap_or_default();
        arguments.chunks_exact(32).take(CALLDATA_WORDS_MAX).filter_map(address_word)
    });
    let logs = execution.logs.iter().filter(|log| protocol.protects(log.address));
    let topics = logs
        .flat_map(|log| log.topics.iter().skip(1))
        .filter_map(|topic: &B256| address_word(topic.as_slice()));
    let accounts = [execution.transaction.from]
        .into_iter()
        .chain(entries().map(|frame| frame.caller))
        .chain(execution.transaction.to)
        .chain(parties)
        .chain(words)
        .chain(topics);
    for account in accounts {
        touched.add(protocol, account);
    }
    touched
}

/// The address in a 32-byte word, if it looks like one.
fn address_word(word: &[u8]) -> Option<Address> {
    let (padding, rest) = word.split_at_checked(12)?;
    let address = Address::try_from(rest).ok()?;
    let amount = address.iter().take(ZERO_BYTES_OF_AN_AMOUNT).all(|byte| *byte == 0);
    (padding.iter().all(|byte| *byte == 0) && !amount).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALICE, LENDING_VAULT, World, argument, selector};
    use cordon_model::execution::FrameKind;

    #[test]
    fn a_liquidated_borrower_is_found_in_the_calldata() {
        let mut script = World::new().script();
        let victim = Address::repeat_byte(0x77);
        let input = [selector(1).as_slice(), &argument(victim), &[0u8; 31], &[9]].concat();
        script.frame(FrameKind::Call, LENDING_VAULT, &input, |_| ());
        let touched = touched_accounts(&World::protocol(), &script.finish(&[]));
        assert_eq!(touched.list, [ALICE, crate::testing::CONTROLLER, victim]);
    }

    #[test]
    fn the_bound_keeps_those_who_dealt_directly() {
        let mut script = World::new().script();
        let words: Vec<u8> =
            (0..200u8).flat_map(|byte| argument(Address::repeat_byte(byte.max(1)))).collect();
        script.frame(FrameKind::Call, LENDING_VAULT, &[selector(1).as_slice(), &words].concat(), |_| ());
        let touched = touched_accounts(&World::protocol(), &script.finish(&[]));
        assert_eq!(touched.list.len(), ACCOUNTS_MAX);
        assert_eq!(touched.list.first(), Some(&ALICE));
        assert!(touched.cut);
    }
}
