//! People: who there is, and what they are called.

pub mod credentials;
pub mod deletion;
pub mod sessions;
mod username_keys;

use sqlx::PgConnection;

use super::Db;
use crate::error::{Code, Error, Field};
use crate::model::{Email, GroupId, LoginUsername, Page, Timestamp, UserId, UserQuery, Username, username_key};
use crate::wire::items::PersonItem;

/// A person, as they see themselves. Others see neither `email` nor times.
#[derive(Clone, Debug)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Null where they signed up by username.
    pub email: Option<String>,
    /// Null where they signed up by e-mail.
    pub username: Option<String>,
    /// First name, if they gave one.
    pub first_name: Option<String>,
    /// Last name, if they gave one.
    pub last_name: Option<String>,
    /// When they signed up.
    pub created_at: Timestamp,
    /// When they last changed something of this.
    pub updated_at: Timestamp,
}

impl User {
    /// As `asker` reads them: an address is for its owner alone.
    #[must_use]
    pub fn seen_by(self, asker: UserId) -> PersonItem {
        let email = self.email.filter(|_| self.id == asker);
        PersonItem {
            id: self.id,
            first_name: self.first_name,
            last_name: self.last_name,
            username: self.username,
            email,
        }
    }
}

/// What a sign-up stores.
#[derive(Debug)]
pub struct NewUser {
    /// To sign in with.
    pub email: Option<Email>,
    /// To sign in with.
    pub username: Option<Username>,
    /// First name, if any.
    pub first_name: Option<String>,
    /// Last name, if any.
    pub last_name: Option<String>,
    /// PHC string.
    pub password_hash: String,
}

/// What a change of one's own data stores; `None` leaves a field as it is.
#[derive(Debug, Default)]
pub struct Changes {
    /// New e-mail address, or none.
    pub email: Option<Option<Email>>,
    /// New username, or none.
    pub username: Option<Option<Username>>,
    /// New first name, or none.
    pub first_name: Option<Option<String>>,
    /// New last name, or none.
    pub last_name: Option<Option<String>>,
}

/// By what somebody signs in.
#[derive(Debug)]
pub enum SignInName {
    /// By e-mail address.
    Email(Email),
    /// By username, as it was typed: names of before today's rules sign in too.
    Username(LoginUsername),
}

/// Stores a person.
///
/// # Errors
/// `conflict` where the e-mail address or the username is taken.
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
    .map_err(taken)
}

/// Changes a person's own data.
///
/// # Errors
/// `conflict` where the e-mail address or the username is taken, `bad_params` where neither would be left.
pub async fn update(db: &Db, id: UserId, changes: &Changes) -> Result<Option<User>, Error> {
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
    .map_err(taken)
}

/// The constraints are the judge; this is their verdict in words.
fn taken(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("users_email_key") => Error::of_field(Code::Conflict, Field::Email, " is taken"),
        Some("users_username_key" | "users_username_skeleton") => {
            Error::of_field(Code::Conflict, Field::Username, " is taken")
        }
        Some("users_have_an_identity") => Error::bad_params("email or username must stay"),
        _ => error.into(),
    }
}

/// A person who has not deleted their account.
///
/// # Errors
/// Only where the database fails.
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

/// The key of a name that looks like an older account's, and was there before the two could not be. No
/// other key has a space.
pub(in crate::store) fn legacy_key(name: &str) -> String {
    format!(" {}", name.to_lowercase())
}

/// The key of a name that has the same [`legacy_key`] as an older account's too.
pub(in crate::store) fn exact_key(name: &str) -> String {
    format!("  {name}")
}

/// What a sign-in is checked against.
#[derive(Debug)]
pub struct Credentials {
    /// Who signs in.
    pub user: User,
    /// PHC string.
    pub password_hash: String,
    /// From where they are signed in, and were until their sessions ran out.
    pub session_addresses: Vec<String>,
}

/// Who signs in by this, with the hash of their password.
///
/// # Errors
/// Only where the database fails.
pub async fn credentials(db: &Db, name: &SignInName) -> Result<Option<Credentials>, Error> {
    let (email, username) = match name {
        SignInName::Email(email) => (Some(email.as_str()), None),
        SignInName::Username(name) => (None, Some(name.as_str())),
    };
    let keys: Vec<String> =
        username.map(|name| [exact_key(name), legacy_key(name), username_key(name)]).into_iter().flatten().collect();
    let row = sqlx::query!(
        r#"select id, email, username, first_name, last_name, created_at, updated_at, password_hash as "password_hash!",
                  array(select distinct s.address from sessions s where s.user_id = users.id and s.address is not null)
                      as "session_addresses!"
           from users where deleted_at is null and (fold_case(email) = fold_case($1) or username_key = any($2))
           order by username = $3 desc nulls last, array_position($2, username_key) limit 1"#,
        email,
        &keys,
        username
    )
    .fetch_optional(&db.pool)
    .await?;
    Ok(row.map(|row| {
        let user = User {
            id: row.id.into(),
            email: row.email,
            username: row.username,
            first_name: row.first_name,
            last_name: row.last_name,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        };
        Credentials { user, password_hash: row.password_hash, session_addresses: row.session_addresses }
    }))
}

/// Keeps two accounts from being deleted before the transaction ends, so that what it lets refer to
/// them does not outlive them, and gives back their names. In the order of their ids, as all lock.
///
/// # Errors
/// `unauthorized` where the one who asks is gone, `not_found` where the other one is; `field` names them.
pub(in crate::store) async fn lock_pair(
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

/// The hash of a person's password.
///
/// # Errors
/// Only where the database fails.
pub async fn password_hash(db: &Db, id: UserId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(r#"select password_hash as "hash!" from users where id = $1 and deleted_at is null"#, id.0)
        .fetch_optional(&db.pool)
        .await?)
}

/// Everybody, in the order of sign-up.
///
/// # Errors
/// Only where the database fails.
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

/// People with this part in their name, or with this e-mail address; never the one who asks, nor the
/// members of `outside`. Whether the asker may know who these are is for the caller to ask.
///
/// A query with three letters or digits in a row is found anywhere in a name; a shorter one where
/// a word begins, because that is what the index can answer.
///
/// # Errors
/// Only where the database fails.
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
        return by_email(db, asker, query, outside, page).await;
    }
    if !query.chars().any(char::is_alphanumeric) {
        return Ok(Vec::new());
    }
    let indexed_anywhere = query.split(|c: char| !c.is_alphanumeric()).any(|run| run.chars().count() >= 3);
    let pattern =
        if indexed_anywhere { format!("%{}%", escape_like(query)) } else { format!("% {}%", escape_like(query)) };
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

async fn by_email(db: &Db, asker: UserId, email: &str, outside: Option<i64>, page: Page) -> Result<Vec<User>, Error> {
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

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
