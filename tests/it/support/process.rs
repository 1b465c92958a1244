//! The real binary, as `make run` starts it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Client, TEST_TIMEOUT};

/// Builds the command that runs it on this data folder, on a free port that its output names, without the
/// rate limits that tests, which all come from one address, would exceed.
pub fn hark(data_dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hark"));
    // Other variables are the settings of a real server on this machine.
    let is_setting = |(name, _): &(String, _)| name.starts_with("HARK_") || name == "DATABASE_URL";
    for (name, _) in std::env::vars().filter(is_setting) {
        command.env_remove(name);
    }
    command.env("HARK_DATA_DIR", data_dir).env("HARK_LISTEN", "127.0.0.1:0");
    command.env("HARK_SIGN_UPS_PER_MINUTE", "0").env("HARK_LOGINS_PER_MINUTE", "0");
    command.env("HARK_REQUESTS_PER_SECOND", "0").env("HARK_LOG", "warn").stdout(Stdio::piped());
    command
}

/// A running `hark` on its private PostgreSQL.
pub struct Process {
    child: Child,
    pub address: std::net::SocketAddr,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it on this data folder, and waits for its startup line.
    pub async fn start(data_dir: &Path) -> Self {
        Self::run(hark(data_dir)).await
    }

    /// Starts it on a database that others use too, who sign their tokens with this secret.
    pub async fn on(database_url: &str, secret: &str) -> Self {
        let mut command = hark(Path::new("/nowhere"));
        command.env("DATABASE_URL", database_url).env("HARK_JWT_SECRET", secret);
        Self::run(command).await
    }

    /// Runs a command of [`hark`], and waits for its startup line.
    pub async fn run(command: std::process::Command) -> Self {
        let mut child = Command::from(command).kill_on_drop(true).spawn().expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = timeout(TEST_TIMEOUT, async {
            loop {
                let line = output.next_line().await.expect("output").expect("a greeting before the end");
                if let Some((_, address)) = line.split_once("listening on http://") {
                    return address.parse().expect("an address");
                }
            }
        })
        .await
        .expect("a greeting in time");
        Self { child, address, _output: output }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("our own process");
    }

    /// Waits for the exit code, which is `None` if a signal ended the process.
    pub async fn wait_for_exit(mut self, within: Duration) -> Option<i32> {
        timeout(within, self.child.wait()).await.expect("an end in time").expect("a status").code()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}{path}", self.address);
        let response = reqwest::Client::new().post(url).body(body.to_string()).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }

    /// Returns the body of a GET request.
    pub async fn get(&self, path: &str) -> String {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.expect("an answer");
        response.text().await.expect("a text")
    }

    /// Signs up and logs in over HTTP, and returns the id and the token.
    pub async fn create_user(&self, name: &str) -> (i64, String) {
        let account = json!({ "username": name, "password": "correct horse", "firstName": name });
        self.post("/api/v1/auth/sign-up", account.clone()).await;
        let login = self.post("/api/v1/auth/login", account).await;
        (login["id"].as_i64().expect("an id"), login["token"].as_str().expect("a token").to_owned())
    }

    /// Opens an authorized socket.
    pub async fn connect(&self, token: &str) -> Client {
        Client::connect(self.address, token).await
    }
}
