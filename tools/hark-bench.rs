//! `hark-bench`: how fast is a server of this protocol?

mod accounts;
mod bench;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use bench::options::{Cli, Command};
use bench::{Bench, Failure, plot, report, scenarios};

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_file_limit();
    // One thread: the load shares the cores with what it measures.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hark-bench: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match LocalSet::new().block_on(&runtime, run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nhark-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let scenario = match cli.command {
        Command::Scenario(scenario) => scenario,
        Command::Report(asked) => return report::write(&asked.results, &asked.page),
    };
    let mut bench = Bench::prepare(cli.options).await?;
    let results = scenarios::run(&mut bench, &scenario).await?;
    println!("\n{results}");
    let write =
        |file: &PathBuf, text: String| fs::write(file, text).map_err(|error| Failure::File(file.clone(), error));
    if let Some(file) = &bench.options.json {
        write(file, serde_json::to_string_pretty(&results)?)?;
    }
    if let Some(file) = &bench.options.svg {
        write(file, plot::latencies(&results.title(), &results.measurements.iter().collect::<Vec<_>>()))?;
    }
    Ok(())
}

/// A socket is a file. Where it cannot be raised, opening the sockets says so.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
