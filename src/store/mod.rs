//! PostgreSQL: the truth. The only place that knows SQL; one file an aggregate, and the durable
//! write pipeline. Functions say what they need and return what was there, and a constraint's name
//! becomes the caller's error where the query stands.

mod columns;
pub mod contacts;
pub mod conversations;
pub mod database;
pub mod export;
pub mod groups;
pub mod messages;
pub mod notifications;
pub mod notify;
pub mod presence;
pub mod search;
pub mod sync;
pub mod users;
pub mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

use self::database::availability::is_unavailable;
use self::database::epochs::{Epochs, Renewal};
pub use self::database::migrations::MIGRATOR;
use crate::config::Secret;
use crate::error::Error;
use crate::limits::fair_queue::FairQueue;
use crate::model::SessionKey;

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Address {
    /// A `postgres://` URL.
    Url(Secret),
    /// A PostgreSQL that listens on a socket in this folder.
    Socket {
        /// Folder of the socket.
        dir: PathBuf,
        /// Part of the socket's name; nothing listens on TCP.
        port: u16,
        /// Who connects.
        user: String,
        /// With this password.
        password: Secret,
        /// To this database.
        database: String,
    },
}

impl Address {
    /// Whether it can be read; says nothing about who answers there.
    ///
    /// # Errors
    /// What is wrong with the URL, without the URL: it holds a password.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Url(url) if names_several_hosts(url.expose()) => Err(
                "it names several hosts, and hark connects to one: name an address that follows the primary, such as \
                 that of a proxy"
                    .to_owned(),
            ),
            Self::Url(url) => url.expose().parse::<PgConnectOptions>().map(drop).map_err(|error| match error {
                sqlx::Error::Configuration(cause) => cause.to_string(),
                error => error.to_string(),
            }),
            Self::Socket { .. } => Ok(()),
        }
    }

    fn options(&self) -> Result<PgConnectOptions, Error> {
        let options = match self {
            Self::Url(url) => url.expose().parse().map_err(Error::from)?,
            Self::Socket { dir, port, user, password, database } => PgConnectOptions::new_without_pgpass()
                .socket(dir)
                .port(*port)
                .username(user)
                .password(password.expose())
                .database(database),
        };
        // Startup parameters are few, because PgBouncer refuses a login with any that it does not know.
        Ok(options.application_name("hark").extra_float_digits(None))
    }
}

/// `postgres://a,b/…` and `…?target_session_attrs=`, which libpq knows.
fn names_several_hosts(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    hosts.contains(',') || rest.contains("target_session_attrs=")
}

/// Longest wait for a sign of life.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// What every session begins with. As statements and not as the startup parameter `options`, which a
/// pooler may refuse.
///
/// A lock that somebody holds for seconds is an accident, and so is a transaction that nobody goes
/// on with: both must not hold up those who wait. A node that vanished is noticed in a minute. And no
/// question of one client may keep a connection for long.
///
/// Every query looks up few rows, each by an index. Where the planner may choose otherwise it does
/// for a table that is new, and keeps that plan until the first ANALYZE: in its first minute a
/// server read all messages for every batch of sends. No query is worth compiling either.
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

/// The database, as every query but the writer's sees it.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    /// A connection for the question whether the database answers: it waits behind nobody's requests.
    probe: PgPool,
    /// Shared with the writers' own connections.
    member_lists: groups::member_cache::MemberLists,
    /// Which history of the database all of this is about; shared with every pool.
    epochs: Arc<Epochs>,
    /// Searches take turns: they may read much, and connections are few.
    searches: FairQueue,
}

/// Searches of one node at the same time, each of somebody else.
const SEARCHES_AT_ONCE: usize = 2;
/// Longest wait for a connection; after it the caller hears `overloaded`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tried before it is used, so that one which died with
/// its server fails no request. A busy one pays nothing.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

impl Db {
    /// Opens a pool of at most `connections`, once it is certain that the database is one to serve from.
    ///
    /// # Errors
    /// Where nothing answers at the address, or the database is not fit; the cause is a sentence for an operator.
    pub async fn connect(address: &Address, connections: u32) -> Result<Self, Error> {
        let member_lists = groups::member_cache::MemberLists::new();
        let options = address.options()?;
        database::preflight::check(&options).await.map_err(Error::unavailable)?;
        let epochs = Arc::new(Epochs::new(options.clone(), member_lists.clone()));
        let probe = pool_options(1, &epochs).acquire_timeout(PING_WITHIN).connect_lazy_with(options.clone());
        let pool = pool_options(connections, &epochs).connect_with(options).await?;
        Ok(Self { pool, probe, member_lists, epochs, searches: FairQueue::new(SEARCHES_AT_ONCE, 1) })
    }

    /// A second pool to the same database.
    ///
    /// # Errors
    /// Where nothing answers there.
    pub async fn beside(&self, address: &Address, connections: u32) -> Result<Self, Error> {
        let pool = pool_options(connections, &self.epochs).connect_with(address.options()?).await?;
        Ok(Self { pool, ..self.clone() })
    }

    /// Draws an epoch for this node, which every server does before it serves. From now on the node notices
    /// where the database was restarted or restored, or is another one.
    ///
    /// # Errors
    /// Where the database takes no changes, or lacks migrations.
    pub async fn begin_epoch(&self) -> Result<(), Error> {
        Ok(self.epochs.begin().await?)
    }

    /// Has `on_renewal` called after every restart or restore, with those of the open sessions that are not there.
    pub fn watch(
        &self,
        open_sessions: impl Fn() -> Vec<SessionKey> + Send + Sync + 'static,
        on_renewal: impl Fn(&Renewal) + Send + Sync + 'static,
    ) {
        self.epochs.watch(open_sessions, on_renewal);
    }

    /// Looks whether the database is the one that it was, and goes on as it did. To be called every so often:
    /// new connections are looked at anyway, and this is for those that stay, and for how far the log has come.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub async fn look_at_history(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(self.epochs.look_at(&mut connection).await?)
    }

    /// Another number whenever the database is on another history, in which somebody else may have the numbers of
    /// whoever asked before.
    #[must_use]
    pub fn history(&self) -> u64 {
        self.epochs.histories()
    }

    /// That nobody else has the number of who has asked in this history and has waited since.
    ///
    /// # Errors
    /// `overloaded` where the database is on another one by now.
    pub fn check_history(&self, history: u64) -> Result<(), Error> {
        if self.history() == history {
            Ok(())
        } else {
            Err(Error::unavailable("the database was restored since this was asked"))
        }
    }

    /// Whether the database answers, and can be written to.
    ///
    /// # Errors
    /// `overloaded` where it does not, or cannot.
    pub async fn ping(&self) -> Result<(), Error> {
        let ping = database::availability::is_read_only(&self.probe);
        if tokio::time::timeout(PING_WITHIN, ping).await.map_err(Error::unavailable)?? {
            database::availability::note_read_only();
            return Err(Error::unavailable("the database is read-only"));
        }
        Ok(())
    }

    /// Ends every connection once it is idle.
    pub async fn close(&self) {
        self.pool.close().await;
        self.probe.close().await;
    }
}

/// A pool whose connections are looked at before they are used: by `epochs` once they are there, and again
/// where the database may have become another one, or one that can only be read.
fn pool_options(connections: u32, epochs: &Arc<Epochs>) -> PgPoolOptions {
    let (on_connect, on_acquire) = (Arc::clone(epochs), Arc::clone(epochs));
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let epochs = Arc::clone(&on_connect);
            Box::pin(async move {
                prepare_session(connection).await?;
                epochs.look_at(connection).await
            })
        })
        .before_acquire(move |connection, meta| {
            let opened = Instant::now().checked_sub(meta.age);
            let is_current = opened.is_none_or(|opened| on_acquire.is_current(opened));
            Box::pin(async move { Ok(is_current && database::availability::may_use(connection, meta).await?) })
        })
}

/// Makes a new session ours.
async fn prepare_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION_SETTINGS).execute(connection).await?;
    Ok(())
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        database::availability::note(&error);
        if is_unavailable(&error) { Self::unavailable(error) } else { Self::internal(error) }
    }
}

/// The verdict of the constraints on who does to themselves what one does to others only.
fn not_oneself(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("contacts_are_others" | "blocked_users_are_others" | "notifications_are_for_others") => Error::oneself(),
        _ => error.into(),
    }
}
