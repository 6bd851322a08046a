//! When which rules came into force on the public chains, as data.
//!
//! In: nothing. Out: one [`Schedule`] per chain. Must never: list an activation that was not published.

use crate::op_stack::{OP_FORKS_BY_TIME_S, OpFork};
use revm::primitives::hardfork::SpecId;

/// EIP-4844 blob base fee update fraction at Cancun.
pub(super) const FRACTION_CANCUN: u64 = 3_338_477;
/// Fraction at Prague (EIP-7691), kept by Osaka until the first blob-parameter-only fork.
pub(super) const FRACTION_PRAGUE: u64 = 5_007_716;
/// Fraction of the first blob-parameter-only fork (EIP-7892, BPO1: target 10, maximum 15).
pub(super) const FRACTION_BPO1: u64 = 8_346_193;
/// Fraction of the second blob-parameter-only fork (EIP-7892, BPO2: target 14, maximum 21).
pub(super) const FRACTION_BPO2: u64 = 11_684_671;

/// Activations of one public chain. Forks up to the merge go by height, later ones by time; a fork that was active
/// from the first block stands at zero.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) chain_id: u64,
    pub(super) by_number: &'static [(u64, SpecId)],
    pub(super) by_time_s: &'static [(u64, SpecId)],
    /// Hardforks of the OP stack; empty for every other chain. They carry Ethereum's.
    pub(super) op_forks_by_time_s: &'static [(u64, OpFork)],
    pub(super) fractions_by_time_s: &'static [(u64, u64)],
    /// Height from which it holds; blocks below follow rules that are not EVM.
    pub(super) from_number: u64,
    /// Time from which it is not known; `None` where every announced fork is listed.
    pub(super) until_s: Option<u64>,
}

/// Built-in schedules. Source: the chains' published genesis configurations
/// (<https://github.com/ethereum/go-ethereum/blob/master/params/config.go>), which the execution specifications and
/// the `alloy-hardforks` tables repeat.
pub(super) static SCHEDULES: [Schedule; 6] = [
    // Ethereum mainnet. Constantinople and Petersburg activated together; the DAO fork changed state once and no
    // rule, so it has no entry.
    Schedule {
        chain_id: 1,
        by_number: &[
            (0, SpecId::FRONTIER),
            (1_150_000, SpecId::HOMESTEAD),
            (2_463_000, SpecId::TANGERINE),
            (2_675_000, SpecId::SPURIOUS_DRAGON),
            (4_370_000, SpecId::BYZANTIUM),
            (7_280_000, SpecId::PETERSBURG),
            (9_069_000, SpecId::ISTANBUL),
            (12_244_000, SpecId::BERLIN),
            (12_965_000, SpecId::LONDON),
            (15_537_394, SpecId::MERGE),
        ],
        by_time_s: &[
            (1_681_338_455, SpecId::SHANGHAI),
            (1_710_338_135, SpecId::CANCUN),
            (1_746_612_311, SpecId::PRAGUE),
            (1_764_798_551, SpecId::OSAKA),
        ],
        op_forks_by_time_s: &[],
        fractions_by_time_s: &[
            (1_710_338_135, FRACTION_CANCUN),
            (1_746_612_311, FRACTION_PRAGUE),
            (1_765_290_071, FRACTION_BPO1),
            (1_767_747_671, FRACTION_BPO2),
        ],
        from_number: 0,
        until_s: None,
    },
    // Sepolia.
    Schedule {
        chain_id: 11_155_111,
        by_number: &[(0, SpecId::LONDON), (1_450_409, SpecId::MERGE)],
        by_time_s: &[
            (1_677_557_088, SpecId::SHANGHAI),
            (1_706_655_072, SpecId::CANCUN),
            (1_741_159_776, SpecId::PRAGUE),
            (1_760_427_360, SpecId::OSAKA),
            (1_791_294_816, SpecId::AMSTERDAM),
        ],
        op_forks_by_time_s: &[],
        fractions_by_time_s: &[
            (1_706_655_072, FRACTION_CANCUN),
            (1_741_159_776, FRACTION_PRAGUE),
            (1_761_017_184, FRACTION_BPO1),
            (1_761_607_008, FRACTION_BPO2),
        ],
        from_number: 0,
        until_s: None,
    },
    // Holesky.
    Schedule {
        chain_id: 17_000,
        by_number: &[(0, SpecId::MERGE)],
        by_time_s: &[
            (1_696_000_704, SpecId::SHANGHAI),
            (1_707_305_664, SpecId::CANCUN),
            (1_740_434_112, SpecId::PRAGUE),
            (1_759_308_480, SpecId::OSAKA),
        ],
        op_forks_by_time_s: &[],
        fractions_by_time_s: &[
            (1_707_305_664, FRACTION_CANCUN),
            (1_740_434_112, FRACTION_PRAGUE),
            (1_759_800_000, FRACTION_BPO1),
            (1_760_389_824, FRACTION_BPO2),
        ],
        from_number: 0,
        until_s: None,
    },
    // Hoodi.
    Schedule {
        chain_id: 560_048,
        by_number: &[(0, SpecId::CANCUN)],
        by_time_s: &[(1_742_999_832, SpecId::PRAGUE), (1_761_677_592, SpecId::OSAKA)],
        op_forks_by_time_s: &[],
        fractions_by_time_s: &[
            (0, FRACTION_CANCUN),
            (1_742_999_832, FRACTION_PRAGUE),
            (1_762_365_720, FRACTION_BPO1),
            (1_762_955_544, FRACTION_BPO2),
        ],
        from_number: 0,
        until_s: None,
    },
    // OP Mainnet since Bedrock. Karst was announced for this time, subject to a vote, so from then on the hardfork must
    // be named.
    Schedule {
        chain_id: 10,
        by_number: &[],
        by_time_s: &[],
        op_forks_by_time_s: OP_FORKS_BY_TIME_S,
        fractions_by_time_s: &[],
        from_number: 105_235_063,
        until_s: Some(1_783_526_401),
    },
    // Base. With Azul it left the OP stack's forks for its own (`azul` in the chain configuration that
    // <https://github.com/base/base> publishes).
    Schedule {
        chain_id: 8_453,
        by_number: &[],
        by_time_s: &[],
        op_forks_by_time_s: OP_FORKS_BY_TIME_S,
        fractions_by_time_s: &[],
        from_number: 0,
        until_s: Some(1_779_991_200),
    },
];
