//! Whether new code names a watched account.
//!
//! In: the code and the storage that a creation left. Out: yes or no. Must never: pass over a constant that the detectors would read
//! as that address; to deliver one transaction too many costs little. A walk over the code, so only for creations.

use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, U256};
use cordon_model::execution::Execution;
use revm::bytecode::opcode::{PUSH0, PUSH32};
use revm::state::{Account, EvmState};

/// Leading zero bytes of an address that a compiler leaves out of a constant, at most. One with more takes 2^72 tries to make.
const ZERO_BYTES_MAX: usize = 8;

/// Whether a contract that the transaction created names one of these, in its code or in its storage.
pub(crate) fn names_any(watched: &AddressSet, state: &EvmState) -> bool {
    !watched.is_empty() && state.values().any(|account| account.is_created() && is_naming(watched, account))
}

fn is_naming(watched: &AddressSet, account: &Account) -> bool {
    let code = account.info.code.as_ref();
    code.is_some_and(|code| is_in_code(watched, code.original_byte_slice()))
        || account.changed_storage_slots().any(|(_, slot)| is_in_word(watched, slot.present_value()))
}

/// The same where a node traced the transaction: the code is what the creating call returned.
pub(crate) fn names_any_traced(watched: &AddressSet, execution: &Execution) -> bool {
    execution.creations.iter().any(|creation| {
        let code = execution.frame(creation.frame).map(|frame| &frame.output);
        let mut changes =
            execution.storage_changes.iter().filter(|change| change.address == creation.address);
        code.is_some_and(|code| is_in_code(watched, code))
            || changes.any(|change| is_in_word(watched, change.after))
    })
}

fn is_in_word(watched: &AddressSet, word: U256) -> bool {
    watched.contains(&Address::from_word(word.into()))
}

/// Whether one of these stands in the code as a constant: what a `PUSH` pushes, with leading zeros left out or put before it.
fn is_in_code(watched: &AddressSet, mut code: &[u8]) -> bool {
    while let Some((opcode, rest)) = code.split_first() {
        let len =
            if (PUSH0..=PUSH32).contains(opcode) { usize::from(opcode.saturating_sub(PUSH0)) } else { 0 };
        let (data, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        if data.len() >= Address::len_bytes().saturating_sub(ZERO_BYTES_MAX)
            && is_in_word(watched, U256::from_be_slice(data))
        {
            return true;
        }
        code = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, hex};

    const WATCHED: Address = address!("00000000111111111111111111111111111111ff");

    fn is_named(parts: &[&[u8]]) -> bool {
        is_in_code(&AddressSet::from_iter([WATCHED]), &parts.concat())
    }

    #[test]
    fn an_address_is_found_however_it_is_pushed() {
        assert!(is_named(&[&hex!("5f 73"), WATCHED.as_slice(), &hex!("31")]));
        assert!(is_named(&[&hex!("7f 000000000000000000000000"), WATCHED.as_slice()]));
        assert!(is_named(&[&hex!("6f"), &WATCHED[4..]]), "without its leading zeros");
    }

    #[test]
    fn what_is_not_pushed_as_a_whole_is_none() {
        assert!(!is_named(&[WATCHED.as_slice()]), "data, or instructions");
        assert!(!is_named(&[&hex!("73"), &WATCHED[..19]]));
        assert!(!is_named(&[&hex!("7f"), &[0; 31], &[0xff]]));
        assert!(!is_named(&[&hex!("7f 73"), WATCHED.as_slice(), &[0; 11]]), "inside of another constant");
        assert!(!is_named(&[]) && !is_named(&[&hex!("7f")]));
    }
}
