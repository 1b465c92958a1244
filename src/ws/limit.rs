//! The limit on a frame, held while it arrives. The library looks at a frame's length once the whole
//! frame is there, so a header that announces a terabyte would make it collect one.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::error::PayloadError;
use actix_web::rt::time::Instant;
use actix_web::web::{Bytes, Payload};
use futures_util::Stream;

use crate::delivery::outbox::Outbox;
use crate::wire::close::Close;

/// When the client was last heard of, by as little as one byte.
#[derive(Clone)]
pub(super) struct Heard(Rc<Cell<Instant>>);

impl Heard {
    pub(super) fn now() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }

    pub(super) fn renew(&self) {
        self.0.set(Instant::now());
    }

    pub(super) fn at(&self) -> Instant {
        self.0.get()
    }
}

/// The bytes of a client, until a frame is announced that is over the limit. Then the connection is
/// asked to close, and what still comes is thrown away, so that the client lives to read why.
pub(super) struct Limited {
    bytes: Payload,
    heard: Heard,
    headers: Headers,
    outbox: Arc<Outbox>,
    broken: bool,
}

impl Limited {
    pub(super) fn new(bytes: Payload, max_frame_bytes: usize, heard: Heard, outbox: Arc<Outbox>) -> Self {
        let max = u64::try_from(max_frame_bytes).unwrap_or(u64::MAX);
        let headers = Headers { max, seen: Vec::with_capacity(LONGEST_LENGTH), skip: 0 };
        Self { bytes, heard, headers, outbox, broken: false }
    }
}

impl Stream for Limited {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = ready!(Pin::new(&mut self.bytes).poll_next(context));
            let Some(Ok(chunk)) = next else { return Poll::Ready(next) };
            self.heard.renew();
            if self.broken {
                continue;
            }
            match self.headers.follow(&chunk) {
                None => return Poll::Ready(Some(Ok(chunk))),
                Some(good) => {
                    self.broken = true;
                    self.outbox.ask_to_close(Close::TooLarge);
                    return Poll::Ready(Some(Ok(chunk.slice(..good))));
                }
            }
        }
    }
}

/// Bytes of a header up to the end of the longest length.
const LONGEST_LENGTH: usize = 10;
const MASK_BYTES: u64 = 4;

/// Follows the frames through the bytes, and looks at nothing but their lengths.
struct Headers {
    max: u64,
    /// The header so far.
    seen: Vec<u8>,
    /// What is left of the frame after its length.
    skip: u64,
}

impl Headers {
    /// Follows one chunk; where a frame in it is over the limit, how much of the chunk came before it.
    fn follow(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut place = 0;
        let mut frame_began = 0;
        while place < chunk.len() {
            if self.skip > 0 {
                let left = chunk.len() - place;
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(left);
                self.skip -= step as u64;
                place += step;
                continue;
            }
            if self.seen.is_empty() {
                frame_began = place;
            }
            self.seen.push(chunk[place]);
            place += 1;
            if let Some(length) = length(&self.seen) {
                if length > self.max {
                    return Some(frame_began);
                }
                let mask = if self.seen[1] & 0x80 == 0 { 0 } else { MASK_BYTES };
                self.skip = length + mask;
                self.seen.clear();
            }
        }
        None
    }
}

/// The length that a header announces, once enough of it is there.
fn length(header: &[u8]) -> Option<u64> {
    let short = header.get(1)? & 0x7f;
    let extended = match short {
        126 => header.get(2..4)?,
        127 => header.get(2..LONGEST_LENGTH)?,
        _ => return Some(short.into()),
    };
    Some(extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> Headers {
        Headers { max: 70_000, seen: Vec::new(), skip: 0 }
    }

    /// A frame of a client: final, text, masked with zeroes.
    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0x81];
        match u16::try_from(length) {
            Ok(short) if short < 126 => frame.push(0x80 | length.to_le_bytes()[0]),
            Ok(medium) => {
                frame.push(0xfe);
                frame.extend_from_slice(&medium.to_be_bytes());
            }
            Err(_) => {
                frame.push(0xff);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0xff, 4 + length));
        frame
    }

    proptest! {
        #[test]
        fn frames_within_the_limit_pass_however_they_are_cut(
            lengths in prop::collection::vec(prop_oneof![0..200_usize, 60_000..=70_000_usize], 1..5),
            cut in 1..5_000_usize,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
            let mut headers = headers();
            for chunk in bytes.chunks(cut) {
                prop_assert_eq!(headers.follow(chunk), None);
            }
        }

        #[test]
        fn a_frame_over_the_limit_is_seen_at_its_header(before in 0..300_usize, over in 70_001..u64::MAX / 2) {
            let good = frame(before);
            let mut bytes = good.clone();
            bytes.extend_from_slice(&[0x81, 0xff]);
            bytes.extend_from_slice(&over.to_be_bytes());
            prop_assert_eq!(headers().follow(&bytes), Some(good.len()));
        }
    }
}
