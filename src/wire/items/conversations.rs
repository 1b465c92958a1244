//! Conversations: their state for one member, their members, and markers in them.

use serde::Serialize;
use utoipa::ToSchema;

use super::MessageItem;
use crate::model::{GroupId, Seq, Target, Timestamp, UserId};

/// A conversation, as the one who reads this names it: exactly one of the two keys is there.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetItem {
    /// The other side of a dialog.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    pub receiver_id: Option<UserId>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    pub group_id: Option<GroupId>,
}

impl From<Target> for TargetItem {
    fn from(target: Target) -> Self {
        Self { receiver_id: target.user(), group_id: target.group() }
    }
}

/// A conversation and its state for the one who reads this.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationItem<'a> {
    /// `dialog` or `group`.
    pub kind: &'static str,
    /// The other side of a dialog; one's own id in a dialog with oneself.
    #[schema(value_type = Option<i64>, required)]
    pub receiver_id: Option<UserId>,
    /// The current name of the other side of a dialog.
    #[schema(required)]
    pub receiver_name: Option<&'a str>,
    /// The group; null for a dialog.
    #[schema(value_type = Option<i64>, required)]
    pub group_id: Option<GroupId>,
    /// The current name of the group.
    #[schema(required)]
    pub group_name: Option<&'a str>,
    /// `seq` of its newest message, 0 where there is none.
    pub last_seq: Seq,
    /// `seq` of the newest message that one has read.
    pub read_seq: Seq,
    /// Messages of others after `readSeq`.
    pub unread_count: i64,
    /// Whether one has marked it as spam.
    pub spam: bool,
    /// `admin` or `member`.
    pub role: &'static str,
    /// Its newest message, where there is one.
    #[schema(value_type = Option<MessageItem>, required)]
    pub last_message: Option<MessageItem<'a>>,
}

/// A conversation with its members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationDetails<'a> {
    /// The conversation and its state for the one who reads this.
    #[serde(flatten)]
    pub conversation: ConversationItem<'a>,
    /// The first 100 who joined.
    pub members: Vec<ConversationMember>,
    /// All admins of a group.
    #[schema(value_type = Vec<i64>)]
    pub admins: Vec<UserId>,
    /// The number of all members.
    pub member_count: i64,
    /// The number of messages that the one who reads this can see.
    pub message_count: i64,
}

/// A member of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationMember {
    /// The user.
    #[schema(value_type = i64)]
    pub id: UserId,
    /// The current name.
    pub name: String,
    /// Whether the member is an admin of the group; false in a dialog.
    pub is_admin: bool,
    /// When the member joined.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
    /// `seq` of the newest message that the member has read.
    pub read_seq: Seq,
    /// `seq` of the newest message that has reached the member.
    pub delivered_seq: Seq,
}

/// Whether one has marked a conversation as spam.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpamItem {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Whether it is spam to the one who reads this.
    pub spam: bool,
}

/// A conversation that one has removed from one's lists.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedItem {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// Its history is cleared up to and including this `seq`.
    pub cleared_seq: Seq,
}

/// A member's read or delivery marker in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkerItem {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// The member.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// `seq` of the newest message that the member has read, or that has reached the member.
    pub seq: Seq,
    /// When the marker moved there.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A conversation of which a client has missed pushes, because it read too slowly or nodes were disconnected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BehindItem {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// `seq` of its newest message that was not pushed.
    pub seq: Seq,
}
