//! My conversations.

use serde::Serialize;

use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{GroupId, MessageId, Page, Seq, Timestamp, UserId};
use crate::store::conversations::{self, LastMessage};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "listLastMessage", "params": {"limit": 5, "page": 1}}`
#[derive(Debug)]
pub struct ListLastMessage {
    /// Which page.
    pub page: Page,
}

impl FromFields for ListLastMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// One conversation with its newest message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: MessageId,
    sender_id: UserId,
    sender_name: String,
    receiver_id: Option<UserId>,
    receiver_name: Option<String>,
    group_id: Option<GroupId>,
    group_name: Option<String>,
    content: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
    seq: Seq,
    unread_count: i64,
}

impl From<LastMessage> for Row {
    fn from(last: LastMessage) -> Self {
        Self {
            id: last.id,
            sender_id: last.sender_id,
            sender_name: last.sender_name,
            receiver_id: last.receiver_id,
            receiver_name: last.receiver_name,
            group_id: last.group_id,
            group_name: last.group_name,
            content: last.content,
            created_at: last.created_at,
            updated_at: last.updated_at,
            deleted_at: last.deleted_at,
            seq: last.seq,
            unread_count: last.unread_count,
        }
    }
}

pub(super) async fn list_last_message(params: ListLastMessage, context: Context) -> Result<Outcome, Error> {
    let rows = conversations::last_messages(&context.app.db, context.user, params.page).await?;
    Ok(Body::rows(&rows.into_iter().map(Row::from).collect::<Vec<_>>()).into())
}
