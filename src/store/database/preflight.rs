//! Preflight checks, before a server uses a database: it answers, it can be written to, its encoding holds every
//! text, and a pooler in front of it assigns whole sessions. Each refusal is a sentence for an operator.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, sleep, timeout};

/// Maximum wait for a connection or an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for a notification, which plain PostgreSQL delivers within milliseconds.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time of retries while the database server is starting up.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two such attempts.
const RETRY_DELAY: Duration = Duration::from_millis(200);

const NEEDS_SESSIONS: &str = "a pooler that shares out single transactions or statements stands before it (PgBouncer's \
     pool_mode = transaction or statement), and hark needs sessions: set pool_mode = session for this database, or \
     connect to PostgreSQL itself";

const TOO_FEW_CONNECTIONS: &str = "a second connection gets no answer: is the pool of a pooler smaller than what hark \
     needs? That is HARK_DATABASE_CONNECTIONS + 3 × HARK_WRITERS + 3 connections for each node, and 2 more while one starts";

/// Runs all preflight checks.
///
/// # Errors
/// A sentence that names the database, its location and what is wrong with it.
pub(in crate::store) async fn check(options: &PgConnectOptions) -> Result<(), String> {
    let result = async {
        let mut connection = connect(options).await?;
        with_timeout(check_server(&mut connection)).await?;
        check_sessions(options, &mut connection).await?;
        // If it fails, the server ends the connection.
        let _ = connection.close().await;
        Ok::<_, String>(())
    };
    result.await.map_err(|cause| format!("{}: {cause}", location(options)))
}

/// The database and its location, without secrets.
fn location(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("{database} at the socket in {}", folder.display()),
        None if options.get_host().starts_with('/') => format!("{database} at the socket in {}", options.get_host()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// Connects without a pool: a pool retries if nothing listens, and then reports a timeout and no cause.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, String> {
    let started = Instant::now();
    loop {
        match timeout(ANSWER_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) if is_starting_up(&error) && started.elapsed() < STARTUP_TIMEOUT => {
                sleep(RETRY_DELAY).await;
            }
            Ok(Err(error)) => return Err(describe(&error, options)),
            Err(_) => return Err(no_answer()),
        }
    }
}

fn is_starting_up(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("57P03"))
}

async fn with_timeout<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> String {
    format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())
}

/// Puts a failed connection into words.
fn describe(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    match error {
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "nothing listens there (connection refused)".to_owned()
        }
        sqlx::Error::Io(error) if error.kind() == ErrorKind::NotFound => {
            "there is no socket of PostgreSQL in that folder".to_owned()
        }
        sqlx::Error::Io(error) if error.to_string().contains("lookup address") => {
            format!("there is no such host ({error})")
        }
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => format!("the password of the user {} is wrong", options.get_username()),
            Some("3D000") => "there is no such database".to_owned(),
            _ => error.message().to_owned(),
        },
        error => error.to_string(),
    }
}

/// Checks that the server holds every text and can be written to. Like all checks it uses the simple query
/// protocol: behind a transaction pooler a prepared statement fails with errors that explain nothing.
async fn check_server(connection: &mut PgConnection) -> Result<(), String> {
    let row = sqlx::raw_sql(
        "select current_setting('server_encoding'), current_setting('transaction_read_only'), \
                (select datctype::text from pg_database where datname = current_database())",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| match error {
        sqlx::Error::Protocol(_) => NEEDS_SESSIONS.to_owned(),
        error => error.to_string(),
    })?;
    let [encoding, read_only, ctype]: [String; 3] = [row.get(0), row.get(1), row.get(2)];
    if encoding != "UTF8" {
        return Err(format!(
            "its encoding is {encoding}, which cannot hold every text: hark needs UTF8, as of `create database … \
             encoding 'UTF8' template template0`"
        ));
    }
    if read_only == "on" {
        return Err(
            "it is read-only (a standby, or default_transaction_read_only is on), and hark needs one that can be \
                    written to"
                .to_owned(),
        );
    }
    if ["C", "POSIX"].contains(&ctype.as_str()) {
        tracing::warn!(
            lc_ctype = ctype,
            "a search for users by a name in other than Latin letters scans all users; a database with LC_CTYPE \
             'C.UTF-8', or of a language, uses an index"
        );
    }
    Ok(())
}

/// Checks that a connection is a session: a notification has to reach a connection that listens while it is idle.
/// Behind a transaction pooler an idle connection has no server that could deliver anything.
async fn check_sessions(options: &PgConnectOptions, other: &mut PgConnection) -> Result<(), String> {
    // Behind a pooler a notification for another session can arrive among the answers of this connection.
    let explain = |error: sqlx::Error| match error {
        sqlx::Error::Protocol(_) => NEEDS_SESSIONS.to_owned(),
        error => describe(&error, options),
    };
    let channel = format!("hark_preflight_{:016x}", rand::random::<u64>());
    let pid_of = |row: sqlx::postgres::PgRow| row.get::<i32, _>(0);
    let listening = async {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(&channel).await?;
        let row = sqlx::raw_sql("select pg_backend_pid()").fetch_one(&mut listener).await?;
        Ok((listener, pid_of(row)))
    };
    let (mut listener, listener_pid) = match timeout(ANSWER_TIMEOUT, listening).await {
        Ok(Ok(listening)) => listening,
        Err(_) | Ok(Err(sqlx::Error::PoolTimedOut)) => return Err(TOO_FEW_CONNECTIONS.to_owned()),
        Ok(Err(error)) => return Err(explain(error)),
    };
    let pid =
        with_timeout(async { sqlx::raw_sql("select pg_backend_pid()").fetch_one(&mut *other).await.map_err(explain) });
    // Two open connections share one server process.
    if pid_of(pid.await?) == listener_pid {
        return Err(NEEDS_SESSIONS.to_owned());
    }
    let notify = sqlx::raw_sql(AssertSqlSafe(format!("notify \"{channel}\"")));
    with_timeout(async { notify.execute(other).await.map_err(explain) }).await?;
    let notified = async {
        while let Ok(Some(notification)) = listener.try_recv().await {
            // A notification of another channel proves nothing.
            if notification.channel() == channel {
                return true;
            }
        }
        false
    };
    if timeout(NOTIFY_TIMEOUT, notified).await.unwrap_or(false) { Ok(()) } else { Err(NEEDS_SESSIONS.to_owned()) }
}
