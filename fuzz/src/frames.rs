//! Invariants of frames: from bytes to a request, from a request to a command.

use std::sync::LazyLock;

use clap::Parser as _;
use hark::commands::Command;
use hark::config::{Cli, Limits};
use hark::error::{Code, Error};
use hark::wire::frame::{self, NO_TYPE, Request};
use hark::wire::reply::{self, Frame};
use serde_json::Value;
use serde_json::value::RawValue;

/// The default limits of a server.
pub static LIMITS: LazyLock<Limits> = LazyLock::new(|| Cli::parse_from(["hark"]).config.limits);

/// Maximum length of an error sentence, in bytes.
const MAX_SENTENCE_BYTES: usize = 300;
/// Maximum number of bytes by which an error is longer than its request: `type` and `id` are echoed once each.
const MAX_ERROR_OVERHEAD_BYTES: usize = MAX_SENTENCE_BYTES + 200;

/// Internal terms, which no error sentence contains.
const INTERNAL_TERMS: [&str; 14] = [
    "line 1",
    "column",
    "expected",
    "invalid type",
    "EOF",
    "serde",
    "sqlx",
    "SQL",
    "::",
    "i64",
    "usize",
    "Option",
    "RawValue",
    "panick",
];

/// Parses a frame as a connection does, and encodes the error if it is refused.
///
/// # Panics
/// If an invariant does not hold.
pub fn check(bytes: &[u8]) {
    // Other bytes are refused with close code 1007 before they are parsed.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A second parser, which limits depth and numbers, unlike raw values.
    let value: Option<Value> = serde_json::from_str(text).ok();
    match frame::parse(text) {
        Ok(request) => {
            check_request(text, &request, value.as_ref());
            match Command::parse(&request, &LIMITS) {
                Ok(command) => check_command(&request, &command),
                Err(error) => check_refusal_of_command(text, &request, error),
            }
        }
        Err(malformed) => {
            let code = malformed.error.code();
            assert!([Code::BadJson, Code::BadFrame].contains(&code), "{code:?}");
            assert!(value.is_none() || code == Code::BadFrame, "it is JSON: {text}");
            assert!(code != Code::BadJson || malformed.kind == NO_TYPE && malformed.id.is_none());
            check_answer(text, &malformed.kind, malformed.error, malformed.id);
        }
    }
}

/// The parsed parts are slices of the text, and agree with a second parser.
fn check_request(text: &str, request: &Request<'_>, value: Option<&Value>) {
    for part in [request.params, request.id].into_iter().flatten() {
        assert!(is_slice_of(text, part.get()), "{} is a copy", part.get());
    }
    let Some(value) = value else { return };
    assert_eq!(value["type"].as_str(), Some(request.kind.as_str()));
    // Null is the same as missing.
    let id = &value["id"];
    assert_eq!(request.id.is_some(), !id.is_null());
    assert!(id.is_null() || id.is_string() || id.is_number(), "{id}");
}

/// Whether a text is a slice of another.
fn is_slice_of(whole: &str, part: &str) -> bool {
    let (whole, part) = (whole.as_bytes().as_ptr_range(), part.as_bytes().as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// A command does not depend on spaces, on the order of keys, or on unknown keys.
fn check_command(request: &Request<'_>, command: &Command) {
    let sends = ["privateMessage", "messageInGroup"];
    assert_eq!(command.is_send(), sends.contains(&request.kind.as_str()));
    let params = request.params.map_or("null", RawValue::get);
    let kind = Value::from(request.kind.as_str());
    let id = request.id.map_or("null", RawValue::get);
    let again = format!("\n{{\"of tomorrow\":[{{}}], \"id\":{id} ,\t\"params\":{params},\"type\":{kind}}}\r ");
    let again = frame::parse(&again).unwrap_or_else(|malformed| panic!("{malformed:?}"));
    let same = Command::parse(&again, &LIMITS).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{command:?}"), format!("{same:?}"));
}

fn check_refusal_of_command(text: &str, request: &Request<'_>, error: Error) {
    match error.code() {
        Code::UnknownType => assert_eq!(error.to_string(), "There is no such type"),
        Code::BadParams => assert!(names_a_field(&error.to_string()), "{error}"),
        other => panic!("{other:?}: {error}"),
    }
    check_answer(text, &request.kind, error, request.id);
}

/// `params.limit must be …`, or `params must be an object`.
fn names_a_field(sentence: &str) -> bool {
    let Some((field, rest)) = sentence.split_once(' ') else { return false };
    let name = field.strip_prefix("params.").unwrap_or("left-out");
    (field == "params" || !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic())) && !rest.is_empty()
}

/// An error sentence has no internal terms, and nothing of the client's bytes but names of fields.
pub fn check_sentence(error: &Error) {
    let sentence = error.to_string();
    assert!((1..=MAX_SENTENCE_BYTES).contains(&sentence.len()), "{} bytes: {sentence}", sentence.len());
    assert!(sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{sentence:?}");
    let inside = INTERNAL_TERMS.iter().find(|word| sentence.contains(**word));
    assert!(inside.is_none(), "{inside:?} in {sentence}");
}

/// An error frame has the type, the code and the sentence, and echoes the id byte for byte.
fn check_answer(text: &str, kind: &str, error: Error, id: Option<&RawValue>) {
    check_sentence(&error);
    assert!(kind == NO_TYPE || text.len() >= kind.len(), "not the type of the request: {kind}");
    let (code, sentence) = (error.code(), error.to_string());
    let frame = reply::failure(kind, &error.log_and_convert(), id);
    let answer = payload(&frame);
    assert!(answer.len() <= text.len() + MAX_ERROR_OVERHEAD_BYTES, "{} bytes of {}", answer.len(), text.len());
    if let Some(id) = id {
        assert!(answer.ends_with(&format!(",\"id\":{}}}", id.get())), "{answer}");
    }
    // This parser refuses numbers beyond f64 and lone surrogates, which are JSON.
    let is_readable = id.is_none_or(|id| serde_json::from_str::<Value>(id.get()).is_ok());
    let Ok(answer) = serde_json::from_str::<Value>(answer) else { return assert!(!is_readable, "{answer}") };
    assert_eq!(answer["error"], true);
    assert_eq!(answer["type"], kind);
    assert_eq!(answer["message"], sentence);
    assert_eq!(answer["code"], serde_json::to_value(code).expect("a code is a word"));
    let fields = answer.as_object().expect("an object").len();
    assert_eq!(fields, 4 + usize::from(id.is_some()), "{answer}");
}

/// The payload of an encoded text frame.
fn payload(frame: &Frame) -> &str {
    let bytes = frame.bytes();
    let header = match bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    std::str::from_utf8(&bytes[header..]).expect("text frames are UTF-8")
}
