//! The engine as a whole, on the practice range: a real chain, a real log in a file, real keys.
//!
//! Everything that can be interrupted is interrupted here, and everything that can be taken back is taken back. What
//! must hold afterwards is in one place, `watchtower::Tower::assert_contained_once`.

#[cfg(test)]
mod bridged;
mod calibrated;
#[cfg(test)]
mod certainty;
#[cfg(test)]
mod chain_edits;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod everything;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixes;
#[cfg(test)]
mod learning;
#[cfg(test)]
mod members;
#[cfg(test)]
mod node;
#[cfg(test)]
mod node_faults;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod queued;
#[cfg(test)]
mod remember;
#[cfg(test)]
mod reorg;
#[cfg(test)]
mod repeat;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod watchtower;
#[cfg(test)]
mod windows;
