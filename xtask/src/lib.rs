//! Checks and generators of this repository
