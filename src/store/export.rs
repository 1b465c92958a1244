//! Everything that somebody may read, in short pages, each past a key: an export of any size holds
//! one of them in memory, and no connection while its reader takes a page.

use super::conversations::{ConversationState, select_states};
use super::messages::{StoredMessage, select_messages};
use super::notifications::Notification;
use super::{Db, contacts};
use crate::error::Error;
use crate::model::{ConversationId, Seq, UserId};
use crate::wire::items::ListedPersonItem;

/// My contacts past one, in the order of their ids.
///
/// # Errors
/// Only where the database fails.
pub async fn contacts(db: &Db, user: UserId, past: UserId, limit: i64) -> Result<Vec<ListedPersonItem>, Error> {
    let rows = sqlx::query_as!(
        contacts::Row,
        "select u.id, u.first_name, u.last_name, u.username, c.created_at as added_at
         from contacts c join users u on u.id = c.contact_id
         where c.user_id = $1 and c.contact_id > $2 order by c.contact_id limit $3",
        user.0,
        past.0,
        limit
    )
    .fetch_all(&db.pool)
    .await?;
    Ok(rows.into_iter().map(ListedPersonItem::from).collect())
}

/// Whom I have blocked, past one, in the order of their ids.
///
/// # Errors
/// Only where the database fails.
pub async fn blocked(db: &Db, user: UserId, past: UserId, limit: i64) -> Result<Vec<ListedPersonItem>, Error> {
    let rows = sqlx::query_as!(
        contacts::Row,
        "select u.id, u.first_name, u.last_name, u.username, b.created_at as added_at
         from blocks b join users u on u.id = b.blocked_id
         where b.user_id = $1 and b.blocked_id > $2 order by b.blocked_id limit $3",
        user.0,
        past.0,
        limit
    )
    .fetch_all(&db.pool)
    .await?;
    Ok(rows.into_iter().map(ListedPersonItem::from).collect())
}

/// My notifications past one, the oldest first.
///
/// # Errors
/// Only where the database fails.
pub async fn notifications(db: &Db, user: UserId, past: i64, limit: i64) -> Result<Vec<Notification>, Error> {
    Ok(sqlx::query_as!(
        Notification,
        r#"select n.id, n.kind, n.sender_id, u.name as sender_name, n.data, n.created_at,
                notification_read_at(n) as "read_at: _"
         from notifications n join users u on u.id = n.sender_id
         where n.user_id = $1 and n.id > $2 order by n.id limit $3"#,
        user.0,
        past,
        limit
    )
    .fetch_all(&db.pool)
    .await?)
}

/// The conversation that I am in next past one, in the order of their ids.
///
/// # Errors
/// Only where the database fails.
pub async fn next_conversation(
    db: &Db,
    user: UserId,
    past: ConversationId,
) -> Result<Option<ConversationState>, Error> {
    // Dialogs and groups have an index each.
    let next = select_states!(
        "select least(
             (select m.conversation_id from members m where m.user_id = $1 and m.kind = 'dialog'
                 and m.conversation_id > $2 order by m.conversation_id limit 1),
             (select m.conversation_id from members m where m.user_id = $1 and m.kind = 'group'
                 and m.conversation_id > $2 order by m.conversation_id limit 1)) as id, 1 as place",
        user.0,
        past.0
    );
    Ok(next.fetch_optional(&db.pool).await?)
}

/// Most bytes of the messages of a page, but for the last one and those that are replied to.
const PAGE_BYTES: i64 = 262_144;

/// The messages of a conversation past one that I may read now, the oldest first, fewer than `limit` where
/// they are long; none where I am no longer in it.
///
/// # Errors
/// Only where the database fails.
pub async fn messages(
    db: &Db,
    user: UserId,
    conversation: ConversationId,
    past: Seq,
    limit: i64,
) -> Result<Vec<StoredMessage>, Error> {
    // A value and not a join, so that the index is entered at it. The length of a content is known without
    // reading it.
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
        past,
        limit,
        PAGE_BYTES
    );
    Ok(messages.fetch_all(&db.pool).await?)
}
