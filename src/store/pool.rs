//! The connection pools, and the checks that a connection passes before it is used.

use std::sync::Arc;
use std::time::Instant;

use sqlx::postgres::PgPoolOptions;

use super::database::availability::{Availability, SpotCheck};
use super::database::epochs::Epochs;
use super::session_settings::{ACQUIRE_TIMEOUT, prepare_session};

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
