//! Sign-in: opens a session and signs its token, and signs the later tokens of the session.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use utoipa::ToSchema;

use super::{Client, email_or_username};
use crate::app::{App, Identity};
use crate::auth::hash_queue::Requester;
use crate::error::Error;
use crate::limits::keyed_rate_limit::IpPrefix;
use crate::model::{Email, LoginUsername, Password, SessionKey, Timestamp};
use crate::store::users::sessions::{self, ClientInfo};
use crate::store::users::{self, Credentials, SignInName, User};
use crate::wire::params::{Fields, FromFields};

/// An e-mail address or a username, of which one is required, and the password.
#[derive(Debug, ToSchema)]
pub struct SignIn {
    /// The e-mail address; `userEmail` is another name of this field.
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    pub email: Option<Email>,
    /// The username.
    #[schema(value_type = Option<String>, example = "patrick")]
    pub username: Option<LoginUsername>,
    /// The password.
    #[schema(value_type = String, example = "correct horse")]
    pub password: Password,
}

impl FromFields for SignIn {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let password = Password::to_verify(fields.required("password")?);
        let (email, username) = email_or_username(fields)?;
        Ok(Self { email, username, password })
    }
}

/// A signed token, and the account that it is for.
#[derive(Debug)]
pub struct IssuedToken {
    /// The JSON web token.
    pub token: String,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// The account.
    pub user: User,
}

/// Opens a session and signs its first token. `None` if there is no such account or the password is wrong,
/// after the same work for either.
///
/// # Errors
/// `rate_limited` past the sign-ins a minute of one address, `overloaded` if the password queue is full.
pub async fn sign_in(app: &App, client: Client, params: SignIn) -> Result<Option<IssuedToken>, Error> {
    app.logins.check(client.address)?;
    let SignIn { email, username, password } = params;
    let name = email.map(SignInName::Email).or_else(|| username.map(SignInName::Username));
    let found = match &name {
        Some(name) => users::find_credentials(&app.db, name).await?,
        None => None,
    };
    let hash = found.as_ref().map(|found| found.password_hash.as_str());
    let network = IpPrefix::from(client.address);
    let is_known = found.as_ref().is_some_and(|found| {
        app.known_networks.contains(found.user.id, &network) || contains_network(&found.session_addresses, &network)
    });
    let requester = Requester { network, is_known };
    let matches = app.passwords.verify(password, hash, &requester).await?;
    let Some(Credentials { user, password_hash: hash, .. }) = found.filter(|_| matches) else { return Ok(None) };
    let expires_at = app.tokens.expiry();
    let origin = ClientInfo { user_agent: client.user_agent, address: Some(client.address.to_string()) };
    let Some(session) = sessions::open(&app.db, user.id, &hash, date_time(expires_at), &origin).await? else {
        return Ok(None);
    };
    app.known_networks.insert(user.id, requester.network);
    Ok(Some(issue_token(app, user, session, expires_at)?))
}

/// Whether any of these addresses, as sessions keep them, is of the network.
fn contains_network(addresses: &[String], network: &IpPrefix) -> bool {
    let addresses = addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
    addresses.map(IpPrefix::from).any(|prefix| prefix == *network)
}

/// Signs a new token for an open session, and extends the session to the end of the token.
///
/// # Errors
/// `unauthorized` if the session or the account has ended meanwhile.
pub async fn refresh(app: &App, me: Identity) -> Result<IssuedToken, Error> {
    let expires_at = app.tokens.expiry();
    let user = users::find(&app.db, me.user).await?.ok_or_else(Error::unauthorized)?;
    if !sessions::extend(&app.db, me.session, me.user, date_time(expires_at)).await? {
        return Err(Error::unauthorized());
    }
    issue_token(app, user, me.session, expires_at)
}

fn issue_token(app: &App, user: User, session: SessionKey, expires_at: i64) -> Result<IssuedToken, Error> {
    let token = app.tokens.sign(user.id, user.email.clone(), user.first_name.clone(), session, expires_at)?;
    Ok(IssuedToken { token, expires_at: date_time(expires_at).into(), user })
}

/// The time that is `seconds` after the beginning of 1970.
fn date_time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
