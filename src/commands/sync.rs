//! `sync`: the changes that a client has missed while it was offline.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::context::{Context, Outcome};
use super::items::message_item;
use crate::error::Error;
use crate::model::Cursor;
use crate::store::sync::{self, Change, ChangedSubject};
use crate::wire::items::{GroupItem, MarkerItem, MemberItem, MessageItem, RemovedItem, SpamItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "sync", "params": {"cursor": "4294967297.728:728:", "limit": 20}}`
#[derive(Debug)]
pub struct Sync {
    /// The cursor of an earlier reply, up to which the client knows everything; without it the reply has the current
    /// cursor and no changes.
    pub cursor: Option<Cursor>,
    /// Maximum number of changes in the reply.
    pub limit: i64,
}

impl FromFields for Sync {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { cursor: fields.optional("cursor")?, limit: fields.limit()? })
    }
}

/// A push that was missed, with its item as it is now. [`ChangeRowSchema`] describes it in documents.
#[derive(Debug, Serialize)]
pub(super) struct ChangeRow<'a> {
    /// Type of the push.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The item of the push.
    item: ChangeItem<'a>,
}

/// What a change is about: the item of the push of its type.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ChangeItem<'a> {
    Message(Box<MessageItem<'a>>),
    Member(MemberItem<'a>),
    Group(GroupItem<'a>),
    Marker(MarkerItem),
    Spam(SpamItem),
    Removed(RemovedItem),
}

/// A push that was missed, with its item as it is now: one object for each `type`.
// The schema of a `ChangeRow`. Generated clients know the item of each type by it. It is `allow` and not `expect`,
// because rustc 1.95 crashes in incremental builds on an expectation of a type with this derive.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", content = "item", rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
enum ChangeRowSchema {
    PrivateMessage(MessageItem<'static>),
    MessageInGroup(MessageItem<'static>),
    EditMessage(MessageItem<'static>),
    DeleteMessage(MessageItem<'static>),
    ReactToMessage(MessageItem<'static>),
    ReadMessages(MarkerItem),
    DeliveredMessages(MarkerItem),
    AddUserInGroup(MemberItem<'static>),
    LeaveGroup(MemberItem<'static>),
    RemoveUserFromGroup(MemberItem<'static>),
    AddGroupAdmin(MemberItem<'static>),
    RemoveGroupAdmin(MemberItem<'static>),
    RenameGroup(GroupItem<'static>),
    DropGroup(GroupItem<'static>),
    MarkSpam(SpamItem),
    RemoveConversation(RemovedItem),
}

impl PartialSchema for ChangeRow<'_> {
    fn schema() -> RefOr<Schema> {
        ChangeRowSchema::schema()
    }
}

impl ToSchema for ChangeRow<'_> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ChangeRowSchema::schemas(schemas);
    }
}

/// How far a reply goes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncItem {
    /// The cursor of the next request.
    cursor: String,
    /// Whether there are more changes already.
    more: bool,
    /// False if the cursor cannot prove that nothing is missing: then the client has to read its lists anew.
    complete: bool,
}

/// `sync`: a page of missed pushes, and the cursor of the next one.
pub(super) async fn sync(params: Sync, context: Context) -> Result<Outcome, Error> {
    let page = sync::changes(&context.app.db, context.user, params.cursor.as_ref(), params.limit).await?;
    let rows: Vec<ChangeRow<'_>> = page.changes.iter().map(row).collect();
    let item = SyncItem { cursor: page.cursor, more: page.more, complete: page.complete };
    Ok(Body { item: Body::item(&item).item, ..Body::rows(&rows) }.into())
}

fn row(change: &Change) -> ChangeRow<'_> {
    ChangeRow { kind: change.kind.frame_type(), item: item(&change.subject) }
}

fn item(subject: &ChangedSubject) -> ChangeItem<'_> {
    match subject {
        ChangedSubject::Message(message) => ChangeItem::Message(Box::new(message_item(message))),
        ChangedSubject::Member { group, group_name, user, user_name } => ChangeItem::Member(MemberItem {
            group_id: *group,
            group_name: Cow::Borrowed(group_name),
            user_id: *user,
            user_name: Cow::Borrowed(user_name),
        }),
        ChangedSubject::Group { group, group_name } => {
            ChangeItem::Group(GroupItem { group_id: *group, group_name: Cow::Borrowed(group_name) })
        }
        ChangedSubject::Marker { target, user, seq, at } => {
            ChangeItem::Marker(MarkerItem { target: (*target).into(), user_id: *user, seq: *seq, at: *at })
        }
        ChangedSubject::Spam { target, spam } => ChangeItem::Spam(SpamItem { target: (*target).into(), spam: *spam }),
        ChangedSubject::Removed { target, cleared_seq } => {
            ChangeItem::Removed(RemovedItem { target: (*target).into(), cleared_seq: *cleared_seq })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::ChangeKind;

    #[test]
    fn change_row_schema_has_an_object_for_each_kind_of_change() {
        let schema = serde_json::to_value(ChangeRow::schema()).expect("a schema is plain JSON");
        let objects = schema["oneOf"].as_array().expect("one of several objects");
        let types: BTreeSet<&str> =
            objects.iter().filter_map(|object| object["properties"]["type"]["enum"][0].as_str()).collect();
        assert_eq!(types, ChangeKind::all().map(ChangeKind::frame_type).collect());
    }
}
