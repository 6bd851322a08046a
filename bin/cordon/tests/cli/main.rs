//! Bad input, as users hand it in: each a clear error, its own exit code, and nothing lost.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod backtest;
mod check;
mod decisions;
mod output;
mod rules;

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const ACCOUNT: &str = "0x5555555555555555555555555555555555555555";

fn cordon(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cordon")).current_dir(folder).args(arguments).output().unwrap()
}

/// Runs a command that must fail with `code`, and returns what it says.
fn complaint(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = cordon(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said:\n{said}");
    said
}

/// A folder with the example configuration, edited, and a placeholder for the keystore that it names.
fn config(edit: impl Fn(String) -> String) -> TempDir {
    let folder = TempDir::new().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cordon.example.toml");
    let text = std::fs::read_to_string(example)
        .unwrap()
        .replace("rpc_env = \"CORDON_RPC_URL\"", "rpc = \"http://127.0.0.1:9\"");
    std::fs::write(folder.path().join("cordon.toml"), edit(text)).unwrap();
    std::fs::write(folder.path().join("guardian.json"), "").unwrap();
    folder
}

#[test]
fn the_example_configuration_is_valid() {
    let folder = config(|text| text);
    let output = cordon(folder.path(), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let folder = config(|text| text.replace("[store]\npath", "[store]\npth"));
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("store") && said.contains("`pth`") && said.contains("`path`"), "{said}");
    assert!(said.contains("line 8"), "{said}");
}

#[test]
fn a_bad_address_is_named_with_key_value_and_expectation() {
    let folder =
        config(|text| text.replace("0x1111111111111111111111111111111111111111\", name", "0x1111\", name"));
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("protocol[0].contracts[0].address: found '0x1111', expected an address"), "{said}");
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let folder = config(|text| {
        text.replace("price = \"2000\"", "price = \"2,000\"").replace("debtOf(address)", "debtOf()")
    });
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("asset[1].price: found '2,000'"), "{said}");
    assert!(said.contains("account[1].function: found 'debtOf()'"), "{said}");
}

#[test]
fn a_granted_lever_needs_a_key() {
    let folder = config(|text| {
        let text = text.replace("grant = \"observe-only\"", "grant = \"automatic\"");
        text.replacen(ACCOUNT, "0x7777777777777777777777777777777777777777", 1)
    });
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("pause-lending") && said.contains("[[signer]]"), "{said}");
}

#[test]
fn a_missing_configuration_is_named() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &["check", "--config", "nowhere.toml"], 3);
    assert!(said.contains("nowhere.toml"), "{said}");
}

#[test]
fn training_without_codes_is_refused_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let arguments = ["train", "bytecode", "--attackers", ".", "--benign", ".", "--out", "model.json"];
    let said = complaint(folder.path(), &arguments, 2);
    assert!(said.contains("attackers' codes: found '0', expected at least two different ones"), "{said}");
    assert!(!folder.path().join("model.json").exists());
    complaint(
        folder.path(),
        &["train", "bytecode", "--attackers", "nowhere", "--benign", ".", "--out", "m"],
        6,
    );
}

#[test]
fn an_unreachable_node_is_named() {
    let folder = config(|text| {
        text.replace("[[signer]]", "[[ignored]]").split("[[ignored]]").next().unwrap().to_owned()
    });
    let said = complaint(folder.path(), &["watch"], 4);
    assert!(said.contains("127.0.0.1:9"), "{said}");
}

#[test]
fn a_folder_without_blocks_is_refused() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &["replay", "."], 6);
    assert!(said.contains("cordon-block/1"), "{said}");
}

#[test]
fn a_measurement_needs_blocks_and_rounds() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &["bench", "replay", "."], 6);
    assert!(said.contains("cordon-block/1"), "{said}");
    let said = complaint(folder.path(), &["bench", "replay", "--rounds", "0", "."], 2);
    assert!(said.contains("rounds"), "{said}");
    let said = complaint(folder.path(), &["bench", "forks", "."], 6);
    assert!(said.contains("cordon-block/1"), "{said}");
    let nowhere = ["bench", "cold", "--rpc", "http://127.0.0.1:9", "--from", "1", "--to", "2"];
    let said = complaint(folder.path(), &nowhere, 4);
    assert!(said.contains("127.0.0.1:9"), "{said}");
}

#[test]
fn an_archive_cut_in_half_is_named() {
    let folder = TempDir::new().unwrap();
    let whole =
        zstd::encode_all(&br#"{"format":"cordon-block/1","chain":"ethereum","chainId":1,"number":1}"#[..], 3)
            .unwrap();
    std::fs::write(folder.path().join("1.json.zst"), &whole[..whole.len() / 2]).unwrap();
    let said = complaint(folder.path(), &["replay", "1.json.zst"], 6);
    assert!(said.contains("1.json.zst"), "{said}");
}

#[test]
fn a_log_that_is_no_log_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let text = "this is no database, and it must still be here afterwards";
    std::fs::write(folder.path().join("cordon.sqlite"), text).unwrap();
    let said = complaint(folder.path(), &["incident", "list"], 6);
    assert!(said.contains("cordon.sqlite"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("cordon.sqlite")).unwrap(), text);
}

#[test]
fn an_unknown_scenario_is_answered_with_the_known_ones() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &["drill", "no-such-thing"], 2);
    assert!(said.contains("donation-reentrancy"), "{said}");
}

#[test]
fn no_command_teaches() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &[], 2);
    assert!(said.contains("drill") && said.contains("Exit codes"), "{said}");
}

#[test]
fn the_drill_needs_nothing_and_is_the_same_twice() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (first, second) =
        (cordon(one.path(), &["drill", "--json"]), cordon(other.path(), &["drill", "--json"]));
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout, second.stdout, "the same seed gives the same bytes");
    for file in ["drill-report.md", "drill-report.json"] {
        let read = |folder: &TempDir| std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert_eq!(read(&one), read(&other), "{file}");
    }
    let events = String::from_utf8(first.stdout).unwrap();
    assert!(events.lines().all(|line| line.starts_with("{\"type\":")), "every line is one JSON event");
}

#[test]
fn honest_use_ends_without_an_incident_and_an_undefended_run_in_a_loss() {
    let folder = TempDir::new().unwrap();
    let benign = cordon(folder.path(), &["drill", "donation-reentrancy-benign"]);
    assert!(benign.status.success());
    let report = std::fs::read_to_string(folder.path().join("drill-report.json")).unwrap();
    assert!(report.contains("\"incidents\": []"), "no incident on honest use");
    let undefended = cordon(folder.path(), &["drill", "--without-cordon"]);
    assert!(undefended.status.success());
    let said = String::from_utf8_lossy(&undefended.stdout).into_owned();
    assert!(said.contains("strikes (8 of 8) and gets"), "{said}");
}
