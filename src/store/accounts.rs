//! What changes an account as a whole: a new password, and its end.

use std::collections::HashMap;

use super::Db;
use super::membership::{self, Left, MemberChange};
use super::{contacts, notifications};
use crate::error::Error;
use crate::model::{SessionId, UserId};

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
    keep: SessionId,
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
    sqlx::query!("delete from sessions where user_id = $1 and id <> $2", user.0, keep.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Deletes an account: the row keeps its id, so that messages and reactions keep their author, and
/// loses all that says who it was. Lists that the person was on forget them, and what was only theirs
/// goes. The person leaves every group; a group that loses its last admin this way gets its
/// longest-standing member as one, and a group without members ends. Dialogs stay with the others.
/// Gives back the groups that were left, and who stays there; none where the account was gone already.
///
/// # Errors
/// Only where the database fails.
pub async fn delete(db: &Db, user: UserId) -> Result<Vec<MemberChange>, Error> {
    let mut tx = db.pool.begin().await?;
    // The person first, the groups after: whoever adds people to groups locks in the same order.
    let user_name =
        sqlx::query_scalar!("select name from users where id = $1 and deleted_at is null for no key update", user.0)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(user_name) = user_name else { return Ok(Vec::new()) };
    sqlx::query!(
        "update users set email = null, username = null, first_name = null, last_name = null, password_hash = null,
                          last_seen_at = null, deleted_at = now(), updated_at = now()
         where id = $1",
        user.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from sessions where user_id = $1", user.0).execute(&mut *tx).await?;
    contacts::forget(&mut tx, user).await?;
    notifications::forget(&mut tx, user).await?;
    let groups = sqlx::query!(
        r#"select c.id, c.name as "name!" from conversations c
         where c.id in (select conversation_id from members where user_id = $1 and kind = 'group')
         order by c.id for no key update"#,
        user.0
    )
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<i64> = groups.iter().map(|group| group.id).collect();
    let mut names: HashMap<i64, String> = groups.into_iter().map(|group| (group.id, group.name)).collect();
    let left = membership::leave_locked(&mut tx, &ids, user).await?;
    tx.commit().await?;
    let change = |Left { group, members, next_admin }| MemberChange {
        group_id: group,
        group_name: names.remove(&group.0).unwrap_or_default(),
        user_id: user,
        user_name: user_name.clone(),
        members,
        next_admin,
    };
    Ok(left.into_iter().map(change).collect())
}
