//! As whom PostgreSQL runs: as ourselves, but never as root, because it refuses that.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EmbeddedPostgresError;

/// The account that PostgreSQL's programs run as.
#[derive(Debug)]
pub(super) struct Account {
    /// `None`: the one that we run as.
    user: Option<User>,
    /// Lets `user` through folders that are closed to it.
    #[cfg(target_os = "linux")]
    capability: Option<rustix::thread::CapabilitySet>,
}

#[derive(Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Chooses the account for `cluster`, a folder in `data_dir` that may be missing yet.
    /// Both paths are absolute. The thread that calls this has to be the one that runs the commands.
    pub(super) fn choose(data_dir: &Path, cluster: &Path) -> Result<Self, EmbeddedPostgresError> {
        let user = if rustix::process::geteuid().is_root() {
            Some(owner(cluster).or_else(system_user).ok_or(EmbeddedPostgresError::NoUser)?)
        } else {
            None
        };
        let closed = user.as_ref().and_then(|user| Some((user, closed_folder(data_dir, user)?)));
        #[cfg(target_os = "linux")]
        {
            let capability = match closed {
                Some((user, folder)) => Some(capability_to_enter(folder, user)?),
                None => None,
            };
            Ok(Self { user, capability })
        }
        #[cfg(not(target_os = "linux"))]
        match closed {
            Some((user, folder)) => Err(not_searchable(folder, user)),
            None => Ok(Self { user }),
        }
    }

    /// A command that runs `program` as this account, and ends when the calling thread ends
    /// (on Linux; elsewhere the next start ends what is left over).
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            // The account may not be able to enter our working folder.
            .current_dir("/")
            // PGPORT, PGDATA and their like change what the programs do, and our secrets are none
            // of their business.
            .env_clear()
            .env("LC_ALL", "C")
            // Ctrl-C in the terminal is for us: we stop PostgreSQL when nothing needs it any more.
            .process_group(0);
        if let Some(user) = &self.user {
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
        let us = Pid::from_raw(std::process::id().cast_signed());
        let in_child = move || {
            if let Some(capability) = capability {
                // This one and no other. Only the ambient set is passed on to the program.
                let sets = CapabilitySets { effective: capability, permitted: capability, inheritable: capability };
                set_capabilities(None, sets)?;
                configure_capability_in_ambient_set(capability, true)?;
            }
            // After the change of the account, which clears it. SIGINT: end at once, but in order.
            set_parent_process_death_signal(Some(Signal::INT))?;
            if getppid() == us {
                Ok(())
            } else {
                // We died before the signal was asked for.
                Err(rustix::io::Errno::SRCH.into())
            }
        };
        // SAFETY: only what is async-signal-safe may happen between fork and exec. The closure
        // makes system calls, allocates nothing and takes no lock.
        unsafe { command.pre_exec(in_child) };
    }

    /// Gives `path` to this account.
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedPostgresError> {
        match &self.user {
            Some(user) => {
                lchown(path, Some(user.uid), Some(user.gid)).map_err(super::cannot("change the owner of", path))
            }
            None => Ok(()),
        }
    }

    /// Gives `folder` and all that is in it to this account.
    pub(super) fn own_all(&self, folder: &Path) -> Result<(), EmbeddedPostgresError> {
        self.own(folder)?;
        for entry in fs::read_dir(folder).map_err(super::cannot("read", folder))? {
            let entry = entry.map_err(super::cannot("read", folder))?;
            if entry.file_type().map_err(super::cannot("read", folder))?.is_dir() {
                self.own_all(&entry.path())?;
            } else {
                self.own(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The uid of this account.
    pub(super) fn uid(&self) -> u32 {
        self.user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }
}

/// The owner of a cluster that is there already, unless that is root (somebody copied it as root).
fn owner(cluster: &Path) -> Option<User> {
    let metadata = fs::metadata(cluster).ok()?;
    (metadata.uid() != 0).then(|| User { name: metadata.uid().to_string(), uid: metadata.uid(), gid: metadata.gid() })
}

/// The user that PostgreSQL's package makes, else the one that owns nothing.
fn system_user() -> Option<User> {
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some(User { name: name.to_owned(), uid: id("-u", name)?, gid: id("-g", name)? }))
}

/// Asks `id`, which knows every source of users that the system has.
fn id(which: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([which, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The first folder from the root to `path`, inclusive, that `user` may not search.
fn closed_folder(path: &Path, user: &User) -> Option<PathBuf> {
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

/// The capability that lets `user` through `folder`, if we have one to give.
///
/// A clone in root's home is the case: /root is closed to everyone, and "git clone, make run" shall
/// work there as well.
#[cfg(target_os = "linux")]
fn capability_to_enter(folder: PathBuf, user: &User) -> Result<rustix::thread::CapabilitySet, EmbeddedPostgresError> {
    use rustix::thread::{CapabilitySet, capabilities, set_keep_capabilities};

    // The first opens folders and nothing for writing, but containers often have the second alone.
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let capability = [CapabilitySet::DAC_READ_SEARCH, CapabilitySet::DAC_OVERRIDE]
        .into_iter()
        .find(|capability| held.contains(*capability));
    // With this flag of the thread, which its children inherit, they keep it when they change to the user.
    let (Some(capability), Ok(())) = (capability, set_keep_capabilities(true)) else {
        return Err(not_searchable(folder, user));
    };
    tracing::info!(
        "PostgreSQL runs as the user {}, who may not enter {}: it gets the capability {} for that",
        user.name,
        folder.display(),
        if capability == CapabilitySet::DAC_OVERRIDE { "CAP_DAC_OVERRIDE" } else { "CAP_DAC_READ_SEARCH" },
    );
    Ok(capability)
}

fn not_searchable(folder: PathBuf, user: &User) -> EmbeddedPostgresError {
    EmbeddedPostgresError::NotSearchable { folder, user: user.name.clone() }
}
