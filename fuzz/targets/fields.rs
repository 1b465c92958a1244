//! The fields of HTTP bodies and query strings.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hark_fuzz::fields::check(bytes));
