//! What people let each other know, kept for who is away.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Db, not_oneself};
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ListPosition, ListStart, NotificationData, NotificationId, NotificationKind, Timestamp, UserId};
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

/// Notifications that one more takes with it at most, where there are more than are kept.
const MAX_TRIMMED: i64 = 100;

/// Stores a notification for `receiver`. Gives back whether to push it too: what comes from a dialog
/// that the receiver called spam waits in their list, and the sender does not learn of it. Of more than
/// are kept for one person, the oldest go.
///
/// # Errors
/// `not_found` where there is no such user, `blocked` where they take nothing from the sender, `self`
/// for oneself, `conflict` where they have as many of the sender unread as they may.
pub async fn send(
    db: &Db,
    sender: UserId,
    receiver: UserId,
    kind: &NotificationKind,
    data: Option<&NotificationData>,
    limits: &Limits,
) -> Result<(Notification, bool), Error> {
    let mut tx = db.pool.begin().await?;
    // One after the other from one person to one person, so that no two are both the last one. Before the
    // query that counts, which would not see what it has waited for.
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(format('notifications %s %s', $1::bigint, $2::bigint), 0))",
        sender.0,
        receiver.0
    )
    .execute(&mut *tx)
    .await?;
    // The lock keeps the account from being deleted in between, which takes its notifications along; and
    // who reads all of them waits for it, so that none that is on its way is taken for read.
    let row = sqlx::query!(
        r#"with receiver as (
               select u.id, exists (select from blocks b where b.user_id = u.id and b.blocked_id = $1) as is_blocked,
                      $5::bigint > 0 and $5 <= (
                          select count(*) from (
                              select from notifications n
                              where n.user_id = $2 and n.sender_id = $1 and n.read_at is null
                                and n.id > coalesce((select max(r.up_to) from notification_reads r where r.user_id = $2), 0)
                              limit $5) unread) as is_full
               from users u where u.id = $2 and u.deleted_at is null for share of u
           ), stored as (
               insert into notifications (user_id, sender_id, kind, data)
               select id, $1, $3, $4 from receiver where not is_blocked and not is_full
               returning id, created_at
           )
           select stored.id as "id?: NotificationId", stored.created_at as "created_at?: Timestamp",
                  me.name as sender_name, receiver.is_blocked as "is_blocked!",
                  exists (select from conversations c
                          join members m on m.conversation_id = c.id and m.user_id = $2 and m.is_spam
                          where c.low_user_id = least($1::bigint, $2) and c.high_user_id = greatest($1::bigint, $2)
                  ) as "is_spam!"
           from receiver join users me on me.id = $1 left join stored on true"#,
        sender.0,
        receiver.0,
        kind.as_str(),
        data.map(NotificationData::as_str),
        limits.max_unread_notifications_from_one
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(not_oneself)?
    .ok_or_else(|| Error::no_such_user(Field::UserId))?;
    if row.is_blocked {
        return Err(Error::blocked());
    }
    let (Some(id), Some(created_at)) = (row.id, row.created_at) else {
        let most = limits.max_unread_notifications_from_one;
        let full = format!(": this user has {most} notifications of yours to read first");
        return Err(Error::of_field(Code::Conflict, Field::UserId, full));
    };
    if limits.max_notifications_per_user > 0 {
        sqlx::query!(
            // Found first and locked afterwards: what is skipped to get there is not to be locked.
            "delete from notifications where id = any(array(
                 select l.id from notifications l
                 where l.id = any(array(
                     select n.id from notifications n where n.user_id = $1 order by n.id desc offset $2 limit $3))
                 for update skip locked))",
            receiver.0,
            limits.max_notifications_per_user,
            MAX_TRIMMED
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
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
        r#"select n.id, n.kind, n.sender_id, u.name as sender_name, n.data, n.created_at,
                  notification_read_at(n) as "read_at: _"
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
pub fn place(notification: &Notification) -> ListPosition {
    ListPosition { at: 0, id: notification.id.0 }
}

/// Marks one of somebody's notifications as read; the first time counts.
///
/// # Errors
/// `not_found` where they have no such notification.
pub async fn read(db: &Db, user: UserId, id: NotificationId) -> Result<WasRead, Error> {
    sqlx::query_as!(
        WasRead,
        r#"with found as (
               select n.id, notification_read_at(n) as read_at from notifications n
               where n.id = $1 and n.user_id = $2 for no key update
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
    .ok_or_else(|| Error::of_field(Code::NotFound, Field::NotificationId, ": there is no such notification"))
}

/// Marks all of somebody's notifications as read; those that were read stay as they are. The same work
/// for any number of them.
///
/// # Errors
/// Only where the database fails.
pub async fn read_all(db: &Db, user: UserId) -> Result<WasRead, Error> {
    let mut tx = db.pool.begin().await?;
    // What is on its way has an id already, and is waited for; what comes later gets a higher one. A query
    // of its own, because one that waits does not see what it has waited for.
    sqlx::query!("select from users where id = $1 for no key update", user.0).execute(&mut *tx).await?;
    let was_read = sqlx::query_as!(
        WasRead,
        r#"with read as (
               insert into notification_reads (user_id, up_to, read_at)
               select $1, (select n.id from notifications n where n.user_id = $1 order by n.id desc limit 1),
                      clock_timestamp()
               where exists (
                   select from notifications n
                   where n.user_id = $1 and n.read_at is null
                     and n.id > coalesce((select max(r.up_to) from notification_reads r where r.user_id = $1), 0))
               returning read_at
           )
           select coalesce((select read_at from read), clock_timestamp()::timestamptz(3)) as "read_at!: _",
                  exists (select from read) as "is_new!""#,
        user.0
    )
    .fetch_one(&mut *tx)
    .await?;
    // What reaches no notification any more says nothing of any.
    sqlx::query!(
        "delete from notification_reads
         where user_id = $1 and up_to < (select n.id from notifications n where n.user_id = $1 order by n.id limit 1)",
        user.0
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(was_read)
}

/// Deletes some of what came to a deleted account, and says how much. What it sent stays with those
/// who have it.
pub(super) async fn delete_portion(tx: &mut sqlx::PgConnection, user: UserId, rows: i64) -> Result<u64, Error> {
    let notifications = sqlx::query!(
        "delete from notifications n
         using (select id from notifications where user_id = $1 order by id desc limit $2 for update skip locked) gone
         where n.id = gone.id",
        user.0,
        rows
    )
    .execute(&mut *tx)
    .await?;
    let reads = sqlx::query!("delete from notification_reads where user_id = $1", user.0).execute(tx).await?;
    Ok(notifications.rows_affected() + reads.rows_affected())
}
