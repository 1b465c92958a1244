//! PostgreSQL: the truth. The only place that knows SQL; one file an aggregate, and the durable
//! write pipeline. Functions say what they need and return what was there, and a constraint's name
//! becomes the caller's error where the query stands.

pub mod account_deletions;
pub mod accounts;
pub mod admins;
pub mod bus;
pub mod chat_list;
mod columns;
pub mod contacts;
pub mod conversations;
pub mod edits;
pub mod export;
pub mod fair_queue;
pub mod groups;
pub mod history;
pub mod member_lists;
pub mod membership;
pub mod messages;
pub mod notifications;
pub mod presence;
pub mod receipts;
pub mod search;
pub mod sessions;
pub mod sync;
pub mod users;
pub mod wishes;
pub mod writer;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

use self::fair_queue::FairQueue;
use crate::config::Secret;
use crate::error::Error;

/// The migrations of this build, as `sqlx migrate run` applies them too.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

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
        Ok(options.application_name("hark").options(SESSION_SETTINGS))
    }
}

/// Longest wait for a sign of life.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// A lock that somebody holds for seconds is an accident, and so is a transaction that nobody goes
/// on with: both must not hold up those who wait. A node that vanished is noticed in a minute. And no
/// question of one client may keep a connection for long.
const SESSION_SETTINGS: [(&str, &str); 10] = [
    ("lock_timeout", "5s"),
    ("statement_timeout", "15s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // Every query looks up few rows, each by an index. Where the planner may choose otherwise it does
    // for a table that is new, and keeps that plan until the first ANALYZE: in its first minute a
    // server read all messages for every batch of sends. No query is worth compiling either.
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// The database, as every query but the writer's sees it.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    /// Shared with the writers' own connections.
    member_lists: member_lists::MemberLists,
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
    /// Opens a pool of at most `connections` and makes sure that the database answers.
    ///
    /// # Errors
    /// Where the address is wrong or nothing answers there.
    pub async fn connect(address: &Address, connections: u32) -> Result<Self, Error> {
        let member_lists = member_lists::MemberLists::new();
        let pool = pool(address.options()?, connections).await?;
        Ok(Self { pool, member_lists, searches: FairQueue::new(SEARCHES_AT_ONCE, 1) })
    }

    /// A second pool to the same database.
    ///
    /// # Errors
    /// Where nothing answers there.
    pub async fn beside(&self, address: &Address, connections: u32) -> Result<Self, Error> {
        Ok(Self { pool: pool(address.options()?, connections).await?, ..self.clone() })
    }

    /// Applies the migrations that are missing. Several nodes may do so at once.
    ///
    /// # Errors
    /// Where one fails, or the database has migrations that this build does not know.
    pub async fn migrate(&self) -> Result<(), Error> {
        // On a connection of its own: a node may wait for another one's migration as long as that takes.
        let options =
            self.pool.connect_options().as_ref().clone().options([("lock_timeout", "0"), ("statement_timeout", "0")]);
        let mut connection = options.connect().await?;
        MIGRATOR.run(&mut connection).await.map_err(Error::internal)?;
        sqlx::query!("select keep_change_clock()").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `overloaded` where it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        let ping = sqlx::query_scalar!("select 1").fetch_one(&self.pool);
        tokio::time::timeout(PING_WITHIN, ping).await.map_err(Error::unavailable)??;
        Ok(())
    }

    /// Ends every connection once it is idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn pool(options: PgConnectOptions, connections: u32) -> Result<PgPool, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await?;
    Ok(pool)
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if cannot_be_reached(&error) { Self::unavailable(error) } else { Self::internal(error) }
    }
}

/// The verdict of the constraints on who does to themselves what one does to others only.
fn not_oneself(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("nobody_is_their_own_contact" | "nobody_blocks_themselves" | "nobody_notifies_themselves") => {
            Error::oneself()
        }
        _ => error.into(),
    }
}

/// Whether the database is away, restarting or out of connections, rather than unhappy with a query.
fn cannot_be_reached(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // Classes 08 (connection), 53 (resources, disk full among them) and 57 (shutting down); and a
        // lock that somebody held for too long.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57", "55P03"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
