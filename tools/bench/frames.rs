//! WebSocket frames as a client writes and reads them: no more of RFC 6455 than a load needs, because
//! the load shares its cores with the server that it measures.

/// Any key will do: masking is against proxies, and there are none.
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

/// In place of a length: it follows, in two bytes, or in eight.
const IN_TWO_BYTES: u8 = 0x7e;
const IN_EIGHT_BYTES: u8 = 0x7f;

/// What a server says, without its framing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A reply or a push.
    Text(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The server's goodbye; 1005 where it gives no reason.
    Close(u16),
}

/// What came is no WebSocket frame of a server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sends what is no frame")]
pub(crate) struct NoFrame;

/// Appends a text frame.
pub(crate) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write(TEXT, text, out);
}

/// Appends the answer to a ping.
pub(crate) fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    write(PONG, payload, out);
}

fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    if let Ok(short) = u8::try_from(payload.len())
        && short < IN_TWO_BYTES
    {
        out.push(MASKED | short);
    } else if let Ok(medium) = u16::try_from(payload.len()) {
        out.push(MASKED | IN_TWO_BYTES);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(MASKED | IN_EIGHT_BYTES);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Cuts a stream of bytes into frames. Holds what it has of a frame whose end has not come, and
/// nothing between frames, so that ten thousand of them are small.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    frame: Vec<u8>,
    /// The parts so far of a message in several frames.
    message: Vec<u8>,
}

impl Inbox {
    /// Takes what one read brought, and passes on each frame that is complete by it.
    ///
    /// # Errors
    /// The bytes are no frames of a server; the connection is of no more use.
    pub(crate) fn take(&mut self, bytes: &[u8], mut hear: impl FnMut(Heard<'_>)) -> Result<(), NoFrame> {
        let mut rest = bytes;
        while !self.frame.is_empty() && !rest.is_empty() {
            // Up to the end of the frame, or of its header.
            let end = match Header::read(&self.frame)? {
                Some(header) => header.end,
                None => self.frame.len() + 1,
            };
            let (more, left) = rest.split_at((end - self.frame.len()).min(rest.len()));
            self.frame.extend_from_slice(more);
            rest = left;
            if let Some(header) = Header::read(&self.frame)?
                && self.frame.len() == header.end
            {
                let frame = std::mem::take(&mut self.frame);
                self.pass_on(&header, &frame[header.start..], &mut hear)?;
            }
        }
        while let Some(header) = Header::read(rest)?
            && let Some(payload) = rest.get(header.start..header.end)
        {
            self.pass_on(&header, payload, &mut hear)?;
            rest = &rest[header.end..];
        }
        self.frame.extend_from_slice(rest);
        Ok(())
    }

    fn pass_on(&mut self, header: &Header, payload: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<(), NoFrame> {
        match header.opcode {
            TEXT | BINARY if header.is_final && self.message.is_empty() => hear(Heard::Text(payload)),
            TEXT | BINARY | CONTINUATION => {
                self.message.extend_from_slice(payload);
                if header.is_final {
                    hear(Heard::Text(&std::mem::take(&mut self.message)));
                }
            }
            PING => hear(Heard::Ping(payload)),
            PONG => {}
            CLOSE => hear(Heard::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)))),
            _ => return Err(NoFrame),
        }
        Ok(())
    }
}

/// The beginning of a frame; `start..end` is its payload, counted from the frame's first byte.
struct Header {
    opcode: u8,
    is_final: bool,
    start: usize,
    end: usize,
}

impl Header {
    /// `None` where there is not all of it yet.
    fn read(bytes: &[u8]) -> Result<Option<Self>, NoFrame> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 || second & MASKED != 0 {
            return Err(NoFrame);
        }
        let (start, length): (usize, usize) = match second {
            &IN_TWO_BYTES => match rest.first_chunk() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            &IN_EIGHT_BYTES => match rest.first_chunk() {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).map_err(|_| NoFrame)?),
                None => return Ok(None),
            },
            short => (2, usize::from(*short)),
        };
        let end = start.checked_add(length).ok_or(NoFrame)?;
        Ok(Some(Self { opcode: first & 0x0f, is_final: first & FINAL != 0, start, end }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a server writes it.
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

    fn heard(inbox: &mut Inbox, bytes: &[u8]) -> Result<Vec<Vec<u8>>, NoFrame> {
        let mut texts = Vec::new();
        inbox.take(bytes, |heard| {
            if let Heard::Text(text) = heard {
                texts.push(text.to_vec());
            }
        })?;
        Ok(texts)
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            lengths in prop::collection::vec(prop_oneof![0_usize..140, 65_000_usize..66_000], 1..6),
            reads in prop::collection::vec(1_usize..40_000, 1..20),
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().zip(b'a'..).map(|(length, letter)| vec![letter; *length]).collect();
            let stream: Vec<u8> = texts.iter().flat_map(|text| frame(FINAL | TEXT, text)).collect();
            let (mut inbox, mut got, mut rest) = (Inbox::default(), Vec::new(), stream.as_slice());
            for size in reads.iter().cycle() {
                let (read, left) = rest.split_at((*size).min(rest.len()));
                got.extend(heard(&mut inbox, read).unwrap());
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, texts);
        }
    }

    #[test]
    fn a_message_in_parts_is_one() {
        let mut inbox = Inbox::default();
        let mut stream = frame(TEXT, b"one ");
        stream.extend(frame(FINAL | PING, b"?"));
        stream.extend(frame(FINAL | CONTINUATION, b"message"));
        assert_eq!(heard(&mut inbox, &stream).unwrap(), [b"one message".to_vec()]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [[0xc1, 0], [0x81, 0x80], [0x83, 0]] {
            assert_eq!(heard(&mut Inbox::default(), &bytes), Err(NoFrame), "{bytes:?}");
        }
    }

    #[test]
    fn a_close_says_why() {
        let mut codes = Vec::new();
        for payload in [&b"\x0f\xa1no"[..], b""] {
            let hear = |heard: Heard<'_>| codes.push(format!("{heard:?}"));
            Inbox::default().take(&frame(FINAL | CLOSE, payload), hear).unwrap();
        }
        assert_eq!(codes, ["Close(4001)", "Close(1005)"]);
    }

    #[test]
    fn what_a_client_writes_is_masked() {
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
