//! Contract code, analysed once and shared, and which account is known to have which.
//!
//! In: code bytes as nodes and witnesses give them. Out: code as the EVM runs it. Must never: keep more bytes than its
//! bound, or remember a code that can change.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, keccak256};
use lru::LruCache;
use revm::state::Bytecode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of contract code kept across blocks. The 42 modern mainnet blocks of the measurement hold 38 MB; twice that
/// stays within the 100 MB that a chain may use.
const MAX_CODE_BYTES: usize = 64 << 20;
/// Accounts whose code is remembered by address: 52 bytes each and as many as codes of 1.3 kB fit into the bound above.
const MAX_DEPLOYED: usize = 50_000;
/// First bytes of a delegation (EIP-7702), which its account may change with every transaction.
const DELEGATION: [u8; 3] = [0xef, 0x01, 0x00];

/// Analysed contract code by hash, shared across blocks and forks.
#[derive(Debug, Clone)]
pub(crate) struct Codes(Arc<Mutex<CodeMap>>);

#[derive(Debug)]
struct CodeMap {
    by_hash: LruCache<B256, Bytecode>,
    bytes: usize,
}

impl Default for Codes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(CodeMap { by_hash: LruCache::unbounded(), bytes: 0 })))
    }
}

impl Codes {
    fn map(&self) -> MutexGuard<'_, CodeMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, code_hash: B256) -> Option<Bytecode> {
        self.map().by_hash.get(&code_hash).cloned()
    }

    /// Analyses the code unless it is known; the code that was used longest ago leaves where the bound is reached.
    pub(super) fn add(&self, code: Bytes) -> (B256, Bytecode) {
        if code.is_empty() {
            return (KECCAK256_EMPTY, Bytecode::default());
        }
        let code_hash = keccak256(&code);
        if let Some(known) = self.get(code_hash) {
            return (code_hash, known);
        }
        let len = code.len();
        let code = analysed(code);
        let mut map = self.map();
        if map.by_hash.put(code_hash, code.clone()).is_none() {
            map.bytes = map.bytes.saturating_add(len);
        }
        while map.bytes > MAX_CODE_BYTES
            && let Some((_, oldest)) = map.by_hash.pop_lru()
        {
            map.bytes = map.bytes.saturating_sub(oldest.len());
        }
        (code_hash, code)
    }
}

/// Which account has which code, along one line of blocks without a gap.
///
/// Since Cancun a contract that exists keeps its code for ever (EIP-6780): only a delegation can change, and that is
/// never kept here. A reorganisation, a gap, another hardfork or a replay that disagrees starts a new one.
#[derive(Debug, Clone)]
pub(crate) struct Deployed(Arc<Mutex<LruCache<Address, B256>>>);

impl Default for Deployed {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::unbounded())))
    }
}

impl Deployed {
    pub(super) fn get(&self, address: Address) -> Option<B256> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }

    pub(super) fn note(&self, address: Address, code_hash: B256, code: &Bytecode) {
        let bytes = code.original_byte_slice();
        if bytes.is_empty() || bytes.starts_with(&DELEGATION) {
            return;
        }
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.put(address, code_hash);
        if map.len() > MAX_DEPLOYED {
            map.pop_lru();
        }
    }
}

/// Code as the EVM runs it. What looks like a delegation without being one was deployed before EIP-3541 and is
/// ordinary code.
pub(crate) fn analysed(code: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}
