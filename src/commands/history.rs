//! What was said in a conversation, newest first.

use serde::Serialize;

use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{GroupId, HistoryPage, MessageId, Seq, Timestamp, UserId};
use crate::store::history::Entry;
use crate::store::{conversations, history};
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
#[derive(Debug, Serialize)]
struct DialogRow<'a> {
    sender_id: UserId,
    receiver_id: UserId,
    #[serde(rename = "receverName")]
    recever_name: &'a str,
    content: &'a str,
    created_at: Timestamp,
    #[serde(flatten)]
    rest: Rest<'a>,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
}

/// The spelling is that of the clients.
#[derive(Debug, Serialize)]
struct GroupRow<'a> {
    sender_id: UserId,
    #[serde(rename = "senderName")]
    sender_name: &'a str,
    group_id: GroupId,
    created_at: Timestamp,
    content: &'a str,
    #[serde(flatten)]
    rest: Rest<'a>,
}

/// What we add to the rows of both.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    message_id: MessageId,
    seq: Seq,
    receiver_name: Option<&'a str>,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
    /// Nothing can be replied or reacted to yet; clients find the keys where they will be.
    reply_to: Option<()>,
    reactions: [(); 0],
}

impl<'a> Rest<'a> {
    fn of(entry: &Entry, receiver_name: Option<&'a str>) -> Self {
        Self {
            message_id: entry.id,
            seq: entry.seq,
            receiver_name,
            updated_at: entry.updated_at,
            deleted_at: entry.deleted_at,
            reply_to: None,
            reactions: [],
        }
    }
}

pub(super) async fn dialog(params: GetLatestMessageDialog, context: Context) -> Result<Outcome, Error> {
    let Context { app, user, .. } = context;
    let other = params.receiver_id;
    let dialog = conversations::dialog(&app.db, user, other).await?;
    let entries = match dialog.conversation {
        Some(extent) => history::page(&app.db, extent, params.page).await?,
        None => Vec::new(),
    };
    let rows: Vec<DialogRow<'_>> = entries
        .iter()
        .map(|entry| {
            let (receiver_id, receiver_name) = if entry.sender_id == user {
                (other, dialog.other_name.as_str())
            } else {
                (user, dialog.own_name.as_str())
            };
            DialogRow {
                sender_id: entry.sender_id,
                receiver_id,
                recever_name: receiver_name,
                content: &entry.content,
                created_at: entry.created_at,
                rest: Rest::of(entry, Some(receiver_name)),
                sender_name: &entry.sender_name,
            }
        })
        .collect();
    Ok(Body::rows(&rows).into())
}

pub(super) async fn group(params: GetLatestMessageGroup, context: Context) -> Result<Outcome, Error> {
    let Context { app, user, .. } = context;
    let extent = conversations::group(&app.db, user, params.group_id).await?;
    let entries = history::page(&app.db, extent, params.page).await?;
    let rows: Vec<GroupRow<'_>> = entries
        .iter()
        .map(|entry| GroupRow {
            sender_id: entry.sender_id,
            sender_name: &entry.sender_name,
            group_id: params.group_id,
            created_at: entry.created_at,
            content: &entry.content,
            rest: Rest::of(entry, None),
        })
        .collect();
    Ok(Body::rows(&rows).into())
}
