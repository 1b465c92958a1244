//! What people let each other know, kept for who is away.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Db, not_oneself};
use crate::error::Error;
use crate::model::{ListStart, NotificationData, NotificationId, NotificationKind, Place, Timestamp, UserId};
use crate::wire::items::NotificationItem;

/// A notification as it is stored.
#[derive(Debug)]
pub struct Notification {
    /// Which.
    pub id: NotificationId,
    /// What it is about.
    pub kind: String,
    /// From whom.
    pub sender_id: UserId,
    /// Their current name.
    pub sender_name: String,
    /// JSON that goes with it.
    pub data: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was read.
    pub read_at: Option<Timestamp>,
}

impl Notification {
    /// As clients read it.
    ///
    /// # Errors
    /// Where what is stored is not JSON.
    pub fn item(&self) -> Result<NotificationItem<'_>, Error> {
        let data = self.data.clone().map(RawValue::from_string).transpose().map_err(Error::internal)?;
        Ok(NotificationItem {
            notification_id: Some(self.id),
            kind: Cow::Borrowed(&self.kind),
            user_id: self.sender_id,
            user_name: Cow::Borrowed(&self.sender_name),
            data,
            created_at: self.created_at,
            read_at: self.read_at,
        })
    }
}

/// What became of reading a notification.
#[derive(Debug)]
pub struct WasRead {
    /// When it was first read.
    pub read_at: Timestamp,
    /// Whether that was now.
    pub is_new: bool,
}

/// Stores a notification for `receiver`. Gives back whether to push it too: what comes from a dialog
/// that the receiver called spam waits in their list, and the sender does not learn of it.
///
/// # Errors
/// `not_found` where there is no such user, `blocked` where they take nothing from the sender, `self`
/// for oneself.
pub async fn send(
    db: &Db,
    sender: UserId,
    receiver: UserId,
    kind: &NotificationKind,
    data: Option<&NotificationData>,
) -> Result<(Notification, bool), Error> {
    // The lock keeps the account from being deleted in between, which takes its notifications along.
    let row = sqlx::query!(
        r#"with receiver as (
               select u.id, exists (select from blocks b where b.user_id = u.id and b.blocked_id = $1) as is_blocked
               from users u where u.id = $2 and u.deleted_at is null for share of u
           ), stored as (
               insert into notifications (user_id, sender_id, kind, data)
               select id, $1, $3, $4 from receiver where not is_blocked
               returning id, created_at
           )
           select stored.id as "id?: NotificationId", stored.created_at as "created_at?: Timestamp",
                  me.name as sender_name,
                  exists (select from conversations c
                          join members m on m.conversation_id = c.id and m.user_id = $2 and m.is_spam
                          where c.low_user_id = least($1::bigint, $2) and c.high_user_id = greatest($1::bigint, $2)
                  ) as "is_spam!"
           from receiver join users me on me.id = $1 left join stored on true"#,
        sender.0,
        receiver.0,
        kind.as_str(),
        data.map(NotificationData::as_str)
    )
    .fetch_optional(&db.pool)
    .await
    .map_err(not_oneself)?
    .ok_or_else(|| Error::no_such_user("params.userId"))?;
    let (Some(id), Some(created_at)) = (row.id, row.created_at) else { return Err(Error::blocked()) };
    let notification = Notification {
        id,
        kind: kind.as_str().to_owned(),
        sender_id: sender,
        sender_name: row.sender_name,
        data: data.map(|data| data.as_str().to_owned()),
        created_at,
        read_at: None,
    };
    Ok((notification, !row.is_spam))
}

/// A page of somebody's notifications, newest first.
///
/// # Errors
/// Only where the database fails.
pub async fn list(db: &Db, user: UserId, limit: i64, start: ListStart) -> Result<Vec<Notification>, Error> {
    Ok(sqlx::query_as!(
        Notification,
        r#"select n.id, n.kind, n.sender_id, u.name as sender_name, n.data, n.created_at, n.read_at as "read_at: _"
           from notifications n join users u on u.id = n.sender_id
           where n.user_id = $1 and n.id < $2
           order by n.id desc limit $3 offset $4"#,
        user.0,
        start.below.map_or(i64::MAX, |place| place.id),
        limit,
        start.skipped
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Where a notification stands in the list.
#[must_use]
pub fn place(notification: &Notification) -> Place {
    Place { at: 0, id: notification.id.0 }
}

/// Marks one of somebody's notifications as read; the first time counts.
///
/// # Errors
/// `not_found` where they have no such notification.
pub async fn read(db: &Db, user: UserId, id: NotificationId) -> Result<WasRead, Error> {
    sqlx::query_as!(
        WasRead,
        r#"with found as (
               select id, read_at from notifications where id = $1 and user_id = $2 for no key update
           ), changed as (
               update notifications n set read_at = now() from found
               where n.id = found.id and found.read_at is null
               returning n.read_at
           )
           select coalesce(found.read_at, changed.read_at) as "read_at!: _", found.read_at is null as "is_new!"
           from found left join changed on true"#,
        id.0,
        user.0
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(|| Error::not_found("params.notificationId: there is no such notification"))
}

/// Marks all of somebody's notifications as read; those that were read stay as they are.
///
/// # Errors
/// Only where the database fails.
pub async fn read_all(db: &Db, user: UserId) -> Result<WasRead, Error> {
    // In one order, so that two devices can do so at once.
    Ok(sqlx::query_as!(
        WasRead,
        r#"with unread as (
               select id from notifications where user_id = $1 and read_at is null order by id for no key update
           ), changed as (
               update notifications n set read_at = now() from unread where n.id = unread.id
               returning n.id
           )
           select now()::timestamptz(3) as "read_at!: _", exists (select from changed) as "is_new!""#,
        user.0
    )
    .fetch_one(&db.pool)
    .await?)
}

/// Deletes some of what came to a deleted account, and says how much. What it sent stays with those
/// who have it.
pub(super) async fn delete_portion(tx: &mut sqlx::PgConnection, user: UserId, rows: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from notifications n
         using (select id from notifications where user_id = $1 order by id desc limit $2 for update skip locked) gone
         where n.id = gone.id",
        user.0,
        rows
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}
