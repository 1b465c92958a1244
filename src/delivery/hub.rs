//! The sockets of this node, by user. A push takes the lock of one shard for as long as it takes to
//! put a shared frame into a few outboxes; no lock is held across an await.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::presence::Presence;
use super::sequencer::Order;
use super::socket::Socket;
use super::typing::{Typing, Writing};
use super::{Audience, Event, Push, WhenSlow, Where};
use crate::limits::memory::BytePool;
use crate::model::{GroupId, Seq, SessionKey, Target, Topic, UserId};
use crate::telemetry::Metrics;
use crate::wire::close::Close;

/// Users are spread over so many locks.
const SHARDS: usize = 64;
/// Clients are told to come back within this time, each at its own moment.
const COME_BACK_WITHIN: Duration = Duration::from_secs(5);

/// Most conversations that are open on one socket.
pub const MOST_OPEN: usize = 1_000;

/// The sockets of this node.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<Mutex<HashMap<UserId, Vec<Arc<Socket>>>>>,
    /// On which sockets a conversation is open, as their users name it.
    open_conversations: Vec<Mutex<HashMap<Target, Vec<Arc<Socket>>>>>,
    writing: Writing,
    open: AtomicUsize,
    closing: Mutex<bool>,
    order: Order,
    pub(super) metrics: Metrics,
    max_sockets_per_user: usize,
    outbox_bytes: usize,
    pool: Arc<BytePool>,
}

/// An open socket's place in the hub, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Registration {
    hub: Arc<Hub>,
    presence: Arc<Presence>,
    socket: Arc<Socket>,
}

impl Registration {
    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Gives the socket its place among those of its user, once its session was found open.
    ///
    /// # Errors
    /// The reason to close it with: too many sockets, or a server that goes away.
    pub fn confirm(&self) -> Result<(), Close> {
        let hub = &self.hub;
        let closing = hub.closing.lock();
        if *closing {
            return Err(hub.going_away(0));
        }
        let shard = hub.shard(self.socket.user).lock();
        let sockets = shard.get(&self.socket.user).map_or(&[][..], Vec::as_slice);
        let places = sockets.iter().filter(|socket| socket.confirmed.load(Ordering::Relaxed)).count();
        if places >= hub.max_sockets_per_user {
            return Err(Close::TooManySockets);
        }
        self.socket.confirmed.store(true, Ordering::Relaxed);
        hub.open.fetch_add(1, Ordering::Relaxed);
        hub.metrics.socket_opened();
        drop(shard);
        self.presence.came(self.socket.user);
        Ok(())
    }
}

impl Hub {
    /// A hub without sockets.
    #[must_use]
    pub fn new(metrics: Metrics, max_sockets_per_user: usize, outbox_bytes: usize, pool: Arc<BytePool>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            open_conversations: (0..SHARDS).map(|_| Mutex::default()).collect(),
            writing: Writing::default(),
            open: AtomicUsize::new(0),
            closing: Mutex::new(false),
            order: Order::default(),
            metrics,
            max_sockets_per_user,
            outbox_bytes,
            pool,
        }
    }

    /// Takes a socket in. From now on it misses nothing: do this before asking whether its session
    /// is open, so that an end in between reaches it.
    pub(super) fn register(
        self: &Arc<Self>,
        user: UserId,
        session: SessionKey,
        expires_at: i64,
        presence: Arc<Presence>,
    ) -> Registration {
        let socket = Arc::new(Socket::new(user, session, expires_at, self.outbox_bytes, self.pool.share()));
        self.shard(user).lock().entry(user).or_default().push(Arc::clone(&socket));
        Registration { hub: Arc::clone(self), presence, socket }
    }

    /// Opens a conversation on a socket, and says whether it was not open before; `None` where too many are.
    pub fn open(&self, socket: &Arc<Socket>, target: Target) -> Option<bool> {
        let mut open = socket.open.lock();
        if socket.outbox.is_over() || open.contains(&target) {
            return Some(false);
        }
        if open.len() >= MOST_OPEN {
            return None;
        }
        open.insert(target);
        self.on_which_open(target).lock().entry(target).or_default().push(Arc::clone(socket));
        Some(true)
    }

    /// Closes a conversation on a socket.
    pub fn close(&self, socket: &Arc<Socket>, target: Target) {
        // Held over both, as in `open`: the two must not come to differ.
        let mut open = socket.open.lock();
        if open.remove(&target) {
            self.forget_open(socket, target);
        }
    }

    /// Acts on what a node said. `alone` where there is no other node.
    pub fn receive(&self, event: &Event, alone: bool) {
        match event {
            Event::Push(push) => match &push.message {
                // One node hands over in order by itself.
                Some(message) if !alone => {
                    if let Some(seq) = self.order.admit(message.place, push, |push| self.deliver(push)) {
                        self.say_behind(push, seq);
                    }
                }
                _ => self.deliver(push),
            },
            Event::Typing(typing) => {
                self.writing.note(typing);
                self.deliver_typing(typing);
            }
            Event::Left { user, group } => self.forget_group(*user, *group),
            Event::Muted { user, target, muted } => {
                for socket in self.sockets_of(*user) {
                    socket.mute([*target], *muted);
                }
            }
            Event::SessionEnded { user, session } => self.close_sessions(*user, |open| open == *session),
            Event::SessionsEnded { user, keep } => self.close_sessions(*user, |open| Some(open) != *keep),
        }
    }

    /// Everybody who has a socket here.
    #[must_use]
    pub fn users(&self) -> Vec<UserId> {
        self.shards.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect()
    }

    /// Pushes of a conversation did not come as far as this node: its word, up to `seq`, stands for them.
    pub fn fall_behind(&self, user: UserId, conversation: Where, seq: Seq) {
        for socket in self.shard(user).lock().get(&user).into_iter().flatten() {
            socket.outbox.fall_behind(conversation, seq);
        }
    }

    /// Delivers what has waited too long for a message before it. To be called every so often.
    pub fn sweep(&self) {
        self.order.sweep(|push| self.deliver(push));
        for typing in self.writing.ended() {
            self.deliver_typing(&typing);
        }
    }

    /// Takes no more sockets in, and asks all to go away, each to come back at its own moment.
    pub fn close_all(&self) {
        *self.closing.lock() = true;
        self.send_away();
    }

    /// Asks all sockets to go away, each to come back at its own moment; others are taken in meanwhile.
    pub fn send_away(&self) {
        let mut nth = 0;
        for shard in &self.shards {
            for socket in shard.lock().values().flatten() {
                socket.outbox.ask_to_close(self.going_away(nth));
                nth += 1;
            }
        }
    }

    /// Delivers what waits for a message before it, and forgets how far each conversation has come.
    pub fn forget_places(&self) {
        self.order.forget(|push| self.deliver(push));
    }

    /// The sessions of all sockets.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionKey> {
        let mut sessions: Vec<SessionKey> = Vec::with_capacity(self.open_sockets());
        for shard in &self.shards {
            sessions.extend(shard.lock().values().flatten().map(|socket| socket.session()));
        }
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Asks the sockets of sessions that have ended to close.
    pub fn close_ended(&self, ended: &HashSet<SessionKey>) {
        for shard in &self.shards {
            for socket in shard.lock().values().flatten().filter(|socket| ended.contains(&socket.session())) {
                socket.outbox.ask_to_close(Close::Unauthorized);
            }
        }
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn deliver(&self, push: &Push) {
        let mut pushed = 0;
        match &push.to {
            Audience::Users(users) => {
                for user in users.iter() {
                    pushed += self.deliver_to(*user, push);
                }
            }
            Audience::Acquaintances { of, contacts, blocked } => {
                for user in contacts.iter().filter(|user| blocked.binary_search(user).is_err()) {
                    pushed += self.deliver_to(*user, push);
                }
                let open = self.on_which_open(Target::User(*of)).lock();
                let sockets = open.get(&Target::User(*of)).map_or(&[][..], Vec::as_slice);
                // Notes to oneself are a dialog with who is coming or going.
                let told = |user: &UserId| {
                    user == of || contacts.binary_search(user).is_ok() || blocked.binary_search(user).is_ok()
                };
                for socket in sockets.iter().filter(|socket| !told(&socket.user) && socket.wants(push)) {
                    socket.outbox.push(&push.frame, push.when_slow);
                    pushed += 1;
                }
            }
        }
        self.metrics.pushed(pushed);
    }

    fn deliver_to(&self, user: UserId, push: &Push) -> usize {
        let shard = self.shard(user).lock();
        let Some(sockets) = shard.get(&user) else { return 0 };
        let mut pushed = 0;
        for socket in sockets {
            if socket.wants(push) {
                socket.outbox.push(&push.frame, push.when_slow);
                pushed += 1;
            }
            if let (Some(message), WhenSlow::Behind(place, _)) = (&push.message, push.when_slow)
                && push.from.is_none_or(|from| from.user != user)
                && socket.wants_notification(place.seen_by(user))
            {
                socket.outbox.push(&message.notification, WhenSlow::Drop);
                pushed += 1;
            }
        }
        pushed
    }

    /// To those who were to get a message that can no longer be pushed in order.
    fn say_behind(&self, push: &Push, seq: Seq) {
        let (Audience::Users(users), WhenSlow::Behind(conversation, _)) = (&push.to, push.when_slow) else { return };
        for user in users.iter() {
            let sockets = self.sockets_of(*user);
            sockets
                .iter()
                .filter(|socket| socket.wants(push))
                .for_each(|socket| socket.outbox.fall_behind(conversation, seq));
        }
    }

    /// To those who have the conversation open.
    fn deliver_typing(&self, typing: &Typing) {
        let wants = |socket: &Socket| socket.user != typing.user && socket.asked_for(Topic::Typing);
        let push = |socket: &Socket| socket.outbox.push(&typing.frame, typing.when_slow());
        match typing.conversation {
            Where::Group(group) => {
                let target = Target::Group(group);
                let open = self.on_which_open(target).lock();
                open.get(&target).into_iter().flatten().filter(|socket| wants(socket)).for_each(|socket| push(socket));
            }
            Where::Dialog(one, other) => {
                let reader = if one == typing.user { other } else { one };
                let target = Target::User(typing.user);
                let sockets = self.sockets_of(reader);
                sockets
                    .iter()
                    .filter(|socket| wants(socket) && socket.has_open(target))
                    .for_each(|socket| push(socket));
            }
        }
    }

    /// Who comes back finds the group neither open nor muted.
    fn forget_group(&self, user: UserId, group: GroupId) {
        let target = Target::Group(group);
        for socket in self.sockets_of(user) {
            self.close(&socket, target);
            socket.mute([target], false);
        }
    }

    fn sockets_of(&self, user: UserId) -> Vec<Arc<Socket>> {
        self.shard(user).lock().get(&user).cloned().unwrap_or_default()
    }

    fn forget_open(&self, socket: &Arc<Socket>, target: Target) {
        let mut open = self.on_which_open(target).lock();
        if let Some(sockets) = open.get_mut(&target) {
            sockets.retain(|other| !Arc::ptr_eq(other, socket));
            if sockets.is_empty() {
                open.remove(&target);
            }
        }
    }

    fn on_which_open(&self, target: Target) -> &Mutex<HashMap<Target, Vec<Arc<Socket>>>> {
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let nth = hasher.finish() % SHARDS as u64;
        &self.open_conversations[usize::try_from(nth).expect("less than the number of shards")]
    }

    fn close_sessions(&self, user: UserId, ended: impl Fn(SessionKey) -> bool) {
        if let Some(sockets) = self.shard(user).lock().get(&user) {
            for socket in sockets.iter().filter(|socket| ended(socket.session())) {
                socket.outbox.ask_to_close(Close::Unauthorized);
            }
        }
    }

    /// Spreads the clients evenly over the time in which they are to come back.
    fn going_away(&self, nth: usize) -> Close {
        let open = self.open_sockets().max(1);
        let share =
            f64::from(u32::try_from(nth % open).unwrap_or(0)) / f64::from(u32::try_from(open).unwrap_or(u32::MAX));
        Close::GoingAway(COME_BACK_WITHIN.mul_f64(share))
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Vec<Arc<Socket>>>> {
        let nth = user.0.unsigned_abs() % SHARDS as u64;
        &self.shards[usize::try_from(nth).expect("less than the number of shards")]
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.socket.user).lock();
        if let Some(sockets) = shard.get_mut(&self.socket.user) {
            sockets.retain(|socket| !Arc::ptr_eq(socket, &self.socket));
            if sockets.is_empty() {
                shard.remove(&self.socket.user);
            }
        }
        drop(shard);
        self.socket.outbox.abandon();
        for target in mem::take(&mut *self.socket.open.lock()) {
            self.hub.forget_open(&self.socket, target);
        }
        if self.socket.confirmed.load(Ordering::Relaxed) {
            self.hub.open.fetch_sub(1, Ordering::Relaxed);
            self.hub.metrics.socket_ended();
            self.presence.left(self.socket.user, self.socket.is_active());
        }
    }
}
