//! All detectors over all protected protocols.
//!
//! In: executions. Out: the readings that the detectors want, their findings, and what they could not judge. A
//! transaction that touches nothing named by a protocol, or that failed, costs one pass over its frames. Must never:
//! let one detector's questions crowd out another's without saying so.

use crate::detector::{Comparison, Detector, Gap, Opinion};
use crate::detectors::new_contract;
use crate::detectors::value_loss::loss_views;
use crate::detectors::{ConfigError, DetectorConfig};
use crate::messages::Heard;
use crate::ordinary::{explained, sandwich};
use crate::rehearsal::{Planned, Rehearsed};
use alloy_primitives::Address;
use alloy_primitives::map::{AddressMap, AddressSet};
use cordon_model::baseline::{Baseline, Baselines};
use cordon_model::execution::{Execution, ViewCall};
use cordon_model::finding::Finding;
use cordon_model::message::SourceId;
use cordon_model::protocol::{Price, Protocol};
use cordon_model::units::ProtocolId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most view calls asked about one transaction, over all detectors and protocols. Each is run twice; 4,096 of them
/// take about as long as executing a full block, and leave room for 128 accounts with a dozen lines each.
pub const VIEWS_MAX: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct DetectorSet {
    detectors: Vec<Box<dyn Detector>>,
    protocols: Vec<Protocol>,
    /// Which protocols name an address, by their places. One look-up per touched address, however many there are.
    named: AddressMap<Vec<usize>>,
    watched: Arc<AddressSet>,
}

/// What the detectors of a set say of one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is wrong, in the order of protocols, then detectors.
    pub findings: Vec<Finding>,
    /// What could not be judged.
    pub gaps: Vec<Gap>,
}

impl DetectorSet {
    /// These detectors over these protocols.
    #[must_use]
    pub fn new(detectors: Vec<Box<dyn Detector>>, protocols: Vec<Protocol>) -> Self {
        let mut named: AddressMap<Vec<usize>> = AddressMap::default();
        for (place, protocol) in protocols.iter().enumerate() {
            for address in addresses(protocol) {
                let places = named.entry(address).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        let watched = Arc::new(named.keys().copied().collect());
        Self { detectors, protocols, named, watched }
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
        self.protocols.iter()
    }

    /// Every address whose touch makes a transaction worth a look: protected contracts, and the vaults by whose rate
    /// shares are priced.
    #[must_use]
    pub fn watched(&self) -> Arc<AddressSet> {
        Arc::clone(&self.watched)
    }

    /// True where the transaction succeeded and touched something that a protocol names, or created code that names it. A record
    /// that was cut counts as touching: what is missing may be the part that matters.
    #[must_use]
    pub fn concerns(&self, execution: &Execution) -> bool {
        !self.concerned(execution).is_empty() || !self.foreshadowed(execution).is_empty()
    }

    /// The protocols that a transaction used or changed, in the order given.
    #[must_use]
    pub fn concerned(&self, execution: &Execution) -> Vec<&Protocol> {
        if !execution.status.is_success() {
            return Vec::new();
        }
        let here = |protocol: &&Protocol| protocol.chain_id == execution.tx.chain_id;
        if execution.truncated {
            return self.protocols.iter().filter(here).collect();
        }
        let transfers = execution.transfers.iter().flat_map(|moved| [moved.from, moved.to]);
        let touched = execution.frames.iter().map(|frame| frame.address).chain(transfers);
        let touched = touched.chain(execution.storage_changes.iter().map(|change| change.address));
        let touched = touched.chain(execution.balance_changes_wei.keys().copied());
        let places: BTreeSet<usize> =
            touched.filter_map(|address| self.named.get(&address)).flatten().copied().collect();
        places.into_iter().filter_map(|place| self.protocols.get(place)).filter(here).collect()
    }

    /// The protocols of which nothing was used or changed, but whose contracts are named by code that the transaction created. To
    /// them this is no use: it is neither compared nor learned, and only who looks at creations judges it.
    fn foreshadowed(&self, execution: &Execution) -> Vec<&Protocol> {
        if execution.creations.is_empty()
            || !execution.status.is_success()
            || !self.detectors.iter().any(|detector| detector.looks_at_creations())
        {
            return Vec::new();
        }
        let names = execution.creations.iter().flat_map(|creation| new_contract::named(execution, creation));
        let places: BTreeSet<usize> =
            names.filter_map(|address| self.named.get(&address)).flatten().copied().collect();
        let used: BTreeSet<&ProtocolId> = self.concerned(execution).into_iter().map(|one| &one.id).collect();
        let named = places.into_iter().filter_map(|place| self.protocols.get(place));
        named.filter(|one| one.chain_id == execution.tx.chain_id && !used.contains(&one.id)).collect()
    }

    /// Readings to take before and after the transaction: no call twice, at most [`VIEWS_MAX`]. Those of
    /// [`loss_wad`](crate::loss_wad) are among them whichever detectors are configured, since simulations measure by it.
    #[must_use]
    pub fn views(&self, execution: &Execution) -> Vec<ViewCall> {
        let mut calls = self.wanted(execution);
        calls.truncate(VIEWS_MAX);
        calls
    }

    /// What all detectors say about the transaction, and what could not be judged, in one pass.
    #[must_use]
    pub fn judge(&self, execution: &Execution) -> Judgement {
        let mut judgement = Judgement::default();
        let concerned = self.concerned(execution);
        let used = concerned.iter().map(|protocol| (*protocol, true));
        for (protocol, is_used) in
            used.chain(self.foreshadowed(execution).into_iter().map(|one| (one, false)))
        {
            let gap =
                |detector, what| Gap { detector, protocol: protocol.id.clone(), tx: execution.tx, what };
            let mut said = Vec::new();
            for detector in self.detectors.iter().filter(|one| is_used || one.looks_at_creations()) {
                let Opinion { findings, gaps } = detector.judge(protocol, execution);
                said.extend(findings);
                judgement.gaps.extend(gaps.into_iter().map(|what| gap(detector.name(), what)));
            }
            judgement.findings.extend(explained(protocol, execution, said));
        }
        if let (Some(protocol), Some(what)) = (concerned.first(), self.cut(execution)) {
            let (detector, protocol) = ("views", protocol.id.clone());
            judgement.gaps.push(Gap { detector, protocol, tx: execution.tx, what });
        }
        judgement
    }

    /// The findings of [`DetectorSet::judge`].
    #[must_use]
    pub fn inspect(&self, execution: &Execution) -> Vec<Finding> {
        self.judge(execution).findings
    }

    /// The gaps of [`DetectorSet::judge`].
    #[must_use]
    pub fn gaps(&self, execution: &Execution) -> Vec<Gap> {
        self.judge(execution).gaps
    }

    /// What detectors want to be tried on the state after the transaction's block.
    #[must_use]
    pub fn rehearsals(&self, execution: &Execution) -> Vec<Planned> {
        let mut planned = Vec::new();
        for protocol in self.concerned(execution) {
            for (detector, unit) in self.detectors.iter().enumerate() {
                let rehearsals = unit.rehearsals(protocol, execution).into_iter();
                planned.extend(rehearsals.map(|rehearsal| {
                    let (protocol, name) = (protocol.id.clone(), unit.name());
                    Planned { protocol, name, detector, rehearsal }
                }));
            }
        }
        planned
    }

    /// Readings to take before and after an execution that is only tried; those of [`DetectorSet::views`] and some more.
    #[must_use]
    pub fn rehearsal_views(&self, execution: &Execution) -> Vec<ViewCall> {
        let mut calls = Vec::new();
        for protocol in self.concerned(execution) {
            let asked = self.detectors.iter().map(|detector| detector.rehearsal_views(protocol, execution));
            calls.extend(asked.flatten());
        }
        calls.extend(self.wanted(execution));
        let mut seen = BTreeSet::new();
        calls.retain(|call| seen.insert(call.clone()));
        calls.truncate(VIEWS_MAX);
        calls
    }

    /// What the detectors say about a transaction after these rehearsals, each with the executions of its calls as far
    /// as it came. Every execution is judged like one that happened.
    #[must_use]
    pub fn rehearsed(&self, execution: &Execution, held: Vec<(Planned, Vec<Execution>)>) -> Vec<Finding> {
        let mut by_unit: BTreeMap<(ProtocolId, usize), Vec<Rehearsed>> = BTreeMap::new();
        for (planned, executions) in held {
            let Some(protocol) = self.protocols.iter().find(|protocol| protocol.id == planned.protocol)
            else {
                continue;
            };
            let findings = executions.iter().flat_map(|tried| self.inspect_for(protocol, tried)).collect();
            let rehearsed = Rehearsed { rehearsal: planned.rehearsal, executions, findings };
            by_unit.entry((planned.protocol, planned.detector)).or_default().push(rehearsed);
        }
        let mut findings = Vec::new();
        for protocol in self.concerned(execution) {
            for (place, detector) in self.detectors.iter().enumerate() {
                let held = by_unit.get(&(protocol.id.clone(), place)).map(Vec::as_slice).unwrap_or_default();
                findings.extend(detector.rehearsed(protocol, execution, held));
            }
        }
        findings
    }

    /// Whose messages to other chains the detectors want to be remembered, in order.
    #[must_use]
    pub fn listens(&self) -> Vec<SourceId> {
        let pairs = self
            .protocols
            .iter()
            .flat_map(|protocol| self.detectors.iter().flat_map(move |detector| detector.listens(protocol)));
        pairs.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a transaction sends to other chains, and what it pays out for what they sent.
    #[must_use]
    pub fn messages(&self, execution: &Execution) -> Heard {
        let mut heard = Heard::default();
        for protocol in self.concerned(execution) {
            for detector in &self.detectors {
                heard.take(detector.messages(protocol, execution));
            }
        }
        heard
    }

    /// What all detectors say about a transaction that succeeded, for a protocol that is not in the set.
    #[must_use]
    pub fn inspect_for(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        if !execution.status.is_success() {
            return Vec::new();
        }
        let said = self.detectors.iter().flat_map(|detector| detector.inspect(protocol, execution));
        explained(protocol, execution, said.collect())
    }

    /// The findings on each transaction of a block, in order, with what only a block can tell: where weak findings are half of
    /// a sandwich, they keep their grounds, say so, and add up to no alarm. `executions` and `findings` go together.
    #[must_use]
    pub fn name_ordinary(&self, executions: &[Execution], findings: Vec<Vec<Finding>>) -> Vec<Vec<Finding>> {
        sandwich::explained(&self.protocols, executions, findings)
    }

    /// What all detectors say about the transaction beside what each protocol was used for before; nothing where no
    /// detector compares.
    #[must_use]
    pub fn compare(&self, execution: &Execution, baselines: &Baselines) -> Vec<(ProtocolId, Comparison)> {
        if !self.detectors.iter().any(|detector| detector.compares()) {
            return Vec::new();
        }
        let nothing = Baseline::default();
        let compare = |protocol: &Protocol| {
            let baseline = baselines.of(&protocol.id).unwrap_or(&nothing);
            (protocol.id.clone(), self.compare_for(protocol, execution, baseline))
        };
        self.concerned(execution).into_iter().map(compare).collect()
    }

    /// The same for a protocol that is not in the set.
    #[must_use]
    pub fn compare_for(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let mut all = Comparison::default();
        for detector in &self.detectors {
            let Comparison { findings, firsts, tallies, gaps } =
                detector.compare(protocol, execution, baseline);
            all.findings.extend(findings);
            all.firsts.extend(firsts);
            all.tallies.extend(tallies);
            all.gaps.extend(gaps.into_iter().map(|what| format!("{}: {what}", detector.name())));
        }
        all
    }

    /// That more readings were wanted than are taken. Which were wanted is only asked where as many were taken as ever
    /// are.
    fn cut(&self, execution: &Execution) -> Option<String> {
        if execution.views.len() < VIEWS_MAX {
            return None;
        }
        let wanted = self.wanted(execution).len();
        (wanted > VIEWS_MAX).then(|| format!("{wanted} readings were wanted, {VIEWS_MAX} are taken"))
    }

    fn wanted(&self, execution: &Execution) -> Vec<ViewCall> {
        let mut seen = BTreeSet::new();
        let concerned = self.concerned(execution);
        let measured = concerned.iter().flat_map(|protocol| loss_views(protocol, execution));
        let pairs = concerned
            .iter()
            .flat_map(|protocol| self.detectors.iter().map(move |detector| (protocol, detector)));
        let asked = pairs.flat_map(|(protocol, detector)| detector.views(protocol, execution));
        measured.chain(asked).filter(|call| seen.insert(call.clone())).collect()
    }
}

/// The addresses that make a transaction worth a look.
fn addresses(protocol: &Protocol) -> impl Iterator<Item = Address> {
    let contracts = protocol.contracts.iter().map(|contract| contract.address);
    let vaults = protocol.assets.iter().filter_map(|spec| match spec.price {
        Price::ShareRate { vault, .. } => Some(vault),
        Price::Fixed { .. } | Price::Unpriced => None,
    });
    contracts.chain(vaults).chain(protocol.factories.iter().copied())
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
    fn one_pass_says_what_two_questions_say() {
        let set = set();
        let execution = World::new().script().strike().finish(&[]);
        let Judgement { findings, gaps } = set.judge(&execution);
        assert!(!findings.is_empty() && !gaps.is_empty(), "nothing was read, so prices are missing");
        assert_eq!((findings, gaps), (set.inspect(&execution), set.gaps(&execution)));
    }

    #[test]
    fn a_protocol_is_concerned_once_and_only_where_it_is_named() {
        let of = |id: &str, places: &[usize]| {
            let mut protocol = World::protocol();
            protocol.id = cordon_model::units::ProtocolId(id.to_owned());
            protocol.assets.clear();
            protocol.contracts =
                places.iter().map(|place| World::protocol().contracts[*place].clone()).collect();
            protocol
        };
        let set =
            DetectorSet::new(Vec::new(), vec![of("both", &[1, 0]), of("lending", &[0]), of("vault", &[1])]);
        let mut script = World::new().script();
        script.call(LENDING_VAULT, 1, |_| ());
        script.call(LENDING_VAULT, 2, |_| ());
        let execution = script.finish(&[]);
        let ids: Vec<&str> =
            set.concerned(&execution).iter().map(|protocol| protocol.id.0.as_str()).collect();
        assert_eq!(ids, ["both", "lending"]);
        let cut = Execution { truncated: true, ..execution };
        assert_eq!(set.concerned(&cut).len(), 3);
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
        let execution = script.judged_by(&set);
        assert_eq!(execution.views.len(), VIEWS_MAX);
        assert!(set.gaps(&execution).iter().any(|gap| gap.detector == "views"));
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
