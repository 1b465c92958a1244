//! The standard benchmark: Hark in turn with PostgreSQL alone, in one run of less than ten minutes.
//!
//! It starts servers with a private PostgreSQL, runs the scenarios and pgbench against them, stops them, removes their
//! data, and writes the tables and plots of docs/performance.md. Each scenario is a process of its own, so that its CPU
//! time is counted apart. `servers` uses `postgres`, and this file uses both.

mod postgres;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use self::postgres::{Postgres, Programs};
use self::servers::{ANY_PORT, Servers, find_program};
use crate::error::BenchError;
use crate::options::Standard;
use crate::report::{self, pgbench};

/// How often a scenario that is compared with PostgreSQL is measured, in turn with it.
const ROUNDS: usize = 3;
/// Accounts of the largest scenario.
const ACCOUNTS: usize = 1100;
/// The scripts of pgbench and psql.
const SCRIPTS: [(&str, &str); 7] = [
    ("batch_of_256", include_str!("../../sql/batch_of_256.sql")),
    ("batch_of_256_dialogs", include_str!("../../sql/batch_of_256_dialogs.sql")),
    ("fill", include_str!("../../sql/fill.sql")),
    ("one_message", include_str!("../../sql/one_message.sql")),
    ("prepare", include_str!("../../sql/prepare.sql")),
    ("write_message", include_str!("../../sql/write_message.sql")),
    ("write_messages_256", include_str!("../../sql/write_messages_256.sql")),
];
/// The two histories in which pages are measured, with the variables of fill.sql.
const HISTORIES: [(&str, [(&str, u64); 5]); 2] = [
    ("small", [("reader", 1), ("messages", 30_000), ("slots", 3), ("dialogs", 1), ("others", 0)]),
    ("large", [("reader", 1), ("messages", 10_000_000), ("slots", 100), ("dialogs", 10), ("others", 60_000)]),
];

/// Runs the benchmark and writes the page. An interrupt stops the servers and removes their data too.
///
/// # Errors
/// [`BenchError`]: a program is missing, or a step fails.
pub(crate) async fn run(options: &Standard) -> Result<(), BenchError> {
    let programs = Programs::find(&options.postgres_bin)?;
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |error| BenchError::File(path, error)
    };
    let parent = options.work_dir.canonicalize().map_err(file_error(&options.work_dir))?;
    let work = tempfile::Builder::new().prefix("bench.").tempdir_in(&parent).map_err(file_error(&parent))?;
    let mut benchmark = Benchmark::prepare(find_program(options.hark.as_deref())?, programs, &work)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(file_error(work.path()))?;
    let interrupted = || Err(BenchError::Message("interrupted".to_owned()));
    let outcome = tokio::select! {
        outcome = benchmark.run() => outcome,
        _ = tokio::signal::ctrl_c() => interrupted(),
        _ = terminate.recv() => interrupted(),
    };
    benchmark.servers.stop_all().await;
    if let Some(keep) = &options.keep {
        copy_files(&benchmark.results, keep)?;
    }
    outcome?;
    announce(&options.page.display().to_string());
    report::write(&benchmark.results, &options.page)
}

/// The state of the benchmark.
struct Benchmark {
    servers: Servers,
    programs: Programs,
    /// This program, which runs each scenario.
    tool: PathBuf,
    work: PathBuf,
    /// The folder that the report reads.
    results: PathBuf,
}

/// The main server and its private PostgreSQL.
struct Main {
    url: String,
    pid: u32,
    postgres: Postgres,
}

impl Benchmark {
    fn prepare(server: PathBuf, programs: Programs, work: &TempDir) -> Result<Self, BenchError> {
        let work = work.path().to_owned();
        let results = work.join("results");
        fs::create_dir(&results).map_err(|error| BenchError::File(results.clone(), error))?;
        let tool = std::env::current_exe().map_err(|error| BenchError::Message(error.to_string()))?;
        let benchmark = Self { servers: Servers::new(server, work.clone()), programs, tool, work, results };
        for (name, text) in SCRIPTS {
            let script = benchmark.script(name);
            fs::write(&script, text).map_err(|error| BenchError::File(script, error))?;
        }
        Ok(benchmark)
    }

    async fn run(&mut self) -> Result<(), BenchError> {
        announce("a server with a private PostgreSQL");
        let main = self.start_main(ANY_PORT).await?;
        let machine = machine(&self.programs.version().await?);
        self.write_result("machine.txt", &format!("{machine}\n"))?;
        let connections = self.prepare_pgbench(&main.postgres).await?;

        announce(&format!("{ACCOUNTS} users sign up"));
        self.scenario(&format!("people --count {ACCOUNTS}"), &main.url, "accounts", &[]).await?;
        // Started anew: memory that the password hashes took would count as memory of the sockets.
        self.servers.stop("main").await?;
        let main = self.start_main(listen_address(&main.url)).await?;
        self.measure_messages(&main, connections).await?;

        let mut urls = Vec::new();
        for (database, variables) in HISTORIES {
            urls.push(self.fill(&main.postgres, database, &variables).await?);
        }
        for ((database, _), url) in HISTORIES.iter().zip(&urls) {
            self.servers.start(database, listen_address(url), Some((&main.postgres, database))).await?;
        }
        self.measure_pages(&main.postgres, &urls).await
    }

    /// Starts the main server; it keeps its data between starts.
    async fn start_main(&mut self, listen: &str) -> Result<Main, BenchError> {
        let url = self.servers.start("main", listen, None).await?;
        let postgres = Postgres::private(&self.programs, &self.servers.data_dir())?;
        Ok(Main { url, pid: self.servers.pid("main").unwrap_or_default(), postgres })
    }

    /// Creates the tables that pgbench writes into, and returns the number of connections with which PostgreSQL alone
    /// commits most batches on this machine.
    async fn prepare_pgbench(&self, postgres: &Postgres) -> Result<usize, BenchError> {
        announce("the tables of pgbench, and the best number of connections");
        postgres.query("hark", "create database pgbench").await?;
        self.servers.migrate(postgres, "pgbench").await?;
        postgres.run_script("pgbench", &self.script("prepare"), &[]).await?;
        let (mut best, mut best_rate) = (1, 0.0);
        for connections in [1, 2, 4] {
            let summary = self.pgbench(postgres, "best", "batch_of_256", (connections, 3), false, None).await?;
            let rate = pgbench::transactions_per_second(&summary).unwrap_or_default();
            if rate > best_rate {
                (best, best_rate) = (connections, rate);
            }
        }
        Ok(best)
    }

    /// The scenarios that send messages, in turn with pgbench.
    async fn measure_messages(&self, main: &Main, connections: usize) -> Result<(), BenchError> {
        let postgres = &main.postgres;
        self.load(main, "idle", "idle --warm-up 1 --seconds 4").await?;
        for round in 1..=ROUNDS {
            let name = |name: &str| format!("{round}-{name}");
            let log = |name: &str| Some(self.results.join(format!("{round}-{name}")));
            self.pgbench(postgres, &name("one"), "one_message", (1, 4), false, log("one-commit")).await?;
            self.pgbench(postgres, &name("one-call"), "write_message", (1, 4), true, log("one-call")).await?;
            self.load(main, &name("one"), "private --senders 1 --window 1 --warm-up 1 --seconds 4").await?;
            self.pgbench(postgres, &name("batch"), "batch_of_256", (connections, 6), false, None).await?;
            self.load(main, &name("private-50"), "private --senders 50 --window 4 --warm-up 2 --seconds 8").await?;
            self.pgbench(postgres, &name("function"), "write_messages_256", (connections, 4), true, None).await?;
            // Each connection has dialogs of its own, and there are enough for two.
            self.pgbench(postgres, &name("scattered"), "batch_of_256_dialogs", (2, 6), false, None).await?;
            self.load(main, &name("private-500"), "private --senders 500 --window 1 --warm-up 2 --seconds 8").await?;
        }
        self.load(main, "group", "group --members 1000 --writers 2 --window 8 --warm-up 2 --seconds 8").await?;
        self.load(main, "mixed", "mixed --people 200 --rate 1000 --warm-up 2 --seconds 8").await?;
        self.load(main, "storm", "storm --sockets 10000 --warm-up 2 --seconds 8").await?;
        for round in 1..=ROUNDS {
            self.load(main, &format!("{round}-logins"), "logins --logins 40 --warm-up 2 --seconds 8").await?;
        }
        Ok(())
    }

    /// Creates a database with a reader who signs up over HTTP and a history that is written by SQL. Returns the URL of
    /// the server that the reader signed up at: the account is known under it.
    async fn fill(
        &mut self,
        postgres: &Postgres,
        database: &str,
        variables: &[(&str, u64)],
    ) -> Result<String, BenchError> {
        announce(&format!("the {database} history"));
        postgres.query("hark", &format!("create database {database}")).await?;
        let url = self.servers.start(database, ANY_PORT, Some((postgres, database))).await?;
        self.scenario("people --count 1", &url, database, &[]).await?;
        self.servers.stop(database).await?;
        postgres.run_script(database, &self.script("fill"), variables).await?;
        Ok(url)
    }

    /// The pages of both histories, in turn.
    async fn measure_pages(&self, postgres: &Postgres, urls: &[String]) -> Result<(), BenchError> {
        let group = postgres.query("large", "select id from conversations where kind = 'group'").await?;
        let peer = "select peer_id from members where conversation_id = 1 and user_id = 1";
        let peer = postgres.query("large", peer).await?;
        for round in 1..=ROUNDS {
            for ((database, _), url) in HISTORIES.iter().zip(urls) {
                announce(&format!("pages of the {database} history"));
                let scenario = format!("pages --receiver-id {peer} --group-id {group} --warm-up 1.2 --seconds 3.6");
                let json = self.results.join(format!("{round}-pages-{database}.json"));
                let json = json.display().to_string();
                self.scenario(&scenario, url, database, &["--json", &json]).await?;
            }
        }
        Ok(())
    }

    /// Runs a scenario against the main server, and measures the CPU time of the server and of PostgreSQL.
    async fn load(&self, main: &Main, name: &str, scenario: &str) -> Result<(), BenchError> {
        announce(scenario);
        let json = self.results.join(format!("{name}.json")).display().to_string();
        let (pid, postmaster) = (main.pid.to_string(), main.postgres.postmaster.to_string());
        let more = ["--json", &json, "--server-pid", &pid, "--postgres-pid", &postmaster];
        self.scenario(scenario, &main.url, "accounts", &more).await
    }

    /// Runs a scenario in a process of its own, with the accounts in a file of this name.
    async fn scenario(&self, scenario: &str, url: &str, accounts: &str, more: &[&str]) -> Result<(), BenchError> {
        let mut command = Command::new(&self.tool);
        command.args(scenario.split(' ')).args(["--server", url]).args(more);
        command.arg("--accounts").arg(self.work.join(format!("{accounts}.json"))).kill_on_drop(true);
        let status = command.status().await.map_err(|error| BenchError::Message(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(BenchError::Message(format!("{scenario} ended with {status}"))) }
    }

    /// Runs pgbench with one of [`SCRIPTS`], keeps its summary and returns it. With `log`, the duration of each
    /// transaction is written to files with that prefix.
    async fn pgbench(
        &self,
        postgres: &Postgres,
        name: &str,
        script: &str,
        (connections, seconds): (usize, u64),
        as_hark: bool,
        log: Option<PathBuf>,
    ) -> Result<String, BenchError> {
        announce(&format!("pgbench: {script}, connections: {connections}"));
        let mut more = Vec::new();
        if let Some(prefix) = log {
            more.extend(["--log".into(), "--log-prefix".into(), prefix.into_os_string()]);
        }
        let summary = postgres.pgbench(&self.script(script), (connections, seconds), as_hark, &more).await?;
        self.write_result(&format!("{name}.txt"), &summary)?;
        for line in summary.lines().filter(|line| line.starts_with("latency average") || line.starts_with("tps")) {
            eprintln!("{line}");
        }
        Ok(summary)
    }

    fn script(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.sql"))
    }

    fn write_result(&self, name: &str, text: &str) -> Result<(), BenchError> {
        let file = self.results.join(name);
        fs::write(&file, text).map_err(|error| BenchError::File(file, error))
    }
}

/// Prints the next step.
fn announce(step: &str) {
    eprintln!("\n== {step}");
}

/// The value of `HARK_LISTEN` with which a server listens on a URL.
fn listen_address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// The date, the processors, the kernel and PostgreSQL, in one line.
fn machine(postgres: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = chrono::Utc::now().format("%Y-%m-%d");
    format!("{date}: {cores} × {model}, Linux {}, {postgres}", kernel.trim())
}

fn copy_files(from: &Path, to: &Path) -> Result<(), BenchError> {
    let file_error = |error| BenchError::File(to.to_owned(), error);
    fs::create_dir_all(to).map_err(file_error)?;
    for entry in fs::read_dir(from).map_err(file_error)? {
        let entry = entry.map_err(file_error)?;
        fs::copy(entry.path(), to.join(entry.file_name())).map_err(file_error)?;
    }
    Ok(())
}
