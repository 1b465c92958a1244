//! What every test stands on.

mod client;
mod cluster;
pub mod database;
mod http;
pub mod pgbouncer;
mod process;
mod server;

pub use client::{Client, SocketEnd};
pub use cluster::Cluster;
pub use http::{Answer, answer, steady};
pub use process::{Process, hark};
pub use server::{TestServer, User};

use std::io::Write as _;
use std::time::Duration;

/// Longest wait for anything that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Says that a test, or a part of it, is not run, past the capture of the test's output.
pub fn not_run(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}: {why}");
}

/// Waits until `condition` is true; for what no push announces.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("it never came true: {what}"));
}
