//! A `PgBouncer` in front of the private PostgreSQL, where the program is installed.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hark::store::DatabaseTarget;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use super::{eventually, not_run};

/// A running `PgBouncer`, which ends with its test.
pub struct PgBouncer {
    child: Child,
    port: u16,
    database: String,
    dir: TempDir,
    /// The account that it runs as, where the test is root.
    account: (u32, u32),
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether the program is installed, and reports if it is not.
pub fn is_installed(test: &str) -> bool {
    let is_there = Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        not_run(test, "pgbouncer is not installed");
    }
    is_there
}

fn program() -> &'static str {
    // Debian installs it where only root's PATH leads.
    if Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" }
}

impl PgBouncer {
    /// Starts one in front of a database, with this mode and further lines of configuration.
    pub async fn start(database: &DatabaseTarget, pool_mode: &str, settings: &str) -> Self {
        let DatabaseTarget::Socket { dir: socket_dir, port: database_port, user, password, database } = database else {
            unreachable!("tests use the private PostgreSQL")
        };
        let dir = TempDir::new().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let config = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n\
             {database} = host={} port={database_port} user={user} password={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = {pool_mode}\n\
             {settings}\n",
            socket_dir.display(),
            password.expose()
        );
        fs::write(&config, text).expect("a file");
        // PgBouncer refuses to run as root, and has to reach PostgreSQL's socket.
        let owner = fs::metadata(socket_dir).expect("the folder of the socket");
        let account = (owner.uid(), owner.gid());
        if rustix::process::geteuid().is_root() {
            for path in [dir.path(), &config] {
                chown(path, Some(account.0), Some(account.1)).expect("root may");
            }
        }
        let child = spawn(dir.path(), account);
        let bouncer = Self { child, port, database: database.clone(), dir, account };
        bouncer.listens().await;
        bouncer
    }

    /// Kills it with all connections through it, and starts it again at the same address.
    pub async fn restarted(mut self) -> Self {
        self.child.kill().and_then(|()| self.child.wait()).expect("our own child");
        self.child = spawn(self.dir.path(), self.account);
        self.listens().await;
        self
    }

    async fn listens(&self) {
        eventually("pgbouncer listens", async || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
    }

    /// Returns the `DATABASE_URL` that leads through it.
    pub fn url(&self) -> String {
        format!("postgres://hark:any@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// Opens so many connections to PostgreSQL and leaves them idle in the pool: later clients get any of
    /// them.
    pub async fn warm_up(&self, connections: usize) {
        let mut open = Vec::new();
        for _ in 0..connections {
            let options: PgConnectOptions = self.url().parse().expect("a URL");
            let mut connection = options.extra_float_digits(None).connect().await.expect("pgbouncer answers");
            sqlx::raw_sql("begin").execute(&mut connection).await.expect("a transaction");
            open.push(connection);
        }
        for mut connection in open {
            sqlx::raw_sql("commit").execute(&mut connection).await.expect("its end");
        }
    }
}

fn spawn(dir: &Path, (uid, gid): (u32, u32)) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a file");
    let mut command = Command::new(program());
    command.arg(dir.join("pgbouncer.ini")).stdout(Stdio::null()).stderr(log);
    if rustix::process::geteuid().is_root() {
        command.uid(uid).gid(gid);
    }
    command.spawn().expect("pgbouncer starts")
}
