//! The private PostgreSQL: whatever ends it or the server, the next start works and has the data.
//!
//! As root, most of these tests run PostgreSQL in a folder that its account may not enter, like a clone in
//! /root.

mod recovery;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use hark::embedded_postgres::{Connection, EmbeddedPostgres, EmbeddedPostgresError, Options};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor, Row};
use tempfile::TempDir;

/// Creates a folder that only its owner may enter.
fn closed_folder() -> TempDir {
    folder_with_mode(0o700)
}

/// Creates a folder that every user may enter.
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

/// Runs `sql` and returns the first column of its last row, if there is one.
fn query(connection: &Connection, sql: &'static str) -> Option<String> {
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

/// Stores a row to be found again.
fn store_row(connection: &Connection) {
    query(connection, "CREATE TABLE remembered AS SELECT 'here'::text AS word");
}

fn assert_row_stored(connection: &Connection) {
    let word = query(connection, "SELECT word FROM remembered");
    assert_eq!(word.as_deref(), Some("here"));
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

#[test]
fn private_postgres_creates_its_folder_and_keeps_data_over_a_restart() {
    let folder = closed_folder();
    let data_dir = folder.path().join("not/there yet");
    let postgres = start(&data_dir);
    store_row(postgres.connection());
    assert_eq!(query(postgres.connection(), "SHOW listen_addresses").as_deref(), Some(""));
    assert_eq!(query(postgres.connection(), "SHOW server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(query(postgres.connection(), "SHOW data_checksums").as_deref(), Some("on"));
    postgres.stop();

    let postgres = start(&data_dir);
    assert_row_stored(postgres.connection());
}

#[test]
fn private_postgres_commits_with_fsync_by_default() {
    let folder = closed_folder();
    let options = Options { fsync: true, ..options(folder.path()) };
    let postgres = EmbeddedPostgres::start(&options).unwrap();
    assert_eq!(query(postgres.connection(), "SHOW fsync").as_deref(), Some("on"));
}

#[test]
fn private_postgres_password_file_is_readable_by_its_owner_only() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    let connection = postgres.connection();
    assert_eq!(connection.password.len(), 32);
    assert!(!format!("{postgres:?}").contains(&connection.password));
    let file = fs::metadata(folder.path().join("postgres.password")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn private_postgres_shuts_down_cleanly_on_stop_and_on_drop() {
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
fn private_postgres_outlives_the_thread_that_started_it() {
    let folder = closed_folder();
    let data_dir = folder.path().to_owned();
    let postgres = thread::spawn(move || start(&data_dir)).join().unwrap();
    let pid = postgres.pid();
    store_row(postgres.connection());
    assert_eq!(pid_in_file(folder.path()), pid);
}

#[test]
fn data_folder_in_use_is_refused_by_name() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    let error = start_error(folder.path()).to_string();
    let data_dir = fs::canonicalize(folder.path()).unwrap();
    assert!(error.contains(data_dir.to_str().unwrap()), "{error}");
    assert!(error.contains("in use"), "{error}");
    store_row(postgres.connection());
}

#[cfg(target_os = "linux")]
#[test]
fn private_postgres_of_root_enters_a_closed_folder_without_other_capabilities() {
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
        store_row(postgres.connection());
    }
}

#[test]
fn data_folder_copied_by_root_works() {
    let folder = closed_folder();
    let postgres = start(folder.path());
    store_row(postgres.connection());
    postgres.stop();
    let copy = closed_folder();
    let copied = Command::new("cp").arg("-r").arg(folder.path().join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    assert_row_stored(start(copy.path()).connection());
}

#[test]
fn data_folder_of_another_major_version_is_refused_by_name() {
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
fn missing_postgres_programs_are_reported_with_a_remedy() {
    let folder = closed_folder();
    let options = Options { bin_dir: Some(folder.path().to_owned()), ..options(folder.path()) };
    let error = EmbeddedPostgres::start(&options).unwrap_err().to_string();
    assert!(error.contains("HARK_POSTGRES_BIN"), "{error}");
    assert!(error.contains(folder.path().to_str().unwrap()), "{error}");

    // PostgreSQL is installed here, so only the sentence can be checked.
    let error = EmbeddedPostgresError::NotInstalled.to_string();
    assert!(error.contains("package postgresql"), "{error}");
    assert!(error.contains("DATABASE_URL"), "{error}");
}

#[test]
fn data_folder_path_too_long_for_a_socket_works() {
    let folder = closed_folder();
    let data_dir = folder.path().join("long".repeat(30));
    let postgres = start(&data_dir);
    let socket_dir = postgres.connection().socket_dir.clone();
    assert!(!socket_dir.starts_with(&data_dir));
    assert_eq!(fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
    store_row(postgres.connection());
    postgres.stop();
    assert!(!socket_dir.exists());
    assert_row_stored(start(&data_dir).connection());
}

#[test]
fn data_folder_path_with_spaces_quotes_and_commas_works() {
    let folder = closed_folder();
    let data_dir = folder.path().join("it's \"here\", $HOME and ünder");
    let postgres = start(&data_dir);
    store_row(postgres.connection());
    postgres.stop();
    assert_row_stored(start(&data_dir).connection());
}

#[test]
fn private_postgres_truncates_a_large_log_at_start() {
    let folder = closed_folder();
    let log = folder.path().join("postgres.log");
    fs::write(&log, vec![b'.'; 11 << 20]).unwrap();
    let _postgres = start(folder.path());
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20);
}
