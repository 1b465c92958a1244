//! The settings of every database session: its timeouts, and what the planner may do.

use std::time::Duration;

use sqlx::PgConnection;

/// Maximum wait for a connection; past it the caller gets `overloaded`.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is pinged before it is used, so that one which died with its server fails
/// no request. A busy connection costs no ping.
pub(super) const PING_AFTER_IDLE: Duration = Duration::from_secs(1);

/// What every session sets. These are statements and not the startup parameter `options`, which a pooler
/// may refuse.
///
/// Timeouts: a lock that is held for seconds is a fault, and so is a transaction that stays idle; neither may block
/// the sessions that wait for it. No query of one client may hold a connection for long. TCP
/// keepalive detects within a minute that a node has disappeared.
///
/// Planner: every query looks up few rows, each by an index. For a new table the planner may choose otherwise, and
/// would keep that plan until the first ANALYZE: in its first minute a server read all messages for every batch of
/// sends. JIT compilation takes longer than any query of Hark runs.
const SESSION_SETTINGS: &str = "set lock_timeout = '5s'; \
     set statement_timeout = '15s'; \
     set idle_in_transaction_session_timeout = '10s'; \
     set enable_seqscan = off; \
     set enable_hashjoin = off; \
     set enable_mergejoin = off; \
     set jit = off; \
     set tcp_keepalives_idle = 30; \
     set tcp_keepalives_interval = 10; \
     set tcp_keepalives_count = 3";

/// Applies [`SESSION_SETTINGS`] to a new session.
pub(super) async fn prepare_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION_SETTINGS).execute(connection).await?;
    Ok(())
}
