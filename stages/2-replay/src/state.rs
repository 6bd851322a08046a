//! Where the EVM reads state from: a witness that travels with a block, or a node that is asked lazily.
//!
//! In: reads of accounts, slots, codes and ancestor hashes as of the end of one block. Out: the values, or a typed
//! error. Must never: answer zero for what could not be read.
//!
//! The EVM reads synchronously while nodes answer asynchronously, so everything here runs on a blocking thread of
//! the tokio runtime whose handle the node source holds; that runtime needs its timer.

use crate::error::{ReplayError, StateError};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_provider::{DynProvider, Provider};
use alloy_transport::TransportError;
use cordon_model::block::Witness;
use futures::StreamExt as _;
use revm::DatabaseRef;
use revm::database::CacheDB;
use revm::database_interface::DBErrorMarker;
use revm::state::{AccountInfo, Bytecode};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long one read of a node may take. A block must be judged within a slot of 12 s (Ethereum consensus
/// specification), and a node that needs as long as a slot for a single value does not keep up in any case.
const STATE_TIMEOUT_MS: u64 = 12_000;
/// Reads of a block's known accounts that are under way at once. Public endpoints commonly allow some tens of
/// requests in flight per client; an account is three of them.
const PREFETCH_WIDTH: usize = 8;
/// Accounts that are read ahead per block: the senders and receivers of a full Ethereum block (about 200
/// transactions of the archive's median block) several times over.
const MAX_PREFETCH: usize = 2_048;
/// Values that all branches of one node state share before they are dropped and read again: about 100 bytes each,
/// so 25 MB.
const MAX_SHARED_READS: usize = 250_000;
/// Bytes of contract code kept across blocks. The 42 modern mainnet blocks of the measurement hold 38 MB; twice that
/// stays within the 100 MB that a chain may use.
const MAX_CODE_BYTES: usize = 64 << 20;

/// State as the EVM works on it: a writable layer above a source.
pub(crate) type Db = CacheDB<Source>;

/// The read-only state below.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Witness(WitnessState),
    Node(NodeState),
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
        }
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        match self {
            Self::Witness(state) => state.code(code_hash),
            Self::Node(state) => state.codes.get(code_hash).ok_or_else(|| {
                DbError::new(format!("code with hash {code_hash}"), None, StateError::NotOnNode)
            }),
        }
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        match self {
            Self::Witness(state) => state.slot(address, slot),
            Self::Node(state) => state.slot(address, slot),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, DbError> {
        match self {
            Self::Witness(state) => state.block_hash(number),
            Self::Node(state) => state.block_hash(number),
        }
    }
}

/// State of a block's witness.
///
/// A witness lists every account its block touches, so an account that it does not list does not exist. A listed
/// account without the slot, a code or an ancestor hash that is asked for is a gap, and an error.
#[derive(Debug, Clone)]
pub(crate) struct WitnessState(Arc<Witness>);

impl WitnessState {
    pub(crate) fn new(witness: Arc<Witness>) -> Self {
        Self(witness)
    }

    fn account(&self, address: Address) -> Option<AccountInfo> {
        self.0.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance_wei,
            nonce: account.nonce,
            code_hash: account.code_hash.unwrap_or(KECCAK256_EMPTY),
            account_id: None,
            code: None,
        })
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, DbError> {
        self.0
            .codes
            .get(&code_hash)
            .map(|code| analysed(code.clone()))
            .ok_or_else(|| DbError::not_in_witness(format!("code with hash {code_hash}"), None))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        match self.0.accounts.get(&address) {
            None => Ok(U256::ZERO),
            Some(account) => account.storage.get(&slot).copied().ok_or_else(|| {
                DbError::not_in_witness(format!("slot {slot:#x} of {address}"), Some(address))
            }),
        }
    }

    fn block_hash(&self, number: u64) -> Result<B256, DbError> {
        self.0
            .block_hashes
            .get(&number)
            .copied()
            .ok_or_else(|| DbError::not_in_witness(format!("hash of block {number}"), None))
    }

    /// Every account, slot and code of the witness in one writable layer, codes analysed.
    pub(crate) fn preloaded(&self) -> Result<Db, DbError> {
        let mut db = CacheDB::new(Source::Witness(self.clone()));
        for (address, account) in &self.0.accounts {
            let Some(mut info) = self.account(*address) else { continue };
            // A witness leaves out the code of an account that is never run.
            info.code = account.code_hash.and_then(|code_hash| self.code(code_hash).ok());
            db.insert_account_info(*address, info);
            for (slot, value) in &account.storage {
                db.insert_account_storage(*address, *slot, *value)?;
            }
        }
        Ok(db)
    }
}

/// State of a node at the end of one block, shared by all clones.
#[derive(Debug, Clone)]
pub(crate) struct NodeState {
    provider: DynProvider,
    runtime: Handle,
    block: BlockId,
    reads: Arc<Mutex<Reads>>,
    codes: Codes,
}

#[derive(Debug, Default)]
struct Reads {
    accounts: HashMap<Address, Option<AccountInfo>>,
    slots: HashMap<(Address, U256), U256>,
    hashes: HashMap<u64, B256>,
}

impl Reads {
    fn make_room(&mut self) {
        if self.accounts.len() + self.slots.len() + self.hashes.len() >= MAX_SHARED_READS {
            *self = Self::default();
        }
    }
}

impl NodeState {
    /// State as of the end of the block with this hash. By hash, because a height may change its meaning between
    /// two reads.
    pub(crate) fn new(provider: DynProvider, runtime: Handle, block: B256, codes: Codes) -> Self {
        Self { provider, runtime, block: BlockId::from(block), reads: Arc::default(), codes }
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        if let Some(known) = self.reads().accounts.get(&address) {
            return Ok(known.clone());
        }
        self.runtime.block_on(self.fetch_account(address))
    }

    async fn fetch_account(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        let (provider, block) = (&self.provider, self.block);
        let what = || format!("account {address}");
        let answer = async {
            tokio::try_join!(
                async { provider.get_balance(address).block_id(block).await },
                async { provider.get_transaction_count(address).block_id(block).await },
                async { provider.get_code_at(address).block_id(block).await },
            )
        };
        let (balance, nonce, code) =
            in_time(answer).await.map_err(|e| DbError::new(what(), Some(address), e))?;
        let info = (!balance.is_zero() || nonce != 0 || !code.is_empty()).then(|| {
            let (code_hash, code) = self.codes.add(code);
            AccountInfo { balance, nonce, code_hash, account_id: None, code: Some(code) }
        });
        let mut reads = self.reads();
        reads.make_room();
        reads.accounts.insert(address, info.clone());
        Ok(info)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        if let Some(known) = self.reads().slots.get(&(address, slot)) {
            return Ok(*known);
        }
        let (provider, block) = (&self.provider, self.block);
        let value = self
            .runtime
            .block_on(in_time(async { provider.get_storage_at(address, slot).block_id(block).await }))
            .map_err(|e| DbError::new(format!("slot {slot:#x} of {address}"), Some(address), e))?;
        let mut reads = self.reads();
        reads.make_room();
        reads.slots.insert((address, slot), value);
        Ok(value)
    }

    fn block_hash(&self, number: u64) -> Result<B256, DbError> {
        if let Some(known) = self.reads().hashes.get(&number) {
            return Ok(*known);
        }
        let what = || format!("hash of block {number}");
        let provider = &self.provider;
        let hash = self
            .runtime
            .block_on(in_time(async { provider.get_block_by_number(BlockNumberOrTag::Number(number)).await }))
            .map_err(|e| DbError::new(what(), None, e))?
            .map(|block| block.header.hash)
            .ok_or_else(|| DbError::new(what(), None, StateError::NotOnNode))?;
        self.reads().hashes.insert(number, hash);
        Ok(hash)
    }

    /// Reads accounts that are certain to be needed, several at once. The first failure ends it and is left for the
    /// read that really needs the value, so that a node that does not answer is not waited for again and again.
    pub(crate) fn prefetch(&self, addresses: impl Iterator<Item = Address>) {
        let wanted: Vec<Address> = {
            let reads = self.reads();
            addresses.filter(|address| !reads.accounts.contains_key(address)).take(MAX_PREFETCH).collect()
        };
        self.runtime.block_on(async {
            futures::stream::iter(wanted)
                .map(|address| self.fetch_account(address))
                .buffer_unordered(PREFETCH_WIDTH)
                .take_while(|read| {
                    if let Err(error) = read {
                        tracing::debug!(%error, "reading ahead ended");
                    }
                    std::future::ready(read.is_ok())
                })
                .for_each(|_| std::future::ready(()))
                .await;
        });
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, TransportError>>) -> Result<T, StateError> {
    match tokio::time::timeout(Duration::from_millis(STATE_TIMEOUT_MS), request).await {
        Ok(answer) => answer.map_err(StateError::Node),
        Err(_) => Err(StateError::Timeout { timeout_ms: STATE_TIMEOUT_MS }),
    }
}

/// Analysed contract code by hash, shared across blocks and forks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codes(Arc<Mutex<CodeMap>>);

#[derive(Debug, Default)]
struct CodeMap {
    by_hash: HashMap<B256, Bytecode>,
    bytes: usize,
}

impl Codes {
    fn get(&self, code_hash: B256) -> Option<Bytecode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_hash.get(&code_hash).cloned()
    }

    /// Analyses the code unless it is known; when the bound is reached everything is dropped at once, which costs a
    /// repeated analysis and nothing else.
    fn add(&self, code: Bytes) -> (B256, Bytecode) {
        if code.is_empty() {
            return (KECCAK256_EMPTY, Bytecode::default());
        }
        let code_hash = keccak256(&code);
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.by_hash.get(&code_hash) {
            return (code_hash, known.clone());
        }
        if map.bytes.saturating_add(code.len()) > MAX_CODE_BYTES {
            *map = CodeMap::default();
        }
        map.bytes = map.bytes.saturating_add(code.len());
        let code = analysed(code);
        map.by_hash.insert(code_hash, code.clone());
        (code_hash, code)
    }
}

/// Code as the EVM runs it. What looks like a delegation without being one was deployed before EIP-3541 and is
/// ordinary code.
pub(crate) fn analysed(code: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}
