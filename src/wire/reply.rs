//! What goes to a client: envelopes, serialised once into bytes that any number of sockets share.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Answer, Code};

/// One WebSocket frame, ready to be written: header and payload. A server's frames carry no mask,
/// so one encoding serves every socket; a clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// The bytes to write.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A frame that holds this text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        with_header(TEXT, text.as_bytes())
    }

    /// The text in it, where it is a text frame.
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

    /// The answer to a ping with this payload (at most 125 bytes; the rest is left out).
    #[must_use]
    pub fn pong(payload: &[u8]) -> Self {
        with_header(PONG, &payload[..payload.len().min(MAX_CONTROL_BYTES)])
    }

    /// The last frame of a connection: a close code and a short reason (at most 123 bytes).
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(MAX_CONTROL_BYTES - 2)]);
        with_header(CLOSE, &payload)
    }
}

/// First byte of a frame: final, and its opcode.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MAX_CONTROL_BYTES: usize = 125;
/// Room for the longest header of a server's frame.
const HEADER_ROOM: usize = 10;

/// Most bytes that a frame may hold beyond its end.
const MOST_SLACK: usize = 4096;

/// The bytes of a frame that begins `payload` at `HEADER_ROOM`.
fn seal(first: u8, mut buffer: Vec<u8>) -> Frame {
    let length = buffer.len() - HEADER_ROOM;
    let mut header = [0; HEADER_ROOM];
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
        HEADER_ROOM
    };
    // A large frame may wait long, and what it grew by beyond its end would wait with it.
    if buffer.capacity() - buffer.len() > MOST_SLACK {
        buffer.shrink_to_fit();
    }
    let start = HEADER_ROOM - used;
    buffer[start..HEADER_ROOM].copy_from_slice(&header[..used]);
    Frame(Bytes::from(buffer).slice(start..))
}

fn with_header(first: u8, payload: &[u8]) -> Frame {
    let mut buffer = vec![0; HEADER_ROOM];
    buffer.extend_from_slice(payload);
    seal(first, buffer)
}

fn text_frame(envelope: &impl Serialize) -> Frame {
    let mut buffer = Vec::with_capacity(256);
    buffer.resize(HEADER_ROOM, 0);
    serde_json::to_writer(&mut buffer, envelope).expect("an envelope has string keys, and a Vec takes every write");
    seal(TEXT, buffer)
}

/// What a reply or a push says: the `params` of its envelope. The first three are always there.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// A page of rows.
    pub data: Option<Box<RawValue>>,
    /// A message's content, or a notice.
    pub message: Option<String>,
    /// The current name of a message's sender.
    pub sender_name: Option<String>,
    /// The one object that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Box<RawValue>>,
}

impl Body {
    /// A reply that says no more than that it was done.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// A page of rows.
    #[must_use]
    pub fn rows<T: Serialize>(rows: &[T]) -> Self {
        Self { data: Some(raw(&rows)), ..Self::default() }
    }

    /// One object.
    #[must_use]
    pub fn item(item: &impl Serialize) -> Self {
        Self { item: Some(raw(item)), ..Self::default() }
    }
}

/// A value that becomes part of a body, or of an item in it.
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

/// A success that nobody asked for.
#[must_use]
pub fn push(kind: &str, body: &Body) -> Frame {
    success(kind, body, None)
}

/// `{"error": true, "type": …, "message": …, "code": …, "retryAfterMs"?, "id"?}`
#[must_use]
pub fn failure(kind: &str, answer: &Answer, id: Option<&RawValue>) -> Frame {
    let retry_after_ms = answer.retry_after.map(|wait| wait.as_millis().max(1));
    text_frame(&Failure { error: true, kind, message: &answer.message, code: answer.code, retry_after_ms, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_the_length_of_its_payload() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let text = "x".repeat(length);
            let frame = Frame::of_text(&text);
            assert_eq!(frame.bytes().len(), header + length);
            assert_eq!(frame.text(), Some(text.as_str()));
        }
    }

    #[test]
    fn a_close_frame_holds_its_code_and_reason() {
        assert_eq!(Frame::close(4001, "no").bytes().as_ref(), [0x88, 4, 0x0f, 0xa1, b'n', b'o']);
    }
}
