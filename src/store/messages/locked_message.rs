//! The lock under which a message changes: that of its conversation, which sends and changes of
//! members also take. So a change sees every earlier one, and is ordered with sends.

use sqlx::PgConnection;

use super::{MessageChange, select_messages};
use crate::error::{Code, Error, Field};
use crate::model::{ConversationId, MessageEvent, MessageId, Seq, Timestamp, UserId};

/// A message that `by` can see, in a conversation that the transaction has locked.
pub(super) struct LockedMessage {
    id: MessageId,
    conversation: ConversationId,
    seq: Seq,
    pub(super) sender_id: UserId,
    pub(super) is_deleted: bool,
    /// Whether `by` is an admin of its group.
    pub(super) by_admin: bool,
    /// Whether the other side of its dialog has blocked `by`.
    is_blocked: bool,
}

impl LockedMessage {
    /// Locks the conversation of a message, and loads what decides whether `by` may change it.
    ///
    /// # Errors
    /// `not_found` if there is no message that `by` can see; `not_a_member` if it is in a group that
    /// they are not in.
    pub(super) async fn lock(connection: &mut PgConnection, by: UserId, message: MessageId) -> Result<Self, Error> {
        let found = sqlx::query!(
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
        let not_visible = if found.is_group { Error::not_a_member } else { Error::no_such_message };
        // Checked before the lock, so that only members can make the conversation's sends wait.
        if !found.is_member {
            return Err(not_visible());
        }
        let conversation = found.id;
        // A statement of its own: one that waits for a lock keeps its snapshot from before the wait, and the
        // next one sees what was committed meanwhile.
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
        .ok_or_else(not_visible)?;
        if row.seq <= row.cleared_seq {
            return Err(Error::no_such_message());
        }
        Ok(Self {
            id: message,
            conversation: conversation.into(),
            seq: row.seq,
            sender_id: row.sender_id,
            is_deleted: row.is_deleted,
            by_admin: row.is_admin,
            is_blocked: row.is_blocked,
        })
    }

    /// # Errors
    /// `not_found` if the message was deleted.
    pub(super) fn ensure_not_deleted(&self) -> Result<&Self, Error> {
        if self.is_deleted {
            Err(Error::of_field(Code::NotFound, Field::MessageId, ": the message was deleted"))
        } else {
            Ok(self)
        }
    }

    /// A blocked user could otherwise still send text, by editing an old message or reacting to one.
    ///
    /// # Errors
    /// `blocked` if the other side of the dialog has blocked the asker.
    pub(super) fn ensure_not_blocked(&self) -> Result<&Self, Error> {
        if self.is_blocked { Err(Error::blocked()) } else { Ok(self) }
    }

    /// Records the change for `sync`, and loads the message as it is now with the members to notify.
    pub(super) async fn record_change(
        &self,
        connection: &mut PgConnection,
        event: MessageEvent,
    ) -> Result<MessageChange, Error> {
        let recorded = sqlx::query!(
            r#"with noted as (
                   insert into message_changes (conversation_id, seq, kind, change) values ($1, $2, $3, current_change())
                   on conflict (conversation_id, seq) do update set kind = excluded.kind, change = excluded.change
               )
               update conversations set change = current_change() where id = $1
               returning clock_timestamp() as "at!: Timestamp""#,
            self.conversation.0,
            self.seq,
            event.frame_type()
        )
        .fetch_one(&mut *connection)
        .await?;
        let message =
            select_messages!("select $1::bigint as id, 1 as place", self.id.0).fetch_one(&mut *connection).await?;
        let members = sqlx::query_scalar!(
            r#"select user_id as "user_id: UserId" from members where conversation_id = $1 and cleared_seq < $2"#,
            self.conversation.0,
            self.seq
        )
        .fetch_all(connection)
        .await?
        .into();
        Ok(MessageChange { message, members, changed_at: recorded.at })
    }
}
