//! The process of a server: its environment, its start and its end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What a server prints before the URL that it listens on.
const READY_MARKER: &str = "listening on ";

/// The command that runs a server with its data in `data_dir`, on a free port of the loopback interface.
///
/// Without a `DATABASE_URL` the server starts a private PostgreSQL there; the caller's own `DATABASE_URL` is removed.
/// Rate limits are off, because all clients of a tool come from one address. Any other `HARK_…` setting in the
/// environment reaches the server, so that its effect can be measured. The process gets a process group of its own,
/// so that an interrupt on the terminal reaches the tool alone, and is killed when its handle is dropped.
#[must_use]
pub fn command(program: &Path, data_dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("DATABASE_URL").env("HARK_DATA_DIR", data_dir);
    command.env("HARK_LISTEN", "127.0.0.1:0").env("HARK_LOG", "warn");
    for rate_limit in ["HARK_REQUESTS_PER_SECOND", "HARK_SIGN_UPS_PER_MINUTE", "HARK_LOGINS_PER_MINUTE"] {
        command.env(rate_limit, "0");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// A server that did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program cannot be run.
    #[error("{0}: {1}")]
    Spawn(PathBuf, io::Error),
    /// The process ended, or the time limit passed, before it printed the URL that it listens on.
    #[error("the server does not start")]
    NotReady,
}

/// A server process that takes connections.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Runs a command of [`command`] and waits at most `limit` until the server takes connections.
    ///
    /// # Errors
    /// [`StartError`]. A process that is not ready in time is killed.
    pub async fn start(mut command: Command, limit: Duration) -> Result<Self, StartError> {
        let program = PathBuf::from(command.as_std().get_program());
        let mut child = command.spawn().map_err(|error| StartError::Spawn(program, error))?;
        let mut lines = BufReader::new(child.stdout.take().ok_or(StartError::NotReady)?).lines();
        let announced = timeout(limit, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once(READY_MARKER) {
                    return Some(url.trim().to_owned());
                }
            }
            None
        });
        let Some(url) = announced.await.ok().flatten() else {
            // A process that has ended by itself is as good.
            let _ = child.kill().await;
            return Err(StartError::NotReady);
        };
        // The pipe is read to its end: a server that writes to a closed one would end.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, url })
    }

    /// The URL that the server listens on, such as `http://127.0.0.1:3000`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id; `None` after the process has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Asks for a graceful shutdown (SIGTERM) and waits at most `limit` for the end of the process.
    ///
    /// # Errors
    /// A sentence: the process does not end in time, or with a failure.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), String> {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It fails if the process has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the server ended with {status} after SIGTERM")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the server did not end within {limit:?} of SIGTERM")),
        }
    }
}

/// The program of the server that lies in the folder of this tool's own program, `tool`.
///
/// # Errors
/// A sentence that says how to build it.
pub fn program_beside(tool: &Path) -> Result<PathBuf, String> {
    let program = tool.with_file_name("hark");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!(
            "{} is not there: build the server first (`cargo build`, or `cargo test --workspace` for the tests)",
            program.display()
        ))
    }
}

/// [`program_beside`], for tests: refuses a program that is older than the sources of the server, because
/// `cargo test` builds it with `--workspace` only.
///
/// # Errors
/// A sentence that says how to build it.
pub fn fresh_program_beside(tool: &Path) -> Result<PathBuf, String> {
    let program = program_beside(tool)?;
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("src"), root.join("migrations")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            // Unit tests and texts are no part of the program.
            let is_source = path.extension().is_some_and(|extension| extension == "rs" || extension == "sql")
                && path.file_name().is_some_and(|name| name != "tests.rs");
            if path.is_dir() {
                folders.push(path);
            } else if is_source && modified(&path) > modified(&program) {
                return Err(format!(
                    "{} is older than {}: build the server first (`cargo test --workspace` does)",
                    program.display(),
                    path.display()
                ));
            }
        }
    }
    Ok(program)
}
