//! What is done to a server.

mod abuse;
mod read_only;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::hostile;
use super::people::World;
use super::process::hark::Hark;
use super::process::pgbouncer::PgBouncer;
use super::process::postgres::Postgres;
use super::process::signals;
use super::ready::{clock_of, wait_until_ready};
use super::record::Phase;
use super::recorder::Recorder;

/// Room that a full disk has left, in KiB, and that it gets back.
const FULL_DISK_LEAVES: u64 = 48;
const DISK_HAS_AGAIN: u64 = 2 << 20;
/// Jumps of the clock, in seconds from the true time.
const JUMPS: [i64; 6] = [3600, -3600, 40_000, -40_000, 90, 0];
/// How exactly a server's `Date` tells its clock, in seconds.
const CLOCK_IS_WITHIN: i64 = 5;

/// A kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL to the server, whose own PostgreSQL ends with it
    KillServer,
    /// SIGTERM to the server, and a start
    RestartServer,
    /// SIGKILL to PostgreSQL's postmaster, and a start
    KillPostgres,
    /// SIGKILL to one of PostgreSQL's processes that serve a connection
    KillBackend,
    /// SIGSTOP to all processes of PostgreSQL, and SIGCONT
    StopPostgres,
    /// No room left on PostgreSQL's disk
    FullDisk,
    /// PostgreSQL's writes to files fail
    FailingWrites,
    /// The clock of the server and of PostgreSQL jumps
    ClockJump,
    /// SIGKILL to one of two servers on one database
    KillOneOfTwo,
    /// Connections are cut in the middle of a frame
    CutFrame,
    /// A client asks for much and reads nothing
    SlowReader,
    /// Clients send what is no request
    Garbage,
    /// PostgreSQL takes no writes for a moment, and connections that were made then would never take any
    ReadOnly,
    /// SIGKILL to the pooler between the server and PostgreSQL, and a start; one that shares out transactions is refused
    Pgbouncer,
    /// One person floods the server within their limits: groups with others in them, searches, notifications, logins
    Abuse,
    /// A dump is restored, once and twice, into another cluster and into the same one
    RestoreDump,
    /// A copy of PostgreSQL's folder is put back
    RestoreFolder,
    /// A standby that lags takes over from a primary that is killed, and the server runs on
    PromoteStandby,
}

/// Who is hurt. Faults of one lane come one after the other, those of different lanes as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The server's process.
    Server,
    /// PostgreSQL, and the machine.
    Database,
    /// Its sockets: what a client can do.
    Clients,
    /// What the database remembers. These follow a script, in rounds of their own.
    History,
}

impl Fault {
    /// As the command line and the record have it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Who is hurt.
    pub(crate) fn lane(self) -> Lane {
        match self {
            Self::KillServer | Self::RestartServer | Self::KillOneOfTwo => Lane::Server,
            Self::KillPostgres
            | Self::KillBackend
            | Self::StopPostgres
            | Self::FullDisk
            | Self::FailingWrites
            | Self::ClockJump
            | Self::ReadOnly
            | Self::Pgbouncer => Lane::Database,
            Self::CutFrame | Self::SlowReader | Self::Garbage | Self::Abuse => Lane::Clients,
            Self::RestoreDump | Self::RestoreFolder | Self::PromoteStandby => Lane::History,
        }
    }

    /// Whether it can be mixed with others, on any server.
    pub(crate) fn is_mixable(self) -> bool {
        self.lane() != Lane::History && !matches!(self, Self::Pgbouncer | Self::Abuse)
    }
}

/// What there is to hurt.
pub(crate) struct Targets {
    /// The servers' processes; none where we watch.
    pub(crate) servers: Vec<Mutex<Hark>>,
    /// PostgreSQL, where it is apart from the server.
    pub(crate) postgres: Option<Mutex<Postgres>>,
    /// What is between the servers and PostgreSQL.
    pub(crate) bouncer: Option<Mutex<PgBouncer>>,
    /// The folder of the round, whose file system may be filled up.
    pub(crate) folder: Option<super::process::folder::Folder>,
    /// The file that says how far the clock is off, where it can be.
    pub(crate) clock: Option<PathBuf>,
    /// How long PostgreSQL is stopped.
    pub(crate) stop_for: Duration,
    /// How long one person abuses the server.
    pub(crate) abuse_for: Duration,
}

impl Targets {
    /// Does one thing, and returns when the servers work again.
    ///
    /// # Errors
    /// Why it cannot be made here.
    pub(crate) async fn hurt(
        &self,
        fault: Fault,
        world: &World,
        recorder: &Recorder,
        rng: &mut StdRng,
    ) -> Result<(), String> {
        let name = fault.name();
        let note = |phase| recorder.fault(&name, phase);
        match fault {
            Fault::CutFrame => {
                note(Phase::Begun);
                world.cut_sockets();
            }
            Fault::SlowReader => {
                note(Phase::Begun);
                hostile::slow_reader(world, rng).await;
            }
            Fault::Garbage => {
                note(Phase::Begun);
                hostile::garbage(world, rng).await;
            }
            Fault::Abuse => {
                let cast = abuse::Cast::sign_up(world).await?;
                note(Phase::Begun);
                cast.abuse(world, recorder, self.abuse_for).await;
            }
            Fault::KillServer | Fault::KillOneOfTwo | Fault::RestartServer => {
                let mut server = self.servers.choose(rng).ok_or("the server is not ours")?.lock().await;
                note(Phase::Begun);
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
                note(Phase::Begun);
                signals::send(backend, Signal::KILL);
            }
            Fault::StopPostgres => {
                let postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
                note(Phase::Begun);
                // The postmaster first, which starts no more of them then.
                let stopped = postgres.processes();
                signals::send_all(&stopped, Signal::STOP);
                note(Phase::Away);
                sleep(self.stop_for).await;
                note(Phase::Back);
                signals::send_all(&stopped, Signal::CONT);
            }
            Fault::FullDisk => self.fill_disk(note, rng).await?,
            Fault::FailingWrites => self.fail_writes(note, rng).await?,
            Fault::ClockJump => self.jump(note, &world.servers, rng).await?,
            Fault::ReadOnly => self.make_read_only(note, rng).await?,
            Fault::Pgbouncer => {
                let mut bouncer = self.bouncer.as_ref().ok_or("PgBouncer is not installed")?.lock().await;
                note(Phase::Begun);
                bouncer.kill().await;
                note(Phase::Away);
                pause(rng, 200..4000).await;
                note(Phase::Back);
                bouncer.spawn().await?;
            }
            Fault::RestoreDump | Fault::RestoreFolder | Fault::PromoteStandby => {
                return Err("it is a round of its own".to_owned());
            }
        }
        if fault.lane() != Lane::Clients {
            // Of a database that was just killed a server may not know yet.
            pause(rng, 100..200).await;
            wait_until_ready(&world.servers).await?;
        }
        note(Phase::Over);
        Ok(())
    }

    async fn kill_postgres(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let Some(postgres) = &self.postgres else {
            // The server starts its own again by itself. Only while it is up: not amid its own restart.
            let server = self.servers.first().ok_or("PostgreSQL is not ours")?.lock().await;
            let postmaster = server.postmaster().ok_or("there is no PostgreSQL of the server's own")?;
            note(Phase::Begun);
            signals::send(postmaster, Signal::KILL);
            return Ok(());
        };
        let mut postgres = postgres.lock().await;
        note(Phase::Begun);
        postgres.kill().await;
        note(Phase::Away);
        pause(rng, 200..4000).await;
        note(Phase::Back);
        postgres.spawn().await
    }

    /// Leaves PostgreSQL no room on its disk, for some seconds.
    async fn fill_disk(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let mut postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        let folder = self.folder.as_ref().filter(|_| postgres.has_disk());
        let folder = folder.ok_or("it takes root, and the right to mount a small file system")?;
        note(Phase::Begun);
        folder.leave_room(FULL_DISK_LEAVES).await?;
        pause(rng, 1500..4000).await;
        folder.leave_room(DISK_HAS_AGAIN).await?;
        spawn_if_it_ended(&mut postgres).await
    }

    /// Lets no file of PostgreSQL be written to beyond its first byte, for some seconds, its log included.
    async fn fail_writes(&self, note: impl Fn(Phase), rng: &mut StdRng) -> Result<(), String> {
        let mut postgres = self.postgres.as_ref().ok_or("PostgreSQL is not ours")?.lock().await;
        note(Phase::Begun);
        postgres.limit_files(Some(0)).await?;
        pause(rng, 1500..4000).await;
        postgres.limit_files(None).await?;
        spawn_if_it_ended(&mut postgres).await
    }

    /// Sets the clock forward or back, and looks whether the servers go by it.
    async fn jump(&self, note: impl Fn(Phase), servers: &[String], rng: &mut StdRng) -> Result<(), String> {
        let clock = self.clock.as_ref().ok_or("libfaketime is not installed")?;
        note(Phase::Begun);
        let jump = JUMPS.choose(rng).copied().unwrap_or_default();
        set_clock(clock, jump).map_err(|error| error.to_string())?;
        // A server writes its Date anew every half second.
        pause(rng, 1200..2500).await;
        for server in servers {
            // One that is not there has no clock.
            if let Ok(off) = clock_of(server).await
                && (off - jump).abs() > CLOCK_IS_WITHIN
            {
                return Err(format!("the clock is off by {off} s, and was to be by {jump} s"));
            }
        }
        Ok(())
    }
}

/// PostgreSQL gives up where it cannot write its log.
async fn spawn_if_it_ended(postgres: &mut Postgres) -> Result<(), String> {
    if postgres.pid().is_none() { postgres.spawn().await } else { Ok(()) }
}

/// Sets the clock of what looks at `file`.
pub(crate) fn set_clock(file: &std::path::Path, seconds: i64) -> std::io::Result<()> {
    std::fs::write(file, format!("{seconds:+}s\n"))
}

async fn pause(rng: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    sleep(Duration::from_millis(rng.random_range(milliseconds))).await;
}
