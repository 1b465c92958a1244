//! A new password: checks the old one, stores the new one, and ends all other sessions of the user.

use utoipa::ToSchema;

use super::Client;
use crate::app::{App, Identity};
use crate::auth::hash_queue::Requester;
use crate::delivery::Event;
use crate::error::{Code, Error};
use crate::model::Password;
use crate::store::users::{self, credentials};
use crate::wire::params::{Fields, FromFields};

/// The old password and a new one.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The password that holds until now.
    #[schema(value_type = String, example = "correct horse")]
    pub old_password: Password,
    /// The password that holds from now on. Its length is counted in characters.
    #[schema(value_type = String, example = "battery staple")]
    pub new_password: Password,
    /// Has to be the same as `newPassword` where it is given.
    #[schema(value_type = Option<String>, example = "battery staple")]
    pub repeat_new_password: Option<String>,
}

impl FromFields for ChangePassword {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        fields.only(&["oldPassword", "newPassword", "repeatNewPassword"])?;
        let change = Self {
            old_password: Password::to_verify(fields.required("oldPassword")?),
            new_password: fields.required("newPassword")?,
            repeat_new_password: fields.optional("repeatNewPassword")?,
        };
        if change.repeat_new_password.as_ref().is_some_and(|repeat| repeat != change.new_password.expose()) {
            return Err(Error::bad_params("repeatNewPassword must be the same as newPassword"));
        }
        Ok(change)
    }
}

/// A new password that is hashed but not stored yet.
#[derive(Debug)]
pub struct PreparedChange {
    me: Identity,
    old_hash: String,
    new_hash: String,
}

/// Checks the old password and hashes the new one. `None` if the old one is wrong. Cancel safe:
/// nothing is stored yet, and the hashes of a caller who has disconnected are skipped.
///
/// # Errors
/// `rate_limited` as a sign-in, because a guess of a password here is worth one at sign-in; `overloaded` if the
/// password queue is full; `unauthorized` if the account was deleted.
pub async fn prepare(
    app: &App,
    client: &Client,
    me: Identity,
    change: ChangePassword,
) -> Result<Option<PreparedChange>, Error> {
    app.logins.check(client.address)?;
    let old_hash = users::password_hash(&app.db, me.user).await?.ok_or_else(Error::unauthorized)?;
    // A user with a valid token has signed in before.
    let requester = Requester { network: client.address.into(), is_known: true };
    if !app.passwords.verify(change.old_password, Some(&old_hash), &requester).await? {
        return Ok(None);
    }
    let new_hash = app.passwords.hash(change.new_password, &requester).await?;
    Ok(Some(PreparedChange { me, old_hash, new_hash }))
}

/// Stores a new password and ends every other session of the user. False if the old one was changed since
/// it was checked. To be run to completion: sessions that have ended must be announced.
///
/// # Errors
/// Only if the database fails.
pub async fn store(app: &App, change: PreparedChange) -> Result<bool, Error> {
    let PreparedChange { me, old_hash, new_hash } = change;
    let is_stored = credentials::change_password(&app.db, me.user, &old_hash, &new_hash, me.session).await?;
    if is_stored {
        app.delivery.publish(&Event::SessionsEnded { user: me.user, keep: Some(me.session) });
    }
    Ok(is_stored)
}

/// The refusal of a wrong old password, with the code that the route gives it.
#[must_use]
pub fn wrong_password(code: Code) -> Error {
    Error::new(code, "oldPassword is wrong")
}
