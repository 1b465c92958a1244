//! Notifications that users send each other, stored for those who are offline.

use super::{Db, self_reference_error};
use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::{ListPosition, ListStart, NotificationData, NotificationId, NotificationKind, Timestamp, UserId};

/// A stored notification.
#[derive(Debug)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// Its kind, which the sender chose.
    pub kind: String,
    /// The sender.
    pub sender_id: UserId,
    /// Current name of the sender.
    pub sender_name: String,
    /// Its payload as JSON text, if any.
    pub data: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When the receiver read it.
    pub read_at: Option<Timestamp>,
}

/// The outcome of [`read`] and [`read_all`].
#[derive(Debug)]
pub struct ReadOutcome {
    /// When it was first read.
    pub read_at: Timestamp,
    /// Whether this request was the first.
    pub is_new: bool,
}

/// Maximum number of notifications that one send deletes if the receiver has more than are kept.
const MAX_DELETED_PER_SEND: i64 = 100;

/// Stores a notification. Returns it, and whether to push it too: a notification from a dialog that the receiver has
/// marked as spam is only listed, and the sender does not learn of that. If the receiver has more notifications than
/// are kept, the oldest are deleted.
///
/// # Errors
/// `not_found` if there is no such user, `blocked` if they have blocked the sender, `self` for oneself, `conflict` if
/// they have the maximum number of unread notifications from the sender.
pub async fn send(
    db: &Db,
    sender: UserId,
    receiver: UserId,
    kind: &NotificationKind,
    data: Option<&NotificationData>,
    limits: &Limits,
) -> Result<(Notification, bool), Error> {
    let mut tx = db.pool.begin().await?;
    // Serializes the sends of one sender to one receiver, so that no two of them use the last free slot. A statement of
    // its own: the query that counts would not see what it has waited for.
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(format('notifications %s %s', $1::bigint, $2::bigint), 0))",
        sender.0,
        receiver.0
    )
    .execute(&mut *tx)
    .await?;
    // The share lock on the receiver keeps the account from being deleted in between, which deletes its notifications;
    // and `read_all` waits for it, so that no notification in flight is marked as read.
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
    .map_err(self_reference_error)?
    .ok_or_else(|| Error::no_such_user(Field::UserId))?;
    if row.is_blocked {
        return Err(Error::blocked());
    }
    let (Some(id), Some(created_at)) = (row.id, row.created_at) else {
        let max = limits.max_unread_notifications_from_one;
        let full = format!(": this user has {max} notifications of yours to read first");
        return Err(Error::of_field(Code::Conflict, Field::UserId, full));
    };
    if limits.max_notifications_per_user > 0 {
        sqlx::query!(
            // Found first and locked afterwards, so that the rows before the offset are not locked.
            "delete from notifications where id = any(array(
                 select l.id from notifications l
                 where l.id = any(array(
                     select n.id from notifications n where n.user_id = $1 order by n.id desc offset $2 limit $3))
                 for update skip locked))",
            receiver.0,
            limits.max_notifications_per_user,
            MAX_DELETED_PER_SEND
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

/// A page of a user's notifications, newest first.
///
/// # Errors
/// Only if the database fails.
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

/// The position of a notification in [`list`].
#[must_use]
pub fn list_position(notification: &Notification) -> ListPosition {
    ListPosition { at: 0, id: notification.id.0 }
}

/// Marks one notification of a user as read. Idempotent: the time of the first request stays.
///
/// # Errors
/// `not_found` if they have no such notification.
pub async fn read(db: &Db, user: UserId, id: NotificationId) -> Result<ReadOutcome, Error> {
    sqlx::query_as!(
        ReadOutcome,
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

/// Marks all notifications of a user as read; those that were read before keep their time. The cost does not depend
/// on their number: one row of `notification_reads` holds the id up to which all are read.
///
/// # Errors
/// Only if the database fails.
pub async fn read_all(db: &Db, user: UserId) -> Result<ReadOutcome, Error> {
    let mut tx = db.pool.begin().await?;
    // A notification in flight has its id already, and this waits for it; a later one gets a higher id. A statement of
    // its own, because one that waits does not see what it has waited for.
    sqlx::query!("select from users where id = $1 for no key update", user.0).execute(&mut *tx).await?;
    let outcome = sqlx::query_as!(
        ReadOutcome,
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
    // A row that covers no stored notification has no meaning any more.
    sqlx::query!(
        "delete from notification_reads
         where user_id = $1 and up_to < (select n.id from notifications n where n.user_id = $1 order by n.id limit 1)",
        user.0
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(outcome)
}

/// Deletes up to `rows` notifications that a deleted account has received, and returns how many rows were deleted.
/// Those that it has sent stay with their receivers.
pub(super) async fn delete_batch(tx: &mut sqlx::PgConnection, user: UserId, rows: i64) -> Result<u64, Error> {
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
