//! What a contract's code looks like, and how much that is like code that attacked before.
//!
//! In: runtime code, as bytes. Out: [`Features`], and by a [`Model`] the log-odds that it belongs to an attacker rather than to
//! what a chain runs every day. Must never: execute anything, trust a length, or compute with floating point. Whoever
//! writes the code knows this file; one walk over it from its first byte to its last is all that it costs.
//!
//! Source: opcode n-grams with logistic regression as in Forta's malicious contract detector; functions called, functions offered,
//! callbacks and flow as in LookAhead (2024), whose features of the creator's funds are left out, since they need an index of
//! other chains.

mod code;
mod facts;
mod features;
mod model;

pub use code::{Instruction, Instructions, runtime_in, without_metadata};
pub use facts::{CodeFacts, constant_addresses};
pub use features::{DIMENSIONS, Features, classes};
pub use model::{Bounds, FORMAT, Likeness, Model, ModelError, Tested, Trained};
