//! Compatibility: all paths that clients of the first server call, the predecessor whose clients Hark still
//! serves (docs/migrating.md). They do what the routes of /api/v1 do and answer as that server did: with its
//! status codes, and with the bodies that its clients read.
//!
//! On these paths, 401 means that the token is not valid and nothing else: the old clients sign out on it.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts::{self, AccountBody};
use super::error::{ErrorBody, HttpError};
use super::extract::{Authenticated, Body, Caller, ClientInfo, QueryString};
use super::sessions::{self, TokenBody};
use super::users::{self, UserListParams};
use crate::app::App;
use crate::commands::accounts::password::{self, ChangePassword};
use crate::commands::accounts::profile::{self, ProfileChange};
use crate::commands::accounts::sign_in::{self, SignIn};
use crate::commands::accounts::sign_up::{self, SignUp};
use crate::error::{Code, Error};
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields, Param};

/// The routes, spelt as the first server spelt them.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .route("/auth/sing-up", web::post().to(sign_up))
        .route("/auth/login", web::post().to(log_in))
        .route("/profile/update", web::patch().to(update_profile))
        .route("/profile/change-password", web::patch().to(change_password))
        .route("/profile/destroy", web::delete().to(destroy_profile))
        .route("/users/list", web::get().to(list_users));
}

/// An error with the status that the first server gave it.
#[derive(Debug)]
pub(super) struct CompatError {
    error: HttpError,
    status: StatusCode,
}

impl CompatError {
    fn new(status: StatusCode, error: Error) -> Self {
        Self { error: error.into(), status }
    }
}

impl From<HttpError> for CompatError {
    fn from(error: HttpError) -> Self {
        let status = match error.status_code() {
            StatusCode::CONFLICT => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self { error, status }
    }
}

impl From<Error> for CompatError {
    fn from(error: Error) -> Self {
        HttpError::from(error).into()
    }
}

impl std::fmt::Display for CompatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for CompatError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.error.error_response();
        *response.status_mut() = self.status;
        response
    }
}

/// A confirmation of what was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Confirmation {
    /// What was done, for a person.
    #[schema(example = "Password changed successfully.")]
    message: &'static str,
}

/// A confirmation of what was done, and the account after it.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountConfirmation {
    /// What was done, for a person.
    #[schema(example = "User updated.")]
    message: &'static str,
    #[serde(flatten)]
    account: AccountBody,
}

/// Sign up, as clients of the first server do
#[utoipa::path(post, path = "/auth/sing-up", operation_id = "compatSignUp", tag = "compat", request_body = SignUp, responses(
    (status = 201, body = AccountConfirmation, description = "The account is stored"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range, or the e-mail address or the username is taken"),
    (status = 429, body = ErrorBody, description = "Too many sign-ups from one address; see Retry-After"),
))]
pub(super) async fn sign_up(
    app: Data<App>,
    client: ClientInfo,
    body: Body<SignUp>,
) -> Result<HttpResponse, CompatError> {
    let account = sign_up::sign_up(&app, &client.0, body.0).await?.into();
    Ok(HttpResponse::Created().json(AccountConfirmation { message: "User registered!", account }))
}

/// Sign in, as clients of the first server do
#[utoipa::path(post, path = "/auth/login", operation_id = "compatLogIn", tag = "compat", request_body = SignIn, responses(
    (status = 201, body = TokenBody, description = "The token of a new session"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 404, body = ErrorBody, description = "There is no such account, or the password is wrong"),
    (status = 429, body = ErrorBody, description = "Too many sign-ins from one address; see Retry-After"),
))]
pub(super) async fn log_in(
    app: Data<App>,
    client: ClientInfo,
    body: Body<SignIn>,
) -> Result<HttpResponse, CompatError> {
    let issued = sign_in::sign_in(&app, client.0, body.0).await?;
    let issued = issued.ok_or_else(|| CompatError::new(StatusCode::NOT_FOUND, sessions::wrong_credentials()))?;
    Ok(HttpResponse::Created().json(TokenBody::new(issued, "Signed in")))
}

/// A [`ProfileChange`] in which an empty e-mail address changes nothing: forms send their empty fields along.
pub(super) struct CompatProfileChange(ProfileChange);

impl FromFields for CompatProfileChange {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let ProfileChange { first_name, last_name, username, .. } = ProfileChange::without_email(fields)?;
        let email = match unless_empty(fields, "email")? {
            Some(email) => Some(email),
            None => unless_empty(fields, "userEmail")?,
        };
        Ok(Self(ProfileChange { email, username, first_name, last_name }))
    }
}

fn unless_empty<T: Param>(fields: &Fields<'_>, name: &str) -> Result<Option<Option<T>>, Error> {
    let text: Result<Option<String>, Error> = fields.optional(name);
    if text.is_ok_and(|text| text.is_some_and(|text| text.is_empty())) { Ok(None) } else { fields.nullable(name) }
}

/// Change my e-mail address, username or names, as clients of the first server do
#[utoipa::path(patch, path = "/profile/update", operation_id = "compatUpdateProfile", tag = "compat", security(("bearer" = [])), request_body = ProfileChange, responses(
    (status = 201, body = AccountConfirmation, description = "The account after the change"),
    (status = 400, body = ErrorBody, description = "A field is unknown or out of its range, the e-mail address or the username is taken, or neither of them would be left"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn update_profile(
    app: Data<App>,
    request: Authenticated<Body<CompatProfileChange>>,
) -> Result<HttpResponse, CompatError> {
    let Authenticated(me, Body(CompatProfileChange(change))) = request;
    let account = profile::update(&app, me.user, change).await?.into();
    Ok(HttpResponse::Created().json(AccountConfirmation { message: "User updated.", account }))
}

/// Change my password, as clients of the first server do; all other sessions end
#[utoipa::path(patch, path = "/profile/change-password", operation_id = "compatChangePassword", tag = "compat", security(("bearer" = [])), request_body = ChangePassword, responses(
    (status = 201, body = Confirmation, description = "The password is stored"),
    (status = 400, body = ErrorBody, description = "The old password is wrong, or a field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 429, body = ErrorBody, description = "Too many sign-ins from one address, of which this is one; see Retry-After"),
))]
pub(super) async fn change_password(
    app: Data<App>,
    client: ClientInfo,
    request: Authenticated<Body<ChangePassword>>,
) -> Result<HttpResponse, CompatError> {
    let Authenticated(me, Body(change)) = request;
    if !accounts::replace_password(app, &client.0, me, change).await? {
        return Err(CompatError::new(StatusCode::BAD_REQUEST, password::wrong_password(Code::BadParams)));
    }
    Ok(HttpResponse::Created().json(Confirmation { message: "Password changed successfully." }))
}

/// Delete my account, as clients of the first server do
#[utoipa::path(delete, path = "/profile/destroy", operation_id = "compatDestroyProfile", tag = "compat", security(("bearer" = [])), responses(
    (status = 200, body = Confirmation, description = "The account is deleted"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn destroy_profile(app: Data<App>, me: Caller) -> Result<Json<Confirmation>, CompatError> {
    accounts::delete_account(app, me.0.user).await?;
    Ok(Json(Confirmation { message: "User deleted successfully." }))
}

/// The parameters of a page of users that has as many rows as a page may have if `limit` is left out: the
/// first server listed all users.
pub(super) struct CompatUserListParams(UserListParams);

impl FromFields for CompatUserListParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let mut params = UserListParams::from_fields(fields)?;
        if !fields.has("limit") {
            params.page.limit = fields.max_page_rows();
        }
        Ok(Self(params))
    }
}

/// List or search users, as clients of the first server do
#[utoipa::path(get, path = "/users/list", operation_id = "compatListUsers", tag = "compat", security(("bearer" = [])), params(
    ("q" = Option<String>, Query, description = "Part of a name, or a whole e-mail address; the result is without the caller"),
    ("limit" = Option<i64>, Query, description = "Rows of the page"),
    ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
), responses(
    (status = 200, body = Vec<PersonItem>, description = "The users of the page"),
    (status = 400, body = ErrorBody, description = "A field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn list_users(
    app: Data<App>,
    request: Authenticated<QueryString<CompatUserListParams>>,
) -> Result<Json<Vec<PersonItem>>, CompatError> {
    let Authenticated(me, QueryString(CompatUserListParams(params))) = request;
    Ok(Json(users::find_page(&app, me, params).await?))
}
