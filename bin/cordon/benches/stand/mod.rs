//! The stand on which the whole engine is measured under load: nodes, what happens on them, and watchers that are
//! processes of their own.
//!
//! In: settings from the environment. Out: nodes with a protected contract, running `cordon watch` processes, and what
//! the system says they cost. A watcher is a process because then its time and memory are its own, and not the bench's.
//! Must never: judge a figure by the clock of a machine that others use too; figures are ratios inside one run, and the
//! load average stands beside them.

#![expect(dead_code, reason = "every bench uses a part of it")]

#[path = "../../tests/node/anvil.rs"]
pub(crate) mod anvil;
pub(crate) mod figures;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod subscriber;
pub(crate) mod watcher;

use std::path::PathBuf;

/// A whole number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a bench with the path of anvil's binary, between two looks at the load of the machine. Without npm it says why
/// nothing is measured.
pub(crate) fn run(bench: impl AsyncFnOnce(PathBuf)) {
    let Some(binary) = anvil::binary() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("load average {}", figures::load_average());
    runtime.block_on(bench(binary));
    println!("load average {}", figures::load_average());
}
