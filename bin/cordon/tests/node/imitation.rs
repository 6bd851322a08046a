//! What was learned from one attack recognises its imitator: another sender, other amounts, another market.

use crate::anvil::{Anvil, binary};
use crate::market::{Market, wad};
use crate::watch::{Prepared, Watch};
use serde_json::Value;
use std::process::Output;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that must end with this exit code, and returns what it says.
fn run(watch: &Watch, code: i32, arguments: &[&str]) -> String {
    let output = watch.cordon(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// A watcher that observes, with no detector but this one.
fn judged_by(prepared: &Prepared, detector: &str) {
    prepared.edit_config(|text| {
        let (before, _) = text.split_once("[[detector]]").unwrap();
        let (_, after) = text.split_once("[[signer]]").unwrap();
        format!("{before}{detector}\n[[signer]]{after}")
    });
}

/// What the first incident of a watcher says of its only finding.
fn grounds(watch: &Watch) -> Value {
    let incidents = watch.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let findings = incidents[0]["incident"]["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &findings[0]["detector"]), (1, &Value::from("known-attack")));
    findings[0]["evidence"]["sign"]["imitation"]["likeness"].clone()
}

/// An attack, in the log, closed as real; and the signature that was learned from it.
async fn learned(node: &Anvil, url: &str) -> String {
    let market = Market::deploy(node).await;
    let start = node.block_number().await;
    let mut watch = Watch::start(&market, url, start, "observe-only");
    watch.await_line("watching").await;
    market.strike(node).await;
    node.mine().await;
    watch.await_line("refused").await;
    watch.interrupt().await;
    let incident = watch.incidents()[0]["id"].as_str().unwrap().to_owned();

    let learn = ["signatures", "learn", "--store", "cordon.sqlite", "--hardfork", "osaka", "--rpc", url];
    let learn = [&learn[..], &["--out", "known.json"]].concat();
    assert!(run(&watch, 5, &learn).contains("nobody has closed it yet"));
    run(&watch, 0, &["incident", "close", &incident, "--by", "Ada", "--why", "it was an attack"]);
    let lines = run(&watch, 0, &learn);
    assert!(lines.contains("1 signatures in 'known.json'"), "{lines}");
    let text = watch.file("known.json");
    for address in [market.attacker, market.controller, market.vault] {
        assert!(!text.to_lowercase().contains(&address.to_string().to_lowercase()[2..]), "{text}");
    }
    text
}

#[tokio::test]
async fn an_imitator_is_known_by_what_was_learned_elsewhere() {
    let Some(binary) = binary() else { return };
    let node = Anvil::start(&binary);
    let url = format!("http://127.0.0.1:{}", node.port);
    let signatures = learned(&node, &url).await;

    // Another market, another sender, other amounts.
    let mut sibling = Market::deploy(&node).await;
    sibling.attacker = node.accounts().await[6];
    sibling.arm(&node, wad(60), wad(320)).await;
    let start = node.block_number().await;
    let code = "[[detector]]\ntype = \"known-attack\"\nfiles = [\"known.json\"]";
    let steps = format!("{code}\ninstructions_min = 1000000");
    let begin = |detector: &str| {
        let prepared = Watch::prepare(&sibling, &url, start, "observe-only");
        prepared.write("known.json", &signatures);
        judged_by(&prepared, detector);
        Watch::begin(prepared)
    };
    let (mut by_code, mut by_steps) = (begin(code), begin(&steps));
    by_code.await_line("watching").await;
    by_steps.await_line("watching").await;
    let strike = sibling.strike_for(&node, wad(7_000)).await;
    node.mine().await;
    assert_eq!(node.receipt(strike).await["status"], "0x1");
    for watch in [&mut by_code, &mut by_steps] {
        watch.await_line("the known attack inc-").await;
        watch.interrupt().await;
    }
    assert!(grounds(&by_code)["same_instructions"]["instructions"].as_u64().unwrap() > 200);
    assert!(grounds(&by_steps)["same_steps"]["steps"].as_u64().unwrap() > 5);

    // People take it for a false alarm: then nothing is learned from it, named or not.
    let incident = by_code.incidents()[0]["id"].as_str().unwrap().to_owned();
    run(&by_code, 0, &["incident", "false-alarm", &incident, "--by", "Ada", "--why", "a test of ours"]);
    let learn = ["signatures", "learn", "--store", "cordon.sqlite", "--hardfork", "osaka", "--rpc", &url];
    let learn = [&learn[..], &["--out", "own.json"]].concat();
    assert!(run(&by_code, 5, &learn).contains("people called it a false alarm"));
    assert!(run(&by_code, 5, &[&learn[..], &["--incident", &incident]].concat()).contains("false alarm"));
    assert!(!by_code.has("own.json"));
}
