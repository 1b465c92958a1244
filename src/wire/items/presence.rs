//! Presence and typing indicators.

use serde::Serialize;
use utoipa::ToSchema;

use super::TargetItem;
use crate::model::{Timestamp, UserId};

/// A typing indicator.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TypingItem {
    /// The conversation.
    #[serde(flatten)]
    pub target: TargetItem,
    /// The user who types.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// False where the user has stopped.
    pub is_typing: bool,
}

/// The presence of a user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineInfo {
    /// The user.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Whether a socket of the user is open.
    pub is_online: bool,
    /// Whether the app is in the foreground on any of these sockets.
    pub active: bool,
    /// When the user was last online, which is now where they are. Null where that is not known.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_seen_at: Option<Timestamp>,
}
