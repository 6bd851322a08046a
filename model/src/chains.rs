//! What is known of public chains, as one table: how often they make blocks, when a block is final, and how its
//! execution can be repeated.
//!
//! In: a chain id. Out: its [`ChainSpec`], or nothing for a chain that nobody looked at. Must never: stand in for a
//! measurement (an operator's configuration and the node's own tags come first), or state what no source states.

use crate::units::ChainId;

/// Relatives, whose chains share execution rules and transaction types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainFamily {
    /// Ethereum mainnet and its test networks.
    Ethereum,
    /// Rollups of the OP stack: deposits of type `0x7e` open every block, fees for L1 and for the operator are charged,
    /// and the stack's hardforks have precompiled contracts of their own.
    OpStack,
    /// Arbitrum Nitro: transaction types and precompiled contracts of its own, gas that includes the data fee of L1.
    Arbitrum,
    /// BNB Smart Chain: precompiled contracts of its own, system transactions of the validators.
    Bsc,
    /// Polygon PoS: state sync writes without an ordinary transaction.
    Polygon,
    /// Scroll: layer-1 messages of type `0x7e`, fixed fee recipient, a data fee of L1 is charged.
    Scroll,
    /// Linea: plain EVM.
    Linea,
    /// Development chains (anvil, hardhat, geth in development mode).
    Local,
}

/// Distance from the newest block to the newest final one in ordinary operation, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalityDistance {
    /// In blocks.
    Blocks {
        /// Shortest.
        from: u64,
        /// Longest.
        to: u64,
    },
    /// In seconds.
    Seconds {
        /// Shortest.
        from: u64,
        /// Longest.
        to: u64,
    },
}

/// When a block can no longer leave the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finality {
    /// True where nodes answer the tags `safe` and `finalized`.
    pub tags: bool,
    /// Usual distance of the finalized block.
    pub usual: FinalityDistance,
}

/// How a block is executed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionMode {
    /// Own EVM under the chain's own rules: everything is exact.
    Local,
    /// Own EVM without the chain's data fee: calls, logs and storage are exact as far as `docs/chains.md` says, balances
    /// differ by the fees.
    LocalPlain,
    /// Only a node of the chain can; its traces are converted. Single storage accesses stay unknown.
    NodeTraces,
}

/// Whether transactions can be seen before they are mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mempool {
    /// Gossiped between nodes.
    Public,
    /// Handed to one sequencer; nodes do not see what waits.
    Sequencer,
}

/// One chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainSpec {
    /// EIP-155 chain id.
    pub id: ChainId,
    /// Name for people.
    pub name: &'static str,
    /// Relatives.
    pub family: ChainFamily,
    /// Usual time from block to block, in milliseconds.
    pub block_time_ms: u64,
    /// When a block is final.
    pub finality: Finality,
    /// How a block is executed again.
    pub execution: ExecutionMode,
    /// True where the header's transaction root follows from the transactions in Ethereum's own encodings, so that a
    /// node's answer can be checked against the header.
    pub transactions_root_checkable: bool,
    /// Whether waiting transactions can be seen.
    pub mempool: Mempool,
    /// Where the values come from.
    pub source: &'static str,
}

/// Ethereum's finality: two epochs of 32 slots, reached at the end of an epoch, so 64 to 96 blocks (consensus
/// specification).
const CASPER: Finality = Finality { tags: true, usual: FinalityDistance::Blocks { from: 64, to: 96 } };
/// A rollup whose blocks are final with the L1 block that carries their data: the 13 to 19 minutes of L1 and up to some
/// ten minutes until the batch is posted.
const ROLLUP: Finality = Finality { tags: true, usual: FinalityDistance::Seconds { from: 780, to: 1_800 } };

/// Every chain that is known.
pub static CHAINS: [ChainSpec; 13] = [
    ethereum(1, "Ethereum"),
    ethereum(11_155_111, "Sepolia"),
    ethereum(17_000, "Holesky"),
    ethereum(560_048, "Hoodi"),
    op_stack(10, "OP Mainnet"),
    op_stack(8_453, "Base"),
    ChainSpec {
        id: ChainId(42_161),
        name: "Arbitrum One",
        family: ChainFamily::Arbitrum,
        block_time_ms: 250,
        finality: ROLLUP,
        execution: ExecutionMode::NodeTraces,
        // Every block opens with an internal transaction of type 0x6a.
        transactions_root_checkable: false,
        mempool: Mempool::Sequencer,
        source: "research.arbitrum.io/t/9609 (250 ms while there are transactions); docs.arbitrum.io",
    },
    ChainSpec {
        id: ChainId(56),
        name: "BNB Smart Chain",
        family: ChainFamily::Bsc,
        // Fermi (BEP-619); 750 ms before it.
        block_time_ms: 450,
        finality: Finality { tags: true, usual: FinalityDistance::Seconds { from: 1, to: 3 } },
        execution: ExecutionMode::NodeTraces,
        transactions_root_checkable: true,
        mempool: Mempool::Public,
        source: "BEP-619 (block interval), BEP-126 and BEP-590 (fast finality)",
    },
    ChainSpec {
        id: ChainId(137),
        name: "Polygon PoS",
        family: ChainFamily::Polygon,
        block_time_ms: 2_000,
        finality: Finality { tags: true, usual: FinalityDistance::Seconds { from: 2, to: 5 } },
        execution: ExecutionMode::NodeTraces,
        // Nodes list state sync transactions that the root does not cover.
        transactions_root_checkable: false,
        mempool: Mempool::Public,
        source: "docs.polygon.technology/pos/concepts (milestones)",
    },
    ChainSpec {
        id: ChainId(59_144),
        name: "Linea",
        family: ChainFamily::Linea,
        // Two seconds in the archive's consecutive blocks; newer pages of its documentation say about one.
        block_time_ms: 2_000,
        finality: Finality { tags: true, usual: FinalityDistance::Seconds { from: 1_800, to: 57_600 } },
        execution: ExecutionMode::LocalPlain,
        // The archive's headers come without the root.
        transactions_root_checkable: false,
        mempool: Mempool::Sequencer,
        source: "docs.linea.build/network/overview/transaction-finality; block archive",
    },
    ChainSpec {
        id: ChainId(534_352),
        name: "Scroll",
        family: ChainFamily::Scroll,
        // One second in the archive's consecutive blocks of August 2025; three at the chain's start.
        block_time_ms: 1_000,
        finality: Finality { tags: true, usual: FinalityDistance::Seconds { from: 1_800, to: 7_200 } },
        execution: ExecutionMode::LocalPlain,
        transactions_root_checkable: false,
        mempool: Mempool::Sequencer,
        source: "block archive; docs.scroll.io/en/sdk/sdk-faq (about 50 minutes to finality)",
    },
    local(31_337, "anvil"),
    local(1_337, "geth --dev"),
];

const fn ethereum(id: u64, name: &'static str) -> ChainSpec {
    ChainSpec {
        id: ChainId(id),
        name,
        family: ChainFamily::Ethereum,
        block_time_ms: 12_000,
        finality: CASPER,
        execution: ExecutionMode::Local,
        transactions_root_checkable: true,
        mempool: Mempool::Public,
        source: "github.com/ethereum/consensus-specs (SECONDS_PER_SLOT, SLOTS_PER_EPOCH)",
    }
}

const fn op_stack(id: u64, name: &'static str) -> ChainSpec {
    ChainSpec {
        id: ChainId(id),
        name,
        family: ChainFamily::OpStack,
        block_time_ms: 2_000,
        finality: ROLLUP,
        execution: ExecutionMode::Local,
        // Every block opens with a deposit of type 0x7e.
        transactions_root_checkable: false,
        mempool: Mempool::Sequencer,
        source: "github.com/ethereum-optimism/superchain-registry (block_time); specs.optimism.io",
    }
}

const fn local(id: u64, name: &'static str) -> ChainSpec {
    ChainSpec {
        id: ChainId(id),
        name,
        family: ChainFamily::Local,
        // Blocks are made on demand; the interval only says that nobody waits long.
        block_time_ms: 1_000,
        finality: Finality { tags: true, usual: FinalityDistance::Blocks { from: 0, to: 64 } },
        execution: ExecutionMode::Local,
        transactions_root_checkable: true,
        mempool: Mempool::Public,
        source: "anvil 1.7: `finalized` stands two epochs behind, with as many blocks per epoch as it is told",
    }
}

/// What is known of a chain; `None` where nobody looked at it.
#[must_use]
pub fn chain_spec(chain_id: ChainId) -> Option<&'static ChainSpec> {
    CHAINS.iter().find(|spec| spec.id == chain_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_chain_stands_once_and_is_found_by_its_id() {
        let ids: BTreeSet<ChainId> = CHAINS.iter().map(|spec| spec.id).collect();
        assert_eq!(ids.len(), CHAINS.len());
        for spec in &CHAINS {
            assert_eq!(chain_spec(spec.id), Some(spec));
        }
        assert_eq!(chain_spec(ChainId(2)), None);
    }

    #[test]
    fn ranges_are_ranges_and_sources_are_named() {
        for spec in &CHAINS {
            let (FinalityDistance::Blocks { from, to } | FinalityDistance::Seconds { from, to }) =
                spec.finality.usual;
            assert!(from <= to, "{}", spec.name);
            assert!(spec.block_time_ms > 0 && !spec.source.is_empty(), "{}", spec.name);
        }
    }

    /// A root is only checked where every transaction of the chain has one of Ethereum's own encodings.
    #[test]
    fn chains_with_transaction_types_of_their_own_are_not_checked_by_root() {
        for spec in &CHAINS {
            let own_types = matches!(
                spec.family,
                ChainFamily::OpStack | ChainFamily::Arbitrum | ChainFamily::Scroll | ChainFamily::Polygon
            );
            assert!(!(own_types && spec.transactions_root_checkable), "{}", spec.name);
        }
    }
}
