//! Which history of the database this node is on. A restore or a standby that takes over puts the database
//! back to an earlier state, from which other things get the same numbers; a restart of PostgreSQL after a
//! crash gives some numbers of transactions again. Whatever a node remembers by numbers is worth nothing then.
//!
//! Every new connection is looked at before it is used. Where it leads to another life of the database, the node
//! draws an epoch (see the migrations), forgets what it remembers and checks the sessions of its sockets;
//! where it leads to another history, all of its sockets close, and who has asked before gets no answer.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::sleep_until;

use crate::model::SessionKey;
use crate::store::ACQUIRE_TIMEOUT;
use crate::store::groups::member_cache::MemberLists;
use crate::store::users::sessions;

/// Epochs that are kept. A cursor of an older one proves nothing.
const MAX_EPOCHS: i64 = 4_096;
/// In another history no connection is used for so long: whoever waits for one has asked before, and may have
/// been somebody else.
const QUARANTINE: Duration = ACQUIRE_TIMEOUT.saturating_add(Duration::from_secs(1));
/// A connection that finds another life once more, after the node has drawn an epoch for it, is tried so often.
const MAX_LOOKS: u32 = 3;

/// What a node has to do where the database lives anew.
#[derive(Debug)]
pub struct Renewal {
    /// Of the sessions that have open sockets, those that are not there.
    pub ended_sessions: HashSet<SessionKey>,
    /// Whether it is on another history, in which everybody may be somebody else.
    pub is_other_history: bool,
}

/// What of a node hears of a renewal.
struct Watcher {
    /// The sessions that have open sockets.
    open_sessions: Box<dyn Fn() -> Vec<SessionKey> + Send + Sync>,
    /// Called when no connection leads to the earlier life.
    on_renewal: Box<dyn Fn(&Renewal) + Send + Sync>,
}

/// What this node knows of the history that it is on.
pub(in crate::store) struct Epochs {
    /// To connect without the timeouts of requests.
    options: PgConnectOptions,
    /// None until the server begins.
    known: Mutex<Option<Known>>,
    /// One at a time finds out that the database lives anew.
    turn: tokio::sync::Mutex<()>,
    member_lists: MemberLists,
    watcher: OnceLock<Watcher>,
}

#[derive(Clone, Debug)]
struct Known {
    life: Life,
    /// Connections that were opened before lead to an earlier life.
    since: Option<Instant>,
    /// Until when no connection is used.
    quarantined_until: Option<Instant>,
    /// How many lives there were since the server began.
    lives: u64,
    /// How many histories.
    histories: u64,
}

/// See `database_incarnation` in the migrations.
#[derive(Clone, Debug)]
struct Life {
    history: String,
    started: i64,
    flushed: i64,
    has_epoch: bool,
}

impl Epochs {
    pub(in crate::store) fn new(options: PgConnectOptions, member_lists: MemberLists) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { options, known: Mutex::default(), turn, member_lists, watcher: OnceLock::new() }
    }

    /// Draws the first epoch of this node. From now on every connection is looked at.
    pub(in crate::store) async fn begin(self: &Arc<Self>) -> Result<(), sqlx::Error> {
        self.renew().await
    }

    /// Has these hear of every renewal; only the first call counts.
    pub(in crate::store) fn watch(
        &self,
        open_sessions: impl Fn() -> Vec<SessionKey> + Send + Sync + 'static,
        on_renewal: impl Fn(&Renewal) + Send + Sync + 'static,
    ) {
        let watcher = Watcher { open_sessions: Box::new(open_sessions), on_renewal: Box::new(on_renewal) };
        let _ = self.watcher.set(watcher);
    }

    /// Another number whenever the database lives anew.
    pub(in crate::store) fn lives(&self) -> u64 {
        self.known.lock().as_ref().map_or(0, |known| known.lives)
    }

    /// Another number whenever it is on another history.
    pub(in crate::store) fn histories(&self) -> u64 {
        self.known.lock().as_ref().map_or(0, |known| known.histories)
    }

    /// Whether a connection that was good at that moment leads to the database as it lives now.
    pub(in crate::store) fn is_current(&self, at: Instant) -> bool {
        self.known.lock().as_ref().and_then(|known| known.since).is_none_or(|since| at >= since)
    }

    /// Returns once a connection may be used.
    ///
    /// # Errors
    /// Where it may not: it leads to a standby, or no epoch can be drawn.
    pub(in crate::store) async fn look_at(self: &Arc<Self>, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for _ in 0..MAX_LOOKS {
            // Before the question: what is on the disk by then is there when it is answered.
            let Some(known) = self.known.lock().clone() else { return Ok(()) };
            let life = life(connection).await?;
            if known.life.goes_on_in(&life) {
                self.note(&life);
                if let Some(until) = known.quarantined_until {
                    sleep_until(until.into()).await;
                }
                return Ok(());
            }
            self.renew().await?;
        }
        Err(sqlx::Error::Protocol("the database is not the one that the node has found".to_owned()))
    }

    /// To its end, also where the one who waits for it has gone.
    async fn renew(self: &Arc<Self>) -> Result<(), sqlx::Error> {
        let epochs = Arc::clone(self);
        let renewed = tokio::spawn(async move { epochs.renew_in_turn().await }).await;
        renewed.unwrap_or_else(|error| Err(sqlx::Error::Io(std::io::Error::other(error))))
    }

    async fn renew_in_turn(&self) -> Result<(), sqlx::Error> {
        let _turn = self.turn.lock().await;
        let before = self.known.lock().clone();
        let mut connection = self.options.connect().await?;
        // After a restore it looks through whole tables, and may take as long as that takes.
        sqlx::raw_sql("set lock_timeout = 0; set statement_timeout = 0").execute(&mut connection).await?;
        let found = life(&mut connection).await?;
        if before.as_ref().is_some_and(|before| before.life.goes_on_in(&found)) {
            return connection.close().await;
        }
        draw(&mut connection).await?;
        // With the clock that it has now.
        let life = life(&mut connection).await?;
        let is_other_history = before.as_ref().is_some_and(|before| before.life.is_lost_in(&life));
        let watcher = self.watcher.get();
        let open_sessions = watcher.map(|watcher| (watcher.open_sessions)()).unwrap_or_default();
        let ended_sessions = sessions::ended_on(&mut connection, &open_sessions).await?;
        let known = Known::next(before.as_ref(), life, Instant::now());
        // At once, and first what keeps everybody from the database.
        *self.known.lock() = Some(known);
        self.member_lists.clear();
        if let Some(watcher) = watcher {
            (watcher.on_renewal)(&Renewal { ended_sessions, is_other_history });
        }
        match (&before, is_other_history) {
            (None, _) => {}
            (Some(_), false) => tracing::info!("PostgreSQL was restarted; the node has drawn an epoch"),
            (Some(_), true) => tracing::warn!(
                "the database was restored, or a standby has taken over: the node forgets what it knew and closes its sockets"
            ),
        }
        connection.close().await
    }

    fn note(&self, life: &Life) {
        if let Some(known) = self.known.lock().as_mut().filter(|known| known.life.history == life.history) {
            known.life.flushed = known.life.flushed.max(life.flushed);
        }
    }
}

impl Known {
    /// What is known once the database was found in this life.
    fn next(before: Option<&Self>, life: Life, now: Instant) -> Self {
        let is_other = before.is_some_and(|before| before.life.is_lost_in(&life));
        // A restart amid a quarantine does not end it.
        let quarantined_until =
            if is_other { Some(now + QUARANTINE) } else { before.and_then(|before| before.quarantined_until) };
        Self {
            life,
            since: before.map(|_| now),
            quarantined_until,
            lives: before.map_or(0, |before| before.lives) + 1,
            histories: before.map_or(0, |before| before.histories) + u64::from(is_other),
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Life {
    /// Whether it is the same life, later.
    fn goes_on_in(&self, later: &Self) -> bool {
        later.has_epoch && later.started == self.started && !self.is_lost_in(later)
    }

    /// Whether what has happened so far may not be there later.
    fn is_lost_in(&self, later: &Self) -> bool {
        later.history != self.history || later.flushed < self.flushed
    }
}

async fn life(connection: &mut PgConnection) -> Result<Life, sqlx::Error> {
    let row = sqlx::query!(
        r#"select is_standby as "is_standby!", history as "history?", started as "started!", flushed as "flushed?",
                  has_epoch as "has_epoch?"
           from database_incarnation()"#
    )
    .fetch_one(connection)
    .await?;
    match (row.is_standby, row.history, row.flushed) {
        (false, Some(history), Some(flushed)) => {
            Ok(Life { history, started: row.started, flushed, has_epoch: row.has_epoch == Some(true) })
        }
        (true, ..) => Err(sqlx::Error::Protocol("the database is a standby, which takes no changes".to_owned())),
        _ => Err(sqlx::Error::Protocol("the database is being restored".to_owned())),
    }
}

/// The two steps; see the migrations.
async fn draw(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select sync_change_clock()").execute(&mut *connection).await?;
    let mut inserts = connection.begin().await?;
    // One at a time, so that their numbers are in the order of commits.
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

    fn life(history: &str, started: i64, flushed: i64) -> Life {
        Life { history: history.to_owned(), started, flushed, has_epoch: true }
    }

    #[test]
    fn a_life_goes_on_while_its_log_grows() {
        let before = life("a", 1, 100);
        assert!(before.goes_on_in(&life("a", 1, 100)) && before.goes_on_in(&life("a", 1, 101)));
        let restarted = life("a", 2, 101);
        assert!(!before.goes_on_in(&restarted) && !before.is_lost_in(&restarted));
        let crashed = Life { has_epoch: false, ..life("a", 1, 101) };
        assert!(!before.goes_on_in(&crashed) && !before.is_lost_in(&crashed));
        for other in [life("a", 1, 99), life("a", 2, 99), life("b", 1, 101)] {
            assert!(!before.goes_on_in(&other) && before.is_lost_in(&other));
        }
    }

    #[test]
    fn a_restart_does_not_end_the_quarantine_of_another_history() {
        let now = Instant::now();
        let first = Known::next(None, life("a", 1, 100), now);
        assert_eq!((first.quarantined_until, first.histories), (None, 0));
        let other = Known::next(Some(&first), life("b", 1, 100), now);
        assert_eq!((other.quarantined_until, other.histories), (Some(now + QUARANTINE), 1));
        let restarted = Known::next(Some(&other), life("b", 2, 101), now + Duration::from_secs(1));
        assert_eq!((restarted.quarantined_until, restarted.histories), (Some(now + QUARANTINE), 1));
    }
}
