//! Cordon as its users run it: a process of its own beside a real node, attacked over JSON-RPC.

mod anvil;
mod market;
mod watch;

use anvil::{Anvil, binary};
use market::{Market, wad};
use serde_json::json;
use std::time::Duration;
use watch::Watch;

/// Moments after the attack at which the process is killed: from before it has opened its log to after it has sent.
const KILL_DELAYS_MS: [u64; 16] =
    [5, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400, 500, 700, 1000, 1500];

#[tokio::test]
async fn the_pause_lands_and_the_second_strike_fails() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let start = node.block_number().await;
    let mut watch = Watch::start(&market, &format!("ws://127.0.0.1:{}", node.port), start, "automatic");
    watch.await_line("watching").await;

    let first = market.strike(&node).await;
    node.mine().await;
    assert_eq!(node.receipt(first).await["status"], "0x1");
    let attacked_at = node.block_number().await;
    let loot = market.loot(&node).await;
    assert!(loot > wad(700_000), "the first strike takes a good part");

    let latency = node.await_pending(market.guardian).await;
    let second = market.strike(&node).await;
    node.mine().await;
    eprintln!(
        "MEASURED: attack mined in block {attacked_at}, pause in the pool after {} ms, landed in block {}",
        latency.as_millis(),
        node.block_number().await
    );
    assert!(market.paused(&node).await, "the pause landed");
    assert_eq!(node.receipt(second).await["status"], "0x0", "the second strike fails");
    assert_eq!(market.loot(&node).await, loot, "nothing more was taken");

    watch.await_line("contained").await;
    watch.interrupt().await;
    let incidents = watch.incidents();
    assert_eq!(incidents.len(), 1, "one incident per attack: {incidents:?}");
    assert_eq!(incidents[0]["state"], "contained");
}

#[tokio::test]
async fn without_a_grant_nothing_is_sent() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let start = node.block_number().await;
    let mut watch = Watch::start(&market, &format!("http://127.0.0.1:{}", node.port), start, "observe-only");
    watch.await_line("watching").await;
    market.strike(&node).await;
    node.mine().await;
    watch.await_line("refused").await;
    assert_eq!(node.nonce(market.guardian, "pending").await, 0, "the guardian sent nothing");
    watch.interrupt().await;
    assert_eq!(watch.incidents().len(), 1, "the incident is on record all the same");
}

#[tokio::test]
async fn killed_at_any_moment_it_neither_forgets_nor_signs_twice() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let start = node.block_number().await;
    let url = format!("ws://127.0.0.1:{}", node.port);
    for delay_ms in KILL_DELAYS_MS {
        let snapshot = node.rpc("evm_snapshot", json!([])).await;
        market.strike(&node).await;
        node.mine().await;
        let mut watch = Watch::start(&market, &url, start, "automatic");
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        watch.kill();
        watch.restart();
        node.await_pending(market.guardian).await;
        node.mine().await;
        watch.await_line("contained").await;
        watch.interrupt().await;
        assert!(market.paused(&node).await, "killed after {delay_ms} ms: the pause must land");
        assert_eq!(
            node.nonce(market.guardian, "pending").await,
            1,
            "killed after {delay_ms} ms: one nonce, one pause"
        );
        assert_eq!(watch.incidents().len(), 1, "killed after {delay_ms} ms: one incident");
        node.rpc("evm_revert", json!([snapshot])).await;
        node.rpc("anvil_dropAllTransactions", json!([])).await;
    }
}
