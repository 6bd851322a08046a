//! Tests of the range through its public API, in one binary.

mod chain;
mod bytecode;
mod provider;
