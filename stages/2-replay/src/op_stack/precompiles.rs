//! The precompiled contracts of the OP stack, hardfork by hardfork.
//!
//! In: a hardfork. Out: Ethereum's contracts of the hardfork that it carries, with the departures of the table below.
//! Must never: build a set twice.
//!
//! Most departures bound the input of a contract: whoever disputes a block proves single calls on layer 1, and a call
//! has to fit.

use super::OpFork;
use revm::precompile::bls12_381::{g1_msm, g2_msm, pairing};
use revm::precompile::bls12_381_const::{G1_MSM_ADDRESS, G2_MSM_ADDRESS, PAIRING_ADDRESS};
use revm::precompile::{
    EthPrecompileResult, Precompile, PrecompileHalt, PrecompileId, PrecompileResult, PrecompileSpecId,
    Precompiles, bn254, call_eth_precompile, modexp, secp256r1,
};
use std::sync::OnceLock;

/// What each hardfork adds or replaces, kept until a later one replaces it. The numbers are the most bytes of input.
///
/// Source: specs.optimism.io, execution engine of Fjord (RIP-7212 at its price of 3,450 gas), Granite, Isthmus and Jovian;
/// Karst, which carries Osaka, as op-revm 20.0.0 has it (`precompiles.rs`).
static DEPARTURES: [(OpFork, &[Precompile]); 5] = [
    (OpFork::Fjord, &[secp256r1::P256VERIFY]),
    (OpFork::Granite, &[bn254_pairing::<112_687>()]),
    (OpFork::Isthmus, &[bls_g1_msm::<513_760>(), bls_g2_msm::<488_448>(), bls_pairing::<235_008>()]),
    (
        OpFork::Jovian,
        &[
            bn254_pairing::<81_984>(),
            bls_g1_msm::<288_960>(),
            bls_g2_msm::<278_784>(),
            bls_pairing::<156_672>(),
        ],
    ),
    (OpFork::Karst, &[secp256r1::P256VERIFY_OSAKA, modexp::OSAKA]),
];

/// The precompiled contracts of a hardfork.
pub(crate) fn precompiles(fork: OpFork) -> &'static Precompiles {
    static SETS: [OnceLock<Precompiles>; OpFork::ALL.len()] = [const { OnceLock::new() }; OpFork::ALL.len()];
    let ethereum = Precompiles::new(PrecompileSpecId::from_spec_id(fork.spec()));
    let place = OpFork::ALL.iter().position(|one| *one == fork);
    let Some(set) = place.and_then(|place| SETS.get(place)) else { return ethereum };
    set.get_or_init(|| {
        let mut set = ethereum.clone();
        for (_, changed) in DEPARTURES.iter().filter(|(since, _)| *since <= fork) {
            set.extend(changed.iter().cloned());
        }
        set
    })
}

/// A contract that refuses more input than `MAX` bytes, and uses up all gas that it was given when it does.
macro_rules! bounded {
    ($name:ident, $run:ident, $id:expr, $address:expr, $inner:expr) => {
        const fn $name<const MAX: usize>() -> Precompile {
            Precompile::new($id, $address, $run::<MAX>)
        }

        fn $run<const MAX: usize>(input: &[u8], gas_limit: u64, reservoir: u64) -> PrecompileResult {
            let bounded = |input: &[u8], gas_limit| {
                if input.len() > MAX { Err(too_long()) } else { $inner(input, gas_limit) }
            };
            Ok(call_eth_precompile(bounded, input, gas_limit, reservoir))
        }
    };
}

bounded!(bn254_pairing, run_bn254_pairing, PrecompileId::Bn254Pairing, bn254::pair::ADDRESS, pair);
bounded!(bls_g1_msm, run_bls_g1_msm, PrecompileId::Bls12G1Msm, G1_MSM_ADDRESS, g1_msm::g1_msm);
bounded!(bls_g2_msm, run_bls_g2_msm, PrecompileId::Bls12G2Msm, G2_MSM_ADDRESS, g2_msm::g2_msm);
bounded!(bls_pairing, run_bls_pairing, PrecompileId::Bls12Pairing, PAIRING_ADDRESS, pairing::pairing);

/// The pairing at its prices since Istanbul.
fn pair(input: &[u8], gas_limit: u64) -> EthPrecompileResult {
    bn254::run_pair(input, bn254::pair::ISTANBUL_PAIR_PER_POINT, bn254::pair::ISTANBUL_PAIR_BASE, gas_limit)
}

fn too_long() -> PrecompileHalt {
    PrecompileHalt::Other("input longer than the hardfork allows".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::precompile::{PrecompileOutput, u64_to_address};

    /// More than any of the calls below costs.
    const GAS: u64 = 1 << 40;

    fn call(fork: OpFork, address: u64, input: &[u8]) -> Option<PrecompileOutput> {
        let contract = precompiles(fork).get(&u64_to_address(address))?;
        Some(contract.execute(input, GAS, 0).unwrap())
    }

    #[test]
    fn p256_comes_with_fjord_and_costs_more_from_karst_on() {
        for (fork, gas_used) in [
            (OpFork::Regolith, None),
            (OpFork::Ecotone, None),
            (OpFork::Fjord, Some(3_450)),
            (OpFork::Jovian, Some(3_450)),
            (OpFork::Karst, Some(6_900)),
        ] {
            let called = call(fork, 0x100, &[0; 160]);
            assert_eq!(called.map(|output| output.gas_used), gas_used, "{fork:?}");
        }
    }

    #[test]
    fn inputs_beyond_the_bound_of_the_hardfork_are_refused() {
        type Bounds = &'static [(OpFork, Option<usize>)];
        // Address, bytes of one element, and the most elements by hardfork; `None` is no bound.
        let cases: [(u64, usize, Bounds); 4] = [
            (
                0x08,
                192,
                &[
                    (OpFork::Fjord, None),
                    (OpFork::Granite, Some(586)),
                    (OpFork::Isthmus, Some(586)),
                    (OpFork::Jovian, Some(427)),
                    (OpFork::Karst, Some(427)),
                ],
            ),
            (0x0c, 160, &[(OpFork::Isthmus, Some(3_211)), (OpFork::Jovian, Some(1_806))]),
            (0x0e, 288, &[(OpFork::Isthmus, Some(1_696)), (OpFork::Jovian, Some(968))]),
            (0x0f, 384, &[(OpFork::Isthmus, Some(612)), (OpFork::Karst, Some(408))]),
        ];
        for (address, element, bounds) in cases {
            for (fork, most) in bounds {
                let at = format!("{address:#x} in {fork:?}");
                // Elements of zeros are points at infinity, and so valid.
                let fits = call(*fork, address, &vec![0; element * most.unwrap_or(600)]).unwrap();
                assert!(fits.is_success(), "{at}: {:?}", fits.status);
                if let Some(most) = most {
                    let refused = call(*fork, address, &vec![0; element * (most + 1)]).unwrap();
                    assert!(refused.is_halt(), "{at}: {:?}", refused.status);
                }
            }
        }
    }

    #[test]
    fn bls_contracts_come_with_isthmus() {
        assert!(call(OpFork::Holocene, 0x0c, &[0; 160]).is_none());
        assert!(call(OpFork::Isthmus, 0x0c, &[0; 160]).unwrap().is_success());
    }

    #[test]
    fn what_no_hardfork_departs_from_is_ethereums() {
        for fork in OpFork::ALL {
            let ethereum = Precompiles::new(PrecompileSpecId::from_spec_id(fork.spec()));
            for address in ethereum.addresses() {
                assert!(precompiles(fork).contains(address), "{fork:?} {address}");
            }
            let added = precompiles(fork).len() - ethereum.len();
            let has_p256 = (OpFork::Fjord..=OpFork::Jovian).contains(&fork);
            assert_eq!(added, usize::from(has_p256), "{fork:?}");
        }
    }
}
