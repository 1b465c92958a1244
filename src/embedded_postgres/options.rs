//! The options of the private PostgreSQL, and how to connect to it.

use std::fmt;
use std::path::PathBuf;

/// Options of the private PostgreSQL.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder of Hark; created if it is missing.
    pub data_dir: PathBuf,
    /// The folder of `initdb` and `postgres`; `None` searches for them.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit waits for the disk. With `false` a power failure loses data, which is for tests alone.
    pub fsync: bool,
}

/// Connection parameters of the private PostgreSQL.
#[derive(Clone)]
pub struct Connection {
    /// The folder of the Unix socket.
    pub socket_dir: PathBuf,
    /// Part of the socket's file name; nothing listens on TCP.
    pub port: u16,
    /// The database user, a superuser.
    pub user: String,
    /// Their password.
    pub password: String,
    /// The database, which exists.
    pub database: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("socket_dir", &self.socket_dir)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
