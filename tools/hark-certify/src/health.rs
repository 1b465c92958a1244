//! The health of the servers, as seen from outside: readiness, memory and clock.

use std::time::Duration;

use reqwest::Client;
use tokio::time::{Instant, interval, sleep};

use crate::history::event::Event;
use crate::history::recorder::Recorder;
use crate::processes::signals;

/// Maximum wait for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to be ready again after a fault.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Waits until `/readyz` of every server is 200.
///
/// # Errors
/// A sentence with the first server that is not ready within [`READY_TIMEOUT`].
pub(crate) async fn wait_until_ready(servers: &[String]) -> Result<(), String> {
    let http = client()?;
    let deadline = Instant::now() + READY_TIMEOUT;
    for server in servers {
        while status(&http, server).await != Some(200) {
            if Instant::now() > deadline {
                return Err(format!("{server} is not ready again after {READY_TIMEOUT:?}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Records the readiness and memory of the servers until it is dropped. `pid` returns the process id of the server with
/// a number; `None` while it is not running, or if another program runs it.
pub(crate) async fn watch(servers: Vec<String>, pid: impl Fn(usize) -> Option<u32>, recorder: Recorder) {
    let Ok(http) = client() else { return };
    let mut ticks = interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        for (server, address) in servers.iter().enumerate() {
            let asked_at = recorder.now();
            let status = status(&http, address).await;
            recorder.note(Event::Ready { server, asked_at, status });
            if let Some(Ok(kib)) = pid(server).map(signals::memory_kib) {
                recorder.note(Event::Memory { server, kib });
            }
        }
    }
}

/// The offset of a server's clock from ours, in seconds, by the `Date` header of its responses.
///
/// # Errors
/// The server does not respond, or without a date.
pub(crate) async fn clock_offset(server: &str) -> Result<i64, String> {
    let response = client()?.get(format!("{server}/healthz")).send().await.map_err(|error| error.to_string())?;
    let date = response.headers().get("date").and_then(|date| date.to_str().ok()).ok_or("no Date")?;
    let theirs = chrono::DateTime::parse_from_rfc2822(date).map_err(|error| error.to_string())?;
    Ok(theirs.timestamp() - chrono::Utc::now().timestamp())
}

fn client() -> Result<Client, String> {
    Client::builder().no_proxy().timeout(RESPONSE_TIMEOUT).build().map_err(|error| error.to_string())
}

async fn status(http: &Client, server: &str) -> Option<u16> {
    http.get(format!("{server}/readyz")).send().await.ok().map(|response| response.status().as_u16())
}
