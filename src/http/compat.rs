//! The paths that clients of the protocol's first server call. They do what the routes of /api/v1 do,
//! and answer as that server did: with its status codes, and with what its clients read of a body.
//!
//! 401 says there that the token is not good, and nothing else: its clients sign out on it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{self, LogIn, SignUp, Token};
use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, Body, Client, QueryString, SignedIn};
use super::me::{self, Change, ChangePassword, Own};
use super::users::{self, Wanted};
use crate::app::App;
use crate::error::{Code, Error};
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields, Param};

/// A refusal with the status that the first server gave it.
#[derive(Debug)]
pub(super) struct Refusal {
    error: HttpError,
    status: StatusCode,
}

impl Refusal {
    fn new(status: StatusCode, error: Error) -> Self {
        Self { error: error.into(), status }
    }
}

impl From<HttpError> for Refusal {
    fn from(error: HttpError) -> Self {
        let status = match error.status_code() {
            StatusCode::CONFLICT => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self { error, status }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.error.error_response();
        *response.status_mut() = self.status;
        response
    }
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    #[schema(example = "Password changed successfully.")]
    message: &'static str,
}

/// What was done, and the account after it.
#[derive(Serialize, ToSchema)]
pub(super) struct DoneToAccount {
    #[schema(example = "User updated.")]
    message: &'static str,
    #[serde(flatten)]
    account: Own,
}

/// Sign up, as clients of the first server do
#[utoipa::path(post, path = "/auth/sing-up", operation_id = "compatSignUp", tag = "compat", request_body = SignUp, responses(
    (status = 201, body = DoneToAccount, description = "Stored"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range, or the e-mail address or the username is taken"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Too many sign-ups from one address; see Retry-After"),
))]
pub(super) async fn sign_up(app: Data<App>, client: Client, body: Body<SignUp>) -> Result<HttpResponse, Refusal> {
    let account = auth::create_account(&app, &client, body.0).await?;
    Ok(HttpResponse::Created().json(DoneToAccount { message: "User registered!", account }))
}

/// Sign in, as clients of the first server do
#[utoipa::path(post, path = "/auth/login", operation_id = "compatLogIn", tag = "compat", request_body = LogIn, responses(
    (status = 201, body = Token, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 404, body = ErrorBody, description = "No such user, or not their password"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Too many logins from one address; see Retry-After"),
))]
pub(super) async fn log_in(app: Data<App>, client: Client, body: Body<LogIn>) -> Result<HttpResponse, Refusal> {
    let token = auth::open_session(&app, client, body.0).await?;
    let token = token.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, auth::wrong_credentials()))?;
    Ok(HttpResponse::Created().json(token))
}

/// [`Change`], where an empty e-mail address changes nothing: forms send their empty fields along.
pub(super) struct OldChange(Change);

impl FromFields for OldChange {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let Change { first_name, last_name, username, .. } = Change::without_email(fields)?;
        let email = match unless_empty(fields, "email")? {
            Some(email) => Some(email),
            None => unless_empty(fields, "userEmail")?,
        };
        Ok(Self(Change { email, username, first_name, last_name }))
    }
}

fn unless_empty<T: Param>(fields: &Fields<'_>, name: &str) -> Result<Option<Option<T>>, Error> {
    let text: Result<Option<String>, Error> = fields.optional(name);
    if text.is_ok_and(|text| text.is_some_and(|text| text.is_empty())) { Ok(None) } else { fields.nullable(name) }
}

/// Change my data, as clients of the first server do
#[utoipa::path(patch, path = "/profile/update", operation_id = "compatUpdateProfile", tag = "compat", security(("bearer" = [])), request_body = Change, responses(
    (status = 201, body = DoneToAccount, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is unknown or out of its range, the e-mail address or the username is taken, or neither of them would stay"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
))]
pub(super) async fn update_profile(app: Data<App>, asked: Asked<Body<OldChange>>) -> Result<HttpResponse, Refusal> {
    let Asked(me, Body(OldChange(change))) = asked;
    let account = me::store_change(&app, me, change).await?;
    Ok(HttpResponse::Created().json(DoneToAccount { message: "User updated.", account }))
}

/// Change my password, as clients of the first server do; every other session ends
#[utoipa::path(patch, path = "/profile/change-password", operation_id = "compatChangePassword", tag = "compat", security(("bearer" = [])), request_body = ChangePassword, responses(
    (status = 201, body = Done, description = "Done"),
    (status = 400, body = ErrorBody, description = "Not the old password, or a field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Counts as a login; see Retry-After"),
))]
pub(super) async fn change_password(
    app: Data<App>,
    client: Client,
    asked: Asked<Body<ChangePassword>>,
) -> Result<HttpResponse, Refusal> {
    let Asked(me, Body(change)) = asked;
    if !me::replace_password(app, &client, me, change).await? {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, me::wrong_password(Code::BadParams)));
    }
    Ok(HttpResponse::Created().json(Done { message: "Password changed successfully." }))
}

/// Delete my account, as clients of the first server do
#[utoipa::path(delete, path = "/profile/destroy", operation_id = "compatDestroyProfile", tag = "compat", security(("bearer" = [])), responses(
    (status = 200, body = Done, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn destroy_profile(app: Data<App>, me: SignedIn) -> Result<Json<Done>, Refusal> {
    me::end_account(app, me.0.user).await?;
    Ok(Json(Done { message: "User deleted successfully." }))
}

/// A page of people that is as long as it may be where nobody says how long: the first server listed all.
pub(super) struct OldList(Wanted);

impl FromFields for OldList {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let mut wanted = Wanted::from_fields(fields)?;
        if !fields.has("limit") {
            wanted.page.limit = fields.max_page_rows();
        }
        Ok(Self(wanted))
    }
}

/// People, as clients of the first server list them
#[utoipa::path(get, path = "/users/list", operation_id = "compatListUsers", tag = "compat", security(("bearer" = [])), params(
    ("q" = Option<String>, Query, min_length = 1, max_length = 254, description = "Part of a name, or a whole e-mail address; finds everybody but me"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, as many as are allowed where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
), responses(
    (status = 200, body = Vec<PersonItem>, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn list_users(
    app: Data<App>,
    asked: Asked<QueryString<OldList>>,
) -> Result<Json<Vec<PersonItem>>, Refusal> {
    let Asked(me, QueryString(OldList(wanted))) = asked;
    Ok(Json(users::find(&app, me, wanted).await?))
}
