//! The state that delivery keeps for one open socket.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use parking_lot::Mutex;

use super::outbox::Outbox;
use super::push::Push;
use crate::limits::memory::MemoryAccount;
use crate::model::{SessionKey, SocketId, Target, Topic, Topics, UserId};

/// One open socket.
#[derive(Debug)]
pub struct Socket {
    /// The id of the socket, random and never 0, which stands for no socket.
    pub id: SocketId,
    /// The user of the socket.
    pub user: UserId,
    /// Whether the session was found open. From then on the socket counts against the socket limit of its user.
    pub(super) is_confirmed: AtomicBool,
    session: Mutex<SessionKey>,
    expires_at: AtomicI64,
    topics: AtomicU8,
    is_active: AtomicBool,
    /// The conversations that are open on the socket.
    pub(super) open: Mutex<HashSet<Target>>,
    /// The conversations whose notifications are off for the user.
    muted: Mutex<HashSet<Target>>,
    /// The frames that wait to be written to the socket.
    pub outbox: Arc<Outbox>,
    /// What the requests of the socket and their replies use of the node's memory budget.
    pub memory: Arc<MemoryAccount>,
}

impl Socket {
    pub(super) fn new(
        user: UserId,
        session: SessionKey,
        expires_at: i64,
        outbox_bytes: usize,
        memory: MemoryAccount,
    ) -> Self {
        let memory = Arc::new(memory);
        Self {
            // Random, so that no two nodes use the same; 0 stands for no socket.
            id: SocketId(rand::random::<u64>().max(1)),
            user,
            is_confirmed: AtomicBool::new(false),
            session: Mutex::new(session),
            expires_at: AtomicI64::new(expires_at),
            topics: AtomicU8::new(0),
            is_active: AtomicBool::new(true),
            open: Mutex::default(),
            muted: Mutex::default(),
            outbox: Arc::new(Outbox::new(user, outbox_bytes, Arc::clone(&memory))),
            memory,
        }
    }

    /// The session that the token of the socket names.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        *self.session.lock()
    }

    /// When the token of the socket expires, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Acquire)
    }

    /// Replaces the token of the socket by another one of the same user.
    pub fn renew(&self, session: SessionKey, expires_at: i64) {
        *self.session.lock() = session;
        self.expires_at.store(expires_at, Ordering::Release);
    }

    /// Sets the topics to which the socket is subscribed; earlier subscriptions end.
    pub fn subscribe(&self, topics: Topics) {
        self.topics.store(topics.bits(), Ordering::Release);
    }

    /// Turns the notifications of these conversations off (`muted`) or on.
    pub fn mute(&self, targets: impl IntoIterator<Item = Target>, muted: bool) {
        let mut all = self.muted.lock();
        for target in targets {
            if muted {
                all.insert(target)
            } else {
                all.remove(&target)
            };
        }
    }

    /// Whether the app is in the foreground; true at first.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Sets whether the app is in the foreground, and returns what it was before.
    pub fn set_active(&self, active: bool) -> bool {
        self.is_active.swap(active, Ordering::AcqRel)
    }

    /// Whether a conversation is open on the socket.
    #[must_use]
    pub fn has_open(&self, target: Target) -> bool {
        self.open.lock().contains(&target)
    }

    pub(super) fn is_subscribed(&self, topic: Topic) -> bool {
        Topics::from_bits(self.topics.load(Ordering::Acquire)).has(topic)
    }

    /// Whether the socket gets a push that goes to its user.
    pub(super) fn wants(&self, push: &Push) -> bool {
        match push.from {
            Some(from) if from.user == self.user => from.socket != self.id && self.is_subscribed(Topic::Own),
            _ => push.topic.is_none_or(|topic| self.is_subscribed(topic)),
        }
    }

    /// Whether the socket gets a notification of a message that another user sent to this conversation.
    pub(super) fn wants_notification(&self, target: Target) -> bool {
        self.is_subscribed(Topic::Notifications) && !self.has_open(target) && !self.muted.lock().contains(&target)
    }
}
