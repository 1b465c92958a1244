//! What every scenario gets: a server, accounts on it, and the run that counts.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::accounts::AccountPool;
use crate::error::BenchError;
use crate::measure::run::{ProcessIds, Run};
use crate::options::Options;
use crate::sockets::connection::Connector;

/// The surroundings of one scenario.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) connector: Connector,
    /// The URL of the server, for instance `http://127.0.0.1:3000`.
    pub(crate) url: String,
    pub(crate) accounts: AccountPool,
    pub(crate) run: Rc<Run>,
    pub(crate) processes: ProcessIds,
}

impl Context {
    /// Resolves the server's address and loads the accounts that are known of it.
    ///
    /// # Errors
    /// The address is none, or the server does not answer.
    pub(crate) async fn prepare(options: Options) -> Result<Self, BenchError> {
        let address = resolve(&options.server).await?;
        let url = format!("http://{}", host(&options.server));
        let connector = Connector::new(address, options.path.clone());
        let processes = ProcessIds { server: options.server_pid, postgres: options.postgres_pid };
        let accounts = AccountPool::load(&url, options.accounts.as_deref(), &connector).await?;
        Ok(Self { connector, url, accounts, run: Run::new(processes), processes, options })
    }
}

/// The host and port of a URL.
fn host(server: &str) -> &str {
    let host = server.split_once("://").map_or(server, |(_, host)| host);
    host.split('/').next().unwrap_or(host)
}

async fn resolve(server: &str) -> Result<SocketAddr, BenchError> {
    let not_found = || BenchError::Address(server.to_owned());
    let mut found = tokio::net::lookup_host(host(server)).await.map_err(|_| not_found())?;
    found.next().ok_or_else(not_found)
}
