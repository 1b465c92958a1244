//! Who comes to a group and who goes. Every change of a group happens under the lock of its
//! conversation, the one that sends take, moves `member_version`, and is noted in `group_events`, so
//! that who was away hears of it.

use std::borrow::Cow;
use std::collections::HashMap;

use sqlx::PgConnection;

use super::places;
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ConversationId, GroupId, UserId};
use crate::store::Db;
use crate::store::groups::MemberIds;
use crate::wire::items::{GroupItem, MemberItem};

/// What a change of a group says to those who are told.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// Which group.
    pub group_id: GroupId,
    /// The group's name.
    pub group_name: String,
    /// Who came, went or is concerned; who did it, where it concerns the group as a whole.
    pub user_id: UserId,
    /// Their name.
    pub user_name: String,
    /// Who is in the group after it; who was, where it has ended the group.
    pub members: MemberIds,
    /// Who became an admin because the last one has left, and their name.
    pub next_admin: Option<(UserId, String)>,
}

impl MemberChange {
    /// Whom it is about, as clients read it.
    #[must_use]
    pub fn member(&self) -> MemberItem<'_> {
        MemberItem {
            group_id: self.group_id,
            group_name: Cow::Borrowed(&self.group_name),
            user_id: self.user_id,
            user_name: Cow::Borrowed(&self.user_name),
        }
    }

    /// The group alone, as clients read it.
    #[must_use]
    pub fn group(&self) -> GroupItem<'_> {
        GroupItem { group_id: self.group_id, group_name: Cow::Borrowed(&self.group_name) }
    }

    /// Who became an admin because the last one has left, as clients read it.
    #[must_use]
    pub fn next_admin(&self) -> Option<MemberItem<'_>> {
        let (user_id, user_name) = self.next_admin.as_ref()?;
        Some(MemberItem { user_id: *user_id, user_name: Cow::Borrowed(user_name), ..self.member() })
    }
}

/// Adds a user to a group, as any member may. Gives back the name of `by` too, whose doing it is.
///
/// # Errors
/// `not_found` where there is no such group or user, `not_a_member` where `by` is none,
/// `already_a_member` where the user is in it, `blocked` where the user takes nothing from `by`, `conflict`
/// where the user is in as many groups as they may be, or the group has as many members as it may have.
pub async fn add(
    db: &Db,
    group: GroupId,
    by: UserId,
    user: UserId,
    limits: &Limits,
) -> Result<(MemberChange, String), Error> {
    let mut tx = db.pool.begin().await?;
    let found = places::lock(&mut tx, &[user.0]).await?.pop();
    let locked = lock(&mut tx, group).await?;
    let by_name = member_name(&mut tx, locked.id, by).await?.ok_or_else(Error::not_a_member)?;
    let user_name = found.ok_or_else(|| Error::no_such_user(Field::UserId))?.name;
    if member_name(&mut tx, locked.id, user).await?.is_some() {
        return Err(Error::new(Code::AlreadyAMember, "User is already a member of this group"));
    }
    places::check(&mut tx, by, &[user.0], Field::UserId, limits).await?;
    // The time is that of the lock and not that of the transaction, so that the list of a group only
    // ever grows at its end.
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
    note(&mut tx, [Noted::of(locked.id, "addUserInGroup", user)]).await?;
    let members = changed(&mut tx, locked.id).await?;
    places::check_size(members.len(), Field::GroupId, limits)?;
    tx.commit().await?;
    Ok((locked.change(user, user_name, members), by_name))
}

/// Leaves a group.
///
/// # Errors
/// `not_found` where there is no such group, `not_a_member` where the user is not in it.
pub async fn leave(db: &Db, group: GroupId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = lock(&mut tx, group).await?;
    let left = leave_locked(&mut tx, &[locked.id.0], user).await?.pop().ok_or_else(Error::not_a_member)?;
    let user_name = sqlx::query_scalar!("select name from users where id = $1", user.0).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(MemberChange { next_admin: left.next_admin, ..locked.change(user, user_name, left.members) })
}

/// A group that nobody else changes or writes to now.
pub(in crate::store) struct LockedGroup {
    pub(in crate::store) id: ConversationId,
    pub(in crate::store) name: String,
    last_seq: i64,
}

impl LockedGroup {
    pub(in crate::store) fn change(self, user_id: UserId, user_name: String, members: MemberIds) -> MemberChange {
        let (group_id, group_name) = (GroupId(self.id.0), self.name);
        MemberChange { group_id, group_name, user_id, user_name, members, next_admin: None }
    }
}

pub(in crate::store) async fn lock(connection: &mut PgConnection, group: GroupId) -> Result<LockedGroup, Error> {
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

/// The current name of a member; `None` where the user is none. A deleted account is a member of nothing,
/// though its turn to leave this group may be to come.
async fn member_name(
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

/// A group that somebody has left.
pub(in crate::store) struct Left {
    pub(in crate::store) group: GroupId,
    /// Who stays.
    pub(in crate::store) members: MemberIds,
    /// Who became an admin because the last one has left, and their name.
    pub(in crate::store) next_admin: Option<(UserId, String)>,
}

/// Takes a user out of groups whose conversations are locked. A group that has lost its last admin
/// gets its longest-standing member as one, unless all who stay have deleted their accounts too and are
/// about to leave; a group without members ends. The same number of
/// statements for any number of groups: their locks hold up everybody who writes there.
pub(in crate::store) async fn leave_locked(
    connection: &mut PgConnection,
    groups: &[i64],
    user: UserId,
) -> Result<Vec<Left>, Error> {
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
    let leavings = left.iter().map(|group| Noted::of(ConversationId(*group), "leaveGroup", user));
    let successions =
        next_admins.iter().map(|next| Noted::of(next.conversation_id.into(), "addGroupAdmin", UserId(next.user_id)));
    note(connection, leavings.chain(successions)).await?;
    let mut next_admins: HashMap<i64, (UserId, String)> =
        next_admins.into_iter().map(|next| (next.conversation_id, (UserId(next.user_id), next.name))).collect();
    let lists = next_versions(connection, &left).await?;
    Ok(lists
        .into_iter()
        .map(|(group, members)| Left { group, members, next_admin: next_admins.remove(&group.0) })
        .collect())
}

/// A line of `group_events`.
pub(in crate::store) struct Noted {
    pub(in crate::store) group: ConversationId,
    /// The frame that did it.
    pub(in crate::store) kind: &'static str,
    /// Whom it is about; none where it is the group as a whole.
    pub(in crate::store) user: Option<UserId>,
}

impl Noted {
    pub(in crate::store) fn of(group: ConversationId, kind: &'static str, user: UserId) -> Self {
        Self { group, kind, user: Some(user) }
    }
}

/// Notes what has happened to groups that are locked, for those who were away. With the time of the
/// lock, as messages have it.
pub(in crate::store) async fn note(
    connection: &mut PgConnection,
    events: impl IntoIterator<Item = Noted>,
) -> Result<(), Error> {
    let (mut groups, mut kinds, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for Noted { group, kind, user } in events {
        groups.push(group.0);
        kinds.push(kind.to_owned());
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

/// [`next_versions`] of one group.
pub(in crate::store) async fn changed(
    connection: &mut PgConnection,
    group: ConversationId,
) -> Result<MemberIds, Error> {
    let (_, members) = next_versions(connection, &[group.0]).await?.pop().ok_or_else(Error::no_such_group)?;
    Ok(members)
}

/// Marks groups as changed, and reads their member lists; a group without members ends.
async fn next_versions(connection: &mut PgConnection, groups: &[i64]) -> Result<Vec<(GroupId, MemberIds)>, Error> {
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
