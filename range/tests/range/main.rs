//! Tests of the range through its public API, in one binary.

mod bytecode;
mod chain;
mod provider;
