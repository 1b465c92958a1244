//! Encoding of what the server sends: replies, pushes and errors in their envelopes, and WebSocket frames. A
//! frame is encoded once; all sockets that it fans out to share its bytes.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Code, ErrorResponse};
use crate::model::PushType;

/// An encoded WebSocket frame: header and payload. Frames of a server are not masked, so one encoding serves
/// every socket. A clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A text frame.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        encode_frame(TEXT, text.as_bytes())
    }

    /// The payload of a text frame.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let header = match self.0.get(1)? {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        (self.0[0] == TEXT).then(|| std::str::from_utf8(&self.0[header..]).ok()).flatten()
    }

    /// A ping without a payload.
    #[must_use]
    pub fn ping() -> Self {
        Self(Bytes::from_static(&[PING, 0]))
    }

    /// A pong for a ping with this payload, of which at most 125 bytes are echoed.
    #[must_use]
    pub fn pong(payload: &[u8]) -> Self {
        encode_frame(PONG, &payload[..payload.len().min(MAX_CONTROL_BYTES)])
    }

    /// A close frame: a status code and a reason, cut at 123 bytes.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(MAX_CONTROL_BYTES - 2)]);
        encode_frame(CLOSE, &payload)
    }
}

// The first byte of a frame: the FIN bit and the opcode.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MAX_CONTROL_BYTES: usize = 125;
/// Maximum size of a frame header without a masking key, in bytes.
const MAX_HEADER_BYTES: usize = 10;

/// Maximum unused capacity that a frame may keep, in bytes.
const MAX_SLACK_BYTES: usize = 4096;

/// Writes the header in front of a payload that begins at `MAX_HEADER_BYTES` of the buffer.
fn with_ws_header(first: u8, mut buffer: Vec<u8>) -> Frame {
    let length = buffer.len() - MAX_HEADER_BYTES;
    let mut header = [0; MAX_HEADER_BYTES];
    header[0] = first;
    let used = if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(length as u64).to_be_bytes());
        MAX_HEADER_BYTES
    };
    // A large frame may wait long in an outbox, and its unused capacity with it.
    if buffer.capacity() - buffer.len() > MAX_SLACK_BYTES {
        buffer.shrink_to_fit();
    }
    let start = MAX_HEADER_BYTES - used;
    buffer[start..MAX_HEADER_BYTES].copy_from_slice(&header[..used]);
    Frame(Bytes::from(buffer).slice(start..))
}

fn encode_frame(first: u8, payload: &[u8]) -> Frame {
    let mut buffer = vec![0; MAX_HEADER_BYTES];
    buffer.extend_from_slice(payload);
    with_ws_header(first, buffer)
}

fn text_frame(envelope: &impl Serialize) -> Frame {
    let mut buffer = Vec::with_capacity(256);
    buffer.resize(MAX_HEADER_BYTES, 0);
    serde_json::to_writer(&mut buffer, envelope).expect("an envelope has string keys, and a Vec takes every write");
    with_ws_header(TEXT, buffer)
}

/// The `params` of a reply or a push. The first three keys are always written, as null if they have no value.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// A page of rows, as a JSON array.
    pub data: Option<Box<RawValue>>,
    /// The content of a message, or a notice in English.
    pub message: Option<String>,
    /// The current name of the sender of a message.
    pub sender_name: Option<String>,
    /// The object that the frame is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Box<RawValue>>,
}

impl Body {
    /// The body of a success without a result: all keys are null.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// A body with a page of rows in `data`.
    #[must_use]
    pub fn rows<T: Serialize>(rows: &[T]) -> Self {
        Self { data: Some(raw(&rows)), ..Self::default() }
    }

    /// A body with one object in `item`.
    #[must_use]
    pub fn item(item: &impl Serialize) -> Self {
        Self { item: Some(raw(item)), ..Self::default() }
    }
}

/// Serialises a value that becomes part of a body or of an item.
///
/// # Panics
/// Never: rows and items have string keys and finite numbers.
#[must_use]
pub fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("rows and items have string keys and finite numbers")
}

#[derive(Serialize)]
struct Success<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    success: bool,
    params: &'a Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    error: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
}

/// `{"type": …, "success": true, "params": {"data", "message", "senderName", "item"?}, "id"?}`
#[must_use]
pub fn success(kind: &str, body: &Body, id: Option<&RawValue>) -> Frame {
    text_frame(&Success { kind, success: true, params: body, id })
}

/// A push: it has the envelope of a success, without an id.
#[must_use]
pub fn push(push_type: PushType, body: &Body) -> Frame {
    success(push_type.name(), body, None)
}

/// `{"error": true, "type": …, "message": …, "code": …, "retryAfterMs"?, "id"?}`
#[must_use]
pub fn failure(kind: &str, response: &ErrorResponse, id: Option<&RawValue>) -> Frame {
    let retry_after_ms = response.retry_after.map(|wait| wait.as_millis().max(1));
    text_frame(&Failure {
        error: true,
        kind,
        message: &response.sentence("params."),
        code: response.code,
        retry_after_ms,
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_header_has_the_length_of_the_payload() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let text = "x".repeat(length);
            let frame = Frame::of_text(&text);
            assert_eq!(frame.bytes().len(), header + length);
            assert_eq!(frame.text(), Some(text.as_str()));
        }
    }

    #[test]
    fn close_frame_holds_its_code_and_reason() {
        assert_eq!(Frame::close(4001, "no").bytes().as_ref(), [0x88, 4, 0x0f, 0xa1, b'n', b'o']);
    }
}
