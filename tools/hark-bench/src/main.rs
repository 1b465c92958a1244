//! `hark-bench`: measures the throughput, latency and cost of a server that speaks Hark's protocol.
//!
//! Imports run one way:
//!
//! ```text
//! main → scenarios → load → context → error → accounts → sockets → measure
//! main → standard → report → error
//! ```
//!
//! A room may import every room to its right, and `options`, which imports none.
//!
//! - `options`: the command line
//! - `measure`: the clock and the counters of a run, its results, and the checker for lost and duplicated messages
//! - `sockets`: WebSocket connections, and one request at a time over them
//! - `accounts`: a pool of signed-up users, kept in a file
//! - `context`, `error`: what every scenario gets, and why one fails
//! - `load`: senders, receivers, virtual users and idle sockets
//! - `scenarios`: one file for each kind of load
//! - `report`: the tables and plots of docs/performance.md
//! - `standard`: the standard benchmark, which runs the scenarios in turn with PostgreSQL alone

mod accounts;
mod context;
mod error;
mod load;
mod measure;
mod options;
mod report;
mod scenarios;
mod sockets;
mod standard;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use context::Context;
use error::BenchError;
use options::{Cli, Command};
use report::plot;

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_file_limit();
    // One thread: the load shares the cores with the server that it measures.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hark-bench: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match LocalSet::new().block_on(&runtime, run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nhark-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), BenchError> {
    let scenario = match cli.command {
        Command::Scenario(scenario) => scenario,
        Command::Report(options) => return report::write(&options.results, &options.page),
        Command::Standard(options) => return standard::run(&options).await,
    };
    let mut context = Context::prepare(cli.options).await?;
    let results = scenarios::run(&mut context, &scenario).await?;
    println!("\n{results}");
    let write =
        |file: &PathBuf, text: String| fs::write(file, text).map_err(|error| BenchError::File(file.clone(), error));
    if let Some(file) = &context.options.json {
        write(file, serde_json::to_string_pretty(&results)?)?;
    }
    if let Some(file) = &context.options.svg {
        write(file, plot::latencies(&results.title(), &results.measurements.iter().collect::<Vec<_>>()))?;
    }
    Ok(())
}

/// Raises the limit of open files to its maximum, because a socket is a file. Where that fails, opening the sockets
/// reports it.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
