//! What waits to be written to one socket: bounded in bytes, so that a slow reader costs no more
//! than its budget and nobody waits for it. Past the budget, one `behind` stands for all that a
//! conversation has to say; it follows once half of the budget is free again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{Subject, WhenSlow, Where};
use crate::limits::memory::Share;
use crate::model::{Seq, UserId};
use crate::wire::close::Close;
use crate::wire::items::BehindItem;
use crate::wire::reply::{self, Body, Frame};

/// Most frames that are handed over at once.
pub const FRAMES_AT_ONCE: usize = 64;
/// Frames are handed over at once until there are so many bytes.
pub const BYTES_AT_ONCE: usize = 64 * 1024;
/// What a waiting frame costs besides its bytes, roughly.
const BOOKKEEPING: usize = 100;
/// Most conversations that one socket is behind in. One that falls behind in more has to begin anew.
const MOST_BEHIND: usize = 1_000;
/// Most pushes of which only the latest waits.
const MOST_LATEST: usize = 1_000;

/// The frames that wait for one socket. Anybody may push; its connection alone replies and takes.
#[derive(Debug)]
pub struct Outbox {
    /// Whose socket it is: a `behind` names conversations as they do.
    user: UserId,
    /// For pushes. Replies have their own: a connection stops reading requests while they wait.
    budget: usize,
    /// Of the node's memory, which replies take from.
    share: Arc<Share>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The answer that the client's newest ping is owed. It goes before all that waits.
    pong: Option<Frame>,
    /// Whether our own ping is due, which goes before all that waits too.
    ping_due: bool,
    /// How many have left `waiting` so far: the place of its first.
    taken: usize,
    /// The places in `waiting` of those pushes of which only the latest waits.
    latest: HashMap<Subject, usize>,
    /// The conversations that the socket is behind in, and up to where.
    behind: HashMap<Where, Seq>,
    push_bytes: usize,
    reply_bytes: usize,
    /// Of those, what has been taken from the share.
    taken_bytes: usize,
    taker: Option<Waker>,
    asked_to_close: Option<Close>,
    /// No frame goes in any more: the last one, which says why, is there, or nobody will take it.
    over: bool,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    is_push: bool,
    /// Of what only the latest waits, where it is such a push.
    subject: Option<Subject>,
}

impl State {
    fn add(&mut self, frame: &Frame, is_push: bool) {
        let bytes = frame.bytes().clone();
        *self.counted(is_push) += bytes.len() + BOOKKEEPING;
        self.waiting.push_back(Waiting { bytes, is_push, subject: None });
    }

    /// Puts a push in the place of the one before it about the same, or at the end.
    fn add_latest(&mut self, frame: &Frame, subject: Subject) {
        let place = self.latest.get(&subject).map(|place| place - self.taken);
        if let Some(waiting) = place.and_then(|place| self.waiting.get_mut(place)) {
            let before = mem::replace(&mut waiting.bytes, frame.bytes().clone());
            self.push_bytes = self.push_bytes + frame.bytes().len() - before.len();
        } else if self.latest.len() < MOST_LATEST {
            self.latest.insert(subject, self.taken + self.waiting.len());
            self.add(frame, true);
            self.waiting.back_mut().expect("it was added").subject = Some(subject);
        } else if let Subject::Read(conversation, _) | Subject::Delivered(conversation, _) = subject {
            self.behind.entry(conversation).or_insert(0);
        }
    }

    fn fall_behind(&mut self, conversation: Where, seq: Seq) {
        let up_to = self.behind.entry(conversation).or_insert(0);
        *up_to = seq.max(*up_to);
    }

    fn take_first(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.taken += 1;
        if let Some(subject) = first.subject {
            self.latest.remove(&subject);
        }
        Some(first)
    }

    /// Says of every conversation that the socket is behind in it.
    fn say_behind(&mut self, user: UserId) {
        for (conversation, seq) in mem::take(&mut self.behind) {
            let item = BehindItem { target: conversation.seen_by(user).into(), seq };
            self.add(&reply::push("behind", &Body::item(&item)), true);
        }
    }

    fn counted(&mut self, is_push: bool) -> &mut usize {
        if is_push { &mut self.push_bytes } else { &mut self.reply_bytes }
    }

    /// What goes before all that waits.
    fn take_control(&mut self) -> impl Iterator<Item = Frame> {
        let ping = mem::take(&mut self.ping_due).then(Frame::ping);
        self.pong.take().into_iter().chain(ping)
    }

    fn drop_waiting(&mut self) {
        self.waiting.clear();
        (self.pong, self.ping_due) = (None, false);
        self.latest.clear();
        self.behind.clear();
        (self.push_bytes, self.reply_bytes) = (0, 0);
    }

    fn watch(&mut self, context: &Context<'_>) {
        match &mut self.taker {
            Some(taker) => taker.clone_from(context.waker()),
            None => self.taker = Some(context.waker().clone()),
        }
    }

    fn wake_taker(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

impl Outbox {
    /// An outbox of a user's socket that holds `budget` bytes of pushes, and the one that goes over it.
    #[must_use]
    pub fn new(user: UserId, budget: usize, share: Arc<Share>) -> Self {
        Self { user, budget, share, state: Mutex::default() }
    }

    /// Adds what somebody else has to say, or what stands for it where the budget is used up.
    pub fn push(&self, frame: &Frame, when_slow: WhenSlow) {
        let mut state = self.state.lock();
        if state.over {
            return;
        }
        let is_full = state.push_bytes >= self.budget;
        match when_slow {
            WhenSlow::Latest(subject) => state.add_latest(frame, subject),
            WhenSlow::Behind(conversation, seq) if is_full || state.behind.contains_key(&conversation) => {
                state.fall_behind(conversation, seq);
            }
            WhenSlow::Drop if is_full => {}
            WhenSlow::Behind(..) | WhenSlow::Drop => state.add(frame, true),
        }
        self.settle(state);
    }

    /// What a conversation had to say did not come this far: its word stands for it.
    pub fn fall_behind(&self, conversation: Where, seq: Seq) {
        let mut state = self.state.lock();
        if !state.over {
            state.fall_behind(conversation, seq);
            self.settle(state);
        }
    }

    /// After a push: somebody is to take it, unless there is no end of what the socket is behind in.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        if state.behind.len() > MOST_BEHIND {
            state.drop_waiting();
            self.account(&mut state);
            state.over = true;
            state.asked_to_close.get_or_insert(Close::Overloaded);
        }
        state.wake_taker();
    }

    /// Adds what the connection itself has to say. It asks `has_room` before it takes on more.
    pub fn reply(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if !state.over {
            state.add(frame, false);
            self.account(&mut state);
            state.wake_taker();
        }
    }

    /// Owes the client the answer to its newest ping. Of several pings that wait, RFC 6455 lets the newest stand
    /// for all (5.5.3), so that a client which asks without reading gets no pile of answers.
    pub fn pong(&self, payload: &[u8]) {
        let mut state = self.state.lock();
        if !state.over {
            state.pong = Some(Frame::pong(payload));
            state.wake_taker();
        }
    }

    /// Sends a ping of our own, once, however many are due before the client takes it.
    pub fn ping(&self) {
        let mut state = self.state.lock();
        if !state.over {
            state.ping_due = true;
            state.wake_taker();
        }
    }

    /// Asks the connection to close. The first reason stands.
    pub fn ask_to_close(&self, close: Close) {
        let mut state = self.state.lock();
        state.asked_to_close.get_or_insert(close);
        state.wake_taker();
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

    /// Adds the last frame: what comes after it is dropped.
    pub fn finish(&self, close: Close) {
        let mut state = self.state.lock();
        state.add(&close.frame(), false);
        self.account(&mut state);
        state.over = true;
        state.wake_taker();
    }

    /// Whether nothing goes in any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Nobody takes any more: the connection is gone. What waits is dropped.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.over = true;
        state.drop_waiting();
        self.account(&mut state);
    }

    /// Takes from the share what replies that wait have become more, or gives back what less.
    fn account(&self, state: &mut State) {
        let before = mem::replace(&mut state.taken_bytes, state.reply_bytes);
        match state.reply_bytes.checked_sub(before) {
            Some(0) => {}
            Some(more) => self.share.take(more),
            None => self.share.give_back(before - state.reply_bytes),
        }
    }

    /// Hands over frames to write, a batch at a time. Pending where none waits; wakes when one does,
    /// and when the connection is asked to close.
    pub fn poll_take(&self, context: &Context<'_>, frames: &mut VecDeque<Bytes>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.behind.is_empty() && state.push_bytes <= self.budget / 2 && !state.over {
            state.say_behind(self.user);
        }
        frames.extend(state.take_control().map(|frame| frame.bytes().clone()));
        let mut bytes = 0;
        while bytes < BYTES_AT_ONCE && frames.len() < FRAMES_AT_ONCE {
            let Some(first) = state.take_first() else { break };
            bytes += first.bytes.len();
            let counted = state.counted(first.is_push);
            *counted = counted.saturating_sub(first.bytes.len() + BOOKKEEPING);
            frames.push_back(first.bytes);
        }
        self.account(&mut state);
        if state.waiting.is_empty() {
            // A burst is over: an idle socket keeps no room for the next one.
            state.waiting = VecDeque::new();
        }
        if !frames.is_empty() {
            return Poll::Ready(());
        }
        state.watch(context);
        Poll::Pending
    }

    /// Wakes when the connection is asked to close, or more waits.
    pub fn watch(&self, context: &Context<'_>) {
        self.state.lock().watch(context);
    }
}

#[cfg(test)]
mod tests;
