//! The user of the operating system that PostgreSQL runs as: Hark's own, but never root, because PostgreSQL refuses to
//! run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EmbeddedPostgresError;

/// The user that PostgreSQL's programs run as.
#[derive(Debug)]
pub(super) struct OsUser {
    /// `None`: the user that Hark runs as.
    other: Option<UserEntry>,
    /// The capability that lets `other` through folders which it may not search.
    #[cfg(target_os = "linux")]
    capability: Option<rustix::thread::CapabilitySet>,
}

/// An entry of the user database.
#[derive(Debug)]
struct UserEntry {
    name: String,
    uid: u32,
    gid: u32,
}

impl OsUser {
    /// Chooses the user for `data_directory`, a folder in `data_dir` that may not exist yet. Both paths are absolute.
    /// Call it on the thread that runs the commands, because capabilities belong to threads.
    pub(super) fn choose(data_dir: &Path, data_directory: &Path) -> Result<Self, EmbeddedPostgresError> {
        let other = if rustix::process::geteuid().is_root() {
            Some(owner(data_directory).or_else(postgres_or_nobody).ok_or(EmbeddedPostgresError::NoUser)?)
        } else {
            None
        };
        let closed = other.as_ref().and_then(|user| Some((user, first_closed_folder(data_dir, user)?)));
        #[cfg(target_os = "linux")]
        {
            let capability = match closed {
                Some((user, folder)) => Some(capability_to_enter(folder, user)?),
                None => None,
            };
            Ok(Self { other, capability })
        }
        #[cfg(not(target_os = "linux"))]
        match closed {
            Some((user, folder)) => Err(not_searchable(folder, user)),
            None => Ok(Self { other }),
        }
    }

    /// A command that runs `program` as this user. On Linux the program ends when the calling thread ends; elsewhere
    /// the next start ends a server that is left over.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            // The user may not be able to enter Hark's working directory.
            .current_dir("/")
            // PGPORT, PGDATA and the like change what the programs do, and Hark's secrets are in the environment too.
            .env_clear()
            .env("LC_ALL", "C")
            // Ctrl-C in the terminal is for Hark alone, which stops PostgreSQL last.
            .process_group(0);
        if let Some(user) = &self.other {
            command.uid(user.uid).gid(user.gid);
        }
        #[cfg(target_os = "linux")]
        self.prepare_child(&mut command);
        command
    }

    #[cfg(target_os = "linux")]
    fn prepare_child(&self, command: &mut Command) {
        use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
        use rustix::thread::{CapabilitySets, configure_capability_in_ambient_set, set_capabilities};

        let capability = self.capability;
        let parent = Pid::from_raw(std::process::id().cast_signed());
        let in_child = move || {
            if let Some(capability) = capability {
                // Drops all other capabilities. Only the ambient set is inherited by the program.
                let sets = CapabilitySets { effective: capability, permitted: capability, inheritable: capability };
                set_capabilities(None, sets)?;
                configure_capability_in_ambient_set(capability, true)?;
            }
            // After the change of the user, which clears it. SIGINT is PostgreSQL's fast shutdown.
            set_parent_process_death_signal(Some(Signal::INT))?;
            if getppid() == parent {
                Ok(())
            } else {
                // The parent died before the signal was set.
                Err(rustix::io::Errno::SRCH.into())
            }
        };
        // SAFETY: only async-signal-safe calls may happen between fork and exec. The closure makes system calls,
        // allocates nothing and takes no lock.
        unsafe { command.pre_exec(in_child) };
    }

    /// Makes this user the owner of `path`.
    pub(super) fn take_ownership(&self, path: &Path) -> Result<(), EmbeddedPostgresError> {
        match &self.other {
            Some(user) => {
                lchown(path, Some(user.uid), Some(user.gid)).map_err(super::error::cannot("change the owner of", path))
            }
            None => Ok(()),
        }
    }

    /// Makes this user the owner of `folder` and of everything in it.
    pub(super) fn take_ownership_recursively(&self, folder: &Path) -> Result<(), EmbeddedPostgresError> {
        self.take_ownership(folder)?;
        for entry in fs::read_dir(folder).map_err(super::error::cannot("read", folder))? {
            let entry = entry.map_err(super::error::cannot("read", folder))?;
            if entry.file_type().map_err(super::error::cannot("read", folder))?.is_dir() {
                self.take_ownership_recursively(&entry.path())?;
            } else {
                self.take_ownership(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The uid of this user.
    pub(super) fn uid(&self) -> u32 {
        self.other.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }
}

/// The owner of a data directory that exists already, unless that is root, who has copied it.
fn owner(data_directory: &Path) -> Option<UserEntry> {
    let metadata = fs::metadata(data_directory).ok()?;
    (metadata.uid() != 0).then(|| UserEntry {
        name: metadata.uid().to_string(),
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// The user that PostgreSQL's package creates, else `nobody`.
fn postgres_or_nobody() -> Option<UserEntry> {
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some(UserEntry { name: name.to_owned(), uid: id("-u", name)?, gid: id("-g", name)? }))
}

/// Runs `id`, which knows all user databases of the system.
fn id(which: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([which, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The first folder on the way from the root to `path`, inclusive, that `user` has no search permission for.
fn first_closed_folder(path: &Path, user: &UserEntry) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    folders.into_iter().map(Path::to_owned).find(|folder| {
        fs::metadata(folder).is_ok_and(|metadata| {
            let search = if metadata.uid() == user.uid {
                0o100
            } else if metadata.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            metadata.mode() & search == 0
        })
    })
}

/// The capability that lets `user` through `folder`, if Hark has one to pass on.
///
/// It is needed for a clone in root's home: /root is closed to other users, and `git clone` with `make run` has to
/// work there too.
#[cfg(target_os = "linux")]
fn capability_to_enter(
    folder: PathBuf,
    user: &UserEntry,
) -> Result<rustix::thread::CapabilitySet, EmbeddedPostgresError> {
    use rustix::thread::{CapabilitySet, capabilities, set_keep_capabilities};

    // The first grants no writes, and is preferred; containers often have the second alone.
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let capability = [CapabilitySet::DAC_READ_SEARCH, CapabilitySet::DAC_OVERRIDE]
        .into_iter()
        .find(|capability| held.contains(*capability));
    // With this flag of the thread, its children keep their capabilities when they change to the user.
    let (Some(capability), Ok(())) = (capability, set_keep_capabilities(true)) else {
        return Err(not_searchable(folder, user));
    };
    let name = if capability == CapabilitySet::DAC_OVERRIDE { "CAP_DAC_OVERRIDE" } else { "CAP_DAC_READ_SEARCH" };
    tracing::info!(
        user = user.name,
        folder = %folder.display(),
        capability = name,
        "private PostgreSQL gets a capability, because its user may not enter the folder"
    );
    Ok(capability)
}

fn not_searchable(folder: PathBuf, user: &UserEntry) -> EmbeddedPostgresError {
    EmbeddedPostgresError::NotSearchable { folder, user: user.name.clone() }
}
