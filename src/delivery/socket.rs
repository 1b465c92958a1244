//! What delivery knows of one open socket.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use parking_lot::Mutex;

use super::Push;
use super::outbox::Outbox;
use crate::limits::memory::Share;
use crate::model::{SessionKey, SocketId, Target, Topic, Topics, UserId};

/// One open socket.
#[derive(Debug)]
pub struct Socket {
    /// Which.
    pub id: SocketId,
    /// Whose it is.
    pub user: UserId,
    /// Whether its session was found open, and its place is one of the user's.
    pub(super) confirmed: AtomicBool,
    /// The session that its token names.
    session: Mutex<SessionKey>,
    /// When its token ends, in seconds since 1970.
    expires_at: AtomicI64,
    topics: AtomicU8,
    /// Whether the app is in front.
    active: AtomicBool,
    /// The conversations that are open on it.
    pub(super) open: Mutex<HashSet<Target>>,
    /// The conversations that it wants no notifications of.
    muted: Mutex<HashSet<Target>>,
    /// What waits to be written to it.
    pub outbox: Arc<Outbox>,
    /// What its requests and their replies take of the node's memory.
    pub share: Arc<Share>,
}

impl Socket {
    pub(super) fn new(user: UserId, session: SessionKey, expires_at: i64, outbox_bytes: usize, share: Share) -> Self {
        let share = Arc::new(share);
        Self {
            // Random, so that no two nodes give the same; never that of no socket.
            id: SocketId(rand::random::<u64>().max(1)),
            user,
            confirmed: AtomicBool::new(false),
            session: Mutex::new(session),
            expires_at: AtomicI64::new(expires_at),
            topics: AtomicU8::new(0),
            active: AtomicBool::new(true),
            open: Mutex::default(),
            muted: Mutex::default(),
            outbox: Arc::new(Outbox::new(user, outbox_bytes, Arc::clone(&share))),
            share,
        }
    }

    /// The session that its token names.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        *self.session.lock()
    }

    /// When its token ends, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Acquire)
    }

    /// Goes on under another token of the same user.
    pub fn renew(&self, session: SessionKey, expires_at: i64) {
        *self.session.lock() = session;
        self.expires_at.store(expires_at, Ordering::Release);
    }

    /// Asks for these pushes from now on, and for no other ones.
    pub fn subscribe(&self, topics: Topics) {
        self.topics.store(topics.bits(), Ordering::Release);
    }

    /// Wants no notifications of these conversations, or wants them again.
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

    /// Whether the app is in front.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Says whether the app is in front; gives back what it was.
    pub fn set_active(&self, active: bool) -> bool {
        self.active.swap(active, Ordering::AcqRel)
    }

    /// Whether a conversation is open on it.
    #[must_use]
    pub fn has_open(&self, target: Target) -> bool {
        self.open.lock().contains(&target)
    }

    pub(super) fn asked_for(&self, topic: Topic) -> bool {
        Topics::from_bits(self.topics.load(Ordering::Acquire)).has(topic)
    }

    /// Whether a push is for it.
    pub(super) fn wants(&self, push: &Push) -> bool {
        match push.from {
            Some(from) if from.user == self.user => from.socket != self.id && self.asked_for(Topic::Own),
            _ => push.topic.is_none_or(|topic| self.asked_for(topic)),
        }
    }

    /// Whether it is to be notified of a message of somebody else in this conversation.
    pub(super) fn wants_notification(&self, target: Target) -> bool {
        self.asked_for(Topic::Notifications) && !self.has_open(target) && !self.muted.lock().contains(&target)
    }
}
