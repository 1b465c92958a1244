//! A server process that can be restarted at its address.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use hark_harness::server::{ServerProcess, StartError, command};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::signals::end_with_parent;

/// Maximum time of a start: after a kill the server's private PostgreSQL replays its write-ahead log first.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// The wait before a server that ended during its start is started again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum time of a graceful shutdown, and of a start that the server may refuse.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Signs the tokens of a run.
const JWT_SECRET: &str = "certify-certify-certify-certify!";

/// A server, with its process while one runs.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    data: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    process: Option<ServerProcess>,
    log: PathBuf,
}

impl Server {
    /// Starts a server on a free port. Without `database` it runs a private PostgreSQL in `data`.
    ///
    /// # Errors
    /// A sentence: it does not start within [`READY_TIMEOUT`].
    pub(crate) async fn start(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, String> {
        let mut server = Self::prepare(program, data, database, environment)?;
        server.spawn().await?;
        Ok(server)
    }

    /// Tries once to start a server on a free port.
    ///
    /// # Errors
    /// The last line of its log, where it does not start.
    pub(crate) async fn try_start(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, String> {
        let mut server = Self::prepare(program, data, database, environment)?;
        if server.try_spawn(STOP_TIMEOUT).await? { Ok(server) } else { Err(server.last_log_line()) }
    }

    fn prepare(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        mut environment: Vec<(String, String)>,
    ) -> Result<Self, String> {
        // The port is chosen once, so that clients find the server again after a restart.
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        if let Some(database) = database {
            environment.push(("DATABASE_URL".to_owned(), database));
        }
        let log = data.with_extension("log");
        Ok(Self { program, data, port, environment, process: None, log })
    }

    fn last_log_line(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("its log is empty").to_owned()
    }

    /// The URL, without a slash at its end.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the process, and waits until it accepts connections. Like a supervisor, it starts the process again where
    /// that ends at once, for instance because the database is down.
    ///
    /// # Errors
    /// A sentence: the server does not start within [`READY_TIMEOUT`].
    pub(crate) async fn spawn(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.try_spawn(deadline.saturating_duration_since(Instant::now())).await? {
            if Instant::now() > deadline {
                return Err(format!("the server does not start; see {}", self.log.display()));
            }
            sleep(RETRY_DELAY).await;
        }
        Ok(())
    }

    /// Starts the process once; returns whether it accepts connections within `limit`.
    async fn try_spawn(&mut self, limit: Duration) -> Result<bool, String> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log).map_err(|error| error.to_string())?;
        let mut command = command(&self.program, &self.data);
        command.env("HARK_JWT_SECRET", JWT_SECRET).env("HARK_LISTEN", format!("127.0.0.1:{}", self.port));
        command.envs(self.environment.iter().cloned()).stderr(log);
        end_with_parent(&mut command, Signal::TERM);
        match ServerProcess::start(command, limit).await {
            Ok(process) => {
                self.process = Some(process);
                Ok(true)
            }
            Err(StartError::NotReady) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(ServerProcess::pid)
    }

    /// The postmaster of the server's private PostgreSQL.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data.join("postgres/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Kills the process (SIGKILL).
    pub(crate) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Asks for a graceful shutdown (SIGTERM), and waits for it.
    ///
    /// # Errors
    /// A sentence: the process does not end within [`STOP_TIMEOUT`], or with a failure.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        match self.process.take() {
            Some(mut process) => process.stop(STOP_TIMEOUT).await,
            None => Ok(()),
        }
    }
}
