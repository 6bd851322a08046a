//! The table of faults: what was injected, and what became of it.
//!
//! In: the outcome of each schedule. Out: lines for people. A schedule mixes faults; whatever is lost in it is counted
//! against each of them.

use crate::book::{Breach, Breaches};
use std::collections::BTreeMap;
use std::fmt;

/// The faults of the suite, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Logs that nobody can read, in a block that is judged all the same.
    F1,
    /// One request fails or is answered wrongly.
    F2,
    /// The receiver of notices fails, hangs, or is restarted.
    F3,
    /// A reorganisation moves, removes or adds the attack.
    F4,
    /// The attack comes by way of another contract.
    F5,
    /// The attack is in the newest block, and stays or leaves.
    F6,
    /// The node is away while blocks are mined.
    F8,
    /// An attack that is reverted.
    F10,
    /// The process dies at any point.
    F11,
    /// Two providers disagree on a block. This is the place of its test, which needs the quorum of `stages/1-ingest`: two
    /// faulty nodes before one anvil, one of which lies about a block.
    F12,
}

pub(crate) const CLASSES: [(Class, &str); 10] = [
    (Class::F1, "odd logs beside the attack"),
    (Class::F2, "a request fails or is answered wrongly"),
    (Class::F3, "the receiver fails, hangs, restarts"),
    (Class::F4, "a reorganisation moves, removes or adds the attack"),
    (Class::F5, "the attack comes by way of another contract"),
    (Class::F6, "the attack is met in the newest block"),
    (Class::F8, "the node is away while blocks are mined"),
    (Class::F10, "an attack that is reverted"),
    (Class::F11, "the process dies at any point"),
    (Class::F12, "two providers disagree (see bin/cordon/tests/node/quorum.rs)"),
];

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    injected: u64,
    survived: u64,
    lost: u64,
    duplicated: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: BTreeMap<Class, Line>,
    details: BTreeMap<String, u64>,
}

impl Table {
    /// Adds one schedule.
    pub(crate) fn add(&mut self, injected: &BTreeMap<Class, u64>, breaches: &Breaches) {
        let count = |of: Breach| breaches.0.iter().filter(|(breach, _)| *breach == of).count() as u64;
        for (class, times) in injected.iter().filter(|(_, times)| **times > 0) {
            let line = self.lines.entry(*class).or_default();
            line.injected += times;
            line.lost += count(Breach::Lost) + count(Breach::Wrong);
            line.duplicated += count(Breach::Duplicated);
            if breaches.0.is_empty() {
                line.survived += times;
            }
        }
    }

    /// Adds what was injected in detail.
    pub(crate) fn detail(&mut self, injected: &BTreeMap<String, u64>) {
        injected.iter().for_each(|(name, times)| *self.details.entry(name.clone()).or_default() += times);
    }

    pub(crate) fn injected(&self, class: Class) -> u64 {
        self.lines.get(&class).map_or(0, |line| line.injected)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<5} {:>9} {:>9} {:>6} {:>11}  fault",
            "", "injected", "survived", "lost", "duplicated"
        )?;
        for (class, what) in CLASSES {
            let line = self.lines.get(&class).copied().unwrap_or_default();
            let Line { injected, survived, lost, duplicated } = line;
            let name = format!("{class:?}");
            writeln!(f, "{name:<5} {injected:>9} {survived:>9} {lost:>6} {duplicated:>11}  {what}")?;
        }
        let details: Vec<String> =
            self.details.iter().map(|(name, times)| format!("{name} {times}")).collect();
        write!(f, "in detail: {}", details.join(", "))
    }
}
