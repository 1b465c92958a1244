//! The servers of the standard benchmark.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hark_harness::server::{self, ServerProcess};

use super::postgres::{Postgres, output};
use crate::error::BenchError;

/// Maximum time of a start of a server.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time of a graceful shutdown of a server.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Any free port of the loopback interface.
pub(super) const ANY_PORT: &str = "127.0.0.1:0";

/// The running servers.
pub(super) struct Servers {
    program: PathBuf,
    /// The folder of the data and the logs.
    work: PathBuf,
    running: Vec<(String, ServerProcess)>,
}

impl Servers {
    /// No servers yet; they are to run `program`, with data and logs in `work`.
    pub(super) fn new(program: PathBuf, work: PathBuf) -> Self {
        Self { program, work, running: Vec::new() }
    }

    /// The data folder of the main server, which runs a private PostgreSQL there.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.work.join("data")
    }

    /// Starts a server, on a database of `postgres` or, where there is none, with a private PostgreSQL. Returns the
    /// server's URL.
    ///
    /// # Errors
    /// The server does not start.
    pub(super) async fn start(
        &mut self,
        name: &str,
        listen: &str,
        database: Option<(&Postgres, &str)>,
    ) -> Result<String, BenchError> {
        let log = self.work.join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|error| BenchError::File(log.clone(), error))?;
        let mut command = self.command(database);
        command.env("HARK_LISTEN", listen).stderr(file);
        let server = ServerProcess::start(command, START_TIMEOUT).await.map_err(|error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            BenchError::Message(format!("{name}: {error}: {}", log.trim()))
        })?;
        let url = server.url().to_owned();
        self.running.push((name.to_owned(), server));
        Ok(url)
    }

    /// Applies the migrations to a database.
    ///
    /// # Errors
    /// A migration fails.
    pub(super) async fn migrate(&self, postgres: &Postgres, database: &str) -> Result<(), BenchError> {
        output(self.command(Some((postgres, database))).arg("migrate")).await.map(drop)
    }

    /// The process id of a running server.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|(running, _)| running == name).and_then(|(_, server)| server.pid())
    }

    /// Stops a server gracefully.
    ///
    /// # Errors
    /// The server does not stop, or with a failure.
    pub(super) async fn stop(&mut self, name: &str) -> Result<(), BenchError> {
        let Some(position) = self.running.iter().position(|(running, _)| running == name) else { return Ok(()) };
        let (_, mut server) = self.running.remove(position);
        server.stop(STOP_TIMEOUT).await.map_err(BenchError::Message)
    }

    /// Stops all servers, the last one first: the first one runs the PostgreSQL of all.
    pub(super) async fn stop_all(&mut self) {
        while let Some((name, mut server)) = self.running.pop() {
            if let Err(error) = server.stop(STOP_TIMEOUT).await {
                eprintln!("hark-bench: {name}: {error}");
            }
        }
    }

    fn command(&self, database: Option<(&Postgres, &str)>) -> tokio::process::Command {
        let mut command = server::command(&self.program, &self.data_dir());
        if let Some((postgres, database)) = database {
            command.env("DATABASE_URL", postgres.url(database)).env("HARK_JWT_SECRET", postgres.password());
        }
        command
    }
}

/// The server's program: that of the options, or the one beside this program.
///
/// # Errors
/// It is not there.
pub(super) fn find_program(option: Option<&Path>) -> Result<PathBuf, BenchError> {
    if let Some(program) = option {
        return Ok(program.to_owned());
    }
    let tool = std::env::current_exe().map_err(|error| BenchError::Message(error.to_string()))?;
    server::program_beside(&tool).map_err(BenchError::Message)
}
