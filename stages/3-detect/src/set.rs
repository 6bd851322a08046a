//! All detectors over all protected protocols.
//!
//! In: executions. Out: the readings that the detectors want, their findings, and what they could not judge. A
//! transaction that touches nothing named by a protocol, or that failed, costs one pass over its frames. Must never:
//! let one detector's questions crowd out another's without saying so.

use crate::detector::{Detector, Gap};
use crate::detectors::value_loss::loss_views;
use crate::detectors::{ConfigError, DetectorConfig};
use crate::ordinary::explained;
use alloy_primitives::Address;
use alloy_primitives::map::AddressSet;
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::Finding;
use cordon_model::protocol::{Price, Protocol};
use std::collections::BTreeSet;

/// Most view calls asked about one transaction, over all detectors and protocols. Each is run twice; 4,096 of them
/// take about as long as executing a full block, and leave room for 128 accounts with a dozen lines each.
pub const VIEWS_MAX: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct DetectorSet {
    detectors: Vec<Box<dyn Detector>>,
    watched: Vec<Watched>,
}

/// A protocol and the addresses that make a transaction worth a look.
#[derive(Debug)]
struct Watched {
    protocol: Protocol,
    addresses: AddressSet,
}

impl DetectorSet {
    /// These detectors over these protocols.
    #[must_use]
    pub fn new(detectors: Vec<Box<dyn Detector>>, protocols: Vec<Protocol>) -> Self {
        let watched = protocols.into_iter().map(Watched::new).collect();
        Self { detectors, watched }
    }

    /// The configured detectors over these protocols.
    ///
    /// # Errors
    /// The first value that a detector cannot use.
    pub fn from_configs(configs: &[DetectorConfig], protocols: Vec<Protocol>) -> Result<Self, ConfigError> {
        let detectors = configs.iter().map(DetectorConfig::build).collect::<Result<_, _>>()?;
        Ok(Self::new(detectors, protocols))
    }

    /// The protocols, in the order given.
    pub fn protocols(&self) -> impl Iterator<Item = &Protocol> {
        self.watched.iter().map(|watched| &watched.protocol)
    }

    /// Every address whose touch makes a transaction worth a look: protected contracts, and the vaults by whose rate
    /// shares are priced.
    #[must_use]
    pub fn watched(&self) -> AddressSet {
        self.watched.iter().flat_map(|watched| watched.addresses.iter().copied()).collect()
    }

    /// True where the transaction succeeded and touched something that a protocol names. A record that was cut counts
    /// as touching: what is missing may be the part that matters.
    #[must_use]
    pub fn concerns(&self, execution: &Execution) -> bool {
        self.concerned(execution).next().is_some()
    }

    /// Readings to take before and after the transaction: no call twice, at most [`VIEWS_MAX`]. Those of
    /// [`loss_wad`](crate::loss_wad) are among them whichever detectors are configured, since simulations measure by it.
    #[must_use]
    pub fn views(&self, execution: &Execution) -> Vec<ViewCall> {
        let mut calls = self.wanted(execution);
        calls.truncate(VIEWS_MAX);
        calls
    }

    /// What all detectors say about the transaction, in the order of protocols, then detectors.
    #[must_use]
    pub fn inspect(&self, execution: &Execution) -> Vec<Finding> {
        self.concerned(execution).flat_map(|watched| self.judge(&watched.protocol, execution)).collect()
    }

    /// What all detectors say about a transaction that succeeded, for a protocol that is not in the set.
    #[must_use]
    pub fn inspect_for(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        if !execution.status.is_success() {
            return Vec::new();
        }
        self.judge(protocol, execution)
    }

    /// What all detectors say for one protocol, with the name of an ordinary pattern where that explains it.
    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let said = self.detectors.iter().flat_map(|detector| detector.inspect(protocol, execution));
        explained(protocol, execution, said.collect())
    }

    /// What could not be judged about the transaction.
    #[must_use]
    pub fn gaps(&self, execution: &Execution) -> Vec<Gap> {
        let gap = |protocol: &Protocol, detector: &'static str, what: String| Gap {
            detector,
            protocol: protocol.id.clone(),
            tx: execution.tx,
            what,
        };
        let mut gaps: Vec<Gap> = self
            .pairs(execution)
            .flat_map(|(protocol, detector)| {
                let whats = detector.gaps(protocol, execution);
                whats.into_iter().map(move |what| gap(protocol, detector.name(), what))
            })
            .collect();
        let wanted = self.wanted(execution).len();
        if wanted > VIEWS_MAX {
            let what = format!("{wanted} readings were wanted, {VIEWS_MAX} are taken");
            gaps.extend(
                self.concerned(execution).next().map(|watched| gap(&watched.protocol, "views", what)),
            );
        }
        gaps
    }

    fn wanted(&self, execution: &Execution) -> Vec<ViewCall> {
        let mut seen = BTreeSet::new();
        let protocols = self.concerned(execution).map(|watched| &watched.protocol);
        let measured = protocols.flat_map(|protocol| loss_views(protocol, execution));
        let asked =
            self.pairs(execution).flat_map(|(protocol, detector)| detector.views(protocol, execution));
        measured.chain(asked).filter(|call| seen.insert(call.clone())).collect()
    }

    fn pairs<'a>(
        &'a self,
        execution: &'a Execution,
    ) -> impl Iterator<Item = (&'a Protocol, &'a dyn Detector)> {
        self.concerned(execution)
            .flat_map(|watched| self.detectors.iter().map(|detector| (&watched.protocol, detector.as_ref())))
    }

    fn concerned<'a>(&'a self, execution: &'a Execution) -> impl Iterator<Item = &'a Watched> {
        self.watched.iter().filter(|watched| watched.is_concerned(execution))
    }
}

impl Watched {
    fn new(protocol: Protocol) -> Self {
        let mut addresses: AddressSet = protocol.contracts.iter().map(|contract| contract.address).collect();
        addresses.extend(protocol.assets.iter().filter_map(|spec| match spec.price {
            Price::ShareRate { vault, .. } => Some(vault),
            Price::Fixed { .. } | Price::Unpriced => None,
        }));
        addresses.extend(protocol.factories.iter().copied());
        Self { protocol, addresses }
    }

    fn is_concerned(&self, execution: &Execution) -> bool {
        let named = |address: &Address| self.addresses.contains(address);
        let touched = || {
            execution.truncated
                || execution.frames.iter().any(|frame| named(&frame.address))
                || execution.transfers.iter().any(|moved| named(&moved.from) || named(&moved.to))
                || execution.storage_changes.iter().any(|change| named(&change.address))
                || execution.balance_changes_wei.keys().any(named)
        };
        self.protocol.chain_id == execution.tx.chain_id && execution.status.is_success() && touched()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::rate_jump::RateJumpConfig;
    use crate::detectors::reentrancy::ReentrancyConfig;
    use crate::detectors::value_loss::ValueLossConfig;
    use crate::testing::{
        ALICE, BOB, CHILD, COIN, COLLATERAL_VAULT, LENDING_VAULT, Script, TOTAL_DEBT_SLOT, USD, World,
        selector, wad,
    };
    use cordon_model::execution::{FrameKind, Status};
    use cordon_model::finding::AttackClass;
    use cordon_model::units::ChainId;
    use proptest::prelude::*;

    fn set() -> DetectorSet {
        let configs = [
            DetectorConfig::ValueLoss(ValueLossConfig::default()),
            DetectorConfig::Reentrancy(ReentrancyConfig::default()),
            DetectorConfig::RateJump(RateJumpConfig::default()),
        ];
        DetectorSet::from_configs(&configs, vec![World::protocol()]).unwrap()
    }

    #[test]
    fn the_strike_is_seen_by_all_three() {
        let set = set();
        let execution = World::new().script().strike().judged_by(&set);
        let findings = set.inspect(&execution);
        let classes: Vec<_> = findings.iter().map(|finding| finding.class).collect();
        assert_eq!(
            classes,
            [AttackClass::ValueExtraction, AttackClass::Reentrancy, AttackClass::RateManipulation]
        );
        assert_eq!(set.gaps(&execution), []);
        assert_eq!(findings, set.inspect(&execution), "judging twice gives the same findings");
    }

    /// The honest twin: a contract borrows a large amount for its owner and is called back in the middle.
    #[test]
    fn the_honest_leverage_contract_leaves_one_weak_finding() {
        let set = set();
        let mut script = World::new().script();
        script.buy_shares(ALICE, wad(1_000), wad(1_000));
        script.transfer(crate::testing::DSHARE, ALICE, CHILD, wad(1_000));
        script.enter(FrameKind::Call, CHILD, CHILD, selector(9).as_slice());
        script.pledge(CHILD, wad(1_000));
        script.borrow(CHILD, wad(60_000), |s| {
            s.frame(FrameKind::StaticCall, LENDING_VAULT, &[], |s| s.read(TOTAL_DEBT_SLOT, wad(0)));
            s.transfer(USD, CHILD, ALICE, wad(60_000));
        });
        let findings = set.inspect(&script.judged_by(&set));
        assert_eq!(findings.iter().map(|finding| finding.score.0).collect::<Vec<_>>(), [300]);
    }

    #[test]
    fn readings_are_asked_once_and_only_about_what_is_named() {
        let set = set();
        let execution = World::new().script().strike().finish(&[]);
        let calls = set.views(&execution);
        assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len());
        assert!(calls.len() < VIEWS_MAX);

        let mut elsewhere = World::new().script();
        elsewhere.transfer(COIN, ALICE, BOB, wad(1));
        let elsewhere = elsewhere.finish(&[]);
        assert!(!set.concerns(&elsewhere));
        assert!(set.views(&elsewhere).is_empty());
        let cut = Execution { truncated: true, ..elsewhere };
        assert!(set.concerns(&cut), "what is missing may be the part that matters");
    }

    #[test]
    fn failed_transactions_and_other_chains_are_not_judged() {
        let set = set();
        let execution = World::new().script().strike().judged_by(&set);
        let failed =
            Execution { status: Status::Halt { reason: "out of gas".to_owned() }, ..execution.clone() };
        assert!(set.inspect(&failed).is_empty());
        let mut other = execution;
        other.tx.chain_id = ChainId(10);
        assert!(set.inspect(&other).is_empty() && set.views(&other).is_empty());
    }

    #[test]
    fn more_readings_than_the_bound_are_stated() {
        let mut protocol = World::protocol();
        let contract = protocol.contracts[1].clone();
        for number in 0..2_000u64 {
            let mut more = contract.clone();
            more.address =
                Address::from_word(alloy_primitives::B256::left_padding_from(&number.to_be_bytes()));
            protocol.contracts.push(more);
        }
        let detectors = vec![DetectorConfig::ValueLoss(ValueLossConfig::default()).build().unwrap()];
        let set = DetectorSet::new(detectors, vec![protocol]);
        let mut script = World::new().script();
        script.call(COLLATERAL_VAULT, 1, |_| ());
        let execution = script.finish(&[]);
        assert_eq!(set.views(&execution).len(), VIEWS_MAX);
        assert!(set.gaps(&execution).iter().any(|gap| gap.detector == "views"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a record says, judging it ends without a panic, twice with the same result.
        #[test]
        fn no_record_stops_the_detectors(
            parents in prop::collection::vec(any::<Option<u32>>(), 40),
            amounts in prop::collection::vec(any::<[u64; 4]>(), 20),
            words in prop::collection::vec(prop::option::of(any::<[u8; 32]>()), 40),
            truncated: bool,
        ) {
            let set = set();
            let mut execution = World::new().script().strike().judged_by(&set);
            for (frame, parent) in execution.frames.iter_mut().zip(parents) {
                frame.parent = parent.map(|parent| parent % 50);
            }
            for (moved, limbs) in execution.transfers.iter_mut().zip(amounts) {
                moved.amount_raw = alloy_primitives::U256::from_limbs(limbs);
            }
            for (reading, word) in execution.views.iter_mut().zip(words) {
                reading.after = word.map(|word| word.to_vec().into());
            }
            execution.truncated = truncated;
            let findings = set.inspect(&execution);
            prop_assert!(findings.iter().all(|finding| finding.score.0 <= 1_000));
            prop_assert_eq!(findings, set.inspect(&execution));
            let _gaps = set.gaps(&execution);
        }
    }

    #[test]
    fn a_donation_alone_confirms_but_does_not_accuse() {
        let set = set();
        let mut script: Script = World::new().script();
        script.transfer(COIN, ALICE, COLLATERAL_VAULT, wad(1));
        let findings = set.inspect(&script.judged_by(&set));
        assert_eq!(
            findings.iter().map(|finding| finding.class).collect::<Vec<_>>(),
            [AttackClass::RateManipulation]
        );
        assert!(findings[0].score.0 < 600);
    }
}
