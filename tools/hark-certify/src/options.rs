//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::fault::Fault;

/// The command line of `hark-certify`.
#[derive(Debug, Parser)]
#[command(name = "hark-certify", version)]
#[command(about = "Injects faults into servers under load, and checks that nothing is lost")]
pub(crate) struct Options {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Start servers and inject faults into them
    Run(Run),
    /// Drive servers that are already running, while somebody else injects faults
    Watch(Watch),
    /// Check a recorded history again
    Judge {
        /// A file that `--record` wrote
        file: PathBuf,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The server's program
    #[arg(long, value_name = "PATH")]
    pub(crate) hark: PathBuf,
    /// Faults to inject, separated by commas, each in a round of its own; all of them, and then mixed rounds, if left
    /// out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(crate) faults: Vec<Fault>,
    /// Run the mixed rounds too, where --faults is given
    #[arg(long)]
    pub(crate) mixed: bool,
    /// Seconds for which stop-postgres stops PostgreSQL
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) stop_seconds: u64,
    /// Folder of `initdb` and `postgres`; the usual places are searched if left out
    #[arg(long, value_name = "PATH")]
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Path of libfaketime.so.1, for clock-jump; the usual places are searched if left out
    #[arg(long, value_name = "PATH")]
    pub(crate) faketime: Option<PathBuf>,
    /// Keep the data and logs of each round
    #[arg(long)]
    pub(crate) keep: bool,
    /// Options that `run` and `watch` share
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The server's address, such as `http://127.0.0.1:3000`; several, separated by commas, are nodes on one database
    #[arg(long, value_delimiter = ',', required = true, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// Faults of clients, separated by commas: cut-frame, slow-reader, garbage; all three if left out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(crate) faults: Vec<Fault>,
    /// Options that `run` and `watch` share
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Options of the load.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Seconds of load in a round; mixed rounds take four times that, scenarios as long as they take
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seed of all random choices; a new one if left out
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Number of users
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=90))]
    pub(crate) people: u16,
    /// Write the history into this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

impl Load {
    /// The duration of the load in a round.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
