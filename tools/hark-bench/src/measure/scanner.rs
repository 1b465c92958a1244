//! Finds what the load needs in a frame without parsing it: a member of a busy group receives thousands of pushes per
//! second.

use std::fmt::Write as _;

use memchr::memmem;

/// Begins the marker in a message's content. JSON escapes none of its characters.
const MARKER_START: &[u8] = b"~hb:";
const MARKER_END: u8 = b'~';
const ID: &[u8] = b"\"id\"";

/// Fills a content up to its length.
const FILLER: &str = " and what people say to each other all day, so that it has the length of a message";

/// Identifies a message: the load writes it into the content, and finds it in each push of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The conversation, numbered by the load.
    pub(crate) conversation: u32,
    /// The sender in that conversation, numbered by the load.
    pub(crate) stream: u32,
    /// The message's number in its stream, from 0.
    pub(crate) number: u64,
    /// When the message was due: nanoseconds since the run began.
    pub(crate) due: u64,
}

impl Marker {
    /// Appends a content of at least `bytes` bytes with the marker in it.
    pub(crate) fn write(&self, bytes: usize, out: &mut String) {
        let begin = out.len();
        write!(out, "~hb:{}:{}:{}:{}~", self.conversation, self.stream, self.number, self.due)
            .expect("a String takes every write");
        while out.len() - begin < bytes {
            let room = bytes - (out.len() - begin);
            out.push_str(&FILLER[..room.min(FILLER.len())]);
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(MARKER_END, bytes)?;
        let mut numbers = bytes[..end].split(|byte| *byte == b':').map(decimal);
        let mut next = || numbers.next().flatten();
        let (conversation, stream, number, due) = (next()?, next()?, next()?, next()?);
        Some(Self { conversation: conversation.try_into().ok()?, stream: stream.try_into().ok()?, number, due })
    }
}

/// The push of a marked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    /// The message's marker.
    pub(crate) marker: Marker,
    /// The message's `seq`, where the server has one in its pushes.
    pub(crate) seq: Option<u64>,
}

/// A reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The id of the request; `None` if the server does not echo it.
    pub(crate) id: Option<u64>,
    /// Whether the request was refused.
    pub(crate) is_error: bool,
}

/// Substring searchers for the keys of a frame.
pub(crate) struct Scanner {
    mark: memmem::Finder<'static>,
    seq: memmem::Finder<'static>,
    success: memmem::Finder<'static>,
    id: memmem::Finder<'static>,
    last_id: memmem::FinderRev<'static>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            mark: memmem::Finder::new(MARKER_START),
            seq: memmem::Finder::new(b"\"seq\""),
            success: memmem::Finder::new(b"\"success\""),
            id: memmem::Finder::new(ID),
            last_id: memmem::FinderRev::new(ID),
        }
    }
}

impl Scanner {
    /// Reads the push of a marked message; `None` for any other frame.
    pub(crate) fn push(&self, frame: &[u8]) -> Option<Push> {
        let at = self.mark.find(frame)? + MARKER_START.len();
        let marker = Marker::parse(&frame[at..])?;
        let seq = self.seq.find(&frame[at..]).map(|found| at + found).or_else(|| self.seq.find(frame));
        Some(Push { marker, seq: seq.and_then(|found| value(&frame[found + self.seq.needle().len()..])) })
    }

    /// Reads a frame as the reply to a send. A frame without an id may also be a push.
    pub(crate) fn reply(&self, frame: &[u8]) -> Reply {
        let id = self.last_id.rfind(frame).and_then(|found| value(&frame[found + ID.len()..]));
        Reply { id, is_error: self.is_error(frame) }
    }

    /// Whether a frame is the reply to the request with this id. No row of a page may have that id, because some
    /// servers write the id of the request before the rows, and some after them.
    pub(crate) fn answers(&self, frame: &[u8], id: u64) -> bool {
        let has = |found: Option<usize>| found.and_then(|found| value(&frame[found + ID.len()..])) == Some(id);
        has(self.last_id.rfind(frame)) || has(self.id.find(frame))
    }

    /// Whether a reply is an error.
    pub(crate) fn is_error(&self, frame: &[u8]) -> bool {
        self.success.find(frame).is_none()
    }
}

/// Parses the number after a key.
fn value(after_key: &[u8]) -> Option<u64> {
    let (b':', value) = after_key.trim_ascii_start().split_first()? else { return None };
    let value = value.trim_ascii_start();
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    decimal(&value[..end])
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MARKER: Marker = Marker { conversation: 3, stream: 17, number: 90_210, due: 1_234_567_890_123 };

    fn content(bytes: usize) -> String {
        let mut content = String::new();
        MARKER.write(bytes, &mut content);
        content
    }

    #[test]
    fn push_finds_marker_and_seq() {
        let body = json!({ "data": null, "message": content(100), "senderName": "Ann \"seq\":9",
                           "item": { "messageId": 5, "seq": 41, "content": content(100) } });
        let push = json!({ "type": "privateMessage", "success": true, "params": body });
        let found = Some(Push { marker: MARKER, seq: Some(41) });
        assert_eq!(Scanner::default().push(push.to_string().as_bytes()), found);
        // Other servers write spaces.
        assert_eq!(Scanner::default().push(serde_json::to_string_pretty(&push).unwrap().as_bytes()), found);
    }

    #[test]
    fn push_accepts_keys_in_any_order() {
        let frame = format!(r#"{{"params":{{"item":{{"seq":41,"content":"{0}"}},"message":"{0}"}}}}"#, content(0));
        assert_eq!(Scanner::default().push(frame.as_bytes()), Some(Push { marker: MARKER, seq: Some(41) }));
    }

    #[test]
    fn push_accepts_a_frame_without_seq() {
        let frame = format!(r#"{{"type":"privateMessage","params":{{"message":"{}"}}}}"#, content(0));
        assert_eq!(Scanner::default().push(frame.as_bytes()), Some(Push { marker: MARKER, seq: None }));
    }

    #[test]
    fn push_ignores_frames_without_a_marker() {
        let scanner = Scanner::default();
        for text in ["", "Hi", "~hb:", "~hb:1:2:3~", "~hb:1:2:3:x~", "~hb:1:2:3:4", "~hb:99999999999:2:3:4~"] {
            assert_eq!(scanner.push(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn reply_reads_id_and_error() {
        let scanner = Scanner::default();
        let receipt = r#"{"type":"privateMessage","success":true,"params":{"item":{"messageId":7,"seq":2}},"id":18}"#;
        assert_eq!(scanner.reply(receipt.as_bytes()), Reply { id: Some(18), is_error: false });
        let refusal = r#"{ "error" : true, "code": "overloaded", "id" : 19 }"#;
        assert_eq!(scanner.reply(refusal.as_bytes()), Reply { id: Some(19), is_error: true });
        let notice = r#"{"type":"addUserInGroup","success":true,"params":{"message":"User A added in group."}}"#;
        assert_eq!(scanner.reply(notice.as_bytes()), Reply { id: None, is_error: false });
    }

    #[test]
    fn answers_finds_the_id_before_and_after_rows() {
        let scanner = Scanner::default();
        let rows = r#""params":{"data":[{"id":1,"content":"~hb:1:2:3:4~"},{"id":2}]}"#;
        for frame in [format!(r#"{{"id":900,{rows}}}"#), format!(r#"{{{rows},"id": 900}}"#)] {
            assert!(scanner.answers(frame.as_bytes(), 900));
            assert!(!scanner.answers(frame.as_bytes(), 901));
        }
    }

    #[test]
    fn write_fills_the_content_to_its_length() {
        for bytes in [64, 100, 1000] {
            assert_eq!(content(bytes).len(), bytes);
        }
        assert!(content(0).ends_with('~'));
    }
}
