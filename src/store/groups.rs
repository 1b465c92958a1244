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
    let mut found = sqlx::query!(
        "select id, name from users where id = any($1::bigint[] || $2::bigint) and deleted_at is null order by id for share",
        &wanted,
        creator.0
    )
    .fetch_all(&mut *tx)
    .await?;
    let everybody = found.len();
    found.retain(|user| user.id != creator.0);
    if found.len() == everybody {
        return Err(Error::unauthorized());
    }
    if let Some(missing) = wanted.iter().find(|id| found.binary_search_by_key(*id, |user| user.id).is_err()) {
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
    let user_name = user_name.ok_or_else(|| Error::no_such_user("params.userId"))?;
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
    let (_, members) = next_version(&mut tx, &[locked.id.0]).await?.pop().ok_or_else(Error::no_such_group)?;
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
    let (_, members) = remove_member(&mut tx, &[locked.id.0], user).await?.pop().ok_or_else(Error::not_a_member)?;
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
    .ok_or_else(Error::no_such_group)
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

/// Takes a user out of groups whose conversations are locked, and gives back who stays in each that
/// the user was in. A group that has lost its last admin gets its longest-standing member as one, a
/// group without members ends. The same number of statements for any number of groups: their locks
/// hold up everybody who writes there.
pub(super) async fn remove_member(
    connection: &mut PgConnection,
    groups: &[i64],
    user: UserId,
) -> Result<Vec<(GroupId, MemberIds)>, Error> {
    let left = sqlx::query_scalar!(
        "delete from members where conversation_id = any($1) and user_id = $2 returning conversation_id",
        groups,
        user.0
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "update members m set is_admin = true
         from (select distinct on (conversation_id) conversation_id, user_id from members
               where conversation_id = any($1)
                 and conversation_id not in (
                     select conversation_id from members where conversation_id = any($1) and is_admin)
               order by conversation_id, joined_at, user_id) next
         where m.conversation_id = next.conversation_id and m.user_id = next.user_id",
        &left
    )
    .execute(&mut *connection)
    .await?;
    next_version(connection, &left).await
}

/// Marks the member lists as changed, and reads them; a group without members ends.
async fn next_version(connection: &mut PgConnection, groups: &[i64]) -> Result<Vec<(GroupId, MemberIds)>, Error> {
    let lists = sqlx::query!(
        r#"update conversations c
           set member_version = c.member_version + 1, ended_at = case when l.ids is null then now() end
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
