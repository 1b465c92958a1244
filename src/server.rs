//! The composition root: puts a server together, runs it, and stops it in order. What a process needs
//! around a server is in [`process`].

mod chores;
pub mod process;

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::ServerHandle;
use actix_web::guard::GuardContext;
use actix_web::http::header::{RETRY_AFTER, UPGRADE};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App as HttpApp, HttpServer, guard};
use socket2::SockRef;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing_actix_web::TracingLogger;

use crate::app::App;
use crate::auth::attempts::Attempts;
use crate::auth::passwords::Passwords;
use crate::auth::tokens::Tokens;
use crate::commands::{messages, presence};
use crate::config::{Config, Secret};
use crate::delivery::Delivery;
use crate::delivery::bus::InProcess;
use crate::delivery::byte_pool::BytePool;
use crate::delivery::hub::Hub;
use crate::store::writer::Writer;
use crate::store::{Address, Db};
use crate::telemetry::Metrics;
use crate::{http, ws};

/// Connections that may wait to be accepted: a storm of reconnects comes all at once.
const BACKLOG: u32 = 4096;
/// Connections of one worker thread.
const CONNECTIONS_PER_WORKER: usize = 100_000;
/// The kernel gives up a connection whose client takes nothing for so long, which neither a close
/// frame nor a timer of ours can do while the write buffer is full.
const UNREAD_FOR_AT_MOST: Duration = Duration::from_mins(1);
/// Longest wait for connections that do not end by themselves.
const STOP_WITHIN_SECONDS: u64 = 4;
/// Longest wait for the writers at a stop, where the database does not answer.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
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
    http: JoinHandle<std::io::Result<()>>,
    chores: JoinSet<()>,
    writer_db: Db,
}

impl Server {
    /// Starts a server on a listener, with a database that answers, and returns once it serves.
    /// Nodes that share a `bus` deliver to each other's sockets.
    ///
    /// # Errors
    /// Where the database cannot be used or the system refuses.
    pub async fn start(
        config: Config,
        database: &Address,
        secret: &Secret,
        listener: TcpListener,
        bus: InProcess,
    ) -> Result<Self, StartError> {
        let db = connect(database, config.database_connections).await?;
        if config.migrate {
            db.migrate().await.map_err(|error| StartError::Database(error.causes()))?;
        }
        // Connections of their own: neither do reads hold up sends, nor does a worker thread that
        // ends take a connection with it while the writers drain.
        let beside = db.beside(database, config.writers.into()).await;
        let writer_db = beside.map_err(|error| StartError::Database(error.causes()))?;

        let metrics = Metrics::default();
        let limits = &config.limits;
        let pool = BytePool::new(limits.request_memory_bytes, metrics.request_memory());
        let hub = Hub::new(metrics.clone(), limits.max_sockets_per_user, limits.outbox_bytes, Arc::clone(&pool));
        let delivery = Delivery::new(hub, bus);
        let announce_to = delivery.clone();
        let writer = Writer::start(&writer_db, config.writers, config.write_queue, &metrics, move |committed| {
            messages::announce(&committed, &announce_to);
        });
        let app = Arc::new(App {
            db,
            writer,
            delivery,
            tokens: Tokens::new(secret, limits.token_hours),
            passwords: Passwords::new().map_err(|error| StartError::Database(error.causes()))?,
            sign_ups: Attempts::per_minute(limits.sign_ups_per_minute),
            logins: Attempts::per_minute(limits.logins_per_minute),
            session_requests: Attempts::per_second(limits.requests_per_second, limits.request_burst),
            user_requests: Attempts::per_second(limits.requests_per_second, limits.request_burst),
            pool,
            metrics,
            config,
        });
        let address = listener.local_addr()?;
        let http = http_server(&app, listener)?;
        let handle = http.handle();
        Ok(Self { chores: chores::start(&app), http: tokio::spawn(http), app, address, handle, writer_db })
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

    /// Stops in order, within five seconds: no new connections, the sockets are told, the writers
    /// drain, the pools close. Whatever was acknowledged is committed.
    pub async fn stop(self) {
        // First, because the workers take the connections that they opened with them.
        drop(self.chores);
        let ended = self.handle.stop(true);
        self.app.delivery.hub.close_all();
        ended.await;
        let _ = self.http.await;
        let closed = async {
            self.app.writer.drain().await;
            // Nobody is here any more; those on other nodes are told, and when it was stays.
            let news = self.app.delivery.presence().news(true);
            if let Err(error) = presence::announce(&self.writer_db, &self.app.delivery, &news).await {
                drop(error.into_answer());
            }
            self.app.db.close().await;
            self.writer_db.close().await;
        };
        if timeout(DRAIN_WITHIN, closed).await.is_err() {
            tracing::warn!("the database does not answer; what was not confirmed may be stored or not");
        }
    }
}

async fn connect(database: &Address, connections: u32) -> Result<Db, StartError> {
    Db::connect(database, connections).await.map_err(|error| StartError::Database(error.causes()))
}

fn http_server(app: &Arc<App>, listener: TcpListener) -> std::io::Result<actix_web::dev::Server> {
    let data = Data::from(Arc::clone(app));
    let max_body = app.config.limits.max_frame_bytes;
    let server = HttpServer::new(move || {
        HttpApp::new()
            .wrap(from_fn(http::within_memory))
            .wrap(cors(&data.config))
            .wrap(TracingLogger::default())
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(max_body))
            .route("/", web::get().guard(guard::fn_guard(wants_a_socket)).to(ws::upgrade))
            .route("/ws", web::get().to(ws::upgrade))
            .configure(http::routes)
    })
    .workers(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    .on_connect(tune)
    .max_connections(CONNECTIONS_PER_WORKER)
    .shutdown_timeout(STOP_WITHIN_SECONDS)
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

/// `GET /` is a page, unless the client asks for an upgrade.
fn wants_a_socket(context: &GuardContext<'_>) -> bool {
    let upgrade = context.head().headers().get(UPGRADE);
    upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn cors(config: &Config) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allow_any_header()
        .expose_headers([RETRY_AFTER])
        .max_age(3600);
    if config.origins().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    config.origins().fold(cors, Cors::allowed_origin)
}

/// What every accepted connection is set to.
fn tune(stream: &dyn Any, _: &mut actix_web::dev::Extensions) {
    let Some(stream) = stream.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    // Frames are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD_FOR_AT_MOST));
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
