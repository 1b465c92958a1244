//! The two lists of users that each user keeps: contacts, and blocked users.

use chrono::{DateTime, Utc};

use super::{Db, self_reference_error, users};
use crate::error::{Error, Field};
use crate::model::{ListPosition, ListStart, Timestamp, UserId};

/// The outcome of [`add`].
#[derive(Debug)]
pub struct AddedContact {
    /// Current name of the contact.
    pub name: String,
    /// Current name of the user who added them.
    pub by_name: String,
    /// Whether they were not a contact before.
    pub is_new: bool,
    /// Whether one of the two has blocked the other.
    pub is_blocked: bool,
}

/// The outcome of [`block`].
#[derive(Debug)]
pub struct BlockedUser {
    /// Current name of the blocked user.
    pub name: String,
    /// Whether they were not blocked before.
    pub is_new: bool,
}

/// A user on one of the two lists.
#[derive(Debug)]
pub struct ListedUser {
    /// The user's id.
    pub id: UserId,
    /// First name, if any.
    pub first_name: Option<String>,
    /// Last name, if any.
    pub last_name: Option<String>,
    /// Username; `None` if they signed up by e-mail.
    pub username: Option<String>,
    /// When they were added to the list.
    pub added_at: Timestamp,
}

/// Adds a contact. Idempotent.
///
/// # Errors
/// `not_found` if there is no such user, `self` for oneself, `unauthorized` if `user` has no account any more.
pub async fn add(db: &Db, user: UserId, contact: UserId) -> Result<AddedContact, Error> {
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
    .map_err(self_reference_error)?;
    tx.commit().await?;
    Ok(AddedContact { name, by_name, is_new: added.is_new, is_blocked: added.is_blocked })
}

/// Removes a contact, and returns their name; `None` if they were no contact.
///
/// # Errors
/// Only if the database fails.
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

/// A page of a user's contacts in the order in which they were added, without deleted accounts.
///
/// # Errors
/// Only if the database fails.
pub async fn list(db: &Db, user: UserId, limit: i64, start: ListStart) -> Result<Vec<ListedUser>, Error> {
    let (after_at, after_id) = after(start);
    Ok(sqlx::query_as!(
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
    .await?)
}

/// Blocks a user, whose messages, notifications and invitations to groups are refused from now on. Idempotent.
///
/// # Errors
/// `not_found` if there is no such user, `self` for oneself, `unauthorized` if `user` has no account any more.
pub async fn block(db: &Db, user: UserId, blocked: UserId) -> Result<BlockedUser, Error> {
    let mut tx = db.pool.begin().await?;
    let [_, name] = users::lock_pair(&mut tx, user, blocked, Field::UserId).await?;
    let added = sqlx::query!(
        "insert into blocks (user_id, blocked_id) values ($1, $2) on conflict do nothing",
        user.0,
        blocked.0
    )
    .execute(&mut *tx)
    .await
    .map_err(self_reference_error)?;
    tx.commit().await?;
    Ok(BlockedUser { name, is_new: added.rows_affected() == 1 })
}

/// Unblocks a user, and returns their name; `None` if they were not blocked.
///
/// # Errors
/// Only if the database fails.
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

/// A page of the users whom a user has blocked, in the order in which they were blocked, without deleted accounts.
///
/// # Errors
/// Only if the database fails.
pub async fn list_blocked(db: &Db, user: UserId, limit: i64, start: ListStart) -> Result<Vec<ListedUser>, Error> {
    let (after_at, after_id) = after(start);
    Ok(sqlx::query_as!(
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
    .await?)
}

/// Deletes up to `rows` entries of a deleted account from each list, on either side, and returns how many were
/// deleted. A locked row is skipped: two accounts that list each other can be deleted at once, and the transaction
/// that holds their row deletes it.
pub(super) async fn delete_batch(tx: &mut sqlx::PgConnection, user: UserId, rows: i64) -> Result<u64, Error> {
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

/// The position of a user in [`list`] and [`list_blocked`].
#[must_use]
pub fn list_position(listed: &ListedUser) -> ListPosition {
    ListPosition { at: listed.added_at.0.timestamp_micros(), id: listed.id.0 }
}

/// The position that a page comes after; the first page comes after a position before all rows.
fn after(start: ListStart) -> (DateTime<Utc>, i64) {
    let ListPosition { at, id } = start.below.unwrap_or(ListPosition { at: 0, id: 0 });
    (DateTime::from_timestamp_micros(at).unwrap_or_default(), id)
}
