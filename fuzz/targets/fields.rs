//! The fields of an HTTP body or of a query string.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hark_fuzz::fields::check(bytes));
