//! What can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::talker::Manner;

/// How fast is a server of this protocol?
#[derive(Debug, Parser)]
#[command(name = "hark-bench", version)]
#[command(after_help = "The server's limits have to be off, or they are what is measured:\n  \
    HARK_REQUESTS_PER_SECOND=0 HARK_SIGN_UPS_PER_MINUTE=0 HARK_LOGINS_PER_MINUTE=0 hark")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What all scenarios take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The server
    #[arg(long, global = true, default_value = "http://127.0.0.1:3000")]
    pub(crate) server: String,
    /// Path of the upgrade
    #[arg(long, global = true, default_value = "/")]
    pub(crate) path: String,
    /// File that keeps the accounts for the next run against the same server
    #[arg(long, global = true)]
    pub(crate) accounts: Option<PathBuf>,
    /// Process of the server, on this machine: what it costs is measured
    #[arg(long, global = true)]
    pub(crate) server_pid: Option<u32>,
    /// Main process of PostgreSQL, on this machine: what it and its connections cost is measured
    #[arg(long, global = true)]
    pub(crate) postgres_pid: Option<u32>,
    /// Seconds before it is measured
    #[arg(long, global = true, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) warm_up: f64,
    /// Seconds that are measured
    #[arg(long, global = true, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Bytes of a message's content, at least; some 30 of them are the marker
    #[arg(long, global = true, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Give each message a `clientMessageId`
    #[arg(long, global = true)]
    pub(crate) client_ids: bool,
    /// Write the results into this file, as JSON
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
    /// Draw the latencies into this file
    #[arg(long, global = true)]
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How messages are sent, in a closed loop unless there is a rate.
    pub(crate) fn manner(&self, rate: Option<f64>) -> Manner {
        Manner { bytes: self.bytes, client_ids: self.client_ids, is_closed: rate.is_none() }
    }
}

/// What is done.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// No load: write the tables and plots of a page out of what benches/standard has measured
    Report(Report),
}

/// What is done to a server.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Pairs of people, of whom one sends to the other
    Private(Private),
    /// One group, few who write and many who read
    Group(Group),
    /// People with chats and groups who write, read, look at their lists and type
    Mixed(Mixed),
    /// Chat lists and histories, at their beginning and far down
    Pages(Pages),
    /// Sockets that are opened and held
    Idle(Idle),
    /// Many sockets that are dropped all together and come back, while others send
    Storm(Storm),
    /// Messages while others log in
    Logins(Logins),
    /// No load: sign up people and keep them in `--accounts`
    People(SignUps),
}

/// Pairs of people.
#[derive(Clone, Debug, Args)]
pub(crate) struct Private {
    /// How many send
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages of one sender that wait for their reply at a time
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    pub(crate) window: usize,
    /// Instead of a window: so many messages a second in all, whatever becomes of those before; latencies
    /// count from when a message should have been sent
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// One group.
#[derive(Clone, Debug, Args)]
pub(crate) struct Group {
    /// How many are in it, those who write included
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) members: usize,
    /// How many write
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub(crate) writers: usize,
    /// Messages of one writer that wait for their reply at a time
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub(crate) window: usize,
    /// Instead of a window: so many messages a second in all, as for `private`
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// Sockets that nobody uses.
#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) sockets: usize,
    /// How many of them one user has
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) a_user: usize,
}

/// People who do what people do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Mixed {
    /// How many
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub(crate) people: usize,
    /// What all of them together do a second
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// Chat lists and histories.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pages {
    /// Rows of a page
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// The page that is far down
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    pub(crate) page: usize,
    /// Whose dialog with the reader is read; else the newest. The reader is the first of `--accounts`
    #[arg(long)]
    pub(crate) receiver_id: Option<i64>,
    /// Which group is read; else the newest of the reader
    #[arg(long)]
    pub(crate) group_id: Option<i64>,
}

/// Sockets that come back.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) sockets: usize,
    /// How many of them one user has
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) a_user: usize,
    /// How many others send
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages a second of all of these
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// Messages and logins.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logins {
    /// Logins a second
    #[arg(long, default_value_t = 40.0, value_parser = rate)]
    pub(crate) logins: f64,
    /// How many send
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages a second of all of them
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// People for later.
#[derive(Clone, Debug, Args)]
pub(crate) struct SignUps {
    /// How many there are to be
    #[arg(long, value_parser = at_least_one)]
    pub(crate) count: usize,
}

/// The page of a standard run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// Folder of what was measured
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// The page; its plots go into a folder of its name
    #[arg(long)]
    pub(crate) page: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err("a whole number from 1 is needed".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds from 0 to 86400 are needed".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 1000000 is needed".to_owned()),
    }
}
