//! Editing and deleting messages.

use super::locked_message::LockedMessage;
use super::{Db, MessageChange};
use crate::error::{Code, Error};
use crate::model::{Content, MessageEvent, MessageId, UserId};
use crate::store::search;

/// Replaces the content of a message.
///
/// # Errors
/// `not_found` if there is no message that `by` can see, or it was deleted; `not_a_member`;
/// `not_author`; `blocked` if the other side of the dialog has blocked `by`.
pub async fn edit(db: &Db, by: UserId, message: MessageId, content: &Content) -> Result<MessageChange, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = LockedMessage::lock(&mut tx, by, message).await?;
    if locked.sender_id != by {
        return Err(Error::new(Code::NotAuthor, "Only its author may edit a message"));
    }
    locked.ensure_not_deleted()?.ensure_not_blocked()?;
    sqlx::query!(
        "update messages set content = $2, updated_at = greatest(clock_timestamp(), updated_at + interval '1 ms')
         where id = $1",
        message.0,
        content.as_str()
    )
    .execute(&mut *tx)
    .await?;
    search::reindex(&mut tx, message).await?;
    let change = locked.record_change(&mut tx, MessageEvent::EditMessage).await?;
    tx.commit().await?;
    Ok(change)
}

/// Deletes the content and the reactions of a message; the row stays, so that `seq` remains dense. `None`
/// if the message had been deleted before.
///
/// # Errors
/// `not_found` if there is no message that `by` can see; `not_a_member`; `not_author` if `by` is
/// neither its author nor an admin of the group.
pub async fn delete(db: &Db, by: UserId, message: MessageId) -> Result<Option<MessageChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = LockedMessage::lock(&mut tx, by, message).await?;
    if locked.sender_id != by && !locked.by_admin {
        return Err(Error::new(Code::NotAuthor, "Only its author or an admin of the group may delete a message"));
    }
    if locked.is_deleted {
        return Ok(None);
    }
    sqlx::query!(
        "with moment as (
             select greatest(clock_timestamp(), updated_at + interval '1 ms') as at from messages where id = $1
         )
         update messages set content = '', updated_at = at, deleted_at = at from moment where id = $1",
        message.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from reactions where message_id = $1", message.0).execute(&mut *tx).await?;
    search::reindex(&mut tx, message).await?;
    let change = locked.record_change(&mut tx, MessageEvent::DeleteMessage).await?;
    tx.commit().await?;
    Ok(Some(change))
}
