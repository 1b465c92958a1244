//! A round: servers and clients are started, faults are injected for a while, the servers recover, and the final state
//! is read. `plan` decides which rounds there are.

pub(crate) mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::plan::Plan;
use crate::clients::device::{Device, Stage};
use crate::clients::final_state;
use crate::clients::setup::set_up;
use crate::clients::shared::SharedState;
use crate::fault::{Fault, Layer};
use crate::health;
use crate::history::event::{Entry, Event, Round};
use crate::history::recorder::Recorder;
use crate::inject::targets::{Targets, set_clock};
use crate::options::{Load, Run, Watch};
use crate::processes::folder::Folder;
use crate::processes::pgbouncer::PgBouncer;
use crate::processes::postgres::Postgres;
use crate::processes::server::Server;
use crate::scenarios;

/// How long the clients may take until all of their sends are confirmed or refused.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(2);
/// The usual paths of libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Runs a round on servers of our own.
///
/// # Errors
/// A sentence: what cannot be started.
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
            (Some(file.clone()), faketime_environment(&library, &file))
        }
        None => (None, Vec::new()),
    };
    let postgres = if plan.has_private_postgres {
        None
    } else {
        let disk = plan.faults.contains(&Fault::FullDisk);
        Some(Postgres::start(&mut folder, run.postgres_bin.as_deref(), environment.clone(), disk).await?)
    };
    let mut pgbouncer = None;
    if let (true, Some(postgres)) = (plan.faults.contains(&Fault::Pgbouncer), &postgres) {
        pgbouncer = match start_pgbouncer(postgres, &folder, run, &recorder).await {
            Ok(started) => Some(started),
            Err(event) => {
                recorder.note(Event::Round(Round { name: plan.name.clone(), seed: plan.seed }));
                recorder.note(event);
                return Ok(recorder.take());
            }
        };
    }
    if plan.faults.contains(&Fault::Abuse) {
        environment.extend(default_limits());
    }
    let mut servers = Vec::new();
    for nth in 0..plan.servers {
        let data = folder.path().join(format!("hark-{nth}"));
        let url = pgbouncer.as_ref().map(PgBouncer::url).or_else(|| postgres.as_ref().map(Postgres::url));
        servers.push(Server::start(run.hark.clone(), data, url, environment.clone()).await?);
    }
    let addresses = servers.iter().map(Server::address).collect();
    let targets = Targets {
        servers: servers.into_iter().map(Mutex::new).collect(),
        postgres: postgres.map(Mutex::new),
        pgbouncer: pgbouncer.map(Mutex::new),
        folder: Some(folder),
        clock,
        stop_duration: Duration::from_secs(run.stop_seconds),
        abuse_duration: plan.duration,
    };
    drive(plan, addresses, targets, &run.load, recorder).await
}

/// Runs a round on servers that are already running, with the faults of clients.
///
/// # Errors
/// A sentence: the clients cannot be set up.
pub(crate) async fn watch(watch: &Watch, seed: u64) -> Result<Vec<Entry>, String> {
    let clients = [Fault::CutFrame, Fault::SlowReader, Fault::Garbage];
    let plan = Plan {
        name: "watch".to_owned(),
        faults: if watch.faults.is_empty() { clients.to_vec() } else { watch.faults.clone() },
        scenario: None,
        servers: watch.server.len(),
        has_private_postgres: false,
        duration: watch.load.duration(),
        seed,
    };
    let addresses = watch.server.iter().map(|server| server.trim_end_matches('/').to_owned()).collect();
    let targets = Targets {
        servers: Vec::new(),
        postgres: None,
        pgbouncer: None,
        folder: None,
        clock: None,
        stop_duration: Duration::ZERO,
        abuse_duration: plan.duration,
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
    // Different rounds on one server need different accounts.
    let accounts = format!("{}-{:08x}", plan.name, rand::random::<u32>());
    let shared = set_up(addresses, usize::from(load.people), &accounts, plan.seed, &recorder).await?;
    let (shared, targets) = (Arc::new(shared), Arc::new(targets));
    recorder.note(Event::Round(Round { name: plan.name.clone(), seed: plan.seed }));
    let (stage, stages) = watch::channel(Stage::Act);
    let mut devices = JoinSet::new();
    for user in 0..shared.accounts.len() {
        // Every third user has two devices.
        for _ in 0..if user % 3 == 0 { 2 } else { 1 } {
            let device = Device::new(&shared, &recorder, user, devices.len(), plan.seed);
            devices.spawn(device.run(stages.clone()));
        }
    }
    let running = Arc::clone(&targets);
    // `None` while a server is being restarted, because its lock is taken then.
    let pid = move |server: usize| running.servers.get(server).and_then(|server| server.try_lock().ok()?.pid());
    let mut watching = JoinSet::new();
    watching.spawn(health::watch(shared.servers.clone(), pid, recorder.clone()));

    let deadline = Instant::now() + plan.duration;
    let mut layers = JoinSet::new();
    for layer in [Layer::Server, Layer::Database, Layer::Clients] {
        let faults: Vec<Fault> = plan.faults.iter().copied().filter(|fault| fault.layer() == layer).collect();
        if !faults.is_empty() {
            let rng = StdRng::seed_from_u64(plan.seed.wrapping_add(layer as u64));
            layers.spawn(inject_faults(
                faults,
                rng,
                Arc::clone(&targets),
                Arc::clone(&shared),
                recorder.clone(),
                deadline,
            ));
        }
    }
    sleep(deadline.saturating_duration_since(Instant::now())).await;
    while layers.join_next().await.is_some() {}
    // The fault of the clock ends here: the final state has to be read with the true time.
    if let Some(clock) = &targets.clock {
        let _ = set_clock(clock, 0);
    }
    if let Err(reason) = health::wait_until_ready(&shared.servers).await {
        recorder.note(Event::Unknown { user: 0, reason });
        recorder.note(Event::Quiescent);
        return Ok(recorder.take());
    }
    let _ = stage.send(Stage::Drain);
    let drained = timeout(DRAIN_TIMEOUT, async { while devices.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        let reason = format!("some sends are neither confirmed nor refused after {DRAIN_TIMEOUT:?}");
        recorder.note(Event::Unknown { user: 0, reason });
    }
    drop(devices);
    drop(watching);
    recorder.note(Event::Quiescent);
    final_state::record_all(&shared, &recorder).await;
    Ok(recorder.take())
}

/// Injects the faults of one layer in random order until the deadline.
async fn inject_faults(
    mut faults: Vec<Fault>,
    mut rng: StdRng,
    targets: Arc<Targets>,
    shared: Arc<SharedState>,
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
        if let Err(why) = targets.inject(fault, &shared, &recorder, &mut rng).await {
            recorder.note(Event::Skipped { fault: fault.name(), reason: why });
            faults.retain(|other| *other != fault);
        }
        // The abuse takes as long as the round.
        faults.retain(|other| *other != Fault::Abuse);
    }
}

/// Starts a pooler in session mode, and records that a server starts behind it, and refuses to behind one in
/// transaction mode.
///
/// # Errors
/// The event that takes the place of the round.
async fn start_pgbouncer(
    postgres: &Postgres,
    folder: &Folder,
    run: &Run,
    recorder: &Recorder,
) -> Result<PgBouncer, Event> {
    let skipped = |reason| Event::Skipped { fault: Fault::Pgbouncer.name(), reason };
    let session = PgBouncer::start(postgres, "session", "session").await.map_err(skipped)?;
    let transaction = PgBouncer::start(postgres, "transaction", "transaction").await.map_err(skipped)?;
    for (bouncer, mode, should_start) in [(&session, "session", true), (&transaction, "transaction", false)] {
        let data = folder.path().join(format!("hark-{mode}"));
        let server = Server::try_start(run.hark.clone(), data, Some(bouncer.url()), Vec::new()).await;
        let environment = format!("behind PgBouncer in {mode} mode");
        let start = Event::Startup { environment, should_start, refusal: server.as_ref().err().cloned() };
        if let Ok(mut server) = server {
            server.kill().await;
        } else if should_start {
            return Err(start);
        }
        recorder.note(start);
    }
    Ok(session)
}

/// The settings of a server with default rate limits, which trusts the addresses in `X-Forwarded-For`: each client of
/// the abuse has one of its own.
fn default_limits() -> Vec<(String, String)> {
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

/// The environment that makes a process read its clock's offset from a file.
fn faketime_environment(library: &std::path::Path, file: &std::path::Path) -> Vec<(String, String)> {
    let (library, file) = (library.display().to_string(), file.display().to_string());
    let settings = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        // With a cache each process would see a jump at another time.
        ("FAKETIME_NO_CACHE", "1"),
        // Monotonic clocks do not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
