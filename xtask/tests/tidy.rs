//! Tidy rules that no compiler checks: length of files, module docs, banned names, purity of the pure crates.

use xtask::rust_files;

/// Longest file without its tests; a longer one does more than one thing.
const FILE_LINES_MAX: usize = 500;

/// Words that say nothing about what a type or file is.
const BANNED_NAMES: [&str; 8] =
    ["manager", "handler", "service", "helper", "util", "processor", "common", "misc"];

/// Folders of crates that may not reach outside of themselves.
const PURE_FOLDERS: [&str; 6] = [
    "model/src",
    "stages/3-detect/src",
    "stages/4-decide/src",
    "stages/6-investigate/src",
    "stages/7-eradicate/src",
    "stages/8-recover/src",
];

/// Paths into the outside world.
const IMPURE: [&str; 7] =
    ["std::fs", "std::net", "std::env", "std::time", "std::process", "std::thread", "HashMap::new"];

/// The part of a file before its inline test module.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("testing.rs")
}

#[test]
fn files_are_short() {
    for (path, text) in rust_files().unwrap() {
        let lines = production(&text).lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines, at most {FILE_LINES_MAX} are readable");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in rust_files().unwrap() {
        assert!(text.starts_with("//!"), "{path} must open with a module doc (`//!`)");
    }
}

#[test]
fn names_mean_something() {
    for (path, text) in rust_files().unwrap() {
        let file = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_lowercase();
        assert!(!BANNED_NAMES.contains(&file.as_str()), "{path}: the file's name says nothing");
        for line in production(&text).lines() {
            // An indented `type` is an associated one, whose name belongs to a trait of somebody else.
            let associated = line.starts_with(' ') && line.trim_start().starts_with("type ");
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let declares = !associated && matches!(words.next(), Some("struct" | "enum" | "trait" | "type"));
            let name = words.next().unwrap_or_default().to_lowercase();
            let banned = BANNED_NAMES.iter().find(|banned| declares && name.contains(**banned));
            assert!(banned.is_none(), "{path}: '{}' uses a word that says nothing", line.trim());
        }
    }
}

#[test]
fn pure_crates_stay_inside() {
    for (path, text) in rust_files().unwrap() {
        if !PURE_FOLDERS.iter().any(|folder| path.starts_with(folder)) || is_test_file(&path) {
            continue;
        }
        for word in IMPURE {
            assert!(
                !production(&text).contains(word),
                "{path} must not use {word}: it is part of a pure crate"
            );
        }
    }
}

#[test]
fn only_the_gate_makes_authorizations() {
    for (path, text) in rust_files().unwrap() {
        if path == "stages/5-contain/src/gate.rs" || path.starts_with("xtask/") {
            continue;
        }
        let makes = production(&text).lines().any(|line| {
            let line = line.trim();
            line.contains("Authorized {")
                && !line.starts_with("//")
                && !line.contains("impl ")
                && !line.contains("->")
        });
        assert!(!makes, "{path}: only the gate may make an `Authorized`");
    }
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    // Built from parts, so that this file does not trip over itself.
    let leaks = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["registry.npm", "js"].concat()];
    for (path, text) in rust_files().unwrap() {
        for leak in &leaks {
            assert!(!text.contains(leak.as_str()), "{path} contains '{leak}'");
        }
    }
}
