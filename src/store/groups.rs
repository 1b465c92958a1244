//! Groups and their members. Every change of a member list happens under the lock of its
//! conversation, the one that sends take, and moves `member_version`.

use std::sync::Arc;

use sqlx::PgConnection;

use super::Db;
use crate::error::{Code, Error};
use crate::model::{ConversationId, GroupId, GroupName, UserId};

/// Members of a group at one moment, that of a commit.
pub type MemberIds = Arc<[UserId]>;

/// A group that was made, and whom the members are to hear of.
#[derive(Debug)]
pub struct NewGroup {
    /// Its id, which every later request names.
    pub id: GroupId,
    /// Everybody in it, the creator first.
    pub members: MemberIds,
    /// Those who were added, with their names, in the order of their ids.
    pub added: Vec<(UserId, String)>,
}

/// What a change of a member list says to those who are told.
#[derive(Debug)]
pub struct MemberChange {
    /// The group's name.
    pub group_name: String,
    /// The name of who came or went.
    pub user_name: String,
    /// Who is in the group after it.
    pub members: MemberIds,
}

/// Makes a group with its creator as its first admin.
///
/// # Errors
/// `not_found` where one of the users does not exist.
pub async fn create(db: &Db, creator: UserId, name: &GroupName, user_ids: &[UserId]) -> Result<NewGroup, Error> {
    let mut wanted: Vec<i64> = user_ids.iter().map(|id| id.0).filter(|id| *id != creator.0).collect();
    wanted.sort_unstable();
    wanted.dedup();

    let mut tx = db.pool.begin().await?;
    // Locked, so that nobody who deletes the account meanwhile stays behind in the group.
    let found = sqlx::query!(
        "select id, name from users where id = any($1) and deleted_at is null order by id for share",
        &wanted
    )
    .fetch_all(&mut *tx)
    .await?;
    if let Some(missing) = wanted.iter().find(|id| !found.iter().any(|user| user.id == **id)) {
        return Err(Error::not_found(format!("params.userIds: there is no user {missing}")));
    }
    let id =
        sqlx::query_scalar!("insert into conversations (kind, name) values ('group', $1) returning id", name.as_str())
            .fetch_one(&mut *tx)
            .await?;
    sqlx::query!(
        "insert into members (conversation_id, user_id, kind, is_admin)
         select $1, i.id, 'group', i.id = $2::bigint from unnest($2::bigint || $3::bigint[]) as i (id)",
        id,
        creator.0,
        &wanted
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;

    let members = std::iter::once(creator).chain(wanted.into_iter().map(UserId)).collect();
    let added = found.into_iter().map(|user| (user.id.into(), user.name)).collect();
    Ok(NewGroup { id: id.into(), members, added })
}

/// Adds a user to a group, as any member may.
///
/// # Errors
/// `not_found` where there is no such group or user, `not_a_member` where `by` is none,
/// `already_a_member` where the user is in it.
pub async fn add_member(db: &Db, group: GroupId, by: UserId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let user_name =
        sqlx::query_scalar!("select name from users where id = $1 and deleted_at is null for share", user.0)
            .fetch_optional(&mut *tx)
            .await?;
    let locked = lock(&mut tx, group).await?;
    if !is_member(&mut tx, locked.id, by).await? {
        return Err(Error::not_a_member());
    }
    let user_name = user_name.ok_or_else(|| Error::not_found("params.userId: there is no such user"))?;
    let done = sqlx::query!(
        "insert into members (conversation_id, user_id, kind, read_seq) values ($1, $2, 'group', $3)
         on conflict (conversation_id, user_id) do nothing",
        locked.id.0,
        user.0,
        locked.last_seq
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::new(Code::AlreadyAMember, "User is already a member of this group"));
    }
    let members = next_version(&mut tx, locked.id).await?;
    tx.commit().await?;
    Ok(MemberChange { group_name: locked.name, user_name, members })
}

/// Leaves a group.
///
/// # Errors
/// `not_found` where there is no such group, `not_a_member` where the user is not in it.
pub async fn leave(db: &Db, group: GroupId, user: UserId) -> Result<MemberChange, Error> {
    let mut tx = db.pool.begin().await?;
    let locked = lock(&mut tx, group).await?;
    let Some(members) = remove_member(&mut tx, locked.id, user).await? else {
        return Err(Error::not_a_member());
    };
    let user_name = sqlx::query_scalar!("select name from users where id = $1", user.0).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(MemberChange { group_name: locked.name, user_name, members })
}

struct LockedGroup {
    id: ConversationId,
    name: String,
    last_seq: i64,
}

async fn lock(connection: &mut PgConnection, group: GroupId) -> Result<LockedGroup, Error> {
    sqlx::query_as!(
        LockedGroup,
        r#"select id, name as "name!", last_seq from conversations
           where id = $1 and kind = 'group' and ended_at is null for no key update"#,
        group.0
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Error::not_found("params.groupId: there is no such group"))
}

async fn is_member(connection: &mut PgConnection, group: ConversationId, user: UserId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from members where conversation_id = $1 and user_id = $2) as "is_member!""#,
        group.0,
        user.0
    )
    .fetch_one(connection)
    .await?)
}

/// Takes a user out of a group whose conversation is locked, and gives back who stays; `None` where
/// the user was not in it. A group that has lost its last admin gets its longest-standing member as
/// one, a group without members ends.
pub(super) async fn remove_member(
    connection: &mut PgConnection,
    group: ConversationId,
    user: UserId,
) -> Result<Option<MemberIds>, Error> {
    let done = sqlx::query!("delete from members where conversation_id = $1 and user_id = $2", group.0, user.0)
        .execute(&mut *connection)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!(
        "update members set is_admin = true
         where conversation_id = $1
           and user_id = (select user_id from members where conversation_id = $1 order by joined_at, user_id limit 1)
           and not exists (select from members where conversation_id = $1 and is_admin)",
        group.0
    )
    .execute(&mut *connection)
    .await?;
    let members = next_version(&mut *connection, group).await?;
    if members.is_empty() {
        sqlx::query!("update conversations set ended_at = now() where id = $1", group.0)
            .execute(&mut *connection)
            .await?;
    }
    Ok(Some(members))
}

/// Marks the member list as changed, and reads it.
async fn next_version(connection: &mut PgConnection, group: ConversationId) -> Result<MemberIds, Error> {
    sqlx::query!("update conversations set member_version = member_version + 1 where id = $1", group.0)
        .execute(&mut *connection)
        .await?;
    let ids = sqlx::query_scalar!("select user_id from members where conversation_id = $1 order by user_id", group.0)
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().map(UserId).collect())
}
