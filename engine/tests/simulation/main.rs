//! The engine's loop in a world without sockets, threads' luck and wall clock: thousands of lives, each drawn from a seed.
//!
//! Honest traffic, an attack at some time, reorganisations, requests that fail or lie, and a process that dies at any
//! request or commit. `CORDON_SIMULATION_SEEDS` says how many seeds are played, `CORDON_SIMULATION_SEED` plays one again.

#[cfg(test)]
#[path = "../faults/book.rs"]
#[expect(dead_code, reason = "the suite of faults counts more than the simulation")]
mod book;
#[cfg(test)]
#[path = "../engine/chain_edits.rs"]
#[expect(dead_code, reason = "here a branch may refuse what is handed in again")]
mod chain_edits;
#[cfg(test)]
#[path = "../faults/dice.rs"]
mod dice;
#[cfg(test)]
#[path = "../engine/faults.rs"]
#[expect(dead_code, reason = "the tower brings it along; this world has faults of its own")]
mod faults;
#[cfg(test)]
mod memory;
#[cfg(test)]
#[path = "../engine/node.rs"]
mod node;
#[cfg(test)]
mod play;
#[cfg(test)]
mod seeds;
#[cfg(test)]
#[path = "../engine/watchtower.rs"]
#[expect(dead_code, reason = "only what stands for ever is needed here, and no life of its process")]
mod watchtower;
#[cfg(test)]
mod weather;
