//! Connects this node to its cluster: batches leave by NOTIFY, payloads of all nodes arrive by LISTEN, and after
//! a gap the sockets that may have missed a message are marked as behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, MIN_RETRY_DELAY};
use crate::cluster::{Batch, ClusterNode, Gap, PeerTracker};
use crate::delivery::{ConversationKey, Delivery};
use crate::error::Error;
use crate::store::notify::{self, Listener};
use crate::store::{DatabaseTarget, Db};
use crate::telemetry::Metrics;

/// Time between two heartbeats of a node.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A listening connection that delivers nothing for this time, not even this node's own heartbeats, is dead.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(7);
/// Maximum time that a starting node waits until all peers know of it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
const JOIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Minimum time between two lookups of missed messages.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of users whose conversations one query reads.
const MAX_CATCH_UP_USERS: usize = 1_000;

/// A node's membership in its cluster.
#[derive(Debug)]
pub(super) struct ClusterHandle {
    shutdown: CancellationToken,
    /// Ends by itself once it has sent what is left.
    publisher: JoinSet<()>,
    /// Aborted when the handle is dropped.
    _receivers: JoinSet<()>,
}

impl ClusterHandle {
    /// Joins the cluster of a database. Returns once all peers know of this node, so that its sockets miss
    /// nothing, or after two seconds without that.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn join(
        node: &Arc<ClusterNode>,
        delivery: &Delivery,
        metrics: &Metrics,
        db: &Db,
        address: &DatabaseTarget,
    ) -> Result<Self, Error> {
        let channel = notify::channel(db).await?;
        let watermark = notify::watermark(db).await?;
        let shutdown = CancellationToken::new();
        // A connection of its own: neither sends nor reads delay what the node publishes.
        let publisher_db = db.with_own_pool(address, 1).await?;
        let mut publisher = JoinSet::new();
        publisher.spawn(publish_loop(Arc::clone(node), publisher_db, channel.clone(), watermark, shutdown.clone()));
        let tracker = PeerTracker::new(Arc::clone(node), delivery.clone(), metrics.clone(), watermark);
        let (gap_sender, gaps) = unbounded_channel();
        let mut receivers = JoinSet::new();
        receivers.spawn(receive_loop(Arc::clone(node), tracker, address.clone(), channel, gap_sender));
        receivers.spawn(catch_up_loop(delivery.clone(), db.clone(), gaps));
        if timeout(JOIN_TIMEOUT, wait_for_peers(node, db)).await.is_err() {
            tracing::warn!("join timed out: not every node on this database has answered");
        }
        node.set_serving();
        Ok(Self { shutdown, publisher, _receivers: receivers })
    }

    /// Leaves the cluster: sends what is left, and a goodbye.
    pub(super) async fn leave(mut self) {
        self.shutdown.cancel();
        self.publisher.join_next().await;
    }
}

/// Returns once this node receives its own heartbeat, and every other node that listens has sent its presence.
async fn wait_for_peers(node: &ClusterNode, db: &Db) {
    loop {
        if node.is_connected() {
            let listeners = notify::count_listeners(db).await;
            // One of the listeners is this node.
            if listeners.is_ok_and(|listeners| listeners <= node.synced_peers() + 1) {
                return;
            }
        }
        sleep(JOIN_POLL_INTERVAL).await;
    }
}

/// Sends heartbeats, and batches as they fill, one after another. At shutdown it drains the queue.
async fn publish_loop(
    node: Arc<ClusterNode>,
    db: Db,
    channel: String,
    mut watermark: i64,
    shutdown: CancellationToken,
) {
    let mut heartbeat = interval(HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = heartbeat.tick() => {
                // An older watermark is correct as well, only less precise.
                watermark = notify::watermark(&db).await.unwrap_or(watermark);
                node.heartbeat()
            }
            batch = node.next_batch() => batch,
        };
        send_with_retries(&batch, &db, &channel, watermark).await;
    }
    node.send_goodbye();
    while let Some(batch) = node.take_batch() {
        send_with_retries(&batch, &db, &channel, watermark).await;
    }
    db.close().await;
}

/// Sends a batch until the database confirms it. That is idempotent: peers know by its number whether they have
/// it already.
async fn send_with_retries(batch: &Batch, db: &Db, channel: &str, watermark: i64) {
    let payloads = batch.payloads(watermark);
    let mut backoff = Backoff::default();
    while let Err(error) = notify::notify(db, channel, &payloads).await {
        backoff.wait(error).await;
    }
}

/// Receives what the nodes send, and reconnects whenever the connection is lost.
async fn receive_loop(
    node: Arc<ClusterNode>,
    mut tracker: PeerTracker,
    address: DatabaseTarget,
    channel: String,
    gaps: UnboundedSender<Gap>,
) {
    let mut backoff = Backoff::default();
    let mut has_hinted = false;
    loop {
        match Listener::start(&address, &channel).await {
            Ok(listener) => {
                backoff = Backoff::default();
                tracker.announce();
                receive(listener, &mut tracker, &gaps).await;
                if node.is_connected() {
                    tracing::warn!("listening connection lost: nothing is received from other nodes for now");
                } else if !has_hinted {
                    has_hinted = true;
                    tracing::warn!(
                        "this node does not receive its own heartbeats: a pooler before the database must use \
                         session pooling"
                    );
                }
                node.set_disconnected();
                sleep(MIN_RETRY_DELAY).await;
            }
            Err(error) => backoff.wait(error).await,
        }
    }
}

/// Receives payloads. Returns when the connection is lost, or nothing arrives on it any more.
async fn receive(mut listener: Listener, tracker: &mut PeerTracker, gaps: &UnboundedSender<Gap>) {
    while let Ok(Ok(Some(payload))) = timeout(LISTEN_TIMEOUT, listener.next()).await {
        if let Some(gap) = tracker.receive(&payload) {
            let _ = gaps.send(gap);
        }
    }
}

/// After gaps, marks the sockets of this node as behind in the conversations in which they may have missed messages.
async fn catch_up_loop(delivery: Delivery, db: Db, mut gaps: UnboundedReceiver<Gap>) {
    while let Some(mut gap) = gaps.recv().await {
        let started = Instant::now();
        while let Ok(more) = gaps.try_recv() {
            gap.since = gap.since.min(more.since);
        }
        let mut backoff = Backoff::default();
        while let Err(error) = mark_behind(&delivery, &db, gap).await {
            backoff.wait(error).await;
        }
        tracing::info!(since = gap.since, "sockets marked behind after a gap");
        sleep(CATCH_UP_INTERVAL.max(started.elapsed())).await;
    }
}

async fn mark_behind(delivery: &Delivery, db: &Db, gap: Gap) -> Result<(), Error> {
    for users in delivery.hub.users().chunks(MAX_CATCH_UP_USERS) {
        for changed in notify::changed_conversations(db, users, gap.since).await? {
            let conversation = ConversationKey::of(changed.user, changed.target);
            delivery.hub.mark_behind(changed.user, conversation, changed.seq);
        }
    }
    Ok(())
}
