//! Finds sessions that have ended, over a connection that need not belong to a pool: the check of a new connection
//! needs it before the pool has one.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::model::{SessionId, SessionKey};

/// Those of `sessions` that no longer exist.
pub(in crate::store) async fn find_ended(
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
