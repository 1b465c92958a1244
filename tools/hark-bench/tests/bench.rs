//! `hark-bench` against a server with a private PostgreSQL: each scenario runs, and finds no violation.

use std::path::Path;
use std::time::Duration;

use hark_harness::server::{ServerProcess, command, fresh_program_beside};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

const BENCH: &str = env!("CARGO_BIN_EXE_hark-bench");
/// Maximum time of a start of the server, with `initdb`.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time of a run of a scenario. A debug build needs time for the password hashes.
const RUN_TIMEOUT: Duration = Duration::from_mins(2);

/// Starts a server on `data_dir`.
async fn start_server(data_dir: &Path) -> ServerProcess {
    let program = fresh_program_beside(Path::new(BENCH)).unwrap_or_else(|error| panic!("{error}"));
    ServerProcess::start(command(&program, data_dir), START_TIMEOUT).await.expect("the server starts")
}

/// The JSON results of a run with these arguments, which are separated by spaces.
async fn results(server: &ServerProcess, folder: &Path, arguments: &str) -> Value {
    let json = folder.join("results.json");
    let mut command = Command::new(BENCH);
    command.args(arguments.split(' ')).args(["--warm-up", "0.1", "--seconds", "0.5", "--server", server.url()]);
    command.arg("--accounts").arg(folder.join("accounts.json")).arg("--json").arg(&json);
    command.arg("--svg").arg(folder.join("plot.svg")).kill_on_drop(true);
    let output = timeout(RUN_TIMEOUT, command.output()).await.expect("the run ends").expect("the tool starts");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(json).expect("results")).expect("JSON")
}

#[tokio::test]
async fn every_scenario_runs_without_a_violation() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start_server(folder.path()).await;
    for arguments in [
        "private --senders 2 --window 3",
        "private --senders 2 --rate 100 --client-ids",
        "group --members 4 --writers 2 --window 2",
        "mixed --people 12 --rate 100",
        // It reads the messages of the scenarios before it.
        "pages --limit 2 --page 2",
        "storm --sockets 12 --a-user 4 --senders 2 --rate 100",
        "logins --senders 2 --rate 50 --logins 5",
    ] {
        let results = results(&server, folder.path(), arguments).await;
        assert_eq!(results["errors"], serde_json::json!({}), "{arguments}");
        assert_eq!(results["disconnects"], serde_json::json!({}), "{arguments}");
        let measurements = results["measurements"].as_array().expect("a list");
        assert!(!measurements.is_empty(), "{arguments}");
        for measurement in measurements {
            // A storm of twelve sockets is over before the next message is due.
            let is_storm = measurement["name"].as_str().is_some_and(|name| name.ends_with("during"));
            assert!(is_storm || measurement["count"].as_u64() > Some(0), "{arguments}: {measurement}");
        }
        if !arguments.starts_with("pages") {
            let none = serde_json::json!({ "lost": 0, "duplicated": 0, "outOfOrder": 0 });
            assert_eq!(results["violations"], none, "{arguments}");
        }
    }
    let people = results(&server, folder.path(), "people --count 13").await;
    assert_eq!(people["settings"]["count"], 13);
    let idle = results(&server, folder.path(), "idle --sockets 30 --a-user 10").await;
    assert_eq!(idle["disconnects"], serde_json::json!({}));
    server.stop(Duration::from_secs(20)).await.expect("a graceful shutdown");
}
