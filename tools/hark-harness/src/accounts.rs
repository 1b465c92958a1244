//! Accounts, signed up and logged in over HTTP like those of any client.

use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The password of every account. It protects nothing: the accounts exist for one run.
const PASSWORD: &str = "not-a-secret-but-long";

/// A user with an open session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Account {
    /// The user's id.
    pub id: i64,
    /// The e-mail address that the user signed up with.
    pub email: String,
    /// The session's access token.
    pub token: String,
}

/// A failed sign-up or login.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The server cannot be reached, or its response cannot be read.
    #[error("the server does not answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// The server refused, with this status and body.
    #[error("the server answers {0}: {1}")]
    Refused(StatusCode, String),
}

/// Signs up a user and logs in.
///
/// `server` is the URL of the server, such as `http://127.0.0.1:3000`.
///
/// # Errors
/// [`AccountError`], for instance a 429 where the server's rate limit for sign-ups is on.
pub async fn sign_up(client: &Client, server: &str, email: &str, first_name: &str) -> Result<Account, AccountError> {
    let body = json!({ "email": email, "password": PASSWORD, "firstName": first_name });
    ensure_success(client.post(format!("{server}/api/v1/auth/sign-up")).json(&body).send().await?).await?;
    log_in(client, server, email).await
}

/// Logs in a user whom [`sign_up`] created.
///
/// # Errors
/// [`AccountError`].
pub async fn log_in(client: &Client, server: &str, email: &str) -> Result<Account, AccountError> {
    let body = json!({ "email": email, "password": PASSWORD });
    let response = client.post(format!("{server}/api/v1/auth/login")).json(&body).send().await?;
    Ok(ensure_success(response).await?.json().await?)
}

async fn ensure_success(response: Response) -> Result<Response, AccountError> {
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(AccountError::Refused(status, response.text().await?)) }
}
