//! The folder: locked, its cluster made if there is none, ready for a postmaster.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::account::Account;
use super::binaries::{self, Binaries};
use super::postmaster::{self, Postmaster};
use super::{Connection, EmbeddedPostgresError, Options, cannot, wait_for};

/// PostgreSQL's user and the database have the same name.
const NAME: &str = "hark";
const PORT: u16 = 5432;
/// The longest path of a socket, in bytes.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// How long the lock is waited for: a server that was killed while it spawned a process leaves it
/// to that process, until its exec.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// A log over this many bytes is emptied at a start.
const LOG_MAX: u64 = 10 << 20;
/// C.UTF-8 sorts by code point and knows the letters of all languages; not every macOS has it.
const LOCALE: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

/// A cluster whose folder is ours.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Absolute, as are all the paths here: PostgreSQL works in a folder of its own.
    dir: PathBuf,
    log: PathBuf,
    fsync: bool,
    binaries: Binaries,
    account: Account,
    connection: Connection,
    lock: File,
}

impl Cluster {
    /// Locks the folder, makes the cluster if there is none, and ends a postmaster that another
    /// server left behind.
    pub(super) fn open(options: &Options) -> Result<Self, EmbeddedPostgresError> {
        // First of all: where there are no binaries, nothing is left behind.
        let version_file = options.data_dir.join("postgres/PG_VERSION");
        let data_version = match fs::read_to_string(&version_file) {
            Ok(version) => Some(version),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot("read", &version_file)(error)),
        };
        let wanted = data_version.as_deref().map(str::trim);
        let binaries = binaries::find(options.bin_dir.as_deref(), &options.data_dir.join("postgres"), wanted)?;

        fs::create_dir_all(&options.data_dir).map_err(cannot("make the folder", &options.data_dir))?;
        let data_dir = fs::canonicalize(&options.data_dir).map_err(cannot("find", &options.data_dir))?;
        let lock = lock(&data_dir)?;
        remove_unfinished(&data_dir)?;

        let dir = data_dir.join("postgres");
        let password_file = data_dir.join("postgres.password");
        let account = Account::choose(&data_dir, &dir)?;
        let mut cluster = Self {
            log: data_dir.join("postgres.log"),
            fsync: options.fsync,
            binaries,
            account,
            connection: Connection {
                socket_dir: dir.clone(),
                port: PORT,
                user: NAME.to_owned(),
                password: String::new(),
                database: NAME.to_owned(),
            },
            dir,
            lock,
        };
        if !cluster.dir.exists() {
            cluster.create(&data_dir, &password_file)?;
        }
        let owner = fs::metadata(&cluster.dir).map_err(cannot("find", &cluster.dir))?.uid();
        if owner != cluster.account.uid() {
            // Root copied it from elsewhere.
            cluster.account.own_all(&cluster.dir)?;
        }
        cluster.connection.password = fs::read_to_string(&password_file).map_err(cannot("read", &password_file))?;
        cluster.connection.socket_dir = cluster.socket_dir()?;
        postmaster::end_left_over(&cluster.dir)?;
        if fs::metadata(&cluster.log).is_ok_and(|log| log.len() > LOG_MAX) {
            File::create(&cluster.log).map_err(cannot("empty", &cluster.log))?;
        }
        Ok(cluster)
    }

    /// How to connect to the postmaster of this cluster.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Starts a postmaster and waits until it is ready.
    pub(super) fn launch(&self) -> Result<Postmaster, EmbeddedPostgresError> {
        let postmaster = Postmaster::start(&self.dir, &self.log, || self.postmaster_command())?;
        let pid = postmaster.pid();
        tracing::info!(pid, data = %self.dir.display(), "the private PostgreSQL is ready");
        Ok(postmaster)
    }

    fn postmaster_command(&self) -> Command {
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(quoted(&self.connection.socket_dir));
        let mut command = self.account.command(&self.binaries.postgres);
        command.arg("-D").arg(&self.dir).arg("-c").arg(sockets);
        for setting in [
            format!("port={PORT}").as_str(),
            "listen_addresses=",
            "max_connections=100",
            "timezone=UTC",
            "log_timezone=UTC",
            // Compiling a query takes longer than any of ours runs.
            "jit=off",
            if self.fsync { "fsync=on" } else { "fsync=off" },
        ] {
            command.arg("-c").arg(setting);
        }
        command
    }

    /// Makes the cluster under another name and renames it when it is complete.
    fn create(&self, data_dir: &Path, password_file: &Path) -> Result<(), EmbeddedPostgresError> {
        let password = format!("{:032x}", rand::random::<u128>());
        // initdb reads it, so it belongs to the account.
        private_file(password_file)
            .and_then(|mut file| file.write_all(password.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(cannot("write", password_file))?;
        self.account.own(password_file)?;

        let unfinished = data_dir.join(format!("postgres.new.{}", std::process::id()));
        private_folder(&unfinished).map_err(cannot("make the folder", &unfinished))?;
        self.account.own(&unfinished)?;

        let mut initdb = self.account.command(&self.binaries.initdb);
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.arg("--pwfile").arg(password_file);
        initdb.args(["--username", NAME, "--auth", "scram-sha-256", "--data-checksums"]);
        initdb.args(["--encoding", "UTF8", "--locale", LOCALE]);
        if !self.fsync {
            initdb.arg("--no-sync");
        }
        run("initdb", &mut initdb, "")?;

        let mut single = self.account.command(&self.binaries.postgres);
        single.arg("--single").arg("-D").arg(&unfinished);
        // Without it an error in the statement would end as a success.
        single.args(["-c", "exit_on_error=on"]);
        if !self.fsync {
            single.args(["-c", "fsync=off"]);
        }
        run("postgres --single", single.arg("postgres"), &format!("CREATE DATABASE {NAME}\n"))?;

        fs::rename(&unfinished, &self.dir).map_err(cannot("rename", &unfinished))?;
        File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(cannot("sync", data_dir))
    }

    /// The folder of the socket: the cluster's own, which is closed to other users already, unless
    /// the path gets too long for a socket.
    fn socket_dir(&self) -> Result<PathBuf, EmbeddedPostgresError> {
        let socket = self.dir.join(format!(".s.PGSQL.{PORT}"));
        if socket.as_os_str().len() <= SOCKET_PATH_MAX {
            return Ok(self.dir.clone());
        }
        // The same name for the same cluster, so that kill -9 leaves one folder and not many.
        let metadata = fs::metadata(&self.dir).map_err(cannot("find", &self.dir))?;
        let folder = PathBuf::from(format!("/tmp/hark-postgres-{:x}-{:x}", metadata.dev(), metadata.ino()));
        match private_folder(&folder) {
            Ok(()) => self.account.own(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Anyone may make a folder in /tmp: this one has to be ours, and closed to others.
                let metadata = fs::symlink_metadata(&folder).map_err(cannot("find", &folder))?;
                let ours = metadata.uid() == self.account.uid() && metadata.mode() & 0o777 == 0o700;
                if !ours || !metadata.is_dir() {
                    let source = io::Error::other("it is there, and belongs to somebody else");
                    return Err(cannot("use the folder", &folder)(source));
                }
            }
            Err(error) => return Err(cannot("make the folder", &folder)(error)),
        }
        Ok(folder)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.connection.socket_dir != self.dir {
            // Empty, if PostgreSQL stopped in order; if it stays, the next start uses it.
            let _ = fs::remove_dir(&self.connection.socket_dir);
        }
        // Closing the file is not enough: a child that another thread spawns at this moment has it
        // as well, until its exec.
        let _ = self.lock.unlock();
    }
}

fn lock(data_dir: &Path) -> Result<File, EmbeddedPostgresError> {
    let path = data_dir.join("postgres.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(cannot("open", &path))?;
    let locked = wait_for(LOCK_WITHIN, || match file.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        result => Some(result),
    });
    match locked {
        Some(Ok(())) => Ok(file),
        Some(Err(error)) => Err(cannot("lock", &path)(error.into())),
        None => Err(EmbeddedPostgresError::InUse(data_dir.to_owned())),
    }
}

/// Removes clusters whose making was interrupted. One that cannot be removed is in nobody's way.
fn remove_unfinished(data_dir: &Path) -> Result<(), EmbeddedPostgresError> {
    for entry in fs::read_dir(data_dir).map_err(cannot("read", data_dir))? {
        let entry = entry.map_err(cannot("read", data_dir))?;
        if entry.file_name().as_bytes().starts_with(b"postgres.new.")
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
    Ok(())
}

/// Runs a program to its end; `input` is what it reads.
fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), EmbeddedPostgresError> {
    let output = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that ended without reading says why in its output.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        })
        .map_err(|source| EmbeddedPostgresError::Io { action: format!("run PostgreSQL's {program}"), source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EmbeddedPostgresError::Failed { program, message })
}

/// Empty, and for its owner alone.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// New, and for its owner alone.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// `path` as an element of a list in PostgreSQL's settings.
fn quoted(path: &Path) -> OsString {
    let mut quoted = Vec::from(b"\"");
    for &byte in path.as_os_str().as_bytes() {
        if byte == b'"' {
            quoted.push(byte);
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    std::os::unix::ffi::OsStringExt::from_vec(quoted)
}
