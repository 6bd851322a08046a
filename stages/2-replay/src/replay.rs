//! Executes whole blocks again and compares them with what their headers and receipts state.
//!
//! In: blocks in order, each with a witness or with a node behind it. Out: one execution per transaction, and every
//! difference found. After a block that agrees in every point its post-state is kept for the next one, so that a
//! node is asked only for what was never touched; any disagreement, gap or reorganisation drops it.

use crate::error::ReplayError;
use crate::machine::{self, Attempt, MAX_VIEWS, Machine, Mode, Run};
use crate::protocol::{begin_block, end_block, is_witness_gap};
use crate::rules::{BlockRules, Rules};
use crate::state::{Codes, Db, NodeState, Source, WitnessState};
use crate::traced::Traced;
use crate::what_if::Fork;
use alloy_primitives::map::HashSet;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, U256};
use alloy_provider::DynProvider;
use cordon_model::block::{Block, ChainProfile};
use cordon_model::execution::{Execution, ViewCall, ViewReading};
use cordon_model::units::{ChainId, TxRef};
use revm::database::CacheDB;
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Accounts of a carried post-state. A block touches about 250, half of them new, so this is some hundred blocks and
/// about 15 MB; then the state is dropped whole and read again.
const MAX_CARRIED_ACCOUNTS: usize = 50_000;
/// Slots of a carried post-state: about 100 bytes each, 40 MB. A block touches about 720.
const MAX_CARRIED_SLOTS: usize = 400_000;
/// Ancestor hashes that `BLOCKHASH` reaches (yellow paper, section 9.4.2).
const BLOCK_HASH_REACH: u64 = 256;
/// The view calls to ask about an execution, before and after it.
pub type Views = Arc<dyn Fn(&Execution) -> Vec<ViewCall> + Send + Sync>;

/// [`Views`] that ask nothing.
#[must_use]
pub fn no_views() -> Views {
    Arc::new(|_| Vec::new())
}

/// [`Views`] that ask the same questions about every execution.
#[must_use]
pub fn ask(calls: Vec<ViewCall>) -> Views {
    Arc::new(move |_| calls.clone())
}

/// A block that was executed again.
#[derive(Debug, Clone)]
pub struct BlockReplay {
    /// One execution per transaction, in order.
    pub executions: Vec<Execution>,
    /// Gas that the executions used, as a header counts it.
    pub gas_used: u64,
    /// Differences from the header and the receipts; empty where the replay is exact.
    pub mismatches: Vec<Mismatch>,
}

/// A difference between a replay and what the chain states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Position of the transaction; `None` for the block as a whole.
    pub index: Option<u32>,
    /// Hash of the transaction; `None` for the block as a whole.
    pub tx_hash: Option<B256>,
    /// What differs, with both values.
    pub what: String,
}

/// Executes the blocks of one chain again, one after the other.
#[derive(Debug)]
pub struct Replayer {
    node: Option<(DynProvider, Rules)>,
    traces: Option<Traced>,
    codes: Codes,
    carried: Option<Carried>,
}

/// Post-state of the last block, verified.
#[derive(Debug)]
struct Carried {
    block: Block,
    db: Db,
}

impl Replayer {
    /// A replayer that reads state from a node. Blocks that bring a witness use it instead.
    #[must_use]
    pub fn for_node(provider: DynProvider, rules: Rules) -> Self {
        Self { node: Some((provider, rules)), traces: None, codes: Codes::default(), carried: None }
    }

    /// A replayer for blocks that bring their own state and rules.
    #[must_use]
    pub fn for_witnesses() -> Self {
        Self { node: None, traces: None, codes: Codes::default(), carried: None }
    }

    /// A replayer that takes a node's word for what its own EVM cannot execute: every block is traced by the node, see
    /// [`Traced`]. There is no head to fork; [`Fork::at_node`] simulates on plain EVM rules.
    #[must_use]
    pub fn for_traces(provider: DynProvider, chain_id: ChainId) -> Self {
        let traces = Some(Traced::new(provider, chain_id));
        Self { node: None, traces, codes: Codes::default(), carried: None }
    }

    /// Executes a block again on the state of its parent.
    ///
    /// Dropping the future loses the carried state and nothing else.
    ///
    /// # Errors
    /// [`ReplayError`] where state could not be read or the rules are unknown. A transaction that the EVM refuses is
    /// not an error: it is a mismatch, and its execution is marked as truncated.
    pub async fn replay(&mut self, block: Arc<Block>, views: Views) -> Result<BlockReplay, ReplayError> {
        if block.witness.is_some() {
            return in_worker(move || replay_witness(&block, &views)).await;
        }
        if let Some(traces) = &self.traces {
            return traces.replay(block, views).await;
        }
        let Some((provider, rules)) = &self.node else {
            return Err(ReplayError::NoState { number: block.number });
        };
        let rules = check_chain(rules, &block)?;
        let (provider, codes) = (provider.clone(), self.codes.clone());
        let carried = self.carried.take().filter(|carried| carried.block.hash == block.parent_hash);
        let runtime = Handle::try_current().map_err(|_| ReplayError::NoRuntime)?;
        let (replayed, carried) = in_worker(move || {
            let node = |hash| NodeState::new(provider.clone(), runtime.clone(), hash, codes.clone());
            let parent = node(block.parent_hash);
            let mut db =
                carried.map_or_else(|| CacheDB::new(Source::Node(parent.clone())), |carried| carried.db);
            prefetch(&parent, &db, &block);
            db.db = Source::Node(parent);
            let (replayed, mut db) = run_block(db, &block, &rules, &views)?;
            let kept = may_carry(&rules, &replayed, &db).then(|| {
                db.db = Source::Node(node(block.hash));
                remember_hash(&mut db, &block);
                Carried { block: header_of(&block), db }
            });
            Ok((replayed, kept))
        })
        .await?;
        self.carried = carried;
        Ok(replayed)
    }

    /// A fork of the state after the last block, as far as that was verified and kept; the environment is that of
    /// the next block.
    #[must_use]
    pub fn fork_head(&self) -> Option<Fork> {
        let (Some(carried), Some((_, rules))) = (&self.carried, &self.node) else { return None };
        Some(Fork::after(carried.db.clone(), &carried.block, rules))
    }
}

/// Executes a block on the witness that it brings. Synchronous; needs neither node nor runtime.
///
/// # Errors
/// [`ReplayError::NoState`] without a witness, [`ReplayError::State`] where the witness has a gap, and
/// [`ReplayError::Rules`] where it names an unknown hardfork.
pub fn replay_witness(block: &Block, views: &Views) -> Result<BlockReplay, ReplayError> {
    let (db, rules) = witness_db(block)?;
    run_block(db, block, &rules, views).map(|(replayed, _)| replayed)
}

pub(crate) fn witness_db(block: &Block) -> Result<(Db, BlockRules), ReplayError> {
    let witness = block.witness.as_ref().ok_or(ReplayError::NoState { number: block.number })?;
    let rules = BlockRules::of_witness(block, witness)?;
    Ok((CacheDB::new(Source::Witness(WitnessState::new(witness.clone()))), rules))
}

pub(crate) fn check_chain(rules: &Rules, block: &Block) -> Result<BlockRules, ReplayError> {
    if rules.chain_id() != block.chain_id {
        return Err(ReplayError::WrongChain {
            number: block.number,
            expected: rules.chain_id(),
            found: block.chain_id,
        });
    }
    rules.check_known(block.number, block.timestamp_s)?;
    Ok(rules.resolve(block.number, block.timestamp_s))
}

/// Runs synchronous work on a thread that may block.
pub(crate) async fn in_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReplayError> + Send + 'static,
) -> Result<T, ReplayError> {
    Handle::try_current().map_err(|_| ReplayError::NoRuntime)?;
    tokio::task::spawn_blocking(work).await.map_err(ReplayError::Worker)?
}

/// Sums over a block, for the comparison with its header.
#[derive(Debug, Default)]
struct Sums {
    receipts_gas: u64,
    regular_gas: u64,
    state_gas: u64,
    bloom: Bloom,
    /// Addresses and topics that are in the bloom already: they repeat within a block, and hashing them again costs
    /// more than all other record keeping.
    in_bloom: (HashSet<Address>, HashSet<B256>),
}

impl Sums {
    fn add(&mut self, run: &Run) {
        let gas = run.result.gas();
        self.receipts_gas = self.receipts_gas.saturating_add(gas.tx_gas_used());
        self.regular_gas = self.regular_gas.saturating_add(gas.block_regular_gas_used());
        self.state_gas = self.state_gas.saturating_add(gas.block_state_gas_used());
        for log in run.result.logs() {
            if self.in_bloom.0.insert(log.address) {
                self.bloom.accrue(BloomInput::Raw(log.address.as_slice()));
            }
            for topic in log.topics() {
                if self.in_bloom.1.insert(*topic) {
                    self.bloom.accrue(BloomInput::Raw(topic.as_slice()));
                }
            }
        }
    }

    /// Gas as the header counts it: the receipts' sum, and from Amsterdam on the larger of the two kinds of gas
    /// before refunds (EIP-7778, EIP-8037).
    fn block_gas(&self, spec: SpecId) -> u64 {
        if spec.is_enabled_in(SpecId::AMSTERDAM) {
            self.regular_gas.max(self.state_gas)
        } else {
            self.receipts_gas
        }
    }
}

fn run_block(
    db: Db,
    block: &Block,
    rules: &BlockRules,
    views: &Views,
) -> Result<(BlockReplay, Db), ReplayError> {
    let mut machine = Machine::new(db, machine::block_env(block, rules), rules, Mode::Mined);
    begin_block(&mut machine, block, rules)?;
    let replayed = run_transactions(&mut machine, block, rules, views)?;
    end_block(&mut machine, block, rules)?;
    Ok((replayed, machine.into_db()))
}

/// The transactions of a block, compared with their receipts and, in sum, with the header.
pub(crate) fn run_transactions(
    machine: &mut Machine,
    block: &Block,
    rules: &BlockRules,
    views: &Views,
) -> Result<BlockReplay, ReplayError> {
    let mut executions = Vec::with_capacity(block.transactions.len());
    let mut mismatches = Vec::new();
    let mut sums = Sums::default();
    for (index, transaction) in (0u32..).zip(&block.transactions) {
        let at = TxRef { chain_id: block.chain_id, block: block.block_ref(), index, hash: transaction.hash };
        let execution = match machine.run(transaction.hash, machine::tx_env(transaction))? {
            Attempt::Ran(mut run) => {
                sums.add(&run);
                let facts = machine::execution(at, block.timestamp_s, transaction.clone(), &mut run);
                compare_receipt(block, index, &facts, &mut mismatches);
                read_views(machine, facts, run.state, views)?
            }
            Attempt::Refused(reason) => {
                let reason = format!("refused by the rules of {}: {reason}", rules.spec);
                mismatches.push(Mismatch {
                    index: Some(index),
                    tx_hash: Some(transaction.hash),
                    what: reason.clone(),
                });
                // Nothing is known of what it really did.
                Execution {
                    truncated: true,
                    ..machine::refused(at, block.timestamp_s, transaction.clone(), reason)
                }
            }
        };
        executions.push(execution);
    }
    let gas_used = sums.block_gas(rules.spec);
    compare_header(block, gas_used, &sums.bloom, &mut mismatches);
    Ok(BlockReplay { executions, gas_used, mismatches })
}

/// Asks the views on the state before the transaction, commits it, and asks again.
pub(crate) fn read_views(
    machine: &mut Machine,
    mut execution: Execution,
    state: revm::state::EvmState,
    views: &Views,
) -> Result<Execution, ReplayError> {
    let mut calls = views(&execution);
    if calls.len() > MAX_VIEWS {
        calls.truncate(MAX_VIEWS);
        execution.truncated = true;
    }
    let mut before = Vec::with_capacity(calls.len());
    for call in &calls {
        before.push(answer(machine, call)?);
    }
    machine.commit(state);
    for (call, before) in calls.into_iter().zip(before) {
        let after = answer(machine, &call)?;
        execution.views.push(ViewReading { call, before, after });
    }
    Ok(execution)
}

/// A view's answer. What a witness does not contain cannot be answered, which is no fault of the replay: a witness
/// holds what its own transactions touched and no more.
pub(crate) fn answer(machine: &mut Machine, call: &ViewCall) -> Result<Option<Bytes>, ReplayError> {
    match machine.view(call) {
        Err(error) if is_witness_gap(&error) => Ok(None),
        other => other,
    }
}

pub(crate) fn compare_receipt(
    block: &Block,
    index: u32,
    execution: &Execution,
    mismatches: &mut Vec<Mismatch>,
) {
    let Some(outcome) = usize::try_from(index).ok().and_then(|index| block.outcomes.get(index)) else {
        return;
    };
    let mut note = |what| {
        mismatches.push(Mismatch { index: Some(index), tx_hash: Some(execution.tx.hash), what });
    };
    if execution.gas_used != outcome.gas_used {
        note(format!("gas used {}, receipt states {}", execution.gas_used, outcome.gas_used));
    }
    if let Some(success) = outcome.success
        && execution.status.is_success() != success
    {
        note(format!("success {}, receipt states {success}", execution.status.is_success()));
    }
}

pub(crate) fn compare_header(block: &Block, gas_used: u64, bloom: &Bloom, mismatches: &mut Vec<Mismatch>) {
    let mut note = |what| mismatches.push(Mismatch { index: None, tx_hash: None, what });
    if gas_used != block.gas_used {
        note(format!("block gas used {gas_used}, header states {}", block.gas_used));
    }
    if *bloom != block.logs_bloom {
        note(format!("logs bloom {bloom}, header states {}", block.logs_bloom));
    }
}

/// Only what was verified is carried, only where every change of state is modelled, and only within the bounds.
fn may_carry(rules: &BlockRules, replayed: &BlockReplay, db: &Db) -> bool {
    let accounts = db.cache.accounts.len();
    let slots: usize = db.cache.accounts.values().map(|account| account.storage.len()).sum();
    replayed.mismatches.is_empty()
        && rules.profile == ChainProfile::Ethereum
        && rules.spec.is_enabled_in(SpecId::MERGE)
        && accounts <= MAX_CARRIED_ACCOUNTS
        && slots <= MAX_CARRIED_SLOTS
}

fn remember_hash(db: &mut Db, block: &Block) {
    let oldest = U256::from(block.number.saturating_sub(BLOCK_HASH_REACH));
    db.cache.block_hashes.retain(|number, _| *number >= oldest);
    db.cache.block_hashes.insert(U256::from(block.number), block.hash);
}

/// The block without its body, which the head of a carried state does not need.
fn header_of(block: &Block) -> Block {
    Block {
        chain_id: block.chain_id,
        number: block.number,
        hash: block.hash,
        parent_hash: block.parent_hash,
        timestamp_s: block.timestamp_s,
        beneficiary: block.beneficiary,
        gas_limit: block.gas_limit,
        gas_used: block.gas_used,
        base_fee_wei: block.base_fee_wei,
        difficulty: block.difficulty,
        mix_hash: block.mix_hash,
        excess_blob_gas: block.excess_blob_gas,
        parent_beacon_block_root: block.parent_beacon_block_root,
        receipts_root: block.receipts_root,
        logs_bloom: block.logs_bloom,
        withdrawals: Vec::new(),
        transactions: Vec::new(),
        outcomes: Vec::new(),
        witness: None,
    }
}

fn prefetch(node: &NodeState, db: &Db, block: &Block) {
    let known = |address: &Address| db.cache.accounts.contains_key(address);
    let mut wanted: Vec<Address> = block
        .transactions
        .iter()
        .flat_map(|tx| std::iter::once(tx.from).chain(tx.to))
        .chain(std::iter::once(block.beneficiary))
        .chain(block.withdrawals.iter().map(|withdrawal| withdrawal.address))
        .filter(|address| !known(address))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    node.prefetch(wanted.into_iter());
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::block::{Withdrawal, Witness, WitnessAccount};
    use revm::Database as _;

    const VALIDATOR: Address = Address::repeat_byte(0x77);

    fn empty_block() -> Block {
        Block {
            chain_id: ChainId(1),
            number: 24_000_000,
            hash: B256::repeat_byte(2),
            parent_hash: B256::repeat_byte(1),
            timestamp_s: 1_770_000_000,
            beneficiary: Address::ZERO,
            gas_limit: 60_000_000,
            gas_used: 0,
            base_fee_wei: Some(1),
            difficulty: U256::ZERO,
            mix_hash: B256::ZERO,
            excess_blob_gas: Some(0),
            parent_beacon_block_root: None,
            receipts_root: B256::ZERO,
            logs_bloom: Bloom::ZERO,
            withdrawals: vec![Withdrawal { address: VALIDATOR, amount_gwei: 3 }],
            transactions: Vec::new(),
            outcomes: Vec::new(),
            witness: None,
        }
    }

    fn state() -> Db {
        let account = WitnessAccount { balance_wei: U256::from(5), ..WitnessAccount::default() };
        let witness = Witness { accounts: [(VALIDATOR, account)].into(), ..Witness::default() };
        CacheDB::new(Source::Witness(WitnessState::new(Arc::new(witness))))
    }

    #[test]
    fn withdrawals_are_part_of_the_state_that_is_carried() {
        let block = empty_block();
        let rules = Rules::new(ChainId(1), None).unwrap().resolve(block.number, block.timestamp_s);
        let (replayed, mut db) = run_block(state(), &block, &rules, &no_views()).unwrap();
        assert_eq!(db.basic(VALIDATOR).unwrap().unwrap().balance, U256::from(3_000_000_005u64));
        assert!(may_carry(&rules, &replayed, &db));
    }

    #[test]
    fn state_is_carried_only_where_every_change_is_modelled() {
        let block = empty_block();
        let mainnet = Rules::new(ChainId(1), None).unwrap();
        let replayed = BlockReplay { executions: Vec::new(), gas_used: 0, mismatches: Vec::new() };
        assert!(may_carry(&mainnet.resolve(15_537_394, 1_663_224_179), &replayed, &state()));
        // Proof of work pays rewards that a block does not state.
        assert!(!may_carry(&mainnet.resolve(15_537_393, 1_663_224_161), &replayed, &state()));
        let linea = mainnet.with_profile(ChainProfile::Linea);
        assert!(!may_carry(&linea.resolve(block.number, block.timestamp_s), &replayed, &state()));
    }

    #[test]
    fn only_hashes_within_reach_are_remembered() {
        let mut db = state();
        let mut block = empty_block();
        for number in 1..=300 {
            block.number = number;
            remember_hash(&mut db, &block);
        }
        assert_eq!(db.cache.block_hashes.len(), 257);
        assert!(!db.cache.block_hashes.contains_key(&U256::from(43)));
    }
}
