//! Reading order: [`options`] what can be asked for, [`round`] how it goes, [`faults`] what is done
//! to the server, [`people`] who talks meanwhile, [`scenarios`] rounds that follow a script, [`record`] what is written down, [`judge`] what
//! it proves, [`report`] how that is said.

pub(crate) mod faults;
mod hostile;
mod judge;
pub(crate) mod options;
pub(crate) mod people;
mod process;
mod ready;
pub(crate) mod record;
mod recorder;
mod report;
mod round;
mod scenarios;

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use self::judge::{Verdict, judge};
use self::options::{Load, Mode, Options};
use self::record::{Entry, Seen};

/// Does what the command line says. Success is a verdict without a violation.
pub(crate) fn run(options: Options) -> ExitCode {
    let verdicts = match options.mode {
        Mode::Judge { file } => read(&file).map(|rounds| rounds.iter().map(|round| told(round)).collect()),
        mode => drive(mode),
    };
    match verdicts.map(report::sum) {
        Ok(Some(verdict)) => {
            report::verdict(&verdict);
            if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => fail("there is nothing to judge"),
        Err(sentence) => fail(&sentence),
    }
}

fn fail(sentence: &str) -> ExitCode {
    eprintln!("hark-certify: {sentence}");
    ExitCode::FAILURE
}

/// Drives servers, and judges each round when it is over.
fn drive(mode: Mode) -> Result<Vec<Verdict>, String> {
    // On this thread alone: processes that we start are to end with us, and the system ties that to
    // the thread which started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let mut verdicts = Vec::new();
    match mode {
        Mode::Run(run) => {
            let seed = seed(&run.load);
            let mut file = record_file(&run.load)?;
            for plan in round::plans(&run, seed) {
                let entries = runtime.block_on(unless_interrupted(round::run(&plan, &run)))?;
                write(&mut file, &entries)?;
                verdicts.push(told(&entries));
            }
        }
        Mode::Watch(watch) => {
            let seed = seed(&watch.load);
            let mut file = record_file(&watch.load)?;
            let entries = runtime.block_on(unless_interrupted(round::watch(&watch, seed)))?;
            write(&mut file, &entries)?;
            verdicts.push(told(&entries));
        }
        Mode::Judge { .. } => {}
    }
    Ok(verdicts)
}

/// A round that is broken off leaves nothing behind either: no process, no folder, no mount.
async fn unless_interrupted<T>(round: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    tokio::select! {
        result = round => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        _ = terminate.recv() => Err("interrupted".to_owned()),
    }
}

fn seed(load: &Load) -> u64 {
    let seed = load.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}: --seed {seed} makes the same choices again");
    seed
}

/// Judges a round, and says so.
fn told(entries: &[Entry]) -> Verdict {
    let name = entries.iter().find_map(|entry| match &entry.seen {
        Seen::Round(round) => Some(round.name.as_str()),
        _ => None,
    });
    let verdict = judge(entries);
    report::round(name.unwrap_or("a round"), &verdict);
    verdict
}

fn record_file(load: &Load) -> Result<Option<BufWriter<File>>, String> {
    let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    Ok(load.record.as_deref().map(create).transpose()?.map(BufWriter::new))
}

/// One entry a line, and an empty line after each round.
fn write(file: &mut Option<BufWriter<File>>, entries: &[Entry]) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    for entry in entries {
        let line = serde_json::to_string(entry).map_err(|error| error.to_string())?;
        writeln!(file, "{line}").map_err(|error| error.to_string())?;
    }
    writeln!(file).and_then(|()| file.flush()).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<Vec<Vec<Entry>>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut rounds, mut round) = (Vec::new(), Vec::new());
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if line.is_empty() {
            rounds.push(std::mem::take(&mut round));
        } else {
            round.push(serde_json::from_str(&line).map_err(|error| format!("no entry: {error}: {line}"))?);
        }
    }
    if !round.is_empty() {
        rounds.push(round);
    }
    Ok(rounds)
}
