//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::faults::Fault;

/// `hark-certify`.
#[derive(Debug, Parser)]
#[command(name = "hark-certify", version, about = "What does a server lose while it is being hurt?")]
pub(crate) struct Options {
    /// What to do.
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Start servers and hurt them
    Run(Run),
    /// Drive a server that runs, while somebody else hurts it
    Watch(Watch),
    /// Judge a record again
    Judge {
        /// A file that `--record` wrote
        file: PathBuf,
    },
}

/// Settings of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The server's program
    #[arg(long, value_name = "PATH")]
    pub(crate) hark: PathBuf,
    /// What is done to it, separated by commas, each in a round of its own; left out, all of it, and then mixed
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(crate) faults: Vec<Fault>,
    /// Mixed rounds too, where --faults names some
    #[arg(long)]
    pub(crate) mixed: bool,
    /// Seconds that PostgreSQL is stopped for
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) stop_seconds: u64,
    /// Folder of `initdb` and `postgres`; left out, the usual places are searched
    #[arg(long, value_name = "PATH")]
    pub(crate) postgres_bin: Option<PathBuf>,
    /// libfaketime.so.1, for the clock; left out, the usual places are searched
    #[arg(long, value_name = "PATH")]
    pub(crate) faketime: Option<PathBuf>,
    /// Leave the data and the logs of each round
    #[arg(long)]
    pub(crate) keep: bool,
    /// What `run` and `watch` share
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Settings of `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The server's address, such as `http://127.0.0.1:3000`; several, separated by commas, are nodes on one database
    #[arg(long, value_delimiter = ',', required = true, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// What clients do to it, separated by commas: cut-frame, slow-reader, garbage; left out, all three
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(crate) faults: Vec<Fault>,
    /// What `run` and `watch` share
    #[command(flatten)]
    pub(crate) load: Load,
}

/// How much is done.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Seconds of load in a round; mixed rounds take four times that, scenarios as long as they take
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// What all choices come from; left out, a new one
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How many people there are
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=90))]
    pub(crate) people: u16,
    /// Write what was seen here, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

impl Load {
    /// How long a round is.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
