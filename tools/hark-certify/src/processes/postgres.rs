//! A PostgreSQL that runs apart from the server, so that faults can be injected into it alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::folder::{Folder, run};
use super::signals;
use super::wait::wait_for;

/// Maximum time of a start: after a crash PostgreSQL replays its write-ahead log.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the children of a killed postmaster may take to notice and end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of the file system that can be filled up, in MiB.
const DISK_MIB: u64 = 4096;
/// The database user.
pub(super) const USER: &str = "hark";

/// A cluster, and its postmaster while one runs.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(super) programs: PathBuf,
    /// The data folder.
    pub(super) data: PathBuf,
    /// The folder of the Unix socket.
    pub(super) sockets: PathBuf,
    /// The user and group id that it runs as; `None` for our own. PostgreSQL does not run as root.
    pub(super) account: Option<(u32, u32)>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) child: Option<Child>,
    /// Whether the data is on a file system that can be filled up.
    pub(super) disk: bool,
    pub(super) log: PathBuf,
}

impl Postgres {
    /// Initializes a cluster in `folder` and starts it. With `disk`, its data is on a file system of its own, where one
    /// can be mounted.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub(crate) async fn start(
        folder: &mut Folder,
        programs: Option<&Path>,
        environment: Vec<(String, String)>,
        disk: bool,
    ) -> Result<Self, String> {
        let programs = programs.map(Path::to_owned).or_else(find_programs).ok_or(
            "there is no initdb: install PostgreSQL (apt install postgresql), or say --postgres-bin where it is",
        )?;
        let account = if rustix::process::geteuid().is_root() { Some(other_account().await?) } else { None };
        let owner = account.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid);
        let disk = disk && account.is_some() && folder.mount("disk", owner, DISK_MIB).await.is_ok();
        let home = folder.path().join("disk");
        let sockets = folder.path().join("sockets");
        for path in [&home, &sockets] {
            fs::create_dir_all(path).map_err(|error| error.to_string())?;
            std::os::unix::fs::chown(path, Some(owner), account.map(|(_, gid)| gid)).map_err(|e| e.to_string())?;
        }
        let log = folder.path().join("postgres.log");
        let mut postgres =
            Self { programs, data: home.join("data"), sockets, account, environment, child: None, disk, log };
        postgres.init(&postgres.data).await?;
        postgres.spawn().await?;
        Ok(postgres)
    }

    /// The `DATABASE_URL` of the server's database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@localhost/postgres?host={}", self.sockets.display())
    }

    /// Starts the postmaster, and waits until it accepts connections.
    ///
    /// # Errors
    /// A sentence: it is not ready within [`READY_TIMEOUT`].
    pub(crate) async fn spawn(&mut self) -> Result<(), String> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets);
        // The write-ahead log has to outgrow the free space on a full disk.
        command.args(["-c", "listen_addresses=", "-c", "max_wal_size=64MB", "-c", "max_connections=60"]);
        command.envs(self.environment.iter().cloned());
        let log = fs::OpenOptions::new().append(true).create(true).open(&self.log).map_err(|e| e.to_string())?;
        command.stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
        let child = command.spawn().map_err(|error| format!("postgres: {error}"))?;
        let pid = child.id().ok_or("postgres ended at once")?;
        self.child = Some(child);
        let pid_file = self.data.join("postmaster.pid");
        let is_ready = || {
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            let is_up = |line: &str| matches!(line.trim(), "ready" | "standby");
            text.lines().next() == Some(&pid.to_string()) && text.lines().any(is_up)
        };
        // A process that has ended will not become ready.
        wait_for(READY_TIMEOUT, || is_ready() || !signals::is_alive(pid)).await;
        if is_ready() { Ok(()) } else { Err(format!("PostgreSQL does not start; see {}", self.log.display())) }
    }

    /// The process id of the postmaster, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id).filter(|pid| signals::is_alive(*pid))
    }

    /// All processes, the postmaster first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.pid().map(|pid| [pid].into_iter().chain(signals::children(pid)).collect()).unwrap_or_default()
    }

    /// The backend processes of the server's connections.
    pub(crate) fn backends(&self) -> Vec<u32> {
        let mine = |pid: &u32| signals::title(*pid).contains(&format!(": {USER} postgres "));
        self.pid().map(signals::children).unwrap_or_default().into_iter().filter(mine).collect()
    }

    /// Kills the postmaster (SIGKILL), and returns when the last of its processes has ended.
    pub(crate) async fn kill(&mut self) {
        let processes = self.processes();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
        let has_ended = || !processes.iter().any(|pid| signals::is_alive(*pid));
        if !wait_for(EXIT_TIMEOUT, has_ended).await {
            signals::send_all(&processes, Signal::KILL);
            wait_for(EXIT_TIMEOUT, has_ended).await;
        }
    }

    /// Whether the data is on a file system of its own.
    pub(crate) fn has_disk(&self) -> bool {
        self.disk
    }

    /// Limits the size of files that its processes can write; `None` removes the limit.
    ///
    /// # Errors
    /// A sentence: why that cannot be done on this machine.
    pub(crate) async fn limit_files(&self, bytes: Option<u64>) -> Result<(), String> {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        for pid in self.processes() {
            // `prlimit` runs as PostgreSQL's user, who alone may set the limit.
            let mut prlimit = self.account_command(Path::new("prlimit"));
            prlimit.args(["--pid", &pid.to_string(), &format!("--fsize={limit}:")]);
            let done = run(prlimit).await;
            if signals::is_alive(pid) {
                done?;
            }
        }
        Ok(())
    }

    pub(super) async fn init(&self, data: &Path) -> Result<(), String> {
        let mut initdb = self.command("initdb");
        initdb.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(data);
        run(initdb).await
    }

    pub(super) fn command(&self, program: &str) -> Command {
        self.account_command(&self.programs.join(program))
    }

    pub(super) fn account_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        signals::end_with_parent(&mut command, Signal::QUIT);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let processes = self.processes();
        // A stopped process (SIGSTOP) acts on no other signal before SIGCONT.
        signals::send_all(&processes, Signal::CONT);
        signals::send_all(&processes, Signal::KILL);
    }
}

fn find_programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let programs = entry.path().join("bin");
        if let (Ok(version), true) = (entry.file_name().to_string_lossy().parse(), programs.join("initdb").exists()) {
            found.push((version, programs));
        }
    }
    found.sort();
    let usual = ["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let newest = found.pop().map(|(_, programs)| programs);
    newest.or_else(|| usual.into_iter().find(|programs| programs.join("initdb").exists()))
}

/// The ids of the user that PostgreSQL's package creates, or else of `nobody`.
async fn other_account() -> Result<(u32, u32), String> {
    for name in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id("-u", name).await, id("-g", name).await) {
            return Ok((uid, gid));
        }
    }
    Err("PostgreSQL does not run as root, and there is no other account to run it as".to_owned())
}

async fn id(which: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([which, name]).output().await.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
