//! What the admins of a group do: remove members, appoint and dismiss admins, rename the group, end it.

use sqlx::PgConnection;

use super::Db;
use super::members::{self, GroupEvent, LockedGroup, MemberChange};
use crate::error::{Code, Error, Field};
use crate::model::{GroupEventKind, GroupId, GroupName, UserId};

/// Removes a member from a group.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`; `conflict` if the member is the last admin.
pub async fn remove_member(db: &Db, group: GroupId, by: UserId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let locked_group = lock_as_admin(&mut tx, group, by, user).await?;
    if locked_group.is_last_admin() {
        return Err(last_admin());
    }
    let GroupOfAdmin { locked, user_name, .. } = locked_group;
    sqlx::query!("delete from members where conversation_id = $1 and user_id = $2", locked.id.0, user.0)
        .execute(&mut *tx)
        .await?;
    members::record_events(&mut tx, [GroupEvent::of_member(locked.id, GroupEventKind::MemberRemoved, user)]).await?;
    let members = members::bump_version(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(locked.into_change(user, user_name, members))
}

/// Makes a member an admin, or an admin an ordinary member. Returns `None` if they are that already.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`; `conflict` if the group would lose its last admin.
pub async fn set_admin(
    db: &Db,
    group: GroupId,
    by: UserId,
    user: UserId,
    is_admin: bool,
) -> Result<Option<MemberChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let locked_group = lock_as_admin(&mut tx, group, by, user).await?;
    if locked_group.is_admin == is_admin {
        return Ok(None);
    }
    if locked_group.is_last_admin() {
        return Err(last_admin());
    }
    let GroupOfAdmin { locked, user_name, .. } = locked_group;
    sqlx::query!(
        "update members set is_admin = $3 where conversation_id = $1 and user_id = $2",
        locked.id.0,
        user.0,
        is_admin
    )
    .execute(&mut *tx)
    .await?;
    let kind = if is_admin { GroupEventKind::AdminAdded } else { GroupEventKind::AdminRemoved };
    members::record_events(&mut tx, [GroupEvent::of_member(locked.id, kind, user)]).await?;
    let members = members::bump_version(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(Some(locked.into_change(user, user_name, members)))
}

/// Renames a group. Returns `None` if it has that name already.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`.
pub async fn rename(db: &Db, group: GroupId, by: UserId, name: &GroupName) -> Result<Option<MemberChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let GroupOfAdmin { mut locked, user_name, .. } = lock_as_admin(&mut tx, group, by, by).await?;
    if locked.name == name.as_str() {
        return Ok(None);
    }
    name.as_str().clone_into(&mut locked.name);
    sqlx::query!("update conversations set name = $2 where id = $1", locked.id.0, locked.name)
        .execute(&mut *tx)
        .await?;
    members::record_events(&mut tx, [GroupEvent::of_group(locked.id, GroupEventKind::Renamed)]).await?;
    let members = members::bump_version(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(Some(locked.into_change(by, user_name, members)))
}

/// Ends a group: removes all members. Its messages stay stored, and no user can read them.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`.
pub async fn drop_group(db: &Db, group: GroupId, by: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let GroupOfAdmin { locked, user_name, .. } = lock_as_admin(&mut tx, group, by, by).await?;
    let mut members =
        sqlx::query_scalar!("delete from members where conversation_id = $1 returning user_id", locked.id.0)
            .fetch_all(&mut *tx)
            .await?;
    members.sort_unstable();
    let events =
        members.iter().map(|member| GroupEvent::of_member(locked.id, GroupEventKind::Dropped, UserId(*member)));
    members::record_events(&mut tx, events).await?;
    members::bump_version(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(locked.into_change(by, user_name, members.into_iter().map(UserId).collect()))
}

fn last_admin() -> Error {
    Error::of_field(
        Code::Conflict,
        Field::UserId,
        " is the last admin of this group; make somebody else an admin first",
    )
}

/// A group that was locked on behalf of one of its admins, and the member whom their request names.
struct GroupOfAdmin {
    locked: LockedGroup,
    user_name: String,
    is_admin: bool,
    has_other_admins: bool,
}

impl GroupOfAdmin {
    fn is_last_admin(&self) -> bool {
        self.is_admin && !self.has_other_admins
    }
}

/// Locks a group, and then checks that `by` is an admin of it and `user` a member. In this order: a query that waits
/// for a lock would see the members from before the wait.
async fn lock_as_admin(
    connection: &mut PgConnection,
    group: GroupId,
    by: UserId,
    user: UserId,
) -> Result<GroupOfAdmin, Error> {
    let locked = members::lock_group(connection, group).await?;
    let found = sqlx::query!(
        r#"select me.is_admin as "i_am_admin?", u.name as "user_name?", m.is_admin as "is_admin?",
                  exists (select from members a where a.conversation_id = $1 and a.is_admin and a.user_id <> $3
                            and not exists (select from account_deletions d where d.user_id = a.user_id))
                  as "has_other_admins!"
           from (select) one
           left join members me on me.conversation_id = $1 and me.user_id = $2
                               and not exists (select from account_deletions d where d.user_id = $2)
           left join users u on u.id = $3 and u.deleted_at is null
           left join members m on m.conversation_id = $1 and m.user_id = $3"#,
        locked.id.0,
        by.0,
        user.0
    )
    .fetch_one(connection)
    .await?;
    match found.i_am_admin {
        None => return Err(Error::not_a_member()),
        Some(false) => return Err(Error::not_admin()),
        Some(true) => {}
    }
    let user_name = found.user_name.ok_or_else(|| Error::no_such_user(Field::UserId))?;
    let is_admin = found
        .is_admin
        .ok_or_else(|| Error::of_field(Code::NotAMember, Field::UserId, ": this user is not a member of the group"))?;
    Ok(GroupOfAdmin { locked, user_name, is_admin, has_other_admins: found.has_other_admins })
}
