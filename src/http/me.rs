//! My own account.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, Body, Client, SignedIn};
use super::to_its_end;
use crate::app::{App, Identity};
use crate::auth::hash_queue::Requester;
use crate::commands::{groups, presence};
use crate::delivery::Event;
use crate::error::{Code, Error};
use crate::model::{Email, Password, PersonName, Timestamp, UserId, Username};
use crate::store::users::{self, User, UserChanges};
use crate::store::users::{credentials, deletion};
use crate::wire::params::{Fields, FromFields};

/// A person, as they see themselves.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Own {
    #[schema(example = 1)]
    id: i64,
    #[schema(example = "patrick@example.org")]
    email: Option<String>,
    #[schema(example = "patrick")]
    username: Option<String>,
    #[schema(example = "Patrick")]
    first_name: Option<String>,
    #[schema(example = "Star")]
    last_name: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<User> for Own {
    fn from(user: User) -> Self {
        let User { id, email, username, first_name, last_name, created_at, updated_at } = user;
        Self { id: id.0, email, username, first_name, last_name, created_at, updated_at }
    }
}

/// What to change. A field that is left out stays; null takes it away, as an empty first or last name does.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Change {
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    pub(super) email: Option<Option<Email>>,
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[^@\\s]+$", example = "patrick")]
    pub(super) username: Option<Option<Username>>,
    #[schema(value_type = Option<String>, example = "Patrick")]
    pub(super) first_name: Option<Option<PersonName>>,
    #[schema(value_type = Option<String>, example = "Star")]
    pub(super) last_name: Option<Option<PersonName>>,
}

impl FromFields for Change {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let email = match fields.nullable("email")? {
            Some(email) => Some(email),
            None => fields.nullable("userEmail")?,
        };
        Ok(Self { email, ..Self::without_email(fields)? })
    }
}

impl Change {
    /// All but the e-mail address.
    pub(super) fn without_email(fields: &Fields<'_>) -> Result<Self, Error> {
        fields.only(&["email", "userEmail", "username", "firstName", "lastName"])?;
        Ok(Self {
            email: None,
            username: fields.nullable("username")?,
            first_name: fields.nullable("firstName")?,
            last_name: fields.nullable("lastName")?,
        })
    }
}

/// A new password, with the old one.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ChangePassword {
    #[schema(value_type = String, example = "correct horse")]
    old_password: String,
    /// 8 to 128 characters.
    #[schema(value_type = String, example = "battery staple")]
    new_password: Password,
    /// Has to be the same, where it is given.
    #[schema(value_type = Option<String>, example = "battery staple")]
    repeat_new_password: Option<String>,
}

impl FromFields for ChangePassword {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        fields.only(&["oldPassword", "newPassword", "repeatNewPassword"])?;
        let change = Self {
            old_password: fields.required("oldPassword")?,
            new_password: fields.required("newPassword")?,
            repeat_new_password: fields.optional("repeatNewPassword")?,
        };
        if change.repeat_new_password.as_ref().is_some_and(|repeat| repeat != change.new_password.expose()) {
            return Err(Error::bad_params("repeatNewPassword must be the same as newPassword"));
        }
        Ok(change)
    }
}

/// My data
#[utoipa::path(get, path = "/api/v1/users/me", operation_id = "readMe", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = Own, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn read(app: Data<App>, me: SignedIn) -> Result<Json<Own>, HttpError> {
    let user = users::find(&app.db, me.0.user).await?.ok_or_else(Error::unauthorized)?;
    Ok(Json(user.into()))
}

/// Change my data
#[utoipa::path(patch, path = "/api/v1/users/me", operation_id = "changeMe", tag = "me", security(("bearer" = [])), request_body = Change, responses(
    (status = 200, body = Own, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is out of its range, or neither e-mail address nor username would stay"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 409, body = ErrorBody, description = "The e-mail address or the username is taken"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
))]
pub(super) async fn change(app: Data<App>, asked: Asked<Body<Change>>) -> Result<Json<Own>, HttpError> {
    let Asked(me, Body(change)) = asked;
    Ok(Json(store_change(&app, me, change).await?))
}

/// Stores what has changed of somebody's own data.
pub(super) async fn store_change(app: &App, me: Identity, change: Change) -> Result<Own, HttpError> {
    let Change { email, username, first_name, last_name } = change;
    let name = |name: Option<Option<PersonName>>| name.map(|name| name.and_then(PersonName::non_empty));
    let changes = UserChanges { email, username, first_name: name(first_name), last_name: name(last_name) };
    let user = users::update(&app.db, me.user, &changes).await?.ok_or_else(Error::unauthorized)?;
    Ok(user.into())
}

/// Change my password; every other session ends
#[utoipa::path(put, path = "/api/v1/users/me/password", operation_id = "changeMyPassword", tag = "me", security(("bearer" = [])), request_body = ChangePassword, responses(
    (status = 204, description = "Done; there is no body"),
    (status = 400, body = ErrorBody, description = "The body or a field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "Not signed in, or not the old password"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 429, body = ErrorBody, description = "Counts as a login; see Retry-After"),
    (status = 503, body = ErrorBody, description = "Too many logins from everywhere; see Retry-After"),
))]
pub(super) async fn change_password(
    app: Data<App>,
    client: Client,
    asked: Asked<Body<ChangePassword>>,
) -> Result<HttpResponse, HttpError> {
    let Asked(me, Body(change)) = asked;
    if !replace_password(app, &client, me, change).await? {
        return Err(wrong_password(Code::Unauthorized).into());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Not the old password.
pub(super) fn wrong_password(code: Code) -> Error {
    Error::new(code, "oldPassword is wrong")
}

/// Stores a new password and ends every other session; false where the old one is wrong.
pub(super) async fn replace_password(
    app: Data<App>,
    client: &Client,
    me: Identity,
    change: ChangePassword,
) -> Result<bool, HttpError> {
    // Who guesses at a password guesses at a login.
    app.logins.count(client.address)?;
    let old_hash = users::password_hash(&app.db, me.user).await?.ok_or_else(Error::unauthorized)?;
    // Whoever has a good token has signed in before.
    let from = Requester { network: client.address.into(), is_known: true };
    if !app.passwords.verify(Password::to_verify(change.old_password), Some(&old_hash), &from).await? {
        return Ok(false);
    }
    let new_hash = app.passwords.hash(change.new_password, &from).await?;
    to_its_end(async move {
        if !credentials::change_password(&app.db, me.user, &old_hash, &new_hash, me.session).await? {
            return Ok(false);
        }
        app.delivery.publish(&Event::SessionsEnded { user: me.user, keep: Some(me.session) });
        Ok(true)
    })
    .await
}

/// How long a deletion is waited for. What a large account leaves to be done is done in the background.
const DELETE_INLINE: Duration = Duration::from_secs(2);

/// Delete my account; others keep the conversations
#[utoipa::path(delete, path = "/api/v1/users/me", operation_id = "deleteMe", tag = "me", security(("bearer" = [])), responses(
    (status = 204, description = "Done; there is no body"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn delete(app: Data<App>, me: SignedIn) -> Result<HttpResponse, HttpError> {
    end_account(app, me.0.user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes an account, and lets everybody know whom it concerns.
pub(super) async fn end_account(app: Data<App>, user: UserId) -> Result<(), HttpError> {
    to_its_end(async move {
        let farewell = presence::offline_event(&app, user).await?;
        if let Some(name) = deletion::start(&app.db, user).await? {
            app.delivery.presence().forget(user);
            app.delivery.publish(&farewell);
            app.delivery.publish(&Event::SessionsEnded { user, keep: None });
            // The account is gone, so the answer is the same whatever becomes of the rest: that goes on without us.
            if let Err(error) = groups::continue_deletion(&app, user, &name, DELETE_INLINE).await {
                drop(error.log_and_convert());
            }
        }
        Ok(())
    })
    .await
}
