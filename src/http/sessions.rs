//! Routes of sessions: sign-in, token refresh, sign-out, and the list of a user's sessions.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::completion::run_to_completion;
use super::error::{ErrorBody, HttpError};
use super::extract::{Body, Caller, ClientInfo};
use crate::app::{App, Identity};
use crate::commands::accounts::sign_in::{self, IssuedToken, SignIn};
use crate::commands::accounts::sign_out::{self, no_such_session};
use crate::error::{Code, Error};
use crate::model::{SessionId, Timestamp, UserId};
use crate::store::users::sessions::{self, Session};

/// A token and the account that it is for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenBody {
    /// What was done, for a person.
    #[schema(example = "Signed in")]
    message: &'static str,
    /// For `Authorization: Bearer`, and for the WebSocket.
    #[schema(example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6MX0.c2ln")]
    token: String,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The id of the user.
    #[schema(example = 1)]
    id: i64,
    /// The e-mail address, null where there is none.
    email: Option<String>,
    /// The username, null where there is none.
    username: Option<String>,
    /// First name, null where none was given.
    first_name: Option<String>,
    /// Last name, null where none was given.
    last_name: Option<String>,
}

impl TokenBody {
    pub(super) fn new(issued: IssuedToken, message: &'static str) -> Self {
        let IssuedToken { token, expires_at, user } = issued;
        Self {
            message,
            token,
            expires_at,
            id: user.id.0,
            email: user.email,
            username: user.username,
            first_name: user.first_name,
            last_name: user.last_name,
        }
    }
}

/// A session: one place where a user is signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionRow {
    /// The id, by which `DELETE /api/v1/auth/sessions/{id}` names it.
    id: i64,
    /// Whether the request belongs to this session.
    current: bool,
    /// When the user signed in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the newest token of the session ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The `User-Agent` header of the sign-in, null where there was none.
    user_agent: Option<String>,
    /// The address that the sign-in came from.
    address: Option<String>,
}

impl SessionRow {
    /// A session, as `me` reads it.
    pub(super) fn new(session: Session, me: Identity) -> Self {
        let Session { id, created_at, expires_at, user_agent, address } = session;
        Self { id: id.0, current: id == me.session.id, created_at, expires_at, user_agent, address }
    }
}

/// The open sessions of a user, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    /// The sessions.
    data: Vec<SessionRow>,
}

/// Sign in
#[utoipa::path(post, path = "/api/v1/auth/login", operation_id = "logIn", tag = "auth", request_body = SignIn, responses(
    (status = 200, body = TokenBody, description = "The token of a new session"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 401, body = ErrorBody, description = "There is no such account, or the password is wrong"),
    (status = 429, body = ErrorBody, description = "Too many sign-ins from one address; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many sign-ins and sign-ups from all addresses; see Retry-After"),
))]
pub(super) async fn log_in(
    app: Data<App>,
    client: ClientInfo,
    body: Body<SignIn>,
) -> Result<Json<TokenBody>, HttpError> {
    let issued = sign_in::sign_in(&app, client.0, body.0).await?.ok_or_else(wrong_credentials)?;
    Ok(Json(TokenBody::new(issued, "Signed in")))
}

/// The refusal of a sign-in. It is the same for an unknown account and for a wrong password.
pub(super) fn wrong_credentials() -> Error {
    Error::new(Code::Unauthorized, "The e-mail address, username or password is wrong")
}

/// Get a new token for this session
#[utoipa::path(post, path = "/api/v1/auth/refresh", operation_id = "refreshToken", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = TokenBody, description = "The new token"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn refresh(app: Data<App>, me: Caller) -> Result<Json<TokenBody>, HttpError> {
    Ok(Json(TokenBody::new(sign_in::refresh(&app, me.0).await?, "Refreshed")))
}

/// Sign out: this session ends and its sockets close
#[utoipa::path(delete, path = "/api/v1/auth/logout", operation_id = "logOut", tag = "auth", security(("bearer" = [])), responses(
    (status = 204, description = "The session has ended; there is no body"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn log_out(app: Data<App>, me: Caller) -> Result<HttpResponse, HttpError> {
    end_session(app, me.0.user, me.0.session.id).await
}

/// List my sessions
#[utoipa::path(get, path = "/api/v1/auth/sessions", operation_id = "listSessions", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = SessionList, description = "The open sessions"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn list(app: Data<App>, me: Caller) -> Result<Json<SessionList>, HttpError> {
    let Caller(me) = me;
    let rows = sessions::list(&app.db, me.user).await?;
    Ok(Json(SessionList { data: rows.into_iter().map(|session| SessionRow::new(session, me)).collect() }))
}

/// End one of my sessions; its sockets close
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", operation_id = "endSession", tag = "auth", security(("bearer" = [])),
    params(("id" = i64, Path, description = "The id of the session, from the list of sessions")), responses(
    (status = 204, description = "The session has ended; there is no body"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 404, body = ErrorBody, description = "There is no such session"),
))]
pub(super) async fn end(app: Data<App>, me: Caller, id: Path<String>) -> Result<HttpResponse, HttpError> {
    let id = id.parse().map_err(|_| no_such_session())?;
    end_session(app, me.0.user, SessionId(id)).await
}

async fn end_session(app: Data<App>, user: UserId, session: SessionId) -> Result<HttpResponse, HttpError> {
    run_to_completion(async move { sign_out::end_session(&app, user, session).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}
