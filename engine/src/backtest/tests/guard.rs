//! Detection on the committed corpus is not worse than it was.
//!
//! The figures are those of `cordon backtest --attacks engine/tests/corpus/crossguard --benign engine/tests/corpus/blocks`.

use super::*;

/// One set of the corpus, and what it gave when the line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    set: &'static str,
    /// Ordinary transactions and those of the attack.
    transactions: u64,
    /// Attacks that raised an alarm.
    detected: u64,
    /// Ordinary transactions that raised one.
    alarms: u64,
}

/// The list to change where a change of detection is meant, with the reason in the commit.
const MEASURED: [Line; 4] = [
    Line { set: "Auctus", transactions: 35, detected: 1, alarms: 2 },
    Line { set: "DoughFina", transactions: 18, detected: 1, alarms: 0 },
    Line { set: "UmbrellaNetwork", transactions: 60, detected: 0, alarms: 1 },
    Line { set: "two blocks of Ethereum", transactions: 214, detected: 0, alarms: 0 },
];

/// The report about the committed corpus.
pub(super) fn committed() -> BacktestReport {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    run(&corpus.join("crossguard"), &corpus.join("blocks"))
}

fn measured() -> Vec<Line> {
    let report = committed();
    assert_eq!(report.unjudged, Vec::<String>::new());
    let history = |set: &'static str| {
        let row = report.histories.iter().find(|row| row.history == set).unwrap();
        let detected = u64::from(row.detected == Some(true));
        Line { set, transactions: row.transactions, detected, alarms: row.false_alarms.count }
    };
    let mut lines = ["Auctus", "DoughFina", "UmbrellaNetwork"].map(history).to_vec();
    let blocks = report.sources.iter().find(|row| row.kind == RecordKind::Block).unwrap();
    let (transactions, alarms) = (blocks.transactions, blocks.alarms);
    lines.push(Line { set: "two blocks of Ethereum", transactions, detected: 0, alarms });
    lines
}

/// What became worse, in words. A better figure is no complaint; its line should be tightened all the same.
fn complaints(found: &[Line]) -> Vec<String> {
    let mut complaints = Vec::new();
    assert_eq!(found.len(), MEASURED.len());
    for (was, is) in MEASURED.iter().zip(found) {
        let checks = [
            ("transactions", was.transactions, is.transactions, is.transactions != was.transactions),
            ("detected attacks", was.detected, is.detected, is.detected < was.detected),
            ("alarms on ordinary transactions", was.alarms, is.alarms, is.alarms > was.alarms),
        ];
        let worse = checks.iter().filter(|(.., is_worse)| *is_worse);
        complaints
            .extend(worse.map(|(what, was, now, _)| format!("{}: {what} were {was}, are {now}", is.set)));
    }
    complaints
}

#[test]
fn detection_on_the_committed_corpus_is_not_worse_than_it_was() {
    let complaints = complaints(&measured());
    assert!(
        complaints.is_empty(),
        "{}\nLook at what `cordon backtest --attacks engine/tests/corpus/crossguard --benign engine/tests/corpus/blocks` says of \
         each. If the change is meant, change the line in MEASURED ({}) and give the reason in the commit.",
        complaints.join("\n"),
        file!()
    );
}

#[test]
fn a_missed_attack_one_more_alarm_and_a_lost_transaction_are_named() {
    let [a, b, c, d] = MEASURED;
    assert_eq!(complaints(&MEASURED), Vec::<String>::new());
    let better = [Line { alarms: 0, ..a }, b, Line { detected: 1, ..c }, d];
    assert_eq!(complaints(&better), Vec::<String>::new());
    let worse = [
        Line { alarms: 3, ..a },
        Line { detected: 0, ..b },
        Line { transactions: 59, ..c },
        Line { alarms: 1, ..d },
    ];
    let named = [
        "Auctus: alarms on ordinary transactions were 2, are 3",
        "DoughFina: detected attacks were 1, are 0",
        "UmbrellaNetwork: transactions were 60, are 59",
        "two blocks of Ethereum: alarms on ordinary transactions were 0, are 1",
    ];
    assert_eq!(complaints(&worse), named);
}
