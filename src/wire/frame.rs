//! Parsing of requests: the text of a frame to `{type, params, id}`. The command that `type` names parses
//! `params` later, so that an error in them can echo the type and the id of the request.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Code, Error};

/// The `type` of an error for a frame whose own type could not be read.
pub const NO_TYPE: &str = "processor";

/// A request: `{"type": "privateMessage", "params": {...}, "id": 17}`
#[derive(Debug)]
pub struct Request<'a> {
    /// The `type`, one of the table in `commands`.
    pub kind: String,
    /// The parameters as JSON text. None is the same as `{}`.
    pub params: Option<&'a RawValue>,
    /// The id that the reply echoes: a string or a number, as the client wrote it.
    pub id: Option<&'a RawValue>,
}

/// A frame that is not a request, with the parts that could be parsed.
#[derive(Debug)]
pub struct Malformed<'a> {
    /// The `type`, or [`NO_TYPE`].
    pub kind: String,
    /// The id that the error echoes.
    pub id: Option<&'a RawValue>,
    /// The error that the client gets.
    pub error: Error,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Parses the text of one frame.
///
/// # Errors
/// `bad_json` if it is not JSON, `bad_frame` if it is not an object with a string `type`.
pub fn parse(text: &str) -> Result<Request<'_>, Box<Malformed<'_>>> {
    let refuse = |code, message: &'static str| Malformed {
        kind: NO_TYPE.to_owned(),
        id: None,
        error: Error::new(code, message),
    };
    let bad_json = || refuse(Code::BadJson, "The frame is not JSON");
    let not_an_object = || refuse(Code::BadFrame, "The frame must be an object with type, params and id, each once");

    let whole: &RawValue = serde_json::from_str(text).map_err(|_| bad_json())?;
    // serde would accept an array for a struct as well.
    if !whole.get().starts_with('{') {
        return Err(not_an_object().into());
    }
    let Envelope { kind, params, id } = serde_json::from_str(whole.get()).map_err(|_| not_an_object())?;

    let is_id_valid = id.is_none_or(|id| id.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()));
    let id = id.filter(|_| is_id_valid);
    let Some(kind) = kind.and_then(|kind| serde_json::from_str::<String>(kind.get()).ok()) else {
        return Err(Malformed { id, ..refuse(Code::BadFrame, "type must be a string") }.into());
    };
    if !is_id_valid {
        return Err(Malformed { kind, ..refuse(Code::BadFrame, "id must be a string or a number") }.into());
    }
    Ok(Request { kind, params, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_keeps_the_spelling_of_an_id() {
        for id in [r#""a\u0041""#, "17", "-0.50e3", "12345678901234567890123"] {
            let text = format!(r#"{{"type":"x","id":{id}}}"#);
            assert_eq!(parse(&text).expect("a request").id.expect("an id").get(), id);
        }
    }

    #[test]
    fn parse_distinguishes_bad_json_from_bad_frames() {
        let refused = |text| {
            let malformed = parse(text).expect_err("malformed");
            (malformed.kind, malformed.error.code())
        };
        let processor = NO_TYPE.to_owned();
        assert_eq!(refused("{"), (processor.clone(), Code::BadJson));
        assert_eq!(refused(r#"{"type":"x"} {}"#), (processor.clone(), Code::BadJson));
        assert_eq!(refused(r#"["x",{},1]"#), (processor.clone(), Code::BadFrame));
        assert_eq!(refused(r#"{"type":7}"#), (processor.clone(), Code::BadFrame));
        assert_eq!(refused(r#"{"params":{}}"#), (processor, Code::BadFrame));
        assert_eq!(refused(r#"{"type":"x","id":[1]}"#), ("x".to_owned(), Code::BadFrame));
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn parse_returns_what_was_serialised(kind in any::<String>(), id in any::<i64>(), param in any::<String>()) {
            let text = serde_json::json!({ "type": kind, "id": id, "params": { "a": param } }).to_string();
            let request = parse(&text).expect("a request");
            prop_assert_eq!(request.kind, kind);
            prop_assert_eq!(request.id.expect("an id").get(), id.to_string());
            prop_assert!(request.params.is_some());
        }
    }
}
