//! Executes whole blocks again and compares them with what their headers and receipts state.
//!
//! In: blocks in order, each with a witness or with a node behind it. Out: one execution per transaction, and every
//! difference found. After a block that agrees in every point its post-state is kept for the next one, so that a
//! node is asked only for what was never touched; any disagreement, gap or reorganisation drops it.

use crate::ahead::{Foresight, ReadAhead, read_ahead};
use crate::block_run::{BlockReplay, run_transactions};
use crate::error::ReplayError;
use crate::machine::{self, Machine, Mode};
use crate::op_stack::CANYON_TIME_S;
use crate::protocol::{begin_block, end_block};
use crate::rules::{BlockRules, Rules};
use crate::state::{Codes, Db, Deployed, Layers, Link, NodeState, ReadStats, Source, WitnessState, freeze};
use crate::traced::Traced;
use crate::watch::Watch;
use crate::what_if::Fork;
use alloy_primitives::{B256, U256};
use alloy_provider::DynProvider;
use cordon_model::block::{Block, ChainProfile};
use cordon_model::units::ChainId;
use revm::database::CacheDB;
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Accounts, slots and codes of a carried post-state: about 100 bytes each, so 45 MB. A block touches about 250 accounts
/// and 720 slots, half of them new, so this is what some hundred blocks used.
const MAX_CARRIED_ENTRIES: usize = 450_000;
/// Executes the blocks of one chain again, one after the other.
#[derive(Debug)]
pub struct Replayer {
    node: Option<NodeSupply>,
    traces: Option<Traced>,
}

/// Where a replayer's state comes from, and what it keeps of it.
#[derive(Debug)]
struct NodeSupply {
    link: Link,
    rules: Rules,
    codes: Codes,
    /// Replaced whenever the blocks' line breaks, so that a fork of the old line cannot add to it.
    deployed: Deployed,
    foresight: Foresight,
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
            foresight: Foresight::default(),
            carried: None,
            last: None,
        };
        Self { node: Some(node), traces: None }
    }

    /// A replayer for blocks that bring their own state and rules.
    #[must_use]
    pub fn for_witnesses() -> Self {
        Self { node: None, traces: None }
    }

    /// A replayer that takes a node's word for what its own EVM cannot execute: every block is traced by the node, see
    /// [`Traced`]. There is no head to fork; [`Fork::at_node`] simulates on plain EVM rules.
    #[must_use]
    pub fn for_traces(provider: DynProvider, chain_id: ChainId) -> Self {
        Self { node: None, traces: Some(Traced::new(provider, chain_id)) }
    }

    /// True where blocks run in an EVM of this process, so that what is tried on their state runs by the same rules.
    #[must_use]
    pub fn executes(&self) -> bool {
        self.traces.is_none()
    }

    /// How much of a block's state is read before the block runs, and of a transaction's on forks of the head;
    /// [`ReadAhead::Guessed`] where this is not called.
    #[must_use]
    pub fn reading_ahead(mut self, depth: ReadAhead) -> Self {
        if let Some(node) = &mut self.node {
            node.foresight.depth = depth;
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
    pub async fn replay(&mut self, block: Arc<Block>, watch: Watch) -> Result<BlockReplay, ReplayError> {
        if block.witness.is_some() {
            return in_worker(move || replay_witness(&block, &watch)).await;
        }
        if let Some(traces) = &self.traces {
            return traces.replay(block, watch).await;
        }
        let Some(supply) = &mut self.node else {
            return Err(ReplayError::NoState { number: block.number });
        };
        let rules = check_chain(&supply.rules, &block)?;
        if block.number == 0 && block.transactions.is_empty() {
            // The genesis block has no state before it, and nothing happens in it.
            return Ok(BlockReplay {
                executions: Vec::new(),
                skipped: 0,
                gas_used: 0,
                mismatches: Vec::new(),
            });
        }
        let source = supply.source_for(&block, &rules)?;
        let state = supply.state_after(&block)?;
        let Foresight { depth, habits } = supply.foresight.clone();
        let number = block.number;
        let (replayed, carried, last) = in_worker(move || {
            read_ahead(&source, &block, &rules, depth, &habits);
            let (replayed, db) = run_block(CacheDB::new(source), &block, &rules, &watch)?;
            let last = Last {
                hash: block.hash,
                spec: rules.spec,
                is_exact: replayed.mismatches.is_empty(),
                reads: db.db.node().map(NodeState::stats).unwrap_or_default(),
            };
            let carried = may_carry(&rules, &block, &replayed).then(|| Carried::new(db, state, &block));
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
        let fork = Fork::after(CacheDB::new(Source::Layers(state)), &carried.block, &supply.rules);
        Some(fork.with_foresight(supply.foresight.clone()))
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
pub fn replay_witness(block: &Block, watch: &Watch) -> Result<BlockReplay, ReplayError> {
    let (db, rules) = witness_db(block)?;
    run_block(db, block, &rules, watch).map(|(replayed, _)| replayed)
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

fn run_block(
    db: Db,
    block: &Block,
    rules: &BlockRules,
    watch: &Watch,
) -> Result<(BlockReplay, Db), ReplayError> {
    let mut machine = Machine::new(db, machine::block_env(block, rules), rules, Mode::Mined);
    begin_block(&mut machine, block, rules)?;
    let replayed = run_transactions(&mut machine, block, rules, watch)?;
    end_block(&mut machine, block, rules)?;
    Ok((replayed, machine.into_db()))
}

/// Only what was verified is carried, and only where every change of state is modelled.
fn may_carry(rules: &BlockRules, block: &Block, replayed: &BlockReplay) -> bool {
    let is_modelled = match rules.profile {
        ChainProfile::Ethereum => rules.spec.is_enabled_in(SpecId::MERGE),
        ChainProfile::Optimism => {
            let all_charged = block.transactions.iter().all(|transaction| !transaction.rollup.is_none());
            all_charged && block.timestamp_s != CANYON_TIME_S
        }
        ChainProfile::Scroll | ChainProfile::Linea => false,
    };
    is_modelled && replayed.mismatches.is_empty()
}

/// For the blocks that follow. Those out of reach go where layers are merged.
fn remember_hash(db: &mut Db, block: &Block) {
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
    use crate::watch::no_views;
    use alloy_primitives::{Address, Bloom};
    use cordon_model::block::{PostedSize, RollupPart, Transaction, Withdrawal, Witness, WitnessAccount};
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
        let (replayed, mut db) = run_block(state(), &block, &rules, &Watch::everything(no_views())).unwrap();
        assert_eq!(db.basic(VALIDATOR).unwrap().unwrap().balance, U256::from(3_000_000_005u64));
        assert!(may_carry(&rules, &block, &replayed));
    }

    #[test]
    fn state_is_carried_only_where_every_change_is_modelled() {
        let block = empty_block();
        let mainnet = Rules::new(ChainId(1), None).unwrap();
        let replayed = BlockReplay::default();
        assert!(may_carry(&mainnet.resolve(15_537_394, 1_663_224_179), &block, &replayed));
        // Proof of work pays rewards that a block does not state.
        assert!(!may_carry(&mainnet.resolve(15_537_393, 1_663_224_161), &block, &replayed));
        let linea = mainnet.with_profile(ChainProfile::Linea);
        assert!(!may_carry(&linea.resolve(block.number, block.timestamp_s), &block, &replayed));
    }

    #[test]
    fn state_of_the_op_stack_is_carried_where_every_fee_is_known() {
        let (mut block, replayed) = (empty_block(), BlockReplay::default());
        block.timestamp_s = CANYON_TIME_S + 2;
        let rules = Rules::new(ChainId(10), None).unwrap().resolve(block.number, block.timestamp_s);
        assert!(may_carry(&rules, &block, &replayed));
        let deposit = Transaction {
            rollup: RollupPart::Deposit { mint_wei: U256::ZERO },
            ..Transaction::bare(Address::ZERO, None)
        };
        block.transactions = vec![deposit, Transaction::bare(Address::ZERO, None)];
        assert!(!may_carry(&rules, &block, &replayed));
        block.transactions[1].rollup = RollupPart::Posted(PostedSize::default());
        assert!(may_carry(&rules, &block, &replayed));
        // The block that activates Canyon receives a contract from nowhere.
        block.timestamp_s = CANYON_TIME_S;
        assert!(!may_carry(&rules, &block, &replayed));
    }

    #[test]
    fn only_hashes_within_reach_are_carried() {
        let mut db = state();
        let mut block = empty_block();
        let entries = |source: Source| match source {
            Source::Layers(layers) => layers.entries(),
            _ => 0,
        };
        for number in 1..=5_000u64 {
            block.number = number;
            block.hash = B256::from(U256::from(number));
            remember_hash(&mut db, &block);
            // What a block leaves is shared before the next one begins.
            let carried = entries(freeze(&mut db));
            assert!(carried <= 2 * 257, "{carried} entries after {number} blocks that touch nothing");
        }
        for number in 5_000 - 256..=5_000u64 {
            assert_eq!(db.block_hash(number).unwrap(), B256::from(U256::from(number)));
        }
    }
}
