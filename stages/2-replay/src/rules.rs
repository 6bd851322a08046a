//! Which rules a block was executed under: hardfork, blob fee parameter and departures of layer-2 chains.
//!
//! In: chain id, height and time of a block, or a name from the configuration. Out: [`Rules`], resolved per block.
//! Must never: guess. A chain without a built-in schedule needs its hardfork named, and so does a block outside of the
//! time for which a schedule was published.

use crate::error::RulesError;
use cordon_model::block::{Block, ChainProfile, Witness};
use cordon_model::chains::{ChainFamily, chain_spec};
use cordon_model::units::ChainId;
use revm::primitives::hardfork::SpecId;

/// EIP-4844 blob base fee update fraction at Cancun.
const FRACTION_CANCUN: u64 = 3_338_477;
/// Fraction at Prague (EIP-7691), kept by Osaka until the first blob-parameter-only fork.
const FRACTION_PRAGUE: u64 = 5_007_716;
/// Fraction of the first blob-parameter-only fork (EIP-7892, BPO1: target 10, maximum 15).
const FRACTION_BPO1: u64 = 8_346_193;
/// Fraction of the second blob-parameter-only fork (EIP-7892, BPO2: target 14, maximum 21).
const FRACTION_BPO2: u64 = 11_684_671;

/// Every hardfork in order of activation; the names are those of the archive format and of the configuration.
const HARDFORKS: [SpecId; 15] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// Activations of one public chain. Forks up to the merge go by height, later ones by time; a fork that was active
/// from the first block stands at zero.
#[derive(Debug)]
struct Schedule {
    chain_id: u64,
    by_number: &'static [(u64, SpecId)],
    by_time_s: &'static [(u64, SpecId)],
    fractions_by_time_s: &'static [(u64, u64)],
    /// Height from which it holds; blocks below follow rules that are not EVM.
    from_number: u64,
    /// Time from which it is not known; `None` where every announced fork is listed.
    until_s: Option<u64>,
}

/// Built-in schedules. Source: the chains' published genesis configurations
/// (<https://github.com/ethereum/go-ethereum/blob/master/params/config.go>), which the execution specifications and
/// the `alloy-hardforks` tables repeat.
static SCHEDULES: [Schedule; 6] = [
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
        fractions_by_time_s: &[
            (0, FRACTION_CANCUN),
            (1_742_999_832, FRACTION_PRAGUE),
            (1_762_365_720, FRACTION_BPO1),
            (1_762_955_544, FRACTION_BPO2),
        ],
        from_number: 0,
        until_s: None,
    },
    // OP Mainnet since Bedrock. Canyon, Ecotone and Isthmus carry Shanghai, Cancun and Prague; the forks between them
    // change fees, deposits and single precompiled contracts. Karst carries Osaka and was announced for this time,
    // subject to a vote, so from then on the hardfork must be named.
    Schedule {
        chain_id: 10,
        by_number: &[(105_235_063, SpecId::MERGE)],
        by_time_s: OP_STACK_BY_TIME_S,
        fractions_by_time_s: &[],
        from_number: 105_235_063,
        until_s: Some(1_783_526_401),
    },
    // Base. Its last published entry is Jovian; later it left the registry for forks of its own.
    Schedule {
        chain_id: 8_453,
        by_number: &[(0, SpecId::MERGE)],
        by_time_s: OP_STACK_BY_TIME_S,
        fractions_by_time_s: &[],
        from_number: 0,
        until_s: Some(1_764_086_401),
    },
];

/// Activations that OP Mainnet and Base share. Source: `superchain/configs/mainnet/{op,base}.toml` of
/// <https://github.com/ethereum-optimism/superchain-registry> (`canyon_time`, `ecotone_time`, `isthmus_time`).
const OP_STACK_BY_TIME_S: &[(u64, SpecId)] =
    &[(1_704_992_401, SpecId::SHANGHAI), (1_710_374_401, SpecId::CANCUN), (1_746_806_401, SpecId::PRAGUE)];

/// The rules of one chain.
#[derive(Debug, Clone)]
pub struct Rules {
    chain_id: ChainId,
    hardforks: Hardforks,
    profile: ChainProfile,
}

#[derive(Debug, Clone, Copy)]
enum Hardforks {
    Scheduled(&'static Schedule),
    Fixed(SpecId),
}

impl Rules {
    /// The rules of `chain_id`: those of the named hardfork for every block, or the built-in schedule where none is
    /// named. The departures of layer-2 chains follow from [`chain_spec`]; a chain that is not listed there is taken to
    /// follow Ethereum in everything else too, and one that does not needs a profile.
    ///
    /// # Errors
    /// [`RulesError`] for an unknown name, and for a chain without a schedule when no name is given.
    pub fn new(chain_id: ChainId, hardfork: Option<&str>) -> Result<Self, RulesError> {
        let hardforks = match hardfork {
            Some(name) => Hardforks::Fixed(spec_by_name(name)?),
            None => SCHEDULES
                .iter()
                .find(|schedule| schedule.chain_id == chain_id.0)
                .map(Hardforks::Scheduled)
                .ok_or_else(|| RulesError::UnknownChain { chain_id, known: known_names() })?,
        };
        Ok(Self { chain_id, hardforks, profile: profile_of(chain_id) })
    }

    /// Checks that the rules of a block are known.
    ///
    /// # Errors
    /// [`RulesError::OutsideSchedule`] where no hardfork is named and the built-in schedule does not reach the block.
    pub(crate) fn check_known(&self, number: u64, timestamp_s: u64) -> Result<(), RulesError> {
        let Hardforks::Scheduled(schedule) = self.hardforks else { return Ok(()) };
        let known =
            number >= schedule.from_number && schedule.until_s.is_none_or(|until_s| timestamp_s < until_s);
        if known {
            return Ok(());
        }
        let (chain_id, known) = (self.chain_id, known_names());
        Err(RulesError::OutsideSchedule { chain_id, number, timestamp_s, known })
    }

    /// The same rules with the departures of a layer-2 chain.
    #[must_use]
    pub fn with_profile(mut self, profile: ChainProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Chain the rules belong to.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// Name of the hardfork in force at a height and time.
    #[must_use]
    pub fn hardfork_at(&self, number: u64, timestamp_s: u64) -> &'static str {
        self.spec_at(number, timestamp_s).into()
    }

    fn spec_at(&self, number: u64, timestamp_s: u64) -> SpecId {
        match self.hardforks {
            Hardforks::Fixed(spec) => spec,
            Hardforks::Scheduled(schedule) => last_reached(schedule.by_time_s, timestamp_s)
                .or_else(|| last_reached(schedule.by_number, number))
                .unwrap_or(SpecId::FRONTIER),
        }
    }

    /// The rules for one block.
    pub(crate) fn resolve(&self, number: u64, timestamp_s: u64) -> BlockRules {
        let spec = self.spec_at(number, timestamp_s);
        let blob_fraction = match self.hardforks {
            Hardforks::Fixed(_) => None,
            Hardforks::Scheduled(schedule) => last_reached(schedule.fractions_by_time_s, timestamp_s),
        };
        BlockRules {
            chain_id: self.chain_id,
            spec,
            profile: self.profile,
            blob_fraction: blob_fraction.unwrap_or_else(|| default_fraction(spec)),
        }
    }
}

/// Rules resolved for one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRules {
    pub(crate) chain_id: ChainId,
    pub(crate) spec: SpecId,
    pub(crate) profile: ChainProfile,
    pub(crate) blob_fraction: u64,
}

impl BlockRules {
    /// The rules that a witness states for its own block.
    pub(crate) fn of_witness(block: &Block, witness: &Witness) -> Result<Self, RulesError> {
        let spec = spec_by_name(&witness.hardfork)?;
        Ok(Self {
            chain_id: block.chain_id,
            spec,
            profile: witness.profile,
            blob_fraction: witness.blob_base_fee_update_fraction.unwrap_or_else(|| default_fraction(spec)),
        })
    }
}

fn profile_of(chain_id: ChainId) -> ChainProfile {
    match chain_spec(chain_id).map(|spec| spec.family) {
        Some(ChainFamily::OpStack) => ChainProfile::Optimism,
        Some(ChainFamily::Scroll) => ChainProfile::Scroll,
        Some(ChainFamily::Linea) => ChainProfile::Linea,
        Some(
            ChainFamily::Ethereum
            | ChainFamily::Arbitrum
            | ChainFamily::Bsc
            | ChainFamily::Polygon
            | ChainFamily::Local,
        )
        | None => ChainProfile::Ethereum,
    }
}

fn last_reached<T: Copy>(steps: &[(u64, T)], at: u64) -> Option<T> {
    steps.iter().rev().find(|(start, _)| *start <= at).map(|(_, value)| *value)
}

fn default_fraction(spec: SpecId) -> u64 {
    if spec.is_enabled_in(SpecId::PRAGUE) { FRACTION_PRAGUE } else { FRACTION_CANCUN }
}

fn spec_by_name(name: &str) -> Result<SpecId, RulesError> {
    // "Paris" is the execution layer's own name of the fork that is commonly called the merge.
    let wanted = if name.eq_ignore_ascii_case("paris") { "Merge" } else { name };
    HARDFORKS
        .into_iter()
        .find(|spec| <&'static str>::from(*spec).eq_ignore_ascii_case(wanted))
        .ok_or_else(|| RulesError::UnknownHardfork { name: name.to_owned(), known: known_names() })
}

fn known_names() -> String {
    let names: Vec<String> =
        HARDFORKS.iter().map(|spec| <&'static str>::from(*spec).to_ascii_lowercase()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mainnet_follows_height_until_the_merge_and_time_after_it() {
        let rules = Rules::new(ChainId(1), None).unwrap();
        let cases = [
            (1_149_999, 1_457_938_190, "Frontier"),
            (1_150_000, 1_457_938_193, "Homestead"),
            (15_537_393, 1_663_224_161, "London"),
            (15_537_394, 1_663_224_179, "Merge"),
            (17_034_869, 1_681_338_443, "Merge"),
            (17_034_870, 1_681_338_455, "Shanghai"),
            (22_431_084, 1_746_612_311, "Prague"),
            (24_628_608, 1_773_164_315, "Osaka"),
        ];
        for (number, timestamp_s, expected) in cases {
            assert_eq!(rules.hardfork_at(number, timestamp_s), expected, "block {number}");
        }
        assert_eq!(rules.resolve(24_628_608, 1_773_164_315).blob_fraction, FRACTION_BPO2);
        assert_eq!(rules.resolve(23_935_694, 1_764_798_551).blob_fraction, FRACTION_PRAGUE);
    }

    #[test]
    fn test_networks_have_their_own_schedule() {
        let sepolia = Rules::new(ChainId(11_155_111), None).unwrap();
        assert_eq!(sepolia.hardfork_at(1, 1_633_267_481), "London");
        assert_eq!(sepolia.hardfork_at(7_836_331, 1_741_159_776), "Prague");
        let hoodi = Rules::new(ChainId(560_048), None).unwrap();
        assert_eq!(hoodi.hardfork_at(0, 1_742_213_400), "Cancun");
    }

    #[test]
    fn op_chains_follow_the_forks_that_carry_ethereums() {
        for (chain, start) in [(10, 105_235_063), (8_453, 0)] {
            let rules = Rules::new(ChainId(chain), None).unwrap();
            let cases = [
                (1_704_992_399, "Merge"),
                (1_704_992_401, "Shanghai"),
                (1_710_374_401, "Cancun"),
                (1_736_445_601, "Cancun"),
                (1_746_806_399, "Cancun"),
                (1_746_806_401, "Prague"),
            ];
            for (timestamp_s, expected) in cases {
                assert_eq!(rules.hardfork_at(start + 1, timestamp_s), expected, "{timestamp_s}");
            }
            assert_eq!(rules.resolve(start, 1_704_992_401).profile, ChainProfile::Optimism);
        }
    }

    #[test]
    fn outside_of_its_schedule_a_chain_needs_a_name() {
        let op = Rules::new(ChainId(10), None).unwrap();
        op.check_known(105_235_063, 1_783_526_400).unwrap();
        for (number, timestamp_s) in [(105_235_062, 1_686_068_903), (150_000_000, 1_783_526_401)] {
            let error = op.check_known(number, timestamp_s).unwrap_err();
            assert!(error.to_string().contains("name the hardfork"), "{error}");
        }
        Rules::new(ChainId(10), Some("osaka")).unwrap().check_known(150_000_000, 1_783_526_401).unwrap();
        Rules::new(ChainId(1), None).unwrap().check_known(0, u64::MAX).unwrap();
    }

    #[test]
    fn a_named_hardfork_overrides_and_ignores_case() {
        let rules = Rules::new(ChainId(31_337), Some("pRaGuE")).unwrap();
        assert_eq!(rules.hardfork_at(0, 0), "Prague");
        assert_eq!(Rules::new(ChainId(1), Some("paris")).unwrap().hardfork_at(0, 0), "Merge");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = Rules::new(ChainId(31_337), Some("fusaka")).unwrap_err();
        assert!(matches!(&error, RulesError::UnknownHardfork { name, .. } if name == "fusaka"));
        assert!(error.to_string().contains("osaka"), "{error}");
    }

    #[test]
    fn a_chain_without_schedule_needs_a_name() {
        let error = Rules::new(ChainId(31_337), None).unwrap_err();
        assert!(matches!(error, RulesError::UnknownChain { chain_id: ChainId(31_337), .. }));
    }
}
