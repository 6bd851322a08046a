//! Why a source could not say what comes next.
//!
//! Each variant is a decision that the caller can take; [`SourceError::is_transient`] draws the line between asking
//! again and halting the chain. Texts must never hold credentials: nodes are named by scheme, host and port alone, and
//! causes from below are carried as redacted text, because transports print whole urls.

use alloy_primitives::B256;
use cordon_model::units::{BlockRef, ChainId};
use std::path::PathBuf;

/// Why a source could not say what comes next.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The url of a node cannot be used.
    #[error("node url is not usable: {reason}; expected http, https, ws or wss with a host, or ipc:///path")]
    Url {
        /// What is wrong, without the url.
        reason: String,
    },
    /// The node did not answer, after all attempts.
    #[error("node {node} did not answer {method} after {attempts} attempts: {reason}")]
    Unreachable {
        /// Node, without credentials.
        node: String,
        /// JSON-RPC method.
        method: &'static str,
        /// How often it was tried.
        attempts: u32,
        /// Last reason, redacted.
        reason: String,
    },
    /// The node answered that it will not do this.
    #[error("node {node} refused {method}: {reason}")]
    Refused {
        /// Node, without credentials.
        node: String,
        /// JSON-RPC method.
        method: &'static str,
        /// Its reason, redacted.
        reason: String,
    },
    /// The node does not offer a method.
    #[error("node {node} does not offer {method}")]
    Unsupported {
        /// Node, without credentials.
        node: String,
        /// JSON-RPC method.
        method: &'static str,
    },
    /// The node serves another chain.
    #[error("node {node} serves chain {found}, expected chain {expected}")]
    WrongChainId {
        /// Node, without credentials.
        node: String,
        /// Chain that was configured.
        expected: ChainId,
        /// Chain that the node serves.
        found: ChainId,
    },
    /// The node lacks a block that its own newest block presupposes: it lags, or several nodes share the url.
    #[error("node {node} has no block {number}, although its newest block is {newest}")]
    BlockNotFound {
        /// Node, without credentials.
        node: String,
        /// Block that was asked for.
        number: u64,
        /// Newest block that it named.
        newest: u64,
    },
    /// The source ends below all that the cursor remembers.
    #[error("{origin} ends at block {newest}, far below the judged block {judged}", newest = or_none(*.newest))]
    Behind {
        /// Node or archive.
        origin: String,
        /// Its newest block.
        newest: Option<u64>,
        /// Newest judged block.
        judged: u64,
    },
    /// What was read does not have the expected shape.
    #[error("{origin}: {reason}")]
    Malformed {
        /// Node and method, or part of a file.
        origin: String,
        /// Place in the text, what was found, and what was expected.
        reason: String,
    },
    /// Another block came than the one that was asked for.
    #[error("{origin} gave block {found}, expected block {expected}")]
    WrongBlock {
        /// Node and method, or part of a file.
        origin: String,
        /// Number that was asked for.
        expected: u64,
        /// Number that came.
        found: u64,
    },
    /// The header does not have the hash that it states.
    #[error("{origin}: block {number} states the hash {stated}, but its header hashes to {computed}")]
    HashMismatch {
        /// Node and method, or part of a file.
        origin: String,
        /// Number of the block.
        number: u64,
        /// Stated hash.
        stated: B256,
        /// Recomputed hash.
        computed: B256,
    },
    /// The transactions are not those that the header commits to.
    #[error("{origin}: transactions of block {number} are not those of its header: {reason}")]
    TransactionsMismatch {
        /// Node and method, or part of a file.
        origin: String,
        /// Number of the block.
        number: u64,
        /// What differs.
        reason: String,
    },
    /// The receipts are not those that the header commits to.
    #[error("{origin}: receipts of block {number} are not those of its header: {reason}")]
    ReceiptsMismatch {
        /// Node and method.
        origin: String,
        /// Number of the block.
        number: u64,
        /// What differs.
        reason: String,
    },
    /// The cursor belongs to another chain.
    #[error("the cursor is of chain {found}, this source follows chain {expected}")]
    CursorOfOtherChain {
        /// Chain of the source.
        expected: ChainId,
        /// Chain of the cursor.
        found: ChainId,
    },
    /// A reorganisation reaches below what the cursor remembers; which judged blocks still stand cannot be told.
    #[error(
        "chain {chain_id} was reorganised below block {} ({}), the oldest one that the cursor remembers; \
         the chain is halted until a person sets a new position",
        .oldest.number, .oldest.hash
    )]
    ReorgTooDeep {
        /// Chain.
        chain_id: ChainId,
        /// Oldest remembered block.
        oldest: BlockRef,
    },
    /// A file or directory cannot be read.
    #[error("'{}' cannot be read: expected {expected}", .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A block file is damaged: it can be unpacked, but it does not hold one sound block.
    #[error("'{}' is damaged: expected one block of the format cordon-block/1", .path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: Box<SourceError>,
    },
    /// A file is of another format.
    #[error("'{}' has the format {}, expected '{expected}'", .path.display(), named(.found.as_deref()))]
    Format {
        /// File.
        path: PathBuf,
        /// Format that it names.
        found: Option<String>,
        /// Format that is read.
        expected: &'static str,
    },
    /// A file or directory exceeds a bound.
    #[error("'{}' exceeds the bound of {limit} {unit}", .path.display())]
    TooLarge {
        /// File or directory.
        path: PathBuf,
        /// Bound.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// Two files hold the same block.
    #[error("'{}' and '{}' both hold block {number} of chain {chain_id}", .first.display(), .second.display())]
    Duplicate {
        /// Chain.
        chain_id: ChainId,
        /// Number of the block.
        number: u64,
        /// One file.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
}

impl SourceError {
    /// Whether asking again later can help without a person: the node was away, lagged, or one of several nodes
    /// behind one url gave a bad answer. Everything else halts the chain.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Unsupported { .. }
            | Self::BlockNotFound { .. }
            | Self::Behind { .. }
            | Self::Malformed { .. }
            | Self::WrongBlock { .. }
            | Self::HashMismatch { .. }
            | Self::TransactionsMismatch { .. }
            | Self::ReceiptsMismatch { .. } => true,
            Self::Url { .. }
            | Self::WrongChainId { .. }
            | Self::CursorOfOtherChain { .. }
            | Self::ReorgTooDeep { .. }
            | Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Format { .. }
            | Self::TooLarge { .. }
            | Self::Duplicate { .. } => false,
        }
    }
}

/// Whether an answer was wrong in itself, so that another node may have the right one.
pub(crate) fn is_wrong_answer(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::Malformed { .. }
            | SourceError::WrongBlock { .. }
            | SourceError::HashMismatch { .. }
            | SourceError::TransactionsMismatch { .. }
            | SourceError::ReceiptsMismatch { .. }
    )
}

fn or_none(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

fn named(format: Option<&str>) -> String {
    format.map_or_else(|| "none".to_owned(), |format| format!("'{format}'"))
}
