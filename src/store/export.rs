//! The export of an account: everything that a user can read, in short pages by key. An export of any size
//! holds one page in memory, and no connection while the client reads it.

use super::Db;
use super::contacts::ListedUser;
use super::conversations::{ConversationState, select_states};
use super::messages::{StoredMessage, select_messages};
use super::notifications::Notification;
use crate::error::Error;
use crate::model::{ConversationId, Seq, UserId};

/// Loads the contacts of a user with ids greater than `after`, in the order of their ids.
///
/// # Errors
/// Only if the database fails.
pub async fn contacts(db: &Db, user: UserId, after: UserId, limit: i64) -> Result<Vec<ListedUser>, Error> {
    Ok(sqlx::query_as!(
        ListedUser,
        "select u.id, u.first_name, u.last_name, u.username, c.created_at as added_at
         from contacts c join users u on u.id = c.contact_id
         where c.user_id = $1 and c.contact_id > $2 order by c.contact_id limit $3",
        user.0,
        after.0,
        limit
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Loads the users with ids greater than `after` whom a user has blocked, in the order of their ids.
///
/// # Errors
/// Only if the database fails.
pub async fn blocked(db: &Db, user: UserId, after: UserId, limit: i64) -> Result<Vec<ListedUser>, Error> {
    Ok(sqlx::query_as!(
        ListedUser,
        "select u.id, u.first_name, u.last_name, u.username, b.created_at as added_at
         from blocks b join users u on u.id = b.blocked_id
         where b.user_id = $1 and b.blocked_id > $2 order by b.blocked_id limit $3",
        user.0,
        after.0,
        limit
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Loads the notifications of a user with ids greater than `after`, the oldest first.
///
/// # Errors
/// Only if the database fails.
pub async fn notifications(db: &Db, user: UserId, after: i64, limit: i64) -> Result<Vec<Notification>, Error> {
    Ok(sqlx::query_as!(
        Notification,
        r#"select n.id, n.kind, n.sender_id, u.name as sender_name, n.data, n.created_at,
                notification_read_at(n) as "read_at: _"
         from notifications n join users u on u.id = n.sender_id
         where n.user_id = $1 and n.id > $2 order by n.id limit $3"#,
        user.0,
        after,
        limit
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Loads the conversation of a user with the smallest id that is greater than `after`.
///
/// # Errors
/// Only if the database fails.
pub async fn next_conversation(
    db: &Db,
    user: UserId,
    after: ConversationId,
) -> Result<Option<ConversationState>, Error> {
    // There is an index of dialogs and one of groups.
    let next = select_states!(
        "select least(
             (select m.conversation_id from members m where m.user_id = $1 and m.kind = 'dialog'
                 and m.conversation_id > $2 order by m.conversation_id limit 1),
             (select m.conversation_id from members m where m.user_id = $1 and m.kind = 'group'
                 and m.conversation_id > $2 order by m.conversation_id limit 1)) as id, 1 as place",
        user.0,
        after.0
    );
    Ok(next.fetch_optional(&db.pool).await?)
}

/// Maximum size of a page's contents, not counting its last message and the messages replied to.
const MAX_PAGE_BYTES: i64 = 262_144;

/// Loads the messages of a conversation after the `seq` `after` that a user can see now, the oldest first:
/// fewer than `limit` if they are long, and none if the user is not in the conversation any more.
///
/// # Errors
/// Only if the database fails.
pub async fn messages(
    db: &Db,
    user: UserId,
    conversation: ConversationId,
    after: Seq,
    limit: i64,
) -> Result<Vec<StoredMessage>, Error> {
    // The cleared seq is a scalar subquery and not a join, so that the index scan starts at it. PostgreSQL
    // knows the length of a content without reading it.
    let messages = select_messages!(
        "select p.id, p.place from (
             select m.id, m.seq as place,
                    sum(m.length) over (order by m.seq rows unbounded preceding) - m.length as bytes_before
             from (
                 select m.id, m.seq, octet_length(m.content) as length from messages m
                 where m.conversation_id = $2 and m.seq > (select greatest($3::bigint, me.cleared_seq) from members me
                                                           where me.conversation_id = $2 and me.user_id = $1)
                 order by m.seq limit $4
             ) m
         ) p where p.bytes_before < $5",
        user.0,
        conversation.0,
        after,
        limit,
        MAX_PAGE_BYTES
    );
    Ok(messages.fetch_all(&db.pool).await?)
}
