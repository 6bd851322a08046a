//! Cordon as its users run it: a process of its own beside a real node, attacked over JSON-RPC.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and a skipped or measured one says so"
)]

mod anvil;
mod imitation;
mod market;
mod quorum;
mod watch;

use anvil::{Anvil, binary};
use market::{Market, wad};
use serde_json::json;
use std::time::Duration;
use watch::Watch;

/// Moments after the start at which the process is killed, in milliseconds: from before it has opened its log to
/// after it has sent. A start with its whole response takes between one and three hundred.
const KILL_DELAYS_MS: [u64; 24] = [
    2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 160, 180, 200, 230, 260, 300, 400,
];

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

    watch.await_line("is investigated").await;
    watch.interrupt().await;
    let incidents = watch.incidents();
    assert_eq!(incidents.len(), 1, "one incident per attack: {incidents:?}");
    assert_eq!(incidents[0]["state"], "investigated");
}

/// A rule file with one rule.
fn rule(id: &str, when: &str) -> String {
    format!(
        "[[rule]]\nid = '{id}'\ntitle = 'Rule {id} holds'\nclass = 'test'\nscore = 900\nwhen = '{when}'\n"
    )
}

#[tokio::test]
async fn rules_are_exchanged_while_it_watches_and_bad_ones_change_nothing() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let start = node.block_number().await;
    let url = format!("http://127.0.0.1:{}", node.port);
    let prepared = Watch::prepare(&market, &url, start, "observe-only");
    let detector = "[[detector]]\ntype = \"rules\"\nfiles = [\"rules.toml\"]\n\n[[detector]]";
    prepared.edit_config(|text| text.replacen("[[detector]]", detector, 1));
    prepared.write("rules.toml", &rule("never", "false"));
    let mut watch = Watch::begin(prepared);
    watch.await_line("watching").await;

    watch.write("rules.toml", &rule("typo", "tx.succes"));
    watch.await_line("cannot be used; the 1 rules before stay in force").await;
    watch.await_line("rule 'typo': line 6, column 11: tx has no 'succes'").await;
    watch.write("rules.toml", &(rule("touched", "calls.exists(c, c.protected)") + &rule("never", "false")));
    watch.await_line("rule files changed: 2 rules are in force").await;

    // Said while no block came: the next one is judged by them.
    market.strike(&node).await;
    node.mine().await;
    watch.await_line("Rule touched holds").await;
    watch.interrupt().await;
    assert_eq!(watch.incidents().len(), 1, "the rule and the detectors speak of one incident");
    assert!(!watch.log_text().contains("Rule never holds"));
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
async fn a_past_attack_is_found_without_a_trace_and_its_cold_reads_are_counted() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let start = (node.block_number().await + 1).to_string();
    market.strike(&node).await;
    node.mine().await;
    let (head, url) = (node.block_number().await.to_string(), format!("http://127.0.0.1:{}", node.port));
    let folder = Watch::prepare(&market, &url, 1, "automatic");
    let output = folder.cordon(&["backfill", "--from", &start, "--to", &head]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 blocks judged, 1 incidents, 0 blocks not reproduced"), "{said}");
    assert!(!folder.has("cordon.sqlite"), "nothing is recorded");
    assert_eq!(node.nonce(market.guardian, "pending").await, 0, "nothing is sent");
    let beyond = folder.cordon(&["backfill", "--from", &start, "--to", "1000"]);
    assert_eq!(beyond.status.code(), Some(2), "{}", String::from_utf8_lossy(&beyond.stderr));

    let range = ["--rpc", &url, "--hardfork", "osaka", "--from", &start, "--to", &head];
    let output = folder.cordon(&[&["bench", "cold"][..], &range].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trips = |depth: usize| report[depth]["round_trips_per_1000_transactions"].as_u64().unwrap();
    assert_eq!(report[2]["read_ahead"], "guessed");
    assert!(trips(2) < trips(0), "reading ahead saves waits: {report}");
    assert_eq!((&report[0]["mismatches"], &report[2]["mismatches"]), (&json!(0), &json!(0)));

    let output = folder.cordon(&[&["backtest", "--json", "--out", "report"][..], &range].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sources"][0]["kind"], "node_block");
    assert_eq!((&report["benign_transactions"], &report["unjudged"]), (&json!(1), &json!([])));
    assert_eq!(report["histories"][0]["transactions"], 1);
    for name in ["report.json", "report.md", "report.html", "verdicts.jsonl"] {
        let text = folder.file(&format!("report/{name}"));
        assert!(text.contains("chain 31337") && !text.contains("127.0.0.1"), "{name}: {text}");
    }
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

#[tokio::test]
async fn a_chain_that_left_everything_remembered_ends_the_watch_and_people_are_told() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let (start, url) = (node.block_number().await, format!("ws://127.0.0.1:{}", node.port));
    let snapshot = node.rpc("evm_snapshot", json!([])).await;
    // More blocks than the cursor remembers (256).
    node.rpc("anvil_mine", json!([300])).await;
    market.strike(&node).await;
    node.mine().await;
    let mut watch = Watch::start(&market, &url, start, "observe-only");
    watch.await_line("detected").await;
    node.rpc("evm_revert", json!([snapshot])).await;
    node.rpc("anvil_mine", json!([310, 3])).await;
    let code = watch.ended().await;
    let told = watch.log_text();
    assert_ne!(code, Some(0), "{told}");
    let words = "Cordon no longer watches this chain";
    assert!(told.lines().any(|line| line == words), "{told}");
    assert!(told.lines().any(|line| line == format!("[CRITICAL] {words}")), "{told}");
}

#[tokio::test]
async fn a_node_of_another_chain_and_a_wrong_password_are_named() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let url = format!("http://127.0.0.1:{}", node.port);
    let watch = Watch::prepare(&market, &url, 1, "automatic");
    watch.edit_config(|text| text.replace("id = 31337", "id = 1"));
    let said = watch.fails_to_start(4, "correct horse battery staple");
    assert!(said.contains("serves chain 31337, expected chain 1"), "{said}");
    watch.edit_config(|text| text.replace("id = 1\n", "id = 31337\n"));
    let said = watch.fails_to_start(6, "wrong");
    assert!(said.contains("does not open keystore") && !said.contains("wrong\n"), "{said}");
}

#[tokio::test]
async fn a_strike_is_explained_and_only_the_right_fix_is_proven() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let market = Market::deploy(&node).await;
    let (start, url) = (node.block_number().await, format!("ws://127.0.0.1:{}", node.port));
    let mut watch = Watch::start(&market, &url, start, "automatic");
    watch.await_line("watching").await;
    let strike = market.strike(&node).await;
    node.mine().await;
    node.await_pending(market.guardian).await;
    node.mine().await;
    watch.await_line("is investigated").await;
    watch.interrupt().await;

    let artifact =
        |name: &str| anvil::root().join(format!("contracts/artifacts/{name}.json")).display().to_string();
    let abi = artifact("LendingVault");
    let explained =
        watch.cordon(&["inspect", &strike.to_string(), "--rpc", &url, "--hardfork", "osaka", "--abi", &abi]);
    let said = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert_eq!(explained.status.code(), Some(0), "{said}");
    assert!(said.contains("withdrawCollateral") && said.contains("borrow"), "{said}");

    let incident = watch.incidents()[0]["id"].as_str().unwrap().to_owned();
    let init = market::initialize_v2();
    let (live, proxy, upgrader) =
        (artifact("LendingVault"), market.vault.to_string(), market.admin.to_string());
    for (name, code, verdict) in [("LendingVaultV2Wrong", 5, "refused"), ("LendingVaultV2", 0, "proven")] {
        let fixed = artifact(name);
        let output = watch.cordon(&[
            "fix",
            "verify",
            "--incident",
            &incident,
            "--artifact",
            &fixed,
            "--live",
            &live,
            "--proxy",
            &proxy,
            "--upgrader",
            &upgrader,
            "--init",
            &init,
        ]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{name}: {said}{error}");
        assert!(said.contains(verdict), "{name}: {said}");
    }
    assert!(watch.file("fix-plan.json").contains("upgrade proxy"));
}
