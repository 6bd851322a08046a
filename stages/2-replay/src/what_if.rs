//! A branch of chain state on which calls and transactions are tried before anything is sent.
//!
//! In: a base state (a node at a block, a witness, or the replayer's head), calls of any account, mined
//! transactions. Out: executions as plain values. Nothing leaves the process, and nothing is signed.
//!
//! Where the state is a node's, what a transaction is going to read is read ahead, in as few round trips as it can be.
//!
//! Checks of fee, nonce and sender are off, so that any authority can be simulated; the value that a call sends must
//! be there, and a sender without it fails as on the chain.

mod parallel;

pub use parallel::{Case, MAX_WHAT_IF_THREADS, Outcome, what_if, what_if_on};

use crate::ahead::{Foresight, Habits, ReadAhead, read_ahead};
use crate::block_run::{answer, read_views};
use crate::error::ReplayError;
use crate::machine::{self, Attempt, Machine, Mode};
use crate::protocol::begin_block;
use crate::recorder::facts::refused;
use crate::replay::{check_chain, in_worker, witness_db};
use crate::rules::{BlockRules, Rules, block_time_ms};
use crate::state::{Codes, Db, Deployed, Link, NodeState, Source, analysed, freeze};
use crate::watch::{Views, no_views};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_provider::DynProvider;
use cordon_model::block::{Block, Transaction};
use cordon_model::execution::{Detail, Execution, ViewCall};
use cordon_model::plan::Call;
use cordon_model::units::{BlockRef, Due, TxRef};
use revm::Database as _;
use revm::context::BlockEnv;
use revm::context::TxEnv;
use revm::database::{AccountState, CacheDB, DbAccount};
use revm::state::AccountInfo;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

/// A branch of chain state. A clone is an independent branch, as [`Fork::branch`] makes it.
///
/// Executions on a fork are placed in the block that the environment stands for; its hash is zero, because that block
/// does not exist.
#[derive(Debug)]
pub struct Fork {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Clone)]
struct Inner {
    /// `None` only after a job was torn down half-way.
    db: Option<Db>,
    env: BlockEnv,
    rules: BlockRules,
    base: BlockRef,
    /// Calls and transactions so far; the position of the next one.
    sequence: u32,
    foresight: Foresight,
}

impl Fork {
    /// The state at the end of `block` as a node reports it; the environment is that of the next block.
    ///
    /// # Errors
    /// [`ReplayError::WrongChain`] where the rules are another chain's, [`ReplayError::NoRuntime`] outside a tokio
    /// runtime.
    pub fn at_node(provider: DynProvider, rules: &Rules, block: &Block) -> Result<Self, ReplayError> {
        check_chain(rules, block)?;
        let db = node_db(provider, block.hash)?;
        Ok(Self::after(db, block, rules))
    }

    /// The state just before the transaction at `index` of `block`: the parent's state, the protocol's own calls and
    /// the transactions before it. The environment is the block's own. State comes from the block's witness, or from
    /// the node where there is none; a witness brings its own rules.
    ///
    /// # Errors
    /// [`ReplayError`] where state or rules are missing, or the block has no such transaction (`index` may equal the
    /// number of transactions: the state after the last one).
    pub async fn before(
        provider: Option<DynProvider>,
        rules: &Rules,
        block: Arc<Block>,
        index: u32,
    ) -> Result<Self, ReplayError> {
        let no_such =
            ReplayError::NoSuchTransaction { number: block.number, len: block.transactions.len(), index };
        let Some(earlier) = usize::try_from(index).ok().filter(|n| *n <= block.transactions.len()) else {
            return Err(no_such);
        };
        let (db, rules) = match (&block.witness, provider) {
            (Some(_), _) => witness_db(&block)?,
            (None, Some(provider)) => (node_db(provider, block.parent_hash)?, check_chain(rules, &block)?),
            (None, None) => return Err(ReplayError::NoState { number: block.number }),
        };
        in_worker(move || {
            // The whole block: the transaction at the index is what the fork is wanted for.
            read_ahead(&db.db, &block, &rules, ReadAhead::Guessed, &Habits::default());
            let env = machine::block_env(&block, &rules);
            let mut machine = Machine::new(db, env.clone(), &rules, Mode::Mined);
            begin_block(&mut machine, &block, &rules)?;
            for transaction in block.transactions.iter().take(earlier) {
                match machine.run(transaction.hash, machine::tx_env(transaction), transaction.rollup)? {
                    Attempt::Ran(run) => machine.commit(run.state),
                    Attempt::Refused(reason) => {
                        return Err(ReplayError::Evm {
                            tx_hash: transaction.hash,
                            reason: format!("refused by the rules of {}: {reason}", rules.spec),
                        });
                    }
                }
            }
            let base = BlockRef { number: block.number.saturating_sub(1), hash: block.parent_hash };
            Ok(Self::from_parts(machine.into_db(), env, rules, base, index))
        })
        .await
    }

    /// The state before the first transaction of a block that brings a witness, in the block's own environment. The
    /// protocol's calls at the start of a block are left out.
    ///
    /// # Errors
    /// [`ReplayError::NoState`] without a witness, [`ReplayError::Rules`] where it names an unknown hardfork.
    pub fn on_witness(block: &Block) -> Result<Self, ReplayError> {
        let (db, rules) = witness_db(block)?;
        let base = BlockRef { number: block.number.saturating_sub(1), hash: block.parent_hash };
        Ok(Self::from_parts(db, machine::block_env(block, &rules), rules, base, 0))
    }

    /// A fork of a state at the end of `block`, with the environment of the next one.
    pub(crate) fn after(mut db: Db, block: &Block, rules: &Rules) -> Self {
        let number = block.number.saturating_add(1);
        let timestamp_s = block.timestamp_s.saturating_add(rules.block_time_ms().div_ceil(1_000));
        let rules = rules.resolve(number, timestamp_s);
        let mut env = machine::block_env(block, &rules);
        env.number = U256::from(number);
        env.timestamp = U256::from(timestamp_s);
        db.cache.block_hashes.insert(U256::from(block.number), block.hash);
        Self::from_parts(db, env, rules, block.block_ref(), 0)
    }

    pub(crate) fn from_parts(
        db: Db,
        env: BlockEnv,
        rules: BlockRules,
        base: BlockRef,
        sequence: u32,
    ) -> Self {
        let inner = Inner { db: Some(db), env, rules, base, sequence, foresight: Foresight::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The same fork, reading ahead as others did that share this.
    pub(crate) fn with_foresight(self, foresight: Foresight) -> Self {
        lock(&self.inner).foresight = foresight;
        self
    }

    /// Newest mined block that the state builds on.
    #[must_use]
    pub fn base(&self) -> BlockRef {
        lock(&self.inner).base
    }

    /// An independent branch of the state as it is now. Nothing is copied: both go on above what was done so far, and
    /// values read from a node serve both.
    #[must_use]
    pub fn branch(&self) -> Self {
        let mut inner = lock(&self.inner);
        if let Some(db) = &mut inner.db {
            freeze(db);
        }
        Self { inner: Arc::new(Mutex::new(inner.clone())) }
    }

    /// Moves the environment on by some blocks and seconds, as if nothing else had happened; for time locks.
    pub fn advance(&mut self, blocks: u64, seconds: u64) {
        let mut inner = lock(&self.inner);
        inner.env.number = inner.env.number.saturating_add(U256::from(blocks));
        inner.env.timestamp = inner.env.timestamp.saturating_add(U256::from(seconds));
    }

    /// Moves the environment on until something is due, as if nothing else had happened. Never back: what is due
    /// already leaves it as it is. Where only one of height and time is given the other one goes along at
    /// the pace of the chain.
    pub fn wait_until(&mut self, due: Due) {
        let (number, timestamp_s, block_time_ms) = {
            let inner = lock(&self.inner);
            let whole = |word: U256| u64::try_from(word).unwrap_or(u64::MAX);
            (whole(inner.env.number), whole(inner.env.timestamp), block_time_ms(inner.rules.chain_id))
        };
        let (blocks, seconds) = match due {
            Due::AtS(due_s) => {
                let seconds = due_s.saturating_sub(timestamp_s);
                (seconds.saturating_mul(1_000).checked_div(block_time_ms).unwrap_or_default(), seconds)
            }
            Due::AtBlock(height) => {
                let blocks = height.saturating_sub(number);
                (blocks, blocks.saturating_mul(block_time_ms).div_ceil(1_000))
            }
        };
        self.advance(blocks, seconds);
    }

    /// Sends a call, or a creation, from any account and keeps its effects. The gas limit is the largest that a
    /// transaction of this block may have.
    ///
    /// # Errors
    /// [`ReplayError`] where state could not be read. A call that fails is not an error; see its status.
    pub async fn call(&mut self, from: Address, call: &Call) -> Result<Execution, ReplayError> {
        self.call_viewed(from, call, no_views()).await
    }

    /// The same with view calls asked before and after it.
    ///
    /// # Errors
    /// As [`Fork::call`].
    pub async fn call_viewed(
        &mut self,
        from: Address,
        call: &Call,
        views: Views,
    ) -> Result<Execution, ReplayError> {
        let call = call.clone();
        self.job(move |inner| {
            let transaction = inner.synthetic(from, call);
            inner.execute(transaction, &views, Detail::Watch)
        })
        .await
    }

    /// Executes a transaction and keeps its effects, with view calls asked before and after it.
    ///
    /// # Errors
    /// [`ReplayError`] where state could not be read. A transaction that fails, or that the rules refuse, is not an
    /// error; see its status.
    pub async fn transaction(
        &mut self,
        transaction: &Transaction,
        views: Views,
    ) -> Result<Execution, ReplayError> {
        let transaction = transaction.clone();
        self.job(move |inner| inner.execute(transaction, &views, Detail::Watch)).await
    }

    /// The same with everything recorded that forensics asks for, which costs more time and memory.
    ///
    /// # Errors
    /// As [`Fork::transaction`].
    pub async fn transaction_in_full(
        &mut self,
        transaction: &Transaction,
        views: Views,
    ) -> Result<Execution, ReplayError> {
        let transaction = transaction.clone();
        self.job(move |inner| inner.execute(transaction, &views, Detail::Full)).await
    }

    /// Answers a view call; `None` where it fails, or where it leads outside a witness.
    ///
    /// # Errors
    /// [`ReplayError`] where state could not be read.
    pub async fn view(&self, call: &ViewCall) -> Result<Option<Bytes>, ReplayError> {
        let call = call.clone();
        self.job(move |inner| inner.with_machine(|machine| answer(machine, &call))).await
    }

    /// Native balance of an account, in wei.
    ///
    /// # Errors
    /// [`ReplayError`] where state could not be read.
    pub async fn balance_wei(&self, address: Address) -> Result<U256, ReplayError> {
        self.job(move |inner| {
            inner.with_machine(|machine| {
                Ok(machine.db_mut().basic(address)?.map(|info| info.balance).unwrap_or_default())
            })
        })
        .await
    }

    /// Puts code at an address, as a trial of a fix.
    ///
    /// # Errors
    /// [`ReplayError`] where the account could not be read.
    pub async fn set_code(&mut self, address: Address, code: Bytes) -> Result<(), ReplayError> {
        self.job(move |inner| {
            inner.with_machine(|machine| {
                let db = machine.db_mut();
                let mut info = existing(db, address)?.info.clone();
                info.code_hash = keccak256(&code);
                info.code = Some(analysed(code));
                db.insert_account_info(address, info);
                Ok(())
            })
        })
        .await
    }

    /// Sets a storage slot, as a trial of a fix.
    ///
    /// # Errors
    /// [`ReplayError`] where the account could not be read.
    pub async fn set_storage(
        &mut self,
        address: Address,
        slot: U256,
        value: U256,
    ) -> Result<(), ReplayError> {
        self.job(move |inner| {
            inner.with_machine(|machine| {
                existing(machine.db_mut(), address)?.storage.insert(slot, value);
                Ok(())
            })
        })
        .await
    }

    /// Runs work on the branch in a thread that may block. A dropped future lets the work finish on its own.
    async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, ReplayError> + Send + 'static,
    ) -> Result<T, ReplayError> {
        let inner = Arc::clone(&self.inner);
        in_worker(move || work(&mut lock(&inner))).await
    }
}

impl Clone for Fork {
    fn clone(&self) -> Self {
        self.branch()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The account to be written, empty where there is none. One that was destroyed has none of its former storage.
fn existing(db: &mut Db, address: Address) -> Result<&mut DbAccount, ReplayError> {
    let account = db.load_account(address)?;
    if account.account_state == AccountState::NotExisting {
        account.info = AccountInfo::default();
        account.account_state = AccountState::StorageCleared;
    }
    Ok(account)
}

fn node_db(provider: DynProvider, block: B256) -> Result<Db, ReplayError> {
    let runtime = Handle::try_current().map_err(|_| ReplayError::NoRuntime)?;
    let state = NodeState::new(Link::new(provider), runtime, block, Codes::default(), Deployed::default());
    Ok(CacheDB::new(Source::Node(state)))
}

impl Inner {
    /// Lends the state to an EVM and takes it back, whatever comes of it.
    fn with_machine<T>(
        &mut self,
        work: impl FnOnce(&mut Machine) -> Result<T, ReplayError>,
    ) -> Result<T, ReplayError> {
        let db = self.db.take().ok_or(ReplayError::ForkLost)?;
        let mut machine = Machine::new(db, self.env.clone(), &self.rules, Mode::Simulated);
        let outcome = work(&mut machine);
        self.db = Some(machine.into_db());
        outcome
    }

    fn execute(
        &mut self,
        transaction: Transaction,
        views: &Views,
        detail: Detail,
    ) -> Result<Execution, ReplayError> {
        let number = u64::try_from(self.env.number).unwrap_or(u64::MAX);
        let timestamp_s = u64::try_from(self.env.timestamp).unwrap_or(u64::MAX);
        let at = TxRef {
            chain_id: self.rules.chain_id,
            block: BlockRef { number, hash: B256::ZERO },
            index: self.sequence,
            hash: transaction.hash,
        };
        self.sequence = self.sequence.saturating_add(1);
        // A blob fee cap cannot be met or missed where no fee is charged.
        let env = TxEnv { max_fee_per_blob_gas: u128::MAX, ..machine::tx_env(&transaction) };
        if let Some(db) = &mut self.db {
            self.foresight.read_ahead(db, &self.env, &self.rules, &transaction);
        }
        let execution = self.with_machine(|machine| {
            machine.record(detail);
            match machine.run(transaction.hash, env, transaction.rollup)? {
                Attempt::Ran(mut run) => {
                    let mut facts = machine.facts(at, timestamp_s, transaction, &mut run);
                    read_views(machine, &mut facts, run.state, views)?;
                    Ok(facts)
                }
                Attempt::Refused(reason) => {
                    Ok(refused(at, timestamp_s, transaction, format!("refused: {reason}")))
                }
            }
        })?;
        if let Some(db) = &self.db {
            self.foresight.learn(db, &execution.transaction);
        }
        Ok(execution)
    }

    /// A call as a transaction. Its hash names it within this fork and means nothing on any chain.
    fn synthetic(&self, from: Address, call: Call) -> Transaction {
        let to = call.to.unwrap_or_default();
        let hash = keccak256(
            [
                from.as_slice(),
                to.as_slice(),
                &call.value_wei.to_be_bytes::<32>(),
                &call.data,
                &self.sequence.to_be_bytes(),
            ]
            .concat(),
        );
        Transaction {
            hash,
            tx_type: 0,
            value_wei: call.value_wei,
            input: call.data,
            gas_limit: machine::max_tx_gas(&self.env, &self.rules),
            gas_price_wei: Some(u128::from(self.env.basefee)),
            chain_id: Some(self.rules.chain_id.0),
            ..Transaction::bare(from, call.to)
        }
    }
}
