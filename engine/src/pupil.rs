//! What is ordinary for each protocol, learned while its transactions are judged.
//!
//! In: the chain's state in the log, and the transactions of one block in order. Out: findings on what exceeds everything
//! before, and the events by which the log remembers what was learned. Must never: learn from a transaction that wakes
//! people before they call it ordinary, or keep anything that is not in the log.

use crate::engine::Engine;
use cordon_decide::Policy;
use cordon_detect::DetectorSet;
use cordon_model::baseline::{Baselines, Measure};
use cordon_model::calibration::Weight;
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::incident::Standing;
use cordon_model::log::ChainEvent;
use cordon_model::tally::Tally;
use cordon_model::units::{BlockRef, ProtocolId, TxRef};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub(crate) struct Pupil<'a> {
    detectors: &'a DetectorSet,
    policy: &'a Policy,
    block: BlockRef,
    /// What the log will say is ordinary, with the transactions so far.
    baselines: Baselines,
    withheld: Vec<ChainEvent>,
    learned: BTreeMap<ProtocolId, Vec<Measure>>,
    tallied: BTreeMap<ProtocolId, Vec<Tally>>,
    weighed: BTreeMap<ProtocolId, Vec<Weight>>,
    timestamp_s: u64,
}

impl Engine {
    /// A pupil for a block, and what people called ordinary since the last one.
    pub(crate) fn pupil<'a>(
        &'a self,
        detectors: &'a DetectorSet,
        (block, timestamp_s): (BlockRef, u64),
    ) -> (Pupil<'a>, Vec<ChainEvent>) {
        let (chain, ordinary) = (self.journal.chain(), self.called_ordinary());
        let mut pupil = Pupil {
            detectors,
            policy: &self.policy,
            block,
            timestamp_s,
            baselines: chain.baselines.clone(),
            withheld: Vec::new(),
            learned: BTreeMap::new(),
            tallied: BTreeMap::new(),
            weighed: BTreeMap::new(),
        };
        let accepted = chain.withheld.iter().filter(|withheld| ordinary.contains(&withheld.tx));
        let accepted = accepted.map(|withheld| {
            let (protocol, tx) = (withheld.protocol.clone(), withheld.tx);
            pupil.take(&protocol, &withheld.firsts);
            ChainEvent::Accepted { protocol, tx, block }
        });
        let accepted = accepted.collect();
        (pupil, accepted)
    }

    /// Transactions of incidents that people called false alarms.
    fn called_ordinary(&self) -> BTreeSet<TxRef> {
        let incidents = self.journal.incidents();
        let false_alarms = incidents.filter(|incident| incident.standing == Standing::FalseAlarm);
        false_alarms.flat_map(|incident| incident.findings.iter().map(|finding| finding.tx)).collect()
    }
}

impl Pupil<'_> {
    /// All findings on a transaction, of which `found` is what can be said without its protocol's past.
    pub(crate) fn judge(&mut self, execution: &Execution, found: Vec<Finding>) -> Vec<Finding> {
        let mut findings = found;
        for (protocol, compared) in self.detectors.compare(execution, &self.baselines) {
            for what in &compared.gaps {
                tracing::warn!(tx = %execution.tx.hash, %what, "could not be compared");
            }
            findings.extend(compared.findings.iter().cloned());
            let of_protocol = findings.iter().filter(|finding| finding.protocol == protocol);
            let is_alarm = self.policy.is_alarming(&of_protocol.cloned().collect::<Vec<_>>());
            let (firsts, tallies) = (compared.measures(), compared.counted(is_alarm));
            self.baselines.count(&protocol, self.block, self.timestamp_s, &tallies);
            self.tallied.entry(protocol.clone()).or_default().extend(tallies);
            if is_alarm {
                let tx = execution.tx;
                self.withheld.push(ChainEvent::Withheld { protocol, tx, firsts });
            } else {
                self.take(&protocol, &firsts);
                self.learned.entry(protocol).or_default().extend(firsts);
            }
        }
        self.weigh(execution.tx, &findings);
        findings
    }

    /// Notes how strong the findings on a transaction are, whether or not they wake anybody.
    fn weigh(&mut self, tx: TxRef, findings: &[Finding]) {
        let mut by_protocol: BTreeMap<&ProtocolId, Vec<Finding>> = BTreeMap::new();
        for finding in findings {
            by_protocol.entry(&finding.protocol).or_default().push(finding.clone());
        }
        for (protocol, findings) in by_protocol {
            let Some(strongest) = findings.iter().max_by_key(|finding| finding.score) else { continue };
            let detectors: BTreeSet<&String> = findings.iter().map(|finding| &finding.detector).collect();
            let (strength, class) = (self.policy.strength(&findings), strongest.class);
            let weight = Weight { tx, strength, class, detectors: detectors.into_iter().cloned().collect() };
            self.weighed.entry(protocol.clone()).or_default().push(weight);
        }
    }

    /// Takes one more ordinary transaction, as the log's own fold will.
    fn take(&mut self, protocol: &ProtocolId, firsts: &[Measure]) {
        let transactions = self.baselines.transactions(protocol).saturating_add(1);
        self.baselines.learn(protocol, self.block, transactions, firsts);
    }

    /// What the log has to remember of the block.
    pub(crate) fn events(self) -> Vec<ChainEvent> {
        let (block, timestamp_s, baselines) = (self.block, self.timestamp_s, self.baselines);
        let learned = self.learned.into_iter().map(|(protocol, firsts)| {
            let transactions = baselines.transactions(&protocol);
            ChainEvent::Learned { protocol, block, transactions, firsts: largest(firsts) }
        });
        let tallied = self.tallied.into_iter().filter(|(_, tallies)| !tallies.is_empty());
        let tallied =
            tallied.map(|(protocol, tallies)| ChainEvent::Tallied { protocol, block, timestamp_s, tallies });
        let weighed = self.weighed.into_iter();
        let weighed = weighed.map(|(protocol, weights)| ChainEvent::Weighed { protocol, block, weights });
        self.withheld.into_iter().chain(learned).chain(tallied).chain(weighed).collect()
    }
}

/// Of several measurements of the same the largest, which is all that is learned.
fn largest(measures: Vec<Measure>) -> Vec<Measure> {
    let mut largest = BTreeMap::new();
    for measure in measures {
        let most = largest.entry((measure.aspect, measure.key)).or_insert(measure);
        if most.value < measure.value {
            *most = measure;
        }
    }
    largest.into_values().collect()
}
