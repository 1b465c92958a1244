//! `Authorization` headers and the tokens in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hark_fuzz::tokens::check(bytes));
