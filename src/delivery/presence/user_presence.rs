//! How one user is connected: on this node by its sockets, on other nodes by what these publish.

use std::time::{Duration, Instant};

use super::super::peers::NodeId;
use crate::model::Timestamp;

/// A user goes offline this long after their last socket closed; one who reconnects within it is not announced as
/// offline.
pub(super) const OFFLINE_TIMEOUT: Duration = Duration::from_secs(5);

/// The status of a user without a socket.
pub(super) const OFFLINE: PresenceStatus = PresenceStatus { is_online: false, active: false };

/// Whether a user is online and active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceStatus {
    /// Whether any socket is open, or was a moment ago.
    pub is_online: bool,
    /// Whether the app is in the foreground on any of them.
    pub active: bool,
}

/// The connections of a user who is online.
#[derive(Debug, Default)]
pub(super) struct UserPresence {
    /// Sockets on this node.
    pub(super) sockets: usize,
    /// Of these, sockets with the app in the foreground.
    pub(super) active_sockets: usize,
    /// The other nodes on which the user has sockets, and whether the app is in the foreground there.
    peers: Vec<(NodeId, bool)>,
    /// The status that watchers know; `None` if none was announced.
    pub(super) last_announced: Option<PresenceStatus>,
    /// Until then no change is announced: a socket that opened or closed may be one that reconnects.
    pub(super) debounce_until: Option<Instant>,
    /// Set while no socket is open.
    pub(super) last_disconnect: Option<LastDisconnect>,
}

/// The moment in which the last socket closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastDisconnect {
    pub(super) at: Instant,
    pub(super) last_seen_at: Timestamp,
    /// Whether this node stores `last_seen_at`: the socket was on this node, or on a node that was lost.
    pub(super) is_recorded_here: bool,
}

impl UserPresence {
    pub(super) fn status(&self) -> PresenceStatus {
        let active = self.active_sockets > 0 || self.peers.iter().any(|(_, active)| *active);
        PresenceStatus { is_online: true, active }
    }

    /// Whether the app is in the foreground on this node; `None` without a socket.
    pub(super) fn on_this_node(&self) -> Option<bool> {
        (self.sockets > 0).then_some(self.active_sockets > 0)
    }

    /// Whether the app is in the foreground on another node; `None` without a socket.
    pub(super) fn on_peer(&self, node: NodeId) -> Option<bool> {
        self.peers.iter().find(|(other, _)| *other == node).map(|(_, active)| *active)
    }

    /// Sets how the user is connected to another node.
    pub(super) fn set_on_peer(&mut self, node: NodeId, active: Option<bool>) {
        self.peers.retain(|(other, _)| *other != node);
        self.peers.extend(active.map(|active| (node, active)));
    }

    pub(super) fn is_connected(&self) -> bool {
        self.sockets > 0 || !self.peers.is_empty()
    }

    /// Records that a socket opened, perhaps one that reconnects.
    pub(super) fn cancel_disconnect(&mut self) {
        self.last_disconnect = None;
        self.debounce_until = self.last_announced.map(|_| Instant::now() + OFFLINE_TIMEOUT);
    }
}
