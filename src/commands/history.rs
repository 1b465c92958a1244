//! The frames that read the history of a conversation: its messages, newest first. Their rows have the keys
//! that the first clients read, one spelling for dialogs and one for groups.

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use super::items::{reaction_items, reply_item};
use crate::error::Error;
use crate::model::{GroupId, HistoryPage, MessageId, Seq, Target, Timestamp, UserId};
use crate::store::conversations::{self, history};
use crate::store::messages::StoredMessage;
use crate::wire::items::{ReactionItem, ReplyTo};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// Reads a page of a dialog.
///
/// `{"type": "getlatestMessageDialog", "params": {"receiverId": 1, "limit": 5, "page": 1}}`, or with
/// `before`, a `seq`, instead of `page`.
#[derive(Debug)]
pub struct GetLatestMessageDialog {
    /// The other side of the dialog.
    pub receiver_id: UserId,
    /// The page, by its number or by the `seq` that it starts below.
    pub page: HistoryPage,
}

impl FromFields for GetLatestMessageDialog {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { receiver_id: fields.required("receiverId")?, page: fields.history_page()? })
    }
}

/// Reads a page of a group's messages.
///
/// `{"type": "getlatestMessageGroup", "params": {"groupId": 1, "limit": 5, "page": 1}}`, or with
/// `before`, a `seq`, instead of `page`.
#[derive(Debug)]
pub struct GetLatestMessageGroup {
    /// The group; the caller has to be a member.
    pub group_id: GroupId,
    /// The page, by its number or by the `seq` that it starts below.
    pub page: HistoryPage,
}

impl FromFields for GetLatestMessageGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, page: fields.history_page()? })
    }
}

/// A message of a dialog, with the keys of the first clients: snake case, and `receverName`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DialogRow<'a> {
    #[schema(value_type = i64)]
    sender_id: UserId,
    #[schema(value_type = Option<i64>, required)]
    receiver_id: Option<UserId>,
    #[serde(rename = "receverName")]
    #[schema(required)]
    recever_name: Option<&'a str>,
    content: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(flatten)]
    common: CommonKeys<'a>,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
}

/// A message of a group, with the keys of the first clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupRow<'a> {
    #[schema(value_type = i64)]
    sender_id: UserId,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
    #[schema(value_type = Option<i64>, required)]
    group_id: Option<GroupId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    content: &'a str,
    #[serde(flatten)]
    common: CommonKeys<'a>,
}

/// The keys that rows of dialogs and groups share, and that the first clients do not know.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CommonKeys<'a> {
    #[schema(value_type = i64)]
    message_id: MessageId,
    seq: Seq,
    #[schema(required)]
    receiver_name: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    deleted_at: Option<Timestamp>,
    #[schema(value_type = Option<ReplyTo>, required)]
    reply_to: Option<ReplyTo<'a>>,
    #[schema(value_type = Vec<ReactionItem>)]
    reactions: Vec<ReactionItem<'a>>,
}

impl<'a> From<&'a StoredMessage> for CommonKeys<'a> {
    fn from(message: &'a StoredMessage) -> Self {
        Self {
            message_id: message.id,
            seq: message.seq,
            receiver_name: message.receiver_name.as_deref(),
            updated_at: message.updated_at,
            deleted_at: message.deleted_at,
            reply_to: reply_item(message),
            reactions: reaction_items(message),
        }
    }
}

impl<'a> From<&'a StoredMessage> for DialogRow<'a> {
    fn from(message: &'a StoredMessage) -> Self {
        Self {
            sender_id: message.sender_id,
            receiver_id: message.receiver_id,
            recever_name: message.receiver_name.as_deref(),
            content: &message.content,
            created_at: message.created_at,
            common: message.into(),
            sender_name: &message.sender_name,
        }
    }
}

impl<'a> From<&'a StoredMessage> for GroupRow<'a> {
    fn from(message: &'a StoredMessage) -> Self {
        Self {
            sender_id: message.sender_id,
            sender_name: &message.sender_name,
            group_id: message.group_id,
            created_at: message.created_at,
            content: &message.content,
            common: message.into(),
        }
    }
}

pub(super) async fn get_latest_message_dialog(
    params: GetLatestMessageDialog,
    context: Context,
) -> Result<Outcome, Error> {
    let messages = load_page(Target::User(params.receiver_id), params.page, &context).await?;
    Ok(Body::rows(&messages.iter().map(DialogRow::from).collect::<Vec<_>>()).into())
}

pub(super) async fn get_latest_message_group(
    params: GetLatestMessageGroup,
    context: Context,
) -> Result<Outcome, Error> {
    let messages = load_page(Target::Group(params.group_id), params.page, &context).await?;
    Ok(Body::rows(&messages.iter().map(GroupRow::from).collect::<Vec<_>>()).into())
}

/// Loads a page of a conversation, over a socket or HTTP; it is empty if a dialog has not been started.
///
/// # Errors
/// `not_found`, `not_a_member`.
pub async fn load_page(target: Target, page: HistoryPage, context: &Context) -> Result<Vec<StoredMessage>, Error> {
    match conversations::visible_range(&context.app.db, context.user, target).await? {
        Some(range) => history::page(&context.app.db, range, page).await,
        None => Ok(Vec::new()),
    }
}
