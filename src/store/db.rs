//! The handle to the database that every query is given.

use std::error::Error as _;
use std::sync::Arc;

use sqlx::PgPool;

use super::database::availability::{self, Availability};
use super::database::epochs::{Epochs, RestartNotice};
use super::database::preflight;
use super::groups::member_cache::MemberCache;
use super::pool;
use super::target::DatabaseTarget;
use crate::error::Error;
use crate::limits::fair_queue::FairQueue;
use crate::model::SessionKey;

/// A handle to the database: a connection pool, and what the node knows of the database. Clones share both.
#[derive(Clone, Debug)]
pub struct Db {
    pub(super) pool: PgPool,
    /// One connection for [`Db::ping`], so that readiness does not wait in the queue of the requests.
    pub(super) probe: PgPool,
    /// Shared with the pool of the writers.
    pub(super) member_cache: MemberCache,
    /// The epoch and history that the node is on; shared by all pools.
    pub(super) epochs: Arc<Epochs>,
    /// Whether connections are read-only; shared by all pools.
    pub(super) availability: Arc<Availability>,
    /// Admits searches in turn: one may read much, and connections are few.
    pub(super) searches: FairQueue,
}

/// Maximum number of concurrent searches of one node, each by another user.
const MAX_CONCURRENT_SEARCHES: usize = 2;

impl Db {
    /// Runs the preflight checks, and opens a pool of at most `connections`.
    ///
    /// # Errors
    /// `overloaded` if nothing answers at the target, or a preflight check fails; the cause is a sentence for an
    /// operator.
    pub async fn connect(target: &DatabaseTarget, connections: u32) -> Result<Self, Error> {
        let member_cache = MemberCache::new();
        let options = target.connect_options()?;
        preflight::check(&options).await.map_err(Error::unavailable)?;
        let epochs = Arc::new(Epochs::new(options.clone(), member_cache.clone()));
        let availability = Arc::<Availability>::default();
        let probe = pool::options(1, &epochs, &availability)
            .acquire_timeout(availability::PING_TIMEOUT)
            .connect_lazy_with(options.clone());
        let pool = pool::options(connections, &epochs, &availability).connect_with(options).await?;
        let searches = FairQueue::new(MAX_CONCURRENT_SEARCHES, 1);
        Ok(Self { pool, probe, member_cache, epochs, availability, searches })
    }

    /// Returns a handle with a pool of its own to the same database; everything else is shared.
    ///
    /// # Errors
    /// `overloaded` if nothing answers at the target.
    pub async fn with_own_pool(&self, target: &DatabaseTarget, connections: u32) -> Result<Self, Error> {
        let options = pool::options(connections, &self.epochs, &self.availability);
        let pool = options.connect_with(target.connect_options()?).await?;
        Ok(Self { pool, ..self.clone() })
    }

    /// Starts an epoch for this node, which every server does before it serves. From now on the node detects that
    /// PostgreSQL was restarted, or that the database was restored or replaced by a standby.
    ///
    /// # Errors
    /// If the database is read-only or lacks migrations.
    pub async fn start_epoch(&self) -> Result<(), Error> {
        Ok(self.epochs.start().await?)
    }

    /// Registers the callback that runs after each restart or restore of the database. It is given those of
    /// `open_sessions` that no longer exist. Only the first registration counts.
    pub fn on_restart(
        &self,
        open_sessions: impl Fn() -> Vec<SessionKey> + Send + Sync + 'static,
        callback: impl Fn(&RestartNotice) + Send + Sync + 'static,
    ) {
        self.epochs.on_restart(open_sessions, callback);
    }

    /// Verifies over one connection that the database is still on the history that the node knows, and records how
    /// far its write-ahead log has come. Call it every few seconds: each new connection is verified anyway, and
    /// this covers the connections that stay open.
    ///
    /// # Errors
    /// If no connection can be used.
    pub async fn verify_history(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(self.epochs.verify(&mut connection).await?)
    }

    /// The number of the history that the database is on. It changes when the database is restored or another one
    /// takes over: then the same user id may belong to another user.
    #[must_use]
    pub fn history(&self) -> u64 {
        self.epochs.history_number()
    }

    /// Ensures that the database is still on the history in which a request arrived, after the request has waited.
    ///
    /// # Errors
    /// `overloaded` if it is on another one.
    pub fn ensure_same_history(&self, history: u64) -> Result<(), Error> {
        if self.history() == history {
            Ok(())
        } else {
            Err(Error::unavailable("the database was restored since this was asked"))
        }
    }

    /// Records the failure of a command: where it says that a session is read-only, all pools check their connections.
    pub fn record_failure(&self, error: &Error) {
        if let Some(error) = error.source().and_then(|cause| cause.downcast_ref()) {
            self.availability.record_error(error);
        }
    }

    /// Readiness probe: checks that the database answers in time and can be written to.
    ///
    /// # Errors
    /// `overloaded` if it does not answer, or is read-only.
    pub async fn ping(&self) -> Result<(), Error> {
        self.availability.ping(&self.probe).await
    }

    /// Graceful shutdown: closes each connection as soon as it is idle.
    pub async fn close(&self) {
        self.pool.close().await;
        self.probe.close().await;
    }
}
