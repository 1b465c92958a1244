//! Reactions to messages: at most one per user and message.

use super::locked_message::LockedMessage;
use super::{Db, MessageChange};
use crate::error::Error;
use crate::model::{MessageEvent, MessageId, Reaction, UserId};

/// Sets or replaces the reaction of `by` to a message; `None` deletes it. Returns `None` if nothing
/// has changed.
///
/// # Errors
/// `not_found` if there is no message that `by` can see, or it was deleted; `not_a_member`; `blocked`
/// if the other side of the dialog has blocked `by`, who may still delete a reaction.
pub async fn set(
    db: &Db,
    by: UserId,
    message: MessageId,
    reaction: Option<&Reaction>,
) -> Result<Option<MessageChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = LockedMessage::lock(&mut tx, by, message).await?;
    locked.ensure_not_deleted()?;
    let done = match reaction {
        Some(reaction) => {
            locked.ensure_not_blocked()?;
            sqlx::query!(
                "insert into reactions (message_id, user_id, reaction) values ($1, $2, $3)
                 on conflict (message_id, user_id) do update set reaction = excluded.reaction
                 where reactions.reaction <> excluded.reaction",
                message.0,
                by.0,
                reaction.as_str()
            )
            .execute(&mut *tx)
            .await?
        }
        None => {
            sqlx::query!("delete from reactions where message_id = $1 and user_id = $2", message.0, by.0)
                .execute(&mut *tx)
                .await?
        }
    };
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let change = locked.record_change(&mut tx, MessageEvent::ReactToMessage).await?;
    tx.commit().await?;
    Ok(Some(change))
}
