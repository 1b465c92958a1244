//! What holds of everything that reads bytes of a client, whatever the bytes are. The targets of
//! libFuzzer call these functions, and so do tests of the main crate, over the corpus.

pub mod fields;
pub mod frames;
pub mod tokens;
