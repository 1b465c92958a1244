//! The settings: one documented field each, as a flag and as an environment variable. Nothing else in the crate
//! reads the environment.

mod unknown;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use self::unknown::unknown_variables;
use self::values::{listen_address, log_filter, origin, within};

/// The command line of `hark`.
#[derive(Debug, Parser)]
#[command(name = "hark", version, about = "A messenger server: one binary and PostgreSQL.")]
#[command(
    after_help = "Without a command, hark serves. Every flag can be given as the environment variable beside it."
)]
pub struct Cli {
    /// The command; without one, hark serves.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// The commands of `hark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve until Ctrl-C or SIGTERM (the default)
    Serve,
    /// Bring the database's schema up to date, and exit
    Migrate,
    /// Check whether the server on `HARK_LISTEN` is alive; for a container's health check
    Healthcheck,
    /// Print the OpenAPI document of the HTTP interface
    Openapi,
    /// Print the AsyncAPI document of the socket
    Asyncapi,
}

/// The settings of a server.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// URL of the PostgreSQL database; without it, hark runs a private PostgreSQL in the data folder
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,

    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, global = true, env = "HARK_LISTEN", value_name = "HARK_LISTEN", default_value = "127.0.0.1:3000", value_parser = listen_address)]
    pub listen: SocketAddr,

    /// Folder for the private PostgreSQL and the secret that signs tokens
    #[arg(long, global = true, env = "HARK_DATA_DIR", value_name = "HARK_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// Folder of `initdb` and `postgres`; without it, the usual places are searched
    #[arg(long, global = true, env = "HARK_POSTGRES_BIN", value_name = "HARK_POSTGRES_BIN")]
    pub postgres_bin: Option<PathBuf>,

    /// Secret that signs the tokens, 32 bytes or more; required with `DATABASE_URL`, otherwise generated once and kept in the data folder
    #[arg(long, global = true, env = "HARK_JWT_SECRET", value_name = "HARK_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<Secret>,

    /// Origins whose pages may use this server, separated by commas, or `*`; pages of its own origin always may
    #[arg(long, global = true, env = "HARK_ALLOWED_ORIGINS", value_name = "HARK_ALLOWED_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub allowed_origins: Vec<String>,

    /// Take the client's address from the last entry of X-Forwarded-For, which a proxy sets, true or false
    #[arg(long, global = true, env = "HARK_TRUST_PROXY", value_name = "HARK_TRUST_PROXY", default_value_t = false, action = clap::ArgAction::Set, value_parser = clap::value_parser!(bool))]
    pub trust_proxy: bool,

    /// What is logged: error, warn, info, debug, trace or off, or a filter such as `info,hark=debug`
    #[arg(long, global = true, env = "HARK_LOG", value_name = "HARK_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,

    /// Form of the log
    #[arg(long, global = true, env = "HARK_LOG_FORMAT", value_name = "HARK_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Bring the schema up to date at start, true or false
    #[arg(long, global = true, env = "HARK_MIGRATE", value_name = "HARK_MIGRATE", default_value_t = true, action = clap::ArgAction::Set, value_parser = clap::value_parser!(bool))]
    pub migrate: bool,

    /// Deliver to the sockets of other nodes on the same database too, over LISTEN and NOTIFY, true or false; false saves two connections if there is only one node
    #[arg(long, global = true, env = "HARK_CLUSTER", value_name = "HARK_CLUSTER", default_value_t = true, action = clap::ArgAction::Set, value_parser = clap::value_parser!(bool))]
    pub cluster: bool,

    /// Connections to the database for everything but sends, 1 to 1000
    #[arg(long, global = true, env = "HARK_DATABASE_CONNECTIONS", value_name = "HARK_DATABASE_CONNECTIONS", default_value_t = 10, value_parser = within::<u32>(1..=1000))]
    pub database_connections: u32,

    /// Writers that run in parallel, each with one connection, and up to two more while conversations are locked, 1 to 64; all messages of a conversation go through the same writer. By default half the cores, at most 4
    #[arg(long, global = true, env = "HARK_WRITERS", value_name = "HARK_WRITERS", value_parser = within::<u16>(1..=64))]
    pub writers: Option<u16>,

    /// Messages that may wait for a writer before sends are answered `overloaded`, 1 to 1000000
    #[arg(long, global = true, env = "HARK_WRITE_QUEUE", value_name = "HARK_WRITE_QUEUE", default_value_t = 8192, value_parser = within::<usize>(1..=1_000_000))]
    pub write_queue: usize,

    /// The limits.
    #[command(flatten)]
    pub limits: Limits,
}

/// The limits of requests, and of what clients may take.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Bytes of one frame, or of one HTTP body, 32768 to 16777216
    #[arg(long, global = true, env = "HARK_MAX_FRAME_BYTES", value_name = "HARK_MAX_FRAME_BYTES", default_value_t = 65_536, value_parser = within::<usize>(32_768..=16_777_216))]
    pub max_frame_bytes: usize,

    /// Bytes of a message's content, 1 to 1048576
    #[arg(long, global = true, env = "HARK_MAX_CONTENT_BYTES", value_name = "HARK_MAX_CONTENT_BYTES", default_value_t = 16_384, value_parser = within::<usize>(1..=1_048_576))]
    pub max_content_bytes: usize,

    /// Characters of a group's name, 1 to 1000
    #[arg(long, global = true, env = "HARK_MAX_GROUP_NAME_CHARS", value_name = "HARK_MAX_GROUP_NAME_CHARS", default_value_t = 100, value_parser = within::<usize>(1..=1000))]
    pub max_group_name_chars: usize,

    /// Members of a group, 0 to 1000000; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_GROUP_MEMBERS", value_name = "HARK_MAX_GROUP_MEMBERS", default_value_t = 10_000, value_parser = within::<usize>(0..=1_000_000))]
    pub max_group_members: usize,

    /// Groups that one user is in, 0 to 1000000; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_GROUPS_PER_USER", value_name = "HARK_MAX_GROUPS_PER_USER", default_value_t = 1_000, value_parser = within::<i64>(0..=1_000_000))]
    pub max_groups_per_user: i64,

    /// Groups that a user is in because strangers have added them, 0 to 1000000; a stranger is neither a contact of the user nor a user to whom they have written; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_GROUPS_FROM_STRANGERS", value_name = "HARK_MAX_GROUPS_FROM_STRANGERS", default_value_t = 200, value_parser = within::<i64>(0..=1_000_000))]
    pub max_groups_from_strangers: i64,

    /// Groups that a user is in because one and the same stranger has added them, 0 to 1000000; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_GROUPS_FROM_ONE_STRANGER", value_name = "HARK_MAX_GROUPS_FROM_ONE_STRANGER", default_value_t = 20, value_parser = within::<i64>(0..=1_000_000))]
    pub max_groups_from_one_stranger: i64,

    /// Notifications that are kept for one user, read or not, 0 to 1000000; past that, the oldest are deleted; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_NOTIFICATIONS_PER_USER", value_name = "HARK_MAX_NOTIFICATIONS_PER_USER", default_value_t = 10_000, value_parser = within::<i64>(0..=1_000_000))]
    pub max_notifications_per_user: i64,

    /// Notifications from one sender that a user has not read yet, 0 to 1000000; past that, the sender gets `conflict`; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_MAX_UNREAD_NOTIFICATIONS_FROM_ONE", value_name = "HARK_MAX_UNREAD_NOTIFICATIONS_FROM_ONE", default_value_t = 100, value_parser = within::<i64>(0..=1_000_000))]
    pub max_unread_notifications_from_one: i64,

    /// Rows of a page, 1 to 10000
    #[arg(long, global = true, env = "HARK_MAX_PAGE_ROWS", value_name = "HARK_MAX_PAGE_ROWS", default_value_t = 100, value_parser = within::<i64>(1..=10_000))]
    pub max_page_rows: i64,

    /// Requests of one socket that are in flight, 1 to 4096; past that, no further request is processed
    #[arg(long, global = true, env = "HARK_MAX_IN_FLIGHT", value_name = "HARK_MAX_IN_FLIGHT", default_value_t = 64, value_parser = within::<usize>(1..=4096))]
    pub max_in_flight: usize,

    /// Requests a second of one socket, and of one user over HTTP, 0 to 1000000; an upgrade counts as a request of its session, and upgrades of one user have a limit of their own, twice this; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_REQUESTS_PER_SECOND", value_name = "HARK_REQUESTS_PER_SECOND", default_value_t = 50, value_parser = within::<u32>(0..=1_000_000))]
    pub requests_per_second: u32,

    /// Requests of one socket, or of one user over HTTP, that may come at once before the rate limits them, 1 to 1000000
    #[arg(long, global = true, env = "HARK_REQUEST_BURST", value_name = "HARK_REQUEST_BURST", default_value_t = 100, value_parser = within::<u32>(1..=1_000_000))]
    pub request_burst: u32,

    /// Requests of one user that this node runs at the same time, over all sockets and HTTP, except sends, 1 to 1000; more wait, 10 s at most
    #[arg(long, global = true, env = "HARK_MAX_REQUESTS_AT_ONCE", value_name = "HARK_MAX_REQUESTS_AT_ONCE", default_value_t = 2, value_parser = within::<usize>(1..=1000))]
    pub max_requests_at_once: usize,

    /// Bytes of messages that one search examines, each message counted with 256 bytes more, 65536 to 1073741824; then it returns what it has found, and where the next search continues
    #[arg(long, global = true, env = "HARK_SEARCH_BYTES", value_name = "HARK_SEARCH_BYTES", default_value_t = 4_194_304, value_parser = within::<i64>(65_536..=1_073_741_824))]
    pub search_bytes: i64,

    /// Sockets that are opened a second on this node, 0 to 1000000; more wait, 10 s at most; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_SOCKETS_PER_SECOND", value_name = "HARK_SOCKETS_PER_SECOND", default_value_t = 2_000, value_parser = within::<u32>(0..=1_000_000))]
    pub sockets_per_second: u32,

    /// Open sockets of one user, on one node, 1 to 100000
    #[arg(long, global = true, env = "HARK_MAX_SOCKETS_PER_USER", value_name = "HARK_MAX_SOCKETS_PER_USER", default_value_t = 20, value_parser = within::<usize>(1..=100_000))]
    pub max_sockets_per_user: usize,

    /// Bytes of pushes that may wait for a slow consumer, 32768 to 1073741824; past that, one `behind` replaces the further pushes of a conversation
    #[arg(long, global = true, env = "HARK_OUTBOX_BYTES", value_name = "HARK_OUTBOX_BYTES", default_value_t = 1_048_576, value_parser = within::<usize>(32_768..=1_073_741_824))]
    pub outbox_bytes: usize,

    /// Bytes that requests and their replies may take on this node, all clients together, 1048576 to 1099511627776; past that, a socket with more than 32 KiB of it is not read, and replies and HTTP bodies larger than that are answered `overloaded`
    #[arg(long, global = true, env = "HARK_REQUEST_MEMORY_BYTES", value_name = "HARK_REQUEST_MEMORY_BYTES", default_value_t = 268_435_456, value_parser = within::<usize>(1_048_576..=1_099_511_627_776))]
    pub request_memory_bytes: usize,

    /// Hours for which a token is valid, 1 to 87600
    #[arg(long, global = true, env = "HARK_TOKEN_HOURS", value_name = "HARK_TOKEN_HOURS", default_value_t = 24, value_parser = within::<u32>(1..=87_600))]
    pub token_hours: u32,

    /// Sign-ups a minute from one address, 0 to 1000000; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_SIGN_UPS_PER_MINUTE", value_name = "HARK_SIGN_UPS_PER_MINUTE", default_value_t = 10, value_parser = within::<u32>(0..=1_000_000))]
    pub sign_ups_per_minute: u32,

    /// Logins a minute from one address, 0 to 1000000; 0 turns the limit off
    #[arg(long, global = true, env = "HARK_LOGINS_PER_MINUTE", value_name = "HARK_LOGINS_PER_MINUTE", default_value_t = 30, value_parser = within::<u32>(0..=1_000_000))]
    pub logins_per_minute: u32,

    /// Minimum number of characters of a password, 1 to 1024
    #[arg(long, global = true, env = "HARK_MIN_PASSWORD_CHARS", value_name = "HARK_MIN_PASSWORD_CHARS", default_value_t = 8, value_parser = within::<usize>(1..=1024))]
    pub min_password_chars: usize,

    /// Maximum number of characters of a password, 1 to 1024
    #[arg(long, global = true, env = "HARK_MAX_PASSWORD_CHARS", value_name = "HARK_MAX_PASSWORD_CHARS", default_value_t = 128, value_parser = within::<usize>(1..=1024))]
    pub max_password_chars: usize,

    /// Seconds between two pings on an open socket, 1 to 86400
    #[arg(long, global = true, env = "HARK_PING_SECONDS", value_name = "HARK_PING_SECONDS", default_value_t = 25, value_parser = within::<u32>(1..=86_400))]
    pub ping_seconds: u32,

    /// Seconds without any traffic from the client after which its socket is closed, 1 to 86400
    #[arg(long, global = true, env = "HARK_IDLE_SECONDS", value_name = "HARK_IDLE_SECONDS", default_value_t = 60, value_parser = within::<u32>(1..=86_400))]
    pub idle_seconds: u32,
}

/// A value that no log, error or `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Minimum length of a secret that signs tokens, in bytes: that of the output of the hash, as HS256 requires.
pub const MIN_SECRET_BYTES: usize = 32;

/// Bytes that a frame needs besides the content of its message: keys, ids, the client message id.
const ENVELOPE_BYTES: usize = 2048;

impl Config {
    /// The number of writers, by default half the cores, at least 1 and at most 4: fewer writers have fuller batches,
    /// which cost less a message.
    #[must_use]
    pub fn writers(&self) -> u16 {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.writers.unwrap_or(u16::try_from(cores / 2).unwrap_or(u16::MAX).clamp(1, 4))
    }

    /// The allowed origins, besides the server's own.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.allowed_origins.iter().map(String::as_str).filter(|origin| !origin.is_empty())
    }

    /// Checks settings against each other.
    ///
    /// # Errors
    /// A sentence that names the setting at fault.
    pub fn check(&self, command: Command) -> Result<(), String> {
        match (&self.database_url, &self.jwt_secret) {
            (Some(_), None) if command == Command::Serve => {
                return Err("HARK_JWT_SECRET is required with DATABASE_URL: every node that shares the database needs the same one, for instance of `openssl rand -hex 32`".to_owned());
            }
            (_, Some(secret)) if secret.expose().len() < MIN_SECRET_BYTES => {
                return Err(format!(
                    "HARK_JWT_SECRET must be {MIN_SECRET_BYTES} bytes or more, for instance of `openssl rand -hex 32`"
                ));
            }
            _ => {}
        }
        if let Some(url) = &self.database_url
            && !["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme))
        {
            return Err("DATABASE_URL must begin with postgres:// or postgresql://".to_owned());
        }
        let limits = &self.limits;
        // One message of the largest size must fit.
        for (name, bytes) in
            [("HARK_OUTBOX_BYTES", limits.outbox_bytes), ("HARK_REQUEST_MEMORY_BYTES", limits.request_memory_bytes)]
        {
            if bytes < limits.max_frame_bytes {
                return Err(format!("{name} must not be less than HARK_MAX_FRAME_BYTES"));
            }
        }
        if limits.max_content_bytes + ENVELOPE_BYTES > limits.max_frame_bytes {
            return Err(format!(
                "HARK_MAX_FRAME_BYTES must be HARK_MAX_CONTENT_BYTES and {ENVELOPE_BYTES} more, or the longest message \
                 fits into no frame"
            ));
        }
        if limits.min_password_chars > limits.max_password_chars {
            return Err("HARK_MIN_PASSWORD_CHARS must not be more than HARK_MAX_PASSWORD_CHARS".to_owned());
        }
        if limits.ping_seconds >= limits.idle_seconds {
            return Err(
                "HARK_PING_SECONDS must be less than HARK_IDLE_SECONDS, or healthy sockets are ended".to_owned()
            );
        }
        Ok(())
    }
}
