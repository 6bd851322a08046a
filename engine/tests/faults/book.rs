//! What must hold at the end of a schedule, read from the log and, independently, from the chain.
//!
//! In: the log, every position that its cursor ever had, what the receiver saw, and the chain as an independent reader
//! tells it. Out: every promise that was broken. Pure, and shared by the suite of faults and the simulation.

use alloy_primitives::B256;
use cordon_model::incident::{Incident, IncidentEvent, Standing, State};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Body, Record, StreamId};
use cordon_model::notice::OutboxEvent;
use cordon_model::units::{BlockRef, TxRef};
use std::collections::{BTreeMap, BTreeSet};

/// What a broken promise comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    /// Something that had to be there is not.
    Lost,
    /// Something is there twice.
    Duplicated,
    /// Something is there that must not be.
    Wrong,
}

/// Broken promises, each with what it is about.
#[derive(Debug, Default)]
pub(crate) struct Breaches(pub(crate) Vec<(Breach, String)>);

impl Breaches {
    pub(crate) fn expect(&mut self, holds: bool, breach: Breach, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push((breach, what()));
        }
    }
}

/// An attack that got through, as the chain tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strike {
    pub(crate) hash: B256,
    pub(crate) block: B256,
    pub(crate) number: u64,
    pub(crate) through: bool,
}

/// The canonical chain from the first watched block on.
#[derive(Debug, Default)]
pub(crate) struct Canon {
    pub(crate) blocks: Vec<BlockRef>,
    pub(crate) strikes: BTreeSet<Strike>,
    /// Transactions of the attackers that were reverted.
    pub(crate) failed_strikes: u64,
    /// Blocks with odd logs.
    pub(crate) odd_blocks: u64,
    /// Transactions of the guardian.
    pub(crate) guardian: Vec<(B256, u64)>,
}

/// The log's records.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) records: Vec<(StreamId, Record)>,
    /// Every position of the cursor that was ever committed, in order.
    pub(crate) walk: Vec<Vec<BlockRef>>,
}

impl Pages {
    fn streams(&self, prefix: &str) -> BTreeMap<&StreamId, Vec<&Record>> {
        let mut streams: BTreeMap<&StreamId, Vec<&Record>> = BTreeMap::new();
        let of_prefix = self.records.iter().filter(|(stream, _)| stream.0.starts_with(prefix));
        of_prefix.for_each(|(stream, record)| streams.entry(stream).or_default().push(record));
        streams
    }

    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let event = |record: &&Record| match &record.body {
            Body::Incident(event) => Some(event.clone()),
            _ => None,
        };
        let fold = |records: Vec<&Record>| {
            let events: Vec<IncidentEvent> = records.iter().filter_map(event).collect();
            Incident::fold(events.iter()).unwrap().unwrap()
        };
        self.streams(StreamId::INCIDENTS).into_values().map(fold).collect()
    }

    /// Notices that were queued, and how often each was recorded as delivered.
    pub(crate) fn notices(&self) -> BTreeMap<String, u64> {
        let mut notices = BTreeMap::new();
        for (_, record) in &self.records {
            match &record.body {
                Body::Outbox(OutboxEvent::Queued { notice }) => {
                    notices.entry(notice.id.0.to_string()).or_insert(0);
                }
                Body::Outbox(OutboxEvent::Delivered { notice, .. }) => {
                    *notices.entry(notice.0.to_string()).or_insert(0) += 1;
                }
                _ => {}
            }
        }
        notices
    }

    /// True where nothing is left to do but to wait for the next block.
    pub(crate) fn is_at_peace(&self) -> bool {
        let done = |incident: &Incident| {
            incident.findings.is_empty()
                || incident.standing != Standing::Open
                || incident.state() == State::Investigated
        };
        self.incidents().iter().all(done) && self.notices().values().all(|delivered| *delivered > 0)
    }
}

/// Everything that a schedule is judged by.
#[derive(Debug)]
pub(crate) struct Book<'a> {
    pub(crate) canon: &'a Canon,
    pub(crate) pages: &'a Pages,
    /// How often the receiver accepted each notice.
    pub(crate) accepted: BTreeMap<String, u64>,
    /// How often the sender heard of that.
    pub(crate) acknowledged: BTreeMap<String, u64>,
    /// How often the process died.
    pub(crate) deaths: u64,
}

impl Book<'_> {
    /// Every promise that was broken.
    pub(crate) fn audit(&self) -> Breaches {
        let mut breaches = Breaches::default();
        self.judged(&mut breaches);
        self.alerts(&mut breaches);
        self.actions(&mut breaches);
        self.deliveries(&mut breaches);
        breaches
    }

    /// Every canonical block was judged once for each time that it was canonical, in order.
    fn judged(&self, breaches: &mut Breaches) {
        let mut before: &[BlockRef] = &[];
        let mut seen: BTreeMap<B256, i64> = BTreeMap::new();
        for after in &self.pages.walk {
            let grown = after.len() > before.len();
            let first = before.is_empty();
            if first {
                // The first position also holds the block before the first watched one.
                let begins = after.len() == 2 && after[1].number == self.canon.blocks[0].number;
                breaches.expect(begins, Breach::Lost, || format!("watching begins with {after:?}"));
            } else if grown {
                let (Some(parent), Some(child)) = (before.last(), after.last()) else { continue };
                let follows = after[..after.len() - 1] == before[..] && child.number == parent.number + 1;
                breaches.expect(follows, Breach::Lost, || format!("{child:?} was judged after {parent:?}"));
            } else {
                let popped = after[..] == before[..before.len() - 1];
                breaches.expect(popped, Breach::Wrong, || {
                    format!("{:?} became {:?}", before.last(), after.last())
                });
            }
            let (moved, by) = if grown { (after.last(), 1) } else { (before.last(), -1) };
            *moved.map_or(&mut 0, |block| seen.entry(block.hash).or_default()) += by;
            before = after;
        }
        for block in &self.canon.blocks {
            let times = seen.remove(&block.hash).unwrap_or(0);
            breaches.expect(times >= 1, Breach::Lost, || format!("block {} was not judged", block.number));
            breaches.expect(times <= 1, Breach::Duplicated, || {
                format!("block {} was judged twice", block.number)
            });
        }
        let rest = seen.values().all(|times| *times == 0);
        breaches.expect(rest, Breach::Wrong, || "a block that left was not taken back".to_owned());
        let ends = before.get(1..) == Some(&self.canon.blocks[..]);
        breaches.expect(ends, Breach::Lost, || "the cursor is not the canonical chain".to_owned());
    }

    /// Every attack stands in exactly one incident, where it is on the chain, and nothing else does.
    fn alerts(&self, breaches: &mut Breaches) {
        let incidents = self.pages.incidents();
        for strike in &self.canon.strikes {
            let holds = |incident: &&Incident| {
                let here = |tx: TxRef| tx.hash == strike.hash && tx.block.hash == strike.block;
                incident.findings.iter().any(|finding| here(finding.tx))
            };
            let times = incidents.iter().filter(holds).count();
            breaches.expect(times >= 1, Breach::Lost, || {
                format!("attack {} of block {} stands in no incident", strike.hash, strike.number)
            });
            breaches.expect(times <= 1, Breach::Duplicated, || {
                format!("attack {} stands in {times} incidents", strike.hash)
            });
        }
        for incident in &incidents {
            let mut ids = BTreeSet::new();
            for finding in &incident.findings {
                let is_true =
                    self.canon.strikes.iter().any(|strike| {
                        strike.hash == finding.tx.hash && strike.block == finding.tx.block.hash
                    });
                breaches.expect(is_true, Breach::Wrong, || {
                    format!(
                        "finding '{}' of {} in {:?} is no attack",
                        finding.detector, finding.tx.hash, finding.tx.block
                    )
                });
                breaches.expect(ids.insert(finding.id), Breach::Duplicated, || {
                    format!("finding {:?} stands twice", finding.id)
                });
            }
            let contained = incident.findings.is_empty() || incident.is_contained();
            breaches.expect(contained, Breach::Lost, || format!("{} is {}", incident.id, incident.state()));
        }
        breaches.expect(incidents.len() <= 1, Breach::Duplicated, || {
            format!("{} incidents of one attack", incidents.len())
        });
    }

    /// No step has two nonces, no nonce two steps, and the chain holds nothing that was not intended.
    fn actions(&self, breaches: &mut Breaches) {
        let (mut nonces, mut steps, mut signed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (_, record) in &self.pages.records {
            match &record.body {
                Body::Lane(LaneEvent::IntentRecorded { intent }) => {
                    breaches.expect(nonces.insert(intent.nonce), Breach::Duplicated, || {
                        format!("nonce {} was given twice", intent.nonce)
                    });
                    breaches.expect(steps.insert((intent.plan, intent.step)), Breach::Duplicated, || {
                        format!("step {} of {} was intended twice", intent.step, intent.plan)
                    });
                }
                Body::Lane(LaneEvent::Signed { nonce, tx_hash, .. }) => {
                    let intended = nonces.contains(nonce);
                    breaches.expect(intended, Breach::Wrong, || format!("nonce {nonce} was not intended"));
                    signed.insert(*tx_hash);
                }
                _ => {}
            }
        }
        let mut mined = BTreeSet::new();
        for (hash, nonce) in &self.canon.guardian {
            breaches
                .expect(mined.insert(*nonce), Breach::Duplicated, || format!("nonce {nonce} mined twice"));
            breaches
                .expect(signed.contains(hash), Breach::Lost, || format!("signing {hash} was not recorded"));
        }
    }

    /// Every notice was delivered once. The receiver may have seen it again only where the process died in between.
    fn deliveries(&self, breaches: &mut Breaches) {
        let notices = self.pages.notices();
        let (accepted, acknowledged) = (&self.accepted, &self.acknowledged);
        for (id, recorded) in &notices {
            breaches.expect(*recorded >= 1, Breach::Lost, || format!("notice {id} was never delivered"));
            breaches.expect(*recorded <= 1, Breach::Duplicated, || {
                format!("notice {id} recorded {recorded} times")
            });
            let got = accepted.contains_key(id);
            breaches.expect(got, Breach::Lost, || format!("notice {id} never reached the receiver"));
        }
        for id in accepted.keys() {
            let asked = notices.contains_key(id);
            breaches.expect(asked, Breach::Wrong, || format!("notice {id} is not in the log"));
        }
        let surplus: u64 = acknowledged.values().map(|times| times - 1).sum();
        breaches.expect(surplus <= self.deaths, Breach::Duplicated, || {
            format!(
                "{surplus} deliveries were repeated after they were acknowledged, with {} deaths",
                self.deaths
            )
        });
        for incident in self.pages.incidents() {
            let told = self.pages.records.iter().any(|(_, record)| match &record.body {
                Body::Outbox(OutboxEvent::Queued { notice }) => notice.incident == Some(incident.id),
                _ => false,
            });
            breaches.expect(told, Breach::Lost, || format!("nobody was told of {}", incident.id));
        }
    }
}
