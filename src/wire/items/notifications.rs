//! Notifications, and what marks them as read.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::TargetItem;
use crate::model::{MessageId, NotificationId, Seq, Timestamp, UserId};

/// A notification from one user to another.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationItem<'a> {
    /// Null for the notification of a new message, which is not stored.
    #[schema(value_type = Option<i64>, required)]
    pub notification_id: Option<NotificationId>,
    /// The kind that the sender gave it; `message` for a new message.
    #[schema(value_type = String)]
    pub kind: Cow<'a, str>,
    /// The sender.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The sender's current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
    /// Any JSON that the sender gave it.
    #[schema(value_type = Option<Object>, required)]
    pub data: Option<Box<RawValue>>,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was read.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub read_at: Option<Timestamp>,
}

/// Notifications that one has read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadItem {
    /// The notification; null for all that there were.
    #[schema(value_type = Option<i64>, required)]
    pub notification_id: Option<NotificationId>,
    /// When it was first read.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
}

/// `data` of the notification of a new message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewMessageData {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// The message.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
}
