//! Messages after they were written: reading them with everything that clients see of one, and changing
//! them ([`edits`], [`reactions`]). New messages are stored by [`writer`](crate::store::writer) alone.

pub mod edits;
mod locked_message;
pub mod reactions;

use super::Db;
use crate::error::Error;
use crate::model::{ConversationId, GroupId, MessageId, Seq, Target, Timestamp, UserId};
use crate::store::groups::member_cache::MemberIds;

/// A row of the view `message_items`: a message with the names, the message replied to and the reactions
/// that go with it, all as of the query.
#[derive(Debug)]
pub struct StoredMessage {
    /// Unique among all messages.
    pub id: MessageId,
    /// The dialog or group that it is in.
    pub conversation_id: ConversationId,
    /// Its place in the conversation, from 1.
    pub seq: Seq,
    /// Its author.
    pub sender_id: UserId,
    /// The author's current name.
    pub sender_name: String,
    /// The other side of a dialog; `None` in a group.
    pub receiver_id: Option<UserId>,
    /// The current name of the other side of a dialog.
    pub receiver_name: Option<String>,
    /// The group; `None` in a dialog.
    pub group_id: Option<GroupId>,
    /// The current name of the group.
    pub group_name: Option<String>,
    /// The text; empty if the message was deleted.
    pub content: String,
    /// When it was stored, shortly before the commit.
    pub created_at: Timestamp,
    /// When it was last edited or deleted; `created_at` before that.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// The idempotency key that its sender gave it.
    pub client_message_id: Option<String>,
    /// The message that it replies to. The four `reply_…` fields are all there or all `None`.
    pub reply_id: Option<MessageId>,
    /// The author of the message that it replies to.
    pub reply_sender_id: Option<UserId>,
    /// The current name of that author.
    pub reply_sender_name: Option<String>,
    /// The current text of the message that it replies to; empty if that was deleted.
    pub reply_content: Option<String>,
    /// The users who have reacted, the oldest reaction first.
    pub reaction_user_ids: Option<Vec<i64>>,
    /// Their reactions, in the order of `reaction_user_ids`.
    pub reactions: Option<Vec<String>>,
}

/// A message after a change of it, and the members to notify of that.
#[derive(Debug)]
pub struct MessageChange {
    /// The message as it is after the change.
    pub message: StoredMessage,
    /// The members of its conversation who can see it, the one who changed it included.
    pub members: MemberIds,
    /// When it was changed; later than the change before it.
    pub changed_at: Timestamp,
}

/// Selects [`StoredMessage`]s: `$ids` is a query for their `id` and their `place` in the result, and the
/// arguments are its parameters.
macro_rules! select_messages {
    ($ids:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            $crate::store::messages::StoredMessage,
            r#"select m.id as "id!: _", m.conversation_id as "conversation_id!: _", m.seq as "seq!",
                      m.sender_id as "sender_id!: _", m.sender_name as "sender_name!",
                      m.receiver_id as "receiver_id?: _", m.receiver_name as "receiver_name?",
                      m.group_id as "group_id?: _", m.group_name as "group_name?", m.content as "content!",
                      m.created_at as "created_at!: _", m.updated_at as "updated_at!: _",
                      m.deleted_at as "deleted_at?: _", m.client_message_id as "client_message_id?",
                      m.reply_id as "reply_id?: _", m.reply_sender_id as "reply_sender_id?: _",
                      m.reply_sender_name as "reply_sender_name?", m.reply_content as "reply_content?",
                      m.reaction_user_ids as "reaction_user_ids?", m.reactions as "reactions?"
               from ("# + $ids + r#") found join message_items m on m.id = found.id
               order by found.place"#,
            $($argument),+
        )
    };
}
pub(in crate::store) use select_messages;

/// Loads messages by id, in the order of `ids`; ids without a message are left out.
///
/// # Errors
/// Only if the database fails.
pub async fn load(db: &Db, ids: &[MessageId]) -> Result<Vec<StoredMessage>, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let messages =
        select_messages!("select id, place from unnest($1::bigint[]) with ordinality as i (id, place)", &ids);
    Ok(messages.fetch_all(&db.pool).await?)
}

/// Finds the conversation of a message, as `asker` names it. Whether the asker is in a group is left for
/// the caller to check.
///
/// # Errors
/// `not_found` if there is no such message, or it is in a dialog of two other users.
pub async fn find_target(db: &Db, asker: UserId, message: MessageId) -> Result<Target, Error> {
    let row = sqlx::query!(
        r#"select c.id, c.low_user_id + c.high_user_id - $2::bigint as peer_id,
                  coalesce($2::bigint in (c.low_user_id, c.high_user_id), true) as "is_mine!"
           from messages m join conversations c on c.id = m.conversation_id where m.id = $1"#,
        message.0,
        asker.0
    )
    .fetch_optional(&db.pool)
    .await?
    .filter(|row| row.is_mine)
    .ok_or_else(Error::no_such_message)?;
    Ok(row.peer_id.map_or(Target::Group(GroupId(row.id)), |peer| Target::User(UserId(peer))))
}
