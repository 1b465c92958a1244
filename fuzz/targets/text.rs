//! The texts that have a form of their own: cursors, and the words of messages and queries. Both are
//! private in the server, so their files are taken in here.
#![no_main]

use hark::model;
use hark::model::Cursor;
use hark_fuzz::frames::LIMITS;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/store/sync/cursor.rs"]
mod cursor;
#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/store/search/words.rs"]
mod words;

/// A `tsvector` holds a megabyte.
const LONGEST_VECTOR: usize = 1 << 20;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = Cursor::parse(text.to_owned(), &LIMITS)
        && let Some(known) = cursor::Known::parse(&cursor)
    {
        assert_eq!(known.to_string(), text);
    }
    let found = words::Words::of(text);
    assert!(found.are_in(text), "a text has its own words");
    assert!(found.vector().len() < LONGEST_VECTOR);
    assert!(!found.is_empty() || found.vector().is_empty());
    assert!(found.query().ends_with(" | '!')"));
});
