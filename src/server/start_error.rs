//! Why a server does not start.

use std::net::SocketAddr;

use crate::embedded_postgres::EmbeddedPostgresError;
use crate::error::Error;

/// Why a server did not start, as a sentence for its operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or does not belong to this machine.
    #[error("cannot listen on HARK_LISTEN {address}: {cause}")]
    Listen {
        /// The address of the setting.
        address: SocketAddr,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use {path} in HARK_DATA_DIR: {cause}")]
    DataFolder {
        /// The file or folder.
        path: String,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The URL cannot be parsed: a bad setting.
    #[error("DATABASE_URL cannot be read: {0}")]
    DatabaseUrl(String),
    /// The private PostgreSQL does not start.
    #[error(transparent)]
    Postgres(#[from] EmbeddedPostgresError),
    /// The database does not answer, or its schema cannot be brought up to date.
    #[error("the database cannot be used: {}", .0.cause_chain())]
    Database(Error),
    /// The password pool does not start: the system has no random numbers, no memory, or no threads.
    #[error("cannot start the threads that hash passwords: {}", .0.cause_chain())]
    PasswordPool(Error),
    /// The system refuses what every server needs.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}
