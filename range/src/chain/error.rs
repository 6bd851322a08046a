//! Everything a range chain refuses, with the reason. Messages of [`TxRejection`] start as geth's do, because callers
//! of the real JSON-RPC tell the cases apart by them.

use alloy_primitives::{Address, B256, Bytes, U256};

/// Why the pool did not take a transaction, or why a block builder threw it out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxRejection {
    /// The bytes are no EIP-2718 transaction.
    #[error("rlp: cannot decode the transaction: {reason}")]
    Undecodable {
        /// What the decoder said.
        reason: String,
    },
    /// Nobody can have made this signature.
    #[error("invalid sender: the signature does not recover to an address")]
    InvalidSignature,
    /// The type is known but not run here.
    #[error("transaction type not supported: type {tx_type}, the range runs types 0, 1, 2 and 4")]
    UnsupportedType {
        /// EIP-2718 type byte.
        tx_type: u8,
    },
    /// Signed for another chain, or for any chain.
    #[error("invalid chain id for signer: have {have:?} want {want}")]
    WrongChain {
        /// The id in the transaction, `None` when it carries no replay protection.
        have: Option<u64>,
        /// The id of this chain.
        want: u64,
    },
    /// The pool or the chain has it already.
    #[error("already known: transaction {hash}")]
    AlreadyKnown {
        /// Transaction hash.
        hash: B256,
    },
    /// The nonce is used up.
    #[error("nonce too low: next nonce {next}, tx nonce {tx}")]
    NonceTooLow {
        /// The account's next nonce.
        next: u64,
        /// The transaction's nonce.
        tx: u64,
    },
    /// No account may use the last nonce (EIP-2681).
    #[error("nonce has max value: tx nonce {tx}")]
    NonceMax {
        /// The transaction's nonce.
        tx: u64,
    },
    /// Gas and value, together with what the sender has waiting, cost more than the balance.
    #[error(
        "insufficient funds for gas * price + value: balance {balance_wei}, queued cost {queued_wei}, tx cost {cost_wei}"
    )]
    InsufficientFunds {
        /// Balance of the sender, wei.
        balance_wei: U256,
        /// Worst cost of the sender's other waiting transactions, wei.
        queued_wei: U256,
        /// Worst cost of this transaction, wei.
        cost_wei: U256,
    },
    /// The same nonce waits already, and the new fees are not 10 % higher.
    #[error(
        "replacement transaction underpriced: needs max fee {need_max_fee_wei} and priority fee {need_priority_fee_wei}"
    )]
    ReplacementUnderpriced {
        /// Least max fee that would replace, wei per gas.
        need_max_fee_wei: u128,
        /// Least priority fee that would replace, wei per gas.
        need_priority_fee_wei: u128,
    },
    /// The tip may not be above the cap.
    #[error(
        "max priority fee per gas higher than max fee per gas: priority fee {priority_fee_wei}, max fee {max_fee_wei}"
    )]
    TipAboveCap {
        /// wei per gas.
        priority_fee_wei: u128,
        /// wei per gas.
        max_fee_wei: u128,
    },
    /// More gas than a block holds.
    #[error("exceeds block gas limit: tx gas {gas_limit}, block gas limit {block_gas_limit}")]
    AboveBlockGasLimit {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas limit of a block.
        block_gas_limit: u64,
    },
    /// More gas than one transaction may ask for (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas_limit})")]
    AboveGasCap {
        /// The cap.
        cap: u64,
        /// Gas limit of the transaction.
        gas_limit: u64,
    },
    /// Less gas than the transaction costs before its first instruction.
    #[error("intrinsic gas too low: gas {gas_limit}, minimum needed {needed}")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Intrinsic gas, or the calldata floor of EIP-7623 if that is higher.
        needed: u64,
    },
    /// EIP-3607: an account with code cannot send.
    #[error("sender not an eoa: address {sender} has contract code")]
    SenderHasCode {
        /// The sender.
        sender: Address,
    },
    /// The pool is at its bound.
    #[error("txpool is full: {limit} transactions wait already")]
    PoolFull {
        /// The bound.
        limit: usize,
    },
    /// The EVM refused to run it at its turn.
    #[error("invalid when its turn came: {reason}")]
    InvalidAtInclusion {
        /// What the EVM said.
        reason: String,
    },
    /// Another transaction with the same nonce took its place.
    #[error("replaced by transaction {by}")]
    Replaced {
        /// Hash of the one that took its place.
        by: B256,
    },
}

/// Errors of the direct API of [`crate::Chain`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The pool did not take the transaction.
    #[error("transaction of {sender} rejected")]
    Rejected {
        /// The sender.
        sender: Address,
        /// Why.
        #[source]
        source: Box<TxRejection>,
    },
    /// The called contract reverted.
    #[error("execution reverted: {data}")]
    Reverted {
        /// Revert data as the contract gave it.
        data: Bytes,
    },
    /// The call stopped on an exceptional halt, or could not start.
    #[error("call failed: {reason}")]
    CallFailed {
        /// Out of gas, stack overflow, invalid opcode and the like.
        reason: String,
    },
    /// A reorganisation must leave the genesis block.
    #[error("cannot drop {depth} blocks: expected between 1 and {head}, the number of blocks after genesis")]
    ReorgDepth {
        /// Asked depth.
        depth: u64,
        /// Number of the head block.
        head: u64,
    },
    /// The block to go back to is older than the retained states.
    #[error("cannot go back to block {number}: only the states of the newest {retained} blocks are retained")]
    StatePruned {
        /// Block to go back to.
        number: u64,
        /// `retained_states` of the configuration.
        retained: usize,
    },
}
