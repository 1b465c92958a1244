//! The folder of a round, which is removed after it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// How often the removal of a folder is tried, and how long to wait between two tries.
const MAX_REMOVE_TRIES: u32 = 50;
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A new temporary folder, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    keep: bool,
    /// Where a file system is mounted in it.
    mounted: Option<PathBuf>,
}

impl Folder {
    /// Creates a folder that other users can enter, because PostgreSQL does not run as root.
    pub(crate) fn new(keep: bool) -> std::io::Result<Self> {
        let name = format!("hark-certify-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { path, keep, mounted: None })
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts a file system in memory (tmpfs) of at most `mib` MiB on the folder `name` in it, for `owner`.
    ///
    /// # Errors
    /// A sentence: why that cannot be done on this machine.
    pub(crate) async fn mount(&mut self, name: &str, owner: u32, mib: u64) -> Result<(), String> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let options = format!("size={mib}m,mode=700,uid={owner}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "hark-certify"]).arg(&path);
        run(mount).await?;
        self.mounted = Some(path);
        Ok(())
    }

    /// Resizes the mounted file system to leave this much free space, in KiB.
    ///
    /// # Errors
    /// A sentence: why that cannot be done on this machine.
    pub(crate) async fn set_free_space(&self, kib: u64) -> Result<(), String> {
        let path = self.mounted.as_ref().ok_or("nothing is mounted")?;
        let stat = rustix::fs::statvfs(path).map_err(|error| error.to_string())?;
        let used_kib = (stat.f_blocks - stat.f_bfree) * stat.f_frsize / 1024;
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={}k", used_kib + kib)]).arg(path);
        run(mount).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = &self.mounted {
            let _ = std::process::Command::new("umount").arg("--lazy").arg(path).status();
        }
        if self.keep {
            println!("kept: {}", self.path.display());
        } else {
            // Processes that were just killed may still write into it.
            let removed = |_: &u32| {
                let done = fs::remove_dir_all(&self.path).is_ok();
                if !done {
                    std::thread::park_timeout(RETRY_DELAY);
                }
                done
            };
            let _ = (0..MAX_REMOVE_TRIES).find(removed);
        }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// The command's standard error where it fails.
pub(crate) async fn run(mut command: Command) -> Result<(), String> {
    let name = command.as_std().get_program().display().to_string();
    let output = command.output().await.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
