//! The outbox: what waits to be written to one socket. It is bounded in bytes, so a slow consumer costs no more
//! than its budget and blocks no other task. Past the budget, one `behind` replaces the further pushes of a
//! conversation; it is sent once half of the budget is free again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::push::{CoalesceKey, ConversationKey, OverflowPolicy};
use crate::limits::memory::MemoryAccount;
use crate::model::{PushType, Seq, UserId};
use crate::wire::close::Close;
use crate::wire::items::BehindItem;
use crate::wire::reply::{self, Body, Frame};

/// Maximum number of frames that [`Outbox::poll_take`] returns at once.
pub const MAX_TAKE_FRAMES: usize = 64;
/// [`Outbox::poll_take`] adds no more frames once it has this many bytes.
pub const MAX_TAKE_BYTES: usize = 64 * 1024;
/// The memory that a waiting frame takes besides its bytes, roughly.
const FRAME_OVERHEAD_BYTES: usize = 100;
/// Maximum number of conversations in which one socket may be behind. Past that the socket is closed, and the client
/// reads its lists anew.
const MAX_BEHIND_CONVERSATIONS: usize = 1_000;
/// Maximum number of coalesced pushes that wait.
const MAX_COALESCED_PUSHES: usize = 1_000;

/// The frames that wait for one socket. Any task may push; only the socket's own task adds replies and takes frames.
#[derive(Debug)]
pub struct Outbox {
    /// The user of the socket: a `behind` names conversations as this user does.
    user: UserId,
    /// Bytes for pushes. Replies are counted apart: the socket's task processes no more requests while they fill more
    /// than half of the budget.
    budget: usize,
    /// The account of the socket in the node's memory budget, which replies are charged to.
    memory: Arc<MemoryAccount>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<WaitingFrame>,
    /// The answer to the client's newest ping. It goes before everything that waits.
    pong: Option<Frame>,
    /// Whether a heartbeat, a ping of the server, is due. It goes before everything that waits, too.
    is_heartbeat_due: bool,
    /// How many frames have left `waiting` so far: the position of its first.
    taken: usize,
    /// The positions in `waiting` of the coalesced pushes.
    coalesced: HashMap<CoalesceKey, usize>,
    /// The conversations in which the socket is behind, and up to which `seq`.
    behind: HashMap<ConversationKey, Seq>,
    push_bytes: usize,
    reply_bytes: usize,
    /// Of `reply_bytes`, what is charged to the memory account.
    charged_bytes: usize,
    /// Wakes the socket's task.
    waker: Option<Waker>,
    asked_to_close: Option<Close>,
    /// No more frames are accepted: the close frame was added, the socket was behind in too many conversations, or
    /// the connection has ended.
    is_closed: bool,
}

#[derive(Debug)]
struct WaitingFrame {
    bytes: Bytes,
    is_push: bool,
    /// Set if it is a coalesced push.
    key: Option<CoalesceKey>,
}

impl State {
    fn add(&mut self, frame: &Frame, is_push: bool) {
        let bytes = frame.bytes().clone();
        *self.counter(is_push) += bytes.len() + FRAME_OVERHEAD_BYTES;
        self.waiting.push_back(WaitingFrame { bytes, is_push, key: None });
    }

    /// Replaces the push with the same key that waits, or adds the push at the end. Past [`MAX_COALESCED_PUSHES`],
    /// read and delivery markers mark the conversation as behind; typing and presence are dropped.
    fn add_coalesced(&mut self, frame: &Frame, key: CoalesceKey) {
        let position = self.coalesced.get(&key).map(|position| position - self.taken);
        if let Some(waiting) = position.and_then(|position| self.waiting.get_mut(position)) {
            let before = mem::replace(&mut waiting.bytes, frame.bytes().clone());
            self.push_bytes = self.push_bytes + frame.bytes().len() - before.len();
        } else if self.coalesced.len() < MAX_COALESCED_PUSHES {
            self.coalesced.insert(key, self.taken + self.waiting.len());
            self.add(frame, true);
            self.waiting.back_mut().expect("it was added").key = Some(key);
        } else if let CoalesceKey::Read(conversation, _) | CoalesceKey::Delivered(conversation, _) = key {
            self.behind.entry(conversation).or_insert(0);
        }
    }

    fn mark_behind(&mut self, conversation: ConversationKey, seq: Seq) {
        let up_to = self.behind.entry(conversation).or_insert(0);
        *up_to = seq.max(*up_to);
    }

    fn take_first(&mut self) -> Option<WaitingFrame> {
        let first = self.waiting.pop_front()?;
        self.taken += 1;
        if let Some(key) = first.key {
            self.coalesced.remove(&key);
        }
        Some(first)
    }

    /// Adds a `behind` for every conversation in which the socket is behind.
    fn add_behind(&mut self, user: UserId) {
        for (conversation, seq) in mem::take(&mut self.behind) {
            let item = BehindItem { target: conversation.seen_by(user).into(), seq };
            self.add(&reply::push(PushType::Behind, &Body::item(&item)), true);
        }
    }

    fn counter(&mut self, is_push: bool) -> &mut usize {
        if is_push { &mut self.push_bytes } else { &mut self.reply_bytes }
    }

    /// The control frames, which go before everything that waits.
    fn take_control(&mut self) -> impl Iterator<Item = Frame> {
        let heartbeat = mem::take(&mut self.is_heartbeat_due).then(Frame::ping);
        self.pong.take().into_iter().chain(heartbeat)
    }

    fn drop_waiting(&mut self) {
        self.waiting.clear();
        (self.pong, self.is_heartbeat_due) = (None, false);
        self.coalesced.clear();
        self.behind.clear();
        (self.push_bytes, self.reply_bytes) = (0, 0);
    }

    fn set_waker(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Outbox {
    /// An outbox for a socket of this user, which holds `budget` bytes of pushes and the one that exceeds it.
    #[must_use]
    pub fn new(user: UserId, budget: usize, memory: Arc<MemoryAccount>) -> Self {
        Self { user, budget, memory, state: Mutex::default() }
    }

    /// Adds a push, or applies its overflow policy if the budget is used up.
    pub fn push(&self, frame: &Frame, on_overflow: OverflowPolicy) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        let is_full = state.push_bytes >= self.budget;
        match on_overflow {
            OverflowPolicy::KeepLatest(key) => state.add_coalesced(frame, key),
            OverflowPolicy::MarkBehind(conversation, seq) if is_full || state.behind.contains_key(&conversation) => {
                state.mark_behind(conversation, seq);
            }
            OverflowPolicy::Drop if is_full => {}
            OverflowPolicy::MarkBehind(..) | OverflowPolicy::Drop => state.add(frame, true),
        }
        self.finish_push(state);
    }

    /// Marks the socket as behind in a conversation: pushes up to `seq` did not reach this outbox.
    pub fn mark_behind(&self, conversation: ConversationKey, seq: Seq) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.mark_behind(conversation, seq);
            self.finish_push(state);
        }
    }

    /// Wakes the socket's task, or disconnects a slow consumer that is behind in too many conversations.
    fn finish_push(&self, mut state: MutexGuard<'_, State>) {
        if state.behind.len() > MAX_BEHIND_CONVERSATIONS {
            state.drop_waiting();
            self.update_charge(&mut state);
            state.is_closed = true;
            state.asked_to_close.get_or_insert(Close::Overloaded);
        }
        state.wake();
    }

    /// Adds a reply. The socket's task checks [`has_room`](Self::has_room) before it processes more requests.
    pub fn reply(&self, frame: &Frame) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.add(frame, false);
            self.update_charge(&mut state);
            state.wake();
        }
    }

    /// Answers a ping of the client. Of several pings that wait, RFC 6455 lets the answer to the newest stand for
    /// all (5.5.3), so pongs for a client that sends pings without reading do not accumulate.
    pub fn pong(&self, payload: &[u8]) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.pong = Some(Frame::pong(payload));
            state.wake();
        }
    }

    /// Queues a heartbeat ping; several that are due become one.
    pub fn enqueue_heartbeat(&self) {
        let mut state = self.state.lock();
        if !state.is_closed {
            state.is_heartbeat_due = true;
            state.wake();
        }
    }

    /// Asks the connection to close. The first reason is kept.
    pub fn ask_to_close(&self, close: Close) {
        let mut state = self.state.lock();
        state.asked_to_close.get_or_insert(close);
        state.wake();
    }

    /// Why the connection was asked to close, if it was.
    #[must_use]
    pub fn asked_to_close(&self) -> Option<Close> {
        self.state.lock().asked_to_close
    }

    /// Backpressure: whether more requests may be processed. They may not while replies fill more than half of the
    /// budget.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.state.lock().reply_bytes <= self.budget / 2
    }

    /// Adds the close frame, which is the last: later frames are dropped.
    pub fn finish(&self, close: Close) {
        let mut state = self.state.lock();
        state.add(&close.frame(), false);
        self.update_charge(&mut state);
        state.is_closed = true;
        state.wake();
    }

    /// Whether no more frames are accepted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Drops all that waits, and accepts no more frames: the connection has ended.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.drop_waiting();
        self.update_charge(&mut state);
    }

    /// Charges the memory account with the replies that wait, no more and no less.
    fn update_charge(&self, state: &mut State) {
        let before = mem::replace(&mut state.charged_bytes, state.reply_bytes);
        match state.reply_bytes.checked_sub(before) {
            Some(0) => {}
            Some(more) => self.memory.charge(more),
            None => self.memory.release(before - state.reply_bytes),
        }
    }

    /// Takes a batch of frames to write. Pending while none waits; wakes when one is added, and when the
    /// connection is asked to close.
    pub fn poll_take(&self, context: &Context<'_>, frames: &mut VecDeque<Bytes>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.behind.is_empty() && state.push_bytes <= self.budget / 2 && !state.is_closed {
            state.add_behind(self.user);
        }
        frames.extend(state.take_control().map(|frame| frame.bytes().clone()));
        let mut bytes = 0;
        while bytes < MAX_TAKE_BYTES && frames.len() < MAX_TAKE_FRAMES {
            let Some(first) = state.take_first() else { break };
            bytes += first.bytes.len();
            let counter = state.counter(first.is_push);
            *counter = counter.saturating_sub(first.bytes.len() + FRAME_OVERHEAD_BYTES);
            frames.push_back(first.bytes);
        }
        self.update_charge(&mut state);
        if state.waiting.is_empty() {
            // The burst is over: an idle socket keeps no capacity for the next one.
            state.waiting = VecDeque::new();
        }
        if !frames.is_empty() {
            return Poll::Ready(());
        }
        state.set_waker(context);
        Poll::Pending
    }

    /// Registers the waker without taking frames: it is woken when the connection is asked to close, or more
    /// frames wait.
    pub fn set_waker(&self, context: &Context<'_>) {
        self.state.lock().set_waker(context);
    }
}

#[cfg(test)]
mod tests;
