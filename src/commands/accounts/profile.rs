//! The profile: a change of one's own e-mail address, username and names.

use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::model::{Email, PersonName, UserId, Username};
use crate::store::users::{self, User, UserChanges};
use crate::wire::params::{Fields, FromFields};

/// Fields of the own account to change. A field that is left out stays as it is; null removes it, as an empty
/// first or last name does.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ProfileChange {
    /// The e-mail address; `userEmail` is another name of this field.
    #[schema(value_type = Option<String>, example = "patrick@example.org")]
    pub email: Option<Option<Email>>,
    /// The username, by the rules of sign-up.
    #[schema(value_type = Option<String>, pattern = "^[^@\\s]+$", example = "patrick")]
    pub username: Option<Option<Username>>,
    /// First name.
    #[schema(value_type = Option<String>, example = "Patrick")]
    pub first_name: Option<Option<PersonName>>,
    /// Last name.
    #[schema(value_type = Option<String>, example = "Star")]
    pub last_name: Option<Option<PersonName>>,
}

impl FromFields for ProfileChange {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let email = match fields.nullable("email")? {
            Some(email) => Some(email),
            None => fields.nullable("userEmail")?,
        };
        Ok(Self { email, ..Self::without_email(fields)? })
    }
}

impl ProfileChange {
    /// Reads all fields but the e-mail address. Refuses fields that are none of an account: a misspelt one
    /// would be lost.
    ///
    /// # Errors
    /// `bad_params` with the name of the field.
    pub fn without_email(fields: &Fields<'_>) -> Result<Self, Error> {
        fields.only(&["email", "userEmail", "username", "firstName", "lastName"])?;
        Ok(Self {
            email: None,
            username: fields.nullable("username")?,
            first_name: fields.nullable("firstName")?,
            last_name: fields.nullable("lastName")?,
        })
    }
}

/// Stores a change of one's own data and returns the account after it.
///
/// # Errors
/// `conflict` if the e-mail address or the username is taken, `bad_params` if neither would be left,
/// `unauthorized` if the account was deleted.
pub async fn update(app: &App, user: UserId, change: ProfileChange) -> Result<User, Error> {
    let ProfileChange { email, username, first_name, last_name } = change;
    let name = |name: Option<Option<PersonName>>| name.map(|name| name.and_then(PersonName::non_empty));
    let changes = UserChanges { email, username, first_name: name(first_name), last_name: name(last_name) };
    users::update(&app.db, user, &changes).await?.ok_or_else(Error::unauthorized)
}
