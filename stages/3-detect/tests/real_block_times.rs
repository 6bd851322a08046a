//! Benign history: blocks of real chains, looked at once a second, raise nothing.
//!
//! In: times and base fees of consecutive recorded blocks. The test is skipped, and says so, where the archive is absent.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first thing that is not as expected, and says what it skips"
)]

use cordon_detect::network::{ChainTiming, Change, Consensus, NetworkConfig};
use cordon_model::network::SignalKind;
use cordon_model::network::observation::{Head, Observation};
use cordon_model::units::BlockRef;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn archive() -> Option<PathBuf> {
    let shared = std::env::var_os("CORDON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let blocks = shared.join("data/blocks");
    if blocks.is_dir() {
        return Some(blocks);
    }
    eprintln!("SKIPPED: no block archive at {}", blocks.display());
    None
}

fn number(value: &Value) -> Option<u64> {
    let Some(text) = value.as_str() else { return value.as_u64() };
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}

/// Heads of a folder in order of their heights, as runs of consecutive blocks.
fn runs(folder: &Path) -> Vec<Vec<Head>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut heads: Vec<Head> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .map(|path| {
            let file: Value =
                serde_json::from_slice(&zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap())
                    .unwrap();
            let header = file.get("header").or(file.get("block")).unwrap();
            let height = file["number"].as_u64().unwrap();
            Head {
                block: BlockRef { number: height, hash: [height.to_le_bytes()[0]; 32].into() },
                timestamp_s: number(&header["timestamp"]).unwrap(),
                base_fee_wei: number(&header["baseFeePerGas"]),
            }
        })
        .collect();
    heads.sort_by_key(|head| head.block.number);
    let consecutive = |a: &Head, b: &Head| a.block.number + 1 == b.block.number;
    heads.chunk_by(consecutive).map(<[Head]>::to_vec).filter(|run| run.len() >= 3).collect()
}

/// The median time between two blocks.
fn usual_gap_s(run: &[Head]) -> u64 {
    let mut gaps: Vec<u64> = run.windows(2).map(|pair| pair[1].timestamp_s - pair[0].timestamp_s).collect();
    gaps.sort_unstable();
    gaps[gaps.len() / 2]
}

/// The changes when a run is looked at every second, and how many looks that were.
fn watch(run: &[Head], block_time_ms: u64, consensus: Consensus) -> (Vec<Change>, u64) {
    let timing = ChainTiming { block_time_ms: block_time_ms.try_into().unwrap(), consensus };
    let mut monitors = NetworkConfig::default().build(timing).unwrap();
    let (mut changes, mut looks) = (Vec::new(), 0);
    for pair in run.windows(2) {
        for at_s in pair[0].timestamp_s..pair[1].timestamp_s {
            let seen =
                Observation { at_s, head: Some(pair[0]), backlog_blocks: Some(0), ..Observation::default() };
            changes.extend(monitors.observe(&seen));
            looks += 1;
        }
    }
    (changes, looks)
}

#[test]
fn real_chains_in_good_times_raise_nothing() {
    let Some(archive) = archive() else { return };
    let chains = [
        // Proof of work: times vary, the longest gap here is 54 s.
        ("ethereum-facts-15m", Consensus::Irregular, 356),
        ("ethereum-bodies", Consensus::Slots, 156),
        ("optimism", Consensus::Sequencer, 18),
        ("scroll", Consensus::Sequencer, 14),
        // Blocks of 12 s in 2023, of 2 s since, with every tenth slot or so left out.
        ("linea", Consensus::Sequencer, 370),
    ];
    for (folder, consensus, looks_wanted) in chains {
        let runs = runs(&archive.join(folder));
        let mut looks = 0;
        for run in &runs {
            let (changes, seconds) = watch(run, usual_gap_s(run) * 1_000, consensus);
            assert_eq!(changes, [], "{folder} from block {}", run[0].block.number);
            looks += seconds;
        }
        assert_eq!(looks, looks_wanted, "{folder}");
        println!("{folder}: {} runs, {looks} looks, no alarm", runs.len());
    }
}

#[test]
fn real_blocks_with_a_hole_cut_into_them_are_an_alarm() {
    let Some(archive) = archive() else { return };
    let mut run = runs(&archive.join("ethereum-bodies")).remove(0);
    for head in run.iter_mut().skip(7) {
        head.timestamp_s += 60;
    }
    let (changes, _) = watch(&run, 12_000, Consensus::Slots);
    let missed = |change: &Change| matches!(change, Change::Raised(alarm) if alarm.signal.kind() == SignalKind::MissedSlots);
    assert_eq!(changes.iter().filter(|change| missed(change)).count(), 1, "{changes:?}");
}
