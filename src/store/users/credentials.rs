//! Credentials: what a sign-in is checked against, and the change of a password.

use super::username_keys::{exact_key, legacy_key};
use super::{Db, User};
use crate::error::Error;
use crate::model::{Email, LoginUsername, SessionKey, UserId, username_key};

/// The name that a user signs in with.
#[derive(Debug)]
pub enum SignInName {
    /// An e-mail address.
    Email(Email),
    /// A username as it was typed: names that today's rules would refuse sign in too.
    Username(LoginUsername),
}

/// What a sign-in is checked against.
#[derive(Debug)]
pub struct Credentials {
    /// The user who signs in.
    pub user: User,
    /// The password's hash as a PHC string.
    pub password_hash: String,
    /// IP addresses of their sessions, of those included that have expired and are not deleted yet.
    pub session_addresses: Vec<String>,
}

/// Returns the credentials of the user with this e-mail address or username. A username is matched by its exact
/// letters first, then by its key.
///
/// # Errors
/// Only if the database fails.
pub async fn find_credentials(db: &Db, name: &SignInName) -> Result<Option<Credentials>, Error> {
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

/// Returns the hash of a user's password; `None` if the account was deleted.
///
/// # Errors
/// Only if the database fails.
pub async fn password_hash(db: &Db, id: UserId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(r#"select password_hash as "hash!" from users where id = $1 and deleted_at is null"#, id.0)
        .fetch_optional(&db.pool)
        .await?)
}

/// Stores the hash of a new password, and ends every session but `keep`. Returns false and stores nothing if the
/// password was changed since `old_hash` was read.
///
/// # Errors
/// Only if the database fails.
pub async fn change_password(
    db: &Db,
    user: UserId,
    old_hash: &str,
    new_hash: &str,
    keep: SessionKey,
) -> Result<bool, Error> {
    let mut tx = db.pool.begin().await?;
    let done = sqlx::query!(
        "update users set password_hash = $3, updated_at = now() where id = $1 and password_hash = $2 and deleted_at is null",
        user.0,
        old_hash,
        new_hash
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("delete from sessions where user_id = $1 and id <> $2", user.0, keep.id.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}
