//! Which database to connect to: a URL, or the Unix socket of the private PostgreSQL.

use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;

use crate::config::Secret;
use crate::error::Error;

/// A database to connect to.
#[derive(Clone, Debug)]
pub enum DatabaseTarget {
    /// A `postgres://` URL.
    Url(Secret),
    /// A PostgreSQL that listens on a Unix socket.
    Socket {
        /// Folder of the socket.
        dir: PathBuf,
        /// Part of the socket's file name; nothing listens on TCP.
        port: u16,
        /// Database user.
        user: String,
        /// Their password.
        password: Secret,
        /// Database name.
        database: String,
    },
}

impl DatabaseTarget {
    /// Checks that the URL can be parsed and names one host. Does not connect.
    ///
    /// # Errors
    /// What is wrong with the URL. The sentence does not quote it, because it holds a password.
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

    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, Error> {
        let options = match self {
            Self::Url(url) => url.expose().parse().map_err(Error::from)?,
            Self::Socket { dir, port, user, password, database } => PgConnectOptions::new_without_pgpass()
                .socket(dir)
                .port(*port)
                .username(user)
                .password(password.expose())
                .database(database),
        };
        // PgBouncer refuses a login with a startup parameter that it does not know, so there are few.
        Ok(options.application_name("hark").extra_float_digits(None))
    }
}

/// Whether a URL has more than one host, as libpq allows: `postgres://a,b/…` or `…?target_session_attrs=`.
fn names_several_hosts(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    hosts.contains(',') || rest.contains("target_session_attrs=")
}
