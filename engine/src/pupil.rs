//! What is ordinary for each protocol, learned while its transactions are judged.
//!
//! In: the chain's state in the log, and the transactions of one block in order. Out: findings on what exceeds everything
//! before, and the events by which the log remembers what was learned. Must never: learn from a transaction that wakes
//! people before they call it ordinary, or keep anything that is not in the log.

use crate::engine::Engine;
use cordon_decide::Policy;
use cordon_detect::DetectorSet;
use cordon_model::baseline::Measure;
use cordon_model::chain_state::ChainState;
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::incident::Standing;
use cordon_model::log::ChainEvent;
use cordon_model::units::{BlockRef, ProtocolId, TxRef};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub(crate) struct Pupil<'a> {
    detectors: &'a DetectorSet,
    policy: &'a Policy,
    block: BlockRef,
    /// The log as it will be, with the transactions so far.
    state: ChainState,
    withheld: Vec<ChainEvent>,
    learned: BTreeMap<ProtocolId, Vec<Measure>>,
}

impl Engine {
    /// A pupil for a block, and what people called ordinary since the last one.
    pub(crate) fn pupil<'a>(
        &'a self,
        detectors: &'a DetectorSet,
        block: BlockRef,
    ) -> (Pupil<'a>, Vec<ChainEvent>) {
        let mut state = self.journal.chain().clone();
        let ordinary = self.called_ordinary();
        let accepted: Vec<ChainEvent> = state
            .withheld
            .iter()
            .filter(|withheld| ordinary.contains(&withheld.tx))
            .map(|withheld| {
                let (protocol, tx) = (withheld.protocol.clone(), withheld.tx);
                ChainEvent::Accepted { protocol, tx, block }
            })
            .collect();
        accepted.iter().for_each(|event| state.apply(event));
        let (withheld, learned) = (Vec::new(), BTreeMap::new());
        (Pupil { detectors, policy: &self.policy, block, state, withheld, learned }, accepted)
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
        for (protocol, compared) in self.detectors.compare(execution, &self.state.baselines) {
            findings.extend(compared.findings);
            let of_protocol = findings.iter().filter(|finding| finding.protocol == protocol);
            let is_alarm = self.policy.is_alarming(&of_protocol.cloned().collect::<Vec<_>>());
            let firsts: Vec<Measure> = compared.firsts.iter().map(|first| first.measure).collect();
            if is_alarm {
                let tx = execution.tx;
                self.withheld.push(ChainEvent::Withheld { protocol, tx, firsts });
            } else {
                self.learn(protocol, firsts);
            }
        }
        findings
    }

    fn learn(&mut self, protocol: ProtocolId, firsts: Vec<Measure>) {
        let known = self.state.baselines.get(&protocol).map_or(0, |baseline| baseline.transactions());
        let (protocol_id, transactions) = (protocol.clone(), known.saturating_add(1));
        let (block, measures) = (self.block, firsts.clone());
        self.state.apply(&ChainEvent::Learned { protocol, block, transactions, firsts });
        self.learned.entry(protocol_id).or_default().extend(measures);
    }

    /// What the log has to remember of the block.
    pub(crate) fn events(self) -> Vec<ChainEvent> {
        let (block, state) = (self.block, self.state);
        let learned = self.learned.into_iter().map(|(protocol, firsts)| {
            let transactions = state.baselines.get(&protocol).map_or(0, |baseline| baseline.transactions());
            ChainEvent::Learned { protocol, block, transactions, firsts }
        });
        self.withheld.into_iter().chain(learned).collect()
    }
}
