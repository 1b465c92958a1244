//! Receives what the nodes send: tracks which peers run, detects gaps in what they sent, and applies their
//! messages here. One task owns the tracker.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chrono::Utc;

use super::message::{ClusterMessage, Decoded};
use super::node::ClusterNode;
use super::payload::Payload;
use super::peer::Peer;
use crate::delivery::Delivery;
use crate::delivery::peers::NodeId;
use crate::delivery::presence::SNAPSHOT_SHARDS;
use crate::model::Timestamp;
use crate::telemetry::Metrics;

/// A peer that is silent for more than this many heartbeats of this node is lost. They are counted as this node
/// receives them: while PostgreSQL hangs no node receives anything, and no peer is lost.
const MAX_SILENT_HEARTBEATS: u32 = 3;
/// The batch number of a lost peer is kept until the peer was silent for this many heartbeats (an hour).
const MAX_REMEMBERED_HEARTBEATS: u32 = 1_800;
/// After a gap, changes are looked up from this many heartbeats before the last payload that arrived in order:
/// whatever was committed earlier had arrived.
const WATERMARK_HEARTBEATS: usize = 6;

/// Messages of a peer were missed that may concern users who are connected here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Changes of conversations from this number on may have been missed; see the migrations.
    pub since: i64,
}

/// The peers of this node, and what has arrived from each.
#[derive(Debug)]
pub struct PeerTracker {
    node: Arc<ClusterNode>,
    delivery: Delivery,
    metrics: Metrics,
    peers: HashMap<NodeId, Peer>,
    /// The watermarks of this node's latest heartbeats, the oldest first.
    watermarks: VecDeque<i64>,
    /// Whether snapshots are requested at the next heartbeat.
    is_snapshot_due: bool,
    /// Payloads that cannot be read are logged once.
    has_warned: bool,
}

impl PeerTracker {
    /// A tracker without peers. Changes below `watermark` are committed or rolled back.
    #[must_use]
    pub fn new(node: Arc<ClusterNode>, delivery: Delivery, metrics: Metrics, watermark: i64) -> Self {
        Self {
            node,
            delivery,
            metrics,
            peers: HashMap::new(),
            watermarks: VecDeque::from([watermark]),
            is_snapshot_due: false,
            has_warned: false,
        }
    }

    /// Announces this node and its presence to all, and asks all for the same. Called whenever the node begins to
    /// listen.
    pub fn announce(&mut self) {
        self.request_snapshot(None);
    }

    /// Handles a payload of any node, this one included.
    pub fn receive(&mut self, text: &str) -> Option<Gap> {
        let Some(payload) = Payload::parse(text) else {
            self.warn_once("unknown payload ignored: another version, or not from Hark");
            return None;
        };
        if payload.from == self.node.id {
            self.node.set_connected();
            if payload.is_heartbeat() {
                self.heartbeat(payload.watermark);
            }
            return None;
        }
        let watermark = self.watermarks.front().copied().unwrap_or(i64::MAX);
        let peer = self.peers.entry(payload.from).or_insert_with(|| Peer::new(watermark));
        let gap = peer.gap_before(&payload).filter(|_| self.node.is_serving()).map(|since| Gap { since });
        peer.silent_heartbeats = 0;
        peer.last_heard_at = Timestamp(Utc::now());
        peer.watermark = watermark;
        let body = peer.assemble(&payload);
        if !peer.is_present {
            self.add_peer(payload.from);
        }
        if let Some(Gap { since }) = gap {
            tracing::info!(node = %payload.from, since, "gap detected");
            self.is_snapshot_due = true;
            self.metrics.gap_detected();
        }
        match body.map(|body| ClusterMessage::decode(&body)) {
            Some(Ok(messages)) => messages.into_iter().for_each(|message| self.apply(payload.from, message)),
            Some(Err(_)) => self.warn_once("unreadable batch ignored"),
            None => {}
        }
        gap
    }

    /// Handles a heartbeat of this node, which is its clock.
    fn heartbeat(&mut self, watermark: i64) {
        if self.watermarks.back().is_some_and(|last| *last > watermark) {
            // The database was restored, so its numbers are lower than before.
            self.watermarks.clear();
            self.peers.values_mut().for_each(|peer| peer.watermark = peer.watermark.min(watermark));
        }
        self.watermarks.push_back(watermark);
        if self.watermarks.len() > WATERMARK_HEARTBEATS {
            self.watermarks.pop_front();
        }
        self.peers.values_mut().for_each(|peer| peer.silent_heartbeats += 1);
        let is_silent = |peer: &Peer| peer.is_present && peer.silent_heartbeats > MAX_SILENT_HEARTBEATS;
        let silent: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| is_silent(peer)).map(|(id, _)| *id).collect();
        for id in silent {
            tracing::warn!(node = %id, "peer lost: no heartbeat");
            self.remove_peer(id);
        }
        self.peers.retain(|_, peer| peer.is_present || peer.silent_heartbeats < MAX_REMEMBERED_HEARTBEATS);
        if std::mem::take(&mut self.is_snapshot_due) {
            self.announce();
        }
    }

    fn apply(&mut self, from: NodeId, message: Decoded) {
        let presence = &self.delivery.presence;
        match message {
            Decoded::Event(event) => self.delivery.hub.apply(&event, false),
            Decoded::Message(ClusterMessage::Hello { to }) => {
                if to.is_none_or(|to| to == self.node.id) {
                    self.send_snapshot();
                }
            }
            Decoded::Message(ClusterMessage::Goodbye) => {
                tracing::info!(node = %from, "peer stopped");
                self.remove_peer(from);
                self.peers.remove(&from);
            }
            Decoded::Message(ClusterMessage::PresenceSnapshot { shard, users }) => {
                presence.apply_peer_snapshot(from, shard, &users, self.node.is_serving());
                if shard == SNAPSHOT_SHARDS - 1 {
                    self.mark_synced(from);
                }
            }
            Decoded::Message(ClusterMessage::PresenceChanged { user, active, is_activity_change }) => {
                presence.apply_peer_change(from, user, active, is_activity_change);
            }
            Decoded::Message(ClusterMessage::PresenceSuppressed(user)) => presence.suppress_locally(user),
            Decoded::Message(_) => unreachable!("all others are decoded to events"),
        }
    }

    /// A node joined: from now on this one publishes to it, after a snapshot of its own presence.
    fn add_peer(&mut self, id: NodeId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.is_present = true;
        }
        tracing::info!(node = %id, "peer joined");
        self.metrics.peer_joined();
        self.node.peer_joined();
        self.request_snapshot(Some(id));
    }

    /// A peer stopped or was lost; users who were only connected to it disconnect.
    fn remove_peer(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_present) else { return };
        peer.is_present = false;
        let was_synced = std::mem::take(&mut peer.is_synced);
        self.metrics.peer_left();
        self.delivery.presence.node_lost(id, peer.last_heard_at);
        self.node.peer_left(was_synced);
    }

    fn mark_synced(&mut self, id: NodeId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && !std::mem::replace(&mut peer.is_synced, true)
        {
            self.node.peer_synced();
        }
    }

    /// Asks for the presence of one peer, or of all, and sends this node's: the other side may have a gap as well.
    fn request_snapshot(&mut self, to: Option<NodeId>) {
        self.node.send(&ClusterMessage::Hello { to }, &[]);
        self.send_snapshot();
    }

    fn send_snapshot(&self) {
        self.delivery.presence.publish_snapshot(|shard, users| {
            self.node.send(&ClusterMessage::PresenceSnapshot { shard, users }, &[]);
        });
    }

    fn warn_once(&mut self, event: &'static str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!("{event}; logged once");
        }
    }
}

#[cfg(test)]
mod tests;
