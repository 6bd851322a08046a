//! Where output goes: a reader that leaves early, and folders that cannot take a report.

use super::{ACCOUNT, complaint, config, cordon};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Runs a command whose standard output nobody reads.
fn unread(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    let command = command.current_dir(folder).args(arguments).stdout(writer).stderr(Stdio::piped());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_drill_whose_reader_left_still_writes_its_reports() {
    let folder = TempDir::new().unwrap();
    let (code, said) = unread(folder.path(), &["drill"]);
    assert_eq!(code, Some(0), "{said}");
    for file in ["drill-report.md", "drill-report.json"] {
        assert!(std::fs::metadata(folder.path().join(file)).unwrap().len() > 0, "{file}");
    }
}

#[test]
fn any_other_command_ends_quietly_when_its_reader_left() {
    let folder = config(|text| text);
    for arguments in [&["check"][..], &["drill", "--list"]] {
        let (code, said) = unread(folder.path(), arguments);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // Only a reader that leaves is forgiven: what is wrong is still said.
    let broken = config(|text| text.replacen(ACCOUNT, "0x55", 1));
    let (code, said) = unread(broken.path(), &["check"]);
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn a_folder_for_reports_is_judged_before_the_drill() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::create_dir_all(folder.path().join("taken/drill-report.md")).unwrap();
    let wrong = [("file", "'file'"), ("no/where", "'no/where'"), ("taken", "'taken/drill-report.md'")];
    for (out, named) in wrong {
        let output = cordon(folder.path(), &["drill", "--out", out]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{out}: {said}");
        assert!(said.contains(named), "{said}");
        assert!(output.stdout.is_empty(), "{out}: nothing is played before");
    }
    assert_eq!(
        std::fs::read_dir(folder.path().join("taken")).unwrap().count(),
        1,
        "the attempt leaves nothing"
    );
    let said = complaint(folder.path(), &["drill", "no-such-thing", "--out", "unmade"], 2);
    assert!(!folder.path().join("unmade").exists(), "a wrong argument makes no folder: {said}");
}

#[test]
fn a_missing_folder_for_reports_is_made_where_its_parent_exists() {
    let folder = TempDir::new().unwrap();
    let output = cordon(folder.path(), &["drill", "--without-cordon", "--out", "reports"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("reports/drill-report.json").is_file());
}
