//! Sessions: each is one place where a user is signed in. A token is valid only while its session has a row.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{Db, ended_sessions};
use crate::error::Error;
use crate::model::{SessionId, SessionKey, Timestamp, UserId};

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id, unique among the sessions that are stored now.
    pub id: SessionId,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When its newest token expires.
    pub expires_at: Timestamp,
    /// `User-Agent` of the sign-in.
    pub user_agent: Option<String>,
    /// IP address of the sign-in.
    pub address: Option<String>,
}

/// The client that signs in.
#[derive(Debug, Default)]
pub struct ClientInfo {
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// Its IP address.
    pub address: Option<String>,
}

/// Maximum number of sessions of one user; one more ends the oldest.
const MAX_SESSIONS_PER_USER: i64 = 100;

/// Opens a session, and deletes those of the same user that have expired or exceed the maximum. Returns `None` if the
/// password is no longer the one that was checked: a change of it ends all sessions, and must not miss one that
/// is being opened.
///
/// # Errors
/// Only if the database fails.
pub async fn open(
    db: &Db,
    user: UserId,
    password_hash: &str,
    expires_at: DateTime<Utc>,
    client: &ClientInfo,
) -> Result<Option<SessionKey>, Error> {
    let opened = sqlx::query!(
        "with stale as (
             delete from sessions where user_id = $1 and (expires_at < now() or id <= (
                 select id from sessions where user_id = $1 order by id desc offset $6::bigint - 1 limit 1)))
         insert into sessions (user_id, expires_at, user_agent, address)
         select u.id, $3, $4, $5 from users u where u.id = $1 and u.password_hash = $2 and u.deleted_at is null for share
         returning id, nonce",
        user.0,
        password_hash,
        expires_at,
        client.user_agent,
        client.address,
        MAX_SESSIONS_PER_USER
    )
    .fetch_optional(&db.pool)
    .await?;
    Ok(opened.map(|row| SessionKey { id: SessionId(row.id), nonce: row.nonce }))
}

/// Whether a session of this user is open.
///
/// # Errors
/// Only if the database fails.
pub async fn is_open(db: &Db, session: SessionKey, user: UserId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from sessions where id = $1 and nonce = $2 and user_id = $3) as "open!""#,
        session.id.0,
        session.nonce,
        user.0
    )
    .fetch_one(&db.pool)
    .await?)
}

/// Those of `sessions` that have ended.
///
/// # Errors
/// Only if the database fails.
pub async fn find_ended(db: &Db, sessions: &[SessionKey]) -> Result<HashSet<SessionKey>, Error> {
    Ok(ended_sessions::find_ended(&mut *db.pool.acquire().await?, sessions).await?)
}

/// Extends a session until its new token expires. Returns false if it has ended meanwhile.
///
/// # Errors
/// Only if the database fails.
pub async fn extend(db: &Db, session: SessionKey, user: UserId, expires_at: DateTime<Utc>) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update sessions set expires_at = $4 where id = $1 and nonce = $2 and user_id = $3",
        session.id.0,
        session.nonce,
        user.0,
        expires_at
    )
    .execute(&db.pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The open sessions of a user, newest first.
///
/// # Errors
/// Only if the database fails.
pub async fn list(db: &Db, user: UserId) -> Result<Vec<Session>, Error> {
    Ok(sqlx::query_as!(
        Session,
        "select id, created_at, expires_at, user_agent, address
         from sessions where user_id = $1 and expires_at > now() order by id desc",
        user.0
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Ends a session and returns its key; `None` if the user has no such session.
///
/// # Errors
/// Only if the database fails.
pub async fn end(db: &Db, id: SessionId, user: UserId) -> Result<Option<SessionKey>, Error> {
    let nonce =
        sqlx::query_scalar!("delete from sessions where id = $1 and user_id = $2 returning nonce", id.0, user.0)
            .fetch_optional(&db.pool)
            .await?;
    Ok(nonce.map(|nonce| SessionKey { id, nonce }))
}
