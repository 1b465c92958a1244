//! Groups: making one, and who comes and goes.

use serde::Serialize;

use super::{Context, Outcome};
use crate::delivery::Push;
use crate::error::Error;
use crate::model::{GroupId, GroupName, UserId};
use crate::store::groups::{self, MemberChange, MemberIds};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "newGroup", "params": {"groupName": "new name", "userIds": [2, 3]}}`
#[derive(Debug)]
pub struct NewGroup {
    /// What it is called.
    pub group_name: GroupName,
    /// Who is in it from the start, besides the creator.
    pub user_ids: Vec<UserId>,
}

impl FromFields for NewGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            group_name: fields.required("groupName")?,
            user_ids: fields.optional("userIds")?.unwrap_or_default(),
        })
    }
}

/// `{"type": "addUserInGroup", "params": {"groupId": 1, "userId": 1}}`
#[derive(Debug)]
pub struct AddUserInGroup {
    /// To which group.
    pub group_id: GroupId,
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for AddUserInGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, user_id: fields.required("userId")? })
    }
}

/// `{"type": "leaveGroup", "params": {"groupId": 1}}`
#[derive(Debug)]
pub struct LeaveGroup {
    /// Which group.
    pub group_id: GroupId,
}

impl FromFields for LeaveGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")? })
    }
}

/// What a creator is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupItem<'a> {
    group_id: GroupId,
    group_name: &'a str,
}

/// What the members are told: without it a new one would not know which group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberItem<'a> {
    group_id: GroupId,
    group_name: &'a str,
    user_id: UserId,
    user_name: &'a str,
}

/// With more people in a new group, each hears of their own coming only: a thousand notices to a
/// thousand people would be a million for one request.
const MOST_ANNOUNCED_TO_ALL: usize = 100;

pub(super) async fn new_group(params: NewGroup, context: Context) -> Result<Outcome, Error> {
    let group = groups::create(&context.app.db, context.user, &params.group_name, &params.user_ids).await?;
    let group_name = params.group_name.as_str();
    let everybody_hears = group.added.len() <= MOST_ANNOUNCED_TO_ALL;
    let pushes = group
        .added
        .iter()
        .map(|(user_id, user_name)| {
            let item = MemberItem { group_id: group.id, group_name, user_id: *user_id, user_name };
            let to = if everybody_hears { group.members.clone() } else { MemberIds::from([*user_id]) };
            added(&item, to, context.user)
        })
        .collect();
    Ok(Outcome { reply: Body::item(&GroupItem { group_id: group.id, group_name }), pushes })
}

pub(super) async fn add_user(params: AddUserInGroup, context: Context) -> Result<Outcome, Error> {
    let AddUserInGroup { group_id, user_id } = params;
    let change = groups::add_member(&context.app.db, group_id, context.user, user_id).await?;
    let item = MemberItem { group_id, group_name: &change.group_name, user_id, user_name: &change.user_name };
    let pushes = vec![added(&item, change.members.clone(), context.user)];
    Ok(Outcome { reply: Body::done(), pushes })
}

pub(super) async fn leave(params: LeaveGroup, context: Context) -> Result<Outcome, Error> {
    let change = groups::leave(&context.app.db, params.group_id, context.user).await?;
    Ok(Outcome { reply: Body::done(), pushes: vec![left(params.group_id, context.user, &change)] })
}

/// What those who stay are told of somebody who has left, by a frame or with their account.
#[must_use]
pub fn left(group_id: GroupId, user_id: UserId, change: &MemberChange) -> Push {
    let MemberChange { group_name, user_name, members } = change;
    let item = MemberItem { group_id, group_name, user_id, user_name };
    let notice = format!("User {user_name} has left the group.");
    member_push("leaveGroup", notice, &item, members.clone(), user_id)
}

fn added(item: &MemberItem<'_>, to: MemberIds, by: UserId) -> Push {
    member_push("addUserInGroup", format!("User {} added in group.", item.user_name), item, to, by)
}

fn member_push(kind: &str, notice: String, item: &MemberItem<'_>, to: MemberIds, by: UserId) -> Push {
    let body = Body { message: Some(notice), ..Body::item(item) };
    Push { to, except: Some(by), frame: reply::push(kind, &body), place: None }
}
