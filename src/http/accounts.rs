//! Routes of the own account: sign-up, profile, password, deletion. `commands/accounts/` says what each does.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::completion::run_to_completion;
use super::error::{ErrorBody, HttpError};
use super::extract::{Authenticated, Body, Caller, ClientInfo};
use crate::app::{App, Identity};
use crate::commands::accounts::password::{self, ChangePassword};
use crate::commands::accounts::profile::{self, ProfileChange};
use crate::commands::accounts::sign_up::{self, SignUp};
use crate::commands::accounts::{Client, deletion};
use crate::error::{Code, Error};
use crate::model::{Timestamp, UserId};
use crate::store::users::{self, User};

/// An account, as its owner reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountBody {
    /// The id of the user.
    #[schema(example = 1)]
    id: i64,
    /// The e-mail address, null where there is none.
    #[schema(example = "patrick@example.org")]
    email: Option<String>,
    /// The username, null where there is none.
    #[schema(example = "patrick")]
    username: Option<String>,
    /// First name, null where none was given.
    #[schema(example = "Patrick")]
    first_name: Option<String>,
    /// Last name, null where none was given.
    #[schema(example = "Star")]
    last_name: Option<String>,
    /// When the account was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its owner last changed it.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<User> for AccountBody {
    fn from(user: User) -> Self {
        let User { id, email, username, first_name, last_name, created_at, updated_at } = user;
        Self { id: id.0, email, username, first_name, last_name, created_at, updated_at }
    }
}

/// Sign up
#[utoipa::path(post, path = "/api/v1/auth/sign-up", operation_id = "signUp", tag = "auth", request_body = SignUp, responses(
    (status = 201, body = AccountBody, description = "The account is stored"),
    (status = 400, body = ErrorBody, description = "A field is missing or out of its range"),
    (status = 409, body = ErrorBody, description = "The e-mail address or the username is taken"),
    (status = 429, body = ErrorBody, description = "Too many sign-ups from one address; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many sign-ins and sign-ups from all addresses; see Retry-After"),
))]
pub(super) async fn sign_up(app: Data<App>, client: ClientInfo, body: Body<SignUp>) -> Result<HttpResponse, HttpError> {
    let account = AccountBody::from(sign_up::sign_up(&app, &client.0, body.0).await?);
    Ok(HttpResponse::Created().json(account))
}

/// Read my account
#[utoipa::path(get, path = "/api/v1/users/me", operation_id = "readMe", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = AccountBody, description = "The account"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn read(app: Data<App>, me: Caller) -> Result<Json<AccountBody>, HttpError> {
    let user = users::find(&app.db, me.0.user).await?.ok_or_else(Error::unauthorized)?;
    Ok(Json(user.into()))
}

/// Change my e-mail address, username or names
#[utoipa::path(patch, path = "/api/v1/users/me", operation_id = "changeMe", tag = "me", security(("bearer" = [])), request_body = ProfileChange, responses(
    (status = 200, body = AccountBody, description = "The account after the change"),
    (status = 400, body = ErrorBody, description = "A field is out of its range, or neither e-mail address nor username would be left"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 409, body = ErrorBody, description = "The e-mail address or the username is taken"),
))]
pub(super) async fn change(
    app: Data<App>,
    request: Authenticated<Body<ProfileChange>>,
) -> Result<Json<AccountBody>, HttpError> {
    let Authenticated(me, Body(change)) = request;
    Ok(Json(profile::update(&app, me.user, change).await?.into()))
}

/// Change my password; all other sessions end
#[utoipa::path(put, path = "/api/v1/users/me/password", operation_id = "changeMyPassword", tag = "me", security(("bearer" = [])), request_body = ChangePassword, responses(
    (status = 204, description = "The password is stored; there is no body"),
    (status = 400, body = ErrorBody, description = "The body or a field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid, or the old password is wrong"),
    (status = 429, body = ErrorBody, description = "Too many sign-ins from one address, of which this is one; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many sign-ins and sign-ups from all addresses; see Retry-After"),
))]
pub(super) async fn change_password(
    app: Data<App>,
    client: ClientInfo,
    request: Authenticated<Body<ChangePassword>>,
) -> Result<HttpResponse, HttpError> {
    let Authenticated(me, Body(change)) = request;
    if !replace_password(app, &client.0, me, change).await? {
        return Err(password::wrong_password(Code::Unauthorized).into());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Checks the old password and stores the new one; false if the old one is wrong.
pub(super) async fn replace_password(
    app: Data<App>,
    client: &Client,
    me: Identity,
    change: ChangePassword,
) -> Result<bool, HttpError> {
    let Some(prepared) = password::prepare(&app, client, me, change).await? else { return Ok(false) };
    run_to_completion(async move { password::store(&app, prepared).await }).await
}

/// Delete my account; conversations stay with the others in them
#[utoipa::path(delete, path = "/api/v1/users/me", operation_id = "deleteMe", tag = "me", security(("bearer" = [])), responses(
    (status = 204, description = "The account is deleted; there is no body"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn delete(app: Data<App>, me: Caller) -> Result<HttpResponse, HttpError> {
    delete_account(app, me.0.user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes an account, even if the client disconnects meanwhile.
pub(super) async fn delete_account(app: Data<App>, user: UserId) -> Result<(), HttpError> {
    run_to_completion(async move { deletion::delete(&app, user).await }).await
}
