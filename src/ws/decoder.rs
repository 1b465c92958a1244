//! What a client sends: its bytes, taken apart into messages as RFC 6455 has them. A frame over the
//! limit is refused at its header, before it is there.

use crate::wire::close::Close;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const MASK_BYTES: usize = 4;

const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Longest payload of a ping, a pong or a close, which also are never in pieces.
const MAX_CONTROL_BYTES: usize = 125;
/// Most pieces of one message: each costs work, also where it is empty.
const MOST_PIECES: u32 = 1_024;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// A text, or bytes that are one.
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    Close,
}

/// The bytes that have come and are not taken apart yet.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// So many of them are done with.
    done: usize,
    /// The end of the last frame that `control_ahead` has looked at, where that is past `done`.
    scanned: usize,
    /// The beginning of a message that comes in pieces.
    pieces: Option<Vec<u8>>,
    /// How many pieces that is.
    count: u32,
    /// Most bytes of a message.
    max: usize,
}

struct Header {
    is_final: bool,
    opcode: u8,
    /// Where its mask is; the payload follows.
    mask_at: usize,
    length: usize,
}

impl Incoming {
    /// `bytes` came behind the request for the upgrade; a message has at most `max` bytes.
    pub(super) fn new(bytes: Vec<u8>, max: usize) -> Self {
        Self { bytes, done: 0, scanned: 0, pieces: None, count: 0, max }
    }

    /// Adds what has come.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.done);
        self.scanned = self.scanned.saturating_sub(self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, once all of it is there.
    ///
    /// # Errors
    /// The reason to close the connection with. Nothing that comes after it can be read.
    pub(super) fn next(&mut self) -> Result<Option<Message<'_>>, Close> {
        loop {
            let Some(header) = header(&self.bytes[self.done..], self.max)? else {
                self.rest();
                return Ok(None);
            };
            let begin = self.done + header.mask_at + MASK_BYTES;
            let end = begin + header.length;
            if self.bytes.len() < end {
                return Ok(None);
            }
            self.done = end;
            if is_ping_or_pong(header.opcode) && end <= self.scanned {
                continue;
            }
            unmask(&mut self.bytes[begin - MASK_BYTES..end]);
            match (header.opcode, &mut self.pieces) {
                (TEXT | BINARY, None) if header.is_final => return text(&self.bytes[begin..end]).map(Some),
                (TEXT | BINARY, None) => {
                    self.pieces = Some(self.bytes[begin..end].to_vec());
                    self.count = 1;
                }
                (CONTINUE, Some(pieces)) => {
                    self.count += 1;
                    if pieces.len() + header.length > self.max || self.count > MOST_PIECES {
                        return Err(Close::TooLarge);
                    }
                    pieces.extend_from_slice(&self.bytes[begin..end]);
                    if header.is_final {
                        // In the place of the bytes that were done with, so that it can be lent.
                        let whole = self.pieces.take().unwrap_or_default();
                        let length = whole.len();
                        self.scanned = self.scanned.max(self.done) - self.done + length;
                        self.bytes.splice(..self.done, whole);
                        self.done = length;
                        return text(&self.bytes[..length]).map(Some);
                    }
                }
                (CLOSE, _) => return goodbye(&self.bytes[begin..end]).map(Some),
                (PING, _) => return Ok(Some(Message::Ping(&self.bytes[begin..end]))),
                (PONG, _) => return Ok(Some(Message::Pong)),
                _ => return Err(Close::Protocol),
            }
        }
    }

    /// The next ping or pong behind messages that [`next`](Self::next) has not been asked for yet; `next`
    /// leaves it out. Pings are answered so while nothing else is taken in.
    pub(super) fn control_ahead(&mut self) -> Option<Message<'_>> {
        loop {
            let at = self.scanned.max(self.done);
            // What is wrong is refused in its turn, and nothing that comes after it can be read.
            let header = header(&self.bytes[at..], self.max).ok().flatten()?;
            let begin = at + header.mask_at + MASK_BYTES;
            let end = begin + header.length;
            if self.bytes.len() < end || header.opcode == CLOSE {
                return None;
            }
            self.scanned = end;
            match header.opcode {
                PING => {
                    unmask(&mut self.bytes[begin - MASK_BYTES..end]);
                    return Some(Message::Ping(&self.bytes[begin..end]));
                }
                PONG => return Some(Message::Pong),
                _ => {}
            }
        }
    }

    /// How many bytes there are of what has not come to its end, or was not asked for yet.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() - self.done + self.pieces.as_ref().map_or(0, |pieces| pieces.len().max(1))
    }

    /// Drops what has come: nobody will read it.
    pub(super) fn forget(&mut self) {
        (self.bytes, self.done, self.scanned) = (Vec::new(), 0, 0);
    }

    /// An idle socket keeps no memory for what it may say.
    fn rest(&mut self) {
        if self.done == self.bytes.len() {
            self.forget();
        }
    }
}

fn is_ping_or_pong(opcode: u8) -> bool {
    matches!(opcode, PING | PONG)
}

/// The header that `bytes` begin with, once all of it is there.
fn header(bytes: &[u8], max: usize) -> Result<Option<Header>, Close> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let (is_final, opcode) = (first & FINAL != 0, first & OPCODE);
    let short = second & !MASKED;
    let is_control = matches!(opcode, CLOSE | PING | PONG);
    let is_known = is_control || matches!(opcode, CONTINUE | TEXT | BINARY);
    let is_fit = !is_control || is_final && usize::from(short) <= MAX_CONTROL_BYTES;
    if first & RESERVED != 0 || second & MASKED == 0 || !is_known || !is_fit {
        return Err(Close::Protocol);
    }
    let extended = match short {
        126 => bytes.get(2..4),
        127 => bytes.get(2..10),
        _ => Some(&bytes[1..1]),
    };
    let Some(extended) = extended else { return Ok(None) };
    let announced = match extended {
        [] => u64::from(short),
        bytes => bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let length = usize::try_from(announced).ok().filter(|length| *length <= max).ok_or(Close::TooLarge)?;
    Ok(Some(Header { is_final, opcode, mask_at: 2 + extended.len(), length }))
}

/// Takes the mask off what follows it.
fn unmask(bytes: &mut [u8]) {
    let Some((mask, payload)) = bytes.split_first_chunk_mut::<MASK_BYTES>() else { return };
    let mut words = payload.chunks_exact_mut(MASK_BYTES);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(&*mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= *key;
    }
}

fn text(payload: &[u8]) -> Result<Message<'_>, Close> {
    std::str::from_utf8(payload).map(Message::Text).map_err(|_| Close::NotUtf8)
}

/// A close frame says nothing, or a code that may be sent and a reason.
fn goodbye(payload: &[u8]) -> Result<Message<'_>, Close> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(Message::Close) } else { Err(Close::Protocol) };
    };
    if !matches!(u16::from_be_bytes([*high, *low]), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Close::Protocol);
    }
    text(reason).map(|_| Message::Close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 70_000;

    /// A frame of a client, with this first byte.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short) if short < 126 => frame.push(MASKED | payload.len().to_le_bytes()[0]),
            Ok(medium) => {
                frame.push(MASKED + 126);
                frame.extend_from_slice(&medium.to_be_bytes());
            }
            Err(_) => {
                frame.push(MASKED + 127);
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// All texts that come out of these bytes, or how it ends.
    fn texts<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>, Close> {
        let mut incoming = Incoming::new(Vec::new(), MAX);
        let mut texts = Vec::new();
        for chunk in chunks {
            incoming.add(chunk);
            while let Some(message) = incoming.next()? {
                if let Message::Text(text) = message {
                    texts.push(text.to_owned());
                }
            }
        }
        assert!(incoming.bytes.capacity() == 0, "nothing is kept");
        Ok(texts)
    }

    fn a_text() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{0,40}", (60_000..=MAX).prop_map(|length| "x".repeat(length))]
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            said in prop::collection::vec((a_text(), 1..4_usize, any::<[u8; 4]>(), any::<bool>()), 1..5),
            cut in 1..5_000_usize,
        ) {
            let mut bytes = Vec::new();
            for (text, pieces, mask, is_text) in &said {
                let size = text.len().div_ceil(*pieces).max(1);
                let parts: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (nth, part) in parts.iter().enumerate() {
                    let opcode = if nth > 0 { CONTINUE } else if *is_text { TEXT } else { BINARY };
                    let last = if nth + 1 == parts.len() { FINAL } else { 0 };
                    bytes.extend(frame(last | opcode, part, *mask));
                    bytes.extend(frame(FINAL | PING, b"in between", *mask));
                }
            }
            let texts = texts(bytes.chunks(cut)).expect("good frames");
            prop_assert!(texts.iter().eq(said.iter().map(|(text, ..)| text)));
        }

        #[test]
        fn any_bytes_are_taken_apart_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1..300_usize) {
            let mut incoming = Incoming::new(Vec::new(), MAX);
            for chunk in bytes.chunks(cut) {
                incoming.add(chunk);
                while let Ok(Some(_)) = incoming.next() {}
            }
        }

        #[test]
        fn what_is_announced_over_the_limit_is_refused_at_its_header(before in 0..300_usize, over in MAX as u64 + 1..) {
            let mut bytes = frame(FINAL | TEXT, "x".repeat(before).as_bytes(), [1, 2, 3, 4]);
            bytes.extend_from_slice(&[FINAL | TEXT, MASKED + 127]);
            bytes.extend_from_slice(&over.to_be_bytes());
            prop_assert_eq!(texts(std::iter::once(&bytes[..])), Err(Close::TooLarge));
        }
    }

    proptest! {
        #[test]
        fn control_ahead_finds_each_ping_once_and_changes_no_message(
            said in prop::collection::vec((a_text(), 1..4_usize, any::<[u8; 4]>(), any::<u8>()), 1..8),
            cut in 1..5_000_usize,
            looks in prop::collection::vec(any::<bool>(), 1..20),
        ) {
            let mut bytes = Vec::new();
            for (text, pieces, mask, payload) in &said {
                let size = text.len().div_ceil(*pieces).max(1);
                let parts: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (nth, part) in parts.iter().enumerate() {
                    let last = if nth + 1 == parts.len() { FINAL } else { 0 };
                    bytes.extend(frame(last | if nth > 0 { CONTINUE } else { TEXT }, part, *mask));
                    if nth == 0 {
                        bytes.extend(frame(FINAL | PING, &[*payload], *mask));
                        bytes.extend(frame(FINAL | PONG, b"unasked", *mask));
                    }
                }
            }
            let mut incoming = Incoming::new(Vec::new(), MAX);
            let (mut texts, mut pings, mut pongs) = (Vec::new(), Vec::new(), 0);
            let mut note = |message: &Message<'_>| match message {
                Message::Text(text) => texts.push((*text).to_owned()),
                Message::Ping(payload) => pings.extend_from_slice(payload),
                Message::Pong => pongs += 1,
                Message::Close => {}
            };
            for (chunk, looks_ahead) in bytes.chunks(cut).zip(looks.iter().cycle()) {
                incoming.add(chunk);
                while *looks_ahead && let Some(message) = incoming.control_ahead() {
                    note(&message);
                }
                // One at a time, so that some are looked at behind others that wait.
                if let Some(message) = incoming.next().expect("good frames") {
                    note(&message);
                }
            }
            while let Some(message) = incoming.next().expect("good frames") {
                note(&message);
            }
            prop_assert!(texts.iter().eq(said.iter().map(|(text, ..)| text)));
            prop_assert!(pings.iter().eq(said.iter().map(|(.., payload)| payload)));
            prop_assert_eq!(pongs, said.len());
            prop_assert_eq!(incoming.bytes.capacity(), 0, "nothing is kept");
        }
    }

    #[test]
    fn nothing_is_looked_at_behind_a_close_or_what_is_wrong() {
        for first in [frame(FINAL | CLOSE, b"", [0; 4]), frame(FINAL | 3, b"", [0; 4])] {
            let bytes = [first, frame(FINAL | PING, b"p", [0; 4])].concat();
            assert_eq!(Incoming::new(bytes, MAX).control_ahead(), None);
        }
    }

    #[test]
    fn pieces_over_the_limit_are_refused() {
        let half = vec![b'x'; MAX / 2 + 1];
        let bytes = [frame(TEXT, &half, [0; 4]), frame(CONTINUE, &half, [0; 4])].concat();
        assert_eq!(texts(std::iter::once(&bytes[..])), Err(Close::TooLarge));
    }

    #[test]
    fn more_pieces_than_anybody_needs_are_refused() {
        let piece = |first| frame(first, b"", [0; 4]);
        let most = [piece(TEXT), piece(CONTINUE).repeat(1_022), piece(FINAL | PING), piece(FINAL)].concat();
        assert_eq!(texts(std::iter::once(&most.repeat(3)[..])), Ok(vec![String::new(); 3]));
        let too_many = [piece(TEXT), piece(CONTINUE).repeat(1_024)].concat();
        assert_eq!(texts(std::iter::once(&too_many[..])), Err(Close::TooLarge));
    }
}
