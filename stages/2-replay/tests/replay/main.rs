//! Tests of the replay stage from outside: the archive of real blocks, hand-made contracts, and a live node.

// The attribute tells the linter that all of this is test code.
#[cfg(test)]
mod archive;
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
mod node;
#[cfg(test)]
mod opcodes;
