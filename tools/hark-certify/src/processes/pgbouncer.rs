//! `PgBouncer` between the server and PostgreSQL, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::postgres::{Postgres, USER};
use super::signals::end_with_parent;
use super::wait::wait_for;

/// Maximum time of a start.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// The port in the name of its Unix socket. It listens on no TCP port.
const PORT: u16 = 6432;
/// The usual paths of the program.
const PROGRAMS: [&str; 4] =
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];

/// A pooler, with its process while one runs.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    program: PathBuf,
    folder: PathBuf,
    account: Option<(u32, u32)>,
    child: Option<Child>,
}

impl PgBouncer {
    /// Starts a pooler in front of `postgres`, in a folder `name` beside its sockets. It ignores the one startup
    /// parameter that most drivers need ignored, and no other.
    ///
    /// # Errors
    /// A sentence: the program is not installed, or does not start.
    pub(crate) async fn start(postgres: &Postgres, name: &str, pool_mode: &str) -> Result<Self, String> {
        let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists());
        let program = program.ok_or("PgBouncer is not installed")?;
        let folder = postgres.sockets.with_file_name(name);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let settings = format!(
            "[databases]\npostgres = host={} dbname=postgres user={USER}\n\n[pgbouncer]\nlisten_addr =\n\
             listen_port = {PORT}\nunix_socket_dir = {}\nauth_type = any\npool_mode = {pool_mode}\n\
             ignore_startup_parameters = extra_float_digits\nlogfile = {}\npidfile =\n",
            postgres.sockets.display(),
            folder.display(),
            folder.join("log").display(),
        );
        fs::write(folder.join("pgbouncer.ini"), settings).map_err(|error| error.to_string())?;
        let (uid, gid) = postgres.account.unzip();
        for path in [folder.clone(), folder.join("pgbouncer.ini")] {
            std::os::unix::fs::chown(path, uid, gid).map_err(|error| error.to_string())?;
        }
        let mut pgbouncer = Self { program, folder, account: postgres.account, child: None };
        pgbouncer.spawn().await?;
        Ok(pgbouncer)
    }

    /// The `DATABASE_URL` of the server's database through the pooler.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@localhost:{PORT}/postgres?host={}", self.folder.display())
    }

    /// Starts the process, and waits until it accepts connections.
    ///
    /// # Errors
    /// A sentence: it does not start.
    pub(crate) async fn spawn(&mut self) -> Result<(), String> {
        let socket = self.folder.join(format!(".s.PGSQL.{PORT}"));
        let mut command = Command::new(&self.program);
        command.arg("-q").arg(self.folder.join("pgbouncer.ini")).current_dir("/").env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        end_with_parent(&mut command, rustix::process::Signal::INT);
        self.child = Some(command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?);
        let is_listening = || answers(&socket);
        if wait_for(READY_TIMEOUT, is_listening).await { Ok(()) } else { Err("PgBouncer does not start".to_owned()) }
    }

    /// Kills the process (SIGKILL), which cuts all connections.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
        // A socket file that is left over would look like a running pooler.
        let _ = fs::remove_file(self.folder.join(format!(".s.PGSQL.{PORT}")));
    }
}

fn answers(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
