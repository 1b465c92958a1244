//! What a load has to know of a frame, found without parsing it: a reader of a busy room hears
//! thousands of pushes a second.

use std::fmt::Write as _;

use memchr::memmem;

/// Begins the marker in a message's content. JSON writes none of its characters in another way.
const MARK: &[u8] = b"~hb:";
const MARK_ENDS: u8 = b'~';
const ID: &[u8] = b"\"id\"";

/// What fills a content up to its length.
const WORDS: &str = " and what people say to each other all day, so that it has the length of a message";

/// What a load writes into a message, so that whoever receives it can tell which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The conversation, by the load's own count.
    pub(crate) place: u32,
    /// The sender in that conversation, by the load's own count.
    pub(crate) stream: u32,
    /// Which message of the stream, from 0.
    pub(crate) number: u64,
    /// When it was meant to be sent: nanoseconds since the load began.
    pub(crate) sent: u64,
}

impl Marker {
    /// Appends a content of at least so many bytes with the marker in it.
    pub(crate) fn write(&self, bytes: usize, out: &mut String) {
        let begin = out.len();
        write!(out, "~hb:{}:{}:{}:{}~", self.place, self.stream, self.number, self.sent)
            .expect("a String takes every write");
        while out.len() - begin < bytes {
            let room = bytes - (out.len() - begin);
            out.push_str(&WORDS[..room.min(WORDS.len())]);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(MARK_ENDS, bytes)?;
        let mut numbers = bytes[..end].split(|byte| *byte == b':').map(decimal);
        let mut next = || numbers.next().flatten();
        let (place, stream, number, sent) = (next()?, next()?, next()?, next()?);
        Some(Self { place: place.try_into().ok()?, stream: stream.try_into().ok()?, number, sent })
    }
}

/// The push of a marked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    /// Which message it is.
    pub(crate) marker: Marker,
    /// Its place in the conversation, where the server says so.
    pub(crate) seq: Option<u64>,
}

/// A reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// As it was given with the request.
    pub(crate) id: Option<u64>,
    /// Whether it is a refusal.
    pub(crate) is_error: bool,
}

/// Finds things in frames.
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
            mark: memmem::Finder::new(MARK),
            seq: memmem::Finder::new(b"\"seq\""),
            success: memmem::Finder::new(b"\"success\""),
            id: memmem::Finder::new(ID),
            last_id: memmem::FinderRev::new(ID),
        }
    }
}

impl Scanner {
    /// What a push of a marked message says; `None` of any other frame.
    pub(crate) fn push(&self, frame: &[u8]) -> Option<Push> {
        let at = self.mark.find(frame)? + MARK.len();
        let marker = Marker::read(&frame[at..])?;
        let seq = self.seq.find(&frame[at..]).map(|found| at + found).or_else(|| self.seq.find(frame));
        Some(Push { marker, seq: seq.and_then(|found| value(&frame[found + self.seq.needle().len()..])) })
    }

    /// What a frame says if it is the reply to a send. One that has no id may be a push.
    pub(crate) fn reply(&self, frame: &[u8]) -> Reply {
        let id = self.last_id.rfind(frame).and_then(|found| value(&frame[found + ID.len()..]));
        Reply { id, is_error: self.is_error(frame) }
    }

    /// Whether a frame is the reply to the request with this id, which no row of a page may have as its
    /// own: some servers write the id in front of the rows, and some behind them.
    pub(crate) fn answers(&self, frame: &[u8], id: u64) -> bool {
        let has = |found: Option<usize>| found.and_then(|found| value(&frame[found + ID.len()..])) == Some(id);
        has(self.last_id.rfind(frame)) || has(self.id.find(frame))
    }

    /// Whether a reply is a refusal.
    pub(crate) fn is_error(&self, frame: &[u8]) -> bool {
        self.success.find(frame).is_none()
    }
}

/// The number after a key.
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

    const MARKER: Marker = Marker { place: 3, stream: 17, number: 90_210, sent: 1_234_567_890_123 };

    fn content(bytes: usize) -> String {
        let mut content = String::new();
        MARKER.write(bytes, &mut content);
        content
    }

    #[test]
    fn a_push_is_told_from_its_bytes() {
        let body = json!({ "data": null, "message": content(100), "senderName": "Ann \"seq\":9",
                           "item": { "messageId": 5, "seq": 41, "content": content(100) } });
        let push = json!({ "type": "privateMessage", "success": true, "params": body });
        let found = Some(Push { marker: MARKER, seq: Some(41) });
        assert_eq!(Scanner::default().push(push.to_string().as_bytes()), found);
        // Another server's spacing.
        assert_eq!(Scanner::default().push(serde_json::to_string_pretty(&push).unwrap().as_bytes()), found);
    }

    #[test]
    fn the_keys_of_a_push_come_in_any_order() {
        let frame = format!(r#"{{"params":{{"item":{{"seq":41,"content":"{0}"}},"message":"{0}"}}}}"#, content(0));
        assert_eq!(Scanner::default().push(frame.as_bytes()), Some(Push { marker: MARKER, seq: Some(41) }));
    }

    #[test]
    fn a_push_without_seq_is_one_all_the_same() {
        let frame = format!(r#"{{"type":"privateMessage","params":{{"message":"{}"}}}}"#, content(0));
        assert_eq!(Scanner::default().push(frame.as_bytes()), Some(Push { marker: MARKER, seq: None }));
    }

    #[test]
    fn what_is_no_marked_message_is_no_push() {
        let scanner = Scanner::default();
        for text in ["", "Hi", "~hb:", "~hb:1:2:3~", "~hb:1:2:3:x~", "~hb:1:2:3:4", "~hb:99999999999:2:3:4~"] {
            assert_eq!(scanner.push(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_reply_is_known_by_its_id() {
        let scanner = Scanner::default();
        let receipt = r#"{"type":"privateMessage","success":true,"params":{"item":{"messageId":7,"seq":2}},"id":18}"#;
        assert_eq!(scanner.reply(receipt.as_bytes()), Reply { id: Some(18), is_error: false });
        let refusal = r#"{ "error" : true, "code": "overloaded", "id" : 19 }"#;
        assert_eq!(scanner.reply(refusal.as_bytes()), Reply { id: Some(19), is_error: true });
        let notice = r#"{"type":"addUserInGroup","success":true,"params":{"message":"User A added in group."}}"#;
        assert_eq!(scanner.reply(notice.as_bytes()), Reply { id: None, is_error: false });
    }

    #[test]
    fn the_reply_to_a_request_is_found_wherever_its_id_stands() {
        let scanner = Scanner::default();
        let rows = r#""params":{"data":[{"id":1,"content":"~hb:1:2:3:4~"},{"id":2}]}"#;
        for frame in [format!(r#"{{"id":900,{rows}}}"#), format!(r#"{{{rows},"id": 900}}"#)] {
            assert!(scanner.answers(frame.as_bytes(), 900));
            assert!(!scanner.answers(frame.as_bytes(), 901));
        }
    }

    #[test]
    fn a_content_has_the_length_that_was_asked_for() {
        for bytes in [64, 100, 1000] {
            assert_eq!(content(bytes).len(), bytes);
        }
        assert!(content(0).ends_with('~'));
    }
}
