//! Messages as they are stored, with everything that clients read of them.

pub mod edits;

use std::borrow::Cow;

use super::Db;
use crate::error::Error;
use crate::model::{ConversationId, GroupId, MessageId, Seq, Target, Timestamp, UserId};
use crate::wire::items::{MessageItem, ReactionItem, ReplyTo};

/// A message with the names and the messages that go with it, all as of now.
#[derive(Debug)]
pub struct StoredMessage {
    /// Which.
    pub id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// Its place there.
    pub seq: Seq,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Current name of who wrote it.
    pub sender_name: String,
    /// To whom, in a dialog.
    pub receiver_id: Option<UserId>,
    /// Current name of to whom.
    pub receiver_name: Option<String>,
    /// The group, in one.
    pub group_id: Option<GroupId>,
    /// Its name.
    pub group_name: Option<String>,
    /// What it says; empty where it was deleted.
    pub content: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was last edited or deleted.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// The sender's own name for it.
    pub client_message_id: Option<String>,
    /// The message that it replies to.
    pub reply_id: Option<MessageId>,
    /// Who wrote that.
    pub reply_sender_id: Option<UserId>,
    /// Current name of who wrote that.
    pub reply_sender_name: Option<String>,
    /// What that says.
    pub reply_content: Option<String>,
    /// Who has reacted, the first one first.
    pub reaction_user_ids: Option<Vec<i64>>,
    /// With what, in the same order.
    pub reactions: Option<Vec<String>>,
}

impl StoredMessage {
    /// As clients read it.
    #[must_use]
    pub fn item(&self) -> MessageItem<'_> {
        MessageItem {
            message_id: self.id,
            seq: self.seq,
            sender_id: self.sender_id,
            sender_name: Cow::Borrowed(&self.sender_name),
            receiver_id: self.receiver_id,
            receiver_name: self.receiver_name.as_deref().map(Cow::Borrowed),
            group_id: self.group_id,
            group_name: self.group_name.as_deref().map(Cow::Borrowed),
            content: Cow::Borrowed(&self.content),
            reply_to: self.reply_to(),
            reactions: self.reactions(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleted_at: self.deleted_at,
            client_message_id: self.client_message_id.as_deref().map(Cow::Borrowed),
        }
    }

    /// The message that it replies to, as clients read it.
    #[must_use]
    pub fn reply_to(&self) -> Option<ReplyTo<'_>> {
        Some(ReplyTo {
            message_id: self.reply_id?,
            sender_id: self.reply_sender_id?,
            sender_name: Cow::Borrowed(self.reply_sender_name.as_deref()?),
            content: Cow::Borrowed(self.reply_content.as_deref()?),
        })
    }

    /// What people think of it, as clients read it.
    #[must_use]
    pub fn reactions(&self) -> Vec<ReactionItem<'_>> {
        let users = self.reaction_user_ids.iter().flatten();
        let reactions = self.reactions.iter().flatten();
        users
            .zip(reactions)
            .map(|(user, reaction)| ReactionItem { user_id: UserId(*user), reaction: Cow::Borrowed(reaction) })
            .collect()
    }
}

/// Selects [`StoredMessage`]s: `$ids` is a query that finds their `id` and a `place` in the result,
/// and the arguments are its parameters.
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

/// These messages, in this order.
///
/// # Errors
/// Only where the database fails.
pub async fn load(db: &Db, ids: &[MessageId]) -> Result<Vec<StoredMessage>, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let messages =
        select_messages!("select id, place from unnest($1::bigint[]) with ordinality as i (id, place)", &ids);
    Ok(messages.fetch_all(&db.pool).await?)
}

/// The conversation of a message, as `asker` names it. Whether they are in that group is for the
/// caller to ask.
///
/// # Errors
/// `not_found` where there is no such message, or it is in a dialog of others.
pub async fn target(db: &Db, asker: UserId, message: MessageId) -> Result<Target, Error> {
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
