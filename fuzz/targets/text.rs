//! Cursors of `sync`, and the tokens of messages and queries. Both modules are private in the server, so their
//! files are included here.
#![no_main]

use hark::model;
use hark::model::Cursor;
use hark_fuzz::frames::LIMITS;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/store/sync/cursor.rs"]
mod cursor;
#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/store/search/tokenizer.rs"]
mod tokenizer;

/// Maximum size of a `tsvector` in bytes.
const MAX_VECTOR_BYTES: usize = 1 << 20;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = Cursor::parse(text.to_owned(), &LIMITS)
        && let Some(parsed) = cursor::SyncCursor::parse(&cursor)
    {
        assert_eq!(parsed.to_string(), text);
    }
    let found = tokenizer::SearchTokens::of(text);
    assert!(found.match_text(text), "a text matches its own tokens");
    assert!(found.vector().len() < MAX_VECTOR_BYTES);
    assert!(!found.is_empty() || found.vector().is_empty());
    assert!(found.query().ends_with(" | '!')"));
});
