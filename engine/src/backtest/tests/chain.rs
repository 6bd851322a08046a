//! Blocks of a node: the practice range's chain, asked over the provider that production uses.

use super::*;
use cordon_model::units::ChainId;
use cordon_range::{Setup, World};

/// A played scenario, undefended.
fn played(name: &str) -> World {
    let scenario = crate::drill::scenario(name).unwrap();
    let [guardian, operator] = [1, 2].map(alloy_primitives::Address::repeat_byte);
    let mut world = scenario.build(Setup { seed: 1, guardian, operator }).unwrap();
    while !world.is_over() {
        world.step().unwrap();
    }
    world
}

async fn judged(
    world: &World,
    settings: &Settings,
    blocks: (u64, u64),
) -> Result<BacktestReport, EngineError> {
    let mut run = Backtest::open(&Corpus::default(), settings, &|_| ())?;
    let range =
        NodeRange { rpc: String::new(), hardfork: Some("osaka".to_owned()), blocks: blocks.0..=blocks.1 };
    let chain = (world.chain().provider(), ChainId(world.chain().config().chain_id));
    run.chain(chain, &range, &|_| ()).await?;
    Ok(run.report())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blocks_of_a_node_are_judged_as_one_history_of_ordinary_use() {
    let world = played("donation-reentrancy");
    let head = world.chain().head().number;
    let settings = Settings::default();
    let report = judged(&world, &settings, (1, head)).await.unwrap();
    assert_eq!(report.unjudged, Vec::<String>::new());
    assert!(
        report.false_alarms > 0,
        "the attack counts as an alarm, since a node's blocks are taken for ordinary"
    );
    let [source] = report.sources.as_slice() else { panic!("{:?}", report.sources) };
    assert_eq!((source.kind, source.files), (RecordKind::NodeBlock, head));
    assert_eq!(source.path.display().to_string(), format!("node of chain 31337, blocks 1 to {head}"));
    let [row] = report.histories.as_slice() else { panic!("{:?}", report.histories) };
    assert_eq!((row.history.as_str(), row.transactions), ("chain 31337", report.benign_transactions));
    assert_eq!((row.detected, row.false_alarms.count), (None, report.false_alarms));
    let [over_time] = report.over_time.as_slice() else { panic!("{:?}", report.over_time) };
    assert_eq!(over_time.slices.iter().map(|slice| slice.alarms.of).sum::<u64>(), report.benign_transactions);
    assert_eq!(over_time.slices.last().map(|slice| slice.last_block), Some(head));

    let quiet = judged(&played("donation-reentrancy-benign"), &settings, (1, 5)).await.unwrap();
    assert_eq!((quiet.false_alarms, quiet.sources[0].files), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_blocks_are_not_executed_again_and_give_the_same_files() {
    let (world, out) = (played("donation-reentrancy"), tempfile::tempdir().unwrap());
    let head = world.chain().head().number;
    let whole = judged(&world, &Settings::default(), (1, head)).await.unwrap().files().unwrap();
    let keeping = Settings { out: Some(out.path().to_owned()), threads: None };
    assert_eq!(judged(&world, &keeping, (1, head)).await.unwrap().files().unwrap(), whole);
    let path = out.path().join(VERDICTS_FILE);
    let kept = fs::read(&path).unwrap();
    // The middle, a half-written line.
    fs::write(&path, &kept[..kept.len() / 2]).unwrap();
    assert_eq!(judged(&world, &keeping, (1, head)).await.unwrap().files().unwrap(), whole);
    assert_eq!(fs::read(&path).unwrap(), kept, "blocks are judged in order, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_the_chain_does_not_have_is_refused() {
    let world = played("donation-reentrancy-benign");
    let head = world.chain().head().number;
    for (blocks, expected) in [
        ((0, 5), "found '0 to 5', expected a range from block 1 on"),
        ((6, 5), "found '6 to 5'"),
        ((head, head + 1), "expected a block that the chain has reached"),
    ] {
        let error = judged(&world, &Settings::default(), blocks).await.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Usage);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
