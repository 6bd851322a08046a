//! The promises of ARCHITECTURE.md as tests over the resolved dependency graph.
//!
//! A crate earns its place by a promise that a machine can check; this is the machine.
#![expect(clippy::unwrap_used, reason = "a check stops at the first thing it cannot read")]

use std::collections::BTreeSet;
use xtask::{Package, packages};

const STAGES: [&str; 8] = [
    "cordon-ingest",
    "cordon-replay",
    "cordon-detect",
    "cordon-decide",
    "cordon-contain",
    "cordon-investigate",
    "cordon-eradicate",
    "cordon-recover",
];

/// Crates that must give the same answer for the same input, for ever.
const PURE: [&str; 6] = [
    "cordon-model",
    "cordon-detect",
    "cordon-decide",
    "cordon-investigate",
    "cordon-eradicate",
    "cordon-recover",
];

/// What a pure crate may use: number types, encodings, and nothing with a socket, a clock or a file.
const PURE_ALLOWED: [&str; 11] = [
    "cordon-model",
    "alloy-primitives",
    "alloy-sol-types",
    "alloy-dyn-abi",
    "alloy-json-abi",
    "merkrs",
    "serde",
    "serde_json",
    // Without its default features, and with maps refused by our checker: no clock, no randomness, no input or output.
    "cel",
    "thiserror",
    "toml",
];

fn members() -> Vec<Package> {
    packages().unwrap().into_values().filter(|package| package.member).collect()
}

/// Names of the workspace members that depend directly on a package chosen by name.
fn direct_dependents(chosen: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let uses = |package: &Package| package.dependencies.iter().any(|name| chosen(name));
    members().into_iter().filter(uses).map(|package| package.name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn promise_1_model_has_no_io() {
    let model = members().into_iter().find(|package| package.name == "cordon-model").unwrap();
    let allowed = set(&["alloy-primitives", "serde", "serde_json", "thiserror"]);
    let extra: Vec<_> = model.dependencies.difference(&allowed).collect();
    assert!(extra.is_empty(), "cordon-model must not depend on {extra:?}");
}

#[test]
fn promise_2_stages_know_only_the_model() {
    for package in members() {
        let ours: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|name| name.starts_with("cordon-"))
            .map(String::as_str)
            .collect();
        let allowed: BTreeSet<&str> = match package.name.as_str() {
            name if STAGES.contains(&name) => BTreeSet::from(["cordon-model"]),
            "cordon-store" | "cordon-notify" => BTreeSet::from(["cordon-model"]),
            "cordon-model" | "cordon-range" | "xtask" => BTreeSet::new(),
            "cordon" => BTreeSet::from(["cordon-engine"]),
            "cordon-engine" => continue,
            other => panic!("crate '{other}' has no line in the promises: add one, or merge it"),
        };
        let extra: Vec<_> = ours.difference(&allowed).collect();
        assert!(extra.is_empty(), "{} must not depend on {extra:?}", package.name);
    }
}

#[test]
fn promise_3_only_contain_can_sign() {
    let signs = |name: &str| name.starts_with("alloy-signer") || name.contains("keystore") || name == "k256";
    assert_eq!(direct_dependents(signs), set(&["cordon-contain"]));
    for package in packages().unwrap().values() {
        let brings_keys = package.dependencies.contains("alloy-signer-local");
        assert!(!brings_keys || package.name == "cordon-contain", "{} brings in keys", package.name);
    }
}

#[test]
fn promise_4_each_power_has_one_home() {
    assert_eq!(direct_dependents(|name| name == "revm"), set(&["cordon-range", "cordon-replay"]));
    assert_eq!(direct_dependents(|name| name.starts_with("sqlx")), set(&["cordon-store"]));
    let servers = ["axum", "hyper", "warp", "actix-web", "tonic", "rocket", "poem"];
    assert_eq!(direct_dependents(|name| servers.contains(&name)), set(&[]));
    assert_eq!(direct_dependents(|name| name == "lettre"), set(&[]), "mail has its home in cordon-notify");
    // Ingest asks the beacon API, which is plain HTTP and has no provider type; it only ever reads.
    assert_eq!(direct_dependents(|name| name == "reqwest"), set(&["cordon-ingest", "cordon-notify"]));
}

#[test]
fn promise_5_pure_crates_use_only_pure_crates() {
    let allowed = set(&PURE_ALLOWED);
    for package in members().into_iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let extra: Vec<_> = package.dependencies.difference(&allowed).collect();
        assert!(extra.is_empty(), "{} must stay deterministic and may not use {extra:?}", package.name);
    }
}

#[test]
fn one_crypto_provider_and_one_sqlite() {
    let packages = packages().unwrap();
    let count = |name: &str| packages.values().filter(|package| package.name == name).count();
    assert_eq!(count("libsqlite3-sys"), 1, "two SQLite libraries cannot be linked together");
    assert_eq!(count("openssl") + count("native-tls"), 0, "TLS goes through rustls alone");
}

/// Licences that fit `MIT OR Apache-2.0` distribution of the binary.
const LICENCES: [&str; 16] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "BSL-1.0",
    "MIT-0",
    "CDLA-Permissive-2.0",
    "MPL-2.0",
];

#[test]
fn every_dependency_has_an_accepted_licence() {
    for package in packages().unwrap().values() {
        assert!(accepted(&package.license), "{} has licence '{}'", package.name, package.license);
    }
}

/// A licence expression is accepted where one side of every `OR` is, and both sides of every `AND` are.
fn accepted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    let unwrapped = expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    if let Some(inner) = unwrapped.filter(|inner| balanced(inner)) {
        return accepted(inner);
    }
    for (operator, all) in [(" AND ", true), (" OR ", false)] {
        let parts = split_outside(expression, operator);
        if parts.len() > 1 {
            return if all { parts.iter().all(|p| accepted(p)) } else { parts.iter().any(|p| accepted(p)) };
        }
    }
    LICENCES.contains(&expression)
}

fn balanced(text: &str) -> bool {
    let mut depth = 0i32;
    text.chars().all(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth >= 0
    })
}

fn split_outside<'a>(text: &'a str, operator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(operator) {
        let depth = text[..at].matches('(').count() - text[..at].matches(')').count();
        if depth == 0 {
            parts.push(&text[start..at]);
            start = at + operator.len();
        }
    }
    parts.push(&text[start..]);
    parts
}

#[test]
fn licence_expressions_are_read_as_written() {
    assert!(accepted("MIT/Apache-2.0"));
    assert!(accepted("GPL-3.0 OR MIT"));
    assert!(accepted("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!accepted("MIT AND GPL-3.0"));
    assert!(!accepted("AGPL-3.0"));
    assert!(!accepted(""));
}
