//! A protocol's ordinary use as its log tells it.
//!
//! In: the records of a chain and of its incidents. Out: one [`Past`] for each protocol, since the detectors are what they are now.
//! Must never: keep what stood in a block that left the chain.

use crate::error::EngineError;
use crate::incidents;
use alloy_primitives::B256;
use cordon_detect::calibrate::Stream;
use cordon_model::calibration::Judging;
use cordon_model::incident::Standing;
use cordon_model::log::{Body, ChainEvent, EventLog, StreamId};
use cordon_model::units::{BlockRef, ChainId, ProtocolId, TxRef};
use std::collections::{BTreeMap, BTreeSet};

/// One protocol's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) protocol: ProtocolId,
    pub(super) stream: Stream,
    /// Transactions that were attacks, and are not in the stream.
    pub(super) attacks: u64,
    /// Transactions of incidents of which nothing was said; they are in the stream.
    pub(super) undecided: u64,
    incidents: BTreeSet<String>,
}

impl Past {
    /// Names of the incidents of which nothing was said.
    pub(super) fn undecided_incidents(&self) -> impl Iterator<Item = &str> {
        self.incidents.iter().map(String::as_str)
    }
}

/// What people said of the transactions of incidents.
#[derive(Debug, Default)]
struct Verdicts {
    attacks: BTreeSet<(ProtocolId, TxRef)>,
    undecided: BTreeMap<(ProtocolId, TxRef), String>,
}

/// The histories of all protocols that a chain's log knows.
pub(super) async fn of(log: &dyn EventLog, chain_id: ChainId) -> Result<Vec<Past>, EngineError> {
    let verdicts = verdicts(log, chain_id).await?;
    let mut reading = Reading::default();
    for stored in log.read(StreamId::chain(chain_id)).await? {
        if let Body::Chain(event) = stored.record.body {
            reading.take(stored.record.at_s, event);
        }
    }
    let judged_to_s = log.cursor(chain_id).await?.map_or(0, |cursor| cursor.at_s);
    Ok(reading.finish(judged_to_s, &verdicts))
}

async fn verdicts(log: &dyn EventLog, chain_id: ChainId) -> Result<Verdicts, EngineError> {
    let mut verdicts = Verdicts::default();
    for dossier in incidents::read(log).await? {
        let incident = dossier.incident;
        if incident.chain_id != chain_id {
            continue;
        }
        for finding in &incident.findings {
            let place = (finding.protocol.clone(), finding.tx);
            match incident.standing {
                Standing::FalseAlarm => {}
                Standing::Closed => drop(verdicts.attacks.insert(place)),
                Standing::Open => drop(verdicts.undecided.insert(place, dossier.id.clone())),
            }
        }
    }
    Ok(verdicts)
}

/// The chain's log while it is read.
#[derive(Debug, Default)]
struct Reading {
    detectors: B256,
    streams: BTreeMap<ProtocolId, Stream>,
    /// How many transactions each protocol has had in all, and how many it had when its stream began.
    transactions: BTreeMap<ProtocolId, u64>,
    before: BTreeMap<ProtocolId, u64>,
    newest_s: u64,
}

impl Reading {
    fn take(&mut self, at_s: u64, event: ChainEvent) {
        self.newest_s = self.newest_s.max(at_s);
        match event {
            ChainEvent::JudgedBy { judging } => self.judged_by(at_s, judging),
            ChainEvent::Learned { protocol, transactions, .. } => {
                self.transactions.insert(protocol, transactions);
            }
            ChainEvent::Weighed { protocol, weights, .. } => {
                self.streams.entry(protocol).or_default().weights.extend(weights);
            }
            ChainEvent::Reverted { block } => self.revert(block),
            _ => {}
        }
    }

    /// Under other detectors every history begins anew, and a protocol's begins when it is first watched.
    fn judged_by(&mut self, at_s: u64, judging: Judging) {
        if self.detectors != judging.detectors {
            self.detectors = judging.detectors;
            self.streams.clear();
            self.before = self.transactions.clone();
        }
        let watched: BTreeSet<&ProtocolId> = judging.protocols.iter().collect();
        // Nobody looked while a protocol was not watched.
        self.streams.retain(|protocol, _| watched.contains(protocol));
        for protocol in &judging.protocols {
            let new = Stream { from_s: at_s, ..Stream::default() };
            self.streams.entry(protocol.clone()).or_insert(new);
        }
    }

    fn revert(&mut self, block: BlockRef) {
        for stream in self.streams.values_mut() {
            stream.weights.retain(|weight| weight.tx.block != block);
        }
    }

    fn finish(self, judged_to_s: u64, verdicts: &Verdicts) -> Vec<Past> {
        let Self { streams, transactions, before, newest_s, .. } = self;
        let count = |of: &BTreeMap<ProtocolId, u64>, of_whom: &ProtocolId| {
            of.get(of_whom).copied().unwrap_or_default()
        };
        let past = |(protocol, mut stream): (ProtocolId, Stream)| {
            stream.to_s = judged_to_s.max(newest_s);
            stream.transactions = count(&transactions, &protocol).saturating_sub(count(&before, &protocol));
            let all = stream.weights.len();
            stream.weights.retain(|weight| !verdicts.attacks.contains(&(protocol.clone(), weight.tx)));
            let attacks = u64::try_from(all.saturating_sub(stream.weights.len())).unwrap_or(u64::MAX);
            let open = stream
                .weights
                .iter()
                .filter_map(|weight| verdicts.undecided.get(&(protocol.clone(), weight.tx)));
            let open: Vec<&String> = open.collect();
            let undecided = u64::try_from(open.len()).unwrap_or(u64::MAX);
            let incidents = open.into_iter().cloned().collect();
            Past { protocol, stream, attacks, undecided, incidents }
        };
        streams.into_iter().map(past).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::calibration::Weight;
    use cordon_model::finding::{AttackClass, Score};

    fn id(name: &str) -> ProtocolId {
        ProtocolId(name.to_owned())
    }

    fn tx(number: u64) -> TxRef {
        let block = BlockRef { number, hash: B256::left_padding_from(&number.to_be_bytes()) };
        TxRef { chain_id: ChainId(1), block, index: 0, hash: block.hash }
    }

    fn judged_by(detectors: u8, protocols: &[&str]) -> ChainEvent {
        let protocols = protocols.iter().map(|name| id(name)).collect();
        let judging = Judging { detectors: B256::with_last_byte(detectors), protocols, thresholds: vec![] };
        ChainEvent::JudgedBy { judging }
    }

    fn weighed(protocol: &str, number: u64) -> ChainEvent {
        let (class, detectors) = (AttackClass::ControlFlow, vec!["profit".to_owned()]);
        let weight = Weight { tx: tx(number), strength: Score(300), class, detectors };
        ChainEvent::Weighed { protocol: id(protocol), block: tx(number).block, weights: vec![weight] }
    }

    fn learned(protocol: &str, transactions: u64) -> ChainEvent {
        ChainEvent::Learned { protocol: id(protocol), block: tx(1).block, transactions, firsts: vec![] }
    }

    fn read(events: Vec<(u64, ChainEvent)>, verdicts: &Verdicts) -> Vec<Past> {
        let mut reading = Reading::default();
        events.into_iter().for_each(|(at_s, event)| reading.take(at_s, event));
        reading.finish(1_000, verdicts)
    }

    fn blocks(past: &Past) -> Vec<u64> {
        past.stream.weights.iter().map(|weight| weight.tx.block.number).collect()
    }

    #[test]
    fn a_history_is_as_long_as_its_detectors_are_old() {
        let events = vec![
            (10, judged_by(1, &["a"])),
            (20, weighed("a", 2)),
            (20, learned("a", 7)),
            (30, judged_by(2, &["a"])),
            (40, weighed("a", 4)),
            (40, learned("a", 9)),
            (50, judged_by(2, &["a", "b"])),
            (60, weighed("b", 6)),
        ];
        let [a, b] = &read(events, &Verdicts::default())[..] else { panic!("two protocols") };
        assert_eq!(
            (a.stream.from_s, a.stream.to_s, a.stream.transactions, blocks(a)),
            (30, 1_000, 2, vec![4])
        );
        assert_eq!((b.stream.from_s, b.stream.to_s, blocks(b)), (50, 1_000, vec![6]));
    }

    #[test]
    fn what_left_the_chain_and_what_was_an_attack_is_no_ordinary_use() {
        let events = vec![
            (10, judged_by(1, &["a"])),
            (20, weighed("a", 2)),
            (30, weighed("a", 3)),
            (30, ChainEvent::Reverted { block: tx(3).block }),
            (40, weighed("a", 4)),
            (50, weighed("a", 5)),
        ];
        let verdicts = Verdicts {
            attacks: [(id("a"), tx(4))].into(),
            undecided: [((id("a"), tx(5)), "INC-5".to_owned()), ((id("b"), tx(2)), "INC-2".to_owned())]
                .into(),
        };
        let [past] = &read(events, &verdicts)[..] else { panic!("one protocol") };
        assert_eq!((blocks(past), past.attacks, past.undecided), (vec![2, 5], 1, 1));
        assert_eq!(past.undecided_incidents().collect::<Vec<_>>(), ["INC-5"]);
    }
}
