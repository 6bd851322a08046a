//! Handing a signed transaction to a node, and understanding what the node says to it.
//!
//! In: signed bytes. Out: [`Delivery`]. No answer is fatal: the signature is recorded before it is handed over, so
//! whatever the node says, the next poll decides by what is on chain. Must never alter what was signed.

use alloy_provider::{DynProvider, Provider};
use alloy_transport::RpcError;

use crate::node::shortened;

/// What a node said to a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It took it.
    Accepted,
    /// It had it already.
    AlreadyKnown,
    /// Its nonce is used: it was mined, or another one with its nonce was. The next poll tells which.
    NonceTooLow,
    /// Another one with its nonce waits and pays more, or too little is offered altogether.
    Underpriced,
    /// The account cannot pay for it.
    InsufficientFunds,
    /// It refused it for another reason.
    Rejected {
        /// The node's words, shortened.
        message: String,
    },
    /// No answer arrived; whether it took the transaction is open.
    Unreachable {
        /// What failed, shortened.
        message: String,
    },
}

impl Delivery {
    /// True where the node has the transaction or one with its nonce in a block, so that nothing is to be done.
    #[must_use]
    pub fn is_in_hand(&self) -> bool {
        matches!(self, Self::Accepted | Self::AlreadyKnown | Self::NonceTooLow)
    }
}

/// Hands over a signed transaction.
pub(crate) async fn deliver(provider: &DynProvider, raw: &[u8]) -> Delivery {
    match provider.send_raw_transaction(raw).await {
        Ok(_) => Delivery::Accepted,
        Err(RpcError::ErrorResp(payload)) => interpret(&payload.message),
        Err(error) => Delivery::Unreachable { message: shortened(&error.to_string()) },
    }
}

/// The nodes' words for the cases that matter here, in lower case: geth and reth, Erigon, Nethermind, Besu, anvil.
const WORDS: [(&str, Delivery); 14] = [
    ("already known", Delivery::AlreadyKnown),
    ("alreadyknown", Delivery::AlreadyKnown),
    ("known transaction", Delivery::AlreadyKnown),
    ("already imported", Delivery::AlreadyKnown),
    ("nonce too low", Delivery::NonceTooLow),
    ("nonce is too low", Delivery::NonceTooLow),
    ("oldnonce", Delivery::NonceTooLow),
    ("underpriced", Delivery::Underpriced),
    ("could not replace existing", Delivery::Underpriced),
    ("replacementnotallowed", Delivery::Underpriced),
    ("gas price too low", Delivery::Underpriced),
    ("feetoolow", Delivery::Underpriced),
    ("insufficient funds", Delivery::InsufficientFunds),
    ("insufficientfunds", Delivery::InsufficientFunds),
];

fn interpret(message: &str) -> Delivery {
    let lower = message.to_ascii_lowercase();
    let known = WORDS.iter().find(|(words, _)| lower.contains(words));
    known.map_or_else(|| Delivery::Rejected { message: shortened(message) }, |(_, delivery)| delivery.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_nodes_are_understood() {
        let said = [
            ("already known", Delivery::AlreadyKnown),
            ("AlreadyKnown", Delivery::AlreadyKnown),
            ("Known transaction", Delivery::AlreadyKnown),
            ("transaction already imported", Delivery::AlreadyKnown),
            ("nonce too low: next nonce 8, tx nonce 7", Delivery::NonceTooLow),
            ("OldNonce", Delivery::NonceTooLow),
            ("replacement transaction underpriced", Delivery::Underpriced),
            ("transaction underpriced: gas tip cap 1", Delivery::Underpriced),
            ("insufficient funds for gas * price + value", Delivery::InsufficientFunds),
        ];
        for (message, delivery) in said {
            assert_eq!(interpret(message), delivery, "{message}");
        }
    }

    #[test]
    fn unknown_words_are_kept_short() {
        let Delivery::Rejected { message } = interpret(&"<html>\u{1b}[31m".repeat(1_000)) else {
            panic!("unknown words are a rejection")
        };
        assert!(message.len() <= 200 && !message.contains('\u{1b}'));
    }
}
