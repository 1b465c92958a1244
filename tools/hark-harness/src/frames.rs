//! The client's side of WebSocket framing (RFC 6455): encoding of masked frames, and a streaming decoder.
//!
//! It has no more of the RFC than a load generator needs, because that shares its cores with the server it measures.

/// The masking key of every frame. Masking protects proxies, and there are none, so the key need not be random.
const MASK: [u8; 4] = [0x3a, 0x91, 0x5c, 0xe7];

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const RESERVED: u8 = 0x70;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Length codes: the length of the payload follows in two bytes, or in eight.
const LENGTH_IN_2_BYTES: u8 = 0x7e;
const LENGTH_IN_8_BYTES: u8 = 0x7f;

/// A message from the server, or a control frame that the client has to act on.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The payload of a data message, its fragments put together.
    Text(&'a [u8]),
    /// The payload of a ping, which a pong has to return.
    Ping(&'a [u8]),
    /// The close code of the server; 1005 if the frame has none.
    Close(u16),
}

/// The server sent bytes that are no WebSocket frame of a server. The connection is of no more use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sends what is no WebSocket frame")]
pub struct InvalidFrame;

/// Appends a text frame to `out`.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write(TEXT, text, out);
}

/// Appends a pong, the response to a ping with the same payload, to `out`.
pub fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    write(PONG, payload, out);
}

fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    if let Ok(short) = u8::try_from(payload.len())
        && short < LENGTH_IN_2_BYTES
    {
        out.push(MASKED | short);
    } else if let Ok(medium) = u16::try_from(payload.len()) {
        out.push(MASKED | LENGTH_IN_2_BYTES);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(MASKED | LENGTH_IN_8_BYTES);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A streaming decoder of the server's frames.
///
/// It buffers the beginning of an incomplete frame or message, and nothing between frames, so that ten thousand idle
/// decoders stay small.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// The beginning of an incomplete frame.
    frame: Vec<u8>,
    /// The fragments of an incomplete message.
    message: Vec<u8>,
}

impl FrameDecoder {
    /// Decodes the bytes of one read, and calls `on_message` for each message that they complete.
    ///
    /// # Errors
    /// [`InvalidFrame`].
    pub fn decode(&mut self, bytes: &[u8], mut on_message: impl FnMut(ServerMessage<'_>)) -> Result<(), InvalidFrame> {
        let mut rest = bytes;
        while !self.frame.is_empty() && !rest.is_empty() {
            // The target is the end of the frame, or of its header as long as that is incomplete.
            let end = match Header::parse(&self.frame)? {
                Some(header) => header.end,
                None => self.frame.len() + 1,
            };
            let (more, left) = rest.split_at((end - self.frame.len()).min(rest.len()));
            self.frame.extend_from_slice(more);
            rest = left;
            if let Some(header) = Header::parse(&self.frame)?
                && self.frame.len() == header.end
            {
                let frame = std::mem::take(&mut self.frame);
                self.dispatch(&header, &frame[header.start..], &mut on_message)?;
            }
        }
        while let Some(header) = Header::parse(rest)?
            && let Some(payload) = rest.get(header.start..header.end)
        {
            self.dispatch(&header, payload, &mut on_message)?;
            rest = &rest[header.end..];
        }
        self.frame.extend_from_slice(rest);
        Ok(())
    }

    fn dispatch(
        &mut self,
        header: &Header,
        payload: &[u8],
        on_message: &mut impl FnMut(ServerMessage<'_>),
    ) -> Result<(), InvalidFrame> {
        match header.opcode {
            TEXT | BINARY if header.is_final && self.message.is_empty() => on_message(ServerMessage::Text(payload)),
            TEXT | BINARY | CONTINUATION => {
                self.message.extend_from_slice(payload);
                if header.is_final {
                    on_message(ServerMessage::Text(&std::mem::take(&mut self.message)));
                }
            }
            PING => on_message(ServerMessage::Ping(payload)),
            PONG => {}
            CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                on_message(ServerMessage::Close(code));
            }
            _ => return Err(InvalidFrame),
        }
        Ok(())
    }
}

/// The header of a frame; `start..end` is the payload, counted from the frame's first byte.
struct Header {
    opcode: u8,
    is_final: bool,
    start: usize,
    end: usize,
}

impl Header {
    /// Parses a header; `None` if it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, InvalidFrame> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 || second & MASKED != 0 {
            return Err(InvalidFrame);
        }
        let (start, length): (usize, usize) = match second {
            &LENGTH_IN_2_BYTES => match rest.first_chunk() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            &LENGTH_IN_8_BYTES => match rest.first_chunk() {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).map_err(|_| InvalidFrame)?),
                None => return Ok(None),
            },
            short => (2, usize::from(*short)),
        };
        let end = start.checked_add(length).ok_or(InvalidFrame)?;
        Ok(Some(Self { opcode: first & 0x0f, is_final: first & FINAL != 0, start, end }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a server writes it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            medium @ 126..65_536 => {
                bytes.push(126);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn decode(decoder: &mut FrameDecoder, bytes: &[u8]) -> Result<Vec<Vec<u8>>, InvalidFrame> {
        let mut texts = Vec::new();
        decoder.decode(bytes, |message| {
            if let ServerMessage::Text(text) = message {
                texts.push(text.to_vec());
            }
        })?;
        Ok(texts)
    }

    proptest! {
        #[test]
        fn decode_accepts_frames_in_any_chunks(
            lengths in prop::collection::vec(prop_oneof![0_usize..140, 65_000_usize..66_000], 1..6),
            reads in prop::collection::vec(1_usize..40_000, 1..20),
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().zip(b'a'..).map(|(length, letter)| vec![letter; *length]).collect();
            let stream: Vec<u8> = texts.iter().flat_map(|text| frame(FINAL | TEXT, text)).collect();
            let (mut decoder, mut got, mut rest) = (FrameDecoder::default(), Vec::new(), stream.as_slice());
            for size in reads.iter().cycle() {
                let (read, left) = rest.split_at((*size).min(rest.len()));
                got.extend(decode(&mut decoder, read).unwrap());
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, texts);
        }
    }

    #[test]
    fn decode_joins_fragments() {
        let mut decoder = FrameDecoder::default();
        let mut stream = frame(TEXT, b"one ");
        stream.extend(frame(FINAL | PING, b"?"));
        stream.extend(frame(FINAL | CONTINUATION, b"message"));
        assert_eq!(decode(&mut decoder, &stream).unwrap(), [b"one message".to_vec()]);
    }

    #[test]
    fn decode_rejects_invalid_frames() {
        for bytes in [[0xc1, 0], [0x81, 0x80], [0x83, 0]] {
            assert_eq!(decode(&mut FrameDecoder::default(), &bytes), Err(InvalidFrame), "{bytes:?}");
        }
    }

    #[test]
    fn decode_reads_close_codes() {
        let mut codes = Vec::new();
        for payload in [&b"\x0f\xa1no"[..], b""] {
            let on_message = |message: ServerMessage<'_>| codes.push(format!("{message:?}"));
            FrameDecoder::default().decode(&frame(FINAL | CLOSE, payload), on_message).unwrap();
        }
        assert_eq!(codes, ["Close(4001)", "Close(1005)"]);
    }

    #[test]
    fn write_text_masks_the_payload() {
        let mut out = Vec::new();
        write_text(&[0; 5], &mut out);
        assert_eq!(out, [0x81, 0x85, MASK[0], MASK[1], MASK[2], MASK[3], MASK[0], MASK[1], MASK[2], MASK[3], MASK[0]]);
        for (length, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            out.clear();
            write_text(&vec![b'x'; length], &mut out);
            assert_eq!(out.len(), header + MASK.len() + length);
        }
    }
}
