//! Our replay beside the tracer that nodes use (revm-inspectors, call tracer with logs) and bare revm, on the archive.
//!
//! In: the block archive (`CORDON_SHARED`), rounds in `CORDON_BENCH_ROUNDS`. Out: medians of paired ratios, one line each
//! (goal P5). All three run on every block in every round, in changing order; a difference in gas ends the run.

use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, U256, address};
use cordon_model::block::{Block, Transaction};
use cordon_replay::{Prepared, Watch, no_views};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::context_interface::transaction::{AccessList, AccessListItem};
use revm::database::{CacheDB, EmptyDB};
use revm::handler::{MainnetContext, MainnetEvm, SystemCallCommitEvm as _};
use revm::primitives::TxKind;
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode};
use revm::{InspectCommitEvm as _, MainBuilder as _, MainContext as _};
use revm_inspectors::tracing::{StackSnapshotType, TracingInspector, TracingInspectorConfig};
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the tests' reader of the archive"
)]
#[path = "../tests/replay/fixtures.rs"]
mod fixtures;

/// Rounds where the environment names none.
const ROUNDS: usize = 11;
/// First mainnet block of the measured set, the one before Shanghai.
const FROM_BLOCK: u64 = 17_034_869;
/// Beacon roots contract (EIP-4788).
const BEACON_ROOTS: Address = address!("0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// Block hash history contract (EIP-2935).
const HISTORY_STORAGE: Address = address!("0x0000F90827F1C53a10cb7A02335B175320002935");

fn main() -> Result<(), Box<dyn Error>> {
    let Some(archive) = fixtures::archive() else { return Ok(()) };
    let rounds =
        std::env::var("CORDON_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let watch = Watch::everything(no_views());
    let mut blocks = Vec::new();
    for path in fixtures::files(&archive, "ethereum") {
        let block = Arc::new(fixtures::load(&path));
        if block.number >= FROM_BLOCK {
            blocks.push((Prepared::new(Arc::clone(&block))?, Traced::new(block)?));
        }
    }
    let mut ratios: [Vec<u64>; 3] = Default::default();
    for round in 0..=rounds {
        let (mut bare, mut ours, mut traced) = (0, 0, 0);
        for (index, (prepared, tracer)) in blocks.iter().enumerate() {
            for turn in 0..3 {
                match (turn + index + round) % 3 {
                    0 => bare += prepared.bare()?.cpu_ns,
                    1 => ours += prepared.watched(&watch)?.0.cpu_ns,
                    _ => traced += tracer.run()?,
                }
            }
        }
        if round > 0 {
            for (list, (above, below)) in
                ratios.iter_mut().zip([(ours, traced), (ours, bare), (traced, bare)])
            {
                list.push(above * 1_000 / below.max(1));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for (name, mut list) in ["replay / tracer", "replay / bare", "tracer / bare"].into_iter().zip(ratios) {
        list.sort_unstable();
        let median = list.get(list.len() / 2).copied().unwrap_or(0);
        writeln!(
            out,
            "{name}: {}.{:03} ({} blocks, {rounds} rounds)",
            median / 1_000,
            median % 1_000,
            blocks.len()
        )?;
    }
    Ok(())
}

/// A block made ready for the tracer: its own state in memory, codes analysed.
struct Traced {
    block: Arc<Block>,
    spec: SpecId,
    env: BlockEnv,
    db: CacheDB<EmptyDB>,
    txs: Vec<TxEnv>,
}

impl Traced {
    fn new(block: Arc<Block>) -> Result<Self, Box<dyn Error>> {
        let witness = block.witness.clone().ok_or("an archived block without state")?;
        let spec: SpecId = witness.hardfork.parse().map_err(|_| "an unknown hardfork")?;
        let mut db = CacheDB::new(EmptyDB::default());
        for (address, account) in &witness.accounts {
            let code = account.code_hash.and_then(|hash| witness.codes.get(&hash)).cloned();
            let mut info =
                AccountInfo { balance: account.balance_wei, nonce: account.nonce, ..AccountInfo::default() };
            if let Some(code) = code {
                info = info.with_code(
                    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)),
                );
            }
            db.insert_account_info(*address, info);
            for (slot, value) in &account.storage {
                db.insert_account_storage(*address, *slot, *value)?;
            }
        }
        for (number, hash) in &witness.block_hashes {
            db.cache.block_hashes.insert(U256::from(*number), *hash);
        }
        let env = BlockEnv {
            number: U256::from(block.number),
            beneficiary: block.beneficiary,
            timestamp: U256::from(block.timestamp_s),
            gas_limit: block.gas_limit,
            basefee: block.base_fee_wei.unwrap_or_default(),
            prevrandao: Some(block.mix_hash),
            blob_excess_gas_and_price: block.excess_blob_gas.map(|excess| {
                // EIP-4844's fraction, where a later hardfork has not brought another.
                let fraction = witness.blob_base_fee_update_fraction.unwrap_or(3_338_477);
                BlobExcessGasAndPrice::new(excess, fraction)
            }),
            ..BlockEnv::default()
        };
        let txs = block.transactions.iter().map(tx_env).collect();
        let mut traced = Self { block, spec, env, db, txs };
        traced.begin();
        Ok(traced)
    }

    /// The protocol's own calls (EIP-4788, EIP-2935), so that both sides start from the same state.
    fn begin(&mut self) {
        let block = &self.block;
        let calls = [
            (
                BEACON_ROOTS,
                block.parent_beacon_block_root.filter(|_| self.spec.is_enabled_in(SpecId::CANCUN)),
            ),
            (HISTORY_STORAGE, self.spec.is_enabled_in(SpecId::PRAGUE).then_some(block.parent_hash)),
        ];
        for (contract, word) in calls {
            let is_there = self.db.cache.accounts.contains_key(&contract);
            let Some(word) = word.filter(|_| is_there) else { continue };
            let mut evm = self.evm(self.db.clone());
            // A witness that leaves out what this call touches proves that no transaction of the block reads it.
            if evm.system_call_commit(contract, word.into()).is_ok() {
                self.db = evm.ctx.journaled_state.database;
            }
        }
    }

    fn evm(&self, db: CacheDB<EmptyDB>) -> MainnetEvm<MainnetContext<CacheDB<EmptyDB>>, TracingInspector> {
        let config = TracingInspectorConfig::default_geth()
            .set_steps(false)
            .set_stack_snapshots(StackSnapshotType::None)
            .set_state_diffs(false)
            .set_record_logs(true);
        let cfg = CfgEnv::new_with_spec(self.spec).with_chain_id(self.block.chain_id.0);
        let context = Context::mainnet().with_db(db).with_cfg(cfg).with_block(self.env.clone());
        context.build_mainnet_with_inspector(TracingInspector::new(TracingInspectorConfig {
            record_inputs: true,
            ..config
        }))
    }

    /// One execution of all transactions with the call tracer, its frames handed out and kept to the end.
    fn run(&self) -> Result<u64, Box<dyn Error>> {
        let mut evm = self.evm(self.db.clone());
        let (txs, mut traces, mut gas_used) = (self.txs.clone(), Vec::with_capacity(self.txs.len()), 0);
        let started = cpu_ns();
        for tx in txs {
            let result = evm.inspect_tx_commit(tx)?;
            gas_used += result.tx_gas_used();
            let fresh = TracingInspector::new(*evm.inspector.config());
            let traced = std::mem::replace(&mut evm.inspector, fresh);
            traces.push(traced.into_traces());
        }
        let elapsed_ns = cpu_ns() - started;
        if gas_used != self.block.gas_used {
            return Err(format!("block {}: traced {gas_used} gas", self.block.number).into());
        }
        Ok(elapsed_ns)
    }
}

fn tx_env(tx: &Transaction) -> TxEnv {
    let has_fee_cap = tx.tx_type >= 2;
    let list = tx
        .access_list
        .iter()
        .map(|entry| AccessListItem { address: entry.address, storage_keys: entry.storage_keys.clone() });
    let signed = tx.authorizations.iter().map(|signed| {
        let inner = Authorization { chain_id: signed.chain_id, address: signed.address, nonce: signed.nonce };
        Either::Left(SignedAuthorization::new_unchecked(inner, signed.y_parity, signed.r, signed.s))
    });
    TxEnv {
        tx_type: tx.tx_type,
        caller: tx.from,
        gas_limit: tx.gas_limit,
        gas_price: tx.max_fee_per_gas_wei.filter(|_| has_fee_cap).or(tx.gas_price_wei).unwrap_or_default(),
        kind: tx.to.map_or(TxKind::Create, TxKind::Call),
        value: tx.value_wei,
        data: tx.input.clone(),
        nonce: tx.nonce,
        chain_id: tx.chain_id,
        access_list: AccessList(list.collect()),
        gas_priority_fee: tx.max_priority_fee_per_gas_wei.filter(|_| has_fee_cap),
        blob_hashes: tx.blob_hashes.clone(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas_wei.unwrap_or_default(),
        authorization_list: signed.collect(),
    }
}

/// Time that this thread has spent computing, as [`Prepared`] measures it.
#[cfg(unix)]
fn cpu_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Time since the first call, where the system has no clock for threads.
#[cfg(not(unix))]
fn cpu_ns() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(std::time::Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
