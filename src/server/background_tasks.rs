//! The background tasks of a server, which run at intervals whether or not clients are connected.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::app::App;
use crate::commands::{groups, presence};
use crate::error::Error;
use crate::store::Db;
use crate::store::search::{IndexProgress, Indexer};
use crate::store::users::{deletion, sessions};

/// Delivery timeouts are precise to this, and presence changes are announced at most this often.
const DELIVERY_TICK_INTERVAL: Duration = Duration::from_millis(100);
/// How often rate limits drop the state of clients that are idle.
const EVICTION_INTERVAL: Duration = Duration::from_mins(1);
/// How often the sessions of open sockets are checked. That also closes the sockets of a session whose end this
/// node missed, or which was ended in the database itself.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a node checks that the database is still the same.
const HISTORY_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Delay after a failure of the database.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// How often the search index looks for new messages.
const INDEX_INTERVAL: Duration = Duration::from_millis(200);
/// The indexer pauses for this many times the duration of its last step, because sends come first: it uses a tenth
/// of a core.
const INDEX_PAUSE_FACTOR: u32 = 9;
/// Maximum pause of the indexer: a step may have waited for the database, which is not its work.
const MAX_INDEX_PAUSE: Duration = Duration::from_secs(2);
/// How often a node looks for unfinished deletions that no other node works on.
const CLAIM_DELETIONS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node works on a deletion without a pause.
const DELETION_SLICE: Duration = Duration::from_millis(200);
/// A deletion pauses for this many times the duration of its last slice, because sends come first.
const DELETION_PAUSE_FACTOR: u32 = 1;

/// Starts all background tasks; they end when the set is dropped. They are separate, so that one that waits for the
/// database delays no other.
pub(super) fn start(app: &Arc<App>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(expire_delivery_timeouts(Arc::clone(app)));
    tasks.spawn(evict_idle(Arc::clone(app)));
    tasks.spawn(check_sessions(Arc::clone(app)));
    tasks.spawn(announce_presence(Arc::clone(app)));
    tasks.spawn(index_messages(app.db.clone()));
    tasks.spawn(finish_deletions(Arc::clone(app)));
    tasks.spawn(check_database_history(app.db.clone()));
    tasks
}

/// Skips gaps in conversations, and ends typing indicators, that timed out.
async fn expire_delivery_timeouts(app: Arc<App>) {
    let mut ticks = interval(DELIVERY_TICK_INTERVAL);
    loop {
        ticks.tick().await;
        app.delivery.hub.expire_timeouts();
    }
}

/// Drops the rate limit state of idle clients.
async fn evict_idle(app: Arc<App>) {
    let mut ticks = interval(EVICTION_INTERVAL);
    loop {
        ticks.tick().await;
        app.sign_ups.evict_idle();
        app.logins.evict_idle();
        app.session_requests.evict_idle();
        app.user_requests.evict_idle();
        app.user_upgrades.evict_idle();
    }
}

/// Closes the sockets of sessions that have ended.
async fn check_sessions(app: Arc<App>) {
    let mut ticks = interval(SESSION_CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        let open = app.delivery.hub.sessions();
        if open.is_empty() {
            continue;
        }
        match sessions::find_ended(&app.db, &open).await {
            Ok(ended) => app.delivery.hub.close_sessions(&ended),
            // Logged; the next check is due soon.
            Err(error) => drop(error.log_and_convert()),
        }
    }
}

/// Announces presence changes, in one task and one batch after another, so that the change announced last is the
/// latest.
async fn announce_presence(app: Arc<App>) {
    let mut ticks = interval(DELIVERY_TICK_INTERVAL);
    let mut changes = Vec::new();
    loop {
        ticks.tick().await;
        changes.extend(app.delivery.presence.take_changes(false));
        if changes.is_empty() {
            continue;
        }
        match presence::announce_changes(&app.db, &app.delivery, &changes).await {
            Ok(()) => changes.clear(),
            // Announced again together with the next changes.
            Err(error) => {
                drop(error.log_and_convert());
                sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Continues account deletions that took too long for their request, or whose node was stopped.
async fn finish_deletions(app: Arc<App>) {
    loop {
        let pause = match finish_deletion(&app).await {
            Ok(Some(worked)) => worked * DELETION_PAUSE_FACTOR,
            Ok(None) => CLAIM_DELETIONS_INTERVAL,
            // Logged; the node that claims it next continues.
            Err(error) => {
                drop(error.log_and_convert());
                RETRY_DELAY
            }
        };
        sleep(pause).await;
    }
}

/// Works on one deletion as far as possible, and returns how long the last slice took; `None` if there is none.
async fn finish_deletion(app: &App) -> Result<Option<Duration>, Error> {
    let Some((user, name)) = deletion::claim(&app.db).await? else { return Ok(None) };
    loop {
        let started = Instant::now();
        // If others hold locks, another deletion may have more to do meanwhile.
        if groups::continue_deletion(app, user, &name, DELETION_SLICE).await? != deletion::DeletionProgress::More {
            return Ok(Some(started.elapsed()));
        }
        sleep(started.elapsed() * DELETION_PAUSE_FACTOR).await;
    }
}

/// Detects a restore that closed no connection, and records the position of its write-ahead log.
async fn check_database_history(db: Db) {
    let mut ticks = interval(HISTORY_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_failed = false;
    loop {
        ticks.tick().await;
        match db.verify_history().await {
            Ok(()) => has_failed = false,
            // Logged once; other users of the database log more.
            Err(error) if !std::mem::replace(&mut has_failed, true) => drop(error.log_and_convert()),
            Err(_) => {}
        }
    }
}

/// Keeps the search index up to date.
async fn index_messages(db: Db) {
    let mut indexer = Indexer::default();
    loop {
        let started = Instant::now();
        let progress = indexer.step(&db).await;
        let pause = (started.elapsed() * INDEX_PAUSE_FACTOR).min(MAX_INDEX_PAUSE);
        sleep(match progress {
            Ok(IndexProgress::More) => pause,
            Ok(IndexProgress::Done | IndexProgress::Idle) => pause.max(INDEX_INTERVAL),
            // Logged; a search reads the messages that are not indexed.
            Err(error) => {
                drop(error.log_and_convert());
                RETRY_DELAY
            }
        })
        .await;
    }
}
