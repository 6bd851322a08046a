//! The back-test over small corpora, and over the shared ones where they are at hand.

use super::*;
use std::fs;

const SENDER: &str = "0x00000000000000000000000000000000000a11ce";
const OWN: &str = "0x000000000000000000000000000000000000c0de";
const LENDER: &str = "0x0000000000000000000000000000000000001e2d";
const TOKEN: &str = "0x0000000000000000000000000000000000007073";
const VAULT: &str = "0x000000000000000000000000000000000000fa17";

fn call(from: &str, to: &str, input: &str, calls: &[String]) -> String {
    let calls = calls.join(",");
    format!(
        r#"{{"type":"CALL","from":"{from}","to":"{to}","value":"0x0","gasUsed":"0x5208","input":"{input}","calls":[{calls}]}}"#
    )
}

fn transfer(from: &str, to: &str, amount: u64) -> String {
    call(from, TOKEN, &format!("0xa9059cbb{:0>64}{amount:064x}", &to[2..]), &[])
}

/// Borrows, takes what the vault gives, pays back, keeps the rest; or merely takes a loan and gives it back.
fn loan(vault_gives: Option<u64>) -> String {
    let mut inside = Vec::new();
    if let Some(amount) = vault_gives {
        inside.push(call(OWN, VAULT, "0xaaaa0001", &[transfer(VAULT, OWN, amount)]));
    }
    inside.push(transfer(OWN, LENDER, 1_000));
    let lent = [transfer(LENDER, OWN, 1_000), call(LENDER, OWN, "0xbbbb0001", &inside)];
    call(SENDER, OWN, "0xcccc0001", &[call(OWN, LENDER, "0xdddd0001", &lent)])
}

fn write(folder: &Path, name: &str, text: &str) {
    let packed = zstd_of(text);
    fs::write(folder.join(format!("{name}.json.zst")), packed).unwrap();
}

/// A Zstandard frame of one raw block, as RFC 8878 section 3.1 lays it out: no compression is needed here.
fn zstd_of(text: &str) -> Vec<u8> {
    let size = u32::try_from(text.len()).unwrap();
    assert!(size < 1 << 17, "one raw block holds at most 128 KiB");
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(size.to_le_bytes());
    frame.extend(&(size << 3 | 1).to_le_bytes()[..3]);
    frame.extend(text.as_bytes());
    frame
}

fn run(attacks: &Path, benign: &Path) -> BacktestReport {
    let corpus = Corpus { attacks: vec![attacks.to_owned()], benign: vec![benign.to_owned()] };
    backtest(&corpus, &|_, _| ()).unwrap()
}

#[test]
fn an_attack_is_told_from_a_loan_that_harms_nobody() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(attacks.path(), "theft", &loan(Some(500)));
    write(benign.path(), "loan", &loan(None));
    write(benign.path(), "payment", &call(SENDER, LENDER, "0x", &[]));
    let report = run(attacks.path(), benign.path());
    assert_eq!((report.attacks, report.detected, report.benign_transactions), (1, 1, 2), "{report:?}");
    assert_eq!((report.false_alarms, report.benign_calls), (0, 1), "{:?}", report.alarms);
    assert_eq!(report.recall.to_string(), "1.000");
    assert_eq!(report.unjudged, Vec::<String>::new());
}

#[test]
fn a_case_counts_once_and_what_cannot_be_judged_is_named() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(attacks.path(), "one", &loan(Some(500)));
    write(attacks.path(), "two", &loan(Some(500)));
    write(benign.path(), "other", r#"{"format":"cordon-facts/1","chainId":1}"#);
    write(benign.path(), "broken", r#"{"type":"CALL"}"#);
    let report = run(attacks.path(), benign.path());
    assert_eq!((report.attacks, report.benign_transactions), (1, 0));
    assert_eq!(report.unjudged.len(), 2, "{:?}", report.unjudged);
    assert!(report.unjudged[0].contains("broken.json.zst: archived call tree"), "{:?}", report.unjudged);
    assert!(report.unjudged[1].contains("format 'cordon-facts/1'"), "{:?}", report.unjudged);
    let missing = Corpus { attacks: vec![attacks.path().join("none")], benign: Vec::new() };
    assert!(backtest(&missing, &|_, _| ()).unwrap_err().to_string().contains("archive"));
}

#[test]
fn a_miss_says_what_was_seen_all_the_same() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain =
        call(SENDER, OWN, "0xcccc0001", &[call(OWN, VAULT, "0xaaaa0001", &[transfer(VAULT, OWN, 5)])]);
    write(attacks.path(), "plain", &plain);
    let report = run(attacks.path(), benign.path());
    let [miss] = report.misses.as_slice() else { panic!("{report:?}") };
    assert!(matches!(miss.seen.as_slice(), [seen] if seen.starts_with("profit (0.300)")), "{miss:?}");
    let text = report.lines().join("\n");
    assert!(text.contains("0 of 1 attacks detected") && text.contains("missed 0x"), "{text}");
}

#[test]
fn the_same_corpus_gives_the_same_report() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for number in 1..20 {
        write(attacks.path(), &format!("{number}"), &loan(Some(number)));
        write(benign.path(), &format!("{number}"), &loan(None));
    }
    let text = |report: &BacktestReport| serde_json::to_string(report).unwrap();
    let first = run(attacks.path(), benign.path());
    assert_eq!(first.attacks, 19);
    assert_eq!(text(&first), text(&run(attacks.path(), benign.path())));
}
