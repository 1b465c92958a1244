//! Epochs: detects that the database was restarted, restored or replaced.
//!
//! What a node remembers by number (user ids, sessions, transactions) holds for one *history* of the database. A
//! restore, or a standby that takes over, puts it back to an earlier state, from which the same numbers are assigned
//! to other things. Within one history PostgreSQL has *incarnations*, each from a start to a stop: after a crash some
//! transaction numbers are assigned again.
//!
//! Every new connection is verified before it is used. If it leads to another incarnation, the node starts an epoch
//! (see the migrations), clears its caches and checks the sessions of its open sockets. If it leads to another
//! history, all sockets close, and requests that arrived before are refused.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::sleep_until;

use crate::model::SessionKey;
use crate::store::groups::member_cache::MemberCache;
use crate::store::session_settings::ACQUIRE_TIMEOUT;
use crate::store::users::ended_sessions;

/// Maximum number of epochs that the database keeps. With a cursor of an older one, `sync`
/// reports that changes may be missing.
const MAX_EPOCHS: i64 = 4_096;
/// On another history no connection is used for this long, which exceeds the maximum wait for one: a request that
/// waits arrived in the earlier history, and its user id may name another user in this one.
const QUARANTINE: Duration = ACQUIRE_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Maximum number of verifications of one connection. It is verified again after the node has started an epoch,
/// because PostgreSQL may have restarted again meanwhile.
const MAX_VERIFICATIONS: u32 = 3;

/// What the callback of [`Db::on_restart`](crate::store::Db::on_restart) is given.
#[derive(Debug)]
pub struct RestartNotice {
    /// Those sessions with open sockets that no longer exist.
    pub ended_sessions: HashSet<SessionKey>,
    /// Whether the database is on another history, in which every user id may belong to another user.
    pub is_other_history: bool,
}

/// The callbacks of the node.
struct Watcher {
    /// Returns the sessions that have open sockets.
    open_sessions: Box<dyn Fn() -> Vec<SessionKey> + Send + Sync>,
    /// Runs once no connection leads to the earlier incarnation any more.
    on_restart: Box<dyn Fn(&RestartNotice) + Send + Sync>,
}

/// The incarnation and history that this node is on.
pub(in crate::store) struct Epochs {
    /// To connect without the timeouts of requests.
    options: PgConnectOptions,
    /// None until [`Epochs::start`].
    state: Mutex<Option<EpochState>>,
    /// Held while an epoch is started, so that one task does it and the others wait for it.
    starting: tokio::sync::Mutex<()>,
    member_cache: MemberCache,
    watcher: OnceLock<Watcher>,
}

#[derive(Clone, Debug)]
struct EpochState {
    incarnation: Incarnation,
    /// Connections that were opened earlier lead to an earlier incarnation.
    since: Option<Instant>,
    /// No connection is used before this moment.
    quarantined_until: Option<Instant>,
    /// Number of incarnations since the server started.
    incarnations: u64,
    /// Number of changes of the history since the server started.
    histories: u64,
}

/// A row of `database_incarnation`; see the migrations.
#[derive(Clone, Debug)]
struct Incarnation {
    history: String,
    /// When PostgreSQL was started, in microseconds.
    started: i64,
    /// How far the write-ahead log is on the disk, which never moves back within one history.
    flushed: i64,
    has_epoch: bool,
}

impl Epochs {
    pub(in crate::store) fn new(options: PgConnectOptions, member_cache: MemberCache) -> Self {
        let starting = tokio::sync::Mutex::default();
        Self { options, state: Mutex::default(), starting, member_cache, watcher: OnceLock::new() }
    }

    /// Starts the first epoch of this node. From now on every connection is verified.
    pub(in crate::store) async fn start(self: &Arc<Self>) -> Result<(), sqlx::Error> {
        self.renew().await
    }

    /// See [`Db::on_restart`](crate::store::Db::on_restart).
    pub(in crate::store) fn on_restart(
        &self,
        open_sessions: impl Fn() -> Vec<SessionKey> + Send + Sync + 'static,
        callback: impl Fn(&RestartNotice) + Send + Sync + 'static,
    ) {
        let watcher = Watcher { open_sessions: Box::new(open_sessions), on_restart: Box::new(callback) };
        let _ = self.watcher.set(watcher);
    }

    /// The number of the incarnation that the database is in.
    pub(in crate::store) fn incarnations(&self) -> u64 {
        self.state.lock().as_ref().map_or(0, |state| state.incarnations)
    }

    /// The number of the history that the database is on.
    pub(in crate::store) fn history_number(&self) -> u64 {
        self.state.lock().as_ref().map_or(0, |state| state.histories)
    }

    /// Whether a connection that was verified at `at` leads to the current incarnation.
    pub(in crate::store) fn is_current(&self, at: Instant) -> bool {
        self.state.lock().as_ref().and_then(|state| state.since).is_none_or(|since| at >= since)
    }

    /// Verifies that a connection leads to the current incarnation, and starts an epoch if it leads to a new one.
    /// Returns once the connection may be used, which is after the quarantine of another history.
    ///
    /// # Errors
    /// If the connection leads to a standby, or no epoch can be started.
    pub(in crate::store) async fn verify(self: &Arc<Self>, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for _ in 0..MAX_VERIFICATIONS {
            // Read before the query: what was on the disk by then is there when the query is answered.
            let Some(state) = self.state.lock().clone() else { return Ok(()) };
            let found = find_incarnation(connection).await?;
            if state.incarnation.continues_in(&found) {
                self.record_flushed(&found);
                if let Some(until) = state.quarantined_until {
                    sleep_until(until.into()).await;
                }
                return Ok(());
            }
            self.renew().await?;
        }
        Err(sqlx::Error::Protocol("the database is not the one that the node has found".to_owned()))
    }

    /// Starts an epoch, in a task of its own so that it completes when the caller is cancelled.
    async fn renew(self: &Arc<Self>) -> Result<(), sqlx::Error> {
        let epochs = Arc::clone(self);
        let renewed = tokio::spawn(async move { epochs.renew_exclusively().await }).await;
        renewed.unwrap_or_else(|error| Err(sqlx::Error::Io(std::io::Error::other(error))))
    }

    async fn renew_exclusively(&self) -> Result<(), sqlx::Error> {
        let _starting = self.starting.lock().await;
        let before = self.state.lock().clone();
        let mut connection = self.options.connect().await?;
        // After a restore the statements below scan whole tables, and take as long as that takes.
        sqlx::raw_sql("set lock_timeout = 0; set statement_timeout = 0").execute(&mut connection).await?;
        let found = find_incarnation(&mut connection).await?;
        if before.as_ref().is_some_and(|before| before.incarnation.continues_in(&found)) {
            return connection.close().await;
        }
        insert_epoch(&mut connection).await?;
        // Read again: the history names the change clock, which may be another one now.
        let incarnation = find_incarnation(&mut connection).await?;
        let is_other_history = before.as_ref().is_some_and(|before| before.incarnation.is_lost_in(&incarnation));
        let watcher = self.watcher.get();
        let open_sessions = watcher.map(|watcher| (watcher.open_sessions)()).unwrap_or_default();
        let ended_sessions = ended_sessions::find_ended(&mut connection, &open_sessions).await?;
        // No await from here on. The state comes first: after it, no task uses a connection to the earlier incarnation.
        *self.state.lock() = Some(EpochState::next(before.as_ref(), incarnation, Instant::now()));
        self.member_cache.clear();
        if let Some(watcher) = watcher {
            (watcher.on_restart)(&RestartNotice { ended_sessions, is_other_history });
        }
        match (&before, is_other_history) {
            (None, _) => {}
            (Some(_), false) => tracing::info!("database restarted; the node has started an epoch"),
            (Some(_), true) => tracing::warn!(
                "database restored, or replaced by a standby; the node has cleared its caches and closes its sockets"
            ),
        }
        connection.close().await
    }

    fn record_flushed(&self, found: &Incarnation) {
        let mut state = self.state.lock();
        if let Some(state) = state.as_mut().filter(|state| state.incarnation.history == found.history) {
            state.incarnation.flushed = state.incarnation.flushed.max(found.flushed);
        }
    }
}

impl EpochState {
    /// The state after the database was found in this incarnation.
    fn next(before: Option<&Self>, incarnation: Incarnation, now: Instant) -> Self {
        let is_other_history = before.is_some_and(|before| before.incarnation.is_lost_in(&incarnation));
        // A restart during a quarantine does not end it.
        let quarantined_until =
            if is_other_history { Some(now + QUARANTINE) } else { before.and_then(|before| before.quarantined_until) };
        Self {
            incarnation,
            since: before.map(|_| now),
            quarantined_until,
            incarnations: before.map_or(0, |before| before.incarnations) + 1,
            histories: before.map_or(0, |before| before.histories) + u64::from(is_other_history),
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Incarnation {
    /// Whether `later` is the same incarnation at a later moment.
    fn continues_in(&self, later: &Self) -> bool {
        later.has_epoch && later.started == self.started && !self.is_lost_in(later)
    }

    /// Whether `later` is on another history, so that what was committed here may be missing there.
    fn is_lost_in(&self, later: &Self) -> bool {
        later.history != self.history || later.flushed < self.flushed
    }
}

async fn find_incarnation(connection: &mut PgConnection) -> Result<Incarnation, sqlx::Error> {
    let row = sqlx::query!(
        r#"select is_standby as "is_standby!", history as "history?", started as "started!", flushed as "flushed?",
                  has_epoch as "has_epoch?"
           from database_incarnation()"#
    )
    .fetch_one(connection)
    .await?;
    match (row.is_standby, row.history, row.flushed) {
        (false, Some(history), Some(flushed)) => {
            Ok(Incarnation { history, started: row.started, flushed, has_epoch: row.has_epoch == Some(true) })
        }
        (true, ..) => Err(sqlx::Error::Protocol("the database is a standby, which takes no changes".to_owned())),
        _ => Err(sqlx::Error::Protocol("the database is being restored".to_owned())),
    }
}

/// Starts an epoch, in two transactions; see the migrations.
async fn insert_epoch(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select sync_change_clock()").execute(&mut *connection).await?;
    let mut inserts = connection.begin().await?;
    // One node at a time, so that the numbers of epochs are in the order of commits.
    sqlx::query!("lock table change_epochs in share row exclusive mode").execute(&mut *inserts).await?;
    let epoch = sqlx::query_scalar!(
        "insert into change_epochs (clock_id, timeline)
         select c.clock_id, l.timeline from change_clock c, database_incarnation() l returning epoch"
    )
    .fetch_one(&mut *inserts)
    .await?;
    sqlx::query!(
        "delete from change_epochs where ordinal <= (select max(ordinal) from change_epochs) - $1::bigint",
        MAX_EPOCHS
    )
    .execute(&mut *inserts)
    .await?;
    inserts.commit().await?;
    let mut begins = connection.begin().await?;
    sqlx::query!(
        "update change_epochs set start_xid = pg_snapshot_xmax(pg_current_snapshot())::text::bigint where epoch = $1",
        epoch
    )
    .execute(&mut *begins)
    .await?;
    sqlx::query!("delete from epochs_since_recovery").execute(&mut *begins).await?;
    sqlx::query!("insert into epochs_since_recovery values ($1)", epoch).execute(&mut *begins).await?;
    begins.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(history: &str, started: i64, flushed: i64) -> Incarnation {
        Incarnation { history: history.to_owned(), started, flushed, has_epoch: true }
    }

    #[test]
    fn incarnation_continues_while_its_log_grows() {
        let before = incarnation("a", 1, 100);
        assert!(before.continues_in(&incarnation("a", 1, 100)) && before.continues_in(&incarnation("a", 1, 101)));
        let restarted = incarnation("a", 2, 101);
        assert!(!before.continues_in(&restarted) && !before.is_lost_in(&restarted));
        let crashed = Incarnation { has_epoch: false, ..incarnation("a", 1, 101) };
        assert!(!before.continues_in(&crashed) && !before.is_lost_in(&crashed));
        for other in [incarnation("a", 1, 99), incarnation("a", 2, 99), incarnation("b", 1, 101)] {
            assert!(!before.continues_in(&other) && before.is_lost_in(&other));
        }
    }

    #[test]
    fn restart_does_not_end_the_quarantine_of_another_history() {
        let now = Instant::now();
        let first = EpochState::next(None, incarnation("a", 1, 100), now);
        assert_eq!((first.quarantined_until, first.histories), (None, 0));
        let other = EpochState::next(Some(&first), incarnation("b", 1, 100), now);
        assert_eq!((other.quarantined_until, other.histories), (Some(now + QUARANTINE), 1));
        let restarted = EpochState::next(Some(&other), incarnation("b", 2, 101), now + Duration::from_secs(1));
        assert_eq!((restarted.quarantined_until, restarted.histories), (Some(now + QUARANTINE), 1));
    }
}
