//! The sockets of this node, by user, and the fan-out of pushes to them. For each receiver a push locks one shard,
//! for as long as it takes to put a shared frame into a few outboxes; no lock is held across an await.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::open_conversations::OpenConversations;
use super::push::{Audience, ConversationKey, Event, OverflowPolicy, Push, TypingEvent};
use super::resequencer::Resequencer;
use super::sharded_map::ShardedMap;
use super::socket::Socket;
use super::typing::TypingIndicators;
use crate::limits::memory::MemoryBudget;
use crate::model::{GroupId, Seq, SessionKey, Target, Topic, UserId};
use crate::telemetry::Metrics;
use crate::wire::close::Close;

/// Clients of a server that shuts down are asked to reconnect within this time, each after a different delay.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);

/// The sockets of this node, and what decides which of them get a push.
#[derive(Debug)]
pub struct Hub {
    sockets: ShardedMap<UserId, Vec<Arc<Socket>>>,
    open_conversations: OpenConversations,
    typing: TypingIndicators,
    resequencer: Resequencer,
    open_sockets: AtomicUsize,
    /// Whether sockets are refused, because the server shuts down.
    is_shutting_down: Mutex<bool>,
    metrics: Metrics,
    max_sockets_per_user: usize,
    outbox_bytes: usize,
    memory: Arc<MemoryBudget>,
}

impl Hub {
    /// A hub without sockets.
    #[must_use]
    pub fn new(metrics: Metrics, max_sockets_per_user: usize, outbox_bytes: usize, memory: Arc<MemoryBudget>) -> Self {
        Self {
            sockets: ShardedMap::default(),
            open_conversations: OpenConversations::default(),
            typing: TypingIndicators::default(),
            resequencer: Resequencer::default(),
            open_sockets: AtomicUsize::new(0),
            is_shutting_down: Mutex::new(false),
            metrics,
            max_sockets_per_user,
            outbox_bytes,
            memory,
        }
    }

    /// Adds a socket, which gets every push from now on. Called before its session is checked, so that a session
    /// ending during the check closes the socket.
    pub(super) fn add(&self, user: UserId, session: SessionKey, expires_at: i64) -> Arc<Socket> {
        let memory = self.memory.open_account();
        let socket = Arc::new(Socket::new(user, session, expires_at, self.outbox_bytes, memory));
        self.sockets.lock(user).entry(user).or_default().push(Arc::clone(&socket));
        socket
    }

    /// Counts a socket against the socket limit of its user, or returns the reason to close it.
    /// `on_confirmed` runs before the shutdown lock is released, so that a shutdown counts every confirmed socket.
    pub(super) fn confirm(&self, socket: &Socket, on_confirmed: impl FnOnce()) -> Result<(), Close> {
        let is_shutting_down = self.is_shutting_down.lock();
        if *is_shutting_down {
            return Err(self.going_away(0));
        }
        let shard = self.sockets.lock(socket.user);
        let sockets = shard.get(&socket.user).map_or(&[][..], Vec::as_slice);
        let confirmed = sockets.iter().filter(|socket| socket.is_confirmed.load(Ordering::Relaxed)).count();
        if confirmed >= self.max_sockets_per_user {
            return Err(Close::TooManySockets);
        }
        socket.is_confirmed.store(true, Ordering::Relaxed);
        self.open_sockets.fetch_add(1, Ordering::Relaxed);
        self.metrics.socket_opened();
        drop(shard);
        on_confirmed();
        Ok(())
    }

    /// Removes a socket whose connection has ended.
    pub(super) fn remove(&self, socket: &Arc<Socket>) {
        let mut shard = self.sockets.lock(socket.user);
        if let Some(sockets) = shard.get_mut(&socket.user) {
            sockets.retain(|other| !Arc::ptr_eq(other, socket));
            if sockets.is_empty() {
                shard.remove(&socket.user);
            }
        }
        drop(shard);
        socket.outbox.abandon();
        self.open_conversations.close_all(socket);
        if socket.is_confirmed.load(Ordering::Relaxed) {
            self.open_sockets.fetch_sub(1, Ordering::Relaxed);
            self.metrics.socket_ended();
        }
    }

    /// Opens a conversation on a socket, and returns whether it was not open before; `Some(false)` also if the socket
    /// is closing, `None` if too many are open.
    pub fn open_conversation(&self, socket: &Arc<Socket>, target: Target) -> Option<bool> {
        self.open_conversations.open(socket, target)
    }

    /// Closes a conversation on a socket.
    pub fn close_conversation(&self, socket: &Arc<Socket>, target: Target) {
        self.open_conversations.close(socket, target);
    }

    /// Applies an event to the sockets of this node. Without other nodes (`is_single_node`) messages skip
    /// the resequencer, because one node publishes them in order.
    pub fn apply(&self, event: &Event, is_single_node: bool) {
        match event {
            Event::Push(push) => match &push.message {
                Some(message) if !is_single_node => {
                    if let Some(seq) = self.resequencer.admit(message.position, push, |push| self.fan_out(push)) {
                        self.fan_out_behind(push, seq);
                    }
                }
                _ => self.fan_out(push),
            },
            Event::Typing(typing) => {
                self.typing.record(typing);
                self.fan_out_typing(typing);
            }
            Event::MemberRemoved { user, group } => self.close_group(*user, *group),
            Event::MuteChanged { user, target, muted } => {
                for socket in self.sockets_of(*user) {
                    socket.mute([*target], *muted);
                }
            }
            Event::SessionEnded { user, session } => self.close_sockets(*user, |open| open == *session),
            Event::SessionsEnded { user, keep } => self.close_sockets(*user, |open| Some(open) != *keep),
        }
    }

    /// All users with a socket on this node.
    #[must_use]
    pub fn users(&self) -> Vec<UserId> {
        self.sockets.lock_each().flat_map(|shard| shard.keys().copied().collect::<Vec<_>>()).collect()
    }

    /// Marks the sockets of a user as behind in a conversation: pushes up to `seq` did not reach this node.
    pub fn mark_behind(&self, user: UserId, conversation: ConversationKey, seq: Seq) {
        for socket in self.sockets.lock(user).get(&user).into_iter().flatten() {
            socket.outbox.mark_behind(conversation, seq);
        }
    }

    /// Delivers messages whose predecessor did not arrive in time, and ends typing indicators that timed out.
    /// A background task calls it every tenth of a second.
    pub fn expire_timeouts(&self) {
        self.resequencer.expire(|push| self.fan_out(push));
        for typing in self.typing.take_expired() {
            self.fan_out_typing(&typing);
        }
    }

    /// Graceful shutdown: refuses new sockets, and asks all to close. Each close frame carries a different delay
    /// after which the client should reconnect.
    pub fn shut_down(&self) {
        *self.is_shutting_down.lock() = true;
        self.disconnect_all();
    }

    /// Asks all sockets to close, each with a different delay after which the client should reconnect. New sockets
    /// are still accepted.
    pub fn disconnect_all(&self) {
        let mut nth = 0;
        for shard in self.sockets.lock_each() {
            for socket in shard.values().flatten() {
                socket.outbox.ask_to_close(self.going_away(nth));
                nth += 1;
            }
        }
    }

    /// Delivers the messages that wait for a predecessor, and drops the latest `seq` of each conversation.
    pub fn reset_resequencer(&self) {
        self.resequencer.reset(|push| self.fan_out(push));
    }

    /// The sessions of all sockets, each once.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionKey> {
        let mut sessions: Vec<SessionKey> = Vec::with_capacity(self.open_sockets());
        for shard in self.sockets.lock_each() {
            sessions.extend(shard.values().flatten().map(|socket| socket.session()));
        }
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Asks the sockets of sessions that have ended to close.
    pub fn close_sessions(&self, ended: &HashSet<SessionKey>) {
        for shard in self.sockets.lock_each() {
            for socket in shard.values().flatten().filter(|socket| ended.contains(&socket.session())) {
                socket.outbox.ask_to_close(Close::Unauthorized);
            }
        }
    }

    /// How many sockets are confirmed: their session was checked, and they count against the limit of their user.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.open_sockets.load(Ordering::Relaxed)
    }

    fn fan_out(&self, push: &Push) {
        let mut pushed = 0;
        match &push.to {
            Audience::Users(users) => {
                for user in users.iter() {
                    pushed += self.push_to_user(*user, push);
                }
            }
            Audience::PresenceWatchers { of, contacts, blocked } => {
                for user in contacts.iter().filter(|user| blocked.binary_search(user).is_err()) {
                    pushed += self.push_to_user(*user, push);
                }
                // Contacts were served above. The watched user is excluded: they may have their own notes open.
                let is_excluded = |user: &UserId| {
                    user == of || contacts.binary_search(user).is_ok() || blocked.binary_search(user).is_ok()
                };
                self.open_conversations.for_each(Target::User(*of), |socket| {
                    if !is_excluded(&socket.user) && socket.wants(push) {
                        socket.outbox.push(&push.frame, push.on_overflow);
                        pushed += 1;
                    }
                });
            }
        }
        self.metrics.pushed(pushed);
    }

    fn push_to_user(&self, user: UserId, push: &Push) -> usize {
        let shard = self.sockets.lock(user);
        let Some(sockets) = shard.get(&user) else { return 0 };
        let mut pushed = 0;
        for socket in sockets {
            if socket.wants(push) {
                socket.outbox.push(&push.frame, push.on_overflow);
                pushed += 1;
            }
            if let (Some(message), OverflowPolicy::MarkBehind(conversation, _)) = (&push.message, push.on_overflow)
                && push.from.is_none_or(|from| from.user != user)
                && socket.wants_notification(conversation.seen_by(user))
            {
                socket.outbox.push(&message.notification, OverflowPolicy::Drop);
                pushed += 1;
            }
        }
        pushed
    }

    /// Marks the audience of a message as behind up to `seq`: the message arrived too late to be pushed in order.
    fn fan_out_behind(&self, push: &Push, seq: Seq) {
        let (Audience::Users(users), OverflowPolicy::MarkBehind(conversation, _)) = (&push.to, push.on_overflow) else {
            return;
        };
        for user in users.iter() {
            let sockets = self.sockets_of(*user);
            sockets
                .iter()
                .filter(|socket| socket.wants(push))
                .for_each(|socket| socket.outbox.mark_behind(conversation, seq));
        }
    }

    /// Pushes a typing event to the other members' sockets that have the conversation open and the topic `typing`.
    fn fan_out_typing(&self, typing: &TypingEvent) {
        let wants = |socket: &Socket| socket.user != typing.user && socket.is_subscribed(Topic::Typing);
        let push = |socket: &Socket| socket.outbox.push(&typing.frame, typing.on_overflow());
        match typing.conversation {
            ConversationKey::Group(group) => {
                self.open_conversations.for_each(Target::Group(group), |socket| {
                    if wants(socket) {
                        push(socket);
                    }
                });
            }
            ConversationKey::Dialog(one, other) => {
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

    /// Closes and unmutes a group on the sockets of a former member. A member who joins again starts with it closed
    /// and unmuted.
    fn close_group(&self, user: UserId, group: GroupId) {
        let target = Target::Group(group);
        for socket in self.sockets_of(user) {
            self.open_conversations.close(&socket, target);
            socket.mute([target], false);
        }
    }

    fn sockets_of(&self, user: UserId) -> Vec<Arc<Socket>> {
        self.sockets.lock(user).get(&user).cloned().unwrap_or_default()
    }

    fn close_sockets(&self, user: UserId, has_ended: impl Fn(SessionKey) -> bool) {
        if let Some(sockets) = self.sockets.lock(user).get(&user) {
            for socket in sockets.iter().filter(|socket| has_ended(socket.session())) {
                socket.outbox.ask_to_close(Close::Unauthorized);
            }
        }
    }

    /// The reason to close the `nth` socket, whose delay spreads the reconnects evenly.
    fn going_away(&self, nth: usize) -> Close {
        let open = self.open_sockets().max(1);
        let share =
            f64::from(u32::try_from(nth % open).unwrap_or(0)) / f64::from(u32::try_from(open).unwrap_or(u32::MAX));
        Close::GoingAway(RECONNECT_SPREAD.mul_f64(share))
    }
}
