//! The process around a server: signals, the private PostgreSQL, the data folder, and the banner.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::distr::{Alphanumeric, SampleString as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::listener::listen;
use super::start_error::StartError;
use super::{Server, connect};
use crate::config::{Config, MIN_SECRET_BYTES, Secret};
use crate::embedded_postgres::{EmbeddedPostgres, Options};
use crate::store::DatabaseTarget;

/// Characters of a generated secret, of almost six bits each: together more than the 256 bits of the hash.
const GENERATED_SECRET_CHARS: usize = 64;
/// The exit code if a second signal ends the process during its graceful shutdown.
const EXIT_CODE_INTERRUPTED: i32 = 130;

/// Serves until Ctrl-C or SIGTERM, then shuts down gracefully. Without a database in the settings it runs a private
/// PostgreSQL. A second signal ends the process at once, which loses nothing that was acknowledged. A signal before
/// the server has started ends it at once too, with exit code 0: it has served no client.
///
/// # Errors
/// A sentence for the operator.
pub async fn serve(config: Config) -> Result<(), StartError> {
    check_database_url(&config)?;
    raise_file_limit();
    let mut signals = Signals::listen()?;
    // Before the database: a port that is taken is detected while nothing runs yet.
    let listener = listen(config.listen)?;
    let (server, postgres) = tokio::select! {
        started = start(config, listener) => started?,
        () = signals.next() => {
            tracing::info!("stopped during startup");
            // Work on other threads cannot be cancelled, and a return would wait for it. The private PostgreSQL ends
            // with this process, and a migration is rolled back with its connection.
            std::process::exit(0)
        }
    };
    print_banner(server.address());

    signals.next().await;
    tracing::info!("graceful shutdown started; a second signal ends the process at once");
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
        None => load_or_create_jwt_secret(&config.data_dir)?,
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

    /// Waits for some work, and ends the process if a signal arrives first. The private PostgreSQL ends with it.
    async fn or_exit<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.next() => {
                tracing::warn!("shutdown interrupted by a second signal");
                std::process::exit(EXIT_CODE_INTERRUPTED)
            }
        }
    }
}

/// Brings the schema up to date, and prints the migrations that were applied.
///
/// # Errors
/// A sentence for the operator.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    check_database_url(config)?;
    let (_postgres, database) = open_database(config).await?;
    let db = connect(&database, 1).await?;
    let applied = db.migrate().await.map_err(StartError::Database)?;
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

/// The address of a private PostgreSQL.
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

/// Loads the secret that signs tokens from the data folder, or generates it on the first start. It is kept, so that
/// tokens outlive a restart.
fn load_or_create_jwt_secret(data_dir: &Path) -> Result<Secret, StartError> {
    let path = data_dir.join("jwt-secret");
    let cannot = |cause| StartError::DataFolder { path: path.display().to_string(), cause };
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let secret = Alphanumeric.sample_string(&mut rand::rng(), GENERATED_SECRET_CHARS);
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

/// Raises the limit of open files to the maximum that the system allows: every socket is a file.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "file limit not raised");
    }
}

fn print_banner(address: SocketAddr) {
    println!(
        "Hark is listening on http://{address}

  a first conversation   http://{address}/
  Swagger UI             http://{address}/api/
  sign up                curl http://{address}/api/v1/auth/sign-up -d '{{\"email\":\"you@example.org\",\"password\":\"at least 8\"}}'

Ctrl-C stops it; the data stays."
    );
}
