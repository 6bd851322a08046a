//! Attacks executed again on the state that somebody kept from just before them.
//!
//! In: JSON with accounts, codes, touched slots and balances at the end of one block, and the attack's tree of calls, of
//! which the first gives calldata, value and sender. Out: the full [`Execution`], where it agrees with the tree. Must
//! never: hand out an execution that does not. What the file lacks reads as zero, so nothing else vouches for it.
//!
//! Known of the block are the number, time and hash of the one before it. Assumed are: it is the next one, a block time
//! later; no base fee and no gas price; the zero address as beneficiary and zero as randomness; the rules of the chain's
//! hardfork at that time or, where no schedule of the chain is known, those of Ethereum's.

mod agreement;

use crate::error::ReplayError;
use crate::machine::{self, Attempt, Machine, Mode};
use crate::rules::{BlockRules, Rules};
use crate::state::{Db, Source, WitnessState, analysed};
use crate::traced::{TraceError, read_json};
use agreement::difference;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use cordon_model::block::{Transaction, Witness};
use cordon_model::chains::chain_spec;
use cordon_model::execution::{Detail, Execution, Frame, FrameKind};
use cordon_model::units::{BlockRef, ChainId, TxRef};
use revm::context::BlockEnv;
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::database::{AccountState, CacheDB};
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the source, in errors.
const STATE: &str = "state before an attack";

/// Gas limit of the block, and with it of the transaction, which trees of calls often do not state: that of BNB Smart Chain
/// in 2024, the largest among the chains of such files. A limit that was lower shows as a difference from the tree.
const BLOCK_GAS_LIMIT: u64 = 140_000_000;

/// Nonces tried where the sender's is known only by the address of the contract that he created. Senders of attacks are
/// fresh accounts; a thousand transactions make none.
const NONCES_MAX: u64 = 1_000;

/// Chains by the names that test runners give them.
const CHAIN_NAMES: [(&str, u64); 14] = [
    ("mainnet", 1),
    ("ethereum", 1),
    ("optimism", 10),
    ("bsc", 56),
    ("gnosis", 100),
    ("polygon", 137),
    ("fantom", 250),
    ("moonriver", 1_285),
    ("base", 8_453),
    ("arbitrum", 42_161),
    ("celo", 42_220),
    ("avalanche", 43_114),
    ("linea", 59_144),
    ("blast", 81_457),
];

#[derive(Deserialize)]
struct RawFile {
    metadata: RawMetadata,
    addresses: BTreeMap<Address, RawAccount>,
}

#[derive(Deserialize)]
struct RawMetadata {
    chain: String,
    block_number: u64,
    timestamp: u64,
    block_hash: Option<B256>,
    attack_tx_hash: Option<B256>,
}

#[derive(Deserialize)]
struct RawAccount {
    balance_wei: String,
    nonce: u64,
    code: String,
    #[serde(default)]
    name: Option<String>,
    storage: BTreeMap<String, String>,
}

/// Accounts just before an attack.
#[derive(Debug, Clone)]
pub struct AttackState {
    chain: String,
    block: BlockRef,
    timestamp_s: u64,
    tx_hash: Option<B256>,
    accounts: BTreeMap<Address, Account>,
}

#[derive(Debug, Clone)]
struct Account {
    /// As whoever kept the state calls it.
    name: Option<String>,
    info: AccountInfo,
    storage: BTreeMap<U256, U256>,
}

/// Why an attack could not be executed again, or not believed.
#[derive(Debug, thiserror::Error)]
pub enum AttackStateError {
    /// The rules of the chain are not known.
    #[error("chain '{name}' is not known")]
    UnknownChain {
        /// As the file names it.
        name: String,
    },
    /// The tree of calls holds no call.
    #[error("the tree of calls is empty")]
    NoCall,
    /// The attack's first contract is not in the file.
    #[error("the state lacks the code of the contract that is called first")]
    NoCode {
        /// Contract.
        address: Address,
    },
    /// The EVM needs what the file cannot give.
    #[error("the execution on the state fails")]
    Replay(#[from] ReplayError),
    /// The EVM refused the transaction.
    #[error("the execution on the state is refused: {reason}")]
    Refused {
        /// The EVM's words.
        reason: String,
    },
    /// What was executed is not what happened.
    #[error("the execution on the state differs from the calls that were made")]
    Differs {
        /// Frame at which they part, in the order of entry, precompiled contracts left out.
        frame: usize,
        /// How.
        what: String,
    },
}

impl AttackState {
    /// Reads one file.
    ///
    /// # Errors
    /// [`TraceError::Malformed`] and [`TraceError::TooLarge`] where it is no such state.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let file: RawFile = read_json(STATE, text)?;
        let mut accounts = BTreeMap::new();
        for (address, raw) in file.addresses {
            let account = account(raw).map_err(|(key, reason)| TraceError::Malformed {
                method: STATE,
                place: format!("addresses.{address}.{key}"),
                reason,
            })?;
            accounts.insert(address, account);
        }
        let RawMetadata { chain, block_number, timestamp, block_hash, attack_tx_hash } = file.metadata;
        let block = BlockRef { number: block_number, hash: block_hash.unwrap_or_default() };
        Ok(Self { chain, block, timestamp_s: timestamp, tx_hash: attack_tx_hash, accounts })
    }

    /// The attack's transaction, where the file names it.
    #[must_use]
    pub fn tx_hash(&self) -> Option<B256> {
        self.tx_hash
    }

    /// Time of the block at whose end this was the state, Unix seconds.
    #[must_use]
    pub fn timestamp_s(&self) -> u64 {
        self.timestamp_s
    }

    /// Contracts with what whoever kept the state calls them, and their code.
    pub fn named_codes(&self) -> impl Iterator<Item = (Address, &str, &[u8])> {
        self.accounts.iter().filter_map(|(address, account)| {
            let code = account.info.code.as_ref().filter(|_| !account.info.is_empty_code_hash())?;
            Some((*address, account.name.as_deref()?, code.original_byte_slice()))
        })
    }

    /// Executes the transaction whose calls are `tree`, recorded as on a chain that is watched.
    ///
    /// # Errors
    /// [`AttackStateError`] where it cannot be executed, or does something else than the tree tells: see
    /// [`AttackStateError::Differs`]. Compared are success and, frame by frame, kind, caller, contract, code, selector, outcome
    /// and the number of bytes of calldata; amounts in the calldata are not, because some follow the block's time.
    pub fn execute(&self, tree: &Execution) -> Result<Execution, AttackStateError> {
        let root = tree.frames.first().ok_or(AttackStateError::NoCall)?;
        let chain_id = chain_by_name(&self.chain)?;
        let (number, timestamp_s) = self.next_block(chain_id);
        let rules = rules_at(chain_id, number, timestamp_s)?;
        let env = environment(number, timestamp_s, &rules);
        let transaction = Transaction {
            gas_limit: machine::max_tx_gas(&env, &rules),
            chain_id: Some(chain_id.0),
            ..tree.transaction.clone()
        };
        let db = self.state_for(root)?;
        let block = BlockRef { number, hash: B256::ZERO };
        let at = TxRef { chain_id, block, index: 0, hash: tree.tx.hash };
        let mut machine = Machine::new(db, env, &rules, Mode::Simulated);
        machine.record(Detail::Watch);
        let executed =
            match machine.run(transaction.hash, machine::tx_env(&transaction), transaction.rollup)? {
                Attempt::Ran(mut run) => machine.facts(at, timestamp_s, transaction, &mut run),
                Attempt::Refused(reason) => {
                    return Err(AttackStateError::Refused { reason: reason.to_string() });
                }
            };
        match difference(tree, &executed) {
            None => Ok(executed),
            Some((frame, what)) => Err(AttackStateError::Differs { frame, what }),
        }
    }

    /// Height and time of the block after the state's.
    fn next_block(&self, chain_id: ChainId) -> (u64, u64) {
        let block_time_ms = chain_spec(chain_id).map_or(0, |spec| spec.block_time_ms);
        let seconds = (block_time_ms / 1_000).max(1);
        (self.block.number.saturating_add(1), self.timestamp_s.saturating_add(seconds))
    }

    /// The accounts as state that can be written. Slots and accounts that the file lacks are zero and empty.
    fn state_for(&self, root: &Frame) -> Result<Db, AttackStateError> {
        let mut db = CacheDB::new(Source::Witness(WitnessState::new(Arc::new(Witness::default()))));
        for (address, account) in &self.accounts {
            db.insert_account_info(*address, account.info.clone());
            let entry = db.load_account(*address).map_err(ReplayError::from)?;
            entry.storage.extend(account.storage.iter().map(|(slot, value)| (*slot, *value)));
            entry.account_state = AccountState::StorageCleared;
        }
        if self.block.hash != B256::ZERO {
            db.cache.block_hashes.insert(U256::from(self.block.number), self.block.hash);
        }
        let creates = matches!(root.kind, FrameKind::Create | FrameKind::Create2);
        let is_known =
            |address| self.accounts.get(address).is_some_and(|account| !account.info.is_empty_code_hash());
        if !creates && !root.precompile && tree_runs_code(root) && !is_known(&root.code_address) {
            return Err(AttackStateError::NoCode { address: root.code_address });
        }
        // The sender had what he sent, and the nonce by which he created what he created, whether or not he is listed.
        let mut sender =
            self.accounts.get(&root.caller).map(|account| account.info.clone()).unwrap_or_default();
        sender.balance = sender.balance.max(root.value_wei);
        if creates && root.caller.create(sender.nonce) != root.address {
            let nonce = (0..NONCES_MAX).find(|nonce| root.caller.create(*nonce) == root.address);
            sender.nonce = nonce.unwrap_or(sender.nonce);
        }
        db.insert_account_info(root.caller, sender);
        Ok(db)
    }
}

/// True where a call is more than a payment. Calldata alone says nothing: it may be sent to anybody.
fn tree_runs_code(root: &Frame) -> bool {
    !root.input.is_empty() || !root.output.is_empty() || root.value_wei.is_zero()
}

fn chain_by_name(name: &str) -> Result<ChainId, AttackStateError> {
    CHAIN_NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, id)| ChainId(*id))
        .ok_or_else(|| AttackStateError::UnknownChain { name: name.to_owned() })
}

/// The rules of a block: those of the chain's own schedule, or those of Ethereum's hardfork at the time. The chains that
/// follow Ethereum adopt its hardforks some months later, so that an opcode may run that did not exist yet; contracts that
/// were deployed did not use it.
fn rules_at(chain_id: ChainId, number: u64, timestamp_s: u64) -> Result<BlockRules, ReplayError> {
    let rules = match Rules::new(chain_id, None) {
        Ok(own) => {
            own.check_known(number, timestamp_s)?;
            own
        }
        Err(_) => {
            let hardfork = Rules::new(ChainId(1), None)?.hardfork_at(u64::MAX, timestamp_s);
            Rules::new(chain_id, Some(hardfork))?
        }
    };
    Ok(rules.resolve(number, timestamp_s))
}

fn environment(number: u64, timestamp_s: u64, rules: &BlockRules) -> BlockEnv {
    BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(timestamp_s),
        gas_limit: BLOCK_GAS_LIMIT,
        basefee: 0,
        beneficiary: Address::ZERO,
        difficulty: U256::ZERO,
        prevrandao: rules.spec.is_enabled_in(SpecId::MERGE).then_some(B256::ZERO),
        blob_excess_gas_and_price: rules
            .spec
            .is_enabled_in(SpecId::CANCUN)
            .then(|| BlobExcessGasAndPrice::new(0, rules.blob_fraction)),
        slot_num: 0,
    }
}

/// An account, or the key that is wrong and why.
fn account(raw: RawAccount) -> Result<Account, (String, String)> {
    let balance = decimal(&raw.balance_wei).ok_or_else(|| {
        let reason = format!("'{}', expected a decimal number below 2^256", raw.balance_wei);
        ("balance_wei".to_owned(), reason)
    })?;
    let code: Bytes = hex::decode(&raw.code)
        .map_err(|error| ("code".to_owned(), format!("no hexadecimal data: {error}")))?
        .into();
    let mut storage = BTreeMap::new();
    for (key, value) in &raw.storage {
        let wrong = |expected: &str| (format!("storage.{key}"), format!("'{value}', expected {expected}"));
        let slot = match key.strip_prefix("0x") {
            Some(digits) => hexadecimal(digits),
            None => decimal(key),
        };
        let slot = slot.ok_or_else(|| wrong("a decimal or 0x-prefixed number below 2^256 as key"))?;
        let word = hexadecimal(value.strip_prefix("0x").unwrap_or(value));
        storage.insert(slot, word.ok_or_else(|| wrong("a hexadecimal number of at most 32 bytes"))?);
    }
    let info = AccountInfo {
        balance,
        nonce: raw.nonce,
        code_hash: keccak256(&code),
        account_id: None,
        code: Some(analysed(code)),
    };
    Ok(Account { name: raw.name, info, storage })
}

fn decimal(digits: &str) -> Option<U256> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| U256::from_str_radix(digits, 10).ok()).flatten()
}

fn hexadecimal(digits: &str) -> Option<U256> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| U256::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
