//! The ready rules in `rules/`: each file loads, which runs its tests, and each rule is proved by one that fires and one
//! that does not.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use cordon_detect::rules::{RuleSet, RulesConfig};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn files() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_file_of_the_library_holds_its_own_tests_and_no_id_stands_twice() {
    let mut config = RulesConfig::default();
    for (path, text) in files() {
        let set = RuleSet::parse(&path.display().to_string(), &text).unwrap_or_else(|errors| {
            panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        config.files.push(path);
        config.sets.push(Arc::new(set));
    }
    let ids: BTreeSet<&str> = config.sets.iter().flat_map(|set| set.ids()).collect();
    assert!(ids.len() >= 60, "{} rules", ids.len());
    config.build().unwrap();
}

#[test]
fn every_rule_of_the_library_has_a_source_a_class_and_a_test_of_each_kind() {
    for (path, text) in files() {
        let class = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let file: toml::Table = toml::from_str(&text).unwrap();
        let rules = file["rule"].as_array().unwrap();
        assert_eq!(text.matches("# Source: ").count(), rules.len(), "{class}");
        for rule in rules {
            let id = rule["id"].as_str().unwrap();
            assert_eq!(rule["class"].as_str().unwrap(), class, "{id}");
            assert!(rule.get("explain").is_some(), "{id}");
            let tests = rule["test"].as_array().unwrap();
            for wanted in [true, false] {
                let has = tests.iter().any(|test| test["expect"].as_bool() == Some(wanted));
                assert!(has, "{id} has no test that expects {wanted}");
            }
        }
    }
}

/// A rule whose test was turned round does not load: the tests of the library are really run.
#[test]
fn a_wrong_test_keeps_a_file_out() {
    for (path, text) in files() {
        let wrong = text.replacen("expect = false", "expect = true", 1);
        let errors = RuleSet::parse("library", &wrong).unwrap_err();
        assert_eq!(errors.len(), 1, "{}", path.display());
        assert!(errors[0].what.contains("the rule does not hold, expected that it holds"), "{}", errors[0]);
    }
}

/// The example of the documentation is a rule file that works.
#[test]
fn the_documented_example_loads_with_its_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let text = std::fs::read_to_string(path).unwrap();
    let example =
        text.split("```toml\n# my-rules.toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let set = RuleSet::parse("docs/rules.md", example).unwrap();
    assert_eq!(set.ids().collect::<Vec<_>>(), ["big-withdrawal"]);
    let wrong = example.replacen("expect = true", "expect = false", 1);
    assert!(RuleSet::parse("docs/rules.md", &wrong).is_err(), "its tests are run");
}
