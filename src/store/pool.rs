//! The connection pools: the settings of a session, and the checks that a connection passes before it is used.

use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;

use super::database::availability::{Availability, SpotCheck};
use super::database::epochs::Epochs;
use super::timeouts::ACQUIRE_TIMEOUT;

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

/// Options of a pool that verifies each new connection, and checks again at each acquire if the connection may
/// lead to an earlier incarnation of the database, may be dead or may be read-only.
pub(super) fn options(connections: u32, epochs: &Arc<Epochs>, availability: &Arc<Availability>) -> PgPoolOptions {
    let (epochs_on_connect, epochs_on_acquire) = (Arc::clone(epochs), Arc::clone(epochs));
    let (availability_on_connect, availability_on_acquire) = (Arc::clone(availability), Arc::clone(availability));
    let spot_check = Arc::<SpotCheck>::default();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // `Availability::may_use` does it, and only if it is due.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let (epochs, availability) = (Arc::clone(&epochs_on_connect), Arc::clone(&availability_on_connect));
            Box::pin(async move {
                prepare_session(connection).await?;
                availability.check_new(connection).await?;
                epochs.verify(connection).await
            })
        })
        .before_acquire(move |connection, meta| {
            let opened_at = Instant::now().checked_sub(meta.age);
            let is_current = opened_at.is_none_or(|opened_at| epochs_on_acquire.is_current(opened_at));
            let (availability, spot_check) = (Arc::clone(&availability_on_acquire), Arc::clone(&spot_check));
            Box::pin(async move { Ok(is_current && availability.may_use(&spot_check, connection, meta).await?) })
        })
}

/// Applies [`SESSION_SETTINGS`] to a new session.
pub(super) async fn prepare_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION_SETTINGS).execute(connection).await?;
    Ok(())
}
