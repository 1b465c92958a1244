//! A round: servers and people are started, hurt for a while, left to recover, and asked for the truth.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::faults::{Fault, Lane, Targets, set_clock};
use super::options::{Load, Run, Watch};
use super::people::{Device, Stage, World, set_up, truth};
use super::process::folder::Folder;
use super::process::hark::Hark;
use super::process::postgres::Postgres;
use super::ready;
use super::record::{Entry, Round, Seen};
use super::recorder::Recorder;

/// How long people may take until everything they sent is confirmed or refused.
const SETTLES_WITHIN: Duration = Duration::from_mins(2);
/// Where Debian and its kin put it.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// What a round is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// What is done.
    pub(crate) faults: Vec<Fault>,
    /// How many servers there are.
    pub(crate) servers: usize,
    /// Whether the server runs a PostgreSQL of its own.
    pub(crate) private: bool,
    /// How long.
    pub(crate) load_for: Duration,
    /// What its choices come from.
    pub(crate) seed: u64,
}

/// The rounds of a run: each fault alone, then all of them at once.
pub(crate) fn plans(run: &Run, seed: u64) -> Vec<Plan> {
    use clap::ValueEnum as _;
    let all = Fault::value_variants();
    let alone: &[Fault] = if run.faults.is_empty() { all } else { &run.faults };
    let mut plans: Vec<Plan> = alone
        .iter()
        .map(|fault| Plan {
            name: fault.name(),
            faults: vec![*fault],
            servers: if *fault == Fault::KillOneOfTwo { 2 } else { 1 },
            private: fault.lane() != Lane::Database && *fault != Fault::KillOneOfTwo,
            load_for: run.load.duration(),
            seed,
        })
        .collect();
    if run.faults.is_empty() || run.mixed {
        let of_private = |fault: &Fault| {
            fault.lane() == Lane::Clients
                || matches!(fault, Fault::KillServer | Fault::RestartServer | Fault::KillPostgres)
        };
        let mixed = |name: &str, servers, private, faults| Plan {
            name: name.to_owned(),
            faults,
            servers,
            private,
            load_for: run.load.duration() * 4,
            seed,
        };
        plans.push(mixed("mixed-one-server", 1, true, all.iter().copied().filter(of_private).collect()));
        plans.push(mixed("mixed-two-servers", 2, false, all.to_vec()));
    }
    plans
}

/// A round on servers of our own.
///
/// # Errors
/// What cannot be started.
pub(crate) async fn run(plan: &Plan, run: &Run) -> Result<Vec<Entry>, String> {
    let recorder = Recorder::new();
    let mut folder = Folder::new(run.keep).map_err(|error| error.to_string())?;
    let (clock, environment) = match plan.faults.contains(&Fault::ClockJump).then(|| faketime(run)).flatten() {
        Some(library) => {
            let file = folder.path().join("clock");
            set_clock(&file, 0).map_err(|error| error.to_string())?;
            (Some(file.clone()), faked(&library, &file))
        }
        None => (None, Vec::new()),
    };
    let postgres = if plan.private {
        None
    } else {
        let disk = plan.faults.contains(&Fault::FullDisk);
        Some(Postgres::start(&mut folder, run.postgres_bin.as_deref(), environment.clone(), disk).await?)
    };
    let mut servers = Vec::new();
    for nth in 0..plan.servers {
        let data = folder.path().join(format!("hark-{nth}"));
        let url = postgres.as_ref().map(Postgres::url);
        servers.push(Hark::start(run.hark.clone(), data, url, environment.clone()).await?);
    }
    let addresses = servers.iter().map(Hark::address).collect();
    let targets = Targets {
        servers: servers.into_iter().map(Mutex::new).collect(),
        postgres: postgres.map(Mutex::new),
        folder: Some(folder),
        clock,
        stop_for: Duration::from_secs(run.stop_seconds),
    };
    drive(plan, addresses, targets, &run.load, recorder).await
}

/// A round on servers that run, with what clients can do to them.
///
/// # Errors
/// Where people cannot sign up.
pub(crate) async fn watch(watch: &Watch, seed: u64) -> Result<Vec<Entry>, String> {
    let clients = [Fault::CutFrame, Fault::SlowReader, Fault::Garbage];
    let plan = Plan {
        name: "watch".to_owned(),
        faults: if watch.faults.is_empty() { clients.to_vec() } else { watch.faults.clone() },
        servers: watch.server.len(),
        private: false,
        load_for: watch.load.duration(),
        seed,
    };
    let addresses = watch.server.iter().map(|server| server.trim_end_matches('/').to_owned()).collect();
    let targets = Targets { servers: Vec::new(), postgres: None, folder: None, clock: None, stop_for: Duration::ZERO };
    drive(&plan, addresses, targets, &watch.load, Recorder::new()).await
}

async fn drive(
    plan: &Plan,
    addresses: Vec<String>,
    targets: Targets,
    load: &Load,
    recorder: Recorder,
) -> Result<Vec<Entry>, String> {
    // Accounts of different rounds on one server are different ones.
    let accounts = format!("{}-{:08x}", plan.name, rand::random::<u32>());
    let world = set_up(addresses, usize::from(load.people), &accounts, plan.seed, &recorder).await?;
    let (world, targets) = (Arc::new(world), Arc::new(targets));
    recorder.note(Seen::Round(Round { name: plan.name.clone(), seed: plan.seed }));
    let (stage, stages) = watch::channel(Stage::Live);
    let mut devices = JoinSet::new();
    for person in 0..world.people.len() {
        // Every third person has a second device.
        for _ in 0..if person % 3 == 0 { 2 } else { 1 } {
            let device = Device::new(&world, &recorder, person, devices.len(), plan.seed);
            devices.spawn(device.live(stages.clone()));
        }
    }
    let mut looking = JoinSet::new();
    looking.spawn(ready::watch(world.servers.clone(), Arc::clone(&targets), recorder.clone()));

    let deadline = Instant::now() + plan.load_for;
    let mut lanes = JoinSet::new();
    for lane in [Lane::Server, Lane::Database, Lane::Clients] {
        let faults: Vec<Fault> = plan.faults.iter().copied().filter(|fault| fault.lane() == lane).collect();
        if !faults.is_empty() {
            let rng = StdRng::seed_from_u64(plan.seed.wrapping_add(lane as u64));
            lanes.spawn(hurt(faults, rng, Arc::clone(&targets), Arc::clone(&world), recorder.clone(), deadline));
        }
    }
    sleep(deadline.saturating_duration_since(Instant::now())).await;
    while lanes.join_next().await.is_some() {}
    // What has no end of its own has one here: a truth of the future would be none.
    if let Some(clock) = &targets.clock {
        let _ = set_clock(clock, 0);
    }
    if let Err(what) = ready::wait_until_ready(&world.servers).await {
        recorder.note(Seen::Untold { user: 0, what });
        recorder.note(Seen::Quiet);
        return Ok(recorder.take());
    }
    let _ = stage.send(Stage::Settle);
    let settled = timeout(SETTLES_WITHIN, async { while devices.join_next().await.is_some() {} }).await;
    if settled.is_err() {
        let what = format!("some sends are neither confirmed nor refused after {SETTLES_WITHIN:?}");
        recorder.note(Seen::Untold { user: 0, what });
    }
    drop(devices);
    drop(looking);
    recorder.note(Seen::Quiet);
    truth::ask_all(&world, &recorder).await;
    Ok(recorder.take())
}

/// Does the faults of one lane, in an order that the seed says, until the time is over.
async fn hurt(
    mut faults: Vec<Fault>,
    mut rng: StdRng,
    targets: Arc<Targets>,
    world: Arc<World>,
    recorder: Recorder,
    deadline: Instant,
) {
    let whole = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
    while !faults.is_empty() {
        let gap = (whole / 6.0).clamp(0.5, 4.0) * rng.random_range(0.5..1.5);
        let fault = faults[rng.random_range(0..faults.len())];
        if timeout_at(deadline, sleep(Duration::from_secs_f64(gap))).await.is_err() {
            return;
        }
        if let Err(why) = targets.hurt(fault, &world, &recorder, &mut rng).await {
            recorder.note(Seen::NotMade { fault: fault.name(), why });
            faults.retain(|other| *other != fault);
        }
    }
}

fn faketime(run: &Run) -> Option<PathBuf> {
    run.faketime.clone().or_else(|| FAKETIME.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// What has a process take its clock out of a file.
fn faked(library: &std::path::Path, file: &std::path::Path) -> Vec<(String, String)> {
    let (library, file) = (library.display().to_string(), file.display().to_string());
    let settings = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        // Or each process would see a jump some seconds later than the next one.
        ("FAKETIME_NO_CACHE", "1"),
        // Time spans are not what jumps.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
