//! The private PostgreSQL, which Hark starts for itself if no `DATABASE_URL` is set.
//!
//! Files in the data folder of Hark:
//!
//! | name | what it is |
//! |---|---|
//! | `postgres/` | the data directory of PostgreSQL, and the socket while it runs |
//! | `postgres.password` | the password of the one database user (0600) |
//! | `postgres.lock` | locked while a Hark process uses the folder |
//! | `postgres.log` | the log of PostgreSQL; truncated at a start if it exceeds 10 MiB |
//! | `postgres.new.*` | a data directory whose creation was interrupted; removed at the next start |
//!
//! It listens on a Unix socket only, never on a TCP port. It ends with the process that started it, however that
//! process ends, and is restarted if it ends by itself.
//!
//! Read on in this order: `data_directory`, `process`, `os_user` (the user that it runs as), `binaries` (finds its
//! programs).

mod binaries;
mod data_directory;
mod os_user;
mod process;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use data_directory::DataDirectory;
use process::Postmaster;

/// How often the supervisor checks that PostgreSQL runs, and restarts it if it does not.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How often [`wait_for`] polls.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

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

/// Why the private PostgreSQL cannot run; each variant is a sentence for an operator.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    /// PostgreSQL's programs were not found.
    #[error(
        "PostgreSQL's programs (initdb, postgres) are not on this machine. Install the package \
         postgresql (Debian, Ubuntu), postgresql-server and postgresql-contrib (Fedora), \
         postgresql and postgresql-contrib (Alpine) or postgresql@17 (Homebrew), or name their \
         folder in HARK_POSTGRES_BIN, or set DATABASE_URL to a PostgreSQL that runs already."
    )]
    NotInstalled,

    /// PostgreSQL's programs are not in the configured folder.
    #[error("HARK_POSTGRES_BIN is {}, but initdb and postgres are not there.", .0.display())]
    NotInBinDir(PathBuf),

    /// The data directory was created by another major version.
    #[error(
        "The data in {} was made by PostgreSQL {data_version}, but this machine has PostgreSQL \
         {binary_version} in {}. Install PostgreSQL {data_version} (HARK_POSTGRES_BIN can name \
         its folder), or move the data with pg_upgrade.",
        data.display(), bin_dir.display()
    )]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// Its major version.
        data_version: String,
        /// The folder of the programs found.
        bin_dir: PathBuf,
        /// Their major version.
        binary_version: String,
    },

    /// Another Hark process holds the lock.
    #[error("The data folder {} is in use by another Hark server.", .0.display())]
    InUse(PathBuf),

    /// Hark runs as root, and there is no other user to run PostgreSQL as.
    #[error(
        "PostgreSQL cannot run as root, and this machine has neither a user `postgres` nor a user \
         `nobody` to run it as. Run Hark as an ordinary user, or set DATABASE_URL."
    )]
    NoUser,

    /// The user that PostgreSQL runs as has no access to the data folder.
    #[error(
        "PostgreSQL cannot run as root, and the user {user} that it would run as may not enter \
         the folder {}. Set HARK_DATA_DIR to a folder that every user may reach, for instance \
         /var/lib/hark.",
        folder.display()
    )]
    NotSearchable {
        /// The first folder on the way to it that the user may not enter.
        folder: PathBuf,
        /// The user.
        user: String,
    },

    /// One of PostgreSQL's programs has failed.
    #[error("PostgreSQL's {program} failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The end of its output.
        message: String,
    },

    /// A system call has failed.
    #[error("Cannot {action}: {source}")]
    Io {
        /// What was attempted, with the name of the file.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The error of doing `verb` to `path`, for `map_err`.
fn cannot(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedPostgresError {
    let action = format!("{verb} {}", path.display());
    move |source| EmbeddedPostgresError::Io { action, source }
}

/// Polls `poll` until it returns something; `None` if it has not within `timeout`.
#[expect(
    clippy::disallowed_methods,
    reason = "the end of a process and the release of a file lock cannot be awaited; there is a timeout"
)]
fn wait_for<T>(timeout: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = poll();
        if found.is_some() || started.elapsed() >= timeout {
            return found;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// A running private PostgreSQL; it stops when this is dropped.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    connection: Connection,
    pid: Arc<AtomicU32>,
    /// Dropping it makes the supervisor stop PostgreSQL.
    stop: Option<mpsc::Sender<()>>,
    supervisor: Option<JoinHandle<()>>,
}

impl EmbeddedPostgres {
    /// Creates the data directory if there is none, starts PostgreSQL and waits until it accepts connections. That
    /// takes some 30 ms, half a second with a new data directory, and longer after a crash.
    ///
    /// Blocks the calling thread, which may be any.
    ///
    /// # Errors
    ///
    /// Every [`EmbeddedPostgresError`].
    ///
    /// # Panics
    ///
    /// If the supervisor thread does.
    pub fn start(options: &Options) -> Result<Self, EmbeddedPostgresError> {
        let (started, start) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let pid = Arc::new(AtomicU32::new(0));
        // The kernel ends PostgreSQL when the *thread* that spawned it ends, so the supervisor lives as long as
        // PostgreSQL.
        let supervisor = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn({
                let (options, pid) = (options.clone(), Arc::clone(&pid));
                move || {
                    let opened = DataDirectory::open(&options).and_then(|directory| {
                        let postmaster = directory.start_server()?;
                        Ok((directory, postmaster))
                    });
                    match opened {
                        Ok((directory, postmaster)) => {
                            pid.store(postmaster.pid(), Ordering::Relaxed);
                            // It fails if the caller has gone; then `supervise` returns at once.
                            let _ = started.send(Ok(directory.connection().clone()));
                            supervise(&directory, postmaster, &pid, &stopped);
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                }
            })
            .map_err(|source| EmbeddedPostgresError::Io {
                action: "start the thread that supervises PostgreSQL".to_owned(),
                source,
            })?;
        let connection = start.recv().expect("the supervisor sends one before it ends")?;
        Ok(Self { connection, pid, stop: Some(stop), supervisor: Some(supervisor) })
    }

    /// The connection parameters.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The process id of the postmaster; it changes when PostgreSQL is restarted.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Stops PostgreSQL and waits for its end: some 20 ms, at most 25 s.
    ///
    /// Blocks the calling thread. Open connections are cut.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(supervisor) = self.supervisor.take() {
            // A panic of it was reported already, and has ended PostgreSQL.
            let _ = supervisor.join();
        }
    }
}

/// Restarts PostgreSQL whenever it ends by itself, until `stopped` is disconnected.
fn supervise(directory: &DataDirectory, postmaster: Postmaster, pid: &AtomicU32, stopped: &Receiver<()>) {
    let mut running = Some(postmaster);
    while stopped.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if running.as_mut().is_some_and(Postmaster::is_running) {
            continue;
        }
        if running.take().is_some() {
            tracing::error!("private PostgreSQL ended unexpectedly; restarting it");
        }
        match directory.start_server() {
            Ok(postmaster) => {
                pid.store(postmaster.pid(), Ordering::Relaxed);
                running = Some(postmaster);
            }
            Err(error) => tracing::error!(%error, "private PostgreSQL not restarted"),
        }
    }
}
