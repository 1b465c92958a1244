//! Signing up, in and out.

use std::net::IpAddr;

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, http::StatusCode};
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Body, Client, SignedIn};
use super::me::Own;
use super::to_its_end;
use crate::app::{App, Identity};
use crate::auth::hash_queue::Requester;
use crate::delivery::Event;
use crate::error::{Code, Error};
use crate::limits::rate_limit::Network;
use crate::model::{Email, LoginUsername, Password, PersonName, SessionId, SessionKey, Timestamp, UserId, Username};
use crate::store::users::sessions::{self, ClientInfo, Session};
use crate::store::users::{self, Credentials, NewUser, SignInName, User};
use crate::wire::params::{Fields, FromFields, Param};

/// Who wants an account. An e-mail address or a username is needed.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct SignUp {
    /// Also taken as `userEmail`.
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    email: Option<Email>,
    /// No spaces and no @; up to 64 characters. ASCII, or letters and digits of one script. Stored in
    /// Unicode's form NFKC, and taken where another one looks the same.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[^@\\s]+$", example = "patrick")]
    username: Option<Username>,
    /// 8 to 128 characters.
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "correct horse")]
    password: Password,
    /// Up to 100 characters.
    #[schema(value_type = Option<String>, example = "Patrick")]
    first_name: Option<PersonName>,
    /// Up to 100 characters.
    #[schema(value_type = Option<String>, example = "Star")]
    last_name: Option<PersonName>,
}

impl FromFields for SignUp {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let password = fields.required("password")?;
        let (email, username) = identity(fields)?;
        Ok(Self {
            email,
            username,
            password,
            first_name: fields.optional("firstName")?,
            last_name: fields.optional("lastName")?,
        })
    }
}

/// By what somebody signs in: an e-mail address, which old clients call `userEmail`, or a username.
fn identity<U: Param>(fields: &Fields<'_>) -> Result<(Option<Email>, Option<U>), Error> {
    let email = match fields.optional("email")? {
        Some(email) => Some(email),
        None => fields.optional("userEmail")?,
    };
    let username = fields.optional("username")?;
    if email.is_none() && username.is_none() {
        return Err(Error::bad_params("email or username is required"));
    }
    Ok((email, username))
}

/// Who wants in: an e-mail address or a username, and the password.
#[derive(ToSchema)]
pub(super) struct LogIn {
    /// Also taken as `userEmail`.
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    email: Option<Email>,
    #[schema(value_type = Option<String>, example = "patrick")]
    username: Option<LoginUsername>,
    #[schema(value_type = String, example = "correct horse")]
    password: String,
}

impl FromFields for LogIn {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let password = fields.required("password")?;
        let (email, username) = identity(fields)?;
        Ok(Self { email, username, password })
    }
}

/// A token, and whose it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    #[schema(example = "Signed in")]
    message: &'static str,
    /// For `Authorization: Bearer`, and for the socket.
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6MX0.c2ln")]
    token: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(example = 1)]
    id: i64,
    email: Option<String>,
    username: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}

/// One place where I am signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionRow {
    id: i64,
    /// Whether it is the one that asks.
    current: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its newest token ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What the client called itself.
    user_agent: Option<String>,
    /// Where it came from.
    address: Option<String>,
}

impl SessionRow {
    /// A session, as `me` sees it.
    pub(super) fn of(session: Session, me: Identity) -> Self {
        let Session { id, created_at, expires_at, user_agent, address } = session;
        Self { id: id.0, current: id == me.session.id, created_at, expires_at, user_agent, address }
    }
}

/// Where I am signed in, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Sessions {
    data: Vec<SessionRow>,
}

/// Sign up
#[utoipa::path(post, path = "/api/v1/auth/sign-up", operation_id = "signUp", tag = "auth", request_body = SignUp, responses(
    (status = 201, body = Own, description = "Stored"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 409, body = ErrorBody, description = "The e-mail address or the username is taken"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Too many sign-ups from one address; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many logins and sign-ups from everywhere; see Retry-After"),
))]
pub(super) async fn sign_up(app: Data<App>, client: Client, body: Body<SignUp>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::build(StatusCode::CREATED).json(create_account(&app, &client, body.0).await?))
}

/// Stores a new account.
pub(super) async fn create_account(app: &App, client: &Client, account: SignUp) -> Result<Own, HttpError> {
    app.sign_ups.count(client.address)?;
    let SignUp { email, username, password, first_name, last_name } = account;
    let from = Requester { network: client.address.into(), is_known: false };
    let password_hash = app.passwords.hash(password, &from).await?;
    let first_name = first_name.and_then(PersonName::non_empty);
    let last_name = last_name.and_then(PersonName::non_empty);
    let user = users::create(&app.db, &NewUser { email, username, first_name, last_name, password_hash }).await?;
    app.known_places.remember(user.id, from.network);
    Ok(user.into())
}

/// Sign in
#[utoipa::path(post, path = "/api/v1/auth/login", operation_id = "logIn", tag = "auth", request_body = LogIn, responses(
    (status = 200, body = Token, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 401, body = ErrorBody, description = "No such user, or not their password"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Too many logins from one address; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many logins from everywhere; see Retry-After"),
))]
pub(super) async fn log_in(app: Data<App>, client: Client, body: Body<LogIn>) -> Result<Json<Token>, HttpError> {
    let token = open_session(&app, client, body.0).await?;
    Ok(Json(token.ok_or_else(wrong_credentials)?))
}

/// The one refusal of a login, whatever is wrong with it.
pub(super) fn wrong_credentials() -> Error {
    Error::new(Code::Unauthorized, "The e-mail address, username or password is wrong")
}

/// Opens a session; `None` where there is no such user, or it is not their password.
pub(super) async fn open_session(app: &App, client: Client, claimed: LogIn) -> Result<Option<Token>, HttpError> {
    app.logins.count(client.address)?;
    let LogIn { email, username, password } = claimed;
    let name = email.map(SignInName::Email).or_else(|| username.map(SignInName::Username));
    let found = match &name {
        Some(name) => users::find_credentials(&app.db, name).await?,
        None => None,
    };
    let hash = found.as_ref().map(|found| found.password_hash.as_str());
    let network = Network::from(client.address);
    let is_known = found.as_ref().is_some_and(|found| {
        app.known_places.contains(found.user.id, &network) || has_signed_in_from(&network, &found.session_addresses)
    });
    let from = Requester { network, is_known };
    let matches = app.passwords.verify(Password::to_verify(password), hash, &from).await?;
    let Some(Credentials { user, password_hash: hash, .. }) = found.filter(|_| matches) else { return Ok(None) };
    let expires_at = app.tokens.expiry();
    let origin = ClientInfo { user_agent: client.user_agent, address: Some(client.address.to_string()) };
    let Some(session) = sessions::open(&app.db, user.id, &hash, moment(expires_at), &origin).await? else {
        return Ok(None);
    };
    app.known_places.remember(user.id, from.network);
    Ok(Some(token(app, user, session, expires_at, "Signed in")?))
}

/// Whether any of these addresses, as sessions keep them, is of the network.
fn has_signed_in_from(network: &Network, addresses: &[String]) -> bool {
    addresses
        .iter()
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .any(|address| Network::from(address) == *network)
}

/// A new token for the session
#[utoipa::path(post, path = "/api/v1/auth/refresh", operation_id = "refreshToken", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = Token, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn refresh(app: Data<App>, me: SignedIn) -> Result<Json<Token>, HttpError> {
    let SignedIn(me) = me;
    let expires_at = app.tokens.expiry();
    let user = users::find(&app.db, me.user).await?.ok_or_else(Error::unauthorized)?;
    if !sessions::extend(&app.db, me.session, me.user, moment(expires_at)).await? {
        return Err(Error::unauthorized().into());
    }
    Ok(Json(token(&app, user, me.session, expires_at, "Refreshed")?))
}

fn token(
    app: &App,
    user: User,
    session: SessionKey,
    expires_at: i64,
    message: &'static str,
) -> Result<Token, HttpError> {
    let token = app.tokens.sign(user.id, user.email.clone(), user.first_name.clone(), session, expires_at)?;
    Ok(Token {
        message,
        token,
        expires_at: moment(expires_at).into(),
        id: user.id.0,
        email: user.email,
        username: user.username,
        first_name: user.first_name,
        last_name: user.last_name,
    })
}

fn moment(seconds: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<chrono::Utc>::MAX_UTC)
}

/// Sign out: the session ends and its sockets close
#[utoipa::path(delete, path = "/api/v1/auth/logout", operation_id = "logOut", tag = "auth", security(("bearer" = [])), responses(
    (status = 204, description = "Done; there is no body"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn log_out(app: Data<App>, me: SignedIn) -> Result<HttpResponse, HttpError> {
    end(app, me.0.user, me.0.session.id).await
}

/// Where I am signed in
#[utoipa::path(get, path = "/api/v1/auth/sessions", operation_id = "listSessions", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = Sessions, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn sessions(app: Data<App>, me: SignedIn) -> Result<Json<Sessions>, HttpError> {
    let SignedIn(me) = me;
    let rows = sessions::list(&app.db, me.user).await?;
    Ok(Json(Sessions { data: rows.into_iter().map(|session| SessionRow::of(session, me)).collect() }))
}

/// End one session
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", operation_id = "endSession", tag = "auth", security(("bearer" = [])),
    params(("id" = i64, Path, description = "As `sessions` lists it")), responses(
    (status = 204, description = "Done; there is no body"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 404, body = ErrorBody, description = "There is none"),
))]
pub(super) async fn end_session(app: Data<App>, me: SignedIn, id: Path<String>) -> Result<HttpResponse, HttpError> {
    let id = id.parse().map_err(|_| no_such_session())?;
    end(app, me.0.user, SessionId(id)).await
}

async fn end(app: Data<App>, user: UserId, session: SessionId) -> Result<HttpResponse, HttpError> {
    to_its_end(async move {
        let session = sessions::end(&app.db, session, user).await?.ok_or_else(no_such_session)?;
        app.delivery.publish(&Event::SessionEnded { user, session });
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

fn no_such_session() -> Error {
    Error::not_found("id: there is no such session")
}
