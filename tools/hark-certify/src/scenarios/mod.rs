//! Rounds that follow a script: a backup is taken, users go on, and a restore loses what they did since. Then the
//! server meets what is left of the lost history: tokens, cursors, open sockets, its own caches, and ids that are
//! assigned again.
//!
//! In the order of imports, the lowest first: `scenario` and `participants`, `script`, this file.

mod participants;
pub(crate) mod scenario;
mod script;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::sleep;

use self::scenario::Scenario;
use self::script::Script;
use crate::clients::final_state;
use crate::clients::shared::SharedState;
use crate::health::wait_until_ready;
use crate::history::event::{Entry, Event, Phase, Round};
use crate::history::recorder::Recorder;
use crate::options::Run;
use crate::processes::folder::Folder;
use crate::processes::postgres::Postgres;
use crate::processes::server::Server;

/// How long the server has to index new messages before they are searched again.
const INDEXING_TIME: Duration = Duration::from_secs(1);
/// How long a running server may take until its background tasks have noticed the restore.
const BACKGROUND_RETRY_TIME: Duration = Duration::from_secs(6);
/// Turns in the lost history: more than after the restore, so that all ids after it were assigned before.
const LOST_TURNS: usize = 240;
const TURNS: usize = 160;

/// A backup.
enum Backup {
    Dump(PathBuf),
    Folder(PathBuf),
    Standby(Box<Postgres>),
}

/// Runs a scenario on a server and a PostgreSQL of its own.
///
/// # Errors
/// A sentence: what cannot be started or restored.
pub(crate) async fn run(scenario: Scenario, run: &Run, seed: u64) -> Result<Vec<Entry>, String> {
    let recorder = Recorder::new();
    let mut folder = Folder::new(run.keep).map_err(|error| error.to_string())?;
    let mut postgres = Postgres::start(&mut folder, run.postgres_bin.as_deref(), Vec::new(), false).await?;
    let data = folder.path().join("hark-0");
    let mut server = Server::start(run.hark.clone(), data, Some(postgres.url()), Vec::new()).await?;
    let standby = if scenario == Scenario::Standby { Some(postgres.standby().await?) } else { None };

    recorder.note(Event::Round(Round { name: scenario.name().to_owned(), seed }));
    let servers = vec![server.address()];
    let mut script = Script::new(servers.clone(), &recorder, StdRng::seed_from_u64(seed)).await?;
    script.run_before_backup().await?;
    script.receive_pushes().await;

    let fault = scenario.fault().name();
    recorder.fault(&fault, Phase::Started);
    recorder.note(Event::Backup);
    let backup = back_up(scenario, &mut postgres, standby).await?;
    wait_until_ready(&servers).await?;
    if let (Scenario::DumpTwice, Backup::Dump(dump)) = (scenario, &backup) {
        server.stop().await?;
        postgres.restore_into_new_cluster(dump, "first").await?;
        server.spawn().await?;
        script.receive_pushes().await;
    }

    let record_error = |result: Result<(), String>| {
        if let Err(reason) = result {
            recorder.note(Event::Unknown { user: 0, reason });
        }
    };
    record_error(script.run_lost(LOST_TURNS).await);
    script.receive_pushes().await;
    restore(scenario, backup, &mut postgres, &mut server).await?;
    recorder.note(Event::Restored);
    if let Err(reason) = wait_until_ready(&servers).await {
        recorder.note(Event::Unknown { user: 0, reason });
        recorder.note(Event::Quiescent);
        return Ok(recorder.take());
    }
    recorder.fault(&fault, Phase::Ended);

    script.receive_pushes().await;
    let delay = if scenario.keeps_server_running() { BACKGROUND_RETRY_TIME } else { Duration::ZERO };
    record_error(script.run_after_restore(TURNS, delay).await);
    sleep(INDEXING_TIME).await;
    script.search_all().await;
    script.receive_pushes().await;
    recorder.note(Event::Quiescent);
    let shared = SharedState::new(servers, script.accounts(), Vec::new(), HashMap::new());
    script.add_surviving_cursors(&shared);
    final_state::record_all(&shared, &recorder).await;
    for (account, cursors) in script.lost_cursors() {
        final_state::record_changes(&shared, &account, &cursors, &recorder).await;
    }
    // The server and its data have to exist until the final state is read.
    drop(server);
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
            // Stopped gracefully, so that the sequences of the copy continue exactly where they were.
            postgres.stop().await?;
            let copy = postgres.copy("copy").await?;
            postgres.spawn().await?;
            Backup::Folder(copy)
        }
        _ => Backup::Dump(postgres.dump().await?),
    })
}

async fn restore(
    scenario: Scenario,
    backup: Backup,
    postgres: &mut Postgres,
    server: &mut Server,
) -> Result<(), String> {
    if !scenario.keeps_server_running() {
        server.stop().await?;
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
    if !scenario.keeps_server_running() {
        server.spawn().await?;
    }
    Ok(())
}
