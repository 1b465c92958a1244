//! Sessions: where a person is signed in. A token whose session has no row is worth nothing.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::{SessionId, SessionKey, Timestamp, UserId};

/// One place where a person is signed in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When its newest token ends.
    pub expires_at: Timestamp,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
}

/// Where somebody signs in from.
#[derive(Debug, Default)]
pub struct Origin {
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

/// Most sessions of one person: with one more, the oldest ends.
const MOST_SESSIONS: i64 = 100;

/// Opens a session, and forgets those of the same person that have run out or are too many. None where the password
/// is no longer the one that was checked: a change of it ends all sessions, and must not miss one
/// that is being opened.
///
/// # Errors
/// Only where the database fails.
pub async fn open(
    db: &Db,
    user: UserId,
    password_hash: &str,
    expires_at: DateTime<Utc>,
    from: &Origin,
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
        from.user_agent,
        from.address,
        MOST_SESSIONS
    )
    .fetch_optional(&db.pool)
    .await?;
    Ok(opened.map(|row| SessionKey { id: SessionId(row.id), nonce: row.nonce }))
}

/// Whether a session of this person is open.
///
/// # Errors
/// Only where the database fails.
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

/// Which of these sessions have ended.
///
/// # Errors
/// Only where the database fails.
pub async fn ended(db: &Db, sessions: &[SessionKey]) -> Result<HashSet<SessionKey>, Error> {
    Ok(ended_on(&mut *db.pool.acquire().await?, sessions).await?)
}

/// The same, over a connection that is not in use yet.
pub(in crate::store) async fn ended_on(
    connection: &mut PgConnection,
    sessions: &[SessionKey],
) -> Result<HashSet<SessionKey>, sqlx::Error> {
    let (ids, nonces): (Vec<i64>, Vec<i64>) = sessions.iter().map(|session| (session.id.0, session.nonce)).unzip();
    let ended = sqlx::query!(
        r#"select i.id as "id!", i.nonce as "nonce!" from unnest($1::bigint[], $2::bigint[]) as i (id, nonce)
           where not exists (select from sessions s where s.id = i.id and s.nonce = i.nonce)"#,
        &ids,
        &nonces
    )
    .fetch_all(connection)
    .await?;
    Ok(ended.into_iter().map(|row| SessionKey { id: SessionId(row.id), nonce: row.nonce }).collect())
}

/// Lets a session live until its new token ends. False where it has ended meanwhile.
///
/// # Errors
/// Only where the database fails.
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

/// Where a person is signed in, newest first.
///
/// # Errors
/// Only where the database fails.
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

/// Ends a session, and gives back which one that was. None where this person has no such session.
///
/// # Errors
/// Only where the database fails.
pub async fn end(db: &Db, id: SessionId, user: UserId) -> Result<Option<SessionKey>, Error> {
    let nonce =
        sqlx::query_scalar!("delete from sessions where id = $1 and user_id = $2 returning nonce", id.0, user.0)
            .fetch_optional(&db.pool)
            .await?;
    Ok(nonce.map(|nonce| SessionKey { id, nonce }))
}
