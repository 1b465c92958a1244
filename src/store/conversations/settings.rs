//! What one member does with a conversation without the other members seeing it: start a dialog, clear the
//! history and remove it from the lists, mark it as spam.

use crate::error::{Error, Field};
use crate::model::{ConversationId, Seq, UserId};
use crate::store::conversations::VisibleRange;
use crate::store::{Db, users};

/// Creates a dialog without messages, unless the two users have one.
///
/// # Errors
/// `not_found` if `other` is no user, `blocked` if they have blocked the asker, `unauthorized` if
/// the asker's account was deleted.
pub async fn start_dialog(db: &Db, asker: UserId, other: UserId) -> Result<(), Error> {
    let mut tx = db.pool.begin().await?;
    users::lock_pair(&mut tx, asker, other, Field::ReceiverId).await?;
    let is_blocked = sqlx::query_scalar!(
        r#"select exists (select from blocks where user_id = $2 and blocked_id = $1) as "is_blocked!""#,
        asker.0,
        other.0
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_blocked {
        return Err(Error::blocked());
    }
    sqlx::query!(
        "with made as (
             insert into conversations (kind, low_user_id, high_user_id)
             values ('dialog', least($1::bigint, $2), greatest($1::bigint, $2))
             on conflict on constraint one_dialog_per_pair do nothing
             returning id
         )
         insert into members (conversation_id, user_id, kind, peer_id)
         select id, $1, 'dialog'::conversation_kind, $2 from made
         union
         select id, $2, 'dialog', $1 from made",
        asker.0,
        other.0
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// Clears the history of a conversation for one member and removes it from their lists until there is a new
/// message. Returns the `seq` up to which it is cleared.
///
/// The update is one statement, and so reads one snapshot: messages that are stored meanwhile are not
/// cleared. See [`receipts::mark_read`](super::receipts::mark_read).
///
/// # Errors
/// `not_a_member` if the user was removed from the group meanwhile.
pub async fn remove(db: &Db, user: UserId, range: VisibleRange) -> Result<Seq, Error> {
    let cleared = sqlx::query_scalar!(
        "with state as materialized (
             select c.id, c.last_seq, own_sent(c, m) as own_sent
             from conversations c join members m on m.conversation_id = c.id and m.user_id = $2 where c.id = $1
         )
         update members m
         set cleared_seq = greatest(m.cleared_seq, s.last_seq), own_cleared = greatest(m.own_cleared, s.own_sent),
             is_removed = true, private_change = current_change()
         from state s
         where m.conversation_id = s.id and m.user_id = $2
         returning m.cleared_seq",
        range.id.0,
        user.0
    )
    .fetch_optional(&db.pool)
    .await?;
    // Removed from the group since the conversation was found.
    cleared.ok_or_else(Error::not_a_member)
}

/// Marks a conversation as spam or not. Returns whether that has changed.
///
/// # Errors
/// Only if the database fails.
pub async fn mark_spam(db: &Db, user: UserId, conversation: ConversationId, is_spam: bool) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update members set is_spam = $3, private_change = current_change()
         where conversation_id = $1 and user_id = $2 and is_spam <> $3",
        conversation.0,
        user.0,
        is_spam
    )
    .execute(&db.pool)
    .await?;
    Ok(done.rows_affected() > 0)
}
