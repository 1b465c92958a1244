//! The people of a load. Signing up costs a server two password hashes, so they are kept in a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::line::{Door, NotOpened};
use super::run::say_progress;
use crate::accounts::{Account, NoAccount, sign_up};

/// A server hashes no more passwords at once than it has cores.
const AT_ONCE: usize = 4;

/// Accounts of one server.
pub(crate) struct People {
    /// For instance `http://127.0.0.1:3000`.
    server: String,
    file: Option<PathBuf>,
    known: Vec<Account>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    server: String,
    accounts: Vec<Account>,
}

/// Why there are no people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPeople {
    #[error("{0}. The server's limits have to be off for a load: HARK_SIGN_UPS_PER_MINUTE=0 HARK_LOGINS_PER_MINUTE=0")]
    Limited(NoAccount),
    #[error(transparent)]
    NoAccount(NoAccount),
    #[error("cannot write {0}: {1}")]
    File(PathBuf, io::Error),
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
}

impl From<NoAccount> for NoPeople {
    fn from(error: NoAccount) -> Self {
        match error {
            NoAccount::Refused(status, _) if status.as_u16() == 429 => Self::Limited(error),
            _ => Self::NoAccount(error),
        }
    }
}

impl People {
    /// Those in `file` that are of this server and still let in by it; nobody else yet.
    pub(crate) async fn of(server: &str, file: Option<&Path>, door: &Door) -> Result<Self, NoPeople> {
        let kept = file.and_then(|file| fs::read_to_string(file).ok());
        let kept: Option<Kept> = kept.and_then(|text| serde_json::from_str(&text).ok());
        let mut known = kept.filter(|kept| kept.server == server).map_or(Vec::new(), |kept| kept.accounts);
        if let Some(first) = known.first() {
            match door.open(&first.token).await {
                Ok(_) => {}
                // Another database, or their tokens have ended.
                Err(NotOpened::Refused(_)) => known.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { server: server.to_owned(), file: file.map(Path::to_owned), known })
    }

    /// So many of them; who is missing signs up.
    pub(crate) async fn get(&mut self, count: usize) -> Result<&[Account], NoPeople> {
        if self.known.len() < count {
            let client = reqwest::Client::new();
            let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let (server, client) = (&self.server, &client);
            let mut signed_up = futures_util::stream::iter(self.known.len()..count)
                .map(|nth| async move {
                    let email = format!("load-{run:x}-{nth}@example.org");
                    sign_up(client, server, &email, &format!("Load {nth}")).await
                })
                .buffered(AT_ONCE);
            while let Some(account) = signed_up.next().await {
                self.known.push(account?);
                if self.known.len().is_multiple_of(50) || self.known.len() == count {
                    say_progress(&format!("signed up {} of {count}", self.known.len()));
                }
            }
            self.keep()?;
        }
        Ok(&self.known[..count])
    }

    fn keep(&self) -> Result<(), NoPeople> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = Kept { server: self.server.clone(), accounts: self.known.clone() };
        let text = serde_json::to_string(&kept).map_err(io::Error::from);
        text.and_then(|text| fs::write(file, text)).map_err(|error| NoPeople::File(file.clone(), error))
    }
}
