//! Executes whole blocks again and compares them with what their headers and receipts state.
//!
//! In: blocks in order, each with a witness or with a node behind it. Out: one execution per transaction, and every
//! difference found. After a block that agrees in every point its post-state is kept for the next one, so that a
//! node is asked only for what was never touched; any disagreement, gap or reorganisation drops it.

use crate::ahead::{History, ReadAhead, read_ahead};
use crate::error::ReplayError;
use crate::machine::{self, Attempt, MAX_VIEWS, Machine, Mode, Run};
use crate::protocol::{begin_block, end_block, is_witness_gap};
use crate::rules::{BlockRules, Rules};
use crate::state::{Codes, Db, Deployed, Layers, Link, NodeState, ReadStats, Source, WitnessState, freeze};
use crate::what_if::Fork;
use alloy_primitives::map::HashSet;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, U256};
use alloy_provider::DynProvider;
use cordon_model::block::{Block, ChainProfile};
use cordon_model::execution::{Execution, ViewCall, ViewReading};
use cordon_model::units::TxRef;
use revm::database::CacheDB;
use revm::primitives::hardfork::SpecId;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// Accounts, slots and codes of a carried post-state: about 100 bytes each, so 45 MB. A block touches about 250 accounts
/// and 720 slots, half of them new, so this is what some hundred blocks used.
const MAX_CARRIED_ENTRIES: usize = 450_000;
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
    node: Option<NodeSupply>,
}

/// Where a replayer's state comes from, and what it keeps of it.
#[derive(Debug)]
struct NodeSupply {
    link: Link,
    rules: Rules,
    codes: Codes,
    /// Replaced whenever the blocks' line breaks, so that a fork of the old line cannot add to it.
    deployed: Deployed,
    history: Arc<Mutex<History>>,
    read_ahead: ReadAhead,
    carried: Option<Carried>,
    last: Option<Last>,
}

/// Post-state of the last block, verified.
#[derive(Debug)]
struct Carried {
    block: Block,
    state: Layers,
    node: NodeState,
}

/// The last block, and what it took.
#[derive(Debug, Clone, Copy)]
struct Last {
    hash: B256,
    spec: SpecId,
    is_exact: bool,
    reads: ReadStats,
}

impl Replayer {
    /// A replayer that reads state from a node. Blocks that bring a witness use it instead.
    #[must_use]
    pub fn for_node(provider: DynProvider, rules: Rules) -> Self {
        let node = NodeSupply {
            link: Link::new(provider),
            rules,
            codes: Codes::default(),
            deployed: Deployed::default(),
            history: Arc::default(),
            read_ahead: ReadAhead::default(),
            carried: None,
            last: None,
        };
        Self { node: Some(node) }
    }

    /// A replayer for blocks that bring their own state and rules.
    #[must_use]
    pub fn for_witnesses() -> Self {
        Self { node: None }
    }

    /// How much of a block's state is read before the block runs; [`ReadAhead::Guessed`] where this is not called.
    #[must_use]
    pub fn reading_ahead(mut self, depth: ReadAhead) -> Self {
        if let Some(node) = &mut self.node {
            node.read_ahead = depth;
        }
        self
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
        let Some(supply) = &mut self.node else {
            return Err(ReplayError::NoState { number: block.number });
        };
        let rules = check_chain(&supply.rules, &block)?;
        let source = supply.source_for(&block, &rules)?;
        let state = supply.state_after(&block)?;
        let (depth, history) = (supply.read_ahead, Arc::clone(&supply.history));
        let number = block.number;
        let (replayed, carried, last) = in_worker(move || {
            read_ahead(&source, &block, &rules, depth, &history);
            let (replayed, db) = run_block(CacheDB::new(source), &block, &rules, &views)?;
            let last = Last {
                hash: block.hash,
                spec: rules.spec,
                is_exact: replayed.mismatches.is_empty(),
                reads: db.db.node().map(NodeState::stats).unwrap_or_default(),
            };
            let carried = may_carry(&rules, &replayed).then(|| Carried::new(db, state, &block));
            Ok((replayed, carried, last))
        })
        .await?;
        tracing::debug!(
            number,
            cold_accounts = last.reads.cold_accounts,
            cold_slots = last.reads.cold_slots,
            cold_codes = last.reads.cold_codes,
            carried = last.reads.carried,
            late = last.reads.late,
            round_trips = last.reads.round_trips,
            rounds = last.reads.rounds,
            "state read"
        );
        supply.carried = carried;
        supply.last = Some(last);
        Ok(replayed)
    }

    /// What reading the state of the last block took; `None` before the first block, and where blocks bring witnesses.
    #[must_use]
    pub fn last_reads(&self) -> Option<ReadStats> {
        Some(self.node.as_ref()?.last?.reads)
    }

    /// A fork of the state after the last block, as far as that was verified and kept; the environment is that of
    /// the next block. It costs nothing, however much is kept, and what it reads from the node serves the next block.
    #[must_use]
    pub fn fork_head(&self) -> Option<Fork> {
        let supply = self.node.as_ref()?;
        let carried = supply.carried.as_ref()?;
        let state = carried.state.clone().above(Source::Node(carried.node.clone()));
        Some(Fork::after(CacheDB::new(Source::Layers(state)), &carried.block, &supply.rules))
    }
}

impl NodeSupply {
    /// The state at the end of the block's parent. What is remembered of an earlier line of blocks is given up.
    fn source_for(&mut self, block: &Block, rules: &BlockRules) -> Result<Source, ReplayError> {
        let goes_on = self
            .last
            .is_some_and(|last| last.hash == block.parent_hash && last.spec == rules.spec && last.is_exact);
        if !goes_on || !rules.spec.is_enabled_in(SpecId::CANCUN) {
            self.deployed = Deployed::default();
        }
        match self.carried.take().filter(|carried| carried.block.hash == block.parent_hash) {
            Some(carried) => {
                let parent = carried.node.counted_anew();
                Ok(Source::Layers(carried.state.above(Source::Node(parent))))
            }
            None => {
                let parent = self.state_at(block.parent_hash)?;
                parent.note_hash(block.number.saturating_sub(1), block.parent_hash);
                Ok(Source::Node(parent))
            }
        }
    }

    fn state_after(&self, block: &Block) -> Result<NodeState, ReplayError> {
        self.state_at(block.hash)
    }

    fn state_at(&self, hash: B256) -> Result<NodeState, ReplayError> {
        let runtime = Handle::try_current().map_err(|_| ReplayError::NoRuntime)?;
        let (codes, deployed) = (self.codes.clone(), self.deployed.clone());
        Ok(NodeState::new(self.link.clone(), runtime, hash, codes, deployed))
    }
}

impl Carried {
    /// The state after a block, above the node's state at its end.
    fn new(mut db: Db, node: NodeState, block: &Block) -> Self {
        remember_hash(&mut db, block);
        let source = Source::Node(node.clone());
        let mut state = match freeze(&mut db) {
            Source::Layers(layers) => layers.above(source),
            other => Layers::none(other).above(source),
        };
        state.trim(MAX_CARRIED_ENTRIES);
        Self { block: header_of(block), state, node }
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

fn compare_receipt(block: &Block, index: u32, execution: &Execution, mismatches: &mut Vec<Mismatch>) {
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

fn compare_header(block: &Block, gas_used: u64, bloom: &Bloom, mismatches: &mut Vec<Mismatch>) {
    let mut note = |what| mismatches.push(Mismatch { index: None, tx_hash: None, what });
    if gas_used != block.gas_used {
        note(format!("block gas used {gas_used}, header states {}", block.gas_used));
    }
    if *bloom != block.logs_bloom {
        note(format!("logs bloom {bloom}, header states {}", block.logs_bloom));
    }
}

/// Only what was verified is carried, and only where every change of state is modelled.
fn may_carry(rules: &BlockRules, replayed: &BlockReplay) -> bool {
    replayed.mismatches.is_empty()
        && rules.profile == ChainProfile::Ethereum
        && rules.spec.is_enabled_in(SpecId::MERGE)
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

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::block::{Withdrawal, Witness, WitnessAccount};
    use cordon_model::units::ChainId;
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
        assert!(may_carry(&rules, &replayed));
    }

    #[test]
    fn state_is_carried_only_where_every_change_is_modelled() {
        let block = empty_block();
        let mainnet = Rules::new(ChainId(1), None).unwrap();
        let replayed = BlockReplay { executions: Vec::new(), gas_used: 0, mismatches: Vec::new() };
        assert!(may_carry(&mainnet.resolve(15_537_394, 1_663_224_179), &replayed));
        // Proof of work pays rewards that a block does not state.
        assert!(!may_carry(&mainnet.resolve(15_537_393, 1_663_224_161), &replayed));
        let linea = mainnet.with_profile(ChainProfile::Linea);
        assert!(!may_carry(&linea.resolve(block.number, block.timestamp_s), &replayed));
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
