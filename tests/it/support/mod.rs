//! What the tests share: a server, clients, databases, and processes.

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

use clap::Parser as _;
use hark::config::{Cli, Limits};

/// Maximum wait for anything that must happen.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Reports that a test, or a part of it, does not run, past the capture of the test's output.
pub fn not_run(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}: {why}");
}

/// Returns the limits of a server without any settings.
pub fn default_limits() -> Limits {
    Cli::parse_from(["hark"]).config.limits
}

/// Waits until `condition` is true, with a timeout; for what no push announces.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("it never came true: {what}"));
}
