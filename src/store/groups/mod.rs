//! Groups: making one, and who is in it.

pub mod admins;
pub mod member_cache;
pub mod members;
mod places;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use self::places::FoundUser;
use super::Db;
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ConversationId, GroupId, GroupName, ListPosition, ListStart, Timestamp, UserId};

/// Members of a group at one moment, that of a commit.
pub type MemberIds = Arc<[UserId]>;

/// A group that was made, and whom the members are to hear of.
#[derive(Debug)]
pub struct NewGroup {
    /// Its id, which every later request names.
    pub id: GroupId,
    /// Everybody in it, the creator first.
    pub members: MemberIds,
    /// The creator's current name.
    pub creator_name: String,
    /// Those who were added, with their names, in the order of their ids.
    pub added: Vec<(UserId, String)>,
}

/// Somebody in a group.
#[derive(Debug)]
pub struct GroupUser {
    /// Who.
    pub id: UserId,
    /// Their current name.
    pub name: String,
    /// First name, if they gave one.
    pub first_name: Option<String>,
    /// Last name, if they gave one.
    pub last_name: Option<String>,
    /// Null where they signed up by e-mail.
    pub username: Option<String>,
    /// Whether they are an admin of it.
    pub is_admin: bool,
    /// Since when they are in it.
    pub joined_at: Timestamp,
}

/// The field that names the people of a new group.
const FIELD: Field = Field::UserIds;

/// Makes a group with its creator as its first admin.
///
/// # Errors
/// `not_found` where one of the users does not exist, `blocked` where one takes nothing from the creator,
/// `conflict` where the creator or one of them is in as many groups as they may be, or these are too many.
pub async fn create(
    db: &Db,
    creator: UserId,
    name: &GroupName,
    user_ids: &[UserId],
    limits: &Limits,
) -> Result<NewGroup, Error> {
    let mut wanted: Vec<i64> = user_ids.iter().map(|id| id.0).filter(|id| *id != creator.0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    places::check_size(wanted.len() + 1, FIELD, limits)?;

    let mut tx = db.pool.begin().await?;
    let everybody: Vec<i64> = wanted.iter().copied().chain([creator.0]).collect();
    // Before the locks, so that whoever is refused has held up nobody, however many they name.
    let found = places::find(&mut tx, &everybody).await?;
    check_everybody(&mut tx, creator, &wanted, found, limits).await?;
    // Locked, so that nobody who deletes the account meanwhile stays behind in the group.
    let found = places::lock(&mut tx, &everybody).await?;
    let (creator_name, found) = check_everybody(&mut tx, creator, &wanted, found, limits).await?;
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
        &wanted,
        name.as_str()
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;

    let members = std::iter::once(creator).chain(wanted.into_iter().map(UserId)).collect();
    let added = found.into_iter().map(|user| (user.id.into(), user.name)).collect();
    Ok(NewGroup { id: id.into(), members, creator_name, added })
}

/// Whether `creator` may make a group with all of these people, of whom `found` are there. Gives back the
/// creator's name, and the others.
async fn check_everybody(
    connection: &mut PgConnection,
    creator: UserId,
    wanted: &[i64],
    mut found: Vec<FoundUser>,
    limits: &Limits,
) -> Result<(String, Vec<FoundUser>), Error> {
    let creators_place = found.iter().position(|user| user.id == creator.0).ok_or_else(Error::unauthorized)?;
    let creator_name = found.remove(creators_place).name;
    if let Some(missing) = wanted.iter().find(|id| found.binary_search_by_key(*id, |user| user.id).is_err()) {
        return Err(Error::of_field(Code::NotFound, FIELD, format!(": there is no user {missing}")));
    }
    places::check_own(&mut *connection, creator, limits).await?;
    places::check(connection, creator, wanted, FIELD, limits).await?;
    Ok((creator_name, found))
}

/// A page of the people in a group, the longest-standing first; it starts past a place, not below it.
/// Without those who have deleted their account and are about to leave.
///
/// # Errors
/// Only where the database fails.
pub async fn users(db: &Db, group: ConversationId, limit: i64, start: ListStart) -> Result<Vec<GroupUser>, Error> {
    let past_at = start.below.and_then(|place| DateTime::from_timestamp_micros(place.at));
    Ok(sqlx::query_as!(
        GroupUser,
        "select u.id, u.name, u.first_name, u.last_name, u.username, m.is_admin, m.joined_at
         from members m join users u on u.id = m.user_id
         where m.conversation_id = $1 and m.kind = 'group' and u.deleted_at is null
           and (m.joined_at, m.user_id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::bigint, 0))
         order by m.joined_at, m.user_id limit $4 offset $5",
        group.0,
        past_at,
        start.below.map(|place| place.id),
        limit,
        start.skipped
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Where somebody stands in the list of the people in a group.
#[must_use]
pub fn place(user: &GroupUser) -> ListPosition {
    let Timestamp(joined_at): Timestamp = user.joined_at;
    let joined_at: DateTime<Utc> = joined_at;
    ListPosition { at: joined_at.timestamp_micros(), id: user.id.0 }
}
