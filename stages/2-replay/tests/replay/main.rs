//! Tests of the replay stage from outside: the archive of real blocks, hand-made contracts, a live node, and the traces
//! of a real one.

// The attribute tells the linter that all of this is test code.
#[cfg(test)]
#[path = "../../../../bin/cordon/tests/node/anvil.rs"]
#[expect(dead_code, reason = "the binary's own tests use the rest of it")]
mod anvil;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod block_facts;
#[cfg(test)]
mod cold;
#[cfg(test)]
mod contracts;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod fork;
#[cfg(test)]
mod interest;
#[cfg(test)]
#[path = "../../../../bin/cordon/tests/node/market.rs"]
#[expect(dead_code, reason = "the binary's own tests use the rest of it")]
mod market;
#[cfg(test)]
mod node;
#[cfg(test)]
mod op_stack;
#[cfg(test)]
mod opcodes;
#[cfg(test)]
mod pending;
#[cfg(test)]
mod supply;
#[cfg(test)]
mod traced;
