//! What admins do to a group: who is out, who is an admin, the name, the end.

use sqlx::PgConnection;

use super::Db;
use super::members::{self, LockedGroup, MemberChange, Noted};
use crate::error::{Code, Error, Field};
use crate::model::{GroupId, GroupName, UserId};

/// Takes a user out of a group, as an admin may.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`; `conflict` where the user is its last admin.
pub async fn remove(db: &Db, group: GroupId, by: UserId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let found = administer(&mut tx, group, by, user).await?;
    if found.is_last_admin() {
        return Err(last_admin());
    }
    let Administered { locked, user_name, .. } = found;
    sqlx::query!("delete from members where conversation_id = $1 and user_id = $2", locked.id.0, user.0)
        .execute(&mut *tx)
        .await?;
    members::note(&mut tx, [Noted::of(locked.id, "removeUserFromGroup", user)]).await?;
    let members = members::changed(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(locked.change(user, user_name, members))
}

/// Makes a member an admin, or an admin a member, as an admin may. None where they are that already.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`; `conflict` where the group would lose its last admin.
pub async fn set_admin(
    db: &Db,
    group: GroupId,
    by: UserId,
    user: UserId,
    is_admin: bool,
) -> Result<Option<MemberChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let found = administer(&mut tx, group, by, user).await?;
    if found.is_admin == is_admin {
        return Ok(None);
    }
    if found.is_last_admin() {
        return Err(last_admin());
    }
    let Administered { locked, user_name, .. } = found;
    sqlx::query!(
        "update members set is_admin = $3 where conversation_id = $1 and user_id = $2",
        locked.id.0,
        user.0,
        is_admin
    )
    .execute(&mut *tx)
    .await?;
    let kind = if is_admin { "addGroupAdmin" } else { "removeGroupAdmin" };
    members::note(&mut tx, [Noted::of(locked.id, kind, user)]).await?;
    let members = members::changed(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(Some(locked.change(user, user_name, members)))
}

/// Gives a group another name, as an admin may. None where it has that name already.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`.
pub async fn rename(db: &Db, group: GroupId, by: UserId, name: &GroupName) -> Result<Option<MemberChange>, Error> {
    let mut tx = db.pool.begin().await?;
    let Administered { mut locked, user_name, .. } = administer(&mut tx, group, by, by).await?;
    if locked.name == name.as_str() {
        return Ok(None);
    }
    name.as_str().clone_into(&mut locked.name);
    sqlx::query!("update conversations set name = $2 where id = $1", locked.id.0, locked.name)
        .execute(&mut *tx)
        .await?;
    members::note(&mut tx, [Noted { user: None, ..Noted::of(locked.id, "renameGroup", by) }]).await?;
    let members = members::changed(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(Some(locked.change(by, user_name, members)))
}

/// Ends a group, as an admin may. Its messages stay where they are, for nobody to read.
///
/// # Errors
/// `not_found`, `not_a_member`, `not_admin`.
pub async fn end(db: &Db, group: GroupId, by: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let Administered { locked, user_name, .. } = administer(&mut tx, group, by, by).await?;
    let mut members =
        sqlx::query_scalar!("delete from members where conversation_id = $1 returning user_id", locked.id.0)
            .fetch_all(&mut *tx)
            .await?;
    members.sort_unstable();
    members::note(&mut tx, members.iter().map(|member| Noted::of(locked.id, "dropGroup", UserId(*member)))).await?;
    members::changed(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(locked.change(by, user_name, members.into_iter().map(UserId).collect()))
}

fn last_admin() -> Error {
    Error::of_field(
        Code::Conflict,
        Field::UserId,
        " is the last admin of this group; make somebody else an admin first",
    )
}

/// A group that is locked for one of its admins, and how somebody stands in it.
struct Administered {
    locked: LockedGroup,
    user_name: String,
    is_admin: bool,
    has_other_admins: bool,
}

impl Administered {
    fn is_last_admin(&self) -> bool {
        self.is_admin && !self.has_other_admins
    }
}

/// Locks a group, and then looks whether `by` is an admin of it and how `user` stands in it.
async fn administer(
    connection: &mut PgConnection,
    group: GroupId,
    by: UserId,
    user: UserId,
) -> Result<Administered, Error> {
    let locked = members::lock(connection, group).await?;
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
    Ok(Administered { locked, user_name, is_admin, has_other_admins: found.has_other_admins })
}
