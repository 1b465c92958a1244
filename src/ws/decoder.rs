//! Decodes WebSocket frames (RFC 6455): joins fragments, removes the mask, and returns messages. A frame over the
//! size limit is refused at its header, before its payload is buffered.
//!
//! It is written by hand because no library decodes in place and reads ahead for pings (docs/decisions).

use crate::wire::close::Close;

const FIN_BIT: u8 = 0x80;
const RSV_BITS: u8 = 0x70;
const OPCODE_BITS: u8 = 0x0f;
const MASK_BIT: u8 = 0x80;
const MASKING_KEY_BYTES: usize = 4;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Maximum payload of a control frame, in bytes. Control frames are never fragmented.
const MAX_CONTROL_BYTES: usize = 125;
/// Maximum number of fragments of one message: each costs processor time, an empty one too.
const MAX_FRAGMENTS: u32 = 1_024;

/// A message or a control frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WsMessage<'a> {
    /// A text message, or a binary one that holds UTF-8.
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    Close,
}

/// Bytes from the client, decoded message by message.
#[derive(Debug)]
pub(super) struct FrameDecoder {
    bytes: Vec<u8>,
    /// How many of `bytes` are decoded.
    decoded: usize,
    /// The end of the last frame that `next_control_ahead` has seen, if it is past `decoded`.
    scanned: usize,
    /// The payload of the fragments of an incomplete message.
    fragments: Option<Vec<u8>>,
    fragment_count: u32,
    max_message_bytes: usize,
}

struct FrameHeader {
    is_final: bool,
    opcode: u8,
    /// The offset of the masking key, which precedes the payload.
    key_at: usize,
    payload_bytes: usize,
}

impl FrameDecoder {
    /// Begins with `bytes`, which followed the request for the upgrade.
    pub(super) fn new(bytes: Vec<u8>, max_message_bytes: usize) -> Self {
        Self { bytes, decoded: 0, scanned: 0, fragments: None, fragment_count: 0, max_message_bytes }
    }

    /// Appends bytes from the client.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.decoded);
        self.scanned = self.scanned.saturating_sub(self.decoded);
        self.decoded = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message or control frame, if there is one.
    ///
    /// # Errors
    /// The close code, if the client breaks the protocol or a limit. Nothing after it can be decoded.
    pub(super) fn next(&mut self) -> Result<Option<WsMessage<'_>>, Close> {
        loop {
            let Some(header) = header(&self.bytes[self.decoded..], self.max_message_bytes)? else {
                self.release_if_idle();
                return Ok(None);
            };
            let begin = self.decoded + header.key_at + MASKING_KEY_BYTES;
            let end = begin + header.payload_bytes;
            if self.bytes.len() < end {
                return Ok(None);
            }
            self.decoded = end;
            if is_ping_or_pong(header.opcode) && end <= self.scanned {
                continue;
            }
            unmask(&mut self.bytes[begin - MASKING_KEY_BYTES..end]);
            match (header.opcode, &mut self.fragments) {
                (TEXT | BINARY, None) if header.is_final => return text_message(&self.bytes[begin..end]).map(Some),
                (TEXT | BINARY, None) => {
                    self.fragments = Some(self.bytes[begin..end].to_vec());
                    self.fragment_count = 1;
                }
                (CONTINUATION, Some(fragments)) => {
                    self.fragment_count += 1;
                    if fragments.len() + header.payload_bytes > self.max_message_bytes
                        || self.fragment_count > MAX_FRAGMENTS
                    {
                        return Err(Close::TooLarge);
                    }
                    fragments.extend_from_slice(&self.bytes[begin..end]);
                    if header.is_final {
                        // It replaces the decoded bytes, so that the caller can borrow it.
                        let whole = self.fragments.take().unwrap_or_default();
                        let length = whole.len();
                        self.scanned = self.scanned.max(self.decoded) - self.decoded + length;
                        self.bytes.splice(..self.decoded, whole);
                        self.decoded = length;
                        return text_message(&self.bytes[..length]).map(Some);
                    }
                }
                (CLOSE, _) => return close_frame(&self.bytes[begin..end]).map(Some),
                (PING, _) => return Ok(Some(WsMessage::Ping(&self.bytes[begin..end]))),
                (PONG, _) => return Ok(Some(WsMessage::Pong)),
                _ => return Err(Close::Protocol),
            }
        }
    }

    /// The next ping or pong after messages that [`next`](Self::next) has not returned yet; `next` then skips it.
    /// So pings are answered while backpressure delays requests.
    pub(super) fn next_control_ahead(&mut self) -> Option<WsMessage<'_>> {
        loop {
            let at = self.scanned.max(self.decoded);
            // `next` reports the error once it reaches these bytes.
            let header = header(&self.bytes[at..], self.max_message_bytes).ok().flatten()?;
            let begin = at + header.key_at + MASKING_KEY_BYTES;
            let end = begin + header.payload_bytes;
            if self.bytes.len() < end || header.opcode == CLOSE {
                return None;
            }
            self.scanned = end;
            match header.opcode {
                PING => {
                    unmask(&mut self.bytes[begin - MASKING_KEY_BYTES..end]);
                    return Some(WsMessage::Ping(&self.bytes[begin..end]));
                }
                PONG => return Some(WsMessage::Pong),
                _ => {}
            }
        }
    }

    /// The bytes of incomplete messages, and of messages that `next` has not returned yet.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.decoded + self.fragments.as_ref().map_or(0, |fragments| fragments.len().max(1))
    }

    /// Discards the buffered bytes and frees their memory.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.decoded, self.scanned) = (Vec::new(), 0, 0);
    }

    /// Frees the buffer when it is empty, so that an idle socket holds none.
    fn release_if_idle(&mut self) {
        if self.decoded == self.bytes.len() {
            self.clear();
        }
    }
}

fn is_ping_or_pong(opcode: u8) -> bool {
    matches!(opcode, PING | PONG)
}

/// The frame header that `bytes` begin with, if it is complete.
fn header(bytes: &[u8], max: usize) -> Result<Option<FrameHeader>, Close> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let (is_final, opcode) = (first & FIN_BIT != 0, first & OPCODE_BITS);
    let short = second & !MASK_BIT;
    let is_control = matches!(opcode, CLOSE | PING | PONG);
    let is_known = is_control || matches!(opcode, CONTINUATION | TEXT | BINARY);
    let is_fit = !is_control || is_final && usize::from(short) <= MAX_CONTROL_BYTES;
    if first & RSV_BITS != 0 || second & MASK_BIT == 0 || !is_known || !is_fit {
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
    Ok(Some(FrameHeader { is_final, opcode, key_at: 2 + extended.len(), payload_bytes: length }))
}

/// Removes the mask from the payload, which follows the masking key in `bytes`.
fn unmask(bytes: &mut [u8]) {
    let Some((mask, payload)) = bytes.split_first_chunk_mut::<MASKING_KEY_BYTES>() else { return };
    let mut words = payload.chunks_exact_mut(MASKING_KEY_BYTES);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(&*mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= *key;
    }
}

fn text_message(payload: &[u8]) -> Result<WsMessage<'_>, Close> {
    std::str::from_utf8(payload).map(WsMessage::Text).map_err(|_| Close::NotUtf8)
}

/// A close frame is empty, or has a close code that may be sent and a reason in UTF-8.
fn close_frame(payload: &[u8]) -> Result<WsMessage<'_>, Close> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(WsMessage::Close) } else { Err(Close::Protocol) };
    };
    if !matches!(u16::from_be_bytes([*high, *low]), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Close::Protocol);
    }
    text_message(reason).map(|_| WsMessage::Close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 70_000;

    /// A masked frame with this first byte.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short) if short < 126 => frame.push(MASK_BIT | payload.len().to_le_bytes()[0]),
            Ok(medium) => {
                frame.push(MASK_BIT + 126);
                frame.extend_from_slice(&medium.to_be_bytes());
            }
            Err(_) => {
                frame.push(MASK_BIT + 127);
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// All text messages in these bytes, or the close code.
    fn texts<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>, Close> {
        let mut decoder = FrameDecoder::new(Vec::new(), MAX);
        let mut texts = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(message) = decoder.next()? {
                if let WsMessage::Text(text) = message {
                    texts.push(text.to_owned());
                }
            }
        }
        assert!(decoder.bytes.capacity() == 0, "the buffer is freed");
        Ok(texts)
    }

    fn a_text() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{0,40}", (60_000..=MAX).prop_map(|length| "x".repeat(length))]
    }

    proptest! {
        #[test]
        fn decoder_returns_messages_unchanged_however_they_are_split(
            messages in prop::collection::vec((a_text(), 1..4_usize, any::<[u8; 4]>(), any::<bool>()), 1..5),
            chunk_bytes in 1..5_000_usize,
        ) {
            let mut bytes = Vec::new();
            for (text, fragments, mask, is_text) in &messages {
                let size = text.len().div_ceil(*fragments).max(1);
                let parts: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (index, part) in parts.iter().enumerate() {
                    let opcode = if index > 0 { CONTINUATION } else if *is_text { TEXT } else { BINARY };
                    let last = if index + 1 == parts.len() { FIN_BIT } else { 0 };
                    bytes.extend(frame(last | opcode, part, *mask));
                    bytes.extend(frame(FIN_BIT | PING, b"in between", *mask));
                }
            }
            let texts = texts(bytes.chunks(chunk_bytes)).expect("valid frames");
            prop_assert!(texts.iter().eq(messages.iter().map(|(text, ..)| text)));
        }

        #[test]
        fn decoder_accepts_or_rejects_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), chunk_bytes in 1..300_usize) {
            let mut decoder = FrameDecoder::new(Vec::new(), MAX);
            for chunk in bytes.chunks(chunk_bytes) {
                decoder.push(chunk);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }

        #[test]
        fn decoder_rejects_an_oversized_frame_at_its_header(before in 0..300_usize, over in MAX as u64 + 1..) {
            let mut bytes = frame(FIN_BIT | TEXT, "x".repeat(before).as_bytes(), [1, 2, 3, 4]);
            bytes.extend_from_slice(&[FIN_BIT | TEXT, MASK_BIT + 127]);
            bytes.extend_from_slice(&over.to_be_bytes());
            prop_assert_eq!(texts(std::iter::once(&bytes[..])), Err(Close::TooLarge));
        }
    }

    proptest! {
        #[test]
        fn next_control_ahead_returns_each_ping_once_and_changes_no_message(
            messages in prop::collection::vec((a_text(), 1..4_usize, any::<[u8; 4]>(), any::<u8>()), 1..8),
            chunk_bytes in 1..5_000_usize,
            scans in prop::collection::vec(any::<bool>(), 1..20),
        ) {
            let mut bytes = Vec::new();
            for (text, fragments, mask, payload) in &messages {
                let size = text.len().div_ceil(*fragments).max(1);
                let parts: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (index, part) in parts.iter().enumerate() {
                    let last = if index + 1 == parts.len() { FIN_BIT } else { 0 };
                    bytes.extend(frame(last | if index > 0 { CONTINUATION } else { TEXT }, part, *mask));
                    if index == 0 {
                        bytes.extend(frame(FIN_BIT | PING, &[*payload], *mask));
                        bytes.extend(frame(FIN_BIT | PONG, b"unsolicited", *mask));
                    }
                }
            }
            let mut decoder = FrameDecoder::new(Vec::new(), MAX);
            let (mut texts, mut pings, mut pongs) = (Vec::new(), Vec::new(), 0);
            let mut record = |message: &WsMessage<'_>| match message {
                WsMessage::Text(text) => texts.push((*text).to_owned()),
                WsMessage::Ping(payload) => pings.extend_from_slice(payload),
                WsMessage::Pong => pongs += 1,
                WsMessage::Close => {}
            };
            for (chunk, scans_ahead) in bytes.chunks(chunk_bytes).zip(scans.iter().cycle()) {
                decoder.push(chunk);
                while *scans_ahead && let Some(message) = decoder.next_control_ahead() {
                    record(&message);
                }
                // One message a round, so that some are scanned ahead of others that wait.
                if let Some(message) = decoder.next().expect("valid frames") {
                    record(&message);
                }
            }
            while let Some(message) = decoder.next().expect("valid frames") {
                record(&message);
            }
            prop_assert!(texts.iter().eq(messages.iter().map(|(text, ..)| text)));
            prop_assert!(pings.iter().eq(messages.iter().map(|(.., payload)| payload)));
            prop_assert_eq!(pongs, messages.len());
            prop_assert_eq!(decoder.bytes.capacity(), 0, "the buffer is freed");
        }
    }

    #[test]
    fn next_control_ahead_stops_at_a_close_frame_or_an_error() {
        for first in [frame(FIN_BIT | CLOSE, b"", [0; 4]), frame(FIN_BIT | 3, b"", [0; 4])] {
            let bytes = [first, frame(FIN_BIT | PING, b"p", [0; 4])].concat();
            assert_eq!(FrameDecoder::new(bytes, MAX).next_control_ahead(), None);
        }
    }

    #[test]
    fn decoder_rejects_fragments_over_the_size_limit() {
        let half = vec![b'x'; MAX / 2 + 1];
        let bytes = [frame(TEXT, &half, [0; 4]), frame(CONTINUATION, &half, [0; 4])].concat();
        assert_eq!(texts(std::iter::once(&bytes[..])), Err(Close::TooLarge));
    }

    #[test]
    fn decoder_rejects_too_many_fragments() {
        let fragment = |first| frame(first, b"", [0; 4]);
        let most = [fragment(TEXT), fragment(CONTINUATION).repeat(1_022), fragment(FIN_BIT | PING), fragment(FIN_BIT)]
            .concat();
        assert_eq!(texts(std::iter::once(&most.repeat(3)[..])), Ok(vec![String::new(); 3]));
        let too_many = [fragment(TEXT), fragment(CONTINUATION).repeat(1_024)].concat();
        assert_eq!(texts(std::iter::once(&too_many[..])), Err(Close::TooLarge));
    }
}
