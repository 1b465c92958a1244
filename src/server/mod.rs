//! The composition root: [`Server::start`] builds a server out of its parts, and [`Server::stop`] is the graceful
//! shutdown. What a process needs around a server is in [`process`].

mod background_tasks;
mod backoff;
mod cluster_loops;
mod database_restore;
pub mod healthcheck;
mod http_stream;
mod listener;
pub mod process;
mod socket_runtimes;
mod start_error;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cluster_loops::ClusterHandle;
pub use self::listener::listen;
use self::socket_runtimes::SocketRuntimes;
pub use self::start_error::StartError;
use crate::app::App;
use crate::auth::known_networks::KnownNetworks;
use crate::auth::passwords::PasswordHasher;
use crate::auth::tokens::Tokens;
use crate::cluster::ClusterNode;
use crate::commands::{messages, presence};
use crate::config::{Config, Secret};
use crate::delivery::Delivery;
use crate::delivery::hub::Hub;
use crate::error::Error;
use crate::limits::admission::AdmissionLimiter;
use crate::limits::fair_queue::FairQueue;
use crate::limits::keyed_rate_limit::KeyedRateLimiter;
use crate::limits::memory::MemoryBudget;
use crate::store::writer::Writer;
use crate::store::{DatabaseTarget, Db};
use crate::telemetry::Metrics;

/// Maximum time for the writers and the cluster to finish at shutdown, if the database does not answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of exports of one user at the same time. The second is for a user whose first one hangs.
const MAX_EXPORTS_PER_USER: usize = 2;

/// A running server.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    handle: ServerHandle,
    /// Ends by itself after a stop.
    _http: JoinHandle<std::io::Result<()>>,
    /// The open connections.
    connections: TaskTracker,
    background_tasks: JoinSet<()>,
    writer_db: Db,
    /// `None` if the setting `HARK_CLUSTER` is off.
    cluster: Option<ClusterHandle>,
    /// Dropped last: connections to the database were opened on its threads.
    _socket_runtimes: Arc<SocketRuntimes>,
}

impl Server {
    /// Starts a server on a listener and a running database, and returns once it serves. Nodes on the same database
    /// find each other.
    ///
    /// # Errors
    /// If the database cannot be used, or the system refuses threads or sockets.
    pub async fn start(
        config: Config,
        database: &DatabaseTarget,
        secret: &Secret,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        // Phase 1: connect to the database and prepare it.
        let db = prepare_database(&config, database).await?;
        let writer_db = connect_writers(&config, &db, database).await?;

        // Phase 2: build what the cluster and the sockets need.
        let metrics = Metrics::default();
        let passwords = start_password_pool(PasswordHasher::new)?;
        let memory = MemoryBudget::new(config.limits.request_memory_bytes, metrics.request_memory());
        let node = Arc::<ClusterNode>::default();
        let delivery = build_delivery(&config, &metrics, &memory, &node);
        database_restore::close_sockets_on_restore(&db, &delivery);

        // Phase 3: join the cluster, before there is a socket that could miss a push.
        let cluster = if config.cluster {
            let joined = ClusterHandle::join(&node, &delivery, &metrics, &db, database).await;
            Some(joined.map_err(StartError::Database)?)
        } else {
            tracing::info!("HARK_CLUSTER is off: pushes reach the sockets of this node only");
            None
        };

        // Phase 4: start the writers, which pass committed messages to delivery.
        let publisher = delivery.clone();
        let writer = Writer::start(&writer_db, config.writers(), config.write_queue, &metrics, move |committed| {
            messages::publish_committed(&committed, &publisher);
        });

        // Phase 5: put the parts together.
        let limits = &config.limits;
        let app = Arc::new(App {
            db,
            writer,
            delivery,
            cluster: node,
            tokens: Tokens::new(secret, limits.token_hours),
            passwords,
            known_networks: KnownNetworks::new(),
            sign_ups: KeyedRateLimiter::per_minute(limits.sign_ups_per_minute),
            logins: KeyedRateLimiter::per_minute(limits.logins_per_minute),
            session_requests: KeyedRateLimiter::per_second(limits.requests_per_second, limits.request_burst),
            user_requests: KeyedRateLimiter::per_second(limits.requests_per_second, limits.request_burst),
            user_upgrades: KeyedRateLimiter::per_second(
                limits.requests_per_second.saturating_mul(2),
                limits.request_burst.saturating_mul(2),
            ),
            request_queue: FairQueue::per_user(limits.max_requests_at_once),
            export_queue: FairQueue::per_user(MAX_EXPORTS_PER_USER),
            shutdown: CancellationToken::new(),
            upgrades: AdmissionLimiter::new(limits.sockets_per_second),
            memory,
            metrics,
            config,
        });

        // Phase 6: serve, and start the background tasks.
        let address = listener.local_addr()?;
        let socket_runtimes = Arc::new(SocketRuntimes::start()?);
        let connections = TaskTracker::new();
        let http = listener::serve(&app, listener, &socket_runtimes, &connections)?;
        Ok(Self {
            background_tasks: background_tasks::start(&app),
            handle: http.handle(),
            _http: tokio::spawn(http),
            connections,
            app,
            address,
            writer_db,
            cluster,
            _socket_runtimes: socket_runtimes,
        })
    }

    /// The address on which the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The parts of the server.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Graceful shutdown. Takes at most four seconds, and ten more if the database does not answer. Everything that
    /// was acknowledged is committed.
    pub async fn stop(self) {
        // Phase 1: no more background work. This comes first: the worker threads of HTTP end in phase 2, and with them
        // the database connections that were opened there, maybe in the middle of a task's query.
        drop(self.background_tasks);

        // Phase 2: no new connections, and all open ones close. The end of the HTTP server is detected only once a
        // second, the end of the last connection at once: so this waits for the connections only.
        drop(self.handle.stop(true));
        self.app.delivery.hub.shut_down();
        self.app.upgrades.disable();
        self.app.shutdown.cancel();
        listener::wait_for_connections(&self.connections).await;

        // Phase 3: commit what the writers have accepted, leave the cluster, and close the pools.
        let drained = async {
            self.app.writer.drain().await;
            record_last_seen(&self.app, &self.writer_db).await;
            if let Some(cluster) = self.cluster {
                cluster.leave().await;
            }
            self.app.db.close().await;
            self.writer_db.close().await;
        };
        if timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!("drain timed out: the database does not answer, unconfirmed sends may be stored or not");
        }
    }
}

async fn connect(database: &DatabaseTarget, connections: u32) -> Result<Db, StartError> {
    Db::connect(database, connections).await.map_err(StartError::Database)
}

/// Connects, brings the schema up to date, or checks that it is up to date if `HARK_MIGRATE` is off, fills in missing
/// username keys, and draws the epoch of this start.
async fn prepare_database(config: &Config, database: &DatabaseTarget) -> Result<Db, StartError> {
    let db = connect(database, config.database_connections).await?;
    if config.migrate {
        for migration in db.migrate().await.map_err(StartError::Database)? {
            tracing::info!(migration, "migration applied");
        }
    } else {
        db.check_schema().await.map_err(StartError::Database)?;
    }
    db.backfill_username_keys().await.map_err(StartError::Database)?;
    db.start_epoch().await.map_err(StartError::Database)?;
    Ok(db)
}

/// Opens a pool for the writers: reads do not delay sends, and a worker thread that ends takes no connection of the
/// writers with it while they drain.
async fn connect_writers(config: &Config, db: &Db, database: &DatabaseTarget) -> Result<Db, StartError> {
    let connections = u32::from(config.writers()) * u32::from(Writer::CONNECTIONS);
    db.with_own_pool(database, connections).await.map_err(StartError::Database)
}

fn start_password_pool(start: impl FnOnce() -> Result<PasswordHasher, Error>) -> Result<PasswordHasher, StartError> {
    start().map_err(StartError::PasswordPool)
}

fn build_delivery(config: &Config, metrics: &Metrics, memory: &Arc<MemoryBudget>, node: &Arc<ClusterNode>) -> Delivery {
    let limits = &config.limits;
    let hub = Hub::new(metrics.clone(), limits.max_sockets_per_user, limits.outbox_bytes, Arc::clone(memory));
    Delivery::new(hub, Arc::<ClusterNode>::clone(node))
}

/// Stores when the users of this node were last online. Other nodes announce to their own sockets that these users
/// are offline.
async fn record_last_seen(app: &App, db: &Db) {
    let changes = app.delivery.presence.take_changes(true);
    if let Err(error) = presence::announce_changes(db, &app.delivery, &changes).await {
        drop(error.log_and_convert());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_password_pool_is_not_reported_as_a_database_error() {
        let error = start_password_pool(|| Err(Error::internal("no threads"))).expect_err("a failure");
        assert!(matches!(error, StartError::PasswordPool(_)), "{error:?}");
        assert_eq!(error.to_string(), "cannot start the threads that hash passwords: no threads");
    }
}
