//! What a process needs around a server: its signals, its database, its data folder.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::distr::{Alphanumeric, SampleString as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Server, StartError, connect, listen};
use crate::config::{Config, MIN_SECRET_BYTES, Secret};
use crate::embedded_postgres::{EmbeddedPostgres, Options};
use crate::store::DatabaseTarget;

/// Six bits each, less a little: more than the hash that they key.
const KEPT_SECRET_CHARS: usize = 64;
/// The exit code of a process that a signal ended before it was done.
const ENDED_BY_SIGNAL: i32 = 130;

/// Serves until Ctrl-C or SIGTERM, on a private PostgreSQL where the settings name no database. A
/// second signal ends the process at once; nothing that was acknowledged is lost by that. One before
/// the server runs ends it at once too, and in order: nobody was served.
///
/// # Errors
/// A sentence for whoever starts the server.
pub async fn serve(config: Config) -> Result<(), StartError> {
    check_database_url(&config)?;
    raise_file_limit();
    let mut signals = Signals::listen()?;
    // Before the database: a port that is taken is found out while nothing runs yet.
    let listener = listen(config.listen)?;
    let (server, postgres) = tokio::select! {
        started = start(config, listener) => started?,
        () = signals.next() => {
            tracing::info!("stopped while starting");
            // What runs on other threads cannot be cancelled, and would be waited for. The private
            // PostgreSQL ends with us, and a migration is undone with its connection.
            std::process::exit(0)
        }
    };
    greet(server.address());

    signals.next().await;
    tracing::info!("stopping; a second signal ends at once");
    signals
        .or_exit(async {
            server.stop().await;
            if let Some(postgres) = postgres {
                let _ = tokio::task::spawn_blocking(move || postgres.stop()).await;
            }
        })
        .await;
    Ok(())
}

async fn start(config: Config, listener: TcpListener) -> Result<(Server, Option<EmbeddedPostgres>), StartError> {
    let (postgres, database) = open_database(&config).await?;
    let secret = match &config.jwt_secret {
        Some(secret) => secret.clone(),
        None => kept_secret(&config.data_dir)?,
    };
    let server = Server::start(config, &database, &secret, listener).await?;
    Ok((server, postgres))
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The outcome of some work, unless a signal comes first. The private PostgreSQL ends with us.
    async fn or_exit<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.next() => {
                tracing::warn!("ended at once");
                std::process::exit(ENDED_BY_SIGNAL)
            }
        }
    }
}

/// Brings the schema up to date, and ends.
///
/// # Errors
/// A sentence for whoever starts it.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    check_database_url(config)?;
    let (_postgres, database) = open_database(config).await?;
    let db = connect(&database, 1).await?;
    let applied = db.migrate().await.map_err(|error| StartError::Database(error.cause_chain()))?;
    db.close().await;
    match applied.len() {
        0 => println!("the schema was up to date; nothing was applied"),
        1 => println!("applied 1 migration:"),
        number => println!("applied {number} migrations:"),
    }
    for migration in applied {
        println!("  {migration}");
    }
    Ok(())
}

fn check_database_url(config: &Config) -> Result<(), StartError> {
    let url = config.database_url.clone().map(DatabaseTarget::Url);
    url.map_or(Ok(()), |url| url.check()).map_err(StartError::DatabaseUrl)
}

async fn open_database(config: &Config) -> Result<(Option<EmbeddedPostgres>, DatabaseTarget), StartError> {
    if let Some(url) = &config.database_url {
        return Ok((None, DatabaseTarget::Url(url.clone())));
    }
    let options = Options { data_dir: config.data_dir.clone(), bin_dir: config.postgres_bin.clone(), fsync: true };
    let started = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&options)).await;
    let postgres = started.map_err(std::io::Error::other)??;
    let address = private_address(&postgres);
    Ok((Some(postgres), address))
}

/// How to connect to a private PostgreSQL.
fn private_address(postgres: &EmbeddedPostgres) -> DatabaseTarget {
    let connection = postgres.connection();
    DatabaseTarget::Socket {
        dir: connection.socket_dir.clone(),
        port: connection.port,
        user: connection.user.clone(),
        password: Secret::from(connection.password.as_str()),
        database: connection.database.clone(),
    }
}

/// The secret that signs tokens: made once, so that tokens outlive a restart.
fn kept_secret(data_dir: &Path) -> Result<Secret, StartError> {
    let path = data_dir.join("jwt-secret");
    let cannot = |cause| StartError::DataFolder { path: path.display().to_string(), cause };
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let secret = Alphanumeric.sample_string(&mut rand::rng(), KEPT_SECRET_CHARS);
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)?;
            Ok(Secret::from(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let secret = std::fs::read_to_string(&path).map_err(cannot)?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err(cannot(std::io::Error::other(
                    "it is too short to be the secret; remove it, and all will sign in anew",
                )));
            }
            Ok(Secret::from(secret))
        }
        Err(error) => Err(cannot(error)),
    }
}

/// Every socket is a file to the system.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn greet(address: SocketAddr) {
    println!(
        "Hark is listening on http://{address}

  a first conversation   http://{address}/
  Swagger UI             http://{address}/api/
  sign up                curl http://{address}/api/v1/auth/sign-up -d '{{\"email\":\"you@example.org\",\"password\":\"at least 8\"}}'

Ctrl-C stops it; the data stays."
    );
}
