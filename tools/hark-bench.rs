//! `hark-bench`: how fast is a server of this protocol?

mod accounts;
mod bench;

use std::fs;
use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

use bench::options::Cli;
use bench::{Bench, Failure, scenarios};

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
    let mut bench = Bench::prepare(cli.options).await?;
    let results = scenarios::run(&mut bench, &cli.scenario).await?;
    println!("\n{results}");
    if let Some(file) = &bench.options.json {
        fs::write(file, serde_json::to_string_pretty(&results)?).map_err(|error| Failure::File(file.clone(), error))?;
    }
    Ok(())
}

/// A socket is a file. Where it cannot be raised, opening the sockets says so.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
