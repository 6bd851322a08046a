//! The stand on which the whole engine is measured under load: nodes, what happens on them, and watchers that are
//! processes of their own.
//!
//! In: settings from the environment. Out: nodes with a protected contract, running `cordon watch` processes, and what
//! the system says they cost. A watcher is a process because then its time and memory are its own, and not the bench's.
//! Must never: judge a figure by the clock of a machine that others use too; figures are ratios inside one run, and the
//! load average stands beside them.

pub(crate) mod figures;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod watcher;

/// A whole number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
