//! What somebody has missed.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::items::message_item;
use super::{Context, Outcome};
use crate::error::Error;
use crate::model::Cursor;
use crate::store::sync::{self, Change};
use crate::wire::items::{GroupItem, MarkerItem, MemberItem, MessageItem, RemovedItem, SpamItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "sync", "params": {"cursor": "4294967297.728:728:", "limit": 20}}`
#[derive(Debug)]
pub struct Sync {
    /// Where the client's knowledge ends, as an earlier reply said; without it, nothing but where it
    /// stands now.
    pub cursor: Option<Cursor>,
    /// Most changes of the reply.
    pub limit: i64,
}

impl FromFields for Sync {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { cursor: fields.optional("cursor")?, limit: fields.limit()? })
    }
}

/// A push that was missed, with its item as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeRow<'a> {
    /// Type of the push.
    #[serde(rename = "type")]
    kind: &'a str,
    /// What it is about.
    item: ChangeItem<'a>,
}

/// What a change is about: the item of the push of its type.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ChangeItem<'a> {
    Message(Box<MessageItem<'a>>),
    Member(MemberItem<'a>),
    Group(GroupItem<'a>),
    Marker(MarkerItem),
    Spam(SpamItem),
    Removed(RemovedItem),
}

/// How far a reply goes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncItem {
    /// Where the next one begins.
    cursor: String,
    /// Whether there is more already.
    more: bool,
    /// False where the cursor cannot prove that nothing is missing: what the client has, it has to
    /// read anew.
    complete: bool,
}

pub(super) async fn sync(params: Sync, context: Context) -> Result<Outcome, Error> {
    let page = sync::changes(&context.app.db, context.user, params.cursor.as_ref(), params.limit).await?;
    let rows: Vec<ChangeRow<'_>> = page.changes.iter().map(row).collect();
    let item = SyncItem { cursor: page.cursor, more: page.more, complete: page.complete };
    Ok(Body { item: Body::item(&item).item, ..Body::rows(&rows) }.into())
}

fn row(change: &Change) -> ChangeRow<'_> {
    let (kind, item) = match change {
        Change::Message { kind, message } => (kind.as_str(), ChangeItem::Message(Box::new(message_item(message)))),
        Change::Member { kind, group, group_name, user, user_name } => {
            let (group_name, user_name) = (Cow::Borrowed(group_name.as_str()), Cow::Borrowed(user_name.as_str()));
            (kind.as_str(), ChangeItem::Member(MemberItem { group_id: *group, group_name, user_id: *user, user_name }))
        }
        Change::Group { kind, group, group_name } => {
            let group_name = Cow::Borrowed(group_name.as_str());
            (kind.as_str(), ChangeItem::Group(GroupItem { group_id: *group, group_name }))
        }
        Change::Marker { kind, target, user, seq, at } => {
            let item = MarkerItem { target: (*target).into(), user_id: *user, seq: *seq, at: *at };
            (kind.as_str(), ChangeItem::Marker(item))
        }
        Change::Spam { target, spam } => {
            ("markSpam", ChangeItem::Spam(SpamItem { target: (*target).into(), spam: *spam }))
        }
        Change::Removed { target, cleared_seq } => {
            let item = RemovedItem { target: (*target).into(), cleared_seq: *cleared_seq };
            ("removeConversation", ChangeItem::Removed(item))
        }
    };
    ChangeRow { kind, item }
}
