//! The server's own process.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::postgres::die_with_us;
use super::signals;

/// How long a start may take: a database that was killed replays its log first.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Before one that ended at once is started again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a stop in order may take before it is one no more.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// What signs the tokens of a run.
const SECRET: &str = "certify-certify-certify-certify!";

/// A server that can be started again at its address.
#[derive(Debug)]
pub(crate) struct Hark {
    program: PathBuf,
    data: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    log: PathBuf,
}

impl Hark {
    /// Starts a server on a free port. Without `database` it runs a PostgreSQL of its own in `data`.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) async fn start(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, String> {
        Self::start_as(program, data, database, environment, true).await
    }

    /// Tries once to start a server on a free port.
    ///
    /// # Errors
    /// With its last words, where it does not start.
    pub(crate) async fn try_start(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Self, String> {
        Self::start_as(program, data, database, environment, false).await
    }

    async fn start_as(
        program: PathBuf,
        data: PathBuf,
        database: Option<String>,
        mut environment: Vec<(String, String)>,
        is_patient: bool,
    ) -> Result<Self, String> {
        // Taken once, so that it comes back where its clients look for it.
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
        if let Some(database) = database {
            environment.push(("DATABASE_URL".to_owned(), database));
        }
        let log = data.with_extension("log");
        let mut hark = Self { program, data, port, environment, child: None, log };
        if !is_patient {
            let runs = hark.spawn_once(Instant::now() + STOPS_WITHIN).await?;
            return if runs { Ok(hark) } else { Err(hark.last_words()) };
        }
        hark.spawn().await?;
        Ok(hark)
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("it says nothing").to_owned()
    }

    /// `http://…`, without a slash at its end.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until it says where it listens. As whoever looks after a server does, it
    /// starts it again where it ends at once, because its database is away perhaps.
    ///
    /// # Errors
    /// Where it does not run within a minute.
    pub(crate) async fn spawn(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.spawn_once(deadline).await? {
            if Instant::now() > deadline {
                return Err(format!("the server does not start; see {}", self.log.display()));
            }
            sleep(AGAIN_AFTER).await;
        }
        Ok(())
    }

    /// Whether it runs.
    async fn spawn_once(&mut self, deadline: Instant) -> Result<bool, String> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.env_remove("DATABASE_URL").env("HARK_DATA_DIR", &self.data).env("HARK_JWT_SECRET", SECRET);
        command.env("HARK_LISTEN", format!("127.0.0.1:{}", self.port)).env("HARK_LOG", "warn");
        // People of a run come all from one address, and faster than people do.
        for limit in ["HARK_REQUESTS_PER_SECOND", "HARK_SIGN_UPS_PER_MINUTE", "HARK_LOGINS_PER_MINUTE"] {
            command.env(limit, "0");
        }
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0).kill_on_drop(true);
        die_with_us(&mut command, Signal::TERM);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        self.child = Some(child);
        let greeting = timeout_at(deadline, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("is listening on") {
                    return true;
                }
            }
            false
        });
        if !greeting.await.unwrap_or(false) {
            self.kill().await;
            return Ok(false);
        }
        // It goes on writing there, and a closed pipe would end it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(true)
    }

    /// Its pid, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The postmaster of the PostgreSQL that it runs itself.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data.join("postgres/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time, or not well.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            signals::send(pid, Signal::TERM);
        }
        match timeout(STOPS_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the server ended with {status} after SIGTERM")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the server did not end within {STOPS_WITHIN:?} of SIGTERM")),
        }
    }
}
