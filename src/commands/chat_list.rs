//! My conversations, the one with the newest message first.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{ConversationFilter, GroupId, MessageId, Page, Seq, Timestamp, UserId};
use crate::store::conversations::ConversationState;
use crate::store::conversations::chat_list::{self, Wanted};
use crate::store::messages::{self, StoredMessage};
use crate::wire::items::ConversationItem;
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

/// `{"type": "listConversations", "params": {"limit": 5, "page": 1, "filter": "unread"}}`
#[derive(Debug)]
pub struct ListConversations {
    /// Which page.
    pub page: Page,
    /// Of which of them.
    pub filter: ConversationFilter,
}

impl FromFields for ListConversations {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()?, filter: fields.optional("filter")?.unwrap_or_default() })
    }
}

/// One conversation with its newest message, as the first clients know it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastMessageRow<'a> {
    #[schema(value_type = i64)]
    id: MessageId,
    #[schema(value_type = i64)]
    sender_id: UserId,
    sender_name: &'a str,
    #[schema(value_type = Option<i64>)]
    receiver_id: Option<UserId>,
    receiver_name: Option<&'a str>,
    #[schema(value_type = Option<i64>)]
    group_id: Option<GroupId>,
    group_name: Option<&'a str>,
    content: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    deleted_at: Option<Timestamp>,
    seq: Seq,
    unread_count: i64,
}

pub(super) async fn list_last_message(params: ListLastMessage, context: Context) -> Result<Outcome, Error> {
    let wanted = Wanted { filter: ConversationFilter::All, empty_groups: false };
    let (states, messages) = page(wanted, params.page, &context).await?;
    let row = |state: &ConversationState| {
        let message = messages.get(&state.last_message_id?)?;
        Some(LastMessageRow {
            id: message.id,
            sender_id: message.sender_id,
            sender_name: &message.sender_name,
            receiver_id: message.receiver_id,
            receiver_name: message.receiver_name.as_deref(),
            group_id: message.group_id,
            group_name: message.group_name.as_deref(),
            content: &message.content,
            created_at: message.created_at,
            updated_at: message.updated_at,
            deleted_at: message.deleted_at,
            seq: message.seq,
            unread_count: state.unread_count,
        })
    };
    Ok(Body::rows(&states.iter().filter_map(row).collect::<Vec<_>>()).into())
}

/// Also over HTTP.
///
/// # Errors
/// Only where the database fails.
pub async fn list_conversations(params: ListConversations, context: Context) -> Result<Outcome, Error> {
    let wanted = Wanted { filter: params.filter, empty_groups: true };
    let (states, messages) = page(wanted, params.page, &context).await?;
    let row = |state| super::conversation_item(state, state.last_message_id.and_then(|id| messages.get(&id)));
    Ok(Body::rows(&states.iter().map(row).collect::<Vec<ConversationItem<'_>>>()).into())
}

type Newest = HashMap<MessageId, StoredMessage>;

async fn page(wanted: Wanted, page: Page, context: &Context) -> Result<(Vec<ConversationState>, Newest), Error> {
    let db = &context.app.db;
    let list = format!("{wanted:?}");
    let start = context.paging.start_of_moving(&list, page);
    let states = chat_list::page(db, context.user, wanted, page.limit, &start).await?;
    let places: Vec<_> = states.iter().map(chat_list::place).collect();
    context.paging.record_moving(&list, page, start, &places);
    let newest: Vec<MessageId> = states.iter().filter_map(|state| state.last_message_id).collect();
    let messages = messages::load(db, &newest).await?;
    Ok((states, messages.into_iter().map(|message| (message.id, message)).collect()))
}
