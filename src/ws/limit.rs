//! The limits on a frame and on its pieces, held while they arrive. The library looks at a frame's length
//! once the whole frame is there, so a header that announces a terabyte would make it collect one; and it
//! keeps every piece of a message by itself, so that pieces of one byte cost it forty times what they hold.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::error::PayloadError;
use actix_web::rt::time::Instant;
use actix_web::web::{Bytes, Payload};
use futures_util::Stream;
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use crate::delivery::byte_pool::{Share, Taken};
use crate::delivery::outbox::Outbox;
use crate::wire::close::Close;

/// When the client was last heard of.
#[derive(Clone)]
pub(super) struct Heard(Rc<Times>);

struct Times {
    /// By as little as one byte.
    at: Cell<Instant>,
    /// Since when a message is under way.
    message_began: Cell<Option<Instant>>,
}

impl Heard {
    pub(super) fn now() -> Self {
        Self(Rc::new(Times { at: Cell::new(Instant::now()), message_began: Cell::default() }))
    }

    pub(super) fn renew(&self) {
        self.0.at.set(Instant::now());
    }

    /// Nobody listens to the client: whatever it does not say is not its fault.
    pub(super) fn excuse(&self) {
        self.renew();
        if self.0.message_began.get().is_some() {
            self.0.message_began.set(Some(Instant::now()));
        }
    }

    /// Since when the client says nothing, or does not come to the end of a message.
    pub(super) fn silent_since(&self) -> Instant {
        let at = self.0.at.get();
        self.0.message_began.get().map_or(at, |began| began.min(at))
    }
}

/// The bytes of a client, until a frame is announced that is over the limit. Then the connection is
/// asked to close, and what still comes is thrown away, so that the client lives to read why.
pub(super) struct Limited {
    bytes: Payload,
    heard: Heard,
    headers: Headers,
    outbox: Arc<Outbox>,
    /// What a message that is under way takes of the node's memory.
    under_way: Taken,
    share: Arc<Share>,
    /// Waits for room in there.
    room: Option<LocalBoxFuture<'static, ()>>,
    broken: bool,
}

impl Limited {
    pub(super) fn new(
        bytes: Payload,
        max_frame_bytes: usize,
        heard: Heard,
        outbox: Arc<Outbox>,
        share: Arc<Share>,
    ) -> Self {
        let max = u64::try_from(max_frame_bytes).unwrap_or(u64::MAX);
        let under_way = Taken::of(&share, 0);
        Self { bytes, heard, headers: Headers::new(max), outbox, under_way, share, room: None, broken: false }
    }

    /// Ready while the socket may take more of the node's memory.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.broken && !self.share.has_room_for(0) {
            let share = Arc::clone(&self.share);
            let room = self.room.get_or_insert_with(|| async move { share.room().await }.boxed_local());
            ready!(room.as_mut().poll(context));
            self.room = None;
        }
        Poll::Ready(())
    }

    /// Notes how much of a message is there without its end.
    fn note_under_way(&mut self, messages_before: u64) {
        let under_way = self.headers.under_way();
        self.under_way.set(under_way);
        let times = &self.heard.0;
        if under_way == 0 {
            times.message_began.set(None);
        } else if times.message_began.get().is_none() || self.headers.messages > messages_before {
            times.message_began.set(Some(Instant::now()));
        }
    }
}

impl Stream for Limited {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            ready!(self.poll_room(context));
            let next = ready!(Pin::new(&mut self.bytes).poll_next(context));
            let Some(Ok(chunk)) = next else { return Poll::Ready(next) };
            self.heard.renew();
            if self.broken {
                continue;
            }
            let messages_before = self.headers.messages;
            match self.headers.follow(&chunk) {
                None => {
                    self.note_under_way(messages_before);
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(good) => {
                    self.broken = true;
                    self.under_way.set(0);
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
/// Most pieces of one message. Each costs memory beside its bytes, and costs work even where it is empty.
const MOST_PIECES: u32 = 1_024;
/// What a piece costs beside its bytes, roughly.
const BOOKKEEPING: u64 = 64;

/// Follows the frames through the bytes, and looks at nothing but their headers.
struct Headers {
    max: u64,
    /// The header so far.
    seen: Vec<u8>,
    /// What is left of the frame after its length.
    skip: u64,
    /// Of the frame, what there is in all.
    length: u64,
    /// Whether the frame is no control frame, and whether it ends its message.
    kind: FrameKind,
    /// Pieces so far of a message that comes in several.
    pieces: u32,
    /// What they cost.
    pieces_cost: u64,
    /// Messages that have come to their end.
    messages: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// A ping, a pong or a goodbye; may come between the pieces of a message.
    Control,
    /// Of a message, and not its end.
    Piece,
    /// The end of a message, or all of it.
    Last,
}

impl Headers {
    fn new(max: u64) -> Self {
        let seen = Vec::with_capacity(LONGEST_LENGTH);
        Self { max, seen, skip: 0, length: 0, kind: FrameKind::Last, pieces: 0, pieces_cost: 0, messages: 0 }
    }

    /// Follows one chunk; where a frame in it is over a limit, how much of the chunk came before it.
    fn follow(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut place = 0;
        let mut frame_began = 0;
        while place < chunk.len() {
            if self.skip > 0 {
                let left = chunk.len() - place;
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(left);
                self.skip -= step as u64;
                place += step;
                self.end_frame();
                continue;
            }
            if self.seen.is_empty() {
                frame_began = place;
            }
            self.seen.push(chunk[place]);
            place += 1;
            if let Some(length) = length(&self.seen) {
                self.kind = kind(self.seen[0]);
                if length > self.max || self.kind == FrameKind::Piece && self.pieces == MOST_PIECES {
                    return Some(frame_began);
                }
                let mask = if self.seen[1] & 0x80 == 0 { 0 } else { MASK_BYTES };
                self.length = length + mask;
                self.skip = self.length;
                self.seen.clear();
                self.end_frame();
            }
        }
        None
    }

    /// Counts the frame, where all of it is there.
    fn end_frame(&mut self) {
        match self.kind {
            FrameKind::Control => {}
            // Not all of it yet.
            _ if self.skip > 0 => {}
            FrameKind::Piece => {
                self.pieces += 1;
                self.pieces_cost += self.length + BOOKKEEPING;
            }
            FrameKind::Last => {
                (self.pieces, self.pieces_cost) = (0, 0);
                self.messages += 1;
            }
        }
    }

    /// What is there of a message whose end is not, in bytes.
    fn under_way(&self) -> usize {
        let is_begun = self.skip > 0 && self.kind != FrameKind::Control;
        let of_frame = if is_begun { BOOKKEEPING + self.length - self.skip } else { 0 };
        usize::try_from(self.pieces_cost + of_frame).unwrap_or(usize::MAX)
    }
}

fn kind(first: u8) -> FrameKind {
    match (first & 0x08, first & 0x80) {
        (0, 0) => FrameKind::Piece,
        (0, _) => FrameKind::Last,
        _ => FrameKind::Control,
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
        Headers::new(70_000)
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

        #[test]
        fn a_message_in_too_many_pieces_is_seen_at_the_first_that_is_one_too_many(cut in 1..50_usize) {
            let piece = |first| [vec![first, 0x80], vec![0; 4]].concat();
            let whole = [piece(0x01), piece(0x00).repeat(1_000), piece(0x8a), piece(0x80)].concat();
            let mut headers = headers();
            for chunk in whole.repeat(3).chunks(cut) {
                prop_assert_eq!(headers.follow(chunk), None);
            }
            let too_many = [piece(0x01), piece(0x00).repeat(1_024)].concat();
            prop_assert_eq!(headers.follow(&too_many), Some(6 * 1_024));
        }
    }
}
