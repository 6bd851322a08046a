//! What a range chain is made with, and what a scenario actor asks it to run. Plain values without behaviour.

use alloy_primitives::{Address, Bytes, U256, address};

/// One billion wei.
const GWEI: u128 = 1_000_000_000;

/// The protocol rules a range chain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fork {
    /// Prague, without the per-transaction gas cap of EIP-7825.
    Prague,
    /// Osaka, the rules of Ethereum mainnet since December 2025. The default.
    #[default]
    Osaka,
}

/// Everything that shapes a chain. Two chains with equal configurations and equal calls are equal byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainConfig {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Protocol rules for every block.
    pub fork: Fork,
    /// Timestamp of block 0, seconds since the Unix epoch.
    pub genesis_timestamp_s: u64,
    /// Distance between the timestamps of two blocks, seconds.
    pub block_time_s: u64,
    /// Gas limit of every block.
    pub gas_limit: u64,
    /// Base fee of block 0, wei per gas. Later blocks follow EIP-1559.
    pub base_fee_wei: u64,
    /// Lower bound of what `eth_maxPriorityFeePerGas` suggests, wei per gas.
    pub min_priority_fee_wei: u128,
    /// Receiver of the priority fees.
    pub beneficiary: Address,
    /// How many blocks `safe` stands behind `latest`.
    pub safe_lag_blocks: u64,
    /// How many blocks `finalized` stands behind `latest`.
    pub finalized_lag_blocks: u64,
    /// For how many of the newest blocks the full state is kept. Older blocks stay readable, their state does not.
    ///
    /// A kept state costs one pointer per account, plus a copy of the storage of the accounts that the block changed.
    pub retained_states: usize,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            // The customary id of local development chains, so no tool mistakes a range for a public chain.
            chain_id: 31_337,
            fork: Fork::default(),
            // 2026-01-01T00:00:00Z: after the activation of Osaka on mainnet.
            genesis_timestamp_s: 1_767_225_600,
            // The slot time of Ethereum mainnet.
            block_time_s: 12,
            // The mainnet limit at the activation of Osaka.
            gas_limit: 60_000_000,
            base_fee_wei: 1_000_000_000,
            // The lowest tip that geth's miner accepts by default is far lower; one tenth of a gwei keeps tips visible.
            min_priority_fee_wei: GWEI / 10,
            beneficiary: address!("0xc0dec0dec0dec0dec0dec0dec0dec0dec0dec0de"),
            // One and two epochs of 32 slots, the best case on mainnet.
            safe_lag_blocks: 32,
            finalized_lag_blocks: 64,
            retained_states: 4096,
        }
    }
}

/// One transaction of a scenario actor, sent as EIP-1559 with [`crate::Chain::submit_as`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Receiver, or `None` to create a contract from `input`.
    pub to: Option<Address>,
    /// Value sent along, wei.
    pub value_wei: U256,
    /// Call data, or the creation code.
    pub input: Bytes,
    /// Gas limit of the transaction.
    pub gas_limit: u64,
    /// Most the sender pays per gas, wei.
    pub max_fee_wei: u128,
    /// Most the sender tips per gas, wei.
    pub priority_fee_wei: u128,
}

impl Call {
    /// Gas limit of calls unless set otherwise: room for a flash loan with several swaps.
    pub const DEFAULT_GAS_LIMIT: u64 = 3_000_000;
    /// Gas limit of creations unless set otherwise: room for a contract at the code size limit (24 KiB at 200 gas a byte).
    pub const CREATE_GAS_LIMIT: u64 = 10_000_000;
    /// Fee cap unless set otherwise: fifty times the default base fee.
    pub const DEFAULT_MAX_FEE_WEI: u128 = 50 * GWEI;
    /// Tip unless set otherwise.
    pub const DEFAULT_PRIORITY_FEE_WEI: u128 = GWEI;

    /// A call of `to` with `input`, no value, and the default gas limit and fees.
    pub fn new(to: Address, input: impl Into<Bytes>) -> Self {
        Self {
            to: Some(to),
            value_wei: U256::ZERO,
            input: input.into(),
            gas_limit: Self::DEFAULT_GAS_LIMIT,
            max_fee_wei: Self::DEFAULT_MAX_FEE_WEI,
            priority_fee_wei: Self::DEFAULT_PRIORITY_FEE_WEI,
        }
    }

    /// A plain payment of `value_wei` to `to`.
    pub fn transfer(to: Address, value_wei: U256) -> Self {
        Self::new(to, Bytes::new()).with_value(value_wei)
    }

    /// The creation of a contract from `creation_code` (bytecode followed by the encoded constructor arguments).
    pub fn create(creation_code: impl Into<Bytes>) -> Self {
        Self { to: None, gas_limit: Self::CREATE_GAS_LIMIT, ..Self::new(Address::ZERO, creation_code) }
    }

    /// The same call with `value_wei` sent along.
    #[must_use]
    pub fn with_value(mut self, value_wei: U256) -> Self {
        self.value_wei = value_wei;
        self
    }

    /// The same call with another gas limit.
    #[must_use]
    pub fn with_gas_limit(mut self, gas_limit: u64) -> Self {
        self.gas_limit = gas_limit;
        self
    }

    /// The same call with other fees, both in wei per gas.
    #[must_use]
    pub fn with_fees(mut self, max_fee_wei: u128, priority_fee_wei: u128) -> Self {
        self.max_fee_wei = max_fee_wei;
        self.priority_fee_wei = priority_fee_wei;
        self
    }
}
