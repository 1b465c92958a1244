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
mod error;
mod options;
mod os_user;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use data_directory::DataDirectory;
pub use error::EmbeddedPostgresError;
pub use options::{Connection, Options};
use process::Postmaster;

/// How often the supervisor checks that PostgreSQL runs, and restarts it if it does not.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

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
                            // It fails if the caller no longer waits; then `supervise` returns at once.
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
