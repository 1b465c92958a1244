//! The server process of PostgreSQL, the postmaster: starts it, waits until it is ready, and stops it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::{EmbeddedPostgresError, cannot};

/// Maximum wait until the server is ready: after a crash it replays the write-ahead log since the last checkpoint.
const START_TIMEOUT: Duration = Duration::from_mins(5);
/// Maximum wait for the processes of a killed postmaster, which end once they notice.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(10);
/// The signals that stop PostgreSQL, in this order, and the wait after each: fast shutdown, immediate shutdown (the
/// next start recovers), kill.
const STOP_SIGNALS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(20)),
    (Signal::QUIT, Duration::from_secs(3)),
    (Signal::KILL, Duration::from_secs(2)),
];

/// The main process of PostgreSQL, a child of this one. Dropping it stops PostgreSQL.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Runs `command` and waits until the server of the data directory `dir` accepts connections.
    pub(super) fn start(dir: &Path, log: &Path, command: impl Fn() -> Command) -> Result<Self, EmbeddedPostgresError> {
        let started = wait_for(ORPHANS_TIMEOUT, || {
            match Self::start_once(dir, log, command()) {
                // An earlier postmaster was killed, and one of its processes has not ended yet.
                Err(EmbeddedPostgresError::Failed { message, .. }) if message.contains("shared memory block") => None,
                result => Some(result),
            }
        });
        started.unwrap_or_else(|| {
            let message = format!("processes of a killed PostgreSQL still use {}", dir.display());
            Err(EmbeddedPostgresError::Failed { program: "postgres", message })
        })
    }

    fn start_once(dir: &Path, log: &Path, mut command: Command) -> Result<Self, EmbeddedPostgresError> {
        let mut log_file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(log).map_err(cannot("open", log))?;
        let log_begin = log_file.seek(SeekFrom::End(0)).map_err(cannot("read", log))?;
        let for_stdout = log_file.try_clone().map_err(cannot("open", log))?;
        let child = command.stdout(for_stdout).stderr(log_file).spawn().map_err(|source| {
            EmbeddedPostgresError::Io { action: format!("run {}", command.get_program().display()), source }
        })?;
        let mut postmaster = Self { child };
        let ready = wait_for(START_TIMEOUT, || {
            if is_ready(dir, postmaster.pid()) {
                Some(Ok(()))
            } else if postmaster.is_running() {
                None
            } else {
                Some(Err(last_lines(log, log_begin)))
            }
        });
        match ready.unwrap_or_else(|| Err(format!("it is not ready after {START_TIMEOUT:?}; see {}", log.display()))) {
            Ok(()) => Ok(postmaster),
            Err(message) => Err(EmbeddedPostgresError::Failed { program: "postgres", message }),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // The pid of a child that was waited for may belong to another process by now.
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid().cast_signed())
        {
            stop(pid, || !self.is_running());
        }
    }
}

/// Stops the postmaster that the pid file of the data directory `dir` names, if it runs on this directory. The caller
/// holds the lock of the directory, so that no Hark process uses that server any more.
///
/// After a kill -9 of Hark there is one that is just about to end. If it would not end (macOS), it is stopped so
/// that the new server has the current settings and this process as its parent.
pub(super) fn stop_orphan(dir: &Path) -> Result<(), EmbeddedPostgresError> {
    let pid_file = dir.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    // In single-user mode PostgreSQL writes its pid with a minus.
    let first_line = content.lines().next().unwrap_or_default();
    let pid: Option<u32> = first_line.trim().trim_start_matches('-').parse().ok();
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        if is_postmaster_of(pid, dir) {
            tracing::info!(pid = pid.as_raw_nonzero(), "stopping an orphaned PostgreSQL");
            stop(pid, || !is_postmaster_of(pid, dir));
            return Ok(());
        }
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            // PostgreSQL replaces the file itself, after it has checked that no process of the earlier server still
            // uses the data. Removing the file would disable that check.
            return Ok(());
        }
    }
    // The pid belongs to another process by now, or a crash of the system has left the file empty. Either would keep
    // PostgreSQL from starting, and the lock file of the socket has the same pid.
    for entry in fs::read_dir(dir).map_err(cannot("read", dir))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "postmaster.pid" || (name.starts_with(".s.PGSQL.") && name.ends_with(".lock")) {
            fs::remove_file(entry.path()).map_err(cannot("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Sends the signals of [`STOP_SIGNALS`] one after another until `has_ended`.
fn stop(pid: Pid, mut has_ended: impl FnMut() -> bool) {
    for (signal, timeout) in STOP_SIGNALS {
        // It fails if the process has ended meanwhile.
        let _ = kill_process(pid, signal);
        if wait_for(timeout, || has_ended().then_some(())).is_some() {
            return;
        }
        tracing::warn!(?signal, ?timeout, "PostgreSQL has not stopped after a signal");
    }
}

/// Whether `pid` is alive, and a PostgreSQL on the data directory `dir`.
#[cfg(target_os = "linux")]
fn is_postmaster_of(pid: Pid, dir: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;

    let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let Ok(arguments) = fs::read(process.join("cmdline")) else {
        return false;
    };
    let mut arguments = arguments.split(|&byte| byte == 0);
    let program = Path::new(std::ffi::OsStr::from_bytes(arguments.next().unwrap_or_default()));
    let is_postgres = program.file_name().is_some_and(|name| name == "postgres");
    // Its working directory is the data directory, whatever path its command line has. Not every container lets us
    // read that.
    let works_there = fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == dir);
    is_postgres && (works_there || arguments.any(|argument| argument == dir.as_os_str().as_bytes()))
}

/// Whether `pid` is alive, and a PostgreSQL on the data directory `dir`.
#[cfg(not(target_os = "linux"))]
fn is_postmaster_of(pid: Pid, dir: &Path) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output();
    output.is_ok_and(|output| {
        let command = String::from_utf8_lossy(&output.stdout);
        command.contains("postgres") && command.contains(&format!("-D {}", dir.display()))
    })
}

/// Whether the pid file has the status that the postmaster `pid` accepts connections.
fn is_ready(dir: &Path, pid: u32) -> bool {
    let content = fs::read_to_string(dir.join("postmaster.pid")).unwrap_or_default();
    let mut lines = content.lines().map(str::trim);
    // The status is line 8, or further down if the path of the data directory contains a line break.
    lines.next() == Some(&pid.to_string()) && lines.skip(6).any(|line| line == "ready")
}

/// The last lines of `log` that were written after its first `begin` bytes.
fn last_lines(log: &Path, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() || bytes.is_empty() {
        return format!("it ended and wrote nothing to {}", log.display());
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// How often [`wait_for`] polls.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls `poll` until it returns something; `None` if it has not within `timeout`.
#[expect(
    clippy::disallowed_methods,
    reason = "the end of a process and the release of a file lock cannot be awaited; there is a timeout"
)]
pub(super) fn wait_for<T>(timeout: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = poll();
        if found.is_some() || started.elapsed() >= timeout {
            return found;
        }
        thread::sleep(POLL_INTERVAL);
    }
}
