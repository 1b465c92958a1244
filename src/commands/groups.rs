//! Groups: making one, who comes and goes, and what admins do.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::app::App;
use crate::delivery::{Audience, Event, Push, WhenSlow, Where};
use crate::error::Error;
use crate::model::{GroupId, GroupName, Origin, Page, SocketId, Target, Timestamp, Topic, UserId};
use crate::store::conversations;
use crate::store::groups::admins;
use crate::store::groups::members::{self, MemberChange};
use crate::store::groups::{self, MemberIds};
use crate::store::users::deletion::{self, Portion, Progress};
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

/// `{"type": "addUserInGroup", "params": {"groupId": 1, "userId": 1}}`; `removeUserFromGroup`,
/// `addGroupAdmin` and `removeGroupAdmin` likewise.
#[derive(Debug)]
pub struct UserOfGroup {
    /// Which group.
    pub group_id: GroupId,
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for UserOfGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, user_id: fields.required("userId")? })
    }
}

/// `{"type": "leaveGroup", "params": {"groupId": 1}}`; `dropGroup` likewise.
#[derive(Debug)]
pub struct WholeGroup {
    /// Which group.
    pub group_id: GroupId,
}

impl FromFields for WholeGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")? })
    }
}

/// `{"type": "renameGroup", "params": {"groupId": 1, "groupName": "Chess club"}}`
#[derive(Debug)]
pub struct RenameGroup {
    /// Which group.
    pub group_id: GroupId,
    /// What it is called from now on.
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
    /// Which group.
    pub group_id: GroupId,
    /// Which page.
    pub page: Page,
}

impl FromFields for ListGroupUsers {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { group_id: fields.required("groupId")?, page: fields.page()? })
    }
}

/// Somebody in a group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupUserRow<'a> {
    /// Who.
    #[schema(value_type = i64)]
    id: UserId,
    /// What everybody sees of them.
    name: &'a str,
    /// First name, if they gave one.
    first_name: Option<&'a str>,
    /// Last name, if they gave one.
    last_name: Option<&'a str>,
    /// Null where they signed up by e-mail.
    username: Option<&'a str>,
    /// Whether they are an admin of it.
    is_admin: bool,
    /// Since when they are in it.
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

/// With more people in a new group, each hears of their own coming only: a thousand notices to a
/// thousand people would be a million for one request.
const MOST_ANNOUNCED_TO_ALL: usize = 100;

pub(super) async fn new_group(params: NewGroup, context: Context) -> Result<Outcome, Error> {
    let limits = &context.app.config.limits;
    let group = groups::create(&context.app.db, context.user, &params.group_name, &params.user_ids, limits).await?;
    let group_name = Cow::Borrowed(params.group_name.as_str());
    let everybody_hears = group.added.len() <= MOST_ANNOUNCED_TO_ALL;
    let pushes = group.added.iter().map(|(user_id, user_name)| {
        let user_name = Cow::Borrowed(user_name.as_str());
        let item = MemberItem { group_id: group.id, group_name: group_name.clone(), user_id: *user_id, user_name };
        let to = if everybody_hears { group.members.clone() } else { MemberIds::from([*user_id]) };
        added(&item, to, context.origin(), &group.creator_name)
    });
    let reply = Body::item(&GroupItem { group_id: group.id, group_name: group_name.clone() });
    let to_my_others = push("newGroup", &reply, group.id, MemberIds::from([context.user]), context.origin());
    let pushes: Vec<Push> = [to_my_others].into_iter().chain(pushes).collect();
    Ok(Outcome::with_pushes(reply, pushes))
}

pub(super) async fn add_user(params: UserOfGroup, context: Context) -> Result<Outcome, Error> {
    let limits = &context.app.config.limits;
    let (change, by_name) =
        members::add(&context.app.db, params.group_id, context.user, params.user_id, limits).await?;
    let push = added(&change.member(), change.members.clone(), context.origin(), &by_name);
    Ok(Outcome::with_pushes(Body::done(), [push]))
}

pub(super) async fn leave(params: WholeGroup, context: Context) -> Result<Outcome, Error> {
    let change = members::leave(&context.app.db, params.group_id, context.user).await?;
    Ok(Outcome { reply: Body::done(), events: left(context.origin(), &change) })
}

/// What becomes of it that somebody has left, by a frame or with their account: those who stay hear
/// of it and of whom it made an admin, and so do the other sockets of who has left.
#[must_use]
pub fn left(who: Origin, change: &MemberChange) -> Vec<Event> {
    let notice = format!("User {} has left the group.", change.user_name);
    let body = caused_by(&change.user_name, said(notice, &change.member()));
    let leaving = push("leaveGroup", &body, change.group_id, with_user(change), who);
    let succession = change.next_admin().map(|next| {
        let body = said(now_an_admin(&next.user_name), &next);
        about_the_group(push("addGroupAdmin", &body, change.group_id, change.members.clone(), who))
    });
    let gone = Event::Left { user: change.user_id, group: change.group_id };
    [gone, Event::Push(leaving)].into_iter().chain(succession.map(Event::Push)).collect()
}

/// How long the rows that somebody else has locked are left alone.
const LOCKED_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Takes a deleted account out of its groups, and from all lists, portion by portion for at most
/// `within`; each group hears of it once that is committed. Says how far it is: what is not done is
/// for whoever next claims the deletion.
///
/// # Errors
/// Only where the database fails.
pub async fn leave_all(app: &App, user: UserId, name: &str, within: Duration) -> Result<Progress, Error> {
    let deadline = Instant::now() + within;
    loop {
        let Portion { left: changes, progress } = deletion::delete_portion(&app.db, user, name).await?;
        for change in changes {
            for event in left(Origin { user, socket: SocketId::NONE }, &change) {
                app.delivery.publish(&event);
            }
        }
        if progress == Progress::Done || Instant::now() >= deadline {
            return Ok(progress);
        }
        if progress == Progress::Locked {
            sleep(LOCKED_RETRY_DELAY).await;
        }
    }
}

pub(super) async fn remove_user(params: UserOfGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::remove(&context.app.db, params.group_id, context.user, params.user_id).await?;
    let body = said(format!("User {} has been removed from the group.", change.user_name), &change.member());
    let notice = push("removeUserFromGroup", &body, change.group_id, with_user(&change), context.origin());
    let gone = Event::Left { user: change.user_id, group: change.group_id };
    Ok(Outcome { reply: Body::done(), events: vec![gone, Event::Push(about_the_group(notice))] })
}

pub(super) async fn add_admin(params: UserOfGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::set_admin(&context.app.db, params.group_id, context.user, params.user_id, true).await?;
    Ok(told("addGroupAdmin", change, &context, |change| now_an_admin(&change.user_name)))
}

pub(super) async fn remove_admin(params: UserOfGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::set_admin(&context.app.db, params.group_id, context.user, params.user_id, false).await?;
    let notice = |change: &MemberChange| format!("User {} is no longer an admin of the group.", change.user_name);
    Ok(told("removeGroupAdmin", change, &context, notice))
}

pub(super) async fn rename(params: RenameGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::rename(&context.app.db, params.group_id, context.user, &params.group_name).await?;
    let notice = |change: &MemberChange| format!("User {} has renamed the group.", change.user_name);
    Ok(told("renameGroup", change, &context, notice))
}

pub(super) async fn end(params: WholeGroup, context: Context) -> Result<Outcome, Error> {
    let change = admins::end(&context.app.db, params.group_id, context.user).await?;
    let group = change.group_id;
    let body = said(format!("User {} has ended the group.", change.user_name), &change.group());
    let notice = about_the_group(push("dropGroup", &body, group, change.members.clone(), context.origin()));
    let gone = change.members.iter().map(|user| Event::Left { user: *user, group });
    Ok(Outcome { reply: Body::done(), events: gone.chain([Event::Push(notice)]).collect() })
}

pub(super) async fn list_users(params: ListGroupUsers, context: Context) -> Result<Outcome, Error> {
    let ListGroupUsers { group_id, page } = params;
    let db = &context.app.db;
    // For its members alone.
    conversations::visible_range(db, context.user, Target::Group(group_id)).await?;
    let list = format!("listGroupUsers {group_id}");
    let users = groups::users(db, group_id.into(), page.limit, context.paging.start_of(&list, page)).await?;
    context.paging.record(&list, page, users.last().map(groups::place));
    let rows = users.iter().map(|user| GroupUserRow {
        id: user.id,
        name: &user.name,
        first_name: user.first_name.as_deref(),
        last_name: user.last_name.as_deref(),
        username: user.username.as_deref(),
        is_admin: user.is_admin,
        joined_at: user.joined_at,
    });
    Ok(Body::rows(&rows.collect::<Vec<_>>()).into())
}

fn now_an_admin(user_name: &str) -> String {
    format!("User {user_name} is now an admin of the group.")
}

/// The members and the one whom the change is about, who may be none any more.
fn with_user(change: &MemberChange) -> MemberIds {
    change.members.iter().copied().chain([change.user_id]).collect()
}

/// What comes of it that an admin has changed something; nothing where it was so already.
fn told(
    kind: &str,
    change: Option<MemberChange>,
    context: &Context,
    notice: impl Fn(&MemberChange) -> String,
) -> Outcome {
    let pushes = change.map(|change| {
        let body = said(notice(&change), &change.member());
        about_the_group(push(kind, &body, change.group_id, change.members.clone(), context.origin()))
    });
    Outcome::with_pushes(Body::done(), pushes)
}

fn added(item: &MemberItem<'_>, to: MemberIds, by: Origin, by_name: &str) -> Push {
    let body = caused_by(by_name, said(format!("User {} added in group.", item.user_name), item));
    push("addUserInGroup", &body, item.group_id, to, by)
}

/// Names who caused a change, as the first clients read it in the pushes that they know.
fn caused_by(name: &str, body: Body) -> Body {
    Body { sender_name: Some(name.to_owned()), ..body }
}

fn said(notice: String, item: &impl Serialize) -> Body {
    Body { message: Some(notice), ..Body::item(item) }
}

/// For those alone who asked for it: the first clients do not know it.
fn about_the_group(push: Push) -> Push {
    Push { topic: Some(Topic::Groups), ..push }
}

fn push(kind: &str, body: &Body, group: GroupId, to: MemberIds, by: Origin) -> Push {
    Push {
        to: Audience::Users(to),
        from: Some(by),
        topic: None,
        frame: reply::push(kind, body),
        when_slow: WhenSlow::Behind(Where::Group(group), 0),
        message: None,
    }
}
