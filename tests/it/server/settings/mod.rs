//! The command line of the real binary: which settings it refuses, in which words, and that it then leaves
//! nothing behind.

mod ranges;

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};

use clap::CommandFactory as _;
use hark::config::Cli;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::documents::openapi::printed;
use crate::support::{TestServer, eventually};

pub const GOOD_SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const BAD_SETTING: i32 = 2;

/// A finished run of the program, in a folder of its own.
pub struct Run {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// The names in the folder after the run; there are none if it has made no data folder.
    left_behind: Vec<String>,
}

/// Kills the program if a test fails: it would go on serving.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the program with these settings and no others, besides a free port and a data folder in the empty
/// folder it runs in.
pub async fn hark(arguments: &[&str], settings: &[(&str, &str)]) -> Run {
    let folders = TempDir::new().expect("a folder");
    let cwd = folders.path().join("cwd");
    fs::create_dir(&cwd).expect("a folder");
    let file = |name: &str| folders.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hark"));
    command.args(arguments).current_dir(&cwd).env_clear().env("HARK_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
    command.envs(settings.iter().copied());
    command.stdout(File::create(file("out")).expect("a file")).stderr(File::create(file("err")).expect("a file"));
    let mut child = Running(command.spawn().expect("the program starts"));
    let mut status = None;
    eventually("the program ends", async || {
        status = child.0.try_wait().expect("our own child");
        status.is_some()
    })
    .await;
    let names = fs::read_dir(&cwd).expect("the folder is there");
    Run {
        status: status.expect("it has ended"),
        stdout: fs::read_to_string(file("out")).expect("text"),
        stderr: fs::read_to_string(file("err")).expect("text"),
        left_behind: names.map(|entry| entry.expect("a name").file_name().display().to_string()).collect(),
    }
}

/// Asserts that a run ended at once with a sentence that contains `name`.
pub fn assert_refused(run: &Run, code: i32, name: &str) {
    let Run { status, stdout, stderr, left_behind } = run;
    assert_eq!(status.code(), Some(code), "{name}: {stderr}");
    assert!(stderr.contains(name), "{name} is not named: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(stdout, "", "{name}");
    assert!(left_behind.is_empty(), "{name}: {left_behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_setting_is_named_and_nothing_is_started() {
    let whole_numbers = [
        "HARK_MAX_PAGE_ROWS",
        "HARK_DATABASE_CONNECTIONS",
        "HARK_WRITERS",
        "HARK_WRITE_QUEUE",
        "HARK_MAX_FRAME_BYTES",
        "HARK_MAX_CONTENT_BYTES",
        "HARK_MAX_GROUP_NAME_CHARS",
        "HARK_MAX_IN_FLIGHT",
        "HARK_REQUEST_BURST",
        "HARK_MAX_SOCKETS_PER_USER",
        "HARK_OUTBOX_BYTES",
        "HARK_TOKEN_HOURS",
        "HARK_MIN_PASSWORD_CHARS",
        "HARK_MAX_PASSWORD_CHARS",
        "HARK_PING_SECONDS",
        "HARK_IDLE_SECONDS",
    ];
    let mut cases: Vec<_> = whole_numbers.into_iter().flat_map(|name| [(name, "0"), (name, "many")]).collect();
    cases.extend([
        ("HARK_LISTEN", "nonsense"),
        ("HARK_LISTEN", "127.0.0.1"),
        ("HARK_LISTEN", "127.0.0.1:65536"),
        ("HARK_LISTEN", ":3000"),
        ("HARK_LOG_FORMAT", "xml"),
        ("HARK_LOG", "hark=loud"),
        ("HARK_LOG", "verbose"),
        ("HARK_LOG", ""),
        ("HARK_LOG", "info,"),
        ("HARK_LOG", "warn,verbose"),
        ("HARK_LOG", "=debug"),
        ("HARK_LOG", "hark=debug=info"),
        ("HARK_LOG", "hark=debug warn"),
        ("HARK_TRUST_PROXY", "perhaps"),
        ("HARK_TRUST_PROXY", "yes"),
        ("HARK_TRUST_PROXY", "1"),
        ("HARK_TRUST_PROXY", "True"),
        ("HARK_TRUST_PROXY", ""),
        ("HARK_MIGRATE", "perhaps"),
        ("HARK_MIGRATE", "no"),
        ("HARK_CLUSTER", "off"),
        ("HARK_MAX_FRAME_BYTES", "10"),
        ("HARK_ALLOWED_ORIGINS", "nonsense"),
        ("HARK_ALLOWED_ORIGINS", "https://"),
        ("HARK_ALLOWED_ORIGINS", "https://a.example/path"),
        ("HARK_ALLOWED_ORIGINS", "https://a.example,nonsense"),
        ("HARK_REQUESTS_PER_SECOND", "-1"),
        ("HARK_SOCKETS_PER_SECOND", "-1"),
        ("HARK_SIGN_UPS_PER_MINUTE", "-1"),
        ("HARK_LOGINS_PER_MINUTE", "1.5"),
        ("HARK_MAX_PAGE_ROWS", "10001"),
        ("HARK_WRITERS", "65"),
        ("HARK_TOKEN_HOURS", "99999999999"),
        ("HARK_JWT_SECRET", ""),
        ("HARK_JWT_SECRET", "31 bytes are not enough for it."),
    ]);
    for (name, value) in cases {
        assert_refused(&hark(&[], &[(name, value)]).await, BAD_SETTING, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_origin_is_named_and_nothing_is_started() {
    for origin in ["https://<a>.example", "https://a.example:port", "https://me@a.example", "https://a.example?b"] {
        assert_refused(&hark(&[], &[("HARK_ALLOWED_ORIGINS", origin)]).await, BAD_SETTING, "HARK_ALLOWED_ORIGINS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inconsistent_settings_are_named() {
    let secret = ("HARK_JWT_SECRET", GOOD_SECRET);
    for (name, settings) in [
        ("HARK_JWT_SECRET", &[("DATABASE_URL", "postgres://hark@127.0.0.1/hark")][..]),
        ("HARK_JWT_SECRET", &[("DATABASE_URL", "postgres://hark@127.0.0.1/hark"), ("HARK_JWT_SECRET", "short")]),
        ("DATABASE_URL", &[("DATABASE_URL", "mysql://hark@127.0.0.1/hark"), secret]),
        ("DATABASE_URL", &[("DATABASE_URL", "127.0.0.1"), secret]),
        ("DATABASE_URL", &[("DATABASE_URL", ""), secret]),
        ("HARK_MIN_PASSWORD_CHARS", &[("HARK_MIN_PASSWORD_CHARS", "9"), ("HARK_MAX_PASSWORD_CHARS", "8")]),
        ("HARK_MAX_FRAME_BYTES", &[("HARK_MAX_CONTENT_BYTES", "65536")]),
        ("HARK_MAX_CONTENT_BYTES", &[("HARK_MAX_FRAME_BYTES", "65536"), ("HARK_MAX_CONTENT_BYTES", "63489")]),
        ("HARK_OUTBOX_BYTES", &[("HARK_OUTBOX_BYTES", "65535")]),
        (
            "HARK_REQUEST_MEMORY_BYTES",
            &[
                ("HARK_MAX_FRAME_BYTES", "16777216"),
                ("HARK_OUTBOX_BYTES", "16777216"),
                ("HARK_REQUEST_MEMORY_BYTES", "16777215"),
            ],
        ),
        ("HARK_PING_SECONDS", &[("HARK_PING_SECONDS", "60")]),
        ("HARK_IDLE_SECONDS", &[("HARK_PING_SECONDS", "9"), ("HARK_IDLE_SECONDS", "8")]),
    ] {
        assert_refused(&hark(&[], settings).await, BAD_SETTING, name);
    }
    // The same holds for the command that needs only the database.
    assert_refused(&hark(&["migrate"], &[("DATABASE_URL", "mysql://x/y")]).await, BAD_SETTING, "DATABASE_URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_flag_is_refused_like_its_variable_and_an_unknown_one_by_its_name() {
    for (arguments, name) in [
        (&["--max-page-rows", "0"][..], "HARK_MAX_PAGE_ROWS"),
        (&["--log-format=xml"], "HARK_LOG_FORMAT"),
        (&["--listen"], "HARK_LISTEN"),
        (&["--no-such-setting"], "--no-such-setting"),
        (&["dance"], "dance"),
    ] {
        assert_refused(&hark(arguments, &[]).await, BAD_SETTING, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_show_no_secret() {
    let secret = ("HARK_JWT_SECRET", "top-secret-but-short");
    let url = ("DATABASE_URL", "mysql://hark:top-secret@db/hark");
    for settings in
        [&[secret][..], &[url], &[url, ("HARK_JWT_SECRET", GOOD_SECRET)], &[secret, url, ("HARK_WRITERS", "0")]]
    {
        let run = hark(&[], settings).await;
        assert_eq!(run.status.code(), Some(BAD_SETTING), "{}", run.stderr);
        assert!(!run.stderr.contains("top-secret"), "{}", run.stderr);
    }
}

/// Returns variable and default from `[env: NAME=…] [default: …]` in the help of one setting.
fn variable_and_default(help: &str) -> Option<String> {
    let (_, rest) = help.split_once("[env: ")?;
    let variable = rest.split(['=', ']']).next()?;
    let default = help.split_once("[default: ").and_then(|(_, rest)| rest.split(']').next());
    Some(format!("{variable} {}", default.unwrap_or("-")))
}

#[tokio::test(flavor = "multi_thread")]
async fn help_lists_every_setting_with_its_variable_and_default() {
    let help = hark(&["--help"], &[]).await;
    assert!(help.status.success());
    assert!(help.left_behind.is_empty());
    let listed: Vec<_> = help.stdout.split("\n      --").filter_map(variable_and_default).collect();
    insta::assert_snapshot!(listed.join("\n"), @"
    DATABASE_URL -
    HARK_LISTEN 127.0.0.1:3000
    HARK_DATA_DIR ./data
    HARK_POSTGRES_BIN -
    HARK_JWT_SECRET -
    HARK_ALLOWED_ORIGINS -
    HARK_TRUST_PROXY false
    HARK_LOG info
    HARK_LOG_FORMAT text
    HARK_MIGRATE true
    HARK_CLUSTER true
    HARK_DATABASE_CONNECTIONS 10
    HARK_WRITERS -
    HARK_WRITE_QUEUE 8192
    HARK_MAX_FRAME_BYTES 65536
    HARK_MAX_CONTENT_BYTES 16384
    HARK_MAX_GROUP_NAME_CHARS 100
    HARK_MAX_GROUP_MEMBERS 10000
    HARK_MAX_GROUPS_PER_USER 1000
    HARK_MAX_GROUPS_FROM_STRANGERS 200
    HARK_MAX_GROUPS_FROM_ONE_STRANGER 20
    HARK_MAX_NOTIFICATIONS_PER_USER 10000
    HARK_MAX_UNREAD_NOTIFICATIONS_FROM_ONE 100
    HARK_MAX_PAGE_ROWS 100
    HARK_MAX_IN_FLIGHT 64
    HARK_REQUESTS_PER_SECOND 50
    HARK_REQUEST_BURST 100
    HARK_MAX_REQUESTS_AT_ONCE 2
    HARK_SEARCH_BYTES 4194304
    HARK_SOCKETS_PER_SECOND 2000
    HARK_MAX_SOCKETS_PER_USER 20
    HARK_OUTBOX_BYTES 1048576
    HARK_REQUEST_MEMORY_BYTES 268435456
    HARK_TOKEN_HOURS 24
    HARK_SIGN_UPS_PER_MINUTE 10
    HARK_LOGINS_PER_MINUTE 30
    HARK_MIN_PASSWORD_CHARS 8
    HARK_MAX_PASSWORD_CHARS 128
    HARK_PING_SECONDS 25
    HARK_IDLE_SECONDS 60
    ");
    // No setting is hidden, and each has a description.
    let command = Cli::command();
    let settings: Vec<_> = command.get_arguments().filter(|argument| argument.get_env().is_some()).collect();
    assert_eq!(settings.len(), listed.len());
    for setting in settings {
        let flag = format!("--{} ", setting.get_long().expect("a flag too"));
        let text = setting.get_help().expect("a sentence").to_string();
        assert!(help.stdout.contains(&flag) && help.stdout.contains(&text), "{flag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_no_secret_of_the_environment() {
    let settings = [("HARK_JWT_SECRET", GOOD_SECRET), ("DATABASE_URL", "postgres://hark:top-secret@db/hark")];
    for arguments in [&["--help"][..], &["-h"], &["help"], &["serve", "--help"], &["migrate", "--help"]] {
        let help = hark(arguments, &settings).await;
        assert!(help.status.success(), "{}", help.stderr);
        assert!(help.stdout.contains("Usage: hark"), "{}", help.stdout);
        for secret in [GOOD_SECRET, "top-secret", "@db/"] {
            assert!(!help.stdout.contains(secret) && !help.stderr.contains(secret), "{arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_command_prints_the_document_and_starts_nothing() {
    let run = hark(&["openapi"], &[]).await;
    assert!(run.status.success(), "{}", run.stderr);
    assert_eq!(run.stdout, printed());
    assert!(run.left_behind.is_empty(), "{:?}", run.left_behind);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_command_asks_the_server_of_the_same_settings() {
    let server = TestServer::start().await;
    let address = server.server.address().to_string();
    let anywhere = format!("0.0.0.0:{}", server.server.address().port());
    for listen in [&address, &anywhere] {
        let run = hark(&["healthcheck"], &[("HARK_LISTEN", listen)]).await;
        assert!(run.status.success() && run.stdout.is_empty() && run.left_behind.is_empty(), "{}", run.stderr);
    }
    assert_refused(&hark(&["healthcheck"], &[]).await, 1, "HARK_LISTEN");

    // Another program listens at the port, and answers something or nothing.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let others = other.local_addr().expect("an address").to_string();
    let settings = [("HARK_LISTEN", others.as_str())];
    let (silent, _held) = tokio::join!(hark(&["healthcheck"], &settings), other.accept());
    assert_refused(&silent, 1, &others);
    let refuse = async {
        let (mut connection, _) = other.accept().await.expect("a connection");
        connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await.expect("room");
        connection
    };
    let (refused, _held) = tokio::join!(hark(&["healthcheck"], &settings), refuse);
    assert_refused(&refused, 1, &others);
    drop(other);
    assert_refused(&hark(&["healthcheck"], &settings).await, 1, &others);
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_is_reported_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let run = hark(&[], &[("HARK_LISTEN", &address)]).await;
    assert_refused(&run, 1, "HARK_LISTEN");
    assert!(run.stderr.contains(&address), "{}", run.stderr);
    // This address belongs to no interface of the machine.
    assert_refused(&hark(&[], &[("HARK_LISTEN", "192.0.2.1:3000")]).await, 1, "HARK_LISTEN 192.0.2.1:3000");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_database_is_reported_without_its_password() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let secret = ("HARK_JWT_SECRET", GOOD_SECRET);
    let (away, unreadable) = (format!("postgres://hark:top-secret@{free}/hark"), "postgres://hark:top-secret@[/hark");
    let (to_serve, to_migrate) = ([("DATABASE_URL", away.as_str()), secret], [("DATABASE_URL", away.as_str())]);
    let unreadable = [("DATABASE_URL", unreadable), secret];
    let (serve, migrate, unreadable) =
        tokio::join!(hark(&[], &to_serve), hark(&["migrate"], &to_migrate), hark(&[], &unreadable));
    assert_refused(&unreadable, BAD_SETTING, "DATABASE_URL");
    for run in [&serve, &migrate] {
        assert_refused(run, 1, "the database cannot be used");
    }
    for run in [serve, migrate, unreadable] {
        assert!(!run.stderr.contains("top-secret"), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_may_come_before_or_after_the_command() {
    let late = hark(&["serve", "--jwt-secret", "short"], &[]).await;
    let early = hark(&["--jwt-secret", "short", "serve"], &[]).await;
    for run in [late, early] {
        assert_refused(&run, BAD_SETTING, "HARK_JWT_SECRET");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_without_postgresql_programs_is_named() {
    let empty = TempDir::new().expect("a folder");
    let folder = empty.path().to_str().expect("UTF-8");
    let run = hark(&[], &[("HARK_POSTGRES_BIN", folder)]).await;
    assert_refused(&run, 1, "HARK_POSTGRES_BIN");
    assert!(run.stderr.contains(folder), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_folder_that_is_a_file_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    assert_refused(&hark(&[], &[("HARK_DATA_DIR", path)]).await, 1, path);
}
