//! The suite: many schedules, one table, nothing lost and nothing doubled.

use crate::anvil::binary;
use crate::node::KEY;
use crate::schedule::{Theatre, play};
use crate::table::{CLASSES, Class, Table};
use crate::trace::Trace;
use std::time::Instant;

/// Schedules that are played where nobody asks for more.
const SCHEDULES: u64 = 200;

/// Lines of the engine that are shown with a failure.
const LINES_SHOWN: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_survived_with_nothing_lost_and_nothing_doubled() {
    let Some(binary) = binary() else { return };
    let trace = Trace::listen();
    let mut theatre = Theatre::open(&binary).await;
    let mut table = Table::default();
    let one = number("CORDON_FAULT_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORDON_FAULT_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let begun = Instant::now();
    let mut broken = Vec::new();
    for seed in seeds {
        trace.take();
        let outcome = play(&mut theatre, seed).await;
        let said = trace.take();
        let told = said.iter().find(|line| line.contains(KEY));
        if !outcome.breaches.0.is_empty() || told.is_some() || one.is_some() {
            eprintln!("seed {seed}: {:?}, told the key: {told:?}, {:?}", outcome.breaches.0, outcome.details);
            let from = if one.is_some() { 0 } else { said.len().saturating_sub(LINES_SHOWN) };
            said[from..].iter().for_each(|line| eprintln!("    {line}"));
        }
        table.add(&outcome.injected, &outcome.breaches);
        table.detail(&outcome.details);
        if !outcome.breaches.0.is_empty() || told.is_some() {
            broken.push(seed);
        }
    }
    eprintln!("{table}\nin {} s", begun.elapsed().as_secs());
    assert!(broken.is_empty(), "seeds {broken:?} broke a promise; CORDON_FAULT_SEED plays one again");
    if one.is_none() {
        for (class, what) in CLASSES.iter().filter(|(class, _)| *class != Class::F12) {
            assert!(table.injected(*class) > 0, "{class:?} ({what}) was never injected");
        }
    }
}
