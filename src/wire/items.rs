//! What replies, pushes and HTTP answers are about: their items and rows, as clients read them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::model::{GroupId, MessageId, NotificationId, Seq, Target, Timestamp, UserId};

/// A message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageItem<'a> {
    /// Which, anywhere.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// Who wrote it.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// Current name of who wrote it.
    #[schema(value_type = String)]
    pub sender_name: Cow<'a, str>,
    /// To whom, in a dialog.
    #[schema(value_type = Option<i64>)]
    pub receiver_id: Option<UserId>,
    /// Current name of to whom.
    #[schema(value_type = Option<String>)]
    pub receiver_name: Option<Cow<'a, str>>,
    /// The group, in one.
    #[schema(value_type = Option<i64>)]
    pub group_id: Option<GroupId>,
    /// Its name.
    #[schema(value_type = Option<String>)]
    pub group_name: Option<Cow<'a, str>>,
    /// What it says; empty where it was deleted.
    #[schema(value_type = String)]
    pub content: Cow<'a, str>,
    /// The message that it replies to.
    #[schema(value_type = Option<ReplyTo>)]
    pub reply_to: Option<ReplyTo<'a>>,
    /// One a user, the oldest first.
    #[schema(value_type = Vec<ReactionItem>)]
    pub reactions: Vec<ReactionItem<'a>>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last edited or deleted.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was deleted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deleted_at: Option<Timestamp>,
    /// The sender's own name for it.
    #[schema(value_type = Option<String>)]
    pub client_message_id: Option<Cow<'a, str>>,
}

/// The message that another one replies to, as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplyTo<'a> {
    /// Which.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Who wrote it.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// Current name of who wrote it.
    #[schema(value_type = String)]
    pub sender_name: Cow<'a, str>,
    /// What it says; empty where it was deleted.
    #[schema(value_type = String)]
    pub content: Cow<'a, str>,
}

/// What somebody thinks of a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReactionItem<'a> {
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// What.
    #[schema(value_type = String)]
    pub reaction: Cow<'a, str>,
}

/// What the sender of a message is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptItem {
    /// The message.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// As it was given.
    pub client_message_id: Option<String>,
    /// Whether an earlier send stored it.
    pub duplicate: bool,
}

/// A conversation, as the one who reads it names it: exactly one of the two is there.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetItem {
    /// The other side of a dialog.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub receiver_id: Option<UserId>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub group_id: Option<GroupId>,
}

impl From<Target> for TargetItem {
    fn from(target: Target) -> Self {
        Self { receiver_id: target.user(), group_id: target.group() }
    }
}

/// How a conversation stands for the one who reads this.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationItem<'a> {
    /// `dialog` or `group`.
    pub kind: &'static str,
    /// The other side of a dialog; oneself in notes.
    #[schema(value_type = Option<i64>)]
    pub receiver_id: Option<UserId>,
    /// Their current name.
    pub receiver_name: Option<&'a str>,
    /// The group, where it is one.
    #[schema(value_type = Option<i64>)]
    pub group_id: Option<GroupId>,
    /// Its name.
    pub group_name: Option<&'a str>,
    /// `seq` of its newest message, 0 where there is none.
    pub last_seq: Seq,
    /// Read up to here.
    pub read_seq: Seq,
    /// Messages of others past `readSeq`.
    pub unread_count: i64,
    /// Whether I called it spam.
    pub spam: bool,
    /// `admin` or `member`.
    pub role: &'static str,
    /// Its newest message, where there is one.
    #[schema(value_type = Option<MessageItem>)]
    pub last_message: Option<MessageItem<'a>>,
}

/// A conversation with its members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationDetails<'a> {
    /// How it stands for me.
    #[serde(flatten)]
    pub conversation: ConversationItem<'a>,
    /// The longest-standing 100 of them.
    pub members: Vec<ConversationMember>,
    /// All admins, of a group.
    #[schema(value_type = Vec<i64>)]
    pub admins: Vec<UserId>,
    /// How many people are in it.
    pub member_count: i64,
    /// How many messages I can read in it.
    pub message_count: i64,
}

/// Somebody in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationMember {
    /// Who.
    #[schema(value_type = i64)]
    pub id: UserId,
    /// Their current name.
    pub name: String,
    /// Whether they are an admin, in a group.
    pub is_admin: bool,
    /// Since when they are in it.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
    /// Read up to here.
    pub read_seq: Seq,
    /// Arrived up to here.
    pub delivered_seq: Seq,
}

/// Whether a conversation is spam to me.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpamItem {
    /// Which.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Whether it is.
    pub spam: bool,
}

/// A conversation that I have removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedItem {
    /// Which.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Its history up to here is gone for me.
    pub cleared_seq: Seq,
}

/// What somebody thinks of a message from now on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReactionChange {
    /// The message.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// Who wrote it.
    #[schema(value_type = i64)]
    pub sender_id: UserId,
    /// To whom, in a dialog.
    #[schema(value_type = Option<i64>)]
    pub receiver_id: Option<UserId>,
    /// The group, in one.
    #[schema(value_type = Option<i64>)]
    pub group_id: Option<GroupId>,
    /// Who reacted.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// With what; null where it was taken back.
    pub reaction: Option<String>,
    /// When: of two of one person, the later one holds.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Whether somebody writes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TypingItem {
    /// Where.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Whether they do, or have stopped.
    pub is_typing: bool,
}

/// Whether somebody is here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineInfo {
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Whether any socket of theirs is open.
    pub is_online: bool,
    /// Whether the app is in front on any of them.
    pub active: bool,
    /// When they were last here: now, where they are. Null where that is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_at: Option<Timestamp>,
}

/// How far somebody has read, or how far messages have reached them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkerItem {
    /// Where.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Up to here.
    pub seq: Seq,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A group, by name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupItem<'a> {
    /// Its id, which every later request names.
    #[schema(value_type = i64)]
    pub group_id: GroupId,
    /// What it is called.
    #[schema(value_type = String)]
    pub group_name: Cow<'a, str>,
}

/// Somebody in a group, or who was: whom a change of its members is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberItem<'a> {
    /// The group.
    #[schema(value_type = i64)]
    pub group_id: GroupId,
    /// Its name.
    #[schema(value_type = String)]
    pub group_name: Cow<'a, str>,
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Their current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
}

/// A person, as others see them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonItem {
    /// Who.
    #[schema(value_type = i64, example = 1)]
    pub id: UserId,
    /// First name, if they gave one.
    #[schema(example = "Patrick")]
    pub first_name: Option<String>,
    /// Last name, if they gave one.
    #[schema(example = "Star")]
    pub last_name: Option<String>,
    /// What they sign in with, if not by e-mail alone.
    #[schema(example = "patrick")]
    pub username: Option<String>,
    /// Of oneself alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Somebody on one of my lists: a contact, or whom I have blocked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedPersonItem {
    /// Who.
    #[serde(flatten)]
    pub person: PersonItem,
    /// Since when they are on it.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
}

/// A person, by name: whom a push is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserItem<'a> {
    /// Who.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Their current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
}

/// What a client has missed of one conversation, because it read too slowly or nodes could not hear each other.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BehindItem {
    /// Where.
    #[serde(flatten)]
    pub target: TargetItem,
    /// The newest message of it that was not pushed.
    pub seq: Seq,
}

/// Something that somebody let somebody know.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationItem<'a> {
    /// Null where it is not stored: of a new message.
    #[schema(value_type = Option<i64>)]
    pub notification_id: Option<NotificationId>,
    /// What it is about.
    #[schema(value_type = String)]
    pub kind: Cow<'a, str>,
    /// From whom.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Their current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
    /// What goes with it.
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was read.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
}

/// Which notifications have been read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadItem {
    /// Null for all so far.
    #[schema(value_type = Option<i64>)]
    pub notification_id: Option<NotificationId>,
    /// When; of one that was read before, when that was.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
}

/// What goes with the notification of a new message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewMessageData {
    /// Where.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Which.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place there.
    pub seq: Seq,
}
