//! The composition root: puts a server together, runs it, and stops it in order. What a process needs
//! around a server is in [`process`].

mod background_tasks;
mod bus;
pub mod healthcheck;
mod history;
mod http_stream;
mod listener;
pub mod process;
mod socket_runtimes;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::socket_runtimes::Talking;
use crate::app::App;
use crate::auth::known_networks::KnownNetworks;
use crate::auth::passwords::PasswordHasher;
use crate::auth::tokens::Tokens;
use crate::commands::{messages, presence};
use crate::config::{Config, Secret};
use crate::delivery::Delivery;
use crate::delivery::hub::Hub;
use crate::limits::admission::Pace;
use crate::limits::fair_queue::FairQueue;
use crate::limits::memory::BytePool;
use crate::limits::rate_limit::KeyedRateLimiter;
use crate::store::writer::Writer;
use crate::store::{DatabaseTarget, Db};
use crate::telemetry::Metrics;

/// Connections that may wait to be accepted: a storm of reconnects comes all at once.
const BACKLOG: u32 = 4096;
/// Longest wait for the writers at a stop, where the database does not answer.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// Exports of one person that are under way at the same time; a second one because the first may hang.
const EXPORTS_AT_ONCE: usize = 2;

/// Why a server did not start, in a sentence for whoever starts it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on HARK_LISTEN {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use {path} in HARK_DATA_DIR: {cause}")]
    DataFolder {
        /// Which file or folder.
        path: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The URL cannot be read: a bad setting.
    #[error("DATABASE_URL cannot be read: {0}")]
    DatabaseUrl(String),
    /// The private PostgreSQL does not start.
    #[error(transparent)]
    Postgres(#[from] crate::embedded_postgres::EmbeddedPostgresError),
    /// The database does not answer, or its schema cannot be brought up to date.
    #[error("the database cannot be used: {0}")]
    Database(String),
    /// The system refuses what every server needs.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    handle: ServerHandle,
    /// Ends by itself after a stop.
    _http: JoinHandle<std::io::Result<()>>,
    /// Those that are open.
    connections: TaskTracker,
    chores: JoinSet<()>,
    writer_db: Db,
    /// `None` where the settings say that it is alone.
    bus: Option<bus::Place>,
    /// Goes last: connections to the database have been opened there.
    _talking: Arc<Talking>,
}

impl Server {
    /// Starts a server on a listener, with a database that answers, and returns once it serves.
    /// The nodes of one database find each other.
    ///
    /// # Errors
    /// Where the database cannot be used or the system refuses.
    pub async fn start(
        config: Config,
        database: &DatabaseTarget,
        secret: &Secret,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        let db = connect(database, config.database_connections).await?;
        if config.migrate {
            for migration in db.migrate().await.map_err(|error| StartError::Database(error.cause_chain()))? {
                tracing::info!(migration, "applied");
            }
        } else {
            db.check_schema().await.map_err(|error| StartError::Database(error.cause_chain()))?;
        }
        db.backfill_username_keys().await.map_err(|error| StartError::Database(error.cause_chain()))?;
        db.start_epoch().await.map_err(|error| StartError::Database(error.cause_chain()))?;
        // Connections of their own: neither do reads hold up sends, nor does a worker thread that
        // ends take a connection with it while the writers drain.
        let beside = db.with_own_pool(database, u32::from(config.writers()) * u32::from(Writer::CONNECTIONS)).await;
        let writer_db = beside.map_err(|error| StartError::Database(error.cause_chain()))?;

        let metrics = Metrics::default();
        let limits = &config.limits;
        let pool = BytePool::new(limits.request_memory_bytes, metrics.request_memory());
        let hub = Hub::new(metrics.clone(), limits.max_sockets_per_user, limits.outbox_bytes, Arc::clone(&pool));
        let delivery = Delivery::new(hub);
        history::watch(&db, &delivery);
        let bus = if config.bus {
            let place = bus::Place::take(&delivery, &db, database).await;
            Some(place.map_err(|error| StartError::Database(error.cause_chain()))?)
        } else {
            tracing::info!("HARK_BUS is off: pushes reach the sockets of this node alone");
            None
        };
        let announce_to = delivery.clone();
        let writer = Writer::start(&writer_db, config.writers(), config.write_queue, &metrics, move |committed| {
            messages::publish_committed(&committed, &announce_to);
        });
        let app = Arc::new(App {
            db,
            writer,
            delivery,
            tokens: Tokens::new(secret, limits.token_hours),
            passwords: PasswordHasher::new().map_err(|error| StartError::Database(error.cause_chain()))?,
            known_networks: KnownNetworks::new(),
            sign_ups: KeyedRateLimiter::per_minute(limits.sign_ups_per_minute),
            logins: KeyedRateLimiter::per_minute(limits.logins_per_minute),
            session_requests: KeyedRateLimiter::per_second(limits.requests_per_second, limits.request_burst),
            user_requests: KeyedRateLimiter::per_second(limits.requests_per_second, limits.request_burst),
            user_openings: KeyedRateLimiter::per_second(
                limits.requests_per_second.saturating_mul(2),
                limits.request_burst.saturating_mul(2),
            ),
            requests: FairQueue::per_user(limits.max_requests_at_once),
            exports: FairQueue::per_user(EXPORTS_AT_ONCE),
            stop: CancellationToken::new(),
            openings: Pace::new(limits.sockets_per_second),
            pool,
            metrics,
            config,
        });
        let address = listener.local_addr()?;
        let talking = Arc::new(Talking::start()?);
        let connections = TaskTracker::new();
        let http = listener::serve(&app, listener, &talking, &connections)?;
        let handle = http.handle();
        Ok(Self {
            chores: background_tasks::start(&app),
            _http: tokio::spawn(http),
            connections,
            app,
            address,
            handle,
            writer_db,
            bus,
            _talking: talking,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its parts.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops in order: no new connections, the sockets are told, the writers drain, the other nodes hear
    /// goodbye, the pools close. Takes four seconds at most, and ten more where the database does not answer.
    /// Whatever was acknowledged is committed.
    pub async fn stop(self) {
        // First, because the workers take the connections that they opened with them.
        drop(self.chores);
        // Whether it has ended is seen once a second; that all connections have, at once.
        drop(self.handle.stop(true));
        self.app.delivery.hub.close_all();
        self.app.openings.end();
        self.app.stop.cancel();
        listener::drained(&self.connections).await;
        let closed = async {
            self.app.writer.drain().await;
            // Nobody is here any more; when it was stays. Other nodes tell their own sockets.
            let news = self.app.delivery.presence().news(true);
            if let Err(error) = presence::announce_changes(&self.writer_db, &self.app.delivery, &news).await {
                drop(error.log_and_convert());
            }
            if let Some(bus) = self.bus {
                bus.leave().await;
            }
            self.app.db.close().await;
            self.writer_db.close().await;
        };
        if timeout(DRAIN_WITHIN, closed).await.is_err() {
            tracing::warn!("the database does not answer; what was not confirmed may be stored or not");
        }
    }
}

async fn connect(database: &DatabaseTarget, connections: u32) -> Result<Db, StartError> {
    Db::connect(database, connections).await.map_err(|error| StartError::Database(error.cause_chain()))
}

/// Binds an address; port 0 takes a free one.
///
/// # Errors
/// Where the address is taken, or not ours.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // A restart must not wait for connections of the process before.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    bind().map_err(|cause| StartError::Listen { address, cause })
}
