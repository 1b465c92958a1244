//! What the servers say of themselves, from outside.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tokio::time::{Instant, interval, sleep};

use super::faults::Targets;
use super::process::signals;
use super::record::Seen;
use super::recorder::Recorder;

/// How long an answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a server may take to work again after something was done to it.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until all servers say that they work.
///
/// # Errors
/// Which one does not, in a minute.
pub(crate) async fn wait_until_ready(servers: &[String]) -> Result<(), String> {
    let http = client()?;
    let deadline = Instant::now() + READY_WITHIN;
    for server in servers {
        while status(&http, server).await != Some(200) {
            if Instant::now() > deadline {
                return Err(format!("{server} is not ready again after {READY_WITHIN:?}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Writes down what `/readyz` says and how much memory the servers hold, until it is dropped.
pub(crate) async fn watch(servers: Vec<String>, targets: Arc<Targets>, recorder: Recorder) {
    let Ok(http) = client() else { return };
    let mut often = interval(LOOK_EVERY);
    loop {
        often.tick().await;
        for (server, address) in servers.iter().enumerate() {
            let asked = recorder.now();
            let status = status(&http, address).await;
            recorder.note(Seen::Ready { server, asked, status });
            // Not while it is being started.
            let pid = targets.servers.get(server).and_then(|server| server.try_lock().ok()?.pid());
            if let Some(Ok(kib)) = pid.map(signals::memory_kib) {
                recorder.note(Seen::Memory { server, kib });
            }
        }
    }
}

/// How far a server's clock is from ours, in seconds, as the `Date` of its answers says.
///
/// # Errors
/// Where it does not answer, or without a date.
pub(crate) async fn clock_of(server: &str) -> Result<i64, String> {
    let answer = client()?.get(format!("{server}/healthz")).send().await.map_err(|error| error.to_string())?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).ok_or("no Date")?;
    let theirs = chrono::DateTime::parse_from_rfc2822(date).map_err(|error| error.to_string())?;
    Ok(theirs.timestamp() - chrono::Utc::now().timestamp())
}

fn client() -> Result<Client, String> {
    Client::builder().no_proxy().timeout(ANSWERS_WITHIN).build().map_err(|error| error.to_string())
}

async fn status(http: &Client, server: &str) -> Option<u16> {
    http.get(format!("{server}/readyz")).send().await.ok().map(|answer| answer.status().as_u16())
}
