//! Rule files: what `cordon check` makes of good and of bad ones.

use super::{complaint, config, cordon};
use tempfile::TempDir;

/// The example with a detector for the rules of `rules.toml`, which holds `text`.
fn with_rules(text: &str) -> TempDir {
    let detector = "[[detector]]\ntype = \"rules\"\nfiles = [\"rules.toml\"]\n";
    let folder = config(|example| example.replacen("[[detector]]", &format!("{detector}\n[[detector]]"), 1));
    std::fs::write(folder.path().join("rules.toml"), text).unwrap();
    folder
}

const PAUSED: &str = "[[rule]]\nid = 'paused'\ntitle = 'A contract was paused'\nclass = 'pausable'\nscore = 300\n\
    when = 'logs.exists(l, l.protected && l.topic0 == event(\"Paused(address)\"))'\n\
    [[rule.test]]\nname = 'paused'\nexpect = true\nlogs = [{ event = 'Paused(address)' }]\n";

#[test]
fn good_rules_are_counted() {
    let folder = with_rules(PAUSED);
    let output = cordon(folder.path(), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(" detector(s), 1 rule(s),"), "{said}");
}

#[test]
fn a_wrong_rule_is_an_error_of_the_configuration_with_file_rule_and_column() {
    let folder = with_rules(&PAUSED.replace("l.protected", "l.protcted"));
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("detector[0].files[0]: found 'rules.toml'"), "{said}");
    assert!(
        said.contains("rule 'paused': line 6, column 25: a log has no 'protcted'; it has address"),
        "{said}"
    );
    let caret = said.lines().find(|line| line.trim() == "^").unwrap();
    assert_eq!(caret, "                    ^", "{said}");
}

#[test]
fn a_rule_that_fails_its_own_test_is_refused_by_every_command_that_watches() {
    let folder = with_rules(&PAUSED.replace("expect = true", "expect = false"));
    for command in ["check", "watch"] {
        let said = complaint(folder.path(), &[command], 3);
        assert!(
            said.contains("rule 'paused': test 'paused': the rule holds, expected that it does not"),
            "{said}"
        );
    }
}

#[test]
fn files_that_are_missing_or_repeat_an_id_are_refused() {
    let folder = with_rules(PAUSED);
    std::fs::remove_file(folder.path().join("rules.toml")).unwrap();
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("rules.toml', expected a rule file that can be read"), "{said}");
    let folder = with_rules(&PAUSED.repeat(2));
    let said = complaint(folder.path(), &["check"], 3);
    assert!(said.contains("rule 'paused': its id stands in the file twice"), "{said}");
}
