//! Puts a node on the bus: what it has to say goes out by NOTIFY, what the nodes say comes in by LISTEN,
//! and what was missed is looked up.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::delivery::bus::{Batch, Listening, Missed};
use crate::delivery::{Delivery, Where};
use crate::error::Error;
use crate::store::notify::{self, Listener};
use crate::store::{DatabaseTarget, Db};

/// How often a node gives a sign of life.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Who hears nothing for so long, not even its own sign of life, has lost its connection.
const DEAF_AFTER: Duration = Duration::from_secs(7);
/// Between two tries to listen, or to say something: at first, and at most. Each wait is twice the one before.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(2);
/// A node that starts waits so long, at most, until the others know of it.
const JOIN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// At least so long between two looks for what was missed.
const CATCH_UP_EVERY: Duration = Duration::from_secs(1);
/// People whose conversations are looked through at once.
const USERS_AT_ONCE: usize = 1_000;

/// A node's place on the bus.
#[derive(Debug)]
pub(super) struct Place {
    stop: CancellationToken,
    /// Says what is left, and goodbye, before it ends.
    saying: JoinSet<()>,
    _hearing: JoinSet<()>,
}

impl Place {
    /// Puts a node on the bus. Returns when the others know of it, so that the sockets it opens miss
    /// nothing; or without that, after a moment.
    ///
    /// # Errors
    /// Where the database fails.
    pub(super) async fn take(delivery: &Delivery, db: &Db, address: &DatabaseTarget) -> Result<Self, Error> {
        let channel = notify::channel(db).await?;
        let horizon = notify::horizon(db).await?;
        let (missed, misses) = unbounded_channel();
        let stop = CancellationToken::new();
        // Connections of its own: neither sends nor reads hold up what they have to say.
        let (mut saying, mut hearing) = (JoinSet::new(), JoinSet::new());
        saying.spawn(say(
            delivery.clone(),
            db.with_own_pool(address, 1).await?,
            channel.clone(),
            horizon,
            stop.clone(),
        ));
        let listening = Listening::new(delivery.clone(), horizon);
        hearing.spawn(hear(delivery.clone(), listening, address.clone(), channel, missed));
        hearing.spawn(catch_up(delivery.clone(), db.clone(), misses));
        if timeout(JOIN_WITHIN, joined(delivery, db)).await.is_err() {
            tracing::warn!("not every node on this database has answered");
        }
        delivery.bus.serve();
        Ok(Self { stop, saying, _hearing: hearing })
    }

    /// Says what is left to say, and goodbye.
    pub(super) async fn leave(mut self) {
        self.stop.cancel();
        self.saying.join_next().await;
    }
}

/// Returns when this node hears itself, and every other one that listens has answered.
async fn joined(delivery: &Delivery, db: &Db) {
    loop {
        let bus = &delivery.bus;
        // One of them is this node.
        if bus.is_heard() && notify::listeners(db).await.is_ok_and(|listeners| listeners <= bus.answered() + 1) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Says what there is to say, batch after batch.
async fn say(delivery: Delivery, db: Db, channel: String, mut horizon: i64, stop: CancellationToken) {
    let mut beat = interval(BEAT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = beat.tick() => {
                // An older one is as good.
                horizon = notify::horizon(&db).await.unwrap_or(horizon);
                delivery.bus.beat()
            }
            batch = delivery.bus.next() => batch,
        };
        say_until_said(&batch, &db, &channel, horizon).await;
    }
    delivery.bus.say_goodbye();
    while let Some(batch) = delivery.bus.take() {
        say_until_said(&batch, &db, &channel, horizon).await;
    }
    db.close().await;
}

/// A batch that may have been said is said again: its number tells.
async fn say_until_said(batch: &Batch, db: &Db, channel: &str, horizon: i64) {
    let payloads = batch.payloads(horizon);
    let mut trouble = Trouble::default();
    while let Err(error) = notify::notify(db, channel, &payloads).await {
        trouble.again(error).await;
    }
}

/// Hears what the nodes say, on one connection after the other.
async fn hear(
    delivery: Delivery,
    mut listening: Listening,
    address: DatabaseTarget,
    channel: String,
    missed: UnboundedSender<Missed>,
) {
    let mut trouble = Trouble::default();
    let mut has_hinted = false;
    loop {
        match Listener::start(&address, &channel).await {
            Ok(listener) => {
                trouble = Trouble::default();
                listening.hello();
                hear_from(listener, &mut listening, &missed).await;
                if delivery.bus.is_heard() {
                    tracing::warn!("the connection that listens is lost; other nodes cannot be heard for now");
                } else if !has_hinted {
                    has_hinted = true;
                    tracing::warn!(
                        "this node does not hear what it says itself: does a pooler before the database share out \
                         single transactions by now? It has to give out sessions"
                    );
                }
                delivery.bus.deafened();
                sleep(AGAIN_AFTER).await;
            }
            Err(error) => trouble.again(error).await,
        }
    }
}

/// Returns when the connection is lost, or nothing comes over it any more.
async fn hear_from(mut listener: Listener, listening: &mut Listening, missed: &UnboundedSender<Missed>) {
    while let Ok(Ok(Some(payload))) = timeout(DEAF_AFTER, listener.next()).await {
        if let Some(since) = listening.hear(&payload) {
            let _ = missed.send(since);
        }
    }
}

/// Tries that fail one after the other: one line in the log, and longer waits.
#[derive(Default)]
struct Trouble {
    waited: Option<Duration>,
}

impl Trouble {
    /// Returns when it is time to try again.
    async fn again(&mut self, error: Error) {
        if self.waited.is_none() {
            drop(error.log_and_convert());
        }
        let wait = self.waited.map_or(AGAIN_AFTER, |waited| (waited * 2).min(AGAIN_AFTER_AT_MOST));
        self.waited = Some(wait);
        sleep(wait).await;
    }
}

/// Tells the sockets of this node that they are behind wherever they may have missed something.
async fn catch_up(delivery: Delivery, db: Db, mut misses: UnboundedReceiver<Missed>) {
    while let Some(mut missed) = misses.recv().await {
        let begun = Instant::now();
        while let Ok(more) = misses.try_recv() {
            missed.since = missed.since.min(more.since);
        }
        let mut trouble = Trouble::default();
        while let Err(error) = tell_behind(&delivery, &db, missed).await {
            trouble.again(error).await;
        }
        tracing::info!("something that other nodes said was missed; who may be concerned was told to look");
        sleep(CATCH_UP_EVERY.max(begun.elapsed())).await;
    }
}

async fn tell_behind(delivery: &Delivery, db: &Db, missed: Missed) -> Result<(), Error> {
    for users in delivery.hub.users().chunks(USERS_AT_ONCE) {
        for changed in notify::changed(db, users, missed.since).await? {
            delivery.hub.fall_behind(changed.user, Where::of(changed.user, changed.target), changed.seq);
        }
    }
    Ok(())
}
