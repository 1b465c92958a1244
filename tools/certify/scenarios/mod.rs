//! Rounds that follow a script: a backup is taken, people go on, what they did is lost, and the backup is
//! put in place of it. Then they meet what is left of the lost history: tokens, cursors, open sockets,
//! what the node remembers, and numbers that come again.

mod asking;
mod cast;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

use self::cast::Cast;
use super::faults::Fault;
use super::options::Run;
use super::people::{truth, world_of};
use super::process::folder::Folder;
use super::process::hark::Hark;
use super::process::postgres::Postgres;
use super::ready::wait_until_ready;
use super::record::{Entry, Phase, Round, Seen};
use super::recorder::Recorder;

/// How long the server has to put new messages into its index before they are looked for once more.
const INDEXES_FOR: Duration = Duration::from_secs(1);
/// How long a server may take to try again what it does beside its requests.
const RETRIES_WITHIN: Duration = Duration::from_secs(6);
/// Things that people do in a lost history: more than come after it, so that no number is past the lost ones.
const LOST_TURNS: usize = 240;
const TURNS: usize = 160;

/// What is lost, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A dump is restored into a new cluster, while the server is stopped.
    Dump,
    /// A dump is restored twice, into two clusters; what was done on the first one is lost.
    DumpTwice,
    /// A dump is restored into a new database of the same cluster, while the server runs.
    DumpRunning,
    /// A copy of the folder is put back, while the server is stopped.
    Folder,
    /// A copy of the folder is put back under the server that runs.
    FolderRunning,
    /// A standby that has not followed for a while takes over, while the server runs.
    Standby,
}

impl Scenario {
    /// The scenarios of a fault.
    pub(crate) fn of(fault: Fault) -> &'static [Self] {
        match fault {
            Fault::RestoreDump => &[Self::Dump, Self::DumpTwice, Self::DumpRunning],
            Fault::RestoreFolder => &[Self::Folder, Self::FolderRunning],
            Fault::PromoteStandby => &[Self::Standby],
            _ => &[],
        }
    }

    /// As the verdict has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dump => "restore-dump",
            Self::DumpTwice => "restore-dump-twice",
            Self::DumpRunning => "restore-dump-running",
            Self::Folder => "restore-folder",
            Self::FolderRunning => "restore-folder-running",
            Self::Standby => "promote-standby",
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::Dump | Self::DumpTwice | Self::DumpRunning => Fault::RestoreDump,
            Self::Folder | Self::FolderRunning => Fault::RestoreFolder,
            Self::Standby => Fault::PromoteStandby,
        }
    }

    fn server_runs_on(self) -> bool {
        matches!(self, Self::DumpRunning | Self::FolderRunning | Self::Standby)
    }
}

/// What was put aside.
enum Backup {
    Dump(PathBuf),
    Folder(PathBuf),
    Standby(Box<Postgres>),
}

/// A scripted round on a server and a PostgreSQL of its own.
///
/// # Errors
/// What cannot be started, or put in place.
pub(crate) async fn run(scenario: Scenario, run: &Run, seed: u64) -> Result<Vec<Entry>, String> {
    let recorder = Recorder::new();
    let mut folder = Folder::new(run.keep).map_err(|error| error.to_string())?;
    let mut postgres = Postgres::start(&mut folder, run.postgres_bin.as_deref(), Vec::new(), false).await?;
    let data = folder.path().join("hark-0");
    let mut hark = Hark::start(run.hark.clone(), data, Some(postgres.url()), Vec::new()).await?;
    let standby = if scenario == Scenario::Standby { Some(postgres.standby().await?) } else { None };

    recorder.note(Seen::Round(Round { name: scenario.name().to_owned(), seed }));
    let servers = vec![hark.address()];
    let mut cast = Cast::new(servers.clone(), &recorder, StdRng::seed_from_u64(seed)).await?;
    cast.before().await?;
    cast.drain().await;

    let fault = scenario.fault().name();
    recorder.fault(&fault, Phase::Begun);
    recorder.note(Seen::Backup);
    let backup = back_up(scenario, &mut postgres, standby).await?;
    wait_until_ready(&servers).await?;
    if let (Scenario::DumpTwice, Backup::Dump(dump)) = (scenario, &backup) {
        hark.stop().await?;
        postgres.restore_into_new_cluster(dump, "first").await?;
        hark.spawn().await?;
        cast.drain().await;
    }

    let is_untold = |told: Result<(), String>| told.err().map(|what| recorder.note(Seen::Untold { user: 0, what }));
    is_untold(cast.lost(LOST_TURNS).await);
    cast.drain().await;
    put_in_place(scenario, backup, &mut postgres, &mut hark).await?;
    recorder.note(Seen::Restored);
    if let Err(what) = wait_until_ready(&servers).await {
        recorder.note(Seen::Untold { user: 0, what });
        recorder.note(Seen::Quiet);
        return Ok(recorder.take());
    }
    recorder.fault(&fault, Phase::Over);

    cast.drain().await;
    let rests = if scenario.server_runs_on() { RETRIES_WITHIN } else { Duration::ZERO };
    is_untold(cast.after(TURNS, rests).await);
    sleep(INDEXES_FOR).await;
    cast.search_all().await;
    cast.drain().await;
    recorder.note(Seen::Quiet);
    let world = world_of(servers, cast.people());
    cast.keep_cursors(&world);
    truth::ask_all(&world, &recorder).await;
    for (person, cursors) in cast.lost_cursors() {
        truth::ask_since(&world, &person, &cursors, &recorder).await;
    }
    // Until the end: a server that ends before would be asked for the truth in vain.
    drop(hark);
    drop(folder);
    Ok(recorder.take())
}

async fn back_up(scenario: Scenario, postgres: &mut Postgres, standby: Option<Postgres>) -> Result<Backup, String> {
    Ok(match (scenario, standby) {
        (_, Some(mut standby)) => {
            postgres.wait_for_standby(&standby).await?;
            standby.stop().await?;
            Backup::Standby(Box::new(standby))
        }
        (Scenario::Folder | Scenario::FolderRunning, None) => {
            // In order, so that the numbers of the copy go on exactly where they were.
            postgres.stop().await?;
            let copy = postgres.copy("copy").await?;
            postgres.spawn().await?;
            Backup::Folder(copy)
        }
        _ => Backup::Dump(postgres.dump().await?),
    })
}

async fn put_in_place(
    scenario: Scenario,
    backup: Backup,
    postgres: &mut Postgres,
    hark: &mut Hark,
) -> Result<(), String> {
    if !scenario.server_runs_on() {
        hark.stop().await?;
    }
    match backup {
        Backup::Dump(dump) if scenario == Scenario::DumpRunning => postgres.restore_into_new_database(&dump).await?,
        Backup::Dump(dump) => postgres.restore_into_new_cluster(&dump, "restored").await?,
        Backup::Folder(copy) => {
            postgres.stop().await?;
            postgres.switch(copy);
            postgres.spawn().await?;
        }
        Backup::Standby(standby) => postgres.fail_over(*standby).await?,
    }
    if !scenario.server_runs_on() {
        hark.spawn().await?;
    }
    Ok(())
}
