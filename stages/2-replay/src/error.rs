//! What can go wrong while a block is executed again.
//!
//! In: failures of nodes, archives, configuration and of the EVM itself. Out: typed errors that say what was being
//! read. A transaction that merely reverts is not an error.

use crate::traced::TraceError;
use alloy_primitives::{Address, B256};
use alloy_transport::TransportError;
use cordon_model::units::ChainId;

/// A replay that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A piece of state could not be read; nothing was assumed in its place.
    #[error("state: cannot read {what}")]
    State {
        /// What was asked for, in words.
        what: String,
        /// Account it belongs to; `None` for a block hash.
        address: Option<Address>,
        /// Why it could not be read.
        #[source]
        source: StateError,
    },
    /// The rules of the chain are not known.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A node's traces cannot be used.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The EVM gave up for a reason that is neither a revert nor a halt.
    #[error("transaction {tx_hash}: the EVM stopped outside its rules: {reason}")]
    Evm {
        /// Transaction that was running; zero for a system call or a view.
        tx_hash: B256,
        /// The EVM's words.
        reason: String,
    },
    /// A block without a witness reached a replayer without a node.
    #[error("block {number}: no state to run on: it has no witness and the replayer has no node")]
    NoState {
        /// Height of the block.
        number: u64,
    },
    /// A block of another chain reached the replayer.
    #[error("block {number}: belongs to chain {found}, the rules are those of chain {expected}")]
    WrongChain {
        /// Height of the block.
        number: u64,
        /// Chain of the rules.
        expected: ChainId,
        /// Chain of the block.
        found: ChainId,
    },
    /// A position that the block does not have.
    #[error("block {number}: has {len} transactions, position {index} was asked for")]
    NoSuchTransaction {
        /// Height of the block.
        number: u64,
        /// Transactions in the block.
        len: usize,
        /// Position that was asked for.
        index: u32,
    },
    /// There is no tokio runtime on which a node could be asked.
    #[error("a node's state can only be read from within a tokio runtime")]
    NoRuntime,
    /// The worker thread did not come to an end.
    #[error("the replay worker did not finish")]
    Worker(#[source] tokio::task::JoinError),
    /// An earlier job on the same fork was torn down and took its state along.
    #[error("the fork lost its state in an earlier job that did not finish")]
    ForkLost,
}

/// Why a piece of state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The node refused or could not be reached.
    #[error("the node's request failed")]
    Node(#[source] TransportError),
    /// The node did not answer in time.
    #[error("the node gave no answer within {timeout_ms} ms")]
    Timeout {
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The program is ending, so the node is not asked any more.
    #[error("the question was given up")]
    Ended(#[source] tokio::task::JoinError),
    /// The node does not know what every node has.
    #[error("the node does not have it")]
    NotOnNode,
    /// The block's witness does not contain it.
    #[error("the block's witness does not contain it")]
    NotInWitness,
}

/// Rules that cannot be determined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// No hardfork has this name.
    #[error("hardfork: found \"{name}\", expected one of {known}")]
    UnknownHardfork {
        /// Name that was given.
        name: String,
        /// Names that exist, comma separated.
        known: String,
    },
    /// The chain's schedule is not built in and none was named.
    #[error(
        "hardfork: chain {chain_id} has no built-in schedule; name the hardfork it runs (one of {known})"
    )]
    UnknownChain {
        /// Chain without a schedule.
        chain_id: ChainId,
        /// Names that exist, comma separated.
        known: String,
    },
    /// The built-in schedule does not reach the block.
    #[error(
        "hardfork: the built-in schedule of chain {chain_id} does not reach block {number} (time {timestamp_s}); \
         name the hardfork it runs (one of {known})"
    )]
    OutsideSchedule {
        /// Chain of the schedule.
        chain_id: ChainId,
        /// Height of the block.
        number: u64,
        /// Time of the block, Unix seconds.
        timestamp_s: u64,
        /// Names that exist, comma separated.
        known: String,
    },
}
