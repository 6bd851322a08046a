//! Runs that are cut off, repeated, changed, or spread over other numbers of threads.

use super::*;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Recordings of every outcome: detected, missed, ordinary, broken, and not judged.
fn corpus(folder: &Path) -> Corpus {
    let (attacks, benign) = (folder.join("attacks"), folder.join("benign"));
    [&attacks, &benign].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let tx = |digit: char| format!("0x{}", digit.to_string().repeat(64));
    for number in 1..8 {
        write(&attacks, &format!("theft-{number}"), &loan(Some(number)));
        write(
            &benign,
            &format!("loan-{number}"),
            &loan(None).replace("cccc0001", &format!("cccc000{number}")),
        );
    }
    write(&attacks, "missed", &call(SENDER, LENDER, "0xaaaa0009", &[]));
    write(&attacks, &tx('1'), &call(SENDER, OWN, "0xcccc0001", &[]));
    write(&attacks, "agrees.before", &state(Some(&tx('1')), "00"));
    write(&attacks, "other.before", &state(Some(&tx('4')), "00"));
    write(&benign, "theft", &loan(Some(900)));
    write(&benign, "broken", r#"{"type":"CALL"}"#);
    write(&benign, "body", r#"{"format":"cordon-body/1","chainId":1}"#);
    Corpus { attacks: vec![attacks], benign: vec![benign], ..Corpus::default() }
}

/// The report's files, and what was told on the way.
fn run_in(corpus: &Corpus, out: Option<&Path>, threads: usize) -> ([String; 3], Vec<Progress>) {
    let told = Mutex::new(Vec::new());
    let settings = Settings { out: out.map(Path::to_owned), threads: NonZeroUsize::new(threads) };
    let report = backtest(corpus, &settings, &|progress| told.lock().unwrap().push(progress)).unwrap();
    (report.files().unwrap(), told.into_inner().unwrap())
}

fn notes(told: &[Progress]) -> Vec<&str> {
    let notes = told.iter().filter_map(|progress| match progress {
        Progress::Note(note) => Some(note.as_str()),
        Progress::Judged { .. } => None,
    });
    notes.collect()
}

#[test]
fn the_files_are_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    let (first, told) = run_in(&corpus, None, 1);
    let report: serde_json::Value = serde_json::from_str(&first[0]).unwrap();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((count("attacks"), count("detected"), count("false_alarms")), (9, 7, 1), "{}", first[0]);
    assert_eq!(told.last(), Some(&Progress::Judged { done: 21, all: 21 }));
    for threads in [2, 7, 40] {
        assert_eq!(run_in(&corpus, None, threads).0, first, "{threads} threads");
    }
}

#[test]
fn a_run_that_was_cut_off_anywhere_ends_in_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    let (whole, out) = (run_in(&corpus, None, 2).0, folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    let (first, told) = run_in(&corpus, Some(&out), 2);
    assert_eq!((first == whole, notes(&told)), (true, vec![]), "keeping verdicts changes no report");
    let kept = fs::read(out.join(VERDICTS_FILE)).unwrap();
    let lines = kept.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, 22, "a first line, and one for each of 21 recordings");
    // Cut at many places; hardly any is the end of a line, so that the last line is a half-written one.
    let mut taken = BTreeSet::new();
    for cut in (0..kept.len()).step_by(kept.len() / 40) {
        fs::write(out.join(VERDICTS_FILE), &kept[..cut]).unwrap();
        let (again, told) = run_in(&corpus, Some(&out), 3);
        assert_eq!(again, whole, "cut after {cut} of {} bytes", kept.len());
        taken.insert(notes(&told).first().and_then(|note| note.split(' ').next()?.parse::<u32>().ok()));
        let lines = fs::read_to_string(out.join(VERDICTS_FILE)).unwrap().lines().count();
        assert_eq!(lines, 22, "each recording is judged once");
    }
    assert!(taken.contains(&None) && taken.contains(&Some(20)) && taken.len() > 10, "{taken:?}");
}

#[test]
fn verdicts_are_really_taken_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, out) = (corpus(folder.path()), tempfile::tempdir().unwrap());
    let whole = run_in(&corpus, Some(out.path()), 1).0;
    let path = out.path().join(VERDICTS_FILE);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("cordon-body/1"));
    fs::write(&path, text.replace("format 'cordon-body/1'", "format 'from the file'")).unwrap();
    let again = run_in(&corpus, Some(out.path()), 1).0;
    assert!(again[0].contains("from the file") && !whole[0].contains("from the file"));
}

#[test]
fn a_changed_recording_is_judged_again_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, out) = (corpus(folder.path()), tempfile::tempdir().unwrap());
    run_in(&corpus, Some(out.path()), 2);
    let lines = || fs::read_to_string(out.path().join(VERDICTS_FILE)).unwrap().lines().count();
    write(&corpus.benign[0], "loan-1", &loan(Some(700)));
    let changed = run_in(&corpus, Some(out.path()), 2).0;
    assert_eq!(lines(), 23);
    assert_eq!(changed, run_in(&corpus, None, 2).0);
    // A tree of calls belongs to every attack's state; which one, only the state says. So all 11 attacks are judged again.
    let tx = format!("0x{}", "1".repeat(64));
    write(&corpus.attacks[0], &tx, &call(SENDER, OWN, "0xcccc0002", &[]));
    let changed = run_in(&corpus, Some(out.path()), 2).0;
    assert_eq!(lines(), 34);
    assert_eq!(changed, run_in(&corpus, None, 2).0);
}

#[test]
fn other_rules_begin_anew_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, out) = (corpus(folder.path()), tempfile::tempdir().unwrap());
    run_in(&plain, Some(out.path()), 2);
    let file = folder.path().join("rules.toml");
    let rule = |score: u16| {
        format!(
            "[[rule]]\nid = 'r'\ntitle = 't'\nclass = 'c'\nscore = {score}\nwhen = \"calls.exists(c, c.protected)\"\n"
        )
    };
    fs::write(&file, rule(50)).unwrap();
    let with_rule = Corpus { rules: vec![file.clone()], ..plain };
    for score in [50, 60] {
        fs::write(&file, rule(score)).unwrap();
        let (files, told) = run_in(&with_rule, Some(out.path()), 2);
        assert!(notes(&told)[0].contains("everything is judged anew"), "{told:?}");
        assert_eq!(files, run_in(&with_rule, None, 2).0);
    }
    let told = run_in(&with_rule, Some(out.path()), 2).1;
    assert!(notes(&told)[0].starts_with("21 verdicts are taken from"), "{told:?}");
}
