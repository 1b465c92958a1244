//! Messages, what they reply to, and reactions to them.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{GroupId, MessageId, Seq, Timestamp, UserId};

/// A message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageItem<'a> {
    /// Unique among all messages.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation, from 1 and without gaps.
    pub seq: Seq,
    /// The author.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// The author's current name.
    #[schema(value_type = String)]
    pub sender_name: Cow<'a, str>,
    /// The receiver in a dialog; null in a group.
    #[schema(value_type = Option<i64>, required)]
    pub receiver_id: Option<UserId>,
    /// The receiver's current name.
    #[schema(value_type = Option<String>, required)]
    pub receiver_name: Option<Cow<'a, str>>,
    /// The group; null in a dialog.
    #[schema(value_type = Option<i64>, required)]
    pub group_id: Option<GroupId>,
    /// The current name of the group.
    #[schema(value_type = Option<String>, required)]
    pub group_name: Option<Cow<'a, str>>,
    /// The text; empty where the message was deleted.
    #[schema(value_type = String)]
    pub content: Cow<'a, str>,
    /// The message that it replies to.
    #[schema(value_type = Option<ReplyTo>, required)]
    pub reply_to: Option<ReplyTo<'a>>,
    /// At most one for each user, the oldest first.
    #[schema(value_type = Vec<ReactionItem>)]
    pub reactions: Vec<ReactionItem<'a>>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last edited or deleted; the same as `createdAt` before that.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was deleted.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub deleted_at: Option<Timestamp>,
    /// The idempotency key that the sender gave it.
    #[schema(value_type = Option<String>, required)]
    pub client_message_id: Option<Cow<'a, str>>,
}

/// The message that another one replies to, as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplyTo<'a> {
    /// Unique among all messages.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// The author.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// The author's current name.
    #[schema(value_type = String)]
    pub sender_name: Cow<'a, str>,
    /// The text; empty where the message was deleted.
    #[schema(value_type = String)]
    pub content: Cow<'a, str>,
}

/// The reaction of a user to a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReactionItem<'a> {
    /// The user who reacted.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The reaction, such as an emoji.
    #[schema(value_type = String)]
    pub reaction: Cow<'a, str>,
}

/// The reply to a send: the message is committed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptItem {
    /// Unique among all messages.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation, from 1 and without gaps.
    pub seq: Seq,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The idempotency key of the request.
    #[schema(required)]
    pub client_message_id: Option<String>,
    /// Whether an earlier send with the same `clientMessageId` has stored it.
    pub duplicate: bool,
}

/// A change of a user's reaction to a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReactionChange {
    /// The message.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// The author of the message.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// The receiver of the message, in a dialog.
    #[schema(value_type = Option<i64>, required)]
    pub receiver_id: Option<UserId>,
    /// The group that the message is in.
    #[schema(value_type = Option<i64>, required)]
    pub group_id: Option<GroupId>,
    /// The user who reacted.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The reaction; null where it was taken back.
    #[schema(required)]
    pub reaction: Option<String>,
    /// When it changed: of two changes of one user, the later one holds.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}
