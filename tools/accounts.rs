//! People for the tools: signed up and logged in over HTTP, as anybody is.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// Nobody's real password: the accounts are made for one run.
const PASSWORD: &str = "not-a-secret-but-long";

/// Somebody who is signed up and logged in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    /// The user's id.
    pub(crate) id: i64,
    /// The e-mail address that they signed up with.
    pub(crate) email: String,
    /// The token of their session.
    pub(crate) token: String,
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAccount {
    /// The server cannot be talked to.
    #[error("the server does not answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// The server says no.
    #[error("the server answers {0}: {1}")]
    Refused(StatusCode, String),
}

/// Signs up a person and logs in.
///
/// `server` is the address of the server, such as `http://127.0.0.1:3000`.
///
/// # Errors
/// The server is away or refuses: for instance because its limits on sign-ups are on.
pub(crate) async fn sign_up(
    client: &Client,
    server: &str,
    email: &str,
    first_name: &str,
) -> Result<Account, NoAccount> {
    let person = json!({ "email": email, "password": PASSWORD, "firstName": first_name });
    taken(client.post(format!("{server}/api/v1/auth/sign-up")).json(&person).send().await?).await?;
    log_in(client, server, email).await
}

/// Logs in a person whom [`sign_up`] made.
///
/// # Errors
/// As [`sign_up`].
pub(crate) async fn log_in(client: &Client, server: &str, email: &str) -> Result<Account, NoAccount> {
    let who = json!({ "email": email, "password": PASSWORD });
    let answer = client.post(format!("{server}/api/v1/auth/login")).json(&who).send().await?;
    Ok(taken(answer).await?.json().await?)
}

async fn taken(answer: reqwest::Response) -> Result<reqwest::Response, NoAccount> {
    let status = answer.status();
    if status.is_success() { Ok(answer) } else { Err(NoAccount::Refused(status, answer.text().await?)) }
}
