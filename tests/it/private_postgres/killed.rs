//! What was killed, or left something behind: the server, PostgreSQL, both, and one in the making.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::support::hark;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// How to connect to the PostgreSQL of another process.
fn connection_of(data_dir: &Path) -> Connection {
    Connection {
        socket_dir: data_dir.join("postgres"),
        port: 5432,
        user: "hark".to_owned(),
        password: fs::read_to_string(data_dir.join("postgres.password")).unwrap(),
        database: "hark".to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "another process tells nobody what it has done; there is a deadline")]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A server of its own process, so that it can be killed.
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
        // The rest is read as well: a full pipe would stop the server, a closed one end it.
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
        // It fails where the test has done it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_alone_it_is_started_again() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    remember(postgres.connection());
    let pid = postgres.pid();
    kill(pid, Signal::KILL);
    eventually("there is another postmaster", || postgres.pid() != pid);
    assert_remembered(postgres.connection());
}

#[cfg(target_os = "linux")]
#[test]
fn it_ends_in_order_when_the_server_is_killed() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    remember(&connection_of(folder.path()));
    server.kill();
    eventually("PostgreSQL has ended in order", || {
        let log = fs::read_to_string(folder.path().join("postgres.log")).unwrap();
        log.contains("database system is shut down")
    });
    assert!(!pid_file(folder.path()).exists());

    let postgres = start(folder.path());
    assert_remembered(postgres.connection());
}

#[test]
fn a_server_starts_right_after_one_was_killed() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    remember(&connection_of(folder.path()));
    server.kill();
    // PostgreSQL is about to end now.
    let postgres = start(folder.path());
    assert_remembered(postgres.connection());
}

#[test]
fn a_server_starts_after_it_and_postgres_were_killed() {
    let folder = closed_folder();
    let server = Server::start(folder.path());
    remember(&connection_of(folder.path()));
    let postmaster = pid_in_file(folder.path());
    // PostgreSQL first, while its parent is stopped: else it is told to end, or started again.
    kill(server.0.id(), Signal::STOP);
    kill(postmaster, Signal::KILL);
    server.kill();
    assert!(pid_file(folder.path()).exists(), "it was killed");

    let postgres = start(folder.path());
    assert_remembered(postgres.connection());
}

#[test]
fn the_pid_file_of_a_dead_process_is_no_hindrance() {
    let folder = closed_folder();
    start(folder.path()).stop();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    write_pid_file(folder.path(), &dead.id().to_string());
    remember(start(folder.path()).connection());
}

#[test]
fn the_pid_file_of_a_process_that_is_not_postgres_is_no_hindrance() {
    let folder = closed_folder();
    start(folder.path()).stop();
    // It lives for as long as its input is open.
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    write_pid_file(folder.path(), &other.id().to_string());
    remember(start(folder.path()).connection());
    assert_eq!(other.try_wait().unwrap(), None, "the other process was left alone");
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn an_empty_pid_file_is_no_hindrance() {
    let folder = closed_folder();
    start(folder.path()).stop();
    fs::write(pid_file(folder.path()), "").unwrap();
    remember(start(folder.path()).connection());
}

/// What a postmaster with this pid would have left, in the cluster and beside the socket.
fn write_pid_file(data_dir: &Path, pid: &str) {
    let cluster = data_dir.join("postgres").display().to_string();
    let content = format!("{pid}\n{cluster}\n1700000000\n5432\n{cluster}\n\n  1234567   1234567\nready   \n");
    fs::write(pid_file(data_dir), &content).unwrap();
    fs::write(data_dir.join("postgres/.s.PGSQL.5432.lock"), &content).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_postmaster_that_was_left_behind_is_ended_first() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    let folder = open_folder();
    let postgres = start(folder.path());
    remember(postgres.connection());
    let command_line = fs::read(format!("/proc/{}/cmdline", postgres.pid())).unwrap();
    postgres.stop();

    // The same program again, but nobody's: a child of this test.
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
    // A zombie is not a postmaster any more, so that nobody has to wait for it here.
    let postgres = start(folder.path());
    assert_remembered(postgres.connection());
    assert!(left_behind.wait().unwrap().success(), "it ended in order");
}

#[test]
fn a_cluster_that_was_interrupted_in_the_making_is_made_again() {
    let folder = closed_folder();
    let unfinished = |data_dir: &Path| {
        let names = names_in(data_dir);
        names.iter().any(|name| name.starts_with("postgres.new."))
    };
    let server = Server::spawn(folder.path());
    eventually("the cluster is being made", || unfinished(folder.path()));
    server.kill();
    assert!(!folder.path().join("postgres").exists(), "it was interrupted");

    // The killed server's initdb may still be about to end: its folder is not in the way.
    let postgres = start(folder.path());
    remember(postgres.connection());
    postgres.stop();
    let postgres = start(folder.path());
    assert!(!unfinished(folder.path()));
    assert_remembered(postgres.connection());
}
