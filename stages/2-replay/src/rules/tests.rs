//! Which hardfork a block falls under.

use super::schedules::FRACTION_BPO2;
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
fn op_chains_resolve_their_own_forks_by_time_or_name() {
    let base = Rules::new(ChainId(8_453), None).unwrap();
    let cases = [
        (1_686_789_347, OpFork::Regolith),
        (1_720_627_200, OpFork::Ecotone),
        (1_720_627_201, OpFork::Fjord),
        (1_726_070_401, OpFork::Granite),
        (1_746_806_400, OpFork::Holocene),
        (1_764_691_200, OpFork::Isthmus),
        (1_764_691_201, OpFork::Jovian),
    ];
    for (timestamp_s, fork) in cases {
        let rules = base.resolve(1, timestamp_s);
        assert_eq!((rules.op_fork, rules.spec), (Some(fork), fork.spec()), "{timestamp_s}");
    }
    let fork = |name| Rules::new(ChainId(10), Some(name)).unwrap().resolve(1, 1_720_627_201).op_fork;
    assert_eq!(fork("karst"), Some(OpFork::Karst));
    assert_eq!(fork("osaka"), Some(OpFork::Karst));
    // Ethereum's name leaves open which one; the chain's own time says it where it can.
    assert_eq!(fork("cancun"), Some(OpFork::Fjord));
    assert_eq!(fork("prague"), Some(OpFork::Jovian));
    assert_eq!(Rules::new(ChainId(1), None).unwrap().resolve(24_000_000, 1_770_000_000).op_fork, None);
    assert!(Rules::new(ChainId(1), Some("karst")).is_err());
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
fn a_block_that_does_not_exist_yet_comes_at_the_pace_of_its_chain() {
    assert_eq!(
        [1, 8_453, 42_161, 987_654_321].map(|id| block_time_ms(ChainId(id))),
        [12_000, 2_000, 250, 12_000]
    );
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
