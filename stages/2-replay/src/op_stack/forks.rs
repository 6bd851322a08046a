//! The OP stack's hardforks: their names, order and times, and which of Ethereum's each carries.
//!
//! In: nothing. Out: [`OpFork`] and the schedule that OP Mainnet and Base share. Must never: list an activation that was
//! not published.

use revm::primitives::hardfork::SpecId;

/// A hardfork of the OP stack that changes how transactions are executed, in order of activation. Delta is missing: it
/// changes how blocks are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OpFork {
    Regolith,
    Canyon,
    Ecotone,
    Fjord,
    Granite,
    Holocene,
    Isthmus,
    Jovian,
    Karst,
}

/// Canyon on OP Mainnet and Base. The block with exactly this time also receives a contract that no transaction creates
/// (specs.optimism.io, Canyon, "create2Deployer").
pub(crate) const CANYON_TIME_S: u64 = 1_704_992_401;

/// Activations that OP Mainnet and Base share. Source: `superchain/configs/mainnet/{op,base,superchain}.toml` of
/// <https://github.com/ethereum-optimism/superchain-registry> (`canyon_time` and so on); Jovian as its pull request 1140
/// moved it.
pub(crate) const OP_FORKS_BY_TIME_S: &[(u64, OpFork)] = &[
    (0, OpFork::Regolith),
    (CANYON_TIME_S, OpFork::Canyon),
    (1_710_374_401, OpFork::Ecotone),
    (1_720_627_201, OpFork::Fjord),
    (1_726_070_401, OpFork::Granite),
    (1_736_445_601, OpFork::Holocene),
    (1_746_806_401, OpFork::Isthmus),
    (1_764_691_201, OpFork::Jovian),
];

impl OpFork {
    /// Every one, in order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Regolith,
        Self::Canyon,
        Self::Ecotone,
        Self::Fjord,
        Self::Granite,
        Self::Holocene,
        Self::Isthmus,
        Self::Jovian,
        Self::Karst,
    ];

    /// Ethereum's hardfork that it carries.
    pub(crate) fn spec(self) -> SpecId {
        match self {
            Self::Regolith => SpecId::MERGE,
            Self::Canyon => SpecId::SHANGHAI,
            Self::Ecotone | Self::Fjord | Self::Granite | Self::Holocene => SpecId::CANCUN,
            Self::Isthmus | Self::Jovian => SpecId::PRAGUE,
            Self::Karst => SpecId::OSAKA,
        }
    }

    /// The newest one that carries nothing later than `spec`.
    pub(crate) fn newest_with(spec: SpecId) -> Self {
        let carries = |fork: &Self| fork.spec() <= spec;
        Self::ALL.into_iter().rev().find(carries).unwrap_or(Self::Regolith)
    }

    /// By its name in any case; Regolith also as Bedrock, with which it came on the chains that are known here.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let is_named = |fork: &Self| format!("{fork:?}").eq_ignore_ascii_case(name);
        if name.eq_ignore_ascii_case("bedrock") {
            return Some(Self::Regolith);
        }
        Self::ALL.into_iter().find(is_named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_stand_in_order_and_carry_ethereums_in_order() {
        assert!(OpFork::ALL.is_sorted());
        assert!(OpFork::ALL.into_iter().map(OpFork::spec).is_sorted());
        assert!(OP_FORKS_BY_TIME_S.is_sorted());
        assert!(OP_FORKS_BY_TIME_S.iter().map(|(_, fork)| *fork).is_sorted());
    }

    #[test]
    fn ethereums_hardfork_leads_to_the_newest_that_carries_it() {
        let cases = [
            (SpecId::FRONTIER, OpFork::Regolith),
            (SpecId::MERGE, OpFork::Regolith),
            (SpecId::CANCUN, OpFork::Holocene),
            (SpecId::PRAGUE, OpFork::Jovian),
            (SpecId::OSAKA, OpFork::Karst),
            (SpecId::AMSTERDAM, OpFork::Karst),
        ];
        for (spec, fork) in cases {
            assert_eq!(OpFork::newest_with(spec), fork, "{spec:?}");
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(OpFork::by_name("jOvIaN"), Some(OpFork::Jovian));
        assert_eq!(OpFork::by_name("bedrock"), Some(OpFork::Regolith));
        assert_eq!(OpFork::by_name("prague"), None);
    }
}
