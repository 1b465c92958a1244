//! Frames of groups: creating one, joining and leaving, and what admins do.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use crate::app::App;
use crate::delivery::{Audience, ConversationKey, Event, OverflowPolicy, Push};
use crate::error::Error;
use crate::model::{GroupEventKind, GroupId, GroupName, Origin, Page, PushType, SocketId, Target, Timestamp, UserId};
use crate::store::conversations;
use crate::store::groups::admins;
use crate::store::groups::members::{self, MemberChange};
use crate::store::groups::{self, GroupMember, MemberIds};
use crate::store::users::deletion::{self, DeletionBatch, DeletionProgress};
use crate::wire::items::{GroupItem, MemberItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "newGroup", "params": {"groupName": "new name", "userIds": [2, 3]}}`
#[derive(Debug)]
pub struct NewGroup {
    /// Name of the group.
    pub group_name: GroupName,
    /// Members besides the creator.
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

/// `{"type": "addUserInGroup", "params": {"groupId": 1, "userId": 1}}`; `removeUserFromGroup`, `addGroupAdmin` and
/// `removeGroupAdmin` have the same parameters.
#[derive(Debug)]
pub struct GroupMemberParams {
    /// The group.
    pub group_id: GroupId,
    /// The user to be added, removed, appointed or dismissed.
    pub user_id: UserId,
}

impl FromFields for GroupMemberParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, user_id: fields.required("userId")? })
    }
}

/// `{"type": "leaveGroup", "params": {"groupId": 1}}`; `dropGroup` has the same parameter.
#[derive(Debug)]
pub struct GroupParams {
    /// The group.
    pub group_id: GroupId,
}

impl FromFields for GroupParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")? })
    }
}

/// `{"type": "renameGroup", "params": {"groupId": 1, "groupName": "Chess club"}}`
#[derive(Debug)]
pub struct RenameGroup {
    /// The group.
    pub group_id: GroupId,
    /// New name of the group.
    pub group_name: GroupName,
}

impl FromFields for RenameGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, group_name: fields.required("groupName")? })
    }
}

/// `{"type": "listGroupUsers", "params": {"groupId": 1, "limit": 5, "page": 1}}`
#[derive(Debug)]
pub struct ListGroupUsers {
    /// The group.
    pub group_id: GroupId,
    /// The page to list.
    pub page: Page,
}

impl FromFields for ListGroupUsers {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, page: fields.page()? })
    }
}

/// A row of `listGroupUsers`: a member of the group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupUserRow<'a> {
    /// User id.
    #[schema(value_type = i64)]
    id: UserId,
    /// Current display name.
    name: &'a str,
    /// First name, if any.
    first_name: Option<&'a str>,
    /// Last name, if any.
    last_name: Option<&'a str>,
    /// Null if they signed up by e-mail.
    username: Option<&'a str>,
    /// Whether they are an admin of the group.
    is_admin: bool,
    /// When they joined.
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

/// In a larger new group a member gets only the push of being added: a thousand pushes to a thousand members would be
/// a fan-out of a million for one request.
const MAX_ADDED_ANNOUNCED_TO_ALL: usize = 100;

/// `newGroup`: pushes `addUserInGroup` for each added user to all members, and `newGroup` to the creator's other
/// sockets.
pub(super) async fn new_group(params: NewGroup, context: Context) -> Result<Outcome, Error> {
    let limits = &context.app.config.limits;
    let group = groups::create(&context.app.db, context.user, &params.group_name, &params.user_ids, limits).await?;
    let group_name = Cow::Borrowed(params.group_name.as_str());
    let is_announced_to_all = group.added.len() <= MAX_ADDED_ANNOUNCED_TO_ALL;
    let added_pushes = group.added.iter().map(|(user_id, user_name)| {
        let user_name = Cow::Borrowed(user_name.as_str());
        let item = MemberItem { group_id: group.id, group_name: group_name.clone(), user_id: *user_id, user_name };
        let to = if is_announced_to_all { group.members.clone() } else { MemberIds::from([*user_id]) };
        member_added_push(&item, to, context.origin(), &group.creator_name)
    });
    let reply = Body::item(&GroupItem { group_id: group.id, group_name: group_name.clone() });
    let own_push = Push {
        to: Audience::user(context.user),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(PushType::NewGroup, &reply),
        on_overflow: OverflowPolicy::MarkBehind(ConversationKey::Group(group.id), 0),
        message: None,
    };
    let pushes: Vec<Push> = [own_push].into_iter().chain(added_pushes).collect();
    Ok(Outcome::with_pushes(reply, pushes))
}

/// `addUserInGroup`: pushed to all members, the new one included.
pub(super) async fn add_user_in_group(params: GroupMemberParams, context: Context) -> Result<Outcome, Error> {
    let limits = &context.app.config.limits;
    let (change, by_name) =
        members::add(&context.app.db, params.group_id, context.user, params.user_id, limits).await?;
    let push = member_added_push(&member_item(&change), change.members.clone(), context.origin(), &by_name);
    Ok(Outcome::with_pushes(Body::done(), [push]))
}

/// `leaveGroup`: pushed to the remaining members.
pub(super) async fn leave_group(params: GroupParams, context: Context) -> Result<Outcome, Error> {
    let change = members::leave(&context.app.db, params.group_id, context.user).await?;
    Ok(Outcome { reply: Body::done(), events: departure_events(context.origin(), &change) })
}

/// The events of a member's departure, by `leaveGroup` or with the deletion of the account: the remaining members and
/// the other sockets of the one who left get `leaveGroup`, and `addGroupAdmin` if that made another member an admin.
#[must_use]
pub fn departure_events(origin: Origin, change: &MemberChange) -> Vec<Event> {
    let notice = format!("User {} has left the group.", change.user_name);
    let body = with_sender_name(&change.user_name, notice_body(notice, &member_item(change)));
    let to = members_and_subject(change);
    let left_push = group_push(GroupEventKind::MemberLeft, &body, change.group_id, to, origin);
    let admin_push = change.next_admin.as_ref().map(|(user_id, user_name)| {
        let item = MemberItem { user_id: *user_id, user_name: Cow::Borrowed(user_name), ..member_item(change) };
        let body = notice_body(admin_added_notice(user_name), &item);
        group_push(GroupEventKind::AdminAdded, &body, change.group_id, change.members.clone(), origin)
    });
    let left_event = Event::MemberRemoved { user: change.user_id, group: change.group_id };
    [left_event, Event::Push(left_push)].into_iter().chain(admin_push.map(Event::Push)).collect()
}

/// Pause before a batch of a deletion is retried if all remaining rows were locked by other transactions.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Continues the deletion of an account, batch by batch for at most `time_limit`: takes it out of its groups and
/// deletes it from all lists. A departure is pushed once it is committed. What is not done when this returns is left to
/// the node that claims the deletion next.
///
/// # Errors
/// Only if the database fails.
pub async fn continue_deletion(
    app: &App,
    user: UserId,
    name: &str,
    time_limit: Duration,
) -> Result<DeletionProgress, Error> {
    let deadline = Instant::now() + time_limit;
    loop {
        let DeletionBatch { departures, progress } = deletion::delete_batch(&app.db, user, name).await?;
        for change in departures {
            for event in departure_events(Origin { user, socket: SocketId::NONE }, &change) {
                app.delivery.publish(&event);
            }
        }
        if progress == DeletionProgress::Done || Instant::now() >= deadline {
            return Ok(progress);
        }
        if progress == DeletionProgress::Locked {
            sleep(LOCKED_RETRY_DELAY).await;
        }
    }
}

/// `removeUserFromGroup`: pushed to the remaining members and the removed one.
pub(super) async fn remove_user_from_group(params: GroupMemberParams, context: Context) -> Result<Outcome, Error> {
    let change = admins::remove_member(&context.app.db, params.group_id, context.user, params.user_id).await?;
    let notice = format!("User {} has been removed from the group.", change.user_name);
    let body = notice_body(notice, &member_item(&change));
    let to = members_and_subject(&change);
    let push = group_push(GroupEventKind::MemberRemoved, &body, change.group_id, to, context.origin());
    let left_event = Event::MemberRemoved { user: change.user_id, group: change.group_id };
    Ok(Outcome { reply: Body::done(), events: vec![left_event, Event::Push(push)] })
}

/// `addGroupAdmin`: pushed to all members.
pub(super) async fn add_group_admin(params: GroupMemberParams, context: Context) -> Result<Outcome, Error> {
    let change = admins::set_admin(&context.app.db, params.group_id, context.user, params.user_id, true).await?;
    Ok(admin_outcome(GroupEventKind::AdminAdded, change, &context, |change| admin_added_notice(&change.user_name)))
}

/// `removeGroupAdmin`: pushed to all members.
pub(super) async fn remove_group_admin(params: GroupMemberParams, context: Context) -> Result<Outcome, Error> {
    let change = admins::set_admin(&context.app.db, params.group_id, context.user, params.user_id, false).await?;
    let notice = |change: &MemberChange| format!("User {} is no longer an admin of the group.", change.user_name);
    Ok(admin_outcome(GroupEventKind::AdminRemoved, change, &context, notice))
}

/// `renameGroup`: pushed to all members.
pub(super) async fn rename_group(params: RenameGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::rename(&context.app.db, params.group_id, context.user, &params.group_name).await?;
    let notice = |change: &MemberChange| format!("User {} has renamed the group.", change.user_name);
    Ok(admin_outcome(GroupEventKind::Renamed, change, &context, notice))
}

/// `dropGroup`: pushed to all who were members.
pub(super) async fn drop_group(params: GroupParams, context: Context) -> Result<Outcome, Error> {
    let change = admins::drop_group(&context.app.db, params.group_id, context.user).await?;
    let group = change.group_id;
    let item = GroupItem { group_id: group, group_name: Cow::Borrowed(&change.group_name) };
    let body = notice_body(format!("User {} has ended the group.", change.user_name), &item);
    let push = group_push(GroupEventKind::Dropped, &body, group, change.members.clone(), context.origin());
    let left_events = change.members.iter().map(|user| Event::MemberRemoved { user: *user, group });
    Ok(Outcome { reply: Body::done(), events: left_events.chain([Event::Push(push)]).collect() })
}

/// `listGroupUsers`, for members only.
pub(super) async fn list_group_users(params: ListGroupUsers, context: Context) -> Result<Outcome, Error> {
    let ListGroupUsers { group_id, page } = params;
    let db = &context.app.db;
    // Refuses a user who is not a member.
    conversations::visible_range(db, context.user, Target::Group(group_id)).await?;
    let list = format!("listGroupUsers {group_id}");
    let members = groups::list_members(db, group_id.into(), page.limit, context.paging.start_of(&list, page)).await?;
    context.paging.record(&list, page, members.last().map(groups::list_position));
    let rows: Vec<GroupUserRow<'_>> = members.iter().map(group_user_row).collect();
    Ok(Body::rows(&rows).into())
}

fn group_user_row(member: &GroupMember) -> GroupUserRow<'_> {
    GroupUserRow {
        id: member.id,
        name: &member.name,
        first_name: member.first_name.as_deref(),
        last_name: member.last_name.as_deref(),
        username: member.username.as_deref(),
        is_admin: member.is_admin,
        joined_at: member.joined_at,
    }
}

/// The member whom a change concerns.
fn member_item(change: &MemberChange) -> MemberItem<'_> {
    MemberItem {
        group_id: change.group_id,
        group_name: Cow::Borrowed(&change.group_name),
        user_id: change.user_id,
        user_name: Cow::Borrowed(&change.user_name),
    }
}

fn admin_added_notice(user_name: &str) -> String {
    format!("User {user_name} is now an admin of the group.")
}

/// The members and the user whom the change concerns, who may not be one any more.
fn members_and_subject(change: &MemberChange) -> MemberIds {
    change.members.iter().copied().chain([change.user_id]).collect()
}

/// The outcome of an admin's request: a push to all members if it has changed something.
fn admin_outcome(
    kind: GroupEventKind,
    change: Option<MemberChange>,
    context: &Context,
    notice: impl Fn(&MemberChange) -> String,
) -> Outcome {
    let pushes = change.map(|change| {
        let body = notice_body(notice(&change), &member_item(&change));
        group_push(kind, &body, change.group_id, change.members.clone(), context.origin())
    });
    Outcome::with_pushes(Body::done(), pushes)
}

fn member_added_push(item: &MemberItem<'_>, to: MemberIds, origin: Origin, by_name: &str) -> Push {
    let notice = format!("User {} added in group.", item.user_name);
    let body = with_sender_name(by_name, notice_body(notice, item));
    group_push(GroupEventKind::MemberAdded, &body, item.group_id, to, origin)
}

/// Adds the name of the user who caused a change: the first clients read it in the pushes that they know.
fn with_sender_name(name: &str, body: Body) -> Body {
    Body { sender_name: Some(name.to_owned()), ..body }
}

/// A body with an item and a sentence about it.
fn notice_body(notice: String, item: &impl Serialize) -> Body {
    Body { message: Some(notice), ..Body::item(item) }
}

fn group_push(kind: GroupEventKind, body: &Body, group: GroupId, to: MemberIds, origin: Origin) -> Push {
    Push {
        to: Audience::Users(to),
        from: Some(origin),
        topic: kind.topic(),
        frame: reply::push(kind.push_type(), body),
        on_overflow: OverflowPolicy::MarkBehind(ConversationKey::Group(group), 0),
        message: None,
    }
}
