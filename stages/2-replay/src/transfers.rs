//! Token movements as logs tell them.
//!
//! In: one log. Out: who moved how much, where the log has the shape of ERC-20's `Transfer`. Shared by the recorder and
//! by the reader of node traces, so that both see the same movements.

use alloy_primitives::{Address, B256, U256, b256};
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
