//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Measures a server that speaks Hark's protocol
#[derive(Debug, Parser)]
#[command(name = "hark-bench", version)]
#[command(after_help = "The server's rate limits have to be off, or they are what is measured:\n  \
    HARK_REQUESTS_PER_SECOND=0 HARK_SIGN_UPS_PER_MINUTE=0 HARK_LOGINS_PER_MINUTE=0 hark")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The options of all scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// URL of the server
    #[arg(long, global = true, default_value = "http://127.0.0.1:3000")]
    pub(crate) server: String,
    /// Path of the upgrade
    #[arg(long, global = true, default_value = "/")]
    pub(crate) path: String,
    /// File that keeps the accounts for the next run against the same server
    #[arg(long, global = true)]
    pub(crate) accounts: Option<PathBuf>,
    /// Process id of the server, on this machine, to measure its CPU time and memory
    #[arg(long, global = true)]
    pub(crate) server_pid: Option<u32>,
    /// Process id of PostgreSQL's postmaster, on this machine, to measure the CPU time of all its processes
    #[arg(long, global = true)]
    pub(crate) postgres_pid: Option<u32>,
    /// Seconds of load before the measurement
    #[arg(long, global = true, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) warm_up: f64,
    /// Seconds of the measurement
    #[arg(long, global = true, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Minimum length of a message's content in bytes; about 30 of them are the marker
    #[arg(long, global = true, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Give each message a `clientMessageId`
    #[arg(long, global = true)]
    pub(crate) client_ids: bool,
    /// Write the results into this file, as JSON
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
    /// Plot the latencies into this file, as SVG
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

    /// How messages are sent: in a closed loop unless there is a rate.
    pub(crate) fn send_options(&self, rate: Option<f64>) -> SendOptions {
        SendOptions { bytes: self.bytes, client_ids: self.client_ids, is_closed_loop: rate.is_none() }
    }
}

/// How a sender sends its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendOptions {
    /// The minimum length of a content, in bytes.
    pub(crate) bytes: usize,
    /// Whether each message has a `clientMessageId`.
    pub(crate) client_ids: bool,
    /// Whether a sender follows each reply with the next message.
    pub(crate) is_closed_loop: bool,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// Run the standard benchmark: scenarios in turn with PostgreSQL alone, on servers of its own, and the page of it
    Standard(Standard),
    /// No load: write the tables and plots of a page from the results of `standard`
    Report(Report),
}

/// The kinds of load.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Pairs of users, in each of which one user sends to the other
    Private(Private),
    /// One group with a few senders and many readers
    Group(Group),
    /// Virtual users who send, read, type, and look at lists and histories
    Mixed(Mixed),
    /// The first and a deep page of the chat list and of histories
    Pages(Pages),
    /// Sockets that are only held open
    Idle(Idle),
    /// A reconnect storm while other users send
    Storm(Storm),
    /// Messages while other users log in
    Logins(Logins),
    /// No load: sign up users and keep their accounts in `--accounts`
    People(SignUps),
}

/// Options of `private`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Private {
    /// Number of senders
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages of one sender in flight
    #[arg(long, default_value_t = 4, value_parser = at_least_one)]
    pub(crate) window: usize,
    /// Open loop instead of a window: messages per second in all, sent when they are due; latencies count from that
    /// time
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// Options of `group`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Group {
    /// Number of members, the senders included
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) members: usize,
    /// Number of senders
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub(crate) writers: usize,
    /// Messages of one sender in flight
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub(crate) window: usize,
    /// Open loop instead of a window: messages per second in all, as for `private`
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// Options of `idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {
    /// Number of sockets
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) sockets: usize,
    /// Sockets of one user
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) a_user: usize,
}

/// Options of `mixed`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Mixed {
    /// Number of virtual users
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    pub(crate) people: usize,
    /// Actions per second of all of them together
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// Options of `pages`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pages {
    /// Rows of a page
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// Number of the deep page
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    pub(crate) page: usize,
    /// Peer of the dialog that is read; the newest dialog if left out. The reader is the first of `--accounts`
    #[arg(long)]
    pub(crate) receiver_id: Option<i64>,
    /// Group that is read; the reader's newest if left out
    #[arg(long)]
    pub(crate) group_id: Option<i64>,
}

/// Options of `storm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Storm {
    /// Number of sockets
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) sockets: usize,
    /// Sockets of one user
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) a_user: usize,
    /// Number of other users who send
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages per second of all senders together
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// Options of `logins`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Logins {
    /// Logins per second
    #[arg(long, default_value_t = 40.0, value_parser = rate)]
    pub(crate) logins: f64,
    /// Number of senders
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) senders: usize,
    /// Messages per second of all senders together
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// Options of `people`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SignUps {
    /// Number of accounts in the file afterwards
    #[arg(long, value_parser = at_least_one)]
    pub(crate) count: usize,
}

/// Options of `standard`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Standard {
    /// The server's program; the one beside this program if left out
    #[arg(long, value_name = "PATH")]
    pub(crate) hark: Option<PathBuf>,
    /// Folder of PostgreSQL's programs, `psql` and `pgbench` among them
    #[arg(long, value_name = "DIR")]
    pub(crate) postgres_bin: PathBuf,
    /// Folder on the disk to measure: the data of the servers goes into a new folder in it, which is removed afterwards
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub(crate) work_dir: PathBuf,
    /// The page whose tables are written
    #[arg(long, default_value = "docs/performance.md", value_name = "FILE")]
    pub(crate) page: PathBuf,
    /// Keep a copy of the raw results in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// Options of `report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// Folder of the results
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// The page; its plots go into the folder beside it with the same name
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
