//! Users: sign-up, changes of a profile, and the lists and searches that find them.

pub mod credentials;
pub mod deletion;
pub(in crate::store) mod ended_sessions;
pub mod sessions;
mod username_keys;

use sqlx::PgConnection;

pub use self::credentials::{Credentials, SignInName, find_credentials, password_hash};
use super::Db;
use crate::error::{Code, Error, Field};
use crate::model::{Email, GroupId, Page, Timestamp, UserId, UserQuery, Username};

/// A user who has not deleted their account. `email` and the times are for the user alone, and names are for
/// everybody.
#[derive(Clone, Debug)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// `None` if they signed up by username.
    pub email: Option<String>,
    /// `None` if they signed up by e-mail.
    pub username: Option<String>,
    /// First name, if any.
    pub first_name: Option<String>,
    /// Last name, if any.
    pub last_name: Option<String>,
    /// When they signed up.
    pub created_at: Timestamp,
    /// When they last changed their profile or password.
    pub updated_at: Timestamp,
}

/// A user to be stored at sign-up. One of `email` and `username` is set.
#[derive(Debug)]
pub struct NewUser {
    /// E-mail address to sign in with.
    pub email: Option<Email>,
    /// Username to sign in with.
    pub username: Option<Username>,
    /// First name, if any.
    pub first_name: Option<String>,
    /// Last name, if any.
    pub last_name: Option<String>,
    /// The password's hash as a PHC string.
    pub password_hash: String,
}

/// A change of a user's profile: the outer `None` leaves a field as it is, the inner one clears it.
#[derive(Debug, Default)]
pub struct UserChanges {
    /// New e-mail address.
    pub email: Option<Option<Email>>,
    /// New username.
    pub username: Option<Option<Username>>,
    /// New first name.
    pub first_name: Option<Option<String>>,
    /// New last name.
    pub last_name: Option<Option<String>>,
}

/// Stores a new user.
///
/// # Errors
/// `conflict` if the e-mail address or the username is taken.
pub async fn create(db: &Db, user: &NewUser) -> Result<User, Error> {
    sqlx::query_as!(
        User,
        "insert into users (email, username, first_name, last_name, password_hash, username_key, username_skeleton)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning id, email, username, first_name, last_name, created_at, updated_at",
        user.email.as_ref().map(Email::as_str),
        user.username.as_ref().map(Username::as_str),
        user.first_name,
        user.last_name,
        user.password_hash,
        user.username.as_ref().map(Username::key),
        user.username.as_ref().map(Username::skeleton)
    )
    .fetch_one(&db.pool)
    .await
    .map_err(identity_error)
}

/// Changes a user's profile, and returns it; `None` if the account was deleted.
///
/// # Errors
/// `conflict` if the e-mail address or the username is taken, `bad_params` if neither would be left.
pub async fn update(db: &Db, id: UserId, changes: &UserChanges) -> Result<Option<User>, Error> {
    let email = changes.email.as_ref().map(|email| email.as_ref().map(Email::as_str));
    let username = changes.username.as_ref().map(Option::as_ref);
    sqlx::query_as!(
        User,
        "update users set
             email      = case when $2 then $3 else email end,
             username   = case when $4 then $5 else username end,
             first_name = case when $6 then $7 else first_name end,
             last_name  = case when $8 then $9 else last_name end,
             username_key  = case when $4 then $10 else username_key end,
             username_skeleton = case when $4 then $11 else username_skeleton end,
             updated_at = now()
         where id = $1 and deleted_at is null
         returning id, email, username, first_name, last_name, created_at, updated_at",
        id.0,
        email.is_some(),
        email.flatten(),
        username.is_some(),
        username.flatten().map(Username::as_str),
        changes.first_name.is_some(),
        changes.first_name.clone().flatten(),
        changes.last_name.is_some(),
        changes.last_name.clone().flatten(),
        username.flatten().map(Username::key),
        username.flatten().map(Username::skeleton),
    )
    .fetch_optional(&db.pool)
    .await
    .map_err(identity_error)
}

/// Maps the violation of a constraint on e-mail addresses and usernames to the caller's error. Constraints decide,
/// and no query before them, so that of two sign-ups at once one is refused.
fn identity_error(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("users_email_key") => Error::of_field(Code::Conflict, Field::Email, " is taken"),
        Some("users_username_key" | "users_username_skeleton") => {
            Error::of_field(Code::Conflict, Field::Username, " is taken")
        }
        Some("users_have_an_identity") => Error::bad_params("email or username must stay"),
        _ => error.into(),
    }
}

/// Returns a user; `None` if there is none, or the account was deleted.
///
/// # Errors
/// Only if the database fails.
pub async fn find(db: &Db, id: UserId) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "select id, email, username, first_name, last_name, created_at, updated_at
         from users where id = $1 and deleted_at is null",
        id.0
    )
    .fetch_optional(&db.pool)
    .await?)
}

/// Locks two users in the order of their ids, and returns their names. Neither account can be deleted before the
/// transaction ends, so that a row that it stores for them does not outlive them.
///
/// # Errors
/// `unauthorized` if the asker has no account any more, `not_found` if the other has none; `field` is the one that
/// names the other.
pub(super) async fn lock_pair(
    connection: &mut PgConnection,
    asker: UserId,
    other: UserId,
    field: Field,
) -> Result<[String; 2], Error> {
    let locked = sqlx::query!(
        "select id, name from users where id = any($1) and deleted_at is null order by id for share",
        &[asker.0, other.0]
    )
    .fetch_all(connection)
    .await?;
    let name = |id: UserId| locked.iter().find(|user| user.id == id.0).map(|user| user.name.clone());
    let asker_name = name(asker).ok_or_else(Error::unauthorized)?;
    let other_name = name(other).ok_or_else(|| Error::no_such_user(field))?;
    Ok([asker_name, other_name])
}

/// A page of all users, in the order of sign-up.
///
/// # Errors
/// Only if the database fails.
pub async fn list(db: &Db, page: Page) -> Result<Vec<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "select id, email, username, first_name, last_name, created_at, updated_at
         from users where deleted_at is null order by id limit $1 offset $2",
        page.limit,
        page.offset()
    )
    .fetch_all(&db.pool)
    .await?)
}

/// A page of the users whose name contains `query`, or whose e-mail address it is. The asker is left out, and so are
/// the members of the group `outside`; the caller checks that the asker may know who these are.
///
/// A query with three letters or digits in a row matches anywhere in a name, a shorter one at the beginning of a word:
/// that is what the trigram index can answer.
///
/// # Errors
/// Only if the database fails.
pub async fn search(
    db: &Db,
    asker: UserId,
    query: &UserQuery,
    outside: Option<GroupId>,
    page: Page,
) -> Result<Vec<User>, Error> {
    let query = query.as_str().trim();
    let outside = outside.map(|group| group.0);
    if query.contains('@') {
        return search_by_email(db, asker, query, outside, page).await;
    }
    if !query.chars().any(char::is_alphanumeric) {
        return Ok(Vec::new());
    }
    let has_trigram = query.split(|c: char| !c.is_alphanumeric()).any(|run| run.chars().count() >= 3);
    let pattern = if has_trigram { format!("%{}%", escape_like(query)) } else { format!("% {}%", escape_like(query)) };
    Ok(sqlx::query_as!(
        User,
        r#"select id as "id!: _", email, username, first_name, last_name,
                  created_at as "created_at!: _", updated_at as "updated_at!: _"
           from search_users(fold_case($1), $2, $3, $4, $5)"#,
        pattern,
        asker.0,
        outside,
        page.limit,
        page.offset()
    )
    .fetch_all(&db.pool)
    .await?)
}

async fn search_by_email(
    db: &Db,
    asker: UserId,
    email: &str,
    outside: Option<i64>,
    page: Page,
) -> Result<Vec<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "select id, email, username, first_name, last_name, created_at, updated_at
         from users u
         where fold_case(email) = fold_case($1) and deleted_at is null and id <> $2
           and not exists (select from members m where m.conversation_id = $3 and m.user_id = u.id)
         limit $4 offset $5",
        email,
        asker.0,
        outside,
        page.limit,
        page.offset()
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Escapes the wildcards of LIKE.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
