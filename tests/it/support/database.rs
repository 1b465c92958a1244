//! One private PostgreSQL a run, one database a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use hark::config::Secret;
use hark::embedded_postgres::{Connection, EmbeddedPostgres, Options};
use hark::store::Address;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// Without fsync: nobody wants this data back. Tests of durability run the real binary, with it.
static POSTGRES: LazyLock<EmbeddedPostgres> = LazyLock::new(|| {
    let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs");
    remove_old_runs(&runs);
    let data_dir = runs.join(std::process::id().to_string());
    EmbeddedPostgres::start(&Options { data_dir, bin_dir: None, fsync: false }).expect("the private PostgreSQL starts")
});

static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database with the schema, and nothing else in it.
pub async fn create() -> Address {
    TEMPLATE.get_or_init(make_template).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name} template template_hark")).await;
    address(name)
}

/// A database without anything in it.
pub async fn create_empty() -> Address {
    let name = format!("empty_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name}")).await;
    address(name)
}

/// A connection to the same database, for what a test does behind the server's back.
pub async fn connect(database: &Address) -> sqlx::PgConnection {
    let Address::Socket { dir, port, user, password, database } = database else {
        unreachable!("tests use a PostgreSQL of their own")
    };
    let options = PgConnectOptions::new_without_pgpass().socket(dir).port(*port).username(user);
    options.password(password.expose()).database(database).connect().await.expect("the database answers")
}

/// A pool of one connection, from which one can listen.
pub async fn pool(database: &Address) -> sqlx::PgPool {
    let Address::Socket { database, .. } = database else { unreachable!("as above") };
    PgPoolOptions::new().max_connections(1).connect_with(options(database)).await.expect("the database answers")
}

/// Lets nobody connect to a database any more, or again; who is connected stays so.
pub async fn allow_connections(database: &Address, allowed: bool) {
    let Address::Socket { database, .. } = database else { unreachable!("as above") };
    run("hark", &format!("alter database {database} allow_connections {allowed}")).await;
}

/// What `DATABASE_URL` has to be for another process.
pub fn url(database: &Address) -> String {
    let Address::Socket { dir, port, user, password, database } = database else { unreachable!("as above") };
    format!("postgres://{user}:{}@localhost:{port}/{database}?host={}", password.expose(), dir.display())
}

/// A database without anything in it, made with these words of `create database`.
pub async fn create_with(words: &str) -> Address {
    let name = format!("made_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name} template template0 {words}")).await;
    address(name)
}

/// Runs a statement about a database from outside of it; `{}` in it is the database's name.
pub async fn administer(database: &Address, statement: &str) {
    let Address::Socket { database, .. } = database else { unreachable!("as above") };
    run("hark", &statement.replace("{}", database)).await;
}

async fn make_template() {
    run("hark", "create database template_hark").await;
    let db = hark::store::Db::connect(&address("template_hark".to_owned()), 1).await.expect("the template answers");
    db.migrate().await.expect("the migrations apply");
    db.close().await;
}

async fn run(database: &str, statement: &str) {
    let mut connection = options(database).connect().await.expect("the private PostgreSQL answers");
    connection.execute(AssertSqlSafe(statement)).await.expect("the statement runs");
}

fn options(database: &str) -> PgConnectOptions {
    let Connection { socket_dir, port, user, password, .. } = POSTGRES.connection();
    PgConnectOptions::new().socket(socket_dir).port(*port).username(user).password(password).database(database)
}

fn address(database: String) -> Address {
    let Connection { socket_dir, port, user, password, .. } = POSTGRES.connection().clone();
    Address::Socket { dir: socket_dir, port, user, password: Secret::from(password), database }
}

/// A run's PostgreSQL ends with its process; its folder goes with the next run.
fn remove_old_runs(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let alive = PathBuf::from("/proc").join(pid).exists();
        if !alive {
            // Another run may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
