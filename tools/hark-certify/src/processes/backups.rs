//! Backups of a PostgreSQL, and restores: another cluster replaces it at the address that the servers know.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::folder::run;
use super::postgres::{Postgres, USER};
use super::signals;

/// Maximum time of a graceful shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a standby may take to catch up with its primary, and to be promoted.
const STANDBY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The database of the server.
const DATABASE: &str = "postgres";

impl Postgres {
    /// Stops PostgreSQL gracefully (fast mode), which cuts all connections.
    ///
    /// # Errors
    /// A sentence: it does not stop within [`STOP_TIMEOUT`].
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            signals::send(pid, Signal::INT);
        }
        let ended = timeout(STOP_TIMEOUT, child.wait()).await;
        ended.map(drop).map_err(|_| format!("PostgreSQL did not stop within {STOP_TIMEOUT:?}"))
    }

    /// Uses another data folder from the next start on.
    pub(crate) fn switch(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// Copies the data folder. PostgreSQL has to be stopped.
    ///
    /// # Errors
    /// The output of `cp`.
    pub(crate) async fn copy(&self, name: &str) -> Result<PathBuf, String> {
        let copy = self.data.with_file_name(name);
        let mut cp = self.account_command(Path::new("cp"));
        cp.arg("-a").arg(&self.data).arg(&copy);
        run(cp).await?;
        Ok(copy)
    }

    /// The result of a statement, as `psql` prints it.
    ///
    /// # Errors
    /// The output of `psql`.
    pub(crate) async fn execute(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-h"]).arg(&self.sockets);
        psql.args(["-d", database, "-c", statement]);
        let output = psql.output().await.map_err(|error| format!("psql: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// Dumps the server's database into a file.
    ///
    /// # Errors
    /// The output of `pg_dump`.
    pub(crate) async fn dump(&self) -> Result<PathBuf, String> {
        let file = self.data.with_file_name("hark.dump");
        let mut pg_dump = self.command("pg_dump");
        pg_dump.args(["--format", "custom", "-U", USER, "-h"]).arg(&self.sockets);
        pg_dump.arg("--file").arg(&file).arg(DATABASE);
        run(pg_dump).await?;
        Ok(file)
    }

    /// Replaces the running cluster by a new one with the content of a dump.
    ///
    /// # Errors
    /// A sentence: the failed step.
    pub(crate) async fn restore_into_new_cluster(&mut self, dump: &Path, name: &str) -> Result<(), String> {
        let data = self.data.with_file_name(name);
        self.init(&data).await?;
        // Restored at another address first, so that no server sees a part of it.
        let mut beside = self.beside(data.clone(), &format!("sockets-{name}"))?;
        beside.spawn().await?;
        beside.load(dump, DATABASE).await?;
        beside.stop().await?;
        self.kill().await;
        self.switch(data);
        self.spawn().await
    }

    /// Replaces the server's database by a new one with the content of a dump, in the same cluster.
    ///
    /// # Errors
    /// A sentence: the failed step.
    pub(crate) async fn restore_into_new_database(&self, dump: &Path) -> Result<(), String> {
        let maintenance = "template1";
        self.execute(maintenance, "create database fresh template template0").await?;
        self.load(dump, "fresh").await?;
        for statement in [
            "alter database postgres allow_connections false",
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'postgres'",
            "select pg_sleep(0.2)",
            "alter database postgres rename to lost",
            "alter database fresh rename to postgres",
        ] {
            self.execute(maintenance, statement).await?;
        }
        Ok(())
    }

    async fn load(&self, dump: &Path, database: &str) -> Result<(), String> {
        let mut pg_restore = self.command("pg_restore");
        pg_restore.args(["--no-owner", "--exit-on-error", "-U", USER, "-h"]).arg(&self.sockets);
        pg_restore.args(["--dbname", database]).arg(dump);
        run(pg_restore).await
    }

    /// Starts a standby that streams from this cluster.
    ///
    /// # Errors
    /// A sentence: the failed step.
    pub(crate) async fn standby(&self) -> Result<Self, String> {
        let data = self.data.with_file_name("standby");
        let mut pg_basebackup = self.command("pg_basebackup");
        pg_basebackup.args(["-R", "-c", "fast", "--no-sync", "-X", "stream", "-U", USER, "-h"]).arg(&self.sockets);
        pg_basebackup.arg("-D").arg(&data);
        run(pg_basebackup).await?;
        let mut standby = self.beside(data, "sockets-standby")?;
        standby.spawn().await?;
        Ok(standby)
    }

    /// Waits until a standby has replayed everything that this cluster has now.
    ///
    /// # Errors
    /// A sentence: it does not within [`STANDBY_TIMEOUT`].
    pub(crate) async fn wait_for_standby(&self, standby: &Self) -> Result<(), String> {
        let position = self.execute(DATABASE, "select pg_current_wal_flush_lsn()").await?;
        let has_replayed = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        wait_until_true(standby, &has_replayed, "the standby does not follow").await
    }

    /// Kills the primary, and promotes a standby at its address.
    ///
    /// # Errors
    /// A sentence: the failed step.
    pub(crate) async fn fail_over(&mut self, mut standby: Self) -> Result<(), String> {
        self.kill().await;
        standby.stop().await?;
        let file = standby.data.join("postgresql.auto.conf");
        let settings = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        // At the primary's address the standby would stream from itself.
        fs::write(&file, settings + "\nprimary_conninfo = ''\n").map_err(|error| error.to_string())?;
        self.switch(standby.data.clone());
        self.spawn().await?;
        self.execute(DATABASE, "select pg_promote()").await?;
        wait_until_true(self, "select not pg_is_in_recovery()", "the standby does not take over").await
    }

    /// A PostgreSQL with the same programs and user on another data folder, which is not started yet.
    fn beside(&self, data: PathBuf, sockets: &str) -> Result<Self, String> {
        let sockets = self.sockets.with_file_name(sockets);
        fs::create_dir_all(&sockets).map_err(|error| error.to_string())?;
        let (uid, gid) = self.account.unzip();
        std::os::unix::fs::chown(&sockets, uid, gid).map_err(|error| error.to_string())?;
        Ok(Self {
            programs: self.programs.clone(),
            data,
            sockets,
            account: self.account,
            environment: self.environment.clone(),
            child: None,
            disk: false,
            log: self.log.clone(),
        })
    }
}

/// Repeats a query until its result is true.
async fn wait_until_true(postgres: &Postgres, query: &str, error: &str) -> Result<(), String> {
    let deadline = Instant::now() + STANDBY_TIMEOUT;
    while postgres.execute(DATABASE, query).await.as_deref() != Ok("t") {
        if Instant::now() > deadline {
            return Err(error.to_owned());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
