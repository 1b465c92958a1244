//! The process: started, watched until it is ready, ended.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{EmbeddedPostgresError, cannot, wait_for};

/// How long it may take to get ready: after a crash it replays what the last checkpoint missed.
const READY_WITHIN: Duration = Duration::from_mins(5);
/// How long the processes of a killed postmaster may take to notice.
const ORPHANS_END_WITHIN: Duration = Duration::from_secs(10);
/// The ways to end PostgreSQL, and how long each may take: in order, at once (the next start
/// recovers), and for good.
const ENDINGS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(20)),
    (Signal::QUIT, Duration::from_secs(3)),
    (Signal::KILL, Duration::from_secs(2)),
];

/// PostgreSQL's main process, our child. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Runs `command` and waits until the cluster in `dir` takes connections.
    pub(super) fn start(dir: &Path, log: &Path, command: impl Fn() -> Command) -> Result<Self, EmbeddedPostgresError> {
        let started = wait_for(ORPHANS_END_WITHIN, || {
            match Self::start_once(dir, log, command()) {
                // Its postmaster was killed, and a process of that one is still about to end.
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
        let ready = wait_for(READY_WITHIN, || {
            if is_ready(dir, postmaster.pid()) {
                Some(Ok(()))
            } else if postmaster.is_running() {
                None
            } else {
                Some(Err(last_lines(log, log_begin)))
            }
        });
        match ready.unwrap_or_else(|| Err(format!("it is not ready after {READY_WITHIN:?}; see {}", log.display()))) {
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
        // A child that was waited for has given its pid back, which may be somebody else's by now.
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid().cast_signed())
        {
            end(pid, || !self.is_running());
        }
    }
}

/// Ends the postmaster that the pid file of the cluster in `dir` names, if it is one of this
/// cluster; the caller holds the cluster's lock, so that no server uses it any more.
///
/// After a kill -9 of ours there is one that is just about to end. Where it is not (macOS), ending
/// it gives the new one our settings and us as its parent.
pub(super) fn end_left_over(dir: &Path) -> Result<(), EmbeddedPostgresError> {
    let pid_file = dir.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    // The pid of a PostgreSQL in single-user mode has a minus before it.
    let first_line = content.lines().next().unwrap_or_default();
    let pid: Option<u32> = first_line.trim().trim_start_matches('-').parse().ok();
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        if is_postmaster_of(pid, dir) {
            tracing::info!(pid = pid.as_raw_nonzero(), "ending a PostgreSQL that another server left behind");
            end(pid, || !is_postmaster_of(pid, dir));
            return Ok(());
        }
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            // PostgreSQL replaces the file itself, after a look whether processes of its old life
            // still use the data. Removing it would take that look away.
            return Ok(());
        }
    }
    // The pid is another process's by now, or a crash of the system left the file without one.
    // Either would keep PostgreSQL from starting; the file of the socket has the same pid.
    for entry in fs::read_dir(dir).map_err(cannot("read", dir))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "postmaster.pid" || (name.starts_with(".s.PGSQL.") && name.ends_with(".lock")) {
            fs::remove_file(entry.path()).map_err(cannot("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Sends the signals of [`ENDINGS`] one after the other until `has_ended`.
fn end(pid: Pid, mut has_ended: impl FnMut() -> bool) {
    for (signal, patience) in ENDINGS {
        // It fails when the process has ended meanwhile.
        let _ = kill_process(pid, signal);
        if wait_for(patience, || has_ended().then_some(())).is_some() {
            return;
        }
        tracing::warn!("PostgreSQL did not end within {patience:?} of {signal:?}");
    }
}

/// Is `pid` alive, and a PostgreSQL on the cluster in `dir`?
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
    // It works in its data folder, however that was named on its command line. Not every container
    // lets us see that.
    let is_here = fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == dir);
    is_postgres && (is_here || arguments.any(|argument| argument == dir.as_os_str().as_bytes()))
}

/// Is `pid` alive, and a PostgreSQL on the cluster in `dir`?
#[cfg(not(target_os = "linux"))]
fn is_postmaster_of(pid: Pid, dir: &Path) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output();
    output.is_ok_and(|output| {
        let command = String::from_utf8_lossy(&output.stdout);
        command.contains("postgres") && command.contains(&format!("-D {}", dir.display()))
    })
}

/// Does the pid file say that the postmaster `pid` takes connections?
fn is_ready(dir: &Path, pid: u32) -> bool {
    let content = fs::read_to_string(dir.join("postmaster.pid")).unwrap_or_default();
    let mut lines = content.lines().map(str::trim);
    // The status is line 8, or further down if the path of the data has a line break in it.
    lines.next() == Some(&pid.to_string()) && lines.skip(6).any(|line| line == "ready")
}

/// The last lines that were written to `log` after its first `begin` bytes.
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
