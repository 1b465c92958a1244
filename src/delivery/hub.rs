//! The sockets of this node, by user. A push takes the lock of one shard for as long as it takes to
//! put a shared frame into a few outboxes; no lock is held across an await.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::order::Order;
use super::outbox::Outbox;
use super::{Event, Push};
use crate::model::{SessionId, UserId};
use crate::telemetry::Metrics;
use crate::wire::close::Close;

/// Users are spread over so many locks.
const SHARDS: usize = 64;
/// Clients are told to come back within this time, each at its own moment.
const COME_BACK_WITHIN: Duration = Duration::from_secs(5);

/// What delivery knows of one open socket.
#[derive(Debug)]
pub struct Socket {
    /// Whose it is.
    pub user: UserId,
    /// Whether its session was found open, and its place is one of the user's.
    confirmed: AtomicBool,
    session: AtomicI64,
    /// When its token ends, in seconds since 1970.
    expires_at: AtomicI64,
    /// What waits to be written to it.
    pub outbox: Arc<Outbox>,
}

impl Socket {
    /// The session that its token names.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(Ordering::Acquire))
    }

    /// When its token ends, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Acquire)
    }

    /// Goes on under another token of the same user.
    pub fn renew(&self, session: SessionId, expires_at: i64) {
        self.session.store(session.0, Ordering::Release);
        self.expires_at.store(expires_at, Ordering::Release);
    }
}

/// The sockets of this node.
#[derive(Debug)]
pub struct Hub {
    shards: Vec<Mutex<HashMap<UserId, Vec<Arc<Socket>>>>>,
    open: AtomicUsize,
    closing: Mutex<bool>,
    order: Order,
    metrics: Metrics,
    max_sockets_per_user: usize,
    outbox_bytes: usize,
}

/// An open socket's place in the hub, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Registration {
    hub: Arc<Hub>,
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
        Ok(())
    }
}

impl Hub {
    /// A hub without sockets.
    #[must_use]
    pub fn new(metrics: Metrics, max_sockets_per_user: usize, outbox_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            closing: Mutex::new(false),
            order: Order::default(),
            metrics,
            max_sockets_per_user,
            outbox_bytes,
        }
    }

    /// Takes a socket in. From now on it misses nothing: do this before asking whether its session
    /// is open, so that an end in between reaches it.
    pub fn register(self: &Arc<Self>, user: UserId, session: SessionId, expires_at: i64) -> Registration {
        let socket = Arc::new(Socket {
            user,
            confirmed: AtomicBool::new(false),
            session: AtomicI64::new(session.0),
            expires_at: AtomicI64::new(expires_at),
            outbox: Arc::new(Outbox::new(self.outbox_bytes)),
        });
        self.shard(user).lock().entry(user).or_default().push(Arc::clone(&socket));
        Registration { hub: Arc::clone(self), socket }
    }

    /// Acts on what a node said. `alone` where there is no other node.
    pub fn receive(&self, event: &Event, alone: bool) {
        match event {
            Event::Push(push) => match push.place {
                // One node hands over in order by itself.
                Some(place) if !alone => self.order.admit(place, push, |push| self.deliver(push)),
                _ => self.deliver(push),
            },
            Event::SessionEnded { user, session } => self.close_sessions(*user, |open| open == *session),
            Event::SessionsEnded { user, keep } => self.close_sessions(*user, |open| Some(open) != *keep),
        }
    }

    /// Delivers what has waited too long for a message before it. To be called every so often.
    pub fn sweep(&self) {
        self.order.sweep(|push| self.deliver(push));
    }

    /// Takes no more sockets in, and asks all to go away, each to come back at its own moment.
    pub fn close_all(&self) {
        *self.closing.lock() = true;
        let mut nth = 0;
        for shard in &self.shards {
            for socket in shard.lock().values().flatten() {
                socket.outbox.ask_to_close(self.going_away(nth));
                nth += 1;
            }
        }
    }

    /// The sessions of all sockets.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = Vec::with_capacity(self.open_sockets());
        for shard in &self.shards {
            sessions.extend(shard.lock().values().flatten().map(|socket| socket.session()));
        }
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Asks the sockets of sessions that have ended to close.
    pub fn close_ended(&self, ended: &HashSet<SessionId>) {
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
        for user in push.to.iter().filter(|user| Some(**user) != push.except) {
            if let Some(sockets) = self.shard(*user).lock().get(user) {
                for socket in sockets {
                    socket.outbox.push(&push.frame);
                }
                pushed += sockets.len();
            }
        }
        self.metrics.pushed(pushed);
    }

    fn close_sessions(&self, user: UserId, ended: impl Fn(SessionId) -> bool) {
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
        self.socket.outbox.end(false);
        if self.socket.confirmed.load(Ordering::Relaxed) {
            self.hub.open.fetch_sub(1, Ordering::Relaxed);
            self.hub.metrics.socket_ended();
        }
    }
}
