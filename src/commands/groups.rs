//! Groups: making one, and who comes and goes.

use std::borrow::Cow;

use super::{Context, Outcome};
use crate::delivery::{Audience, Event, Push, WhenSlow, Where};
use crate::error::Error;
use crate::model::{GroupId, GroupName, Origin, UserId};
use crate::store::groups::{self, MemberChange, MemberIds};
use crate::wire::items::{GroupItem, MemberItem};
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

/// With more people in a new group, each hears of their own coming only: a thousand notices to a
/// thousand people would be a million for one request.
const MOST_ANNOUNCED_TO_ALL: usize = 100;

pub(super) async fn new_group(params: NewGroup, context: Context) -> Result<Outcome, Error> {
    let group = groups::create(&context.app.db, context.user, &params.group_name, &params.user_ids).await?;
    let group_name = Cow::Borrowed(params.group_name.as_str());
    let everybody_hears = group.added.len() <= MOST_ANNOUNCED_TO_ALL;
    let pushes = group.added.iter().map(|(user_id, user_name)| {
        let user_name = Cow::Borrowed(user_name.as_str());
        let item = MemberItem { group_id: group.id, group_name: group_name.clone(), user_id: *user_id, user_name };
        let to = if everybody_hears { group.members.clone() } else { MemberIds::from([*user_id]) };
        added(&item, to, context.origin())
    });
    let item = GroupItem { group_id: group.id, group_name: group_name.clone() };
    Ok(Outcome::with_pushes(Body::item(&item), pushes))
}

pub(super) async fn add_user(params: AddUserInGroup, context: Context) -> Result<Outcome, Error> {
    let AddUserInGroup { group_id, user_id } = params;
    let change = groups::add_member(&context.app.db, group_id, context.user, user_id).await?;
    let item = member_item(group_id, user_id, &change);
    Ok(Outcome::with_pushes(Body::done(), [added(&item, change.members.clone(), context.origin())]))
}

pub(super) async fn leave(params: LeaveGroup, context: Context) -> Result<Outcome, Error> {
    let change = groups::leave(&context.app.db, params.group_id, context.user).await?;
    Ok(Outcome { reply: Body::done(), events: left(params.group_id, context.origin(), &change).into() })
}

/// What becomes of it that somebody has left, by a frame or with their account: those who stay hear
/// of it, and so do the other sockets of who has left.
#[must_use]
pub fn left(group: GroupId, who: Origin, change: &MemberChange) -> [Event; 2] {
    let item = member_item(group, who.user, change);
    let notice = format!("User {} has left the group.", change.user_name);
    let told = change.members.iter().copied().chain([who.user]).collect();
    [Event::Left { user: who.user, group }, Event::Push(member_push("leaveGroup", notice, &item, told, who))]
}

fn member_item(group_id: GroupId, user_id: UserId, change: &MemberChange) -> MemberItem<'_> {
    MemberItem {
        group_id,
        group_name: Cow::Borrowed(&change.group_name),
        user_id,
        user_name: Cow::Borrowed(&change.user_name),
    }
}

fn added(item: &MemberItem<'_>, to: MemberIds, by: Origin) -> Push {
    member_push("addUserInGroup", format!("User {} added in group.", item.user_name), item, to, by)
}

fn member_push(kind: &str, notice: String, item: &MemberItem<'_>, to: MemberIds, by: Origin) -> Push {
    let body = Body { message: Some(notice), ..Body::item(item) };
    Push {
        to: Audience::Users(to),
        from: Some(by),
        topic: None,
        frame: reply::push(kind, &body),
        when_slow: WhenSlow::Behind(Where::Group(item.group_id), 0),
        message: None,
    }
}
