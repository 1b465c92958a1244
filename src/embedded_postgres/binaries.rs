//! Finds the installed programs of PostgreSQL.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedPostgresError;

/// The programs of one installation of PostgreSQL.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
}

/// Finds the first installation, or the first one with the major version that the data directory `data` needs.
///
/// `scripts/ensure-postgres` searches the same folders in the same order.
pub(super) fn find(
    bin_dir: Option<&Path>,
    data: &Path,
    data_version: Option<&str>,
) -> Result<Binaries, EmbeddedPostgresError> {
    // A configured folder that is wrong is an error; no other installation takes its place.
    let folders = match bin_dir {
        Some(folder) => vec![folder.to_owned()],
        None => candidates(),
    };
    let mut other_version = None;
    for folder in folders {
        let Some(binaries) = in_folder(&folder) else {
            continue;
        };
        let Some(wanted) = data_version else {
            return Ok(binaries);
        };
        let version = major_version(&binaries)?;
        if version == wanted {
            return Ok(binaries);
        }
        other_version.get_or_insert((folder, version));
    }
    Err(match (other_version, data_version, bin_dir) {
        (Some((bin_dir, binary_version)), Some(data_version), _) => EmbeddedPostgresError::OtherVersion {
            data: data.to_owned(),
            data_version: data_version.to_owned(),
            bin_dir,
            binary_version,
        },
        (_, _, Some(bin_dir)) => EmbeddedPostgresError::NotInBinDir(bin_dir.to_owned()),
        _ => EmbeddedPostgresError::NotInstalled,
    })
}

/// Folders that may contain the programs, the likeliest first.
#[expect(clippy::disallowed_methods, reason = "PATH belongs to the system and is no setting of Hark")]
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(path) = env::var_os("PATH") {
        folders.extend(env::split_paths(&path).filter(|folder| folder.join("initdb").is_file()));
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !folder.is_empty() {
            folders.push(folder.into());
        }
    }
    // Debian and its derivatives have one folder per major version.
    folders.extend(newest_first(Path::new("/usr/lib/postgresql"), ""));
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        folders.extend(newest_first(Path::new(prefix), "postgresql"));
    }
    folders
}

/// The `bin` folders of the installations in `parent` whose name starts with `prefix`, in descending order of the
/// version in the name: `17`, `postgresql@17`.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@');
            Some((version.parse().unwrap_or(0), entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// The programs in `folder`, or in the folder that its `initdb` links to.
fn in_folder(folder: &Path) -> Option<Binaries> {
    let initdb = fs::canonicalize(folder.join("initdb")).ok()?;
    let postgres = initdb.with_file_name("postgres");
    postgres.is_file().then_some(Binaries { initdb, postgres })
}

/// The major version in the form of the file `PG_VERSION`: "15".
fn major_version(binaries: &Binaries) -> Result<String, EmbeddedPostgresError> {
    let output = Command::new(&binaries.postgres)
        .arg("--version")
        .output()
        .map_err(super::error::cannot("run", &binaries.postgres))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_major_version(&text)
        .ok_or_else(|| EmbeddedPostgresError::Failed { program: "postgres --version", message: text.into_owned() })
}

/// Parses "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", and betas: "18beta1".
fn parse_major_version(text: &str) -> Option<String> {
    let version = text.split("(PostgreSQL) ").nth(1)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_major_version_reads_packages_and_betas() {
        let debian = "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n";
        assert_eq!(parse_major_version(debian).as_deref(), Some("15"));
        assert_eq!(parse_major_version("postgres (PostgreSQL) 18beta1\n").as_deref(), Some("18"));
        assert_eq!(parse_major_version("no such program"), None);
    }

    #[test]
    fn newest_first_sorts_by_version() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["postgresql@9", "postgresql@17", "postgresql", "redis@18"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names = ["postgresql@17", "postgresql@9", "postgresql"];
        let expected = names.map(|name| parent.path().join(name).join("bin"));
        assert_eq!(newest_first(parent.path(), "postgresql"), expected);
    }
}
