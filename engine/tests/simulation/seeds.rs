//! Many seeds, and some of them twice.

use crate::play::{Outcome, Tally, play};
use std::time::Instant;

/// Seeds that are played where nobody asks for more.
const SEEDS: u64 = 80;

/// Every so many seeds one is played twice and compared byte for byte.
const TWICE_EVERY: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A history on a runtime of its own, so that no seed knows of another one's clock.
fn history(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = runtime.block_on(play(seed));
    runtime.shutdown_background();
    outcome
}

fn sum(total: &mut Tally, one: Tally) {
    total.blocks += one.blocks;
    total.strikes += one.strikes;
    total.reorganisations += one.reorganisations;
    total.deaths += one.deaths;
    total.node_faults += one.node_faults;
    total.receiver_faults += one.receiver_faults;
    total.gave_up += one.gave_up;
}

#[test]
fn every_history_is_judged_once_and_told_once() {
    let seeds = match number("CORDON_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORDON_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let (begun, count) = (Instant::now(), seeds.end - seeds.start);
    if count == 1 {
        // Whoever plays one again wants to see what the engine says.
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    }
    let (mut total, mut broken) = (Tally::default(), Vec::new());
    for seed in seeds {
        let outcome = history(seed);
        sum(&mut total, outcome.tally);
        let same = seed % TWICE_EVERY != 0 || history(seed).bytes == outcome.bytes;
        if !outcome.breaches.0.is_empty() || !same {
            eprintln!(
                "seed {seed}: {:?}, the same bytes twice: {same}, {:?}",
                outcome.breaches.0, outcome.tally
            );
            broken.push(seed);
        }
    }
    eprintln!("{count} histories in {} s: {total:?}", begun.elapsed().as_secs());
    assert!(broken.is_empty(), "seeds {broken:?} broke a promise; CORDON_SIMULATION_SEED plays one again");
    if count > 1 {
        let Tally { blocks, strikes, reorganisations, deaths, node_faults, receiver_faults, .. } = total;
        let all = [blocks, strikes, reorganisations, deaths, node_faults, receiver_faults];
        assert!(all.iter().all(|injected| *injected > 0), "{total:?}");
    }
}
