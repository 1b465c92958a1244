//! What nodes say to each other, so that several processes on one database are one system. What is to
//! be said waits in a queue that is bounded in bytes, and leaves in batches; nobody who says something
//! waits. How batches travel is for `server/bus.rs` to know, and for PostgreSQL.
//!
//! Every node numbers its batches. So the others know when they have missed one, whatever the reason:
//! they could not listen, or the queue was full, or it said nothing while it thought that it was alone.
//! Then they ask who is there, and tell those sockets `behind` that may have missed a message.

mod listening;
mod payload;
mod queue;
mod words;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::listening::{Listening, Missed};
pub use self::payload::MAX_PAYLOAD_BYTES;
use self::payload::Payload;
use self::queue::Queue;
use self::words::Word;
use super::Event;
use crate::model::UserId;
use crate::wire::reply::Frame;

/// One run of a server, among all that there ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One node's end of the bus: what it has to say, and whether anybody hears it.
#[derive(Debug)]
pub struct Bus {
    node: NodeId,
    /// How many other nodes there are.
    others: AtomicUsize,
    /// How many of them have said who is there.
    answered: AtomicUsize,
    /// Whether this node hears itself, and so the others.
    is_heard: AtomicBool,
    /// Whether it has sockets, to which what happens elsewhere is news.
    is_serving: AtomicBool,
    queue: Mutex<Queue>,
    filled: Notify,
}

/// What leaves at once.
#[derive(Debug)]
pub struct Batch {
    from: NodeId,
    /// One more than that of the batch before, or two where something in between was not said.
    number: u64,
    /// Empty in a sign of life.
    body: String,
}

impl Batch {
    /// The batch in pieces of at most [`MAX_PAYLOAD_BYTES`], in their order. `horizon` is a number of
    /// changes (see the migrations) below which all is done.
    #[must_use]
    pub fn payloads(&self, horizon: i64) -> Vec<String> {
        Payload::cut(self.from, self.number, horizon, &self.body)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            node: NodeId(rand::random()),
            others: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            is_heard: AtomicBool::new(false),
            is_serving: AtomicBool::new(false),
            queue: Mutex::default(),
            filled: Notify::new(),
        }
    }
}

impl Bus {
    /// Whether there is no other node.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.others.load(Ordering::Acquire) == 0
    }

    /// How many other nodes have said who is there with them.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether the node hears what is said, itself included.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Acquire)
    }

    /// The node cannot listen for now.
    pub fn deafened(&self) {
        self.is_heard.store(false, Ordering::Release);
    }

    /// The node has sockets from now on: what it missed before it could not have told anybody.
    pub fn serve(&self) {
        self.is_serving.store(true, Ordering::Release);
    }

    /// Says goodbye, as the last thing.
    pub fn say_goodbye(&self) {
        self.say(&Word::Bye, &[]);
    }

    /// The next batch, as soon as there is something to say.
    pub async fn next(&self) -> Batch {
        loop {
            if let Some(batch) = self.take() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    /// The next batch, if there is something to say.
    #[must_use]
    pub fn take(&self) -> Option<Batch> {
        let (number, body) = self.queue.lock().take()?;
        Some(Batch { from: self.node, number, body })
    }

    /// A sign of life, which is also what the others tell the time by.
    #[must_use]
    pub fn beat(&self) -> Batch {
        Batch { from: self.node, number: self.queue.lock().next_number(), body: String::new() }
    }

    /// Tells the other nodes. Never waits.
    pub(super) fn publish(&self, event: &Event) {
        let (word, frames) = Word::of(event);
        self.say(&word, &frames);
    }

    /// Tells the other nodes, if there are any, how somebody is there on this one.
    pub(super) fn say_status(&self, user: UserId, active: Option<bool>, settled: bool) {
        if !self.is_alone() {
            self.say(&Word::Here { user, active, settled }, &[]);
        }
    }

    /// Tells the other nodes that all are to forget somebody.
    pub(super) fn say_forgotten(&self, user: UserId) {
        if !self.is_alone() {
            self.say(&Word::Forgotten(user), &[]);
        }
    }

    /// Says who of a shard of users is there on this node, and whether the app is in front: they and nobody else.
    pub(super) fn say_people(&self, shard: usize, here: Vec<(UserId, bool)>) {
        self.say(&Word::People { shard, here }, &[]);
    }

    fn say(&self, word: &Word, frames: &[&Frame]) {
        let said = word.write(frames);
        self.queue.lock().push(&said);
        self.filled.notify_one();
    }

    /// Something was not said to everybody, and the numbers are to show it.
    fn skip(&self) {
        self.queue.lock().skip();
    }
}
