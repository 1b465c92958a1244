//! Whom somebody has on their lists: their contacts, and those from whom they take nothing.

use chrono::{DateTime, Utc};

use super::{Db, not_oneself, users};
use crate::error::{Error, Field};
use crate::model::{ListPosition, ListStart, Timestamp, UserId};
use crate::wire::items::{ListedPersonItem, PersonItem};

/// What became of adding a contact.
#[derive(Debug)]
pub struct Added {
    /// Current name of the contact.
    pub name: String,
    /// Current name of who added them.
    pub by_name: String,
    /// Whether they were not on the list before.
    pub is_new: bool,
    /// Whether one of the two takes nothing from the other.
    pub is_blocked: bool,
}

/// What became of blocking somebody.
#[derive(Debug)]
pub struct Blocked {
    /// Their current name.
    pub name: String,
    /// Whether they were not on the list before.
    pub is_new: bool,
}

/// Puts somebody on `user`'s contacts; twice is as good as once.
///
/// # Errors
/// `not_found` where there is no such user, `self` for oneself, `unauthorized` where `user` is gone.
pub async fn add(db: &Db, user: UserId, contact: UserId) -> Result<Added, Error> {
    let mut tx = db.pool.begin().await?;
    let [by_name, name] = users::lock_pair(&mut tx, user, contact, Field::UserId).await?;
    let added = sqlx::query!(
        r#"with added as (
               insert into contacts (user_id, contact_id) values ($1, $2)
               on conflict do nothing returning contact_id
           )
           select exists (select from added) as "is_new!",
                  exists (select from blocks
                          where (user_id, blocked_id) in (($1::bigint, $2::bigint), ($2, $1))) as "is_blocked!""#,
        user.0,
        contact.0
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(not_oneself)?;
    tx.commit().await?;
    Ok(Added { name, by_name, is_new: added.is_new, is_blocked: added.is_blocked })
}

/// Takes somebody from `user`'s contacts, and gives back their name; `None` where they were not there.
///
/// # Errors
/// Only where the database fails.
pub async fn remove(db: &Db, user: UserId, contact: UserId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"delete from contacts where user_id = $1 and contact_id = $2
           returning (select name from users where id = contact_id) as "name!""#,
        user.0,
        contact.0
    )
    .fetch_optional(&db.pool)
    .await?)
}

/// A page of somebody's contacts, who came first first; without those who are gone.
///
/// # Errors
/// Only where the database fails.
pub async fn list(db: &Db, user: UserId, limit: i64, start: ListStart) -> Result<Vec<ListedPersonItem>, Error> {
    let (after_at, after_id) = after(start);
    let rows = sqlx::query_as!(
        ListedUser,
        "select u.id, u.first_name, u.last_name, u.username, c.created_at as added_at
         from contacts c join users u on u.id = c.contact_id
         where c.user_id = $1 and u.deleted_at is null and (c.created_at, c.contact_id) > ($2, $3)
         order by c.created_at, c.contact_id limit $4 offset $5",
        user.0,
        after_at,
        after_id,
        limit,
        start.skipped
    )
    .fetch_all(&db.pool)
    .await?;
    Ok(rows.into_iter().map(ListedPersonItem::from).collect())
}

/// Lets `user` take nothing from somebody any more; twice is as good as once.
///
/// # Errors
/// `not_found` where there is no such user, `self` for oneself, `unauthorized` where `user` is gone.
pub async fn block(db: &Db, user: UserId, blocked: UserId) -> Result<Blocked, Error> {
    let mut tx = db.pool.begin().await?;
    let [_, name] = users::lock_pair(&mut tx, user, blocked, Field::UserId).await?;
    let added = sqlx::query!(
        "insert into blocks (user_id, blocked_id) values ($1, $2) on conflict do nothing",
        user.0,
        blocked.0
    )
    .execute(&mut *tx)
    .await
    .map_err(not_oneself)?;
    tx.commit().await?;
    Ok(Blocked { name, is_new: added.rows_affected() == 1 })
}

/// Ends a block, and gives back the name of who was blocked; `None` where there was none.
///
/// # Errors
/// Only where the database fails.
pub async fn unblock(db: &Db, user: UserId, blocked: UserId) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"delete from blocks where user_id = $1 and blocked_id = $2
           returning (select name from users where id = blocked_id) as "name!""#,
        user.0,
        blocked.0
    )
    .fetch_optional(&db.pool)
    .await?)
}

/// A page of those whom somebody has blocked, who came first first; without those who are gone.
///
/// # Errors
/// Only where the database fails.
pub async fn list_blocked(db: &Db, user: UserId, limit: i64, start: ListStart) -> Result<Vec<ListedPersonItem>, Error> {
    let (after_at, after_id) = after(start);
    let rows = sqlx::query_as!(
        ListedUser,
        "select u.id, u.first_name, u.last_name, u.username, b.created_at as added_at
         from blocks b join users u on u.id = b.blocked_id
         where b.user_id = $1 and u.deleted_at is null and (b.created_at, b.blocked_id) > ($2, $3)
         order by b.created_at, b.blocked_id limit $4 offset $5",
        user.0,
        after_at,
        after_id,
        limit,
        start.skipped
    )
    .fetch_all(&db.pool)
    .await?;
    Ok(rows.into_iter().map(ListedPersonItem::from).collect())
}

/// Takes a deleted account from some of the lists that it is on, its own included, and says from how
/// many. A row that is locked is left out: two accounts that know each other can be deleted at once,
/// and whoever holds their row deletes it.
pub(super) async fn delete_portion(tx: &mut sqlx::PgConnection, user: UserId, rows: i64) -> Result<u64, Error> {
    let mut deleted = 0;
    deleted += sqlx::query!(
        "delete from contacts t
         using (select user_id, contact_id from contacts where user_id = $1 limit $2 for update skip locked) gone
         where t.user_id = gone.user_id and t.contact_id = gone.contact_id",
        user.0,
        rows
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    deleted += sqlx::query!(
        "delete from contacts t
         using (select user_id, contact_id from contacts where contact_id = $1 limit $2 for update skip locked) gone
         where t.user_id = gone.user_id and t.contact_id = gone.contact_id",
        user.0,
        rows
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    deleted += sqlx::query!(
        "delete from blocks t
         using (select user_id, blocked_id from blocks where user_id = $1 limit $2 for update skip locked) gone
         where t.user_id = gone.user_id and t.blocked_id = gone.blocked_id",
        user.0,
        rows
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    deleted += sqlx::query!(
        "delete from blocks t
         using (select user_id, blocked_id from blocks where blocked_id = $1 limit $2 for update skip locked) gone
         where t.user_id = gone.user_id and t.blocked_id = gone.blocked_id",
        user.0,
        rows
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    Ok(deleted)
}

/// Where somebody stands on such a list.
#[must_use]
pub fn place(listed: &ListedPersonItem) -> ListPosition {
    ListPosition { at: listed.added_at.0.timestamp_micros(), id: listed.person.id.0 }
}

/// The row that a page comes after; before all others where it comes after none.
fn after(start: ListStart) -> (DateTime<Utc>, i64) {
    let ListPosition { at, id } = start.below.unwrap_or(ListPosition { at: 0, id: 0 });
    (DateTime::from_timestamp_micros(at).unwrap_or_default(), id)
}

/// A user on a list of contacts or blocked users.
#[derive(Debug)]
pub struct ListedUser {
    /// The user.
    pub id: UserId,
    /// First name, if they gave one.
    pub first_name: Option<String>,
    /// Last name, if they gave one.
    pub last_name: Option<String>,
    /// Username, if they have one.
    pub username: Option<String>,
    /// When they were added to the list.
    pub added_at: Timestamp,
}

impl From<ListedUser> for ListedPersonItem {
    fn from(row: ListedUser) -> Self {
        let ListedUser { id, first_name, last_name, username, added_at } = row;
        Self { person: PersonItem { id, first_name, last_name, username, email: None }, added_at }
    }
}
