//! PostgreSQL's client programs, and the private PostgreSQL of the main server that they connect to.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::BenchError;

/// The user of the private PostgreSQL.
const USER: &str = "hark";
/// Planner settings of Hark's connections, which the plans of `write_messages` depend on.
const HARK_PGOPTIONS: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";

/// The folder of PostgreSQL's programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    bin: PathBuf,
}

impl Programs {
    /// # Errors
    /// A program is missing.
    pub(super) fn find(bin: &Path) -> Result<Self, BenchError> {
        for program in ["psql", "pgbench", "postgres"] {
            if !bin.join(program).is_file() {
                return Err(BenchError::Message(format!(
                    "{program} is not in {}: install PostgreSQL's server and client programs",
                    bin.display()
                )));
            }
        }
        Ok(Self { bin: bin.to_owned() })
    }

    /// The version, such as `PostgreSQL 17.2`.
    ///
    /// # Errors
    /// The program cannot be run.
    pub(super) async fn version(&self) -> Result<String, BenchError> {
        let mut postgres = Command::new(self.bin.join("postgres"));
        let text = output(postgres.arg("--version")).await?;
        Ok(text.trim().replacen("postgres (PostgreSQL)", "PostgreSQL", 1))
    }
}

/// A running PostgreSQL, as its data folder describes it.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    programs: Programs,
    socket_dir: String,
    password: String,
    /// The process id of the postmaster.
    pub(super) postmaster: u32,
}

impl Postgres {
    /// The private PostgreSQL of a server that runs on `data_dir`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn private(programs: &Programs, data_dir: &Path) -> Result<Self, BenchError> {
        let read = |file: PathBuf| fs::read_to_string(&file).map_err(|error| BenchError::File(file, error));
        let pid_file = read(data_dir.join("postgres/postmaster.pid"))?;
        // Line 1 is the process id, and line 5 the folder of the Unix socket.
        let line = |nth: usize| pid_file.lines().nth(nth).unwrap_or_default().trim().to_owned();
        let postmaster = line(0).parse().map_err(|_| BenchError::Message("postmaster.pid has no pid".to_owned()))?;
        let password = read(data_dir.join("postgres.password"))?.trim().to_owned();
        Ok(Self { programs: programs.clone(), socket_dir: line(4), password, postmaster })
    }

    /// The `DATABASE_URL` of a database in it.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@localhost/{database}?host={}", self.password, self.socket_dir)
    }

    /// The password, which serves as the secret of the tokens too: all servers of the benchmark share it.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The result of a statement, as psql prints it.
    ///
    /// # Errors
    /// The statement fails.
    pub(super) async fn query(&self, database: &str, statement: &str) -> Result<String, BenchError> {
        let mut psql = self.psql(database);
        output(psql.args(["--command", statement])).await.map(|text| text.trim().to_owned())
    }

    /// Runs a script with psql variables.
    ///
    /// # Errors
    /// A statement fails.
    pub(super) async fn run_script(
        &self,
        database: &str,
        script: &Path,
        variables: &[(&str, u64)],
    ) -> Result<(), BenchError> {
        let mut psql = self.psql(database);
        for (name, value) in variables {
            psql.args(["--set", &format!("{name}={value}")]);
        }
        output(psql.arg("--file").arg(script)).await.map(drop)
    }

    /// Runs pgbench with a script, and returns its summary. `as_hark` sets the planner as Hark's connections do.
    ///
    /// # Errors
    /// pgbench fails.
    pub(super) async fn pgbench<A: AsRef<OsStr>>(
        &self,
        script: &Path,
        (connections, seconds): (usize, u64),
        as_hark: bool,
        more: &[A],
    ) -> Result<String, BenchError> {
        let mut pgbench = self.program("pgbench");
        pgbench.args(["--no-vacuum", "--protocol", "prepared"]);
        pgbench.args(["--client", &connections.to_string(), "--time", &seconds.to_string()]);
        pgbench.arg("--file").arg(script).args(more).arg("pgbench");
        if as_hark {
            pgbench.env("PGOPTIONS", HARK_PGOPTIONS);
        }
        output(&mut pgbench).await
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = self.program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        psql.args(["--dbname", database]);
        psql
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.bin.join(name));
        command.env("PGHOST", &self.socket_dir).env("PGPORT", "5432");
        command.env("PGUSER", USER).env("PGPASSWORD", &self.password);
        command
    }
}

/// Runs a program and returns its standard output.
pub(super) async fn output(command: &mut Command) -> Result<String, BenchError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| BenchError::Message(format!("{program}: {error}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(BenchError::Message(format!("{program}: {}", error.trim())))
    }
}
