//! The frames that read the chat list: a user's conversations, the one with the newest message first.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use super::items::conversation_item;
use crate::error::Error;
use crate::model::{ConversationFilter, GroupId, MessageId, Page, Seq, Timestamp, UserId};
use crate::store::conversations::ConversationState;
use crate::store::conversations::chat_list::{self, ChatListQuery};
use crate::store::messages::{self, StoredMessage};
use crate::wire::items::ConversationItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// Reads a page of the chat list as the first clients know it: conversations with a message alone, each as a
/// row of its newest message.
///
/// `{"type": "listLastMessage", "params": {"limit": 5, "page": 1}}`
#[derive(Debug)]
pub struct ListLastMessage {
    /// The page, from 1.
    pub page: Page,
}

impl FromFields for ListLastMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// Reads a page of the chat list, or of the part of it that `filter` names.
///
/// `{"type": "listConversations", "params": {"limit": 5, "page": 1, "filter": "unread"}}`
#[derive(Debug)]
pub struct ListConversations {
    /// The page, from 1.
    pub page: Page,
    /// All but spam if the request has none.
    pub filter: ConversationFilter,
}

impl FromFields for ListConversations {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()?, filter: fields.optional("filter")?.unwrap_or_default() })
    }
}

/// A conversation with its newest message, as the first clients know it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastMessageRow<'a> {
    #[schema(value_type = i64)]
    id: MessageId,
    #[schema(value_type = i64)]
    sender_id: UserId,
    sender_name: &'a str,
    #[schema(value_type = Option<i64>, required)]
    receiver_id: Option<UserId>,
    #[schema(required)]
    receiver_name: Option<&'a str>,
    #[schema(value_type = Option<i64>, required)]
    group_id: Option<GroupId>,
    #[schema(required)]
    group_name: Option<&'a str>,
    content: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    deleted_at: Option<Timestamp>,
    seq: Seq,
    unread_count: i64,
}

pub(super) async fn list_last_message(params: ListLastMessage, context: Context) -> Result<Outcome, Error> {
    let query = ChatListQuery { filter: ConversationFilter::All, has_empty_groups: false };
    let (states, messages) = load_page(query, params.page, &context).await?;
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

/// Carries out `listConversations`, over a socket or HTTP.
///
/// # Errors
/// Only if the database fails.
pub async fn list_conversations(params: ListConversations, context: Context) -> Result<Outcome, Error> {
    let query = ChatListQuery { filter: params.filter, has_empty_groups: true };
    let (states, messages) = load_page(query, params.page, &context).await?;
    let row = |state| conversation_item(state, state.last_message_id.and_then(|id| messages.get(&id)));
    Ok(Body::rows(&states.iter().map(row).collect::<Vec<ConversationItem<'_>>>()).into())
}

type MessagesById = HashMap<MessageId, StoredMessage>;

/// Loads a page of the chat list with the newest message of each conversation, and records where it ends for
/// the next one.
async fn load_page(
    query: ChatListQuery,
    page: Page,
    context: &Context,
) -> Result<(Vec<ConversationState>, MessagesById), Error> {
    let db = &context.app.db;
    let list = format!("{query:?}");
    let start = context.paging.start_of_moving(&list, page);
    let states = chat_list::page(db, context.user, query, page.limit, &start).await?;
    let places: Vec<_> = states.iter().map(chat_list::place).collect();
    context.paging.record_moving(&list, page, start, &places);
    let newest: Vec<MessageId> = states.iter().filter_map(|state| state.last_message_id).collect();
    let messages = messages::load(db, &newest).await?;
    Ok((states, messages.into_iter().map(|message| (message.id, message)).collect()))
}
