//! Recovery of the private PostgreSQL after a kill: of the server, of PostgreSQL, of both, and during its
//! creation.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::support::hark;

/// The timeout is longer than any step here takes on a busy machine.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns how to connect to the PostgreSQL of another process.
fn connection_of(data_dir: &Path) -> Connection {
    Connection {
        socket_dir: data_dir.join("postgres"),
        port: 5432,
        user: "hark".to_owned(),
        password: fs::read_to_string(data_dir.join("postgres.password")).unwrap(),
        database: "hark".to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process reports nothing that a test could wait for; the loop has a timeout"
)]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < STEP_TIMEOUT, "still not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A server in its own process, so that it can be killed.
struct Server(Child);

impl Server {
    fn spawn(data_dir: &Path) -> Self {
        Self(hark(data_dir).spawn().unwrap())
    }

    fn start(data_dir: &Path) -> Self {
        let mut server = Self::spawn(data_dir);
        let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("http://127.0.0.1:"));
        assert!(ready, "the server ended before it was ready");
        // The rest is read as well: a full pipe would block the server, and a closed one would end it.
        thread::spawn(move || lines.for_each(drop));
        server
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The kill fails if the test has done it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_postgres_is_restarted() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    store_row(postgres.connection());
    let pid = postgres.pid();
    kill(pid, Signal::KILL);
    eventually("there is another postmaster", || postgres.pid() != pid);
    assert_row_stored(postgres.connection());
}

#[cfg(target_os = "linux")]
#[test]
fn killed_server_shuts_postgres_down_in_order() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    store_row(&connection_of(folder.path()));
    server.kill();
    eventually("PostgreSQL has ended in order", || {
        let log = fs::read_to_string(folder.path().join("postgres.log")).unwrap();
        log.contains("database system is shut down")
    });
    assert!(!pid_file(folder.path()).exists());

    let postgres = start(folder.path());
    assert_row_stored(postgres.connection());
}

#[test]
fn server_starts_right_after_another_was_killed() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    store_row(&connection_of(folder.path()));
    server.kill();
    // PostgreSQL is about to stop.
    let postgres = start(folder.path());
    assert_row_stored(postgres.connection());
}

#[test]
fn server_starts_after_server_and_postgres_were_killed() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    store_row(&connection_of(folder.path()));
    let postmaster = pid_in_file(folder.path());
    // PostgreSQL is killed first, while its parent is stopped: else the parent would stop or restart it.
    kill(server.0.id(), Signal::STOP);
    kill(postmaster, Signal::KILL);
    server.kill();
    assert!(pid_file(folder.path()).exists(), "it was killed");

    let postgres = start(folder.path());
    assert_row_stored(postgres.connection());
}

#[test]
fn stale_pid_file_of_a_dead_process_is_ignored() {
    let folder = closed_folder();
    start(folder.path()).stop();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    write_pid_file(folder.path(), &dead.id().to_string());
    store_row(start(folder.path()).connection());
}

#[test]
fn stale_pid_file_of_another_program_is_ignored() {
    let folder = closed_folder();
    start(folder.path()).stop();
    // The process lives for as long as its input is open.
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    write_pid_file(folder.path(), &other.id().to_string());
    store_row(start(folder.path()).connection());
    assert_eq!(other.try_wait().unwrap(), None, "the other process was left alone");
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn empty_pid_file_is_ignored() {
    let folder = closed_folder();
    start(folder.path()).stop();
    fs::write(pid_file(folder.path()), "").unwrap();
    store_row(start(folder.path()).connection());
}

/// Writes what a postmaster with this pid would have left in the cluster and beside the socket.
fn write_pid_file(data_dir: &Path, pid: &str) {
    let cluster = data_dir.join("postgres").display().to_string();
    let content = format!("{pid}\n{cluster}\n1700000000\n5432\n{cluster}\n\n  1234567   1234567\nready   \n");
    fs::write(pid_file(data_dir), &content).unwrap();
    fs::write(data_dir.join("postgres/.s.PGSQL.5432.lock"), &content).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn orphaned_postmaster_is_stopped_first() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    let folder = open_folder();
    let postgres = start(folder.path());
    store_row(postgres.connection());
    let command_line = fs::read(format!("/proc/{}/cmdline", postgres.pid())).unwrap();
    postgres.stop();

    // This is another postmaster of the same program, a child of this test.
    let cluster = fs::metadata(folder.path().join("postgres")).unwrap();
    let mut arguments = command_line.strip_suffix(b"\0").unwrap().split(|&byte| byte == 0);
    let mut command = Command::new(OsStr::from_bytes(arguments.next().unwrap()));
    command.args(arguments.map(OsStr::from_bytes)).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(cluster.uid()).gid(cluster.gid());
    }
    let mut left_behind = command.spawn().unwrap();
    eventually("it is ready", || {
        fs::read_to_string(pid_file(folder.path())).is_ok_and(|content| content.contains("ready"))
    });
    // A zombie does not count as a running postmaster, so it need not be reaped here.
    let postgres = start(folder.path());
    assert_row_stored(postgres.connection());
    assert!(left_behind.wait().unwrap().success(), "it ended in order");
}

#[test]
fn interrupted_initdb_is_run_again() {
    let folder = closed_folder();
    let unfinished = |data_dir: &Path| {
        let names = names_in(data_dir);
        names.iter().any(|name| name.starts_with("postgres.new."))
    };
    let server = Server::spawn(folder.path());
    eventually("the cluster is being made", || unfinished(folder.path()));
    server.kill();
    assert!(!folder.path().join("postgres").exists(), "it was interrupted");

    // The initdb of the killed server may still be about to end: its folder does not get in the way.
    let postgres = start(folder.path());
    store_row(postgres.connection());
    postgres.stop();
    let postgres = start(folder.path());
    assert!(!unfinished(folder.path()));
    assert_row_stored(postgres.connection());
}
