//! Membership: joining and leaving a group, and what every change of a group has in common.
//!
//! A change takes the row lock of the group's conversation, the same that sends take; it draws another
//! `member_version` and records a row of `group_events`, from which `sync` reports it to those who were offline.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::quotas;
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ConversationId, GroupEventKind, GroupId, UserId};
use crate::store::Db;
use crate::store::groups::member_cache::MemberIds;

/// A committed change of a group, with what the pushes about it need.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// The group.
    pub group_id: GroupId,
    /// Its name after the change.
    pub group_name: String,
    /// The member whom the change concerns; the admin who made it, if it concerns the group as a whole.
    pub user_id: UserId,
    /// Name of that user.
    pub user_name: String,
    /// The members after the change; those before it, if the group was ended.
    pub members: MemberIds,
    /// The member who became an admin because the last admin left, and their name.
    pub next_admin: Option<(UserId, String)>,
}

/// Adds a user to a group, which any member may do. Returns the name of the member `by` too.
///
/// # Errors
/// `not_found` if there is no such group or user, `not_a_member` if `by` is none, `already_a_member` if the user is
/// one, `blocked` if the user has blocked `by`, `conflict` if the user has reached a quota of groups or the group its
/// maximum number of members.
pub async fn add(
    db: &Db,
    group: GroupId,
    by: UserId,
    user: UserId,
    limits: &Limits,
) -> Result<(MemberChange, String), Error> {
    let mut tx = db.pool.begin().await?;
    let found = quotas::lock_users(&mut tx, &[user.0]).await?.pop();
    let locked = lock_group(&mut tx, group).await?;
    let by_name = find_member_name(&mut tx, locked.id, by).await?.ok_or_else(Error::not_a_member)?;
    let user_name = found.ok_or_else(|| Error::no_such_user(Field::UserId))?.name;
    if find_member_name(&mut tx, locked.id, user).await?.is_some() {
        return Err(Error::new(Code::AlreadyAMember, "User is already a member of this group"));
    }
    quotas::check_added(&mut tx, by, &[user.0], Field::UserId, limits).await?;
    // clock_timestamp() is read under the lock, unlike now(), so that the list of members only grows at its end.
    sqlx::query!(
        "insert into members (conversation_id, user_id, kind, joined_at, read_seq, delivered_seq, added_by)
         values ($1, $2, 'group', clock_timestamp(), $3, $3, $4)",
        locked.id.0,
        user.0,
        locked.last_seq,
        by.0
    )
    .execute(&mut *tx)
    .await?;
    record_events(&mut tx, [GroupEvent::of_member(locked.id, GroupEventKind::MemberAdded, user)]).await?;
    let members = bump_version(&mut tx, locked.id).await?;
    quotas::check_group_size(members.len(), Field::GroupId, limits)?;
    tx.commit().await?;
    Ok((locked.into_change(user, user_name, members), by_name))
}

/// Takes a user out of a group, at their own request.
///
/// # Errors
/// `not_found` if there is no such group, `not_a_member` if the user is not in it.
pub async fn leave(db: &Db, group: GroupId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = lock_group(&mut tx, group).await?;
    let departure = leave_locked_groups(&mut tx, &[locked.id.0], user).await?.pop().ok_or_else(Error::not_a_member)?;
    let user_name = sqlx::query_scalar!("select name from users where id = $1", user.0).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(MemberChange { next_admin: departure.next_admin, ..locked.into_change(user, user_name, departure.members) })
}

/// A group whose conversation this transaction has locked: no other transaction changes it or sends to it.
pub(super) struct LockedGroup {
    pub(super) id: ConversationId,
    pub(super) name: String,
    last_seq: i64,
}

impl LockedGroup {
    pub(super) fn into_change(self, user_id: UserId, user_name: String, members: MemberIds) -> MemberChange {
        let (group_id, group_name) = (GroupId(self.id.0), self.name);
        MemberChange { group_id, group_name, user_id, user_name, members, next_admin: None }
    }
}

pub(super) async fn lock_group(connection: &mut PgConnection, group: GroupId) -> Result<LockedGroup, Error> {
    sqlx::query_as!(
        LockedGroup,
        r#"select id, name as "name!", last_seq from conversations
           where id = $1 and kind = 'group' and ended_at is null for no key update"#,
        group.0
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(Error::no_such_group)
}

/// The current name of a member; `None` if the user is not one. A deleted account counts as no member, though its
/// deletion may not have reached this group yet.
async fn find_member_name(
    connection: &mut PgConnection,
    group: ConversationId,
    user: UserId,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select u.name from members m join users u on u.id = m.user_id
         where m.conversation_id = $1 and m.user_id = $2 and u.deleted_at is null",
        group.0,
        user.0
    )
    .fetch_optional(connection)
    .await?)
}

/// The departure of a user from one group.
pub(in crate::store) struct Departure {
    pub(in crate::store) group: GroupId,
    /// The members who remain.
    pub(in crate::store) members: MemberIds,
    /// The member who became an admin because the last admin left, and their name.
    pub(in crate::store) next_admin: Option<(UserId, String)>,
}

/// Takes a user out of groups whose conversations are locked.
///
/// If the last admin leaves, the member who joined first becomes one, unless all remaining accounts are being deleted
/// too. A group without members ends. The number of statements does not depend on the number of groups, because
/// their locks block all sends to these groups.
pub(in crate::store) async fn leave_locked_groups(
    connection: &mut PgConnection,
    groups: &[i64],
    user: UserId,
) -> Result<Vec<Departure>, Error> {
    let left = sqlx::query_scalar!(
        "delete from members where conversation_id = any($1) and user_id = $2 returning conversation_id",
        groups,
        user.0
    )
    .fetch_all(&mut *connection)
    .await?;
    let next_admins = sqlx::query!(
        r#"update members m set is_admin = true
         from unnest($1::bigint[]) as g (id)
         cross join lateral (select n.conversation_id, n.user_id from members n
                             where n.conversation_id = g.id and n.kind = 'group'
                               and not exists (select from account_deletions d where d.user_id = n.user_id)
                             order by n.joined_at, n.user_id limit 1) next
         where not exists (select from members a where a.conversation_id = g.id and a.is_admin
                             and not exists (select from account_deletions d where d.user_id = a.user_id))
           and m.conversation_id = next.conversation_id and m.user_id = next.user_id
         returning m.conversation_id, m.user_id, (select u.name from users u where u.id = m.user_id) as "name!""#,
        &left
    )
    .fetch_all(&mut *connection)
    .await?;
    let departures =
        left.iter().map(|group| GroupEvent::of_member(ConversationId(*group), GroupEventKind::MemberLeft, user));
    let successions = next_admins.iter().map(|next| {
        GroupEvent::of_member(next.conversation_id.into(), GroupEventKind::AdminAdded, UserId(next.user_id))
    });
    record_events(connection, departures.chain(successions)).await?;
    let mut next_admins: HashMap<i64, (UserId, String)> =
        next_admins.into_iter().map(|next| (next.conversation_id, (UserId(next.user_id), next.name))).collect();
    let lists = bump_versions(connection, &left).await?;
    Ok(lists
        .into_iter()
        .map(|(group, members)| Departure { group, members, next_admin: next_admins.remove(&group.0) })
        .collect())
}

/// A row of `group_events`.
pub(super) struct GroupEvent {
    group: ConversationId,
    kind: GroupEventKind,
    /// The user whom it concerns; `None` if it concerns the group as a whole.
    user: Option<UserId>,
}

impl GroupEvent {
    pub(super) fn of_member(group: ConversationId, kind: GroupEventKind, user: UserId) -> Self {
        Self { group, kind, user: Some(user) }
    }

    pub(super) fn of_group(group: ConversationId, kind: GroupEventKind) -> Self {
        Self { group, kind, user: None }
    }
}

/// Records events of locked groups for `sync`. Their time is read under the lock, like that of a message.
pub(super) async fn record_events(
    connection: &mut PgConnection,
    events: impl IntoIterator<Item = GroupEvent>,
) -> Result<(), Error> {
    let (mut groups, mut kinds, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for GroupEvent { group, kind, user } in events {
        groups.push(group.0);
        kinds.push(kind.frame_type().to_owned());
        users.push(user.map(|user| user.0));
    }
    sqlx::query!(
        "insert into group_events (conversation_id, change, kind, user_id, created_at, group_name)
         select i.id, (select current_change()), i.kind, i.user_id, clock_timestamp(), c.name
         from unnest($1::bigint[], $2::text[], $3::bigint[]) with ordinality as i (id, kind, user_id, place)
         join conversations c on c.id = i.id
         order by i.place",
        &groups,
        &kinds,
        &users as &[Option<i64>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// [`bump_versions`] of one group.
pub(super) async fn bump_version(connection: &mut PgConnection, group: ConversationId) -> Result<MemberIds, Error> {
    let (_, members) = bump_versions(connection, &[group.0]).await?.pop().ok_or_else(Error::no_such_group)?;
    Ok(members)
}

/// Marks groups as changed: draws another `member_version` for each, and ends a group without members. Returns
/// their member lists.
async fn bump_versions(connection: &mut PgConnection, groups: &[i64]) -> Result<Vec<(GroupId, MemberIds)>, Error> {
    let lists = sqlx::query!(
        r#"update conversations c
           set member_version = random_bigint(), change = (select current_change()),
               ended_at = case when l.ids is null then now() end
           from (select g.id, (select array_agg(m.user_id order by m.user_id) from members m where m.conversation_id = g.id) as ids
                 from unnest($1::bigint[]) as g (id)) l
           where c.id = l.id
           returning c.id, l.ids as "ids?""#,
        groups
    )
    .fetch_all(connection)
    .await?;
    let ids = |ids: Option<Vec<i64>>| ids.unwrap_or_default().into_iter().map(UserId).collect();
    Ok(lists.into_iter().map(|list| (list.id.into(), ids(list.ids))).collect())
}
