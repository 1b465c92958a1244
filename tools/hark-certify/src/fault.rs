//! The faults that can be injected.

use clap::ValueEnum;

/// A fault. The doc comments are the help of `--faults`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL to the server, whose private PostgreSQL ends with it
    KillServer,
    /// SIGTERM to the server, and a restart
    RestartServer,
    /// SIGKILL to PostgreSQL's postmaster, and a restart
    KillPostgres,
    /// SIGKILL to a backend process of PostgreSQL
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
    /// Slow consumers: clients send requests and read nothing
    SlowReader,
    /// Clients send invalid requests, frames and HTTP
    Garbage,
    /// PostgreSQL is read-only for some seconds, and sessions opened meanwhile stay read-only
    ReadOnly,
    /// SIGKILL to a pooler in session mode, and a restart; transaction mode has to be refused
    Pgbouncer,
    /// One user floods the server within their limits: groups, searches, notifications, logins
    Abuse,
    /// A dump is restored, once and twice, into a new cluster and into the same one
    RestoreDump,
    /// A copy of PostgreSQL's data folder is restored
    RestoreFolder,
    /// A lagging standby is promoted after the primary was killed, while the server runs
    PromoteStandby,
}

/// What a fault is injected into. Faults of one layer are injected one at a time, those of different layers
/// independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The server's process.
    Server,
    /// PostgreSQL, and the machine it runs on.
    Database,
    /// The sockets: what a client can do.
    Clients,
    /// The history of the database. These faults are scenarios: rounds of their own that follow a script.
    History,
}

impl Fault {
    /// The fault with a name of the command line.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    /// The name on the command line and in the history.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The layer that the fault is injected into.
    pub(crate) fn layer(self) -> Layer {
        match self {
            Self::KillServer | Self::RestartServer | Self::KillOneOfTwo => Layer::Server,
            Self::KillPostgres
            | Self::KillBackend
            | Self::StopPostgres
            | Self::FullDisk
            | Self::FailingWrites
            | Self::ClockJump
            | Self::ReadOnly
            | Self::Pgbouncer => Layer::Database,
            Self::CutFrame | Self::SlowReader | Self::Garbage | Self::Abuse => Layer::Clients,
            Self::RestoreDump | Self::RestoreFolder | Self::PromoteStandby => Layer::History,
        }
    }

    /// Whether it can be mixed with other faults in one round.
    pub(crate) fn is_mixable(self) -> bool {
        self.layer() != Layer::History && !matches!(self, Self::Pgbouncer | Self::Abuse)
    }
}
