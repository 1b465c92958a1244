//! Presence: who is online. A user is online from their first socket until five seconds after their last one, on
//! any node; one who reconnects within that time is not announced as offline. Changes are collected and announced in
//! intervals, each user once and with the status of that moment, so that a flapping connection is not announced.
//!
//! Every node knows the presence on all nodes, and announces changes to its own sockets. So no client gets a change
//! twice, and no node depends on another one to announce it.

mod user_presence;

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use parking_lot::Mutex;

pub use self::user_presence::PresenceStatus;
use self::user_presence::{LastDisconnect, OFFLINE, OFFLINE_TIMEOUT, UserPresence};
use super::peers::{NodeId, Peers};
use super::sharded_map::{SHARDS, ShardedMap};
use crate::model::{Timestamp, UserId};

/// Nodes exchange snapshots of their presence in this many parts, one for each shard of users.
pub const SNAPSHOT_SHARDS: usize = SHARDS;

/// All users who are online, on any node.
#[derive(Debug)]
pub struct Presence {
    users: ShardedMap<UserId, UserPresence>,
    /// Users whose status may have changed.
    changed: Mutex<HashSet<UserId>>,
    /// Users whose last socket closed, in the order of time.
    disconnected: Mutex<VecDeque<(Instant, UserId)>>,
    /// Called under the lock of a user's shard, so that peers receive the changes of a user in their order.
    peers: Arc<dyn Peers>,
}

/// A change that is announced to the sockets of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The user who changed.
    pub user: UserId,
    /// Their status now.
    pub status: PresenceStatus,
    /// Whether watchers know that the user was online at all; if not, there is nothing to announce.
    pub has_been_announced: bool,
    /// When the user was last online.
    pub last_seen_at: Timestamp,
    /// Whether this node stores `last_seen_at`: the user was connected to it, or to a node that was lost.
    pub is_recorded_here: bool,
}

impl Presence {
    /// No user is online yet. Changes on this node are published to `peers`.
    #[must_use]
    pub fn new(peers: Arc<dyn Peers>) -> Self {
        Self { users: ShardedMap::default(), changed: Mutex::default(), disconnected: Mutex::default(), peers }
    }

    /// Records that a socket was opened, with the app in the foreground.
    pub fn connected(&self, user: UserId) {
        let mut users = self.users.lock(user);
        let presence = users.entry(user).or_default();
        let before = presence.on_this_node();
        presence.sockets += 1;
        presence.active_sockets += 1;
        presence.cancel_disconnect();
        self.changed.lock().insert(user);
        self.publish(user, before, presence, false);
    }

    /// Records that a socket was closed.
    pub fn disconnected(&self, user: UserId, was_active: bool) {
        let mut users = self.users.lock(user);
        let Some(presence) = users.get_mut(&user) else { return };
        let before = presence.on_this_node();
        presence.sockets -= 1;
        presence.active_sockets = presence.active_sockets.saturating_sub(usize::from(was_active)).min(presence.sockets);
        self.connection_lost(user, presence, Timestamp(Utc::now()), true);
        self.publish(user, before, presence, false);
    }

    /// Records that on one socket the app came to the foreground (`active`) or went to the background.
    pub fn activity_changed(&self, user: UserId, active: bool) {
        let mut users = self.users.lock(user);
        let Some(presence) = users.get_mut(&user) else { return };
        let before = presence.on_this_node();
        // The socket may have closed already, with its activity subtracted: a command may outlive its socket.
        let active_sockets =
            if active { presence.active_sockets + 1 } else { presence.active_sockets.saturating_sub(1) };
        presence.active_sockets = active_sockets.min(presence.sockets);
        presence.debounce_until = None;
        self.changed.lock().insert(user);
        self.publish(user, before, presence, true);
    }

    /// Announces nothing more of a user, on any node: the deletion of their account is announced by `offline_event`.
    pub fn suppress(&self, user: UserId) {
        self.suppress_locally(user);
        self.peers.publish_presence_suppressed(user);
    }

    /// The status of a user now.
    #[must_use]
    pub fn status(&self, user: UserId) -> PresenceStatus {
        self.users.lock(user).get(&user).map_or(OFFLINE, UserPresence::status)
    }

    /// Takes the changes to announce now; each is returned once. With `flush`, no change is delayed: users who could
    /// still reconnect in time are offline as well.
    #[must_use]
    pub fn take_changes(&self, flush: bool) -> Vec<PresenceChange> {
        let changed = mem::take(&mut *self.changed.lock());
        let mut changes: Vec<PresenceChange> =
            changed.into_iter().filter_map(|user| self.take_change(user, flush)).collect();
        let now = Instant::now();
        let mut disconnected = self.disconnected.lock();
        let due = disconnected.partition_point(|(at, _)| flush || now.duration_since(*at) >= OFFLINE_TIMEOUT);
        let due: Vec<_> = disconnected.drain(..due).collect();
        drop(disconnected);
        for (at, user) in due {
            let mut users = self.users.lock(user);
            // A user who reconnected and disconnected anew is in the queue once more.
            let last_disconnect =
                users.get(&user).and_then(|presence| presence.last_disconnect).filter(|last| last.at == at);
            if let Some(LastDisconnect { last_seen_at, is_recorded_here, .. }) = last_disconnect {
                let has_been_announced = users.remove(&user).is_some_and(|presence| presence.last_announced.is_some());
                let status = OFFLINE;
                changes.push(PresenceChange { user, status, has_been_announced, last_seen_at, is_recorded_here });
            }
        }
        changes
    }

    /// Calls `publish` with each shard and the users who are connected to this node, and whether the app is in
    /// the foreground. The shard is locked meanwhile, so that no change is published between a snapshot and its use.
    pub fn publish_snapshot(&self, mut publish: impl FnMut(usize, Vec<(UserId, bool)>)) {
        for (shard, users) in self.users.lock_each().enumerate() {
            publish(
                shard,
                users.iter().filter_map(|(user, presence)| Some((*user, presence.on_this_node()?))).collect(),
            );
        }
    }

    /// Applies how a user is connected to another node; see [`Peers::publish_presence`].
    pub fn apply_peer_change(&self, node: NodeId, user: UserId, active: Option<bool>, is_activity_change: bool) {
        let mut users = self.users.lock(user);
        if users.get(&user).and_then(|presence| presence.on_peer(node)) == active {
            return;
        }
        let presence = users.entry(user).or_default();
        presence.set_on_peer(node, active);
        if active.is_none() {
            self.connection_lost(user, presence, Timestamp(Utc::now()), false);
            return;
        }
        presence.cancel_disconnect();
        if is_activity_change {
            presence.debounce_until = None;
        }
        self.changed.lock().insert(user);
    }

    /// Applies a snapshot of one shard of another node: these users are connected there, and no others.
    /// `is_announced` is false before this node serves: then the state counts as announced.
    pub fn apply_peer_snapshot(&self, node: NodeId, shard: usize, snapshot: &[(UserId, bool)], is_announced: bool) {
        let Some(users) = self.users.lock_shard(shard) else { return };
        let connected: HashSet<UserId> = snapshot.iter().map(|(user, _)| *user).collect();
        let has_disconnected =
            |user: &UserId, presence: &UserPresence| presence.on_peer(node).is_some() && !connected.contains(user);
        let disconnected: Vec<UserId> =
            users.iter().filter(|(user, presence)| has_disconnected(user, presence)).map(|(user, _)| *user).collect();
        drop(users);
        for user in disconnected {
            self.apply_peer_change(node, user, None, false);
        }
        for (user, active) in snapshot {
            self.apply_peer_change(node, *user, Some(*active), false);
            if !is_announced && let Some(presence) = self.users.lock(*user).get_mut(user) {
                presence.last_announced = Some(presence.status());
            }
        }
    }

    /// Removes all connections to another node, whose last payload arrived at `last_seen_at`. It stores no times
    /// itself any more, so every remaining node stores them.
    pub fn node_lost(&self, node: NodeId, last_seen_at: Timestamp) {
        for mut users in self.users.lock_each() {
            for (user, presence) in users.iter_mut().filter(|(_, presence)| presence.on_peer(node).is_some()) {
                presence.set_on_peer(node, None);
                self.connection_lost(*user, presence, last_seen_at, true);
            }
        }
    }

    /// Announces nothing more of a user to the sockets of this node.
    pub fn suppress_locally(&self, user: UserId) {
        if let Some(presence) = self.users.lock(user).get_mut(&user) {
            presence.last_announced = None;
            presence.debounce_until = Some(Instant::now() + OFFLINE_TIMEOUT);
        }
    }

    /// Records that a user lost a connection; after the last one the offline timeout starts.
    fn connection_lost(
        &self,
        user: UserId,
        presence: &mut UserPresence,
        last_seen_at: Timestamp,
        is_recorded_here: bool,
    ) {
        let now = Instant::now();
        if presence.is_connected() {
            presence.debounce_until = Some(now + OFFLINE_TIMEOUT);
            self.changed.lock().insert(user);
        } else {
            presence.last_disconnect = Some(LastDisconnect { at: now, last_seen_at, is_recorded_here });
            self.disconnected.lock().push_back((now, user));
        }
    }

    fn publish(&self, user: UserId, before: Option<bool>, presence: &UserPresence, is_activity_change: bool) {
        let now = presence.on_this_node();
        if now != before {
            self.peers.publish_presence(user, now, is_activity_change);
        }
    }

    fn take_change(&self, user: UserId, flush: bool) -> Option<PresenceChange> {
        let mut users = self.users.lock(user);
        // A user without a connection is announced when they are offline for good.
        let presence = users.get_mut(&user).filter(|presence| presence.is_connected())?;
        if presence.debounce_until.is_some_and(|until| !flush && until > Instant::now()) {
            // Checked again on the next tick.
            self.changed.lock().insert(user);
            return None;
        }
        let (status, is_recorded_here) = (presence.status(), presence.sockets > 0);
        let is_change = presence.last_announced.replace(status) != Some(status);
        is_change.then(|| PresenceChange {
            user,
            status,
            has_been_announced: true,
            last_seen_at: Timestamp(Utc::now()),
            is_recorded_here,
        })
    }
}

#[cfg(test)]
mod tests;
