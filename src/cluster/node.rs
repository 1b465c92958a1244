//! This node as a member of the cluster: the messages that it sends, and the number of its peers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::message::ClusterMessage;
use super::payload::Payload;
use super::send_queue::SendQueue;
use crate::delivery::Event;
use crate::delivery::peers::{NodeId, Peers};
use crate::model::UserId;
use crate::wire::reply::Frame;

/// This node's end of the cluster.
#[derive(Debug)]
pub struct ClusterNode {
    /// Its id in every payload that it sends.
    pub(super) id: NodeId,
    peers: AtomicUsize,
    /// Of the peers, those whose presence snapshot has arrived.
    synced_peers: AtomicUsize,
    is_connected: AtomicBool,
    is_serving: AtomicBool,
    queue: Mutex<SendQueue>,
    has_batch: Notify,
}

/// Messages that are sent together.
#[derive(Debug)]
pub struct Batch {
    from: NodeId,
    /// One more than that of the batch before, or two more if something in between was not sent.
    pub(super) number: u64,
    /// Empty in a heartbeat.
    body: String,
}

impl Batch {
    /// The batch in payloads of at most [`MAX_PAYLOAD_BYTES`](super::payload::MAX_PAYLOAD_BYTES), in their order. All
    /// changes of conversations with a number below `watermark` are committed or rolled back; see the migrations.
    #[must_use]
    pub fn payloads(&self, watermark: i64) -> Vec<String> {
        Payload::split(self.from, self.number, watermark, &self.body)
    }
}

impl Default for ClusterNode {
    /// A node with a random id and without peers.
    fn default() -> Self {
        Self {
            id: NodeId::random(),
            peers: AtomicUsize::new(0),
            synced_peers: AtomicUsize::new(0),
            is_connected: AtomicBool::new(false),
            is_serving: AtomicBool::new(false),
            queue: Mutex::default(),
            has_batch: Notify::new(),
        }
    }
}

impl ClusterNode {
    /// How many peers have sent a snapshot of their presence.
    #[must_use]
    pub fn synced_peers(&self) -> usize {
        self.synced_peers.load(Ordering::Acquire)
    }

    /// Whether this node receives what it sends, and so what its peers send.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    /// Records that the node cannot listen for now.
    pub fn set_disconnected(&self) {
        self.is_connected.store(false, Ordering::Release);
    }

    pub(super) fn set_connected(&self) {
        self.is_connected.store(true, Ordering::Release);
    }

    /// Records that the node accepts sockets from now on. Before that a gap concerns no user of this node.
    pub fn set_serving(&self) {
        self.is_serving.store(true, Ordering::Release);
    }

    pub(super) fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Acquire)
    }

    /// Counts one more peer.
    pub(super) fn peer_joined(&self) {
        let is_first = self.peers.fetch_add(1, Ordering::AcqRel) == 0;
        if is_first && self.is_serving() {
            // What was not published before may concern users who are connected to the peer.
            self.queue.lock().skip_number();
        }
    }

    /// Counts one peer less.
    pub(super) fn peer_left(&self, was_synced: bool) {
        if was_synced {
            self.synced_peers.fetch_sub(1, Ordering::AcqRel);
        }
        self.peers.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn peer_synced(&self) {
        self.synced_peers.fetch_add(1, Ordering::AcqRel);
    }

    /// Queues the last message of this node.
    pub fn send_goodbye(&self) {
        self.send(&ClusterMessage::Goodbye, &[]);
    }

    /// Waits for the next batch.
    pub async fn next_batch(&self) -> Batch {
        loop {
            if let Some(batch) = self.take_batch() {
                return batch;
            }
            self.has_batch.notified().await;
        }
    }

    /// The next batch, if any message waits.
    #[must_use]
    pub fn take_batch(&self) -> Option<Batch> {
        let (number, body) = self.queue.lock().take()?;
        Some(Batch { from: self.id, number, body })
    }

    /// A heartbeat: an empty batch. A node also receives its own heartbeats, and measures time by them.
    #[must_use]
    pub fn heartbeat(&self) -> Batch {
        Batch { from: self.id, number: self.queue.lock().next_number(), body: String::new() }
    }

    /// Queues a message with the frames that belong to it. Never waits.
    pub(super) fn send(&self, message: &ClusterMessage, frames: &[&Frame]) {
        let text = message.encode(frames);
        self.queue.lock().push(&text);
        self.has_batch.notify_one();
    }

    #[cfg(test)]
    pub(super) fn skip_number(&self) {
        self.queue.lock().skip_number();
    }
}

impl Peers for ClusterNode {
    fn is_single_node(&self) -> bool {
        self.peers.load(Ordering::Acquire) == 0
    }

    fn publish(&self, event: &Event) {
        let (message, frames) = ClusterMessage::of_event(event);
        self.send(&message, &frames);
    }

    fn publish_presence(&self, user: UserId, active: Option<bool>, is_activity_change: bool) {
        if !self.is_single_node() {
            self.send(&ClusterMessage::PresenceChanged { user, active, is_activity_change }, &[]);
        }
    }

    fn publish_presence_suppressed(&self, user: UserId) {
        if !self.is_single_node() {
            self.send(&ClusterMessage::PresenceSuppressed(user), &[]);
        }
    }
}
