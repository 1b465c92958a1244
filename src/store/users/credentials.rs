//! What changes an account as a whole: a new password. Its end is in `account_deletions`.

use super::Db;
use crate::error::Error;
use crate::model::{SessionKey, UserId};

/// Stores a new password, unless the old one was changed since `old_hash` was read, and ends every
/// session but `keep`. False where nothing was stored.
///
/// # Errors
/// Only where the database fails.
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
