//! Sign-up: stores a new account.

use utoipa::ToSchema;

use super::{Client, email_or_username};
use crate::app::App;
use crate::auth::hash_queue::Requester;
use crate::error::Error;
use crate::model::{Email, Password, PersonName, Username};
use crate::store::users::{self, NewUser, User};
use crate::wire::params::{Fields, FromFields};

/// A new account. An e-mail address or a username is required.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct SignUp {
    /// The e-mail address; `userEmail` is another name of this field.
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    pub email: Option<Email>,
    /// No spaces and no @. ASCII, or letters and digits of one script. Stored in Unicode's form NFKC, and
    /// refused where a username that looks the same is taken.
    #[schema(value_type = Option<String>, pattern = "^[^@\\s]+$", example = "patrick")]
    pub username: Option<Username>,
    /// The password, whose length is counted in characters.
    #[schema(value_type = String, example = "correct horse")]
    pub password: Password,
    /// First name; empty for none.
    #[schema(value_type = Option<String>, example = "Patrick")]
    pub first_name: Option<PersonName>,
    /// Last name; empty for none.
    #[schema(value_type = Option<String>, example = "Star")]
    pub last_name: Option<PersonName>,
}

impl FromFields for SignUp {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let password = fields.required("password")?;
        let (email, username) = email_or_username(fields)?;
        Ok(Self {
            email,
            username,
            password,
            first_name: fields.optional("firstName")?,
            last_name: fields.optional("lastName")?,
        })
    }
}

/// Stores a new account.
///
/// # Errors
/// `rate_limited` past the sign-ups a minute of one address, `overloaded` if the password queue is full,
/// `conflict` if the e-mail address or the username is taken.
pub async fn sign_up(app: &App, client: &Client, params: SignUp) -> Result<User, Error> {
    app.sign_ups.check(client.address)?;
    let SignUp { email, username, password, first_name, last_name } = params;
    let requester = Requester { network: client.address.into(), is_known: false };
    let password_hash = app.passwords.hash(password, &requester).await?;
    let first_name = first_name.and_then(PersonName::non_empty);
    let last_name = last_name.and_then(PersonName::non_empty);
    let user = users::create(&app.db, &NewUser { email, username, first_name, last_name, password_hash }).await?;
    app.known_networks.insert(user.id, requester.network);
    Ok(user)
}
