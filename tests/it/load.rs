//! `hark-bench` against a server: each scenario runs, and finds nothing wrong.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::TestServer;

/// Signing up takes a debug build its time.
const RUN_WITHIN: Duration = Duration::from_mins(2);

/// What the tool finds; its arguments are separated by spaces.
async fn results(server: &TestServer, folder: &Path, arguments: &str) -> Value {
    let json = folder.join("results.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hark-bench"));
    command.args(arguments.split(' ')).args(["--warm-up", "0.1", "--seconds", "0.5", "--server", &server.url("")]);
    command.arg("--accounts").arg(folder.join("people.json")).arg("--json").arg(&json);
    command.arg("--svg").arg(folder.join("plot.svg")).kill_on_drop(true);
    let output = timeout(RUN_WITHIN, command.output()).await.expect("an end in time").expect("the tool starts");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(json).expect("results")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_runs_and_finds_nothing_wrong() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        "private --senders 2 --window 3",
        "private --senders 2 --rate 100 --client-ids",
        "group --members 4 --writers 2 --window 2",
        "mixed --people 12 --rate 100",
        // What was said before is what it reads.
        "pages --limit 2 --page 2",
        "storm --sockets 12 --a-user 4 --senders 2 --rate 100",
        "logins --senders 2 --rate 50 --logins 5",
    ] {
        let results = results(&server, folder.path(), arguments).await;
        assert_eq!(results["refused"], serde_json::json!({}), "{arguments}");
        assert_eq!(results["ended"], serde_json::json!({}), "{arguments}");
        let measurements = results["measurements"].as_array().expect("a list");
        assert!(!measurements.is_empty(), "{arguments}");
        for measurement in measurements {
            // A storm of twelve is over before the next message is due.
            let is_storm = measurement["name"].as_str().is_some_and(|name| name.ends_with("meanwhile"));
            assert!(is_storm || measurement["count"].as_u64() > Some(0), "{arguments}: {measurement}");
        }
        if !arguments.starts_with("pages") {
            let right = serde_json::json!({ "lost": 0, "doubled": 0, "outOfOrder": 0 });
            assert_eq!(results["wrongs"], right, "{arguments}");
        }
    }
    let held = results(&server, folder.path(), "idle --sockets 30 --a-user 10").await;
    assert_eq!(held["ended"], serde_json::json!({}));
}
