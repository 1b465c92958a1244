//! `hark-certify`, as its users run it: a short run of each fault. What the judge knows is tested
//! beside the judge; here the faults are made, and the server loses nothing by them.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::Process;

/// Longest wait for one run.
const RUNS_WITHIN: Duration = Duration::from_mins(4);
/// Where libfaketime is, where it is.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// What a run printed, and whether it found nothing wrong.
struct Run {
    text: String,
    holds: bool,
}

impl Run {
    /// Runs it to its end.
    async fn of(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hark-certify"));
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(RUNS_WITHIN, command.output()).await.expect("an end in time").expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Self { text, holds: output.status.success() }
    }

    /// A short round in which one thing is done to servers that it starts itself.
    async fn with(fault: &str, more: &[&str]) -> Self {
        let hark = env!("CARGO_BIN_EXE_hark");
        let arguments = ["run", "--hark", hark, "--faults", fault, "--seconds", "4", "--people", "5", "--seed", "7"];
        Self::of(&[&arguments, more].concat()).await
    }

    /// A verdict without a violation, of a round in which the fault was made at least once.
    fn survived(&self, fault: &str) {
        assert!(self.holds, "{}", self.text);
        assert!(self.text.contains(&format!(" × {fault}\n")), "{fault} was not made: {}", self.text);
        for rule in [
            "no acknowledged message is lost",
            "no message is stored twice",
            "nothing is pushed that is not stored",
            "seq has no gap, and all members see one order",
            "a cursor misses nothing",
            "unreadCount equals a count over the rows",
        ] {
            self.held(rule);
        }
    }

    /// Whether it says that a fault could not be made, and why.
    fn is_not_made(&self, fault: &str, why: &str) -> bool {
        self.text.contains(&format!("not made here         {fault}: {why}"))
    }

    /// Something was seen of a rule, and it held.
    fn held(&self, rule: &str) {
        let line = self.text.lines().find(|line| line.contains(rule)).unwrap_or_else(|| panic!("{}", self.text));
        assert!(line.contains("held"), "{line}\n{}", self.text);
    }
}

// Runs wait for most of their time, so those of one kind go side by side.

#[tokio::test]
async fn what_is_done_to_the_server_loses_nothing() {
    let faults = ["kill-server", "restart-server", "kill-one-of-two"];
    for (fault, run) in faults.iter().zip(join_all(faults.map(|fault| Run::with(fault, &[]))).await) {
        run.survived(fault);
        run.held("the servers work again after each fault");
    }
}

#[tokio::test]
async fn what_is_done_to_postgresql_loses_nothing_and_disconnects_nobody() {
    let faults = ["kill-postgres", "kill-backend", "failing-writes"];
    // Stopped for longer than anybody may wait for an answer.
    let stop = Run::with("stop-postgres", &["--stop-seconds", "17"]);
    let (runs, stop) = tokio::join!(join_all(faults.map(|fault| Run::with(fault, &[]))), stop);
    stop.held("every request is answered within 15 s");
    stop.held("while PostgreSQL is away nothing is acknowledged, and /readyz says so");
    for (fault, run) in faults.iter().zip(&runs).chain([(&"stop-postgres", &stop)]) {
        run.survived(fault);
        run.held("nobody is disconnected because of PostgreSQL, and work goes on by itself");
    }
}

#[tokio::test]
async fn what_not_every_machine_can_do_loses_nothing_or_is_said_not_to_be_made() {
    let faults = ["full-disk", "clock-jump"];
    let (disk, clock) = tokio::join!(Run::with("full-disk", &[]), Run::with("clock-jump", &[]));
    let has_faketime = FAKETIME.iter().any(|path| std::path::Path::new(path).exists());
    // Root alone does not help: a container's may not be let to mount.
    let can_mount = !disk.is_not_made("full-disk", "it takes root, and the right to mount a small file system");
    assert!(rustix::process::geteuid().is_root() || !can_mount, "{}", disk.text);
    assert_eq!(has_faketime, !clock.is_not_made("clock-jump", "libfaketime is not installed"), "{}", clock.text);
    for ((fault, run), made) in faults.iter().zip([disk, clock]).zip([can_mount, has_faketime]) {
        if made {
            run.survived(fault);
        } else {
            assert!(run.holds && !run.text.contains(&format!(" × {fault}")), "it is not counted: {}", run.text);
        }
    }
}

#[tokio::test]
async fn what_clients_do_loses_nothing_and_delays_nobody() {
    let faults = ["cut-frame", "slow-reader", "garbage"];
    for (fault, run) in faults.iter().zip(join_all(faults.map(|fault| Run::with(fault, &[]))).await) {
        run.survived(fault);
        run.held("a slow or hostile client delays nobody");
        run.held("the server's memory stays bounded");
    }
}

/// One after the other: each has several PostgreSQL of its own.
#[tokio::test]
async fn a_restore_leaves_nothing_of_the_lost_history_behind() {
    for (fault, rounds) in [("restore-dump", 3), ("restore-folder", 2), ("promote-standby", 1)] {
        let run = Run::with(fault, &[]).await;
        assert!(run.holds, "{}", run.text);
        assert!(run.text.contains(&format!(" {rounds} × {fault}\n")), "{fault} was not made: {}", run.text);
        for rule in [
            "no acknowledged message is lost",
            "seq has no gap, and all members see one order",
            "after a restore no cursor hides what is new",
            "who was removed before a message gets it never",
            "who was never added to a group gets nothing of it",
            "search finds what was acknowledged",
        ] {
            run.held(rule);
        }
        run.held("a token of a lost history opens nothing");
    }
}

#[tokio::test]
async fn a_database_that_was_read_only_for_a_moment_is_written_to_again() {
    let run = Run::with("read-only", &[]).await;
    run.survived("read-only");
    run.held("while PostgreSQL is away nothing is acknowledged, and /readyz says so");
    run.held("nobody is disconnected because of PostgreSQL, and work goes on by itself");
}

#[tokio::test]
async fn pgbouncer_is_gone_through_or_refused_or_said_not_to_be_there() {
    let run = Run::with("pgbouncer", &[]).await;
    if run.is_not_made("pgbouncer", "PgBouncer is not installed") {
        assert!(run.holds && !run.text.contains(" × pgbouncer"), "it is not counted: {}", run.text);
        return;
    }
    run.survived("pgbouncer");
    run.held("what cannot work is refused at the start, with a sentence");
}

#[tokio::test]
async fn one_person_who_floods_the_server_keeps_nobody_else_waiting() {
    let run = Run::with("abuse", &[]).await;
    run.survived("abuse");
    run.held("a slow or hostile client delays nobody");
    run.held("the abuse of one person refuses nobody else");
    run.held("the server's memory stays bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_runs_is_watched_and_the_record_is_judged_again() {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let (server, file) = (format!("http://{}", process.address), data.path().join("record"));
    let file = file.to_str().expect("a path");
    let run = Run::of(&["watch", "--server", &server, "--seconds", "4", "--people", "5", "--record", file]).await;
    assert!(run.holds, "{}", run.text);
    run.held("no acknowledged message is lost");
    let verdict = |text: &str| text.split_once("\nverdict\n").expect("a verdict").1.to_owned();
    let again = Run::of(&["judge", file]).await;
    assert!(again.holds);
    assert_eq!(verdict(&again.text), verdict(&run.text));

    // Without the last message of a history it is another verdict.
    let record = std::fs::read_to_string(file).expect("a record");
    let lossy: Vec<String> = record
        .lines()
        .map(|line| match line.rfind(",{\"id\":").filter(|_| line.contains("\"history\"")) {
            Some(last) => format!("{}]}}}}}}", &line[..last]),
            None => line.to_owned(),
        })
        .collect();
    std::fs::write(file, lossy.join("\n")).expect("room");
    let lossy = Run::of(&["judge", file]).await;
    assert!(!lossy.holds && lossy.text.contains("VIOLATED 1. no acknowledged message is lost"), "{}", lossy.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_begin_says_why() {
    let run = Run::of(&["watch", "--server", "http://127.0.0.1:1", "--seconds", "1"]).await;
    assert!(!run.holds && run.text.contains("hark-certify: the server does not answer"), "{}", run.text);
    let run = Run::of(&["run", "--hark", "/nowhere/hark", "--faults", "garbage", "--seconds", "1"]).await;
    assert!(!run.holds && run.text.contains("hark-certify: /nowhere/hark"), "{}", run.text);
}
