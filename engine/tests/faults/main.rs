//! Faults that an incident system must survive with nothing lost and nothing doubled: a real node behind a line that goes
//! wrong, a real receiver that fails, a process that dies anywhere.
//!
//! Each schedule is drawn from a seed. `CORDON_FAULT_SCHEDULES` says how many are played, `CORDON_FAULT_SEED` plays one
//! again. What is injected and what must hold stands in `docs/faults.md`.

#[cfg(test)]
mod anvil;
#[cfg(test)]
mod book;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod distort;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod life;
#[cfg(test)]
mod line;
#[cfg(test)]
#[expect(dead_code, reason = "the market of the node tests; not all of it is needed here")]
#[path = "../../../bin/cordon/tests/node/market.rs"]
mod market;
#[cfg(test)]
mod node;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod story;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod table;
#[cfg(test)]
mod trace;
