//! Where chains of the OP stack depart from Ethereum's rules.
//!
//! In: a block's hardfork of that stack, transactions with what [`RollupPart`](cordon_model::block::RollupPart) says of
//! them, and the state. Out: the precompiled contracts of the hardfork ([`precompiles`]), the fees for layer 1 and the
//! operator ([`fees`]), and transactions executed with both, deposits included ([`transaction`]). Must never: cost a
//! chain of another stack anything.
//!
//! Source: <https://specs.optimism.io>, and op-geth where the specification leaves a choice. OP Mainnet (since Bedrock)
//! and Base begin with Regolith, so what differed before it (system transactions, deposits that always use their gas
//! limit) is not here.

mod fees;
mod forks;
mod precompiles;
mod transaction;

pub(crate) use fees::{L1Prices, OperatorPrice, VAULTS};
pub(crate) use forks::{CANYON_TIME_S, OP_FORKS_BY_TIME_S, OpFork};
pub(crate) use precompiles::precompiles;
pub(crate) use transaction::{Charge, OpTransaction};

/// EIP-2718 type of deposits.
pub(crate) const DEPOSIT_TX_TYPE: u8 = 0x7e;
