//! One private PostgreSQL for each run, and one database for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use hark::config::Secret;
use hark::embedded_postgres::{Connection, EmbeddedPostgres, Options};
use hark::store::DatabaseTarget;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// PostgreSQL runs without fsync: this data is not needed again. Tests of durability run the real binary,
/// with fsync.
static POSTGRES: LazyLock<EmbeddedPostgres> = LazyLock::new(|| {
    let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs");
    remove_old_runs(&runs);
    let data_dir = runs.join(std::process::id().to_string());
    EmbeddedPostgres::start(&Options { data_dir, bin_dir: None, fsync: false }).expect("the private PostgreSQL starts")
});

static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Creates a database with the schema and no rows.
pub async fn create() -> DatabaseTarget {
    TEMPLATE.get_or_init(make_template).await;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name} template template_hark")).await;
    address(name)
}

/// Creates a database without a schema.
pub async fn create_empty() -> DatabaseTarget {
    let name = format!("empty_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name}")).await;
    address(name)
}

/// Connects to the same database, for what a test does behind the server's back.
pub async fn connect(database: &DatabaseTarget) -> sqlx::PgConnection {
    let DatabaseTarget::Socket { dir, port, user, password, database } = database else {
        unreachable!("tests use a PostgreSQL of their own")
    };
    let options = PgConnectOptions::new_without_pgpass().socket(dir).port(*port).username(user);
    options.password(password.expose()).database(database).connect().await.expect("the database answers")
}

/// Opens a pool of one connection, which can listen.
pub async fn pool(database: &DatabaseTarget) -> sqlx::PgPool {
    let DatabaseTarget::Socket { database, .. } = database else { unreachable!("as above") };
    PgPoolOptions::new().max_connections(1).connect_with(options(database)).await.expect("the database answers")
}

/// Forbids or allows new connections to a database; existing ones stay.
pub async fn allow_connections(database: &DatabaseTarget, allowed: bool) {
    let DatabaseTarget::Socket { database, .. } = database else { unreachable!("as above") };
    run("hark", &format!("alter database {database} allow_connections {allowed}")).await;
}

/// Returns the `DATABASE_URL` for another process.
pub fn url(database: &DatabaseTarget) -> String {
    let DatabaseTarget::Socket { dir, port, user, password, database } = database else { unreachable!("as above") };
    format!("postgres://{user}:{}@localhost:{port}/{database}?host={}", password.expose(), dir.display())
}

/// Creates an empty database with these options of `create database`.
pub async fn create_with(words: &str) -> DatabaseTarget {
    let name = format!("made_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    run("hark", &format!("create database {name} template template0 {words}")).await;
    address(name)
}

/// Runs a statement about a database from another one; `{}` stands for the database's name.
pub async fn administer(database: &DatabaseTarget, statement: &str) {
    let DatabaseTarget::Socket { database, .. } = database else { unreachable!("as above") };
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

fn address(database: String) -> DatabaseTarget {
    let Connection { socket_dir, port, user, password, .. } = POSTGRES.connection().clone();
    DatabaseTarget::Socket { dir: socket_dir, port, user, password: Secret::from(password), database }
}

/// Removes the folders of earlier runs, whose PostgreSQL ended with their process.
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
