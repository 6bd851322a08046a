//! The back-test as a process: its files, and that it goes on after it was killed.

use super::{complaint, cordon};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a run leaves.
const FILES: [&str; 3] = ["report.json", "report.md", "report.html"];

/// How long a run of the committed corpus may take until its first verdict. It takes a second without optimisation.
const PATIENCE: Duration = Duration::from_secs(300);

fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/corpus").join(folder)
}

/// The command over the committed corpus.
fn arguments(out: &str) -> Vec<String> {
    let (attacks, benign) = (corpus("crossguard"), corpus("blocks"));
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let words = ["backtest", "--attacks", &path(attacks), "--benign", &path(benign), "--out", out];
    words.map(str::to_owned).to_vec()
}

fn run(folder: &Path, out: &str) -> (Vec<Vec<u8>>, String) {
    let arguments = arguments(out);
    let output = cordon(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (FILES.map(|file| std::fs::read(folder.join(out).join(file)).unwrap()).to_vec(), said)
}

/// Lines that were written to their end.
fn whole_lines(verdicts: &Path) -> usize {
    let text = std::fs::read(verdicts).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn a_run_that_was_killed_goes_on_and_leaves_the_same_files() {
    let folder = TempDir::new().unwrap();
    let (whole, _) = run(folder.path(), "whole");
    let all = whole_lines(&folder.path().join("whole/verdicts.jsonl"));
    assert_eq!(all, 6, "a first line, three histories and two blocks");

    let verdicts = folder.path().join("killed/verdicts.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    let command = command.current_dir(folder.path()).args(arguments("killed"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while whole_lines(&verdicts) < 2 {
        assert!(started.elapsed() < PATIENCE, "no verdict after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = whole_lines(&verdicts);
    assert!((2..all).contains(&kept), "it was killed in the middle: {kept} of {all} lines");
    assert!(!folder.path().join("killed/report.json").exists());

    let (again, said) = run(folder.path(), "killed");
    assert!(said.contains(&format!("{} verdicts are taken from", kept - 1)), "{said}");
    assert_eq!(again, whole);
    assert_eq!(whole_lines(&verdicts), all);
}

#[test]
fn wrong_arguments_and_folders_are_named() {
    let folder = TempDir::new().unwrap();
    let said = complaint(folder.path(), &["backtest", "--rpc", "http://127.0.0.1:1"], 2);
    assert!(said.contains("--from") && said.contains("--to"), "{said}");
    complaint(folder.path(), &["backtest", "--from", "1", "--to", "2"], 2);
    let node = ["backtest", "--rpc", "http://127.0.0.1:1/secret", "--from", "3", "--to", "2"];
    let said = complaint(folder.path(), &node, 2);
    assert!(said.contains("range: found '3 to 2'") && !said.contains("secret"), "{said}");
    let said = complaint(folder.path(), &["backtest"], 1);
    assert!(said.contains("--rpc URL"), "{said}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let blocks = corpus("blocks");
    let said =
        complaint(folder.path(), &["backtest", "--benign", blocks.to_str().unwrap(), "--out", "file"], 6);
    assert!(said.contains("'file'"), "{said}");
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/verdicts.jsonl"), "of my own\n").unwrap();
    let said =
        complaint(folder.path(), &["backtest", "--benign", blocks.to_str().unwrap(), "--out", "out"], 6);
    assert!(said.contains("verdicts.jsonl") && said.contains("it begins with 'of my own"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("out/verdicts.jsonl")).unwrap(), "of my own\n");
}
