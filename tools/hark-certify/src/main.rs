//! `hark-certify`: injects faults into servers under load, and checks that nothing is lost.
//!
//! It drives a server with clients who write, read, join and leave, injects faults meanwhile, records every request,
//! reply and push with its time, and checks the recorded history. It speaks the protocol alone.
//!
//! Imports run one way:
//!
//! ```text
//! main → rounds → scenarios | inject → health | clients → processes → history
//! main → report → checker → history
//! ```
//!
//! A room may import every room to its right, and `options` and `fault`, which import no other. Rooms joined by `|` do
//! not import each other.
//!
//! - `options`: the command line; `fault`: the faults that it names
//! - `history`: events, the recorder, and the file of a history
//! - `processes`: servers, PostgreSQL and the pooler, started and killed
//! - `clients`: devices of users that run random actions, and the final state that they read
//! - `health`: `/readyz`, memory and clock of the servers
//! - `inject`: the faults
//! - `scenarios`: rounds that follow a script, with a backup and a restore
//! - `rounds`: all other rounds
//! - `checker`: from a history to a verdict; `report` prints it

mod checker;
mod clients;
mod fault;
mod health;
mod history;
mod inject;
mod options;
mod processes;
mod report;
mod rounds;
mod scenarios;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use checker::check_history;
use checker::verdict::Verdict;
use history::event::{Entry, Event};
use history::file::{self, HistoryFile};
use options::{Load, Mode, Options};

/// Exits with success if no rule is violated.
fn main() -> ExitCode {
    let verdicts = match Options::parse().mode {
        Mode::Judge { file } => file::read(&file).map(|rounds| rounds.iter().map(|round| check_round(round)).collect()),
        mode => run_rounds(mode),
    };
    match verdicts.map(report::sum) {
        Ok(Some(verdict)) => {
            report::verdict(&verdict);
            if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => fail("there is no round to check"),
        Err(sentence) => fail(&sentence),
    }
}

fn fail(sentence: &str) -> ExitCode {
    eprintln!("hark-certify: {sentence}");
    ExitCode::FAILURE
}

/// Runs the rounds of `run` or `watch`, and checks each one when it is over.
fn run_rounds(mode: Mode) -> Result<Vec<Verdict>, String> {
    // One thread: child processes are to end with this process, and the kernel ties that to the thread that started
    // them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let mut verdicts = Vec::new();
    match mode {
        Mode::Run(run) => {
            let seed = seed(&run.load);
            let mut file = HistoryFile::create(run.load.record.as_deref())?;
            for plan in rounds::plan::plans(&run, seed) {
                let entries = runtime.block_on(unless_interrupted(rounds::run(&plan, &run)))?;
                file.write(&entries)?;
                verdicts.push(check_round(&entries));
            }
        }
        Mode::Watch(watch) => {
            let seed = seed(&watch.load);
            let mut file = HistoryFile::create(watch.load.record.as_deref())?;
            let entries = runtime.block_on(unless_interrupted(rounds::watch(&watch, seed)))?;
            file.write(&entries)?;
            verdicts.push(check_round(&entries));
        }
        Mode::Judge { .. } => {}
    }
    Ok(verdicts)
}

/// Drops a round at an interrupt, so that no process, folder or mount of it is left.
async fn unless_interrupted<T>(round: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    tokio::select! {
        result = round => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        _ = terminate.recv() => Err("interrupted".to_owned()),
    }
}

/// The seed of the command line, or a random one. It is printed, so that a run can be repeated.
fn seed(load: &Load) -> u64 {
    let seed = load.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}: --seed {seed} repeats the same choices");
    seed
}

/// Checks a round and prints the result.
fn check_round(entries: &[Entry]) -> Verdict {
    let name = entries.iter().find_map(|entry| match &entry.event {
        Event::Round(round) => Some(round.name.as_str()),
        _ => None,
    });
    let verdict = check_history(entries);
    report::round(name.unwrap_or("a round"), &verdict);
    verdict
}
