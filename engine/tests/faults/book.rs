//! What must hold at the end of a schedule, read from the log and, independently, from the chain.
//!
//! In: the log's file, the node, the receiver. Out: every promise that was broken. The truth about the chain comes from
//! the node itself, past the faulty line: an attack is a transaction that brought the market's dollars to an attacker.

use crate::anvil::Anvil;
use crate::node::KEY;
use crate::receiver::Receiver;
use crate::story::Stage;
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::incident::{Incident, IncidentEvent, Standing, State};
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Body, Cursor, EventLog, Record, StreamId};
use cordon_model::notice::OutboxEvent;
use cordon_model::units::{BlockRef, ChainId};
use cordon_store::SqliteLog;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) const CHAIN: ChainId = ChainId(31337);
pub(crate) const CHANNEL: &str = "webhook";

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

impl Canon {
    pub(crate) async fn read(anvil: &Anvil, stage: &Stage, first: u64) -> Self {
        let mut canon = Self::default();
        let transfer = keccak256("Transfer(address,address,uint256)");
        for number in first..=anvil.block_number().await {
            let block = anvil.block(number).await;
            let hash: B256 = parse(&block["hash"]);
            canon.blocks.push(BlockRef { number, hash });
            let receipts = anvil.rpc("eth_getBlockReceipts", json!([format!("{number:#x}")])).await;
            let mut odd = false;
            for receipt in receipts.as_array().unwrap() {
                let (from, to): (Address, Option<Address>) = (parse(&receipt["from"]), parse(&receipt["to"]));
                let tx: B256 = parse(&receipt["transactionHash"]);
                odd |= to == Some(stage.odd);
                if from == stage.market.guardian {
                    let mined = anvil.rpc("eth_getTransactionByHash", json!([tx])).await;
                    canon.guardian.push((tx, parse::<U256>(&mined["nonce"]).to::<u64>()));
                }
                let strikes_at = [stage.market.controller, stage.forwarder];
                let loot = receipt["logs"].as_array().unwrap().iter().any(|log| {
                    let topics: Vec<B256> = parse(&log["topics"]);
                    parse::<Address>(&log["address"]) == stage.market.usd
                        && topics.len() == 3
                        && topics[0] == transfer
                        && stage.loot_goes_to().contains(&Address::from_word(topics[2]))
                        && log["data"].as_str().is_some_and(|data| data.trim_start_matches(['0', 'x']) != "")
                });
                if loot {
                    let through = to == Some(stage.forwarder);
                    canon.strikes.insert(Strike { hash: tx, block: hash, number, through });
                } else if receipt["status"] == "0x0" && to.is_some_and(|to| strikes_at.contains(&to)) {
                    canon.failed_strikes += 1;
                }
            }
            canon.odd_blocks += u64::from(odd);
        }
        canon
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The log's file, beside whoever else has it open.
#[derive(Debug)]
pub(crate) struct Store(pub(crate) PathBuf);

impl Store {
    /// Makes the log, and lets the database itself note every value that the cursor ever has.
    pub(crate) async fn prepare(path: &Path) -> Self {
        SqliteLog::open(path).await.unwrap().close().await;
        let store = Self(path.to_owned());
        let mut connection = store.connect().await;
        sqlx::raw_sql(
            "CREATE TABLE test_walk (step INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL);
             CREATE TRIGGER test_insert AFTER INSERT ON chain_cursor
                 BEGIN INSERT INTO test_walk (json) VALUES (NEW.json); END;
             CREATE TRIGGER test_update AFTER UPDATE ON chain_cursor
                 BEGIN INSERT INTO test_walk (json) VALUES (NEW.json); END;",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        store
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", self.0.display())).await.unwrap()
    }

    /// Every position that was ever committed, in order.
    async fn walk(&self) -> Vec<Vec<BlockRef>> {
        let mut connection = self.connect().await;
        let rows = sqlx::query("SELECT json FROM test_walk ORDER BY step").fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let value: Value = serde_json::from_str(&row.get::<String, _>(0)).unwrap();
            // The cursor is stored with or without its chain around it.
            value.get("recent").map_or_else(|| parse(&value), parse)
        };
        rows.unwrap().iter().map(read).collect()
    }

    /// All that is in the log.
    pub(crate) async fn read(&self) -> Pages {
        let log = SqliteLog::open(&self.0).await.unwrap();
        let mut records = Vec::new();
        let mut position = 0;
        loop {
            let page = log.since(position, 500).await.unwrap();
            let Some(last) = page.last() else { break };
            position = last.position;
            records.extend(page.into_iter().map(|stored| (stored.stream, stored.record)));
        }
        let cursor = log.cursor(CHAIN).await.unwrap();
        log.close().await;
        Pages { records, cursor }
    }
}

/// The log's records.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) records: Vec<(StreamId, Record)>,
    cursor: Option<Cursor>,
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
    pub(crate) store: &'a Store,
    pub(crate) receiver: &'a Receiver,
    /// How often the process died.
    pub(crate) deaths: u64,
}

impl Book<'_> {
    /// Every promise that was broken.
    pub(crate) async fn audit(&self) -> Breaches {
        let mut breaches = Breaches::default();
        let pages = self.store.read().await;
        self.judged(&pages, &mut breaches).await;
        self.alerts(&pages, &mut breaches);
        self.actions(&pages, &mut breaches);
        self.deliveries(&pages, &mut breaches);
        for (stream, record) in &pages.records {
            let text = serde_json::to_string(record).unwrap();
            breaches.expect(!text.contains(KEY), Breach::Wrong, || format!("{stream} holds the node's key"));
        }
        breaches
    }

    /// Every canonical block was judged once for each time that it was canonical, in order.
    async fn judged(&self, pages: &Pages, breaches: &mut Breaches) {
        let mut before: Vec<BlockRef> = Vec::new();
        let mut seen: BTreeMap<B256, i64> = BTreeMap::new();
        for after in self.store.walk().await {
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
        let recent = pages.cursor.as_ref().map(|cursor| cursor.recent.clone()).unwrap_or_default();
        let ends = recent.get(1..) == Some(&self.canon.blocks[..]);
        breaches.expect(ends, Breach::Lost, || "the cursor is not the canonical chain".to_owned());
    }

    /// Every attack stands in exactly one incident, where it is on the chain, and nothing else does.
    fn alerts(&self, pages: &Pages, breaches: &mut Breaches) {
        let incidents = pages.incidents();
        for strike in &self.canon.strikes {
            let holds = |incident: &&Incident| {
                let here =
                    |tx: cordon_model::units::TxRef| tx.hash == strike.hash && tx.block.hash == strike.block;
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
    fn actions(&self, pages: &Pages, breaches: &mut Breaches) {
        let (mut nonces, mut steps, mut signed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (_, record) in &pages.records {
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
    fn deliveries(&self, pages: &Pages, breaches: &mut Breaches) {
        let notices = pages.notices();
        let (accepted, acknowledged) = (self.receiver.accepted(), self.receiver.acknowledged());
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
        let forged = self.receiver.forged();
        breaches.expect(forged.is_empty(), Breach::Wrong, || format!("signatures do not fit: {forged:?}"));
        for incident in pages.incidents() {
            let told = pages.records.iter().any(|(_, record)| match &record.body {
                Body::Outbox(OutboxEvent::Queued { notice }) => notice.incident == Some(incident.id),
                _ => false,
            });
            breaches.expect(told, Breach::Lost, || format!("nobody was told of {}", incident.id));
        }
    }
}
