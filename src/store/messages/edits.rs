//! What becomes of a message after it was sent: edited, deleted, reacted to. All of it happens under
//! the lock of its conversation, the one that sends and changes of members take.

use sqlx::PgConnection;

use super::Db;
use crate::error::{Code, Error, Field};
use crate::model::{Content, ConversationId, MessageId, Reaction, Seq, Timestamp, UserId};
use crate::store::groups::MemberIds;
use crate::store::messages::{StoredMessage, select_messages};
use crate::store::search;

/// A message after a change, and who is to hear of it.
#[derive(Debug)]
pub struct Changed {
    /// As it is now.
    pub message: StoredMessage,
    /// Those in its conversation for whom it is not gone.
    pub members: MemberIds,
    /// When it was changed: later than the change before.
    pub at: Timestamp,
}

/// Gives a message another content.
///
/// # Errors
/// `not_found` where there is none that `by` may know of, or it was deleted; `not_a_member`;
/// `not_author`; `blocked` where the other side of the dialog takes nothing from `by`.
pub async fn edit(db: &Db, by: UserId, message: MessageId, content: &Content) -> Result<Changed, Error> {
    let mut tx = db.pool.begin().await?;
    let found = Found::lock(&mut tx, by, message).await?;
    if found.sender_id != by {
        return Err(Error::new(Code::NotAuthor, "Only its author may edit a message"));
    }
    found.still_there()?.may_say_something()?;
    sqlx::query!(
        "update messages set content = $2, updated_at = greatest(clock_timestamp(), updated_at + interval '1 ms')
         where id = $1",
        message.0,
        content.as_str()
    )
    .execute(&mut *tx)
    .await?;
    search::reindex(&mut tx, message).await?;
    let changed = found.changed(&mut tx, message, "editMessage").await?;
    tx.commit().await?;
    Ok(changed)
}

/// Takes the content of a message away, and what people thought of it; its place stays. `None` where
/// that was done before.
///
/// # Errors
/// `not_found` where there is none that `by` may know of; `not_a_member`; `not_author` where `by` is
/// neither its author nor an admin of the group.
pub async fn delete(db: &Db, by: UserId, message: MessageId) -> Result<Option<Changed>, Error> {
    let mut tx = db.pool.begin().await?;
    let found = Found::lock(&mut tx, by, message).await?;
    if found.sender_id != by && !found.is_admin {
        return Err(Error::new(Code::NotAuthor, "Only its author or an admin of the group may delete a message"));
    }
    if found.is_deleted {
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
    let changed = found.changed(&mut tx, message, "deleteMessage").await?;
    tx.commit().await?;
    Ok(Some(changed))
}

/// Says what somebody thinks of a message, or takes it back. `None` where nothing has changed by it.
///
/// # Errors
/// `not_found` where there is none that `by` may know of, or it was deleted; `not_a_member`; `blocked`
/// where the other side of the dialog takes nothing from `by`.
pub async fn react(
    db: &Db,
    by: UserId,
    message: MessageId,
    reaction: Option<&Reaction>,
) -> Result<Option<Changed>, Error> {
    let mut tx = db.pool.begin().await?;
    let found = Found::lock(&mut tx, by, message).await?;
    found.still_there()?;
    let done = match reaction {
        Some(reaction) => {
            found.may_say_something()?;
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
    let changed = found.changed(&mut tx, message, "reactToMessage").await?;
    tx.commit().await?;
    Ok(Some(changed))
}

/// A message that somebody may read, in a conversation that is locked.
struct Found {
    conversation: ConversationId,
    is_admin: bool,
    is_blocked: bool,
    seq: Seq,
    sender_id: UserId,
    is_deleted: bool,
}

impl Found {
    async fn lock(connection: &mut PgConnection, by: UserId, message: MessageId) -> Result<Self, Error> {
        let meant = sqlx::query!(
            r#"select c.id, c.kind = 'group' as "is_group!",
                      exists (select from members me where me.conversation_id = c.id and me.user_id = $2) as "is_member!"
               from messages m join conversations c on c.id = m.conversation_id
               where m.id = $1 and c.ended_at is null"#,
            message.0,
            by.0
        )
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(Error::no_such_message)?;
        let not_theirs = if meant.is_group { Error::not_a_member } else { Error::no_such_message };
        // Who is not in it holds nobody up there.
        if !meant.is_member {
            return Err(not_theirs());
        }
        let conversation = meant.id;
        // Locked before it is looked at for good: what was waited for is to be seen.
        sqlx::query!("select from conversations where id = $1 for no key update", conversation)
            .execute(&mut *connection)
            .await?;
        let row = sqlx::query!(
            r#"select me.is_admin, me.cleared_seq,
                      exists (select from blocks b where b.user_id = me.peer_id and b.blocked_id = me.user_id) as "is_blocked!",
                      m.seq, m.sender_id as "sender_id: UserId", m.deleted_at is not null as "is_deleted!"
               from messages m
               join conversations c on c.id = m.conversation_id
               join members me on me.conversation_id = c.id and me.user_id = $2
               where m.id = $1"#,
            message.0,
            by.0
        )
        .fetch_optional(connection)
        .await?
        .ok_or_else(not_theirs)?;
        if row.seq <= row.cleared_seq {
            return Err(Error::no_such_message());
        }
        Ok(Self {
            conversation: conversation.into(),
            is_admin: row.is_admin,
            is_blocked: row.is_blocked,
            seq: row.seq,
            sender_id: row.sender_id,
            is_deleted: row.is_deleted,
        })
    }

    fn still_there(&self) -> Result<&Self, Error> {
        if self.is_deleted {
            Err(Error::of_field(Code::NotFound, Field::MessageId, ": the message was deleted"))
        } else {
            Ok(self)
        }
    }

    /// Who is blocked does not get a word through by changing what is there.
    fn may_say_something(&self) -> Result<&Self, Error> {
        if self.is_blocked { Err(Error::blocked()) } else { Ok(self) }
    }

    /// Notes the change for those who are away, and says who else is to hear of it.
    async fn changed(&self, connection: &mut PgConnection, id: MessageId, kind: &str) -> Result<Changed, Error> {
        let noted = sqlx::query!(
            r#"with noted as (
                   insert into message_changes (conversation_id, seq, kind, change) values ($1, $2, $3, current_change())
                   on conflict (conversation_id, seq) do update set kind = excluded.kind, change = excluded.change
               )
               update conversations set change = current_change() where id = $1
               returning clock_timestamp() as "at!: Timestamp""#,
            self.conversation.0,
            self.seq,
            kind
        )
        .fetch_one(&mut *connection)
        .await?;
        let message = select_messages!("select $1::bigint as id, 1 as place", id.0).fetch_one(&mut *connection).await?;
        let members = sqlx::query_scalar!(
            r#"select user_id as "user_id: UserId" from members where conversation_id = $1 and cleared_seq < $2"#,
            self.conversation.0,
            self.seq
        )
        .fetch_all(connection)
        .await?
        .into();
        Ok(Changed { message, members, at: noted.at })
    }
}
