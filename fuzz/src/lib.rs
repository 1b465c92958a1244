//! Invariants of every parser of client input, for any bytes. The targets of libFuzzer check them, and tests of
//! the server check them over the corpus.

pub mod fields;
pub mod frames;
pub mod tokens;
