//! The data directory of PostgreSQL: locks it, and creates it with `initdb` if there is none.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::binaries::{self, Binaries};
use super::error::{EmbeddedPostgresError, cannot};
use super::options::{Connection, Options};
use super::os_user::OsUser;
use super::process::{self, Postmaster, wait_for};

/// Name of the database and of the database user.
const NAME: &str = "hark";
/// Part of the socket's file name; nothing listens on TCP.
const PORT: u16 = 5432;
/// Maximum length of the path of a Unix socket.
const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "macos") { 103 } else { 107 };
/// Maximum wait for the lock: a server that was killed while it spawned a process leaves the lock to that process
/// until its exec.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of the log; a larger one is truncated at a start.
const MAX_LOG_BYTES: u64 = 10 << 20;
/// C.UTF-8 sorts by code point and classifies the letters of all languages; not every macOS has it.
const LOCALE: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

/// A data directory that this process has locked.
#[derive(Debug)]
pub(super) struct DataDirectory {
    /// Absolute, as are all paths here, because PostgreSQL has another working directory.
    dir: PathBuf,
    log: PathBuf,
    fsync: bool,
    binaries: Binaries,
    os_user: OsUser,
    connection: Connection,
    lock: File,
}

impl DataDirectory {
    /// Locks the data directory, creates it if there is none, and ends a PostgreSQL server that a killed Hark has left
    /// behind.
    pub(super) fn open(options: &Options) -> Result<Self, EmbeddedPostgresError> {
        // Before anything is created: without the programs nothing is left behind.
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
        let os_user = OsUser::choose(&data_dir, &dir)?;
        let mut directory = Self {
            log: data_dir.join("postgres.log"),
            fsync: options.fsync,
            binaries,
            os_user,
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
        if !directory.dir.exists() {
            directory.create(&data_dir, &password_file)?;
        }
        let owner = fs::metadata(&directory.dir).map_err(cannot("find", &directory.dir))?.uid();
        if owner != directory.os_user.uid() {
            // Root has copied it from elsewhere.
            directory.os_user.take_ownership_recursively(&directory.dir)?;
        }
        directory.connection.password = fs::read_to_string(&password_file).map_err(cannot("read", &password_file))?;
        directory.connection.socket_dir = directory.socket_dir()?;
        process::stop_orphan(&directory.dir)?;
        if fs::metadata(&directory.log).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
            File::create(&directory.log).map_err(cannot("empty", &directory.log))?;
        }
        Ok(directory)
    }

    /// The connection parameters of the server.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Starts PostgreSQL and waits until it is ready.
    pub(super) fn start_server(&self) -> Result<Postmaster, EmbeddedPostgresError> {
        let postmaster = Postmaster::start(&self.dir, &self.log, || self.postmaster_command())?;
        let pid = postmaster.pid();
        tracing::info!(pid, data = %self.dir.display(), "private PostgreSQL ready");
        Ok(postmaster)
    }

    fn postmaster_command(&self) -> Command {
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(quote(&self.connection.socket_dir));
        let mut command = self.os_user.command(&self.binaries.postgres);
        command.arg("-D").arg(&self.dir).arg("-c").arg(sockets);
        for setting in [
            format!("port={PORT}").as_str(),
            "listen_addresses=",
            "max_connections=100",
            "timezone=UTC",
            "log_timezone=UTC",
            // JIT compilation takes longer than any query of Hark runs.
            "jit=off",
            if self.fsync { "fsync=on" } else { "fsync=off" },
        ] {
            command.arg("-c").arg(setting);
        }
        command
    }

    /// Creates the data directory under a temporary name, and renames it once it is complete.
    fn create(&self, data_dir: &Path, password_file: &Path) -> Result<(), EmbeddedPostgresError> {
        let password = format!("{:032x}", rand::random::<u128>());
        // The OS user owns it, because initdb reads it.
        private_file(password_file)
            .and_then(|mut file| file.write_all(password.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(cannot("write", password_file))?;
        self.os_user.take_ownership(password_file)?;

        let unfinished = data_dir.join(format!("postgres.new.{}", std::process::id()));
        private_folder(&unfinished).map_err(cannot("make the folder", &unfinished))?;
        self.os_user.take_ownership(&unfinished)?;

        let mut initdb = self.os_user.command(&self.binaries.initdb);
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.arg("--pwfile").arg(password_file);
        initdb.args(["--username", NAME, "--auth", "scram-sha-256", "--data-checksums"]);
        initdb.args(["--encoding", "UTF8", "--locale", LOCALE]);
        if !self.fsync {
            initdb.arg("--no-sync");
        }
        run("initdb", &mut initdb, "")?;

        let mut single = self.os_user.command(&self.binaries.postgres);
        single.arg("--single").arg("-D").arg(&unfinished);
        // Without this setting the program would exit with success after an error.
        single.args(["-c", "exit_on_error=on"]);
        if !self.fsync {
            single.args(["-c", "fsync=off"]);
        }
        run("postgres --single", single.arg("postgres"), &format!("CREATE DATABASE {NAME}\n"))?;

        fs::rename(&unfinished, &self.dir).map_err(cannot("rename", &unfinished))?;
        File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(cannot("sync", data_dir))
    }

    /// The folder of the socket: the data directory, which is closed to other users already, unless the path would be
    /// too long for a socket.
    fn socket_dir(&self) -> Result<PathBuf, EmbeddedPostgresError> {
        let socket = self.dir.join(format!(".s.PGSQL.{PORT}"));
        if socket.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(self.dir.clone());
        }
        // One name for one data directory, so that many kills leave one folder behind.
        let metadata = fs::metadata(&self.dir).map_err(cannot("find", &self.dir))?;
        let folder = PathBuf::from(format!("/tmp/hark-postgres-{:x}-{:x}", metadata.dev(), metadata.ino()));
        match private_folder(&folder) {
            Ok(()) => self.os_user.take_ownership(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Any user may create a folder in /tmp: this one has to be the OS user's own, and closed to others.
                let metadata = fs::symlink_metadata(&folder).map_err(cannot("find", &folder))?;
                let is_own = metadata.uid() == self.os_user.uid() && metadata.mode() & 0o777 == 0o700;
                if !is_own || !metadata.is_dir() {
                    let source = io::Error::other("it is there, and belongs to somebody else");
                    return Err(cannot("use the folder", &folder)(source));
                }
            }
            Err(error) => return Err(cannot("make the folder", &folder)(error)),
        }
        Ok(folder)
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        if self.connection.socket_dir != self.dir {
            // It is empty after a regular shutdown; otherwise it stays, and the next start uses it.
            let _ = fs::remove_dir(&self.connection.socket_dir);
        }
        // Closing the file is not enough: a child that another thread spawns at this moment shares the lock until its
        // exec.
        let _ = self.lock.unlock();
    }
}

/// Locks the data folder against other Hark processes.
fn lock(data_dir: &Path) -> Result<File, EmbeddedPostgresError> {
    let path = data_dir.join("postgres.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(cannot("open", &path))?;
    let locked = wait_for(LOCK_TIMEOUT, || match file.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        result => Some(result),
    });
    match locked {
        Some(Ok(())) => Ok(file),
        Some(Err(error)) => Err(cannot("lock", &path)(error.into())),
        None => Err(EmbeddedPostgresError::InUse(data_dir.to_owned())),
    }
}

/// Removes data directories whose creation was interrupted. One that cannot be removed does no harm.
fn remove_unfinished(data_dir: &Path) -> Result<(), EmbeddedPostgresError> {
    for entry in fs::read_dir(data_dir).map_err(cannot("read", data_dir))? {
        let entry = entry.map_err(cannot("read", data_dir))?;
        if entry.file_name().as_bytes().starts_with(b"postgres.new.")
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(folder = %entry.path().display(), %error, "unfinished data directory not removed");
        }
    }
    Ok(())
}

/// Runs a program with `input` on its standard input, and waits for its end.
fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), EmbeddedPostgresError> {
    let output = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that has ended without reading its input reports why in its output.
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

/// Creates or truncates a file that its owner alone may access.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Creates a folder that its owner alone may access.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Quotes `path` as an element of a list in PostgreSQL's settings.
fn quote(path: &Path) -> OsString {
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
