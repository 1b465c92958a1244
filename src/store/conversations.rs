//! Conversations: finding the one that a request means, and a person's list of them.

use super::Db;
use crate::error::Error;
use crate::model::{ConversationId, GroupId, MessageId, Page, Seq, Timestamp, UserId};

/// The dialog of two people, as one of them asks for it.
#[derive(Debug)]
pub struct Dialog {
    /// None where neither has written yet.
    pub conversation: Option<Extent>,
    /// Current name of the one who asks.
    pub own_name: String,
    /// Current name of the other.
    pub other_name: String,
}

/// A conversation and how far it goes.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Which.
    pub id: ConversationId,
    /// `seq` of its newest message, 0 where there is none.
    pub last_seq: Seq,
}

/// Finds the dialog of two people.
///
/// # Errors
/// `not_found` where there never was such a user.
pub async fn dialog(db: &Db, asker: UserId, other: UserId) -> Result<Dialog, Error> {
    let row = sqlx::query!(
        r#"select o.name as other_name, a.name as own_name, c.id as "id?", c.last_seq as "last_seq?"
           from users o
           join users a on a.id = $1
           left join conversations c on c.low_user_id = least($1::bigint, $2) and c.high_user_id = greatest($1::bigint, $2)
           where o.id = $2"#,
        asker.0,
        other.0
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(|| Error::no_such_user("params.receiverId"))?;
    let conversation = row.id.zip(row.last_seq).map(|(id, last_seq)| Extent { id: id.into(), last_seq });
    Ok(Dialog { conversation, own_name: row.own_name, other_name: row.other_name })
}

/// Finds a group for one of its members.
///
/// # Errors
/// `not_found` where there is no such group, `not_a_member` where the asker is none.
pub async fn group(db: &Db, asker: UserId, group: GroupId) -> Result<Extent, Error> {
    let row = sqlx::query!(
        r#"select c.id, c.last_seq, exists (select from members where conversation_id = c.id and user_id = $2) as "is_member!"
           from conversations c where c.id = $1 and c.kind = 'group' and c.ended_at is null"#,
        group.0,
        asker.0
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(Error::no_such_group)?;
    if row.is_member { Ok(Extent { id: row.id.into(), last_seq: row.last_seq }) } else { Err(Error::not_a_member()) }
}

/// A conversation with its newest message.
#[derive(Debug)]
pub struct LastMessage {
    /// The message.
    pub id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Current name of who wrote it.
    pub sender_name: String,
    /// To whom, in a dialog.
    pub receiver_id: Option<UserId>,
    /// Current name of to whom.
    pub receiver_name: Option<String>,
    /// The group, where it is one.
    pub group_id: Option<GroupId>,
    /// Its name.
    pub group_name: Option<String>,
    /// What it says; empty where it was deleted.
    pub content: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Messages of others that the asker has not read.
    pub unread_count: i64,
}

/// A person's conversations that have a message, the one with the newest message first.
///
/// # Errors
/// Only where the database fails.
pub async fn last_messages(db: &Db, asker: UserId, page: Page) -> Result<Vec<LastMessage>, Error> {
    // Dialogs come out of two indexes in the order of the list and stop at the end of the page.
    Ok(sqlx::query_as!(
        LastMessage,
        r#"with listed as (
               (select id, last_message_at from conversations
                where low_user_id = $1 and last_seq > 0
                order by last_message_at desc, id desc limit $4)
               union all
               (select id, last_message_at from conversations
                where high_user_id = $1 and low_user_id <> high_user_id and last_seq > 0
                order by last_message_at desc, id desc limit $4)
               union all
               select c.id, c.last_message_at from members m join conversations c on c.id = m.conversation_id
               where m.user_id = $1 and m.kind = 'group' and c.last_seq > 0
           ), paged as (
               select id from listed order by last_message_at desc, id desc limit $2 offset $3
           )
           select m.id, m.seq, m.sender_id, s.name as sender_name,
                  r.id as "receiver_id?: _", r.name as "receiver_name?",
                  case when c.kind = 'group' then c.id end as "group_id?: _", c.name as "group_name?",
                  m.content, m.created_at, m.updated_at, m.deleted_at as "deleted_at?: _",
                  c.last_seq - me.read_seq - me.own_unread as "unread_count!"
           from paged p
           join conversations c on c.id = p.id
           join messages m on m.conversation_id = c.id and m.seq = c.last_seq
           join members me on me.conversation_id = c.id and me.user_id = $1
           join users s on s.id = m.sender_id
           left join users r on r.id = c.low_user_id + c.high_user_id - m.sender_id
           order by c.last_message_at desc, c.id desc"#,
        asker.0,
        page.limit,
        page.offset(),
        page.offset().saturating_add(page.limit)
    )
    .fetch_all(&db.pool)
    .await?)
}
