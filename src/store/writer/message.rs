//! Messages on their way through the writer: as they are sent, as they were committed, and their receipts.

use crate::model::{ClientMessageId, Content, ConversationId, MessageId, Seq, SocketId, Target, Timestamp, UserId};
use crate::store::groups::member_cache::MemberIds;

/// A message that a user wants to send.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The user that the token names.
    pub sender: UserId,
    /// The socket that sends it: it gets a reply, and no push.
    pub socket: SocketId,
    /// The conversation, as the sender names it.
    pub target: Target,
    /// The text.
    pub content: Content,
    /// The idempotency key: a sender's second message with the same key is not stored, and gets the receipt
    /// of the first.
    pub client_message_id: Option<ClientMessageId>,
    /// The message of the same conversation that it replies to.
    pub reply_to: Option<MessageId>,
}

/// The answer to a sender after the commit; the same for every idempotent retry, but for `is_duplicate`.
#[derive(Clone, Debug)]
pub struct SendReceipt {
    /// Unique among all messages.
    pub message_id: MessageId,
    /// Its place in the conversation, from 1.
    pub seq: Seq,
    /// When it was stored, shortly before the commit.
    pub created_at: Timestamp,
    /// The idempotency key of the send.
    pub client_message_id: Option<ClientMessageId>,
    /// Whether an earlier send with the same idempotency key stored it.
    pub is_duplicate: bool,
}

/// A message that was committed, and the users to push it to.
#[derive(Debug)]
pub struct CommittedMessage {
    /// Unique among all messages.
    pub id: MessageId,
    /// The conversation, which the send may have created.
    pub conversation: ConversationId,
    /// Its place in the conversation, from 1.
    pub seq: Seq,
    /// When it was stored, shortly before the commit.
    pub created_at: Timestamp,
    /// Whether the message before it is so recent that another node may still be delivering it.
    pub follows_recent: bool,
    /// The current name of the sender.
    pub sender_name: String,
    /// The current name of the other side of a dialog.
    pub receiver_name: Option<String>,
    /// The current name of the group.
    pub group_name: Option<String>,
    /// The message that it replies to.
    pub reply_to: Option<RepliedMessage>,
    /// Every member of the conversation as of the commit, the sender included.
    pub members: MemberIds,
    /// The message as it was sent.
    pub sent: NewMessage,
}

/// The message that a new message replies to.
#[derive(Debug)]
pub struct RepliedMessage {
    /// Unique among all messages.
    pub id: MessageId,
    /// Its author.
    pub sender_id: UserId,
    /// The author's current name.
    pub sender_name: String,
    /// The text; empty if the message was deleted.
    pub content: String,
}

impl NewMessage {
    pub(super) fn conversation(&self) -> LockKey {
        match self.target {
            Target::User(UserId(other)) => {
                LockKey { group: None, low_user: self.sender.0.min(other), high_user: self.sender.0.max(other) }
            }
            Target::Group(group) => LockKey { group: Some(group.0), low_user: 0, high_user: 0 },
        }
    }
}

/// A conversation as a send names it, because a dialog may have no id yet. All nodes lock conversations in
/// the order of their keys: dialogs, then groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LockKey {
    pub(super) group: Option<i64>,
    pub(super) low_user: i64,
    pub(super) high_user: i64,
}
