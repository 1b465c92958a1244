//! Backups of a PostgreSQL, and what is put in its place: at the address that servers know, another
//! cluster runs afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::folder::run;
use super::postgres::{Postgres, USER};
use super::signals;

/// How long an orderly stop may take.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// How long a standby may take to have all that its primary has, and to take over.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The database of the server.
const DATABASE: &str = "postgres";

impl Postgres {
    /// An orderly stop, which cuts all connections.
    ///
    /// # Errors
    /// Where it takes too long.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            signals::send(pid, Signal::INT);
        }
        let ended = timeout(STOPS_WITHIN, child.wait()).await;
        ended.map(drop).map_err(|_| format!("PostgreSQL did not stop within {STOPS_WITHIN:?}"))
    }

    /// Runs on another cluster from the next start on.
    pub(crate) fn switch(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// A copy of the folder of a cluster that is stopped.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub(crate) async fn copy(&self, name: &str) -> Result<PathBuf, String> {
        let copy = self.data.with_file_name(name);
        let mut cp = self.account_command(Path::new("cp"));
        cp.arg("-a").arg(&self.data).arg(&copy);
        run(cp).await?;
        Ok(copy)
    }

    /// What a statement answers, as `psql` prints it.
    ///
    /// # Errors
    /// What PostgreSQL says.
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

    /// Writes a dump of the server's database.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub(crate) async fn dump(&self) -> Result<PathBuf, String> {
        let file = self.data.with_file_name("hark.dump");
        let mut pg_dump = self.command("pg_dump");
        pg_dump.args(["--format", "custom", "-U", USER, "-h"]).arg(&self.sockets);
        pg_dump.arg("--file").arg(&file).arg(DATABASE);
        run(pg_dump).await?;
        Ok(file)
    }

    /// Puts a cluster that is new, but for what is in a dump, in place of the one that runs.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(crate) async fn restore_into_new_cluster(&mut self, dump: &Path, name: &str) -> Result<(), String> {
        let data = self.data.with_file_name(name);
        self.init(&data).await?;
        // Beside the other one: whoever still asks there is not to see half of a restore.
        let mut beside = self.beside(data.clone(), &format!("sockets-{name}"))?;
        beside.spawn().await?;
        beside.load(dump, DATABASE).await?;
        beside.stop().await?;
        self.kill().await;
        self.switch(data);
        self.spawn().await
    }

    /// Puts a database that is new, but for what is in a dump, in place of the server's, in the same cluster.
    ///
    /// # Errors
    /// Where that cannot be done.
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

    /// A standby that streams from this one.
    ///
    /// # Errors
    /// Where none can be made.
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

    /// Waits until a standby has all that this one has now.
    ///
    /// # Errors
    /// Where it has not in time.
    pub(crate) async fn wait_for_standby(&self, standby: &Self) -> Result<(), String> {
        let position = self.execute(DATABASE, "select pg_current_wal_flush_lsn()").await?;
        let has_it = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        until(standby, &has_it, "the standby does not follow").await
    }

    /// Puts a standby in place of the primary, which is killed, and promotes it.
    ///
    /// # Errors
    /// Where it does not take over.
    pub(crate) async fn fail_over(&mut self, mut standby: Self) -> Result<(), String> {
        self.kill().await;
        standby.stop().await?;
        let file = standby.data.join("postgresql.auto.conf");
        let settings = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        // At the primary's address it would follow itself.
        fs::write(&file, settings + "\nprimary_conninfo = ''\n").map_err(|error| error.to_string())?;
        self.switch(standby.data.clone());
        self.spawn().await?;
        self.execute(DATABASE, "select pg_promote()").await?;
        until(self, "select not pg_is_in_recovery()", "the standby does not take over").await
    }

    /// Another one with the same programs and account, on a cluster of its own, which does not run yet.
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

/// Asks until the answer is yes.
async fn until(postgres: &Postgres, question: &str, otherwise: &str) -> Result<(), String> {
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    while postgres.execute(DATABASE, question).await.as_deref() != Ok("t") {
        if Instant::now() > deadline {
            return Err(otherwise.to_owned());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
