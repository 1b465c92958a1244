//! Off-the-shelf WebSocket clients with default settings, one in Python and one in Node, which stay
//! connected through minutes of traffic. Their libraries come from the registries into `target/`. Where
//! Python, Node or a registry is missing, the test prints a line on standard error, past the capture of
//! test output.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{TestServer, not_run};

/// The duration covers several pings of either side.
const TRAFFIC_SECONDS: u64 = 150;
/// The timeout covers an install from a registry and the start of a program.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(3);

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Returns the folder of installed libraries, which all runs share.
fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name)
}

/// Runs a command to its end, and returns its standard output, or why there is none.
async fn run(command: &mut Command, input: &str, within: Duration) -> Result<String, String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    // A program that ends early reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes()).await;
    let output = timeout(within, child.wait_with_output()).await.map_err(|_| format!("{program} did not end"))?;
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{program}: {}; {} {}", output.status, text(&output.stdout), text(&output.stderr)))
    }
}

/// Returns the command that runs the Python program, once its library is installed.
async fn python() -> Result<Command, String> {
    let folder = installed("python");
    let python = folder.join("bin/python");
    if run(Command::new(&python).args(["-c", "import websockets"]), "", PROGRAM_TIMEOUT).await.is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder), "", PROGRAM_TIMEOUT).await?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "websockets>=14"];
        run(Command::new(&python).args(install), "", PROGRAM_TIMEOUT).await?;
    }
    let mut command = Command::new(python);
    command.arg(programs().join("chat.py"));
    Ok(command)
}

/// Returns the command that runs the Node program, once its library is installed.
async fn node() -> Result<Command, String> {
    let folder = installed("node");
    if !folder.join("node_modules/ws/package.json").exists() {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "ws@8"];
        run(Command::new("npm").args(install).arg("--prefix").arg(&folder), "", PROGRAM_TIMEOUT).await?;
    }
    // Node 22 has a built-in WebSocket; Node 21 needs this flag.
    let flag = "--experimental-websocket";
    let asks = format!("process.allowedNodeEnvironmentFlags.has('{flag}')");
    let has_flag = run(Command::new("node").args(["-p", &asks]), "", PROGRAM_TIMEOUT).await? == "true";
    let mut command = Command::new("node");
    command.args(has_flag.then_some(flag)).arg(programs().join("chat.mjs"));
    command.env("NODE_PATH", folder.join("node_modules"));
    Ok(command)
}

/// Lets eight users chat through a program, and checks the program's report.
async fn chat(server: &TestServer, prefix: &str, command: Result<Command, String>) -> Result<(), String> {
    let mut command = match command {
        Ok(command) => command,
        Err(why) => {
            not_run(&format!("off-the-shelf clients in {prefix}"), why.lines().next().unwrap_or_default());
            return Ok(());
        }
    };
    let users = server.create_users(prefix, 8).await;
    let users: Vec<_> = users.iter().map(|user| json!({ "id": user.id, "token": user.token })).collect();
    command.arg(format!("ws://{}/", server.server.address())).arg(TRAFFIC_SECONDS.to_string());
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let report =
        run(&mut command, &json!(users).to_string(), Duration::from_secs(TRAFFIC_SECONDS) + PROGRAM_TIMEOUT).await?;
    println!("{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn client_libraries_stay_connected_through_minutes_of_traffic() {
    let server = TestServer::start_with(|config| config.limits.requests_per_second = 50).await;
    let (python, node) = tokio::join!(async { chat(&server, "Python", python().await).await }, async {
        chat(&server, "Node", node().await).await
    },);
    assert_eq!((python, node), (Ok(()), Ok(())));
}
