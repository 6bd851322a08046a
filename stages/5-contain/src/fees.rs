//! What a containment transaction offers for its place in a block.
//!
//! In: the fee market as the node reports it, and a policy. Out: the two EIP-1559 fees, or a refusal where the budget
//! does not allow a transaction that could be mined. Pure, integers only. Must never exceed the policy's budget, and
//! never offer a replacement that nodes would drop.

use alloy_primitives::U256;
use cordon_model::units::Bps;
use serde::{Deserialize, Serialize};

/// One billion wei.
const GWEI: u128 = 1_000_000_000;

/// The base fee moves by at most one eighth per block (EIP-1559, `BASE_FEE_MAX_CHANGE_DENOMINATOR`).
const BASE_FEE_CHANGE_DENOMINATOR: u128 = 8;

/// Blocks of rising base fees that an offer survives unless set otherwise: six blocks double it (1.125^6 = 2.03),
/// and with a replacement every second block there are three better offers before the first one is priced out.
pub const SURVIVE_BLOCKS_DEFAULT: u32 = 6;

/// Most blocks to survive that a policy may ask for: 1.125^64 is 1,880 times the base fee, more than any fee
/// market rose within a quarter of an hour.
pub const SURVIVE_BLOCKS_MAX: u32 = 64;

/// Multiples of the market's tip, one per attempt: the first attempt already offers twice what nine in ten of the
/// recent transactions paid, the fourth and later ones fifty times. The ladder is the one used in published rescues.
pub const TIP_LADDER: [u128; 4] = [2, 5, 10, 50];

/// Percentile of recent tips that counts as the market's tip: above it lies the tail that bids for a place at the
/// top of the block.
pub const TIP_PERCENTILE: u32 = 90;

/// Blocks of history that the market's tip is taken from: one minute of mainnet, short enough to follow a spike.
pub const FEE_HISTORY_BLOCKS: u64 = 5;

/// Least tip that is offered. One gwei was the long-standing default minimum of block builders; for the 50,000 gas of
/// a pause it is 0.00005 ether, and saving less than that is not worth one block of delay.
pub const TIP_FLOOR_WEI: u128 = GWEI;

/// Default rise of both fees in a replacement.
pub const REPLACEMENT_BUMP_DEFAULT: Bps = Bps(2_500);

/// Least rise of both fees that nodes accept in a replacement: geth's `txpool.pricebump`, 10 %.
pub const REPLACEMENT_BUMP_NODE_MIN: Bps = Bps(1_000);

/// Default budget for the fees of one step: one ether. It is a ceiling and not a price: what is offered follows the
/// market. It lets a pause of 50,000 gas bid 20,000 gwei per gas and a deployment of five million gas 200 gwei. Ten
/// ether are reasonable where fifty million dollars are at stake, so a large protocol should raise it.
pub const BUDGET_DEFAULT_WEI: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// The two fees of an EIP-1559 transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fees {
    /// Most that is paid per gas, base fee included, wei.
    pub max_fee_per_gas_wei: u128,
    /// Most that the builder gets per gas, wei.
    pub max_priority_fee_per_gas_wei: u128,
}

/// The fee market as the node reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// Base fee of the next block, wei per gas.
    pub next_base_fee_wei: u128,
    /// The [`TIP_PERCENTILE`] of the tips of each recent block, wei per gas; zero for an empty block.
    pub recent_tips_wei: Vec<u128>,
}

impl Market {
    /// The market's tip: the median of the recent blocks that had transactions, so that one block stuffed with
    /// absurd tips does not decide what is paid. At least [`TIP_FLOOR_WEI`].
    #[must_use]
    pub fn tip_wei(&self) -> u128 {
        let mut tips: Vec<u128> = self.recent_tips_wei.iter().copied().filter(|tip| *tip > 0).collect();
        tips.sort_unstable();
        tips.get(tips.len() / 2).copied().unwrap_or_default().max(TIP_FLOOR_WEI)
    }
}

/// How much may be offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeePolicy {
    /// Most that one step may cost in fees: gas limit times the fee cap, wei.
    pub budget_wei: U256,
    /// Blocks of rising base fees that an offer survives.
    pub survive_blocks: u32,
    /// Rise of both fees in a replacement.
    pub replacement_bump: Bps,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            budget_wei: BUDGET_DEFAULT_WEI,
            survive_blocks: SURVIVE_BLOCKS_DEFAULT,
            replacement_bump: REPLACEMENT_BUMP_DEFAULT,
        }
    }
}

/// Why nothing can be offered. The words stay the same as long as the situation does, because people are told once per
/// reason: what moves with the market is in the fields alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeeRefused {
    /// The budget does not pay for the next block.
    #[error("the fee budget does not pay for the next block")]
    BudgetBelowMarket {
        /// Most per gas that the budget allows, wei.
        cap_wei: u128,
        /// Gas limit by which the budget was divided.
        gas_limit: u64,
        /// Base fee of the next block plus the least tip, wei.
        needed_wei: u128,
    },
    /// The budget does not pay for a replacement that nodes accept; the offer before stays. All of these figures are
    /// fixed while it stays.
    #[error(
        "the fee budget allows {cap_wei} wei per gas at a gas limit of {gas_limit}, a replacement needs {needed_wei}; the offer of {standing_wei} stays"
    )]
    BudgetBelowReplacement {
        /// Most per gas that the budget allows, wei.
        cap_wei: u128,
        /// Gas limit by which the budget was divided.
        gas_limit: u64,
        /// Least fee cap of a valid replacement, wei.
        needed_wei: u128,
        /// Fee cap of the offer that stays, wei.
        standing_wei: u128,
    },
}

impl FeePolicy {
    /// Most per gas that the budget allows, wei.
    #[must_use]
    pub fn cap_wei(&self, gas_limit: u64) -> u128 {
        let per_gas = self.budget_wei.checked_div(U256::from(gas_limit)).unwrap_or(U256::ZERO);
        u128::try_from(per_gas).unwrap_or(u128::MAX)
    }

    /// The offer of an attempt, counted from zero: each attempt takes the next step of [`TIP_LADDER`].
    fn wanted(&self, market: &Market, attempt: usize) -> Fees {
        let rung = attempt.min(TIP_LADDER.len().saturating_sub(1));
        let multiple = TIP_LADDER.get(rung).copied().unwrap_or(1);
        let tip_wei = market.tip_wei().saturating_mul(multiple);
        let base_wei = surviving_base_fee_wei(market.next_base_fee_wei, self.survive_blocks);
        Fees { max_fee_per_gas_wei: base_wei.saturating_add(tip_wei), max_priority_fee_per_gas_wei: tip_wei }
    }

    /// The first offer for a step. The budget lowers it as far as the next block still takes it.
    ///
    /// # Errors
    /// [`FeeRefused::BudgetBelowMarket`] where the budget does not pay for the next block.
    pub fn first(&self, market: &Market, gas_limit: u64) -> Result<Fees, FeeRefused> {
        let cap_wei = self.cap_wei(gas_limit);
        let needed_wei = market.next_base_fee_wei.saturating_add(TIP_FLOOR_WEI);
        if cap_wei < needed_wei {
            return Err(FeeRefused::BudgetBelowMarket { cap_wei, gas_limit, needed_wei });
        }
        Ok(capped(self.wanted(market, 0), cap_wei))
    }

    /// The offer that replaces `standing` as the given attempt (one for the first replacement). Both fees rise by at
    /// least the policy's bump; where the budget does not reach that far, by what it allows, as long as nodes accept
    /// it.
    ///
    /// # Errors
    /// [`FeeRefused::BudgetBelowReplacement`] where the budget does not pay for a replacement that nodes accept.
    pub fn replacement(
        &self,
        standing: Fees,
        market: &Market,
        attempt: usize,
        gas_limit: u64,
    ) -> Result<Fees, FeeRefused> {
        let cap_wei = self.cap_wei(gas_limit);
        let least = bumped(standing, REPLACEMENT_BUMP_NODE_MIN);
        if cap_wei < least.max_fee_per_gas_wei {
            return Err(FeeRefused::BudgetBelowReplacement {
                cap_wei,
                gas_limit,
                needed_wei: least.max_fee_per_gas_wei,
                standing_wei: standing.max_fee_per_gas_wei,
            });
        }
        let wanted = self.wanted(market, attempt);
        let risen = bumped(standing, self.replacement_bump.max(REPLACEMENT_BUMP_NODE_MIN));
        let offer = Fees {
            max_fee_per_gas_wei: wanted.max_fee_per_gas_wei.max(risen.max_fee_per_gas_wei),
            max_priority_fee_per_gas_wei: wanted
                .max_priority_fee_per_gas_wei
                .max(risen.max_priority_fee_per_gas_wei),
        };
        Ok(capped(offer, cap_wei))
    }
}

/// The base fee after `blocks` full blocks, rounded up at each, as the protocol allows at most.
fn surviving_base_fee_wei(base_fee_wei: u128, blocks: u32) -> u128 {
    (0..blocks.min(SURVIVE_BLOCKS_MAX)).fold(base_fee_wei, |fee_wei, _| {
        fee_wei.saturating_add(fee_wei.div_ceil(BASE_FEE_CHANGE_DENOMINATOR))
    })
}

/// The offer within the cap; the tip may not be above the whole.
fn capped(fees: Fees, cap_wei: u128) -> Fees {
    let max_fee_per_gas_wei = fees.max_fee_per_gas_wei.min(cap_wei);
    let max_priority_fee_per_gas_wei = fees.max_priority_fee_per_gas_wei.min(max_fee_per_gas_wei);
    Fees { max_fee_per_gas_wei, max_priority_fee_per_gas_wei }
}

/// Both fees risen by a share, rounded up, so that rounding never makes a replacement invalid.
fn bumped(fees: Fees, by: Bps) -> Fees {
    let whole = u128::from(Bps(10_000).0);
    let factor = whole.saturating_add(u128::from(by.0));
    let rise = |fee_wei: u128| fee_wei.saturating_mul(factor).div_ceil(whole);
    Fees {
        max_fee_per_gas_wei: rise(fees.max_fee_per_gas_wei),
        max_priority_fee_per_gas_wei: rise(fees.max_priority_fee_per_gas_wei),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAS: u64 = 50_000;

    fn market(base_gwei: u128, tips_gwei: &[u128]) -> Market {
        let recent_tips_wei = tips_gwei.iter().map(|tip| tip * GWEI).collect();
        Market { next_base_fee_wei: base_gwei * GWEI, recent_tips_wei }
    }

    /// A policy whose budget allows this many gwei per gas at [`GAS`].
    fn policy(cap_gwei: u128) -> FeePolicy {
        FeePolicy { budget_wei: U256::from(cap_gwei * GWEI * u128::from(GAS)), ..FeePolicy::default() }
    }

    #[test]
    fn the_first_offer_survives_six_full_blocks_and_doubles_the_tip() {
        let fees = policy(1_000).first(&market(10, &[1, 2, 3, 2, 2]), GAS).unwrap();
        assert_eq!(fees.max_priority_fee_per_gas_wei, 4 * GWEI);
        // 10 gwei * 1.125^6 = 20.2728... gwei.
        assert_eq!(fees.max_fee_per_gas_wei / (GWEI / 10), 242);
    }

    #[test]
    fn one_absurd_block_and_empty_blocks_do_not_move_the_tip() {
        assert_eq!(market(10, &[2, 2, 9_999, 2, 0]).tip_wei(), 2 * GWEI);
        assert_eq!(market(10, &[0, 0, 0]).tip_wei(), TIP_FLOOR_WEI);
        assert_eq!(market(10, &[]).tip_wei(), TIP_FLOOR_WEI);
    }

    #[test]
    fn the_budget_lowers_the_first_offer_and_refuses_below_the_next_block() {
        let fees = policy(12).first(&market(10, &[2]), GAS).unwrap();
        assert_eq!(fees.max_fee_per_gas_wei, 12 * GWEI);
        assert_eq!(fees.max_priority_fee_per_gas_wei, 4 * GWEI);
        let refused = policy(10).first(&market(10, &[2]), GAS).unwrap_err();
        let wanted =
            FeeRefused::BudgetBelowMarket { cap_wei: 10 * GWEI, gas_limit: GAS, needed_wei: 11 * GWEI };
        assert_eq!(refused, wanted);
        assert!(matches!(policy(10).first(&market(10, &[2]), 0), Err(FeeRefused::BudgetBelowMarket { .. })));
    }

    #[test]
    fn every_replacement_rises_by_a_quarter_on_both_fees() {
        let (policy, market) = (policy(1_000_000), market(10, &[2]));
        let mut standing = policy.first(&market, GAS).unwrap();
        for attempt in 1..8 {
            let next = policy.replacement(standing, &market, attempt, GAS).unwrap();
            assert!(next.max_fee_per_gas_wei * 4 >= standing.max_fee_per_gas_wei * 5);
            assert!(next.max_priority_fee_per_gas_wei * 4 >= standing.max_priority_fee_per_gas_wei * 5);
            assert!(next.max_priority_fee_per_gas_wei <= next.max_fee_per_gas_wei);
            standing = next;
        }
        assert!(standing.max_priority_fee_per_gas_wei >= 2 * 50 * GWEI);
    }

    #[test]
    fn a_fallen_market_still_gets_a_higher_replacement() {
        let policy = policy(1_000);
        let standing = policy.first(&market(100, &[10]), GAS).unwrap();
        let next = policy.replacement(standing, &market(1, &[0]), 1, GAS).unwrap();
        assert_eq!(next.max_fee_per_gas_wei, bumped(standing, REPLACEMENT_BUMP_DEFAULT).max_fee_per_gas_wei);
    }

    #[test]
    fn the_cap_shortens_a_replacement_and_then_refuses_it() {
        let standing = Fees { max_fee_per_gas_wei: 100 * GWEI, max_priority_fee_per_gas_wei: 10 * GWEI };
        let shortened = policy(115).replacement(standing, &market(10, &[2]), 1, GAS).unwrap();
        assert_eq!(shortened.max_fee_per_gas_wei, 115 * GWEI);
        let refused = policy(109).replacement(standing, &market(10, &[2]), 1, GAS).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("a replacement needs 110000000000; the offer of 100000000000 stays")
        );
    }

    #[test]
    fn absurd_numbers_saturate() {
        let market = Market { next_base_fee_wei: u128::MAX, recent_tips_wei: vec![u128::MAX] };
        let policy = FeePolicy { budget_wei: U256::MAX, survive_blocks: u32::MAX, ..FeePolicy::default() };
        let fees = policy.first(&market, 1).unwrap();
        assert_eq!(fees.max_fee_per_gas_wei, u128::MAX);
    }
}
