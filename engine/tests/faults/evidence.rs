//! Where the truth of a schedule is read: the log's file, and the node past its faulty line.
//!
//! In: a file and a node. Out: [`Pages`] and [`Canon`]. An attack is a transaction that brought the market's dollars to an
//! attacker; the detectors have no part in that.

use crate::anvil::Anvil;
use crate::book::{Canon, Pages, Strike};
use crate::story::Stage;
use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_model::log::EventLog as _;
use cordon_model::units::BlockRef;
use cordon_store::SqliteLog;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use std::path::{Path, PathBuf};

/// The canonical chain from the first watched block on, as the node tells it.
pub(crate) async fn read_canon(anvil: &Anvil, stage: &Stage, first: u64) -> Canon {
    let mut canon = Canon::default();
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
                    && log["data"]
                        .as_str()
                        .is_some_and(|data| !data.trim_start_matches(['0', 'x']).is_empty())
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
        log.close().await;
        Pages { records, walk: self.walk().await }
    }
}
