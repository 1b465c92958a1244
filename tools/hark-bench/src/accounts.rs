//! A pool of accounts. A sign-up costs the server two password hashes, so the accounts are kept in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use hark_harness::accounts::{Account, AccountError, sign_up};
use serde::{Deserialize, Serialize};

use crate::measure::run::print_progress;
use crate::sockets::connection::{ConnectError, Connector};

/// Sign-ups side by side. A server hashes no more passwords at once than it has cores.
const CONCURRENT_SIGN_UPS: usize = 4;

/// Accounts of one server.
pub(crate) struct AccountPool {
    /// The URL of the server, for instance `http://127.0.0.1:3000`.
    server: String,
    file: Option<PathBuf>,
    known: Vec<Account>,
}

/// The format of the file.
#[derive(Serialize, Deserialize)]
struct AccountFile {
    server: String,
    accounts: Vec<Account>,
}

/// A pool that cannot have the accounts that were asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountPoolError {
    #[error("{0}. The server's limits have to be off for a load: HARK_SIGN_UPS_PER_MINUTE=0 HARK_LOGINS_PER_MINUTE=0")]
    Limited(AccountError),
    #[error(transparent)]
    Account(AccountError),
    #[error("cannot write {0}: {1}")]
    File(PathBuf, io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<AccountError> for AccountPoolError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Refused(status, _) if status.as_u16() == 429 => Self::Limited(error),
            _ => Self::Account(error),
        }
    }
}

impl AccountPool {
    /// A pool with the accounts in `file`, as far as they are of this server and it still accepts their tokens.
    pub(crate) async fn load(
        server: &str,
        file: Option<&Path>,
        connector: &Connector,
    ) -> Result<Self, AccountPoolError> {
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        let saved: Option<AccountFile> = text.and_then(|text| serde_json::from_str(&text).ok());
        let mut known = saved.filter(|saved| saved.server == server).map_or(Vec::new(), |saved| saved.accounts);
        if let Some(first) = known.first() {
            match connector.connect(&first.token).await {
                Ok(_) => {}
                // The server has another database now, or the tokens have expired.
                Err(ConnectError::Rejected(_)) => known.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { server: server.to_owned(), file: file.map(Path::to_owned), known })
    }

    /// The first `count` accounts; missing ones are signed up and saved.
    pub(crate) async fn get(&mut self, count: usize) -> Result<&[Account], AccountPoolError> {
        if self.known.len() < count {
            let client = reqwest::Client::new();
            let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let (server, client) = (&self.server, &client);
            let mut signed_up = futures_util::stream::iter(self.known.len()..count)
                .map(|nth| async move {
                    let email = format!("load-{run:x}-{nth}@example.org");
                    sign_up(client, server, &email, &format!("Load {nth}")).await
                })
                .buffered(CONCURRENT_SIGN_UPS);
            while let Some(account) = signed_up.next().await {
                self.known.push(account?);
                if self.known.len().is_multiple_of(50) || self.known.len() == count {
                    print_progress(&format!("signed up {} of {count}", self.known.len()));
                }
            }
            self.save()?;
        }
        Ok(&self.known[..count])
    }

    fn save(&self) -> Result<(), AccountPoolError> {
        let Some(file) = &self.file else { return Ok(()) };
        let accounts = AccountFile { server: self.server.clone(), accounts: self.known.clone() };
        let text = serde_json::to_string(&accounts).map_err(io::Error::from);
        text.and_then(|text| fs::write(file, text)).map_err(|error| AccountPoolError::File(file.clone(), error))
    }
}
