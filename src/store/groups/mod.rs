//! Groups: creates them and lists their members. Joining and leaving is in `members`, what admins do in `admins`,
//! how many groups a user may be in and who may add them in `quotas`.

pub mod admins;
pub mod member_cache;
pub mod members;
mod quotas;

pub use self::member_cache::MemberIds;

use chrono::DateTime;
use sqlx::PgConnection;

use self::quotas::ExistingUser;
use super::Db;
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ConversationId, GroupId, GroupName, ListPosition, ListStart, Timestamp, UserId};

/// A group that was created, with what the pushes about it need.
#[derive(Debug)]
pub struct CreatedGroup {
    /// Its id.
    pub id: GroupId,
    /// All members, the creator first.
    pub members: MemberIds,
    /// The creator's current name.
    pub creator_name: String,
    /// The other members and their names, in the order of their ids.
    pub added: Vec<(UserId, String)>,
}

/// A member of a group.
#[derive(Debug)]
pub struct GroupMember {
    /// The user.
    pub id: UserId,
    /// Their current name.
    pub name: String,
    /// First name, if any.
    pub first_name: Option<String>,
    /// Last name, if any.
    pub last_name: Option<String>,
    /// `None` if they signed up by e-mail.
    pub username: Option<String>,
    /// Whether they are an admin of the group.
    pub is_admin: bool,
    /// When they joined.
    pub joined_at: Timestamp,
}

/// The field that errors of [`create`] are about.
const FIELD: Field = Field::UserIds;

/// Creates a group of its creator, who is its first admin, and of other users.
///
/// # Errors
/// `not_found` if one of the users does not exist, `blocked` if one has blocked the creator, `conflict` if there are
/// too many users, or the creator or one of them has reached a quota of groups.
pub async fn create(
    db: &Db,
    creator: UserId,
    name: &GroupName,
    user_ids: &[UserId],
    limits: &Limits,
) -> Result<CreatedGroup, Error> {
    let mut others: Vec<i64> = user_ids.iter().map(|id| id.0).filter(|id| *id != creator.0).collect();
    others.sort_unstable();
    others.dedup();
    quotas::check_group_size(others.len() + 1, FIELD, limits)?;

    let mut tx = db.pool.begin().await?;
    let all: Vec<i64> = others.iter().copied().chain([creator.0]).collect();
    // Checked before the locks too, so that a refused request takes no locks, however many users it names.
    let found = quotas::find_users(&mut tx, &all).await?;
    check_users(&mut tx, creator, &others, found, limits).await?;
    // Locked, so that no account that is deleted meanwhile becomes a member.
    let found = quotas::lock_users(&mut tx, &all).await?;
    let (creator_name, found) = check_users(&mut tx, creator, &others, found, limits).await?;
    let id = sqlx::query_scalar!(
        "insert into conversations (kind, name, change) values ('group', $1, current_change()) returning id",
        name.as_str()
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "with made as (
             insert into members (conversation_id, user_id, kind, is_admin, added_by)
             select $1, i.id, 'group', i.id = $2::bigint, $2::bigint from unnest($2::bigint || $3::bigint[]) as i (id)
         )
         insert into group_events (conversation_id, change, kind, user_id, group_name)
         select $1, (select current_change()), 'addUserInGroup', i.id, $4
         from unnest($2::bigint || $3::bigint[]) with ordinality as i (id, place) order by i.place",
        id,
        creator.0,
        &others,
        name.as_str()
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;

    let members = std::iter::once(creator).chain(others.into_iter().map(UserId)).collect();
    let added = found.into_iter().map(|user| (user.id.into(), user.name)).collect();
    Ok(CreatedGroup { id: id.into(), members, creator_name, added })
}

/// Checks that `creator` may create a group with `others`; `found` are those of them all who exist. Returns the
/// creator's name, and the others.
async fn check_users(
    connection: &mut PgConnection,
    creator: UserId,
    others: &[i64],
    mut found: Vec<ExistingUser>,
    limits: &Limits,
) -> Result<(String, Vec<ExistingUser>), Error> {
    let creator_index = found.iter().position(|user| user.id == creator.0).ok_or_else(Error::unauthorized)?;
    let creator_name = found.remove(creator_index).name;
    if let Some(missing) = others.iter().find(|id| found.binary_search_by_key(*id, |user| user.id).is_err()) {
        return Err(Error::of_field(Code::NotFound, FIELD, format!(": there is no user {missing}")));
    }
    quotas::check_creator(&mut *connection, creator, limits).await?;
    quotas::check_added(connection, creator, others, FIELD, limits).await?;
    Ok((creator_name, found))
}

/// A page of the members of a group, in the order in which they joined; `start.below` is the row that it comes
/// after. A member whose account deletion is in progress is left out.
///
/// # Errors
/// Only if the database fails.
pub async fn list_members(
    db: &Db,
    group: ConversationId,
    limit: i64,
    start: ListStart,
) -> Result<Vec<GroupMember>, Error> {
    let after = start.below.and_then(|place| DateTime::from_timestamp_micros(place.at));
    Ok(sqlx::query_as!(
        GroupMember,
        "select u.id, u.name, u.first_name, u.last_name, u.username, m.is_admin, m.joined_at
         from members m join users u on u.id = m.user_id
         where m.conversation_id = $1 and m.kind = 'group' and u.deleted_at is null
           and (m.joined_at, m.user_id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::bigint, 0))
         order by m.joined_at, m.user_id limit $4 offset $5",
        group.0,
        after,
        start.below.map(|place| place.id),
        limit,
        start.skipped
    )
    .fetch_all(&db.pool)
    .await?)
}

/// The position of a member in the list of [`list_members`].
#[must_use]
pub fn list_position(member: &GroupMember) -> ListPosition {
    ListPosition { at: member.joined_at.0.timestamp_micros(), id: member.id.0 }
}
