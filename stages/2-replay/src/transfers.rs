//! Token movements as logs tell them, and as calls order them where there are no logs.
//!
//! In: one log, or one call. Out: who moved how much, where the log has the shape of ERC-20's `Transfer`, or the call that
//! of `transfer` and its relatives. Shared by the recorder and by the readers of traces, so that all see the same
//! movements.

use alloy_primitives::{Address, B256, U256, b256};
use cordon_model::execution::{Frame, FrameKind};
use revm::primitives::eip7708::ETH_TRANSFER_LOG_ADDRESS;

/// `keccak256("Transfer(address,address,uint256)")`, the event of ERC-20.
const TRANSFER_TOPIC: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// A movement of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenMove {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) amount_raw: U256,
}

/// The movement that a log of `emitter` states; `None` for any other log.
///
/// From Amsterdam on (EIP-7708) the protocol logs native transfers in the shape of ERC-20. They are logs, but the
/// movement itself is already noted at the call.
pub(crate) fn token_move(emitter: Address, topics: &[B256], data: &[u8]) -> Option<TokenMove> {
    let [TRANSFER_TOPIC, from, to] = *topics else { return None };
    (emitter != ETH_TRANSFER_LOG_ADDRESS && data.len() == 32).then(|| TokenMove {
        from: Address::from_word(from),
        to: Address::from_word(to),
        amount_raw: U256::from_be_slice(data),
    })
}

/// The movement that a call orders of the token that it calls: `transfer` and `transferFrom` of ERC-20, `mint(address,
/// uint256)`, and `deposit()` and `withdraw(uint256)` of wrapped coins (WETH9, which logs no `Transfer` for the last two
/// either, but whose supply moves). `None` for any other call, and for one that answered no.
pub(crate) fn ordered_move(frame: &Frame) -> Option<TokenMove> {
    if frame.kind != FrameKind::Call || frame.precompile {
        return None;
    }
    let refused = frame.output.len() == 32 && frame.output.iter().all(|byte| *byte == 0);
    let argument = |index: usize| {
        let start = 4 + 32 * index;
        frame.input.get(start..start + 32).map(U256::from_be_slice)
    };
    let party = |index: usize| argument(index).map(|word| Address::from_word(word.into()));
    let (from, to, amount_raw) = match frame.selector()?.0 {
        [0xa9, 0x05, 0x9c, 0xbb] => (frame.caller, party(0)?, argument(1)?),
        [0x23, 0xb8, 0x72, 0xdd] => (party(0)?, party(1)?, argument(2)?),
        [0x40, 0xc1, 0x0f, 0x19] => (Address::ZERO, party(0)?, argument(1)?),
        [0xd0, 0xe3, 0x0d, 0xb0] if frame.input.len() == 4 && frame.output.is_empty() => {
            (Address::ZERO, frame.caller, frame.value_wei)
        }
        [0x2e, 0x1a, 0x7d, 0x4d] if frame.input.len() == 36 && frame.output.is_empty() => {
            (frame.caller, Address::ZERO, argument(0)?)
        }
        _ => return None,
    };
    (!refused && !amount_raw.is_zero()).then_some(TokenMove { from, to, amount_raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shape_of_erc20_is_a_movement() {
        let (token, alice, bob) = (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
        let topics = [TRANSFER_TOPIC, alice.into_word(), bob.into_word()];
        let data = B256::with_last_byte(42);
        let moved = TokenMove { from: alice, to: bob, amount_raw: U256::from(42) };
        assert_eq!(token_move(token, &topics, data.as_slice()), Some(moved));
        // ERC-721 names the token by a fourth topic and has no data.
        let nft = [topics.as_slice(), &[data]].concat();
        assert_eq!(token_move(token, &nft, &[]), None);
        assert_eq!(token_move(token, &topics, &[]), None);
        assert_eq!(token_move(ETH_TRANSFER_LOG_ADDRESS, &topics, data.as_slice()), None);
    }
}
