//! A PostgreSQL cluster of one test, which can be stopped, killed, copied, restored and replaced by its
//! standby.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hark::config::Secret;
use hark::store::DatabaseTarget;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use sqlx::{AssertSqlSafe, Executor as _};
use tempfile::TempDir;

use super::{database, eventually};

const USER: &str = "hark";
const DATABASE: &str = "hark";
/// The port is part of the socket's name; nothing listens on TCP.
const PORT: u16 = 5432;

/// A cluster, and its postmaster while one runs.
pub struct Cluster {
    programs: PathBuf,
    /// The account that PostgreSQL runs as where the test is root, which PostgreSQL refuses to be.
    account: Option<(u32, u32)>,
    folder: TempDir,
    /// The data directory; that of the standby, once it has been promoted.
    data: PathBuf,
    postmaster: Option<Child>,
    settings: Vec<String>,
    copies: u32,
}

/// A copy of a cluster's files.
pub struct Copy(PathBuf);

impl Cluster {
    /// Starts a cluster with these settings beside the usual ones, and an empty database.
    pub async fn start(settings: &[&str]) -> Self {
        Self::make(settings).begin().await
    }

    /// Starts a cluster whose transaction ids have thirteen digits, as after years of use.
    pub async fn start_with_large_numbers(settings: &[&str]) -> Self {
        let cluster = Self::make(settings);
        cluster.run("pg_resetwal", &["-e", "1000", "-D", &cluster.data.display().to_string()]);
        cluster.begin().await
    }

    async fn begin(mut self) -> Self {
        self.spawn().await;
        self.sql("postgres", &format!("create database {DATABASE}")).await;
        self
    }

    fn make(settings: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let account = rustix::process::geteuid().is_root().then(|| (id("-u"), id("-g")));
        let path = folder.path();
        // PostgreSQL's account has to pass through this folder, and may read nothing of it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o711)).expect("our own folder");
        let cluster = Self {
            programs: programs(),
            account,
            data: path.join("home/data"),
            postmaster: None,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            copies: 0,
            folder,
        };
        let home = cluster.folder.path().join("home");
        fs::create_dir(&home).expect("a folder");
        if let Some((uid, gid)) = account {
            chown(&home, Some(uid), Some(gid)).expect("as root");
        }
        let data = cluster.data.display().to_string();
        cluster.run("initdb", &["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D", &data]);
        cluster
    }

    /// Returns how to connect to the database.
    pub fn address(&self) -> DatabaseTarget {
        self.address_of(DATABASE)
    }

    fn address_of(&self, database: &str) -> DatabaseTarget {
        DatabaseTarget::Socket {
            dir: self.folder.path().join("home"),
            port: PORT,
            user: USER.to_owned(),
            password: Secret::from(""),
            database: database.to_owned(),
        }
    }

    /// Starts the postmaster, and waits until it accepts connections.
    pub async fn spawn(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(self.folder.path().join("home"));
        command.args(["-p", &PORT.to_string(), "-c", "listen_addresses=", "-c", "max_connections=60"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log"));
        let log = log.expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let postmaster = command.spawn().expect("postgres starts");
        let pid = postmaster.id().to_string();
        self.postmaster = Some(postmaster);
        let pid_file = self.data.join("postmaster.pid");
        eventually("PostgreSQL takes connections", async || {
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            lines.next() == Some(&pid) && lines.any(|line| ["ready", "standby"].contains(&line))
        })
        .await;
    }

    /// Stops the cluster with a fast shutdown, which disconnects all clients.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops it as a crash does: data that is not on the disk is lost.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        send(postmaster.id(), signal);
        postmaster.wait().expect("our own child");
    }

    /// Copies its files while it is stopped.
    pub fn copy(&mut self) -> Copy {
        let copy = self.next_copy();
        self.run_any(Path::new("cp"), &["-a", &self.data.display().to_string(), &copy.display().to_string()]);
        Copy(copy)
    }

    /// Copies its files while it runs, as a backup tool does; with `standby`, to follow it.
    pub fn backup(&mut self, standby: bool) -> Copy {
        let copy = self.next_copy();
        let (path, home) = (copy.display().to_string(), self.folder.path().join("home").display().to_string());
        let mut arguments =
            vec!["-h", &home, "-U", USER, "-D", &path, "-X", "stream", "--checkpoint=fast", "--no-sync"];
        if standby {
            arguments.push("-R");
        }
        self.run("pg_basebackup", &arguments);
        Copy(copy)
    }

    /// Makes a copy the data directory, while no postmaster runs.
    pub fn put_back(&mut self, copy: Copy) {
        assert!(self.postmaster.is_none(), "stop it first");
        self.data = copy.0;
    }

    /// Promotes a standby.
    pub async fn promote(&self) {
        self.sql("postgres", "select pg_promote(true, 60)").await;
    }

    /// Makes a dump of the database.
    pub fn dump(&mut self) -> PathBuf {
        let file = self.next_copy();
        let home = self.folder.path().join("home").display().to_string();
        self.run("pg_dump", &["-h", &home, "-U", USER, "-Fc", "-f", &file.display().to_string(), DATABASE]);
        file
    }

    /// Replaces the database with a dump, and disconnects all clients.
    pub async fn restore(&self, dump: &Path) {
        self.sql("postgres", &format!("drop database {DATABASE} with (force)")).await;
        // The restore goes into another name until it is complete, as an operator does while a server runs.
        self.sql("postgres", "create database restored").await;
        let home = self.folder.path().join("home").display().to_string();
        self.run("pg_restore", &["-h", &home, "-U", USER, "-d", "restored", &dump.display().to_string()]);
        self.sql("postgres", &format!("alter database restored rename to {DATABASE}")).await;
    }

    /// Restores a dump over the existing tables, while they are in use.
    pub fn restore_over(&self, dump: &Path) {
        let home = self.folder.path().join("home").display().to_string();
        let dump = dump.display().to_string();
        self.run(
            "pg_restore",
            &["-h", &home, "-U", USER, "-d", DATABASE, "--clean", "--if-exists", "--no-owner", &dump],
        );
    }

    /// Kills the process of one connection, after which PostgreSQL restarts all others.
    pub fn kill_backend(pid: i32) {
        send(u32::try_from(pid).expect("a pid"), Signal::KILL);
    }

    async fn sql(&self, database: &str, statement: &str) {
        let mut connection = database::connect(&self.address_of(database)).await;
        connection.execute(AssertSqlSafe(statement)).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    fn next_copy(&mut self) -> PathBuf {
        self.copies += 1;
        self.folder.path().join(format!("home/copy{}", self.copies))
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_any(&self.programs.join(program), arguments);
    }

    fn run_any(&self, program: &Path, arguments: &[&str]) {
        let output = self.command_any(program).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, program: &str) -> Command {
        self.command_any(&self.programs.join(program))
    }

    fn command_any(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
        command.process_group(0);
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        let ask = || Ok(set_parent_process_death_signal(Some(Signal::QUIT))?);
        // SAFETY: only a system call runs between fork and exec.
        unsafe { command.pre_exec(ask) };
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut postmaster) = self.postmaster.take() {
            send(postmaster.id(), Signal::QUIT);
            let _ = postmaster.wait();
        }
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("a process of our own cluster");
}

/// Returns an id of the account that PostgreSQL's package creates.
fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("there is an account postgres")
}

/// Returns the newest programs in the usual places.
fn programs() -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let mut found: Vec<PathBuf> = versions.filter(|programs| programs.join("initdb").exists()).collect();
    found.sort();
    let found = found.pop().or_else(|| usual.into_iter().find(|programs| programs.join("initdb").exists()));
    found.expect("PostgreSQL is installed")
}
