//! The suite: many schedules, one table, nothing lost and nothing doubled.

use crate::anvil::binary;
use crate::killed::killed;
use crate::node::KEY;
use crate::schedule::{Outcome, Theatre, half_an_hour_away, play, receiver_away_for_a_while};
use crate::table::{CLASSES, Class, Table};
use crate::trace::Trace;
use std::time::Instant;
use tokio::sync::{Mutex, MutexGuard};

/// Schedules that are played where nobody asks for more.
const SCHEDULES: u64 = 100;

/// Schedules with a process that is killed, where nobody asks for more.
const KILLS: u64 = 5;

/// Schedules on one anvil: it keeps every block that it ever mined, and loses states among thousands of them.
const SCHEDULES_PER_NODE: u64 = 40;

/// Schedules after which the table is shown, where many are played.
const TABLE_EVERY: u64 = 250;

/// Most schedules in a hundred that may be void because the node lost its own state.
const VOID_PERCENT_MAX: u64 = 2;

/// Lines of the engine that are shown with a failure.
const LINES_SHOWN: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_survived_with_nothing_lost_and_nothing_doubled() {
    let Some(binary) = binary() else { return };
    let _alone = alone().await;
    let trace = Trace::listen();
    let mut theatre = Theatre::open(&binary).await;
    let mut table = Table::default();
    let one = number("CORDON_FAULT_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("CORDON_FAULT_FIRST").unwrap_or(0);
            first..first + number("CORDON_FAULT_SCHEDULES").unwrap_or(SCHEDULES)
        }
    };
    let (begun, count) = (Instant::now(), seeds.end - seeds.start);
    let (mut broken, mut void) = (Vec::new(), 0);
    for (played, seed) in (1..).zip(seeds) {
        if played % SCHEDULES_PER_NODE == 0 {
            theatre = Theatre::open(&binary).await;
        }
        trace.take();
        let outcome = play(&mut theatre, seed).await;
        let said = trace.take();
        if outcome.void {
            void += 1;
            continue;
        }
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
        if played % TABLE_EVERY == 0 {
            eprintln!("after {played} schedules:\n{table}");
        }
    }
    eprintln!("{table}\n{count} schedules in {} s, {void} void", begun.elapsed().as_secs());
    assert!(void * 100 <= count * VOID_PERCENT_MAX, "the node lost its state {void} times in {count}");
    assert!(broken.is_empty(), "seeds {broken:?} broke a promise; CORDON_FAULT_SEED plays one again");
    if one.is_none() {
        for (class, what) in CLASSES.iter().filter(|(class, _)| *class != Class::F12) {
            assert!(table.injected(*class) > 0, "{class:?} ({what}) was never injected");
        }
    }
}

/// A life ends when the database's threads have, and those have no owner; so the tests of one process take turns.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

fn assert_kept(outcome: &Outcome, what: &str) {
    assert!(!outcome.void, "{what}: the node lost its state");
    assert!(outcome.breaches.0.is_empty(), "{what}: {:?}", outcome.breaches.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_an_hour_without_the_node_is_made_up_for_block_by_block() {
    let Some(binary) = binary() else { return };
    let _alone = alone().await;
    let mut theatre = Theatre::open(&binary).await;
    let outcome = half_an_hour_away(&mut theatre, 1).await;
    assert_kept(&outcome, "half an hour away");
    assert!(outcome.injected[&Class::F8] > 0, "the engine asked meanwhile, and was turned away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_for_a_while_is_told_once_by_the_same_process() {
    let Some(binary) = binary() else { return };
    let _alone = alone().await;
    let mut theatre = Theatre::open(&binary).await;
    let outcome = receiver_away_for_a_while(&mut theatre, 1).await;
    assert_kept(&outcome, "a receiver that fails");
    assert!(outcome.injected[&Class::F3] > 3, "{:?}", outcome.injected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_neither_forgets_nor_acts_twice() {
    let Some(binary) = binary() else { return };
    let _alone = alone().await;
    let mut theatre = Theatre::open(&binary).await;
    for seed in 0..number("CORDON_FAULT_KILLS").unwrap_or(KILLS) {
        let outcome = killed(&mut theatre, seed).await;
        assert_kept(&outcome, &format!("killed, seed {seed}"));
    }
}
