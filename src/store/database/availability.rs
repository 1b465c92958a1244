//! Database availability: which errors are worth a retry, and which connections are replaced because their session
//! is read-only.
//!
//! A session may stay read-only after the database has become writable again: it keeps the default that it began
//! with (`alter database … set default_transaction_read_only`), and the server that it is connected to (a
//! standby whose address leads to another server now). So the pools look for such sessions and close them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::{PgConnection, PgPool};

use crate::error::Error;
use crate::store::session_settings::PING_AFTER_IDLE;

/// SQLSTATE classes and codes that concern the database and not the statement: the same request may succeed later.
/// Any other code is a bug of Hark's, or damaged data (XX001, XX002), which no retry mends.
const UNAVAILABLE: [&str; 12] = [
    "08",    // connection exception; PgBouncer's own errors are 08P01
    "25006", // read_only_sql_transaction: a standby, or default_transaction_read_only
    "25P03", // idle_in_transaction_session_timeout: this process was stopped amid a transaction
    "25P04", // transaction_timeout
    "28",    // login refused: a password or pg_hba.conf was changed
    "3D000", // the database does not exist, for instance while it is restored
    "40",    // deadlock, serialization failure: rolled back for certain
    "53",    // insufficient resources: disk full, too many connections
    "55000", // the database accepts no connections now
    "55P03", // lock_not_available: a lock is held for too long
    "57",    // operator intervention: shutting down, starting up, statement_timeout
    "58",    // system error below PostgreSQL: an I/O error
];

/// The SQLSTATE of a write in a read-only session.
const READ_ONLY: &str = "25006";

/// Whether an error means that the database is away, restarting, read-only or out of resources, so that a retry may
/// succeed; false if the statement itself is at fault.
pub(in crate::store) fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| UNAVAILABLE.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) { Self::unavailable(error) } else { Self::internal(error) }
    }
}

/// Maximum wait for the answer to a readiness probe.
pub(in crate::store) const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// For this long after a read-only session was found, every connection is checked before it is used. Each further
/// one that is found restarts the period.
const SUSPICION_PERIOD: Duration = Duration::from_secs(5);
/// A read-only connection is replaced at this age, so that a database which is read-only for hours is not flooded
/// with logins.
const READ_ONLY_MAX_AGE: Duration = Duration::from_secs(1);
/// Without suspicion, one acquired connection is checked per interval: a reload of PostgreSQL's configuration can make
/// the sessions that are open read-only.
const SPOT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the pools of a node know about read-only sessions. They share it: what one pool finds holds for the others.
#[derive(Debug, Default)]
pub(in crate::store) struct Availability {
    /// When a read-only session was last found.
    read_only_seen: Mutex<Option<Instant>>,
}

/// When one pool has last checked a connection that it handed out. Each pool has its own, so that the checks of an
/// idle pool do not stand for those of a busy one.
#[derive(Debug, Default)]
pub(in crate::store) struct SpotCheck(Mutex<Option<Instant>>);

impl SpotCheck {
    fn is_due(&self) -> bool {
        self.0.lock().is_none_or(|checked| checked.elapsed() >= SPOT_CHECK_INTERVAL)
    }

    fn record(&self) {
        *self.0.lock() = Some(Instant::now());
    }
}

impl Availability {
    /// Records an error that a session has returned; one that says the session is read-only starts the
    /// [`SUSPICION_PERIOD`].
    pub(in crate::store) fn record_error(&self, error: &sqlx::Error) {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        if code.as_deref() == Some(READ_ONLY) {
            self.record_read_only();
        }
    }

    fn record_read_only(&self) {
        *self.read_only_seen.lock() = Some(Instant::now());
    }

    /// Checks a new connection. A read-only one may be used, because reads go on; it is replaced later.
    pub(in crate::store) async fn check_new(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.check(connection).await.map(drop)
    }

    /// Whether a pooled connection may be used. It is checked if it was idle for [`PING_AFTER_IDLE`], if a read-only
    /// session was found within the [`SUSPICION_PERIOD`], or if the next spot check is due.
    pub(in crate::store) async fn may_use(
        &self,
        spot_check: &SpotCheck,
        connection: &mut PgConnection,
        meta: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        let is_suspicious = self.read_only_seen.lock().is_some_and(|seen| seen.elapsed() < SUSPICION_PERIOD);
        if meta.idle_for <= PING_AFTER_IDLE && !is_suspicious && !spot_check.is_due() {
            return Ok(true);
        }
        // First, so that of many tasks that acquire at once one does the spot check.
        spot_check.record();
        let is_read_only = self.check(connection).await?;
        Ok(!is_read_only || meta.age < READ_ONLY_MAX_AGE)
    }

    /// Whether the session is read-only; records it. Fails if the connection is dead.
    async fn check(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let is_read_only = is_read_only(connection).await?;
        if is_read_only {
            self.record_read_only();
        }
        Ok(is_read_only)
    }

    /// See [`Db::ping`](crate::store::Db::ping).
    pub(in crate::store) async fn ping(&self, probe: &PgPool) -> Result<(), Error> {
        if tokio::time::timeout(PING_TIMEOUT, is_read_only(probe)).await.map_err(Error::unavailable)?? {
            self.record_read_only();
            return Err(Error::unavailable("the database is read-only"));
        }
        Ok(())
    }
}

/// Whether a session is read-only: on a standby every session is, elsewhere the default decides.
async fn is_read_only<'e>(executor: impl sqlx::PgExecutor<'e>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select current_setting('transaction_read_only') = 'on' as "is_read_only!""#)
        .fetch_one(executor)
        .await
}
