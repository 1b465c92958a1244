//! The private PostgreSQL: whatever ends it or the server, the next start works and has the data.
//!
//! As root most of these tests run PostgreSQL in a folder that is closed to it, as a clone in /root
//! is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hark::embedded_postgres::{Connection, EmbeddedPostgres, EmbeddedPostgresError, Options};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor, Row};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder that only we may enter.
fn closed_folder() -> TempDir {
    folder_with_mode(0o700)
}

/// A folder that every user may enter.
fn open_folder() -> TempDir {
    folder_with_mode(0o755)
}

fn folder_with_mode(mode: u32) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    folder
}

fn options(data_dir: &Path) -> Options {
    Options { data_dir: data_dir.to_owned(), bin_dir: None, fsync: false }
}

fn start(data_dir: &Path) -> EmbeddedPostgres {
    EmbeddedPostgres::start(&options(data_dir)).expect("PostgreSQL starts")
}

fn start_error(data_dir: &Path) -> EmbeddedPostgresError {
    EmbeddedPostgres::start(&options(data_dir)).expect_err("PostgreSQL does not start")
}

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

/// Runs `sql`; the first column of its last row, if there is one.
fn ask(connection: &Connection, sql: &'static str) -> Option<String> {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(&connection.socket_dir)
        .port(connection.port)
        .username(&connection.user)
        .password(&connection.password)
        .database(&connection.database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect_with(&options).await.expect("it takes connections");
        let rows = connection.fetch_all(sql).await.expect("the statement is right");
        rows.last().map(|row| row.get(0))
    })
}

/// Leaves something to be found again.
fn remember(connection: &Connection) {
    ask(connection, "CREATE TABLE remembered AS SELECT 'here'::text AS word");
}

fn assert_remembered(connection: &Connection) {
    let word = ask(connection, "SELECT word FROM remembered");
    assert_eq!(word.as_deref(), Some("here"));
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

fn pid_file(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres/postmaster.pid")
}

fn pid_in_file(data_dir: &Path) -> u32 {
    let content = fs::read_to_string(pid_file(data_dir)).unwrap();
    content.lines().next().unwrap().parse().unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A server of its own process, so that it can be killed.
struct Server(Child);

impl Server {
    fn spawn(data_dir: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hark"))
            .env("HARK_DATA_DIR", data_dir)
            .env("HARK_LISTEN", "127.0.0.1:0")
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
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
fn a_missing_folder_is_made_and_its_data_is_there_after_a_restart() {
    let folder = closed_folder();
    let data_dir = folder.path().join("not/there yet");
    let postgres = start(&data_dir);
    remember(postgres.connection());
    assert_eq!(ask(postgres.connection(), "SHOW listen_addresses").as_deref(), Some(""));
    assert_eq!(ask(postgres.connection(), "SHOW server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(ask(postgres.connection(), "SHOW data_checksums").as_deref(), Some("on"));
    postgres.stop();

    let postgres = start(&data_dir);
    assert_remembered(postgres.connection());
}

#[test]
fn commits_wait_for_the_disk_unless_told_otherwise() {
    let folder = closed_folder();
    let options = Options { fsync: true, ..options(folder.path()) };
    let postgres = EmbeddedPostgres::start(&options).unwrap();
    assert_eq!(ask(postgres.connection(), "SHOW fsync").as_deref(), Some("on"));
}

#[test]
fn the_password_is_for_its_owner_alone() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    let connection = postgres.connection();
    assert_eq!(connection.password.len(), 32);
    assert!(!format!("{postgres:?}").contains(&connection.password));
    let file = fs::metadata(folder.path().join("postgres.password")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_stop_is_clean_and_so_is_a_drop() {
    let folder = closed_folder();
    start(folder.path()).stop();
    assert!(!pid_file(folder.path()).exists());
    drop(start(folder.path()));
    assert!(!pid_file(folder.path()).exists());
    let log = fs::read_to_string(folder.path().join("postgres.log")).unwrap();
    assert_eq!(log.matches("database system is shut down").count(), 2);
    assert!(!log.contains("recovery"), "{log}");
}

#[test]
fn it_outlives_the_thread_that_started_it() {
    let folder = closed_folder();
    let data_dir = folder.path().to_owned();
    let postgres = thread::spawn(move || start(&data_dir)).join().unwrap();
    let pid = postgres.pid();
    remember(postgres.connection());
    assert_eq!(pid_in_file(folder.path()), pid);
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_by_name() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    let error = start_error(folder.path()).to_string();
    let data_dir = fs::canonicalize(folder.path()).unwrap();
    assert!(error.contains(data_dir.to_str().unwrap()), "{error}");
    assert!(error.contains("in use"), "{error}");
    remember(postgres.connection());
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

#[cfg(target_os = "linux")]
#[test]
fn as_root_it_gets_through_a_closed_folder_and_has_no_other_power() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (folder, capabilities) in [(closed_folder(), 1), (open_folder(), 0)] {
        let postgres = start(folder.path());
        let status = fs::read_to_string(format!("/proc/{}/status", postgres.pid())).unwrap();
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        assert_ne!(field("Uid:"), "0");
        let effective = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
        assert_eq!(effective.count_ones(), capabilities, "{status}");
        remember(postgres.connection());
    }
}

#[test]
fn data_that_root_copied_works() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    remember(postgres.connection());
    postgres.stop();
    let copy = closed_folder();
    let copied = Command::new("cp").arg("-r").arg(folder.path().join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    assert_remembered(start(copy.path()).connection());
}

#[test]
fn data_of_another_major_version_is_refused_by_name() {
    let folder = closed_folder();
    start(folder.path()).stop();
    let version_file = folder.path().join("postgres/PG_VERSION");
    let version = fs::read_to_string(&version_file).unwrap();
    fs::write(&version_file, "9\n").unwrap();
    let error = start_error(folder.path()).to_string();
    assert!(error.contains("was made by PostgreSQL 9"), "{error}");
    assert!(error.contains(version.trim()), "{error}");
    assert!(error.contains(folder.path().file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn missing_programs_are_named_with_what_helps() {
    let folder = closed_folder();
    let options = Options { bin_dir: Some(folder.path().to_owned()), ..options(folder.path()) };
    let error = EmbeddedPostgres::start(&options).unwrap_err().to_string();
    assert!(error.contains("HARK_POSTGRES_BIN"), "{error}");
    assert!(error.contains(folder.path().to_str().unwrap()), "{error}");

    // This machine has them, so that only the sentence can be looked at.
    let error = EmbeddedPostgresError::NotInstalled.to_string();
    assert!(error.contains("package postgresql"), "{error}");
    assert!(error.contains("DATABASE_URL"), "{error}");
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

#[test]
fn a_path_too_long_for_a_socket_works() {
    let folder = closed_folder();
    let data_dir = folder.path().join("long".repeat(30));
    let postgres = start(&data_dir);
    let socket_dir = postgres.connection().socket_dir.clone();
    assert!(!socket_dir.starts_with(&data_dir));
    assert_eq!(fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
    remember(postgres.connection());
    postgres.stop();
    assert!(!socket_dir.exists());
    assert_remembered(start(&data_dir).connection());
}

#[test]
fn a_path_with_spaces_quotes_and_commas_works() {
    let folder = closed_folder();
    let data_dir = folder.path().join("it's \"here\", $HOME and ünder");
    let postgres = start(&data_dir);
    remember(postgres.connection());
    postgres.stop();
    assert_remembered(start(&data_dir).connection());
}

#[test]
fn a_big_log_is_emptied_at_a_start() {
    let folder = closed_folder();
    let log = folder.path().join("postgres.log");
    fs::write(&log, vec![b'.'; 11 << 20]).unwrap();
    let _postgres = start(folder.path());
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20);
}
