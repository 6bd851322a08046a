//! A real block on the state of a real node: anvil, with the block's state as its genesis.

use crate::fixtures;
use alloy_primitives::B256;
use alloy_provider::{DynProvider, Provider as _, RootProvider};
use cordon_model::block::Block;
use cordon_model::units::ChainId;
use cordon_replay::measure::cold::{ColdBlock, cold};
use cordon_replay::{ReadAhead, Replayer, Rules, Watch, no_views, replay_witness};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Blocks of 2024 to 2026 that ask for no older block hash, which a genesis does not have. The bounds of guessing were
/// chosen on the first and changed after the others were seen.
const SEEN: [u64; 4] = [24_628_608, 24_628_607, 22_244_135, 19_932_148];

/// Blocks of 2023 to 2025 of the same sort on which nothing was ever chosen. They show what guessing is worth elsewhere, so
/// no bound may be changed for them.
const UNSEEN: [u64; 5] = [19_426_586, 18_085_863, 19_929_064, 23_587_691, 18_988_207];

fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("ANVIL").map_or_else(
        || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            root.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
        },
        PathBuf::from,
    );
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no anvil at {} and none named in ANVIL", path.display());
    None
}

struct Anvil {
    child: Child,
    provider: DynProvider,
    _genesis: tempfile::NamedTempFile,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The state before the block as a genesis file.
fn genesis(file: &Value) -> Value {
    let mut accounts = serde_json::Map::new();
    for (address, account) in file["prestate"].as_object().unwrap() {
        let storage: serde_json::Map<String, Value> = account["storage"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(slot, value)| {
                let word = |value| B256::from(fixtures::word(value)).to_string();
                (word(&Value::String(slot.clone())), word(value).into())
            })
            .collect();
        let mut entry = json!({
            "balance": format!("{:#x}", fixtures::word(&account["balance"])),
            "nonce": format!("{:#x}", fixtures::u64_of(&account["nonce"])),
            "storage": storage,
        });
        if let Some(code) = account["codeHash"].as_str().and_then(|hash| file["codes"].get(hash)) {
            entry["code"] = code.clone();
        }
        accounts.insert(address.clone(), entry);
    }
    json!({
        "config": { "chainId": 1 },
        "nonce": "0x0", "timestamp": "0x0", "extraData": "0x", "gasLimit": "0x3938700",
        "difficulty": "0x0", "alloc": accounts, "number": "0x0",
    })
}

impl Anvil {
    fn start(binary: &Path, genesis: &Value) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&serde_json::to_vec(genesis).unwrap()).unwrap();
        let mut child = Command::new(binary)
            .args(["--port", "0", "--no-mining", "--hardfork", "osaka", "--accounts", "1", "--init"])
            .arg(file.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("anvil says where it listens").unwrap();
            if let Some((_, port)) = line.split_once("Listening on 127.0.0.1:") {
                break port.trim().to_owned();
            }
        };
        // Keep reading, so that anvil never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{port}").parse().unwrap();
        let provider = RootProvider::<alloy_provider::network::Ethereum>::new_http(url).erased();
        Self { child, provider, _genesis: file }
    }

    /// The block as if it followed the genesis, so that its state is read from there.
    async fn on_genesis(&self, block: &Block) -> Arc<Block> {
        let genesis = self.provider.get_block_by_number(0.into()).await.unwrap().unwrap();
        Arc::new(Block { parent_hash: genesis.header.hash, witness: None, ..block.clone() })
    }
}

/// The same block, read from a cold node at every depth: one by one, as the block names it, and guessed.
async fn depths(binary: &Path, archive: &Path, number: u64) -> [ColdBlock; 3] {
    let file = fixtures::json(&archive.join(format!("ethereum/{number}.json.zst")));
    let with_witness = fixtures::block(&file);
    let expected = replay_witness(&with_witness, &Watch::everything(no_views())).unwrap();
    assert_eq!(expected.mismatches, []);
    let anvil = Anvil::start(binary, &genesis(&file));
    let block = anvil.on_genesis(&with_witness).await;
    let rules = || Rules::new(ChainId(1), None).unwrap();
    let mut totals = Vec::new();
    for depth in [ReadAhead::Off, ReadAhead::Named, ReadAhead::Guessed] {
        let report = cold(anvil.provider.clone(), rules(), &[Arc::clone(&block)], depth).await.unwrap();
        let total = report.total();
        println!(
            "MEASURED: block {number} ({} transactions), {depth:?}: {} cold reads, {} round trips ({} per 1,000 \
             transactions), hits {} permille",
            total.transactions,
            total.cold_reads_per_block(),
            total.reads.round_trips,
            total.round_trips_per_1000_transactions(),
            total.hit_permille(),
        );
        assert_eq!(total.mismatches, 0);
        totals.push(total);
        let mut replayer = Replayer::for_node(anvil.provider.clone(), rules()).reading_ahead(depth);
        let replay = replayer.replay(Arc::clone(&block), Watch::everything(no_views())).await.unwrap();
        assert_eq!(replay.gas_used, expected.gas_used);
        assert_eq!(format!("{:?}", replay.executions), format!("{:?}", expected.executions));
    }
    let totals: [ColdBlock; 3] = totals.try_into().unwrap();
    let [off, named, guessed] = &totals;
    println!(
        "MEASURED: block {number}: {} values, round trips {} one by one, {} named, {} guessed, {} values asked for in vain",
        off.reads.cold(),
        off.reads.round_trips,
        named.reads.round_trips,
        guessed.reads.round_trips,
        guessed.reads.cold().checked_sub(off.reads.cold()).unwrap(),
    );
    assert_eq!(off.reads.hits(), 0);
    assert!(named.reads.round_trips < off.reads.round_trips, "block {number}");
    totals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_on_which_nothing_was_chosen_take_a_tenth_of_the_round_trips() {
    let (Some(binary), Some(archive)) = (binary(), fixtures::archive()) else { return };
    for number in UNSEEN {
        let [off, _, guessed] = depths(&binary, &archive, number).await;
        assert!(guessed.reads.round_trips * 10 <= off.reads.round_trips, "block {number}: {guessed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_blocks_are_replayed_from_a_cold_node_in_a_handful_of_round_trips() {
    let (Some(binary), Some(archive)) = (binary(), fixtures::archive()) else { return };
    for number in SEEN {
        let [off, _, guessed] = depths(&binary, &archive, number).await;
        assert!(guessed.hit_permille() > 980, "block {number}: {guessed:?}");
        assert!(guessed.reads.round_trips * 15 < off.reads.round_trips, "block {number}: {guessed:?}");
        assert!(
            guessed.reads.cold() * 100 <= off.reads.cold() * 115,
            "block {number}: guesses ask for little that is not needed: {guessed:?}"
        );
    }
}
