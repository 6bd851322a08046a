//! The back-test over small corpora, and over the shared ones where they are at hand.

mod chain;
mod guard;
mod pages;
mod runs;

use super::*;
use std::fs;

const SENDER: &str = "0x00000000000000000000000000000000000a11ce";
const OWN: &str = "0x000000000000000000000000000000000000c0de";
const LENDER: &str = "0x0000000000000000000000000000000000001e2d";
const TOKEN: &str = "0x0000000000000000000000000000000000007073";
const VAULT: &str = "0x000000000000000000000000000000000000fa17";

pub(crate) fn call(from: &str, to: &str, input: &str, calls: &[String]) -> String {
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

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
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
    let (attacks, benign) = (vec![attacks.to_owned()], vec![benign.to_owned()]);
    let corpus = Corpus { attacks, benign, ..Corpus::default() };
    backtest(&corpus, &Settings::default(), &|_| ()).unwrap()
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
fn labels_sort_the_attacks_and_change_nothing_else() {
    let attacks = tempfile::tempdir().unwrap();
    let [theft, other] = [alloy_primitives::B256::repeat_byte(1), alloy_primitives::B256::repeat_byte(2)];
    write(attacks.path(), &theft.to_string(), &loan(Some(500)));
    write(attacks.path(), &other.to_string(), &call(SENDER, LENDER, "0x", &[]));
    let corpus = |labels: &str| Corpus {
        attacks: vec![attacks.path().to_owned()],
        labels: Labels::parse(labels).unwrap(),
        ..Corpus::default()
    };
    let plain = backtest(&corpus(""), &Settings::default(), &|_| ()).unwrap();
    assert!(plain.labels.is_empty());
    let report =
        backtest(&corpus(&format!("{theft},borrowed coins")), &Settings::default(), &|_| ()).unwrap();
    let rows: Vec<_> =
        report.labels.iter().map(|row| (row.label.as_deref(), row.detected.count, row.detected.of)).collect();
    assert_eq!(rows, [(None, 0, 1), (Some("borrowed coins"), 1, 1)]);
    assert_eq!(report.detected, plain.detected);
    assert!(report.lines().iter().any(|line| line.starts_with("  borrowed coins: 1 of 1 detected, 1.000")));
}

#[test]
fn a_case_counts_once_and_what_cannot_be_judged_is_named() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(attacks.path(), "one", &loan(Some(500)));
    write(attacks.path(), "two", &loan(Some(500)));
    write(benign.path(), "other", r#"{"format":"cordon-body/1","chainId":1}"#);
    write(benign.path(), "another", r#"{"format":"cordon-body/1","chainId":1}"#);
    write(benign.path(), "facts", r#"{"format":"cordon-facts/1","chainId":1,"number":2}"#);
    write(benign.path(), "state", &state(None, "00"));
    write(attacks.path(), "facts", r#"{"format":"cordon-facts/1","chainId":1,"number":2}"#);
    fs::write(attacks.path().join("index.json"), "[]").unwrap();
    fs::write(attacks.path().join("cache.tar.xz"), "").unwrap();
    write(benign.path(), "broken", r#"{"type":"CALL"}"#);
    let report = run(attacks.path(), benign.path());
    assert_eq!((report.attacks, report.benign_transactions), (1, 0));
    let unjudged = report.unjudged.join("\n");
    assert_eq!(report.unjudged.len(), 6, "{unjudged}");
    let has = |part: &str| assert!(unjudged.contains(part), "{part} in {unjudged}");
    has("broken.json.zst: archived call tree");
    has("facts.json.zst: facts of a block: .: missing field `hash`");
    has("1 passed over that are no recordings, such as cache.tar.xz");
    has(": 2 files: format 'cordon-body/1' is not judged");
    has(": 1 files: a state before an attack is no ordinary transaction");
    has(": 1 files: a block does not say which of its transactions is an attack");
    let missing = Corpus { attacks: vec![attacks.path().join("none")], ..Corpus::default() };
    assert!(backtest(&missing, &Settings::default(), &|_| ()).unwrap_err().to_string().contains("archive"));
}

/// The state before a call of a contract with this code.
fn state(tx: Option<&str>, code: &str) -> String {
    let tx = tx.map_or_else(|| "null".to_owned(), |tx| format!("\"{tx}\""));
    format!(
        r#"{{"metadata":{{"chain":"mainnet","block_number":19000000,"timestamp":1705527059,"attack_tx_hash":{tx}}},
        "addresses":{{"{OWN}":{{"balance_wei":"0","nonce":1,"code":"{code}","storage":{{}}}}}}}}"#
    )
}

#[test]
fn an_attack_that_is_executed_again_counts_once() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tx = |digit: char| format!("0x{}", digit.to_string().repeat(64));
    for digit in ['1', '2', '3'] {
        write(attacks.path(), &tx(digit), &call(SENDER, OWN, "0xcccc0001", &[]));
    }
    write(attacks.path(), "agrees.before", &state(Some(&tx('1')), "00"));
    write(attacks.path(), "again.before", &state(Some(&tx('1')), "00"));
    write(attacks.path(), "agrees.after", "no state at all");
    write(attacks.path(), "fails.before", &state(Some(&tx('2')), "fe"));
    write(attacks.path(), "other.before", &state(Some(&tx('4')), "00"));
    write(attacks.path(), "another.before", &state(Some(&tx('5')), "00"));
    write(attacks.path(), "nameless.before", &state(None, "00"));
    let report = run(attacks.path(), benign.path());
    assert_eq!((report.attacks, report.misses.len()), (3, 3), "{report:?}");
    let rows: Vec<_> = report.sources.iter().map(|row| (row.kind, row.files, row.transactions)).collect();
    assert_eq!(rows, [(RecordKind::CallTree, 3, 2), (RecordKind::ExecutedState, 2, 1)]);
    let unjudged = report.unjudged.join("\n");
    assert_eq!(report.unjudged.len(), 3, "{unjudged}");
    let has = |part: &str| assert!(unjudged.contains(part), "{part} in {unjudged}");
    has("differs from the calls that were made (fails: frame 0: Call of");
    has(": 2 files: states before attacks whose calldata is not known");
    has(": 1 files: states before attacks that name no transaction");
}

#[test]
fn reproductions_stand_in_a_row_of_their_own() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = |idx: u8, parent: &str, children: &str, from: &str, to: &str| {
        format!(
            r#"{{"idx":{idx},"parent":{parent},"children":[{children}],"kind":"CALL","success":true,"status":"Stop",
            "caller":"{from}","address":"{to}","value":"0x0","gas_used":1,"input":"0x","output":"0x","logs":[],
            "storage":[]}}"#
        )
    };
    let nodes = [node(0, "null", "1", SENDER, OWN), node(1, "0", "", OWN, VAULT)].join(",");
    let test = format!(
        r#"{{"name":"x","chain":"1","fork_block":5,"tests":{{"t":{{"phases":[{{"phase":"Execution","nodes":[{nodes}]}}]}}}}}}"#
    );
    write(attacks.path(), "test", &test);
    write(attacks.path(), "theft", &loan(Some(500)));
    let report = run(attacks.path(), benign.path());
    let rows: Vec<_> = report.sources.iter().map(|row| (row.kind, row.transactions, row.alarms)).collect();
    assert_eq!(rows, [(RecordKind::Reproduction, 1, 0), (RecordKind::CallTree, 1, 1)]);
    assert!(
        report.lines().join("\n").contains("(attacks, reproductions by tests): 0 alarms in 1 transactions")
    );
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

/// The same corpus judged by rules as well: one that holds in the attack only, one that holds in both, and one that a tree of
/// calls cannot answer.
#[test]
fn a_rule_is_counted_where_it_held_and_where_it_could_not_be_judged() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(attacks.path(), "theft", &loan(Some(500)));
    write(benign.path(), "loan", &loan(None));
    let rule = |id: &str, score: u16, when: &str| {
        format!("[[rule]]\nid = '{id}'\ntitle = 't'\nclass = 'c'\nscore = {score}\nwhen = \"{when}\"\n")
    };
    let text = [
        rule("taken", 700, "calls.exists(c, c.protected && c.selector == '0xaaaa0001')"),
        rule("lent", 50, "calls.exists(c, c.protected && c.selector == '0xdddd0001')"),
        rule("emitted", 700, "logs.exists(l, l.protected)"),
    ];
    let file = benign.path().join("rules.toml");
    fs::write(&file, text.concat()).unwrap();
    let corpus = Corpus {
        attacks: vec![attacks.path().to_owned()],
        benign: vec![benign.path().join("loan.json.zst")],
        rules: vec![file.clone()],
        ..Corpus::default()
    };
    let report = backtest(&corpus, &Settings::default(), &|_| ()).unwrap();
    let rows: Vec<_> = report
        .rules
        .iter()
        .map(|row| (row.rule.as_str(), row.held_in_attacks, row.held_in_benign, row.unknown))
        .collect();
    assert_eq!(rows, [("lent", 1, 1, 0), ("taken", 1, 0, 0), ("emitted", 0, 0, 2)]);
    assert_eq!(report.false_alarms, 0, "a rule of a low score wakes nobody");
    let text = report.lines().join("\n");
    assert!(
        text.contains(
            "rule taken (0.700): held in 1 attacks, in 0 ordinary transactions; could not be judged for 0"
        ),
        "{text}"
    );
    assert!(run(attacks.path(), benign.path()).rules.is_empty(), "without rules there are no rows");

    fs::write(&file, rule("wrong", 700, "logs.exists(l, l.adress == tx.to)")).unwrap();
    let error = backtest(&corpus, &Settings::default(), &|_| ()).unwrap_err();
    assert_eq!(error.kind(), crate::Kind::Usage);
    assert!(error.to_string().contains("a log has no 'adress'"), "{error}");
}
