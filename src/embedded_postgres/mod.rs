//! The private PostgreSQL: what Hark starts for itself when no `DATABASE_URL` is set.
//!
//! In the data folder:
//!
//! | name | what it is |
//! |---|---|
//! | `postgres/` | the cluster, and the socket while it runs |
//! | `postgres.password` | the password of its one user (0600) |
//! | `postgres.lock` | locked for as long as a server uses the folder |
//! | `postgres.log` | what PostgreSQL says; emptied at a start when it is over 10 MiB |
//! | `postgres.new.*` | a cluster whose making was interrupted; removed at the next start |
//!
//! It listens on a unix socket only, never on a TCP port. It ends with the process that started
//! it, however that process ends, and is started again should it end alone.
//!
//! Read on in this order: `cluster` (the folder), `postmaster` (the process), `account` (as whom
//! it runs), `binaries` (where its programs are).

mod account;
mod binaries;
mod cluster;
mod postmaster;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cluster::Cluster;
use postmaster::Postmaster;

/// How often the keeper looks whether PostgreSQL still runs, and tries again if it does not.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How often something that is waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What the private PostgreSQL has to be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds the cluster and the files beside it; made if it is missing.
    pub data_dir: PathBuf,
    /// The folder of `initdb` and `postgres`; `None` looks for them.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit waits for the disk. Anything but `true` loses data with the power;
    /// `false` is for tests, whose data nobody wants back.
    pub fsync: bool,
}

/// How to connect to the private PostgreSQL.
#[derive(Clone)]
pub struct Connection {
    /// The folder of the unix socket.
    pub socket_dir: PathBuf,
    /// The port: it is part of the socket's file name, nothing listens on it.
    pub port: u16,
    /// The user, a superuser of this cluster.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The database; it exists.
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

/// Why the private PostgreSQL cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    /// Nowhere on this machine.
    #[error(
        "PostgreSQL's programs (initdb, postgres) are not on this machine. Install the package \
         postgresql (Debian, Ubuntu), postgresql-server and postgresql-contrib (Fedora), \
         postgresql and postgresql-contrib (Alpine) or postgresql@17 (Homebrew), or name their \
         folder in HARK_POSTGRES_BIN, or set DATABASE_URL to a PostgreSQL that runs already."
    )]
    NotInstalled,

    /// Not where the setting says.
    #[error("HARK_POSTGRES_BIN is {}, but initdb and postgres are not there.", .0.display())]
    NotInBinDir(PathBuf),

    /// The cluster was made by another major version.
    #[error(
        "The data in {} was made by PostgreSQL {data_version}, but this machine has PostgreSQL \
         {binary_version} in {}. Install PostgreSQL {data_version} (HARK_POSTGRES_BIN can name \
         its folder), or move the data with pg_upgrade.",
        data.display(), bin_dir.display()
    )]
    OtherVersion {
        /// The cluster.
        data: PathBuf,
        /// Its major version.
        data_version: String,
        /// The folder of the programs found.
        bin_dir: PathBuf,
        /// Their major version.
        binary_version: String,
    },

    /// Another server holds the lock.
    #[error("The data folder {} is in use by another Hark server.", .0.display())]
    InUse(PathBuf),

    /// PostgreSQL refuses to be root, and nobody else is there.
    #[error(
        "PostgreSQL cannot run as root, and this machine has neither a user `postgres` nor a user \
         `nobody` to run it as. Run Hark as an ordinary user, or set DATABASE_URL."
    )]
    NoUser,

    /// The account that PostgreSQL runs as cannot get to its data.
    #[error(
        "PostgreSQL cannot run as root, and the user {user} that it would run as may not enter \
         the folder {}. Set HARK_DATA_DIR to a folder that every user may reach, for instance \
         /var/lib/hark.",
        folder.display()
    )]
    NotSearchable {
        /// The first folder on the way that keeps the user out.
        folder: PathBuf,
        /// The user.
        user: String,
    },

    /// One of PostgreSQL's programs gave up.
    #[error("PostgreSQL's {program} failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The last of what it said.
        message: String,
    },

    /// The file system or the system refused something.
    #[error("Cannot {action}: {source}")]
    Io {
        /// What was tried, with the name of the file.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// For `map_err`: the error of doing `verb` to `path`.
fn cannot(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedPostgresError {
    let action = format!("{verb} {}", path.display());
    move |source| EmbeddedPostgresError::Io { action, source }
}

/// Calls `look` until it finds something; `None` when that did not come within `patience`.
#[expect(clippy::disallowed_methods, reason = "the end of a process and a file lock tell nobody; there is a deadline")]
fn wait_for<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() >= patience {
            return found;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// A private PostgreSQL that runs; it stops when this is dropped.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    connection: Connection,
    pid: Arc<AtomicU32>,
    /// Dropping it tells the keeper to stop PostgreSQL.
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl EmbeddedPostgres {
    /// Makes the cluster if there is none, starts PostgreSQL and waits until it takes connections:
    /// some 30 ms, half a second for a new cluster, longer when it recovers from a crash.
    ///
    /// Blocks the calling thread; any thread will do.
    ///
    /// # Errors
    ///
    /// Every [`EmbeddedPostgresError`]; its sentence is made for the person who starts the server.
    ///
    /// # Panics
    ///
    /// If the thread that starts PostgreSQL does.
    pub fn start(options: &Options) -> Result<Self, EmbeddedPostgresError> {
        let (started, start) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let pid = Arc::new(AtomicU32::new(0));
        // The kernel ends PostgreSQL when the *thread* that spawned it ends, so that has to be a
        // thread which lives as long as PostgreSQL shall.
        let keeper = thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn({
                let (options, pid) = (options.clone(), Arc::clone(&pid));
                move || {
                    let opened = Cluster::open(&options).and_then(|cluster| {
                        let postmaster = cluster.launch()?;
                        Ok((cluster, postmaster))
                    });
                    match opened {
                        Ok((cluster, postmaster)) => {
                            pid.store(postmaster.pid(), Ordering::Relaxed);
                            // An error means that nobody waits any more; the loop below ends then.
                            let _ = started.send(Ok(cluster.connection().clone()));
                            keep(&cluster, postmaster, &pid, &stopped);
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                }
            })
            .map_err(|source| EmbeddedPostgresError::Io {
                action: "start the thread that keeps PostgreSQL".to_owned(),
                source,
            })?;
        let connection = start.recv().expect("the keeper sends one before it ends")?;
        Ok(Self { connection, pid, stop: Some(stop), keeper: Some(keeper) })
    }

    /// How to connect.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The process id of the postmaster; another one after it ended alone and was started again.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Stops PostgreSQL and waits for its end: some 20 ms, 25 s at the most.
    ///
    /// Blocks the calling thread. Connections that are still open are cut.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // If it panicked, that has been reported, and PostgreSQL ended with it.
            let _ = keeper.join();
        }
    }
}

/// Holds PostgreSQL until it is told to stop, and starts it again whenever it ends alone.
fn keep(cluster: &Cluster, postmaster: Postmaster, pid: &AtomicU32, stopped: &Receiver<()>) {
    let mut running = Some(postmaster);
    while stopped.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if running.as_mut().is_some_and(Postmaster::is_running) {
            continue;
        }
        if running.take().is_some() {
            tracing::error!("the private PostgreSQL ended without being told to; starting it again");
        }
        match cluster.launch() {
            Ok(postmaster) => {
                pid.store(postmaster.pid(), Ordering::Relaxed);
                running = Some(postmaster);
            }
            Err(error) => tracing::error!(%error, "the private PostgreSQL does not start"),
        }
    }
}
