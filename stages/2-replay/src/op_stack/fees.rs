//! What a transaction of the OP stack pays besides gas: the fee for its data on layer 1, and the operator's.
//!
//! In: the prices that the block's first deposit left in the `L1Block` contract, the size of a transaction, and gas. Out:
//! fees in wei. Must never: read the prices through the transaction's own journal, where they would count as accessed.
//!
//! Source: specs.optimism.io, "L1 fees" of Bedrock, Ecotone and Fjord, "Operator fee" of Isthmus and Jovian; slots as in
//! `L1Block.sol`.

use super::OpFork;
use crate::state::DbError;
use alloy_primitives::{Address, U256, address, uint};
use cordon_model::block::PostedSize;
use revm::Database;

/// Contract that holds the prices of layer 1; the first deposit of every block writes it.
const L1_BLOCK: Address = address!("0x4200000000000000000000000000000000000015");
/// Receives the base fee, which other chains burn.
pub(super) const BASE_FEE_VAULT: Address = address!("0x4200000000000000000000000000000000000019");
/// Receives the fees for layer 1.
pub(super) const DATA_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001A");
/// Receives the operator's fees.
pub(super) const OPERATOR_FEE_VAULT: Address = address!("0x420000000000000000000000000000000000001B");
/// Every account that receives fees besides the block's beneficiary.
pub(crate) const VAULTS: [Address; 3] = [BASE_FEE_VAULT, DATA_FEE_VAULT, OPERATOR_FEE_VAULT];

/// Slot of layer 1's base fee.
const BASE_FEE_SLOT: U256 = uint!(1_U256);
/// Slot of the two scalars of Ecotone, packed with other values.
const SCALARS_SLOT: U256 = uint!(3_U256);
/// Slot of Bedrock's overhead.
const OVERHEAD_SLOT: U256 = uint!(5_U256);
/// Slot of Bedrock's scalar.
const SCALAR_SLOT: U256 = uint!(6_U256);
/// Slot of layer 1's blob base fee.
const BLOB_BASE_FEE_SLOT: U256 = uint!(7_U256);
/// Slot of the operator's scalar and constant.
const OPERATOR_SLOT: U256 = uint!(8_U256);

/// Bits behind the base fee scalar in its slot: 12 bytes.
const BASE_FEE_SCALAR_SHIFT: usize = 96;
/// Bits behind the blob base fee scalar in its slot: 8 bytes.
const BLOB_SCALAR_SHIFT: usize = 64;
/// Bits behind the operator's scalar in its slot: the 8 bytes of the constant.
const OPERATOR_SCALAR_SHIFT: usize = 64;

/// Gas of a zero byte of calldata, and of any other (EIP-2028).
const CALLDATA_GAS: (u64, u64) = (4, 16);
/// What scalars are given in: parts of a million.
const MILLION: U256 = uint!(1_000_000_U256);
/// Ecotone divides by a million for the scalars and by 16, the gas of a byte.
const ECOTONE_DIVISOR: U256 = uint!(16_000_000_U256);
/// Fjord divides by a million for the scalars and by a million for the estimated size.
const FJORD_DIVISOR: U256 = uint!(1_000_000_000_000_U256);
/// Fjord's estimate of a transaction's share of a compressed batch, in millionths of a byte: this for each byte after
/// FastLZ, less the constant, and at least the minimum.
const FJORD_PER_BYTE: u64 = 836_500;
/// See [`FJORD_PER_BYTE`].
const FJORD_LESS: u64 = 42_585_600;
/// See [`FJORD_PER_BYTE`].
const FJORD_MIN: u64 = 100_000_000;
/// What Jovian multiplies the operator's scalar by, in place of Isthmus's division by a million.
const JOVIAN_OPERATOR_FACTOR: U256 = uint!(100_U256);

/// Prices of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct L1Prices {
    data: DataPrice,
    operator: OperatorPrice,
}

/// How the fee for data follows from a transaction's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataPrice {
    /// By the calldata gas of the whole encoding.
    Bedrock { overhead_gas: U256, base_fee_wei: U256, scalar: U256 },
    /// By the same gas, at a price from base fee and blob base fee.
    Ecotone { price: U256 },
    /// By the estimated compressed size, at the same price.
    Fjord { price: U256 },
}

/// How the operator's fee follows from gas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OperatorPrice {
    /// There is none before Isthmus.
    #[default]
    None,
    Isthmus {
        scalar: U256,
        constant_wei: U256,
    },
    Jovian {
        scalar: U256,
        constant_wei: U256,
    },
}

impl L1Prices {
    /// The prices in force, read after the block's first deposit.
    pub(crate) fn read<D: Database<Error = DbError>>(db: &mut D, fork: OpFork) -> Result<Self, DbError> {
        // The cache in front of the state wants an account before its slots.
        db.basic(L1_BLOCK)?;
        let mut slot = |slot| db.storage(L1_BLOCK, slot);
        let base_fee_wei = slot(BASE_FEE_SLOT)?;
        let since_ecotone = if fork >= OpFork::Ecotone {
            let (scalars, blob_base_fee_wei) = (slot(SCALARS_SLOT)?, slot(BLOB_BASE_FEE_SLOT)?);
            let base_fee_scalar = low_u32(scalars >> BASE_FEE_SCALAR_SHIFT);
            let blob_scalar = low_u32(scalars >> BLOB_SCALAR_SHIFT);
            // In the block that activates Ecotone the contract does not know its values yet; op-geth tells by this.
            let is_unset = base_fee_scalar.is_zero() && blob_scalar.is_zero() && blob_base_fee_wei.is_zero();
            (!is_unset).then(|| price(base_fee_wei, base_fee_scalar, blob_base_fee_wei, blob_scalar))
        } else {
            None
        };
        let data = match since_ecotone {
            Some(price) if fork >= OpFork::Fjord => DataPrice::Fjord { price },
            Some(price) => DataPrice::Ecotone { price },
            None => DataPrice::Bedrock {
                overhead_gas: slot(OVERHEAD_SLOT)?,
                base_fee_wei,
                scalar: slot(SCALAR_SLOT)?,
            },
        };
        let operator = if fork >= OpFork::Isthmus {
            OperatorPrice::of(slot(OPERATOR_SLOT)?, fork)
        } else {
            OperatorPrice::None
        };
        Ok(Self { data, operator })
    }

    /// Fee for the data of a transaction, in wei.
    pub(crate) fn data_fee_wei(&self, size: &PostedSize) -> U256 {
        let (zero_gas, nonzero_gas) = CALLDATA_GAS;
        let gas = size
            .zero_bytes
            .saturating_mul(zero_gas)
            .saturating_add(size.nonzero_bytes.saturating_mul(nonzero_gas));
        let gas = U256::from(gas);
        match self.data {
            DataPrice::Bedrock { overhead_gas, base_fee_wei, scalar } => {
                gas.saturating_add(overhead_gas).saturating_mul(base_fee_wei).saturating_mul(scalar) / MILLION
            }
            DataPrice::Ecotone { price } => gas.saturating_mul(price) / ECOTONE_DIVISOR,
            DataPrice::Fjord { price } => {
                let estimate = size.fastlz_bytes.saturating_mul(FJORD_PER_BYTE).saturating_sub(FJORD_LESS);
                U256::from(estimate.max(FJORD_MIN)).saturating_mul(price) / FJORD_DIVISOR
            }
        }
    }

    pub(crate) fn operator(&self) -> OperatorPrice {
        self.operator
    }
}

impl OperatorPrice {
    fn of(packed: U256, fork: OpFork) -> Self {
        let scalar = low_u32(packed >> OPERATOR_SCALAR_SHIFT);
        let constant_wei = packed & U256::from(u64::MAX);
        if fork >= OpFork::Jovian {
            Self::Jovian { scalar, constant_wei }
        } else {
            Self::Isthmus { scalar, constant_wei }
        }
    }

    /// The operator's fee for an amount of gas, in wei.
    pub(crate) fn fee_wei(self, gas: u64) -> U256 {
        let gas = U256::from(gas);
        match self {
            Self::None => U256::ZERO,
            Self::Isthmus { scalar, constant_wei } => {
                (gas.saturating_mul(scalar) / MILLION).saturating_add(constant_wei)
            }
            Self::Jovian { scalar, constant_wei } => {
                gas.saturating_mul(scalar).saturating_mul(JOVIAN_OPERATOR_FACTOR).saturating_add(constant_wei)
            }
        }
    }
}

/// What 16 million units of data gas cost since Ecotone: a byte costs 16 gas at the base fee's scalar, and its share of
/// a blob at the blob base fee's.
fn price(base_fee_wei: U256, base_fee_scalar: U256, blob_base_fee_wei: U256, blob_scalar: U256) -> U256 {
    let (_, byte_gas) = CALLDATA_GAS;
    let calldata = base_fee_wei.saturating_mul(U256::from(byte_gas)).saturating_mul(base_fee_scalar);
    calldata.saturating_add(blob_base_fee_wei.saturating_mul(blob_scalar))
}

fn low_u32(word: U256) -> U256 {
    word & U256::from(u32::MAX)
}

#[cfg(test)]
mod tests;
