//! `hark-certify` as its users run it: a short run of each fault, by which the server loses nothing. The checker has unit
//! tests of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use hark_harness::server::{ServerProcess, command, fresh_program_beside};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const CERTIFY: &str = env!("CARGO_BIN_EXE_hark-certify");
/// Maximum time of a run.
const RUN_TIMEOUT: Duration = Duration::from_mins(4);
/// Maximum time of a start of a server, with `initdb`.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The usual paths of libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// The path of the server's program.
fn hark() -> String {
    let program = fresh_program_beside(Path::new(CERTIFY)).unwrap_or_else(|error| panic!("{error}"));
    program.display().to_string()
}

/// The output of a run, and whether no rule is violated.
struct Run {
    text: String,
    holds: bool,
}

impl Run {
    /// Runs the tool to its end.
    async fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(CERTIFY);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(RUN_TIMEOUT, command.output()).await.expect("the run ends").expect("the tool starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Self { text, holds: output.status.success() }
    }

    /// A short round with one fault, on servers that the tool starts itself.
    async fn with_fault(fault: &str, more: &[&str]) -> Self {
        let hark = hark();
        let arguments = ["run", "--hark", &hark, "--faults", fault, "--seconds", "4", "--people", "5", "--seed", "7"];
        Self::new(&[&arguments, more].concat()).await
    }

    /// Asserts that the fault was injected at least once, that no rule is violated, and that the main rules held.
    fn assert_survived(&self, fault: &str) {
        assert!(self.holds, "{}", self.text);
        assert!(self.text.contains(&format!(" × {fault}\n")), "{fault} was not injected: {}", self.text);
        for rule in [
            "no acknowledged message is lost",
            "no message is stored twice",
            "nothing is pushed that is not stored",
            "seq has no gap, and all members see one order",
            "a cursor misses nothing",
            "unreadCount equals a count over the rows",
        ] {
            self.assert_held(rule);
        }
    }

    /// Whether the fault was skipped for this reason.
    fn is_skipped(&self, fault: &str, reason: &str) -> bool {
        self.text.contains(&format!("skipped               {fault}: {reason}"))
    }

    /// Asserts that there is evidence for a rule, and that it held.
    fn assert_held(&self, rule: &str) {
        let line = self.text.lines().find(|line| line.contains(rule)).unwrap_or_else(|| panic!("{}", self.text));
        assert!(line.contains("held"), "{line}\n{}", self.text);
    }
}

// A run waits for most of its time, so the runs of one test are concurrent.

#[tokio::test]
async fn server_faults_lose_nothing() {
    let faults = ["kill-server", "restart-server", "kill-one-of-two"];
    for (fault, run) in faults.iter().zip(join_all(faults.map(|fault| Run::with_fault(fault, &[]))).await) {
        run.assert_survived(fault);
        run.assert_held("the servers are ready again after each fault");
    }
}

#[tokio::test]
async fn postgres_faults_lose_nothing_and_disconnect_nobody() {
    let faults = ["kill-postgres", "kill-backend", "failing-writes"];
    // Stopped for longer than a request may wait for its reply.
    let stop = Run::with_fault("stop-postgres", &["--stop-seconds", "17"]);
    let (runs, stop) = tokio::join!(join_all(faults.map(|fault| Run::with_fault(fault, &[]))), stop);
    stop.assert_held("every request is answered within 15 s");
    stop.assert_held("while PostgreSQL is down nothing is acknowledged, and /readyz is 503");
    for (fault, run) in faults.iter().zip(&runs).chain([(&"stop-postgres", &stop)]) {
        run.assert_survived(fault);
        run.assert_held("a PostgreSQL outage disconnects nobody, and sends succeed again");
    }
}

#[tokio::test]
async fn full_disk_and_clock_jump_lose_nothing_or_are_skipped() {
    let faults = ["full-disk", "clock-jump"];
    let (disk, clock) = tokio::join!(Run::with_fault("full-disk", &[]), Run::with_fault("clock-jump", &[]));
    let has_faketime = FAKETIME.iter().any(|path| std::path::Path::new(path).exists());
    // Root is not enough: in a container it may lack the right to mount.
    let can_mount = !disk.is_skipped("full-disk", "it takes root, and the right to mount a small file system");
    assert!(rustix::process::geteuid().is_root() || !can_mount, "{}", disk.text);
    assert_eq!(has_faketime, !clock.is_skipped("clock-jump", "libfaketime is not installed"), "{}", clock.text);
    for ((fault, run), is_possible) in faults.iter().zip([disk, clock]).zip([can_mount, has_faketime]) {
        if is_possible {
            run.assert_survived(fault);
        } else {
            assert!(
                run.holds && !run.text.contains(&format!(" × {fault}")),
                "a skipped fault is not counted: {}",
                run.text
            );
        }
    }
}

#[tokio::test]
async fn client_faults_lose_nothing_and_delay_nobody() {
    let faults = ["cut-frame", "slow-reader", "garbage"];
    for (fault, run) in faults.iter().zip(join_all(faults.map(|fault| Run::with_fault(fault, &[]))).await) {
        run.assert_survived(fault);
        run.assert_held("a slow or hostile client delays nobody");
        run.assert_held("the server's memory stays bounded");
    }
}

/// The runs are sequential, because each has several instances of PostgreSQL.
#[tokio::test]
async fn restores_leave_nothing_of_the_lost_history() {
    for (fault, rounds) in [("restore-dump", 3), ("restore-folder", 2), ("promote-standby", 1)] {
        let run = Run::with_fault(fault, &[]).await;
        assert!(run.holds, "{}", run.text);
        assert!(run.text.contains(&format!(" {rounds} × {fault}\n")), "{fault} was not injected: {}", run.text);
        for rule in [
            "no acknowledged message is lost",
            "seq has no gap, and all members see one order",
            "after a restore no cursor hides what is new",
            "a removed member receives no later message",
            "a non-member receives nothing of a group",
            "search finds what was acknowledged",
        ] {
            run.assert_held(rule);
        }
        run.assert_held("a token of a lost history opens nothing");
    }
}

#[tokio::test]
async fn read_only_database_is_written_again_afterwards() {
    let run = Run::with_fault("read-only", &[]).await;
    run.assert_survived("read-only");
    run.assert_held("while PostgreSQL is down nothing is acknowledged, and /readyz is 503");
    run.assert_held("a PostgreSQL outage disconnects nobody, and sends succeed again");
}

#[tokio::test]
async fn pgbouncer_works_in_session_mode_and_is_refused_in_transaction_mode() {
    let run = Run::with_fault("pgbouncer", &[]).await;
    if run.is_skipped("pgbouncer", "PgBouncer is not installed") {
        assert!(run.holds && !run.text.contains(" × pgbouncer"), "a skipped fault is not counted: {}", run.text);
        return;
    }
    run.assert_survived("pgbouncer");
    run.assert_held("an unsupported database is refused at startup, with a reason");
}

#[tokio::test]
async fn abuse_of_one_user_delays_and_refuses_nobody_else() {
    let run = Run::with_fault("abuse", &[]).await;
    run.assert_survived("abuse");
    run.assert_held("a slow or hostile client delays nobody");
    run.assert_held("the abuse of one user refuses no other user");
    run.assert_held("the server's memory stays bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_drives_a_running_server_and_judge_checks_the_history_again() {
    let data = TempDir::new().expect("a folder");
    let command = command(Path::new(&hark()), data.path());
    let server = ServerProcess::start(command, START_TIMEOUT).await.expect("the server starts");
    let file = data.path().join("history");
    let file = file.to_str().expect("a path");
    let run = Run::new(&["watch", "--server", server.url(), "--seconds", "4", "--people", "5", "--record", file]).await;
    assert!(run.holds, "{}", run.text);
    run.assert_held("no acknowledged message is lost");
    let verdict = |text: &str| text.split_once("\nverdict\n").expect("a verdict").1.to_owned();
    let again = Run::new(&["judge", file]).await;
    assert!(again.holds);
    assert_eq!(verdict(&again.text), verdict(&run.text));

    // Without the last message of a conversation the verdict is another one.
    let history = std::fs::read_to_string(file).expect("a history");
    let lossy: Vec<String> = history
        .lines()
        .map(|line| match line.rfind(",{\"id\":").filter(|_| line.contains("\"history\"")) {
            Some(last) => format!("{}]}}}}}}", &line[..last]),
            None => line.to_owned(),
        })
        .collect();
    std::fs::write(file, lossy.join("\n")).expect("room");
    let lossy = Run::new(&["judge", file]).await;
    assert!(!lossy.holds && lossy.text.contains("VIOLATED 1. no acknowledged message is lost"), "{}", lossy.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_start_names_the_reason() {
    let run = Run::new(&["watch", "--server", "http://127.0.0.1:1", "--seconds", "1"]).await;
    assert!(!run.holds && run.text.contains("hark-certify: the server does not answer"), "{}", run.text);
    let run = Run::new(&["run", "--hark", "/nowhere/hark", "--faults", "garbage", "--seconds", "1"]).await;
    assert!(!run.holds && run.text.contains("hark-certify: /nowhere/hark"), "{}", run.text);
}
