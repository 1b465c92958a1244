//! What stands in `Authorization`, and the tokens in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hark_fuzz::tokens::check(bytes));
