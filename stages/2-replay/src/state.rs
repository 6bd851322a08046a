//! Where the EVM reads state from: a witness that travels with a block, or a node; and the layers of changes above.
//!
//! In: reads of accounts, slots, codes and ancestor hashes as of the end of one block. Out: the values, or a typed
//! error. Must never: answer zero for what could not be read.
//!
//! The EVM reads synchronously while nodes answer asynchronously, so everything here runs on a blocking thread of
//! the tokio runtime whose handle the node source holds; that runtime needs its timer.

mod batch;
mod codes;
mod known;
mod layers;
mod node;
mod reads;
mod witness;

pub(crate) use batch::Link;
pub(crate) use codes::{Codes, Deployed, analysed};
pub(crate) use known::Bounded;
pub(crate) use layers::{Layers, freeze};
pub(crate) use node::{NodeState, Wanted};
pub use reads::ReadStats;
pub(crate) use witness::WitnessState;

use crate::error::{ReplayError, StateError};
use alloy_primitives::{Address, B256, U256};
use revm::DatabaseRef;
use revm::database::CacheDB;
use revm::database_interface::DBErrorMarker;
use revm::state::{AccountInfo, Bytecode};

/// State as the EVM works on it: a writable layer above a source.
pub(crate) type Db = CacheDB<Source>;

/// The read-only state below.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Witness(WitnessState),
    Node(NodeState),
    /// Earlier changes, shared by every branch that was taken after them.
    Layers(Layers),
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub(crate) struct DbError {
    pub(crate) what: String,
    pub(crate) address: Option<Address>,
    #[source]
    pub(crate) source: StateError,
}

impl DBErrorMarker for DbError {}

impl From<DbError> for ReplayError {
    fn from(error: DbError) -> Self {
        Self::State { what: error.what, address: error.address, source: error.source }
    }
}

impl DbError {
    fn new(what: String, address: Option<Address>, source: StateError) -> Self {
        Self { what, address, source }
    }

    fn not_in_witness(what: String, address: Option<Address>) -> Self {
        Self::new(what, address, StateError::NotInWitness)
    }
}

impl DatabaseRef for Source {
    type Error = DbError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        match self {
            Self::Witness(state) => Ok(state.account(address)),
            Self::Node(state) => state.account(address),
            Self::Layers(layers) => match layers.account(address) {
                Some(info) => Ok(info),
                None => layers.below().basic_ref(address),
            },
        }
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        match self {
            Self::Witness(state) => state.code(code_hash),
            Self::Node(state) => state.code(code_hash).ok_or_else(|| {
                DbError::new(format!("code with hash {code_hash}"), None, StateError::NotOnNode)
            }),
            Self::Layers(layers) => match layers.code(code_hash) {
                Some(code) => Ok(code),
                None => layers.below().code_by_hash_ref(code_hash),
            },
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        match self {
            Self::Witness(state) => state.slot(address, slot),
            Self::Node(state) => state.slot(address, slot),
            Self::Layers(layers) => match layers.slot(address, slot) {
                Some(value) => Ok(value),
                None => layers.below().storage_ref(address, slot),
            },
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DbError> {
        match self {
            Self::Witness(state) => state.block_hash(number),
            Self::Node(state) => state.block_hash(number),
            Self::Layers(layers) => match layers.block_hash(number) {
                Some(hash) => Ok(hash),
                None => layers.below().block_hash_ref(number),
            },
        }
    }
}

impl Source {
    /// An account as far as it is known without asking a node; `None` where a node would have to be asked.
    pub(crate) fn known_account(&self, address: Address) -> Option<Option<AccountInfo>> {
        match self {
            Self::Witness(state) => Some(state.account(address)),
            Self::Node(state) => state.known_account(address),
            Self::Layers(layers) => {
                layers.peek_account(address).or_else(|| layers.below().known_account(address))
            }
        }
    }

    /// A slot as far as it is known without asking a node.
    pub(crate) fn known_slot(&self, address: Address, slot: U256) -> Option<U256> {
        match self {
            Self::Witness(state) => state.slot(address, slot).ok(),
            Self::Node(state) => state.known_slot(address, slot),
            Self::Layers(layers) => {
                layers.peek_slot(address, slot).or_else(|| layers.below().known_slot(address, slot))
            }
        }
    }

    /// A code as far as it is known without asking a node.
    pub(crate) fn known_code(&self, code_hash: B256) -> Option<Bytecode> {
        match self {
            Self::Witness(state) => state.code(code_hash).ok(),
            Self::Node(state) => state.code(code_hash),
            Self::Layers(layers) => layers.code(code_hash).or_else(|| layers.below().known_code(code_hash)),
        }
    }

    /// An ancestor's hash as far as it is known without asking a node.
    pub(crate) fn known_block_hash(&self, number: u64) -> Option<B256> {
        match self {
            Self::Witness(state) => state.block_hash(number).ok(),
            Self::Node(state) => state.known_block_hash(number),
            Self::Layers(layers) => {
                layers.block_hash(number).or_else(|| layers.below().known_block_hash(number))
            }
        }
    }

    /// The node at the bottom, where there is one.
    pub(crate) fn node(&self) -> Option<&NodeState> {
        match self {
            Self::Witness(_) => None,
            Self::Node(state) => Some(state),
            Self::Layers(layers) => layers.below().node(),
        }
    }
}
