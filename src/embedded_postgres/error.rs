//! Errors of the private PostgreSQL, each a sentence for an operator.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private PostgreSQL cannot run; each variant is a sentence for an operator.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    /// PostgreSQL's programs were not found.
    #[error(
        "PostgreSQL's programs (initdb, postgres) are not on this machine. Install the package \
         postgresql (Debian, Ubuntu), postgresql-server and postgresql-contrib (Fedora), \
         postgresql and postgresql-contrib (Alpine) or postgresql@17 (Homebrew), or name their \
         folder in HARK_POSTGRES_BIN, or set DATABASE_URL to a PostgreSQL that runs already."
    )]
    NotInstalled,

    /// PostgreSQL's programs are not in the configured folder.
    #[error("HARK_POSTGRES_BIN is {}, but initdb and postgres are not there.", .0.display())]
    NotInBinDir(PathBuf),

    /// The data directory was created by another major version.
    #[error(
        "The data in {} was made by PostgreSQL {data_version}, but this machine has PostgreSQL \
         {binary_version} in {}. Install PostgreSQL {data_version} (HARK_POSTGRES_BIN can name \
         its folder), or move the data with pg_upgrade.",
        data.display(), bin_dir.display()
    )]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// Its major version.
        data_version: String,
        /// The folder of the programs found.
        bin_dir: PathBuf,
        /// Their major version.
        binary_version: String,
    },

    /// Another Hark process holds the lock.
    #[error("The data folder {} is in use by another Hark server.", .0.display())]
    InUse(PathBuf),

    /// Hark runs as root, and there is no other user to run PostgreSQL as.
    #[error(
        "PostgreSQL cannot run as root, and this machine has neither a user `postgres` nor a user \
         `nobody` to run it as. Run Hark as an ordinary user, or set DATABASE_URL."
    )]
    NoUser,

    /// The user that PostgreSQL runs as has no access to the data folder.
    #[error(
        "PostgreSQL cannot run as root, and the user {user} that it would run as may not enter \
         the folder {}. Set HARK_DATA_DIR to a folder that every user may reach, for instance \
         /var/lib/hark.",
        folder.display()
    )]
    NotSearchable {
        /// The first folder on the way to it that the user may not enter.
        folder: PathBuf,
        /// The user.
        user: String,
    },

    /// One of PostgreSQL's programs has failed.
    #[error("PostgreSQL's {program} failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The end of its output.
        message: String,
    },

    /// A system call has failed.
    #[error("Cannot {action}: {source}")]
    Io {
        /// What was attempted, with the name of the file.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The error of doing `verb` to `path`, for `map_err`.
pub(super) fn cannot(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedPostgresError {
    let action = format!("{verb} {}", path.display());
    move |source| EmbeddedPostgresError::Io { action, source }
}
