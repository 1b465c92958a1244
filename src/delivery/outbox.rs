//! What waits to be written to one socket: bounded in bytes, so that a slow reader costs no more
//! than its budget and nobody waits for it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::wire::close::Close;
use crate::wire::reply::Frame;

/// Most bytes that are handed over at once: a large slice would stay in the connection's write
/// buffer as capacity long after it has been sent.
const SLICE: usize = 4096;

/// The frames that wait for one socket. Anybody may push; the connection's body alone takes.
#[derive(Debug)]
pub struct Outbox {
    budget: usize,
    state: Mutex<State>,
    /// Tells the connection that it was asked to close, or that there is room again.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    /// The first of `waiting` is the rest of a frame whose beginning is written.
    cut: bool,
    bytes: usize,
    taker: Option<Waker>,
    asked_to_close: Option<Close>,
    /// No frame goes in any more: the last one, which says why, is there.
    finished: bool,
    /// The body ends once `waiting` is empty.
    ended: bool,
}

impl Outbox {
    /// An outbox that holds `budget` bytes, and the frame that goes over it.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self { budget, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a frame, or drops everything and asks the connection to close with 1013 where the
    /// budget is used up.
    pub fn push(&self, frame: &Frame) {
        let taker = {
            let mut state = self.state.lock();
            if state.finished || state.asked_to_close == Some(Close::Overloaded) {
                return;
            }
            if state.bytes >= self.budget {
                // The rest of a frame stays, or the reason would be read as the inside of it.
                let rest = state.waiting.pop_front().filter(|_| state.cut);
                state.bytes = rest.as_ref().map_or(0, Bytes::len);
                state.waiting = rest.into_iter().collect();
                state.asked_to_close = Some(Close::Overloaded);
                drop(state);
                self.changed.notify_one();
                return;
            }
            state.bytes += frame.bytes().len();
            state.waiting.push_back(frame.bytes().clone());
            state.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Asks the connection to close. The first reason stands.
    pub fn ask_to_close(&self, close: Close) {
        self.state.lock().asked_to_close.get_or_insert(close);
        self.changed.notify_one();
    }

    /// Why the connection was asked to close, if it was.
    #[must_use]
    pub fn asked_to_close(&self) -> Option<Close> {
        self.state.lock().asked_to_close
    }

    /// Whether replies still fit. Half of the budget is for what others send.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.state.lock().bytes <= self.budget / 2
    }

    /// Returns when `asked_to_close` or `has_room` may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds the last frame: what comes after it is dropped.
    pub fn finish(&self, close: Close) {
        self.push_last(&close.frame());
    }

    fn push_last(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if !state.finished {
            state.finished = true;
            state.waiting.push_back(frame.bytes().clone());
        }
        wake(&mut state);
    }

    /// Lets the body end once everything is written.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.finished = true;
        state.ended = true;
        wake(&mut state);
    }

    /// The next bytes to write; `None` where the connection has ended.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.lock();
        let Some(mut frame) = state.waiting.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.taker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let had_room = state.bytes <= self.budget / 2;
        let slice = frame.split_to(frame.len().min(SLICE));
        state.cut = !frame.is_empty();
        if state.cut {
            state.waiting.push_front(frame);
        }
        state.bytes = state.bytes.saturating_sub(slice.len());
        let has_room = state.bytes <= self.budget / 2;
        drop(state);
        if has_room && !had_room {
            self.changed.notify_one();
        }
        Poll::Ready(Some(slice))
    }
}

fn wake(state: &mut State) {
    if let Some(taker) = state.taker.take() {
        taker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::{self, Body};

    fn take(outbox: &Outbox) -> Poll<Option<Bytes>> {
        outbox.poll_take(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_large_frame_leaves_in_slices_and_in_order() {
        let outbox = Outbox::new(10);
        let frame = Frame::close(1000, &"x".repeat(100));
        outbox.push(&frame);
        let mut written = Vec::new();
        while let Poll::Ready(Some(slice)) = take(&outbox) {
            assert!(slice.len() <= SLICE);
            written.extend_from_slice(&slice);
        }
        assert_eq!(written, frame.bytes().as_ref());
    }

    #[test]
    fn past_its_budget_an_outbox_keeps_only_the_reason() {
        let outbox = Outbox::new(100);
        for _ in 0..51 {
            outbox.push(&Frame::ping());
        }
        assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
        assert!(take(&outbox).is_pending());
        outbox.finish(Close::Overloaded);
        outbox.push(&Frame::ping());
        outbox.end();
        assert_eq!(take(&outbox), Poll::Ready(Some(Close::Overloaded.frame().bytes().clone())));
        assert_eq!(take(&outbox), Poll::Ready(None));
    }

    #[test]
    fn a_frame_that_is_half_written_is_written_to_its_end() {
        let outbox = Outbox::new(100);
        let large = reply::push("x", &Body { message: Some("x".repeat(2 * SLICE)), ..Body::done() });
        outbox.push(&large);
        let Poll::Ready(Some(beginning)) = take(&outbox) else { panic!("the beginning") };
        outbox.push(&Frame::ping());
        assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
        outbox.finish(Close::Overloaded);
        let mut written = beginning.to_vec();
        while let Poll::Ready(Some(slice)) = take(&outbox) {
            written.extend_from_slice(&slice);
        }
        assert_eq!(written, [large.bytes().as_ref(), Close::Overloaded.frame().bytes().as_ref()].concat());
    }

    #[test]
    fn one_frame_may_be_larger_than_the_budget() {
        let outbox = Outbox::new(1);
        outbox.push(&Frame::ping());
        assert!(outbox.asked_to_close().is_none());
        assert!(!outbox.has_room());
    }
}
