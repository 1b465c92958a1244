//! What was said in a conversation, newest first.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{GroupId, HistoryPage, MessageId, Seq, Target, Timestamp, UserId};
use crate::store::conversations::{self, history};
use crate::store::messages::StoredMessage;
use crate::wire::items::{ReactionItem, ReplyTo};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "getlatestMessageDialog", "params": {"receiverId": 1, "limit": 5, "page": 1}}`, or
/// `before`, a `seq`, for `page`.
#[derive(Debug)]
pub struct GetLatestMessageDialog {
    /// The other side.
    pub receiver_id: UserId,
    /// Which page.
    pub page: HistoryPage,
}

impl FromFields for GetLatestMessageDialog {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { receiver_id: fields.required("receiverId")?, page: fields.history_page()? })
    }
}

/// `{"type": "getlatestMessageGroup", "params": {"groupId": 1, "limit": 5, "page": 1}}`, or
/// `before`, a `seq`, for `page`.
#[derive(Debug)]
pub struct GetLatestMessageGroup {
    /// The group.
    pub group_id: GroupId,
    /// Which page.
    pub page: HistoryPage,
}

impl FromFields for GetLatestMessageGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, page: fields.history_page()? })
    }
}

/// The spelling is that of the clients: snake case, and `receverName`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DialogRow<'a> {
    #[schema(value_type = i64)]
    sender_id: UserId,
    #[schema(value_type = Option<i64>)]
    receiver_id: Option<UserId>,
    #[serde(rename = "receverName")]
    recever_name: Option<&'a str>,
    content: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(flatten)]
    rest: Rest<'a>,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
}

/// The spelling is that of the clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupRow<'a> {
    #[schema(value_type = i64)]
    sender_id: UserId,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
    #[schema(value_type = Option<i64>)]
    group_id: Option<GroupId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    content: &'a str,
    #[serde(flatten)]
    rest: Rest<'a>,
}

/// What we add to the rows of both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    #[schema(value_type = i64)]
    message_id: MessageId,
    seq: Seq,
    receiver_name: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    deleted_at: Option<Timestamp>,
    #[schema(value_type = Option<ReplyTo>)]
    reply_to: Option<ReplyTo<'a>>,
    #[schema(value_type = Vec<ReactionItem>)]
    reactions: Vec<ReactionItem<'a>>,
}

impl<'a> From<&'a StoredMessage> for Rest<'a> {
    fn from(message: &'a StoredMessage) -> Self {
        Self {
            message_id: message.id,
            seq: message.seq,
            receiver_name: message.receiver_name.as_deref(),
            updated_at: message.updated_at,
            deleted_at: message.deleted_at,
            reply_to: message.reply_to(),
            reactions: message.reactions(),
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
            rest: message.into(),
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
            rest: message.into(),
        }
    }
}

pub(super) async fn dialog(params: GetLatestMessageDialog, context: Context) -> Result<Outcome, Error> {
    let messages = page(Target::User(params.receiver_id), params.page, &context).await?;
    Ok(Body::rows(&messages.iter().map(DialogRow::from).collect::<Vec<_>>()).into())
}

pub(super) async fn group(params: GetLatestMessageGroup, context: Context) -> Result<Outcome, Error> {
    let messages = page(Target::Group(params.group_id), params.page, &context).await?;
    Ok(Body::rows(&messages.iter().map(GroupRow::from).collect::<Vec<_>>()).into())
}

/// A page of any conversation; nothing where a dialog has not begun.
///
/// # Errors
/// `not_found`, `not_a_member`.
pub async fn page(target: Target, page: HistoryPage, context: &Context) -> Result<Vec<StoredMessage>, Error> {
    match conversations::find(&context.app.db, context.user, target).await? {
        Some(extent) => history::page(&context.app.db, extent, page).await,
        None => Ok(Vec::new()),
    }
}
