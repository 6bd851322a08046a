//! `cordon bench replay`: what facts cost, beside bare revm on the same blocks in the same run.
//!
//! In: a block file or a folder of them, a number of rounds. Out: a [`BenchReport`]: ratios, with the spread that says
//! whether the machine was quiet enough to believe them. Every mode runs on every block in every round, in changing
//! order, timed by the thread's own clock; each must reach the gas of the header. Must never: give a ratio between two
//! different runs, or time a wrong answer.

mod detect;
mod figures;
mod judging;
mod laps;
mod patterns;
mod report;
mod state;

use crate::error::EngineError;
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, keccak256};
use cordon_detect::DetectorSet;
use cordon_ingest::Archive;
use cordon_model::block::{Block, ChainProfile};
use cordon_model::execution::{Detail, Execution};
use cordon_model::protocol::{ProtectedContract, Protocol};
use cordon_model::units::{ChainId, ProtocolId};
use cordon_replay::{BlockReplay, Interest, Prepared, Views, Watch, no_views, replay_witness};
pub use detect::{DetectReport, Latency, SettingReport, detect};
pub use figures::Decimal;
use laps::{Measured, Round};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

pub use report::{BenchReport, Checked, Group, PatternReport, WorstBlock};
pub use state::{ColdReport, ForkReport, WhatIfReport, cold_reads, forks};

/// Rounds where none are asked for; below eleven a median of ratios still moves (measured on a shared machine).
pub const DEFAULT_ROUNDS: u32 = 11;

/// Addresses that the measured replay is matched against.
const WATCHED: usize = 1_000;
/// How many of them really receive transactions in the archive.
const WATCHED_LIVE: usize = 100;
/// Transactions of the first pass that must not stand out against the second (goal P17).
const CLIFF_TRANSACTIONS: usize = 1_000;
/// Gas from which a single block's ratio means something: below, one block takes less than half a millisecond.
const WORST_BLOCK_MIN_GAS: u64 = 1_000_000;
/// Gas in a million of gas.
const MEGA: u64 = 1_000_000;
/// First mainnet block that counts as modern: shortly before Shanghai (block 17,034,870).
const MODERN_MAINNET: u64 = 17_000_000;

/// Measures every block under `path`.
///
/// # Errors
/// A file that cannot be read, a block that cannot be executed, or an execution that does not reach the gas of a header
/// that another one reached.
pub fn replay(path: &Path, rounds: u32) -> Result<BenchReport, EngineError> {
    cordon_replay::warm_up();
    let blocks = load(path)?;
    let watched = watched(&blocks);
    let (cliff_transactions, cliff_ratio) = cliff(&blocks, &watched)?;
    let (checked, right) = check(&blocks)?;
    let prepared: Vec<Prepared> = right.into_iter().map(Prepared::new).collect::<Result<_, _>>()?;
    let rounds = rounds.max(1);
    let measured = laps::measure(&prepared, rounds, &watched)?;
    let adversarial = patterns::all(rounds, &watched)?;
    let trace_bomb = patterns::trace_bomb(rounds, &watched)?;
    let everything = Group::of("all", &measured, |_| true);
    Ok(BenchReport {
        blocks: everything.blocks,
        transactions: everything.transactions,
        mgas: everything.mgas,
        bare_mgas_per_s: everything.bare_mgas_per_s,
        watch_ratio: everything.watch_ratio,
        filtered_ratio: everything.filtered_ratio,
        full_ratio: everything.full_ratio,
        rounds,
        bare_spread: laps::spread(&measured),
        is_quiet: laps::spread(&measured) <= figures::SPREAD_MAX,
        load_average: figures::load_average(),
        cliff_transactions,
        cliff_ratio,
        worst_block: everything.worst_block,
        sets: sets(&measured),
        hardforks: hardforks(&measured),
        checked,
        adversarial,
        trace_bomb,
        peak_rss_bytes: figures::peak_rss_bytes(),
    })
}

/// The blocks of an archive.
fn load(path: &Path) -> Result<Vec<Arc<Block>>, EngineError> {
    let archive = Archive::open(path).map_err(EngineError::Archive)?;
    if archive.is_empty() {
        return Err(EngineError::NoBlocks { path: path.to_owned(), skipped: archive.skipped() });
    }
    archive.blocks().map(|block| block.map(Arc::new).map_err(EngineError::Archive)).collect()
}

/// What is watched while measuring, and the same with every level of interest.
#[derive(Debug)]
struct Watched {
    everything: Watch,
    filtered: Watch,
    full: Watch,
}

/// A tenth of the addresses receive transactions of the archive, spread evenly over them; the others do not occur.
fn watched(blocks: &[Arc<Block>]) -> Watched {
    let receivers = blocks.iter().flat_map(|block| &block.transactions).filter_map(|tx| tx.to);
    let live: BTreeSet<Address> = receivers.collect();
    let every = live.len().div_ceil(WATCHED_LIVE).max(1);
    let mut addresses: AddressSet = live.into_iter().step_by(every).collect();
    let silent = (0u64..).map(|n| Address::from_word(keccak256(n.to_be_bytes())));
    addresses.extend(silent.take(WATCHED.saturating_sub(addresses.len())));
    let chains: BTreeSet<ChainId> = blocks.iter().map(|block| block.chain_id).chain([ChainId(1)]).collect();
    let views = matching(&addresses, chains);
    let everything = Watch::everything(views);
    let interest = Interest::Touching(Arc::new(addresses));
    Watched {
        filtered: Watch { interest, ..everything.clone() },
        full: everything.clone().with_detail(Detail::Full),
        everything,
    }
}

/// Asks nothing, but matches every execution against the addresses as the engine does.
fn matching(addresses: &AddressSet, chains: BTreeSet<ChainId>) -> Views {
    let contract = |address: &Address| ProtectedContract { address: *address, name: String::new() };
    let protocol = |chain_id| Protocol {
        id: ProtocolId("bench".to_owned()),
        chain_id,
        contracts: addresses.iter().map(contract).collect(),
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    };
    let set = DetectorSet::new(Vec::new(), chains.into_iter().map(protocol).collect());
    Arc::new(move |execution: &Execution| {
        std::hint::black_box(set.concerns(execution));
        Vec::new()
    })
}

/// The slowest of the newest transactions at first sight, over the slowest of the same ones at second sight.
fn cliff(blocks: &[Arc<Block>], watched: &Watched) -> Result<(u64, Decimal), EngineError> {
    let mut newest: Vec<&Arc<Block>> = blocks.iter().collect();
    newest.sort_by_key(|block| std::cmp::Reverse(block.timestamp_s));
    let mut chosen = Vec::new();
    let mut count = 0usize;
    for block in newest {
        if count >= CLIFF_TRANSACTIONS {
            break;
        }
        count = count.saturating_add(block.transactions.len());
        chosen.push(Prepared::new(Arc::clone(block))?);
    }
    let slowest = || -> Result<u64, EngineError> {
        let mut max_ns = 0;
        for block in &chosen {
            let laps = block.each(&watched.everything)?;
            max_ns = laps.iter().map(|lap| lap.cpu_ns).max().unwrap_or(0).max(max_ns);
        }
        Ok(max_ns)
    };
    let (first_ns, second_ns) = (slowest()?, slowest()?);
    Ok((figures::count(count), Decimal::ratio(first_ns, second_ns)))
}

/// Compares every block with what its chain recorded, and returns those that agree.
fn check(blocks: &[Arc<Block>]) -> Result<(Vec<Checked>, Vec<Arc<Block>>), EngineError> {
    let mut chains: BTreeMap<ChainId, Checked> = BTreeMap::new();
    let mut right = Vec::new();
    let watch = Watch { interest: Interest::Touching(Arc::default()), ..Watch::everything(no_views()) };
    for block in blocks {
        let replayed = replay_witness(block, &watch)?;
        let chain = chains.entry(block.chain_id).or_insert_with(|| Checked::new(block.chain_id));
        let wrong = figures::count(wrong_transactions(&replayed).len());
        chain.matched = chain.matched.saturating_add(figures::count(block.transactions.len()) - wrong);
        let profile = block.witness.as_ref().map(|witness| witness.profile).unwrap_or_default();
        match profile {
            ChainProfile::Ethereum | ChainProfile::Optimism => {
                chain.wrong = chain.wrong.saturating_add(wrong);
            }
            // What such a chain charges for data on layer 1 is not modelled, so balances can differ.
            ChainProfile::Scroll | ChainProfile::Linea => {
                chain.explained = chain.explained.saturating_add(wrong);
            }
        }
        if replayed.mismatches.is_empty() {
            right.push(Arc::clone(block));
        } else {
            chain.blocks_left_out = chain.blocks_left_out.saturating_add(1);
        }
    }
    Ok((chains.into_values().collect(), right))
}

fn wrong_transactions(replayed: &BlockReplay) -> BTreeSet<u32> {
    replayed.mismatches.iter().filter_map(|mismatch| mismatch.index).collect()
}

fn worst(blocks: &[&Measured]) -> Option<WorstBlock> {
    let heavy = blocks.iter().copied().filter(|measured| measured.gas_used >= WORST_BLOCK_MIN_GAS);
    heavy
        .map(|measured| WorstBlock {
            chain_id: measured.chain_id,
            number: measured.number,
            watch_ratio: laps::ratio([measured], |round| round.watch_ns),
        })
        .max_by_key(|block| block.watch_ratio)
}

/// The sets that the performance goals name.
fn sets(measured: &[Measured]) -> Vec<Group> {
    let mainnet = |measured: &Measured| measured.chain_id == ChainId(1);
    let modern = |measured: &Measured| mainnet(measured) && measured.number >= MODERN_MAINNET;
    let mut sets = vec![
        Group::of("modern mainnet", measured, modern),
        Group::of("older mainnet", measured, |m| mainnet(m) && !modern(m)),
        Group::of("layer 2", measured, |m| !mainnet(m)),
    ];
    let others: BTreeSet<ChainId> = measured.iter().filter(|m| !mainnet(m)).map(|m| m.chain_id).collect();
    sets.extend(
        others
            .into_iter()
            .map(|chain_id| Group::of(&format!("chain {chain_id}"), measured, |m| m.chain_id == chain_id)),
    );
    sets.retain(|set| set.blocks > 0);
    sets
}

fn hardforks(measured: &[Measured]) -> Vec<Group> {
    let mut names: Vec<(ChainId, &str)> = Vec::new();
    for one in measured {
        let name = (one.chain_id, one.hardfork.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let group = |(chain_id, hardfork): (ChainId, &str)| {
        let name = format!("chain {chain_id} {hardfork}");
        Group::of(&name, measured, |m| m.chain_id == chain_id && m.hardfork == hardfork)
    };
    names.into_iter().map(group).collect()
}

impl Group {
    /// The figures of those blocks that belong.
    fn of(name: &str, measured: &[Measured], belongs: impl Fn(&Measured) -> bool) -> Self {
        let blocks: Vec<&Measured> = measured.iter().filter(|measured| belongs(measured)).collect();
        let transactions = blocks.iter().map(|measured| measured.transactions).sum();
        let gas: u64 = blocks.iter().map(|measured| measured.gas_used).sum();
        let delivered = blocks.iter().map(|measured| measured.delivered).sum();
        let bare_ns = laps::median_ns(&blocks, |round| round.bare_ns);
        let watch_ns = laps::median_ns(&blocks, |round| round.watch_ns);
        let ratio = |of: fn(&Round) -> u64| laps::ratio(blocks.iter().copied(), of);
        Self {
            name: name.to_owned(),
            blocks: figures::count(blocks.len()),
            transactions,
            mgas: Decimal::thousandths(gas / 1_000),
            bare_mgas_per_s: figures::per_s(gas, bare_ns) / MEGA,
            watch_mgas_per_s: figures::per_s(gas, watch_ns) / MEGA,
            watch_transactions_per_s: figures::per_s(transactions, watch_ns),
            watch_ratio: ratio(|round| round.watch_ns),
            filtered_ratio: ratio(|round| round.filtered_ns),
            full_ratio: ratio(|round| round.full_ns),
            filtered_share: Decimal::ratio(delivered, transactions),
            worst_block: worst(&blocks),
        }
    }
}
