//! Whether the database can be used at all, as its errors and its sessions tell: what is worth a retry,
//! and which connections are replaced because they can only read.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgConnection;
use sqlx::pool::PoolConnectionMetadata;

use crate::store::TRUSTED_IDLE;

/// SQLSTATE classes and codes that speak of the database and not of the statement: the same request
/// may succeed later. Everything else is a bug of ours, or data that is damaged (XX001, XX002), which no
/// retry mends.
const UNAVAILABLE: [&str; 12] = [
    "08",    // connection exception; PgBouncer's own errors are 08P01
    "25006", // read_only_sql_transaction: a standby, or default_transaction_read_only
    "25P03", // idle_in_transaction_session_timeout: this process was held up amid a transaction
    "25P04", // transaction_timeout
    "28",    // the login is refused: a password was changed, pg_hba.conf was
    "3D000", // the database is not there, for instance while it is restored
    "40",    // deadlock, serialization failure: rolled back for certain
    "53",    // insufficient resources: disk full, too many connections
    "55000", // the database takes no connections now
    "55P03", // lock_not_available: somebody holds a lock for too long
    "57",    // operator intervention: shutting down, starting up, statement_timeout
    "58",    // the system below PostgreSQL fails: an I/O error
];

/// The one of them that says that the session can only read.
const READ_ONLY: &str = "25006";

/// Whether the database is away, restarting, read-only or out of something, rather than unhappy with a
/// query.
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

/// For so long after a session was found that can only read, every connection is looked at before it is
/// used. Each further one that is found begins that time anew.
const SUSPICION_PERIOD: Duration = Duration::from_secs(5);
/// A read-only connection is replaced at this age, so that a database which is read-only for hours sees no
/// storm of logins.
const READ_ONLY_MAX_AGE: Duration = Duration::from_secs(1);

/// When a session was last found that can only read. One for the process: what one pool learns of the
/// database holds for the others.
static READ_ONLY_SEEN: Mutex<Option<Instant>> = Mutex::new(None);

/// Takes note of an error that says that the session can only read. A session may stay so for good when the
/// database can be written to again: it keeps the default it began with (`alter database … set
/// default_transaction_read_only`), and the server that it is connected to (a standby behind an address
/// that has moved on).
pub(in crate::store) fn note(error: &sqlx::Error) {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some(READ_ONLY) {
        note_read_only();
    }
}

/// Takes note of a session that can only read.
pub(in crate::store) fn note_read_only() {
    *READ_ONLY_SEEN.lock() = Some(Instant::now());
}

/// Whether a pooled connection may be used. One that was idle is asked for a sign of life, so that one
/// which died with its server fails no request; a busy one pays nothing unless the database was read-only
/// a moment ago.
pub(in crate::store) async fn may_use(
    connection: &mut PgConnection,
    meta: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    let is_suspicious = READ_ONLY_SEEN.lock().is_some_and(|seen| seen.elapsed() < SUSPICION_PERIOD);
    if meta.idle_for <= TRUSTED_IDLE && !is_suspicious {
        return Ok(true);
    }
    let is_read_only = is_read_only(connection).await?;
    if is_read_only {
        note_read_only();
    }
    Ok(!is_read_only || meta.age < READ_ONLY_MAX_AGE)
}

/// Whether the session can only read: a standby's always, another one's by its default.
pub(in crate::store) async fn is_read_only<'e>(executor: impl sqlx::PgExecutor<'e>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select current_setting('transaction_read_only') = 'on' as "is_read_only!""#)
        .fetch_one(executor)
        .await
}
