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
use super::process::pgbouncer::PgBouncer;
use super::process::postgres::Postgres;
use super::ready;
use super::record::{Entry, Round, Seen};
use super::recorder::Recorder;
use super::scenarios::{self, Scenario};

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
    /// The script that it follows, if one.
    pub(crate) scenario: Option<Scenario>,
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
    let scripted = |fault: &Fault| {
        Scenario::of(*fault).iter().map(|scenario| Plan {
            name: scenario.name().to_owned(),
            faults: Vec::new(),
            scenario: Some(*scenario),
            servers: 1,
            private: false,
            load_for: Duration::ZERO,
            seed,
        })
    };
    let mut plans: Vec<Plan> = alone
        .iter()
        .filter(|fault| fault.lane() != Lane::History)
        .map(|fault| Plan {
            name: fault.name(),
            faults: vec![*fault],
            scenario: None,
            servers: if *fault == Fault::KillOneOfTwo { 2 } else { 1 },
            private: fault.lane() != Lane::Database && *fault != Fault::KillOneOfTwo,
            // There is much to abuse.
            load_for: run.load.duration().mul_f64(if *fault == Fault::Abuse { 2.5 } else { 1.0 }),
            seed,
        })
        .chain(alone.iter().flat_map(scripted))
        .collect();
    if run.faults.is_empty() || run.mixed {
        let of_private = |fault: &Fault| {
            fault.lane() == Lane::Clients && fault.is_mixable()
                || matches!(fault, Fault::KillServer | Fault::RestartServer | Fault::KillPostgres)
        };
        let mixed = |name: &str, servers, private, faults| Plan {
            name: name.to_owned(),
            faults,
            scenario: None,
            servers,
            private,
            load_for: run.load.duration() * 4,
            seed,
        };
        plans.push(mixed("mixed-one-server", 1, true, all.iter().copied().filter(of_private).collect()));
        let all = all.iter().copied().filter(|fault| fault.is_mixable());
        plans.push(mixed("mixed-two-servers", 2, false, all.collect()));
    }
    plans
}

/// A round on servers of our own.
///
/// # Errors
/// What cannot be started.
pub(crate) async fn run(plan: &Plan, run: &Run) -> Result<Vec<Entry>, String> {
    if let Some(scenario) = plan.scenario {
        return scenarios::run(scenario, run, plan.seed).await;
    }
    let recorder = Recorder::new();
    let mut folder = Folder::new(run.keep).map_err(|error| error.to_string())?;
    let (clock, mut environment) = match plan.faults.contains(&Fault::ClockJump).then(|| faketime(run)).flatten() {
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
    let mut bouncer = None;
    if let (true, Some(postgres)) = (plan.faults.contains(&Fault::Pgbouncer), &postgres) {
        bouncer = match behind_pgbouncer(postgres, &folder, run, &recorder).await {
            Ok(bouncer) => Some(bouncer),
            Err(why) => {
                recorder.note(Seen::Round(Round { name: plan.name.clone(), seed: plan.seed }));
                recorder.note(why);
                return Ok(recorder.take());
            }
        };
    }
    if plan.faults.contains(&Fault::Abuse) {
        environment.extend(abusable());
    }
    let mut servers = Vec::new();
    for nth in 0..plan.servers {
        let data = folder.path().join(format!("hark-{nth}"));
        let url = bouncer.as_ref().map(PgBouncer::url).or_else(|| postgres.as_ref().map(Postgres::url));
        servers.push(Hark::start(run.hark.clone(), data, url, environment.clone()).await?);
    }
    let addresses = servers.iter().map(Hark::address).collect();
    let targets = Targets {
        servers: servers.into_iter().map(Mutex::new).collect(),
        postgres: postgres.map(Mutex::new),
        bouncer: bouncer.map(Mutex::new),
        folder: Some(folder),
        clock,
        stop_for: Duration::from_secs(run.stop_seconds),
        abuse_for: plan.load_for,
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
        scenario: None,
        servers: watch.server.len(),
        private: false,
        load_for: watch.load.duration(),
        seed,
    };
    let addresses = watch.server.iter().map(|server| server.trim_end_matches('/').to_owned()).collect();
    let targets = Targets {
        servers: Vec::new(),
        postgres: None,
        bouncer: None,
        folder: None,
        clock: None,
        stop_for: Duration::ZERO,
        abuse_for: plan.load_for,
    };
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
        // One takes as long as the round does.
        faults.retain(|other| *other != Fault::Abuse);
    }
}

/// A pooler in front of PostgreSQL, with which a server starts; and that one refuses another mode.
///
/// # Errors
/// What is to be in the record in place of the round.
async fn behind_pgbouncer(
    postgres: &Postgres,
    folder: &Folder,
    run: &Run,
    recorder: &Recorder,
) -> Result<PgBouncer, Seen> {
    let not_made = |why| Seen::NotMade { fault: Fault::Pgbouncer.name(), why };
    let session = PgBouncer::start(postgres, "session", "session").await.map_err(not_made)?;
    let transaction = PgBouncer::start(postgres, "transaction", "transaction").await.map_err(not_made)?;
    for (bouncer, mode, is_to_work) in [(&session, "session", true), (&transaction, "transaction", false)] {
        let data = folder.path().join(format!("hark-{mode}"));
        let hark = Hark::try_start(run.hark.clone(), data, Some(bouncer.url()), Vec::new()).await;
        let surroundings = format!("behind PgBouncer in {mode} mode");
        let start = Seen::Start { surroundings, is_to_work, refusal: hark.as_ref().err().cloned() };
        if let Ok(mut hark) = hark {
            hark.kill().await;
        } else if is_to_work {
            return Err(start);
        }
        recorder.note(start);
    }
    Ok(session)
}

/// A server with its default limits, which takes each person of a run for one at an address of their own.
fn abusable() -> Vec<(String, String)> {
    let settings = [
        ("HARK_TRUST_PROXY", "true"),
        ("HARK_REQUESTS_PER_SECOND", "50"),
        ("HARK_SIGN_UPS_PER_MINUTE", "10"),
        ("HARK_LOGINS_PER_MINUTE", "30"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
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
