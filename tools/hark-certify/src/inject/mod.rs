//! Injects faults. `mod` dispatches; each other file injects one kind, and all of them use `targets`.

mod abuse;
mod hostile;
mod read_only;
pub(crate) mod targets;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;
use tokio::time::sleep;

use self::targets::{Targets, pause, set_clock};
use crate::clients::shared::SharedState;
use crate::fault::{Fault, Layer};
use crate::health::{clock_offset, wait_until_ready};
use crate::history::event::Phase;
use crate::history::recorder::Recorder;
use crate::processes::postgres::Postgres;
use crate::processes::signals;

/// Free space on a full disk and on one that was freed, in KiB.
const FULL_DISK_KIB: u64 = 48;
const FREED_DISK_KIB: u64 = 2 << 20;
/// Offsets of the clock, in seconds from the true time.
const CLOCK_OFFSETS: [i64; 6] = [3600, -3600, 40_000, -40_000, 90, 0];
/// How exactly the `Date` header shows a server's clock, in seconds.
const CLOCK_TOLERANCE: i64 = 5;

impl Targets {
    /// Injects a fault, and returns when the servers are ready again.
    ///
    /// # Errors
    /// A sentence: why the fault cannot be injected on this machine, or that a server does not recover.
    pub(crate) async fn inject(
        &self,
        fault: Fault,
        shared: &SharedState,
        recorder: &Recorder,
        rng: &mut StdRng,
    ) -> Result<(), String> {
        let name = fault.name();
        let note = |phase| recorder.fault(&name, phase);
        match fault {
            Fault::CutFrame => {
                note(Phase::Started);
                shared.cut_sockets();
            }
            Fault::SlowReader => {
                note(Phase::Started);
                hostile::slow_reader(shared, rng).await;
            }
            Fault::Garbage => {
                note(Phase::Started);
                hostile::garbage(shared, rng).await;
            }
            Fault::Abuse => {
                let abuse = abuse::Abuse::sign_up(shared).await?;
                note(Phase::Started);
                abuse.run(shared, recorder, self.abuse_duration).await;
            }
            Fault::KillServer | Fault::KillOneOfTwo | Fault::RestartServer => {
                let mut server = self.servers.choose(rng).ok_or("the server is not ours")?.lock().await;
                note(Phase::Started);
                if fault == Fault::RestartServer {
                    server.stop().await?;
                } else {
                    server.kill().await;
                }
                pause(rng, 0..1500).await;
                server.spawn().await?;
            }
            Fault::KillPostgres => self.kill_postgres(note, rng).await?,
            Fault::KillBackend => {
                let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
                let backend = *postgres.backends().choose(rng).ok_or("PostgreSQL serves no connection")?;
                note(Phase::Started);
                signals::send(backend, Signal::KILL);
            }
            Fault::StopPostgres => {
                let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
                note(Phase::Started);
                // The postmaster is stopped first, so that it starts no more processes.
                let stopped = postgres.processes();
                signals::send_all(&stopped, Signal::STOP);
                note(Phase::DatabaseDown);
                sleep(self.stop_duration).await;
                note(Phase::DatabaseUp);
                signals::send_all(&stopped, Signal::CONT);
            }
            Fault::FullDisk => self.fill_disk(note, rng).await?,
            Fault::FailingWrites => self.fail_writes(note, rng).await?,
            Fault::ClockJump => self.jump_clock(note, &shared.servers, rng).await?,
            Fault::ReadOnly => self.make_read_only(note, rng).await?,
            Fault::Pgbouncer => {
                let mut pgbouncer = self.pgbouncer.as_ref().ok_or("PgBouncer is not installed")?.lock().await;
                note(Phase::Started);
                pgbouncer.kill().await;
                note(Phase::DatabaseDown);
                pause(rng, 200..4000).await;
                note(Phase::DatabaseUp);
                pgbouncer.spawn().await?;
            }
            Fault::RestoreDump | Fault::RestoreFolder | Fault::PromoteStandby => {
                return Err("it is a scenario with a round of its own".to_owned());
            }
        }
        if fault.layer() != Layer::Clients {
            // A server may not have noticed yet that its database was killed.
            pause(rng, 100..200).await;
            wait_until_ready(&shared.servers).await?;
        }
        note(Phase::Ended);
        Ok(())
    }

    async fn kill_postgres(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let Some(postgres) = &self.postgres else {
            // The server restarts its private PostgreSQL by itself, but not while it is being restarted itself: the
            // lock keeps those two apart.
            let server = self.servers.first().ok_or("PostgreSQL is not ours")?.lock().await;
            let postmaster = server.postmaster().ok_or("the server has no private PostgreSQL")?;
            note(Phase::Started);
            signals::send(postmaster, Signal::KILL);
            return Ok(());
        };
        let mut postgres = postgres.lock().await;
        note(Phase::Started);
        postgres.kill().await;
        note(Phase::DatabaseDown);
        pause(rng, 200..4000).await;
        note(Phase::DatabaseUp);
        postgres.spawn().await
    }

    /// Fills PostgreSQL's disk for some seconds.
    async fn fill_disk(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let mut postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        let folder = self.folder.as_ref().filter(|_| postgres.has_disk());
        let folder = folder.ok_or("it takes root, and the right to mount a small file system")?;
        note(Phase::Started);
        folder.set_free_space(FULL_DISK_KIB).await?;
        pause(rng, 1500..4000).await;
        folder.set_free_space(FREED_DISK_KIB).await?;
        spawn_if_ended(&mut postgres).await
    }

    /// Lets PostgreSQL write no file, its log included, for some seconds: the limit of file sizes is zero.
    async fn fail_writes(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let mut postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        note(Phase::Started);
        postgres.limit_files(Some(0)).await?;
        pause(rng, 1500..4000).await;
        postgres.limit_files(None).await?;
        spawn_if_ended(&mut postgres).await
    }

    /// Sets the clock forward or back, and checks that the servers' clocks follow.
    async fn jump_clock(&self, note: impl Fn(Phase), servers: &[String], rng: &mut StdRng) -> Result<(), String> {
        let clock = self.clock.as_ref().ok_or("libfaketime is not installed")?;
        note(Phase::Started);
        let offset = CLOCK_OFFSETS.choose(rng).copied().unwrap_or_default();
        set_clock(clock, offset).map_err(|error| error.to_string())?;
        // A server updates its `Date` header every half second.
        pause(rng, 1200..2500).await;
        for server in servers {
            // A server that is down has no clock.
            if let Ok(actual) = clock_offset(server).await
                && (actual - offset).abs() > CLOCK_TOLERANCE
            {
                return Err(format!("the clock is off by {actual} s instead of {offset} s"));
            }
        }
        Ok(())
    }
}

/// Starts PostgreSQL where it has ended, because it cannot write its write-ahead log.
async fn spawn_if_ended(postgres: &mut Postgres) -> Result<(), String> {
    if postgres.pid().is_none() { postgres.spawn().await } else { Ok(()) }
}
