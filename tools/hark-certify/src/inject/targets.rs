//! What faults are injected into.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::processes::folder::Folder;
use crate::processes::pgbouncer::PgBouncer;
use crate::processes::postgres::Postgres;
use crate::processes::server::Server;

/// The processes and files of a round.
pub(crate) struct Targets {
    /// The processes of the servers; none of them for servers that another program runs.
    pub(crate) servers: Vec<Mutex<Server>>,
    /// PostgreSQL, unless the server runs a private one.
    pub(crate) postgres: Option<Mutex<Postgres>>,
    /// The pooler between the servers and PostgreSQL.
    pub(crate) pgbouncer: Option<Mutex<PgBouncer>>,
    /// The folder of the round, whose file system may be filled up.
    pub(crate) folder: Option<Folder>,
    /// The file that libfaketime reads the clock's offset from; `None` if it is not installed or not used.
    pub(crate) clock: Option<PathBuf>,
    /// How long PostgreSQL is stopped (SIGSTOP).
    pub(crate) stop_duration: Duration,
    /// How long one user abuses the server.
    pub(crate) abuse_duration: Duration,
}

/// Sets the clock of all processes that read it from `file`, in seconds from the true time.
pub(crate) fn set_clock(file: &Path, seconds: i64) -> std::io::Result<()> {
    std::fs::write(file, format!("{seconds:+}s\n"))
}

/// Waits for a random time.
pub(super) async fn pause(rng: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rng.random_range(milliseconds))).await;
}
