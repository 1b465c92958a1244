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
/// What a waiting frame costs besides its bytes, roughly.
const BOOKKEEPING: usize = 100;

/// The frames that wait for one socket. Anybody may push; its connection alone replies, and the
/// connection's body alone takes.
#[derive(Debug)]
pub struct Outbox {
    /// For pushes. Replies have their own: a connection stops reading requests while they wait.
    budget: usize,
    state: Mutex<State>,
    /// Tells the connection that it was asked to close, or that there is room again.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The first of `waiting` is the rest of a frame whose beginning is written.
    cut: bool,
    push_bytes: usize,
    reply_bytes: usize,
    taker: Option<Waker>,
    asked_to_close: Option<Close>,
    phase: Phase,
}

/// How far a connection has come, each phase after the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// No frame goes in any more: the last one, which says why, is there, or nobody will take it.
    Finished,
    /// The body ends once `waiting` is empty.
    Ended,
    /// The client has said goodbye as well.
    Agreed,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    is_push: bool,
}

impl State {
    fn add(&mut self, frame: &Frame, is_push: bool) {
        let bytes = frame.bytes().clone();
        *self.counted(is_push) += bytes.len() + BOOKKEEPING;
        self.waiting.push_back(Waiting { bytes, is_push });
    }

    fn counted(&mut self, is_push: bool) -> &mut usize {
        if is_push { &mut self.push_bytes } else { &mut self.reply_bytes }
    }

    /// Drops all that waits, but for the rest of a frame: the reason behind it would be read as the
    /// inside of it.
    fn drop_waiting(&mut self) {
        let rest = self.waiting.pop_front().filter(|_| self.cut);
        (self.push_bytes, self.reply_bytes) = (0, 0);
        self.waiting = rest.into_iter().collect();
    }

    fn wake_taker(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

impl Outbox {
    /// An outbox that holds `budget` bytes of pushes, and the one that goes over it.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self { budget, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds what somebody else has to say; where the budget is used up, drops everything and asks
    /// the connection to close with 1013.
    pub fn push(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if state.phase > Phase::Open {
            return;
        }
        if state.push_bytes >= self.budget {
            state.drop_waiting();
            state.phase = Phase::Finished;
            state.asked_to_close.get_or_insert(Close::Overloaded);
            self.changed.notify_one();
            return;
        }
        state.add(frame, true);
        state.wake_taker();
    }

    /// Adds what the connection itself has to say. It asks `has_room` before it takes on more.
    pub fn reply(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.add(frame, false);
            state.wake_taker();
        }
    }

    /// Adds a ping or a pong, unless something waits: that is as good a sign of life, and a client
    /// that asks without reading gets no pile of them.
    pub fn sign_of_life(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open && state.waiting.is_empty() {
            state.add(frame, false);
            state.wake_taker();
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

    /// Whether the connection may take on more to reply to.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.state.lock().reply_bytes <= self.budget / 2
    }

    /// Returns when `asked_to_close` or `has_room` may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds the last frame: what comes after it is dropped.
    pub fn finish(&self, close: Close) {
        let mut state = self.state.lock();
        state.phase = state.phase.max(Phase::Finished);
        state.add(&close.frame(), false);
        state.wake_taker();
    }

    /// Lets the body end once everything is written. `agreed` where the client has said goodbye as
    /// well, so that nothing is to be waited for.
    pub fn end(&self, agreed: bool) {
        let mut state = self.state.lock();
        state.phase = state.phase.max(if agreed { Phase::Agreed } else { Phase::Ended });
        state.wake_taker();
    }

    /// Whether both sides have said goodbye.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.state.lock().phase == Phase::Agreed
    }

    /// Nobody takes any more: the connection is gone. What waits is dropped, and the connection's
    /// task, which may be waiting for room, finds out.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.phase = state.phase.max(Phase::Finished);
        state.cut = false;
        state.drop_waiting();
        self.changed.notify_one();
    }

    /// The next bytes to write; `None` where the connection has ended.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.lock();
        let Some(mut first) = state.waiting.pop_front() else {
            if state.phase >= Phase::Ended {
                return Poll::Ready(None);
            }
            state.taker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let had_room = state.reply_bytes <= self.budget / 2;
        let slice = first.bytes.split_to(first.bytes.len().min(SLICE));
        state.cut = !first.bytes.is_empty();
        let done_with = slice.len() + if state.cut { 0 } else { BOOKKEEPING };
        let counted = state.counted(first.is_push);
        *counted = counted.saturating_sub(done_with);
        if state.cut {
            state.waiting.push_front(first);
        }
        if !had_room && state.reply_bytes <= self.budget / 2 {
            self.changed.notify_one();
        }
        Poll::Ready(Some(slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::{self, Body};

    fn take(outbox: &Outbox) -> Poll<Option<Bytes>> {
        outbox.poll_take(&mut Context::from_waker(Waker::noop()))
    }

    fn take_all(outbox: &Outbox) -> Vec<u8> {
        let mut written = Vec::new();
        while let Poll::Ready(Some(slice)) = take(outbox) {
            assert!(slice.len() <= SLICE);
            written.extend_from_slice(&slice);
        }
        written
    }

    fn large() -> Frame {
        reply::push("x", &Body { message: Some("x".repeat(2 * SLICE)), ..Body::done() })
    }

    #[test]
    fn a_large_frame_leaves_in_slices_and_in_order() {
        let outbox = Outbox::new(10);
        outbox.push(&large());
        assert_eq!(take_all(&outbox), large().bytes().as_ref());
    }

    #[test]
    fn past_its_budget_an_outbox_keeps_only_the_reason() {
        let outbox = Outbox::new(1000);
        for _ in 0..11 {
            outbox.push(&Frame::ping());
        }
        assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
        assert!(take(&outbox).is_pending());
        outbox.finish(Close::Overloaded);
        outbox.push(&Frame::ping());
        outbox.end(true);
        assert_eq!(take(&outbox), Poll::Ready(Some(Close::Overloaded.frame().bytes().clone())));
        assert_eq!(take(&outbox), Poll::Ready(None));
    }

    #[test]
    fn a_frame_that_is_half_written_is_written_to_its_end() {
        let outbox = Outbox::new(100);
        outbox.push(&large());
        let Poll::Ready(Some(beginning)) = take(&outbox) else { panic!("the beginning") };
        outbox.push(&Frame::ping());
        assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
        outbox.finish(Close::Overloaded);
        let written = [beginning.to_vec(), take_all(&outbox)].concat();
        assert_eq!(written, [large().bytes().as_ref(), Close::Overloaded.frame().bytes().as_ref()].concat());
    }

    #[test]
    fn the_first_reason_stands() {
        let outbox = Outbox::new(1);
        outbox.ask_to_close(Close::Unauthorized);
        outbox.push(&Frame::ping());
        outbox.push(&Frame::ping());
        assert_eq!(outbox.asked_to_close(), Some(Close::Unauthorized));
    }

    #[test]
    fn replies_use_up_room_but_never_the_budget_of_pushes() {
        let outbox = Outbox::new(1000);
        outbox.reply(&large());
        assert!(!outbox.has_room());
        outbox.push(&Frame::ping());
        assert!(outbox.asked_to_close().is_none());
        take_all(&outbox);
        assert!(outbox.has_room());
    }

    #[test]
    fn signs_of_life_do_not_pile_up() {
        let outbox = Outbox::new(1000);
        for _ in 0..100 {
            outbox.sign_of_life(&Frame::ping());
        }
        assert_eq!(take_all(&outbox), Frame::ping().bytes().as_ref());
    }

    #[test]
    fn who_is_gone_leaves_nothing_waiting() {
        let outbox = Outbox::new(1000);
        outbox.reply(&large());
        assert!(take(&outbox).is_ready());
        outbox.abandon();
        outbox.reply(&large());
        assert!(outbox.has_room() && take(&outbox).is_pending());
    }
}
