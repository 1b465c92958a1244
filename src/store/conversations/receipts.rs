//! How far members have read and received, as markers on `seq` that only ever move forward.

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::{Seq, Timestamp, UserId};
use crate::store::conversations::Extent;
use crate::store::groups::MemberIds;
use crate::store::groups::member_cache;

/// A marker after it was asked to move.
#[derive(Debug)]
pub struct Marker {
    /// Where it is.
    pub seq: Seq,
    /// Since when; `None` where it was never moved.
    pub at: Option<Timestamp>,
    /// Messages of others past the read marker.
    pub unread_count: i64,
    /// Who is to hear that it has moved; `None` where it has not.
    pub told: Option<MemberIds>,
}

impl Marker {
    /// Of a dialog that has not begun.
    pub const NOWHERE: Self = Self { seq: 0, at: None, unread_count: 0, told: None };
}

/// Moves the read marker of a member to `seq`, or to the newest message, and the one of delivery with it.
///
/// One statement, and so one snapshot: how many of one's own messages are not past `seq` is the same
/// whatever else is sent or read meanwhile, because what a snapshot sees of a conversation is its
/// beginning. It is counted over the shorter way, from the old marker on or from the newest back.
///
/// # Errors
/// Only where the database fails.
pub async fn read(db: &Db, user: UserId, extent: Extent, seq: Option<Seq>) -> Result<Marker, Error> {
    let mut tx = db.pool.begin().await?;
    let moved = sqlx::query!(
        r#"with state as materialized (
               select c.id, c.last_seq, c.member_version, c.kind = 'group' as is_group,
                      m.peer_id, m.read_seq, m.own_read, own_sent(c, m) as own_sent,
                      least(coalesce($3, c.last_seq), c.last_seq) as up_to
               from conversations c join members m on m.conversation_id = c.id and m.user_id = $2
               where c.id = $1
           ), counted as materialized (
               select s.*, case
                   when s.up_to - s.read_seq < s.last_seq - s.up_to then s.own_read + (
                       select count(*) from messages x
                       where x.conversation_id = s.id and x.seq > s.read_seq and x.seq <= s.up_to and x.sender_id = $2)
                   else s.own_sent - (
                       select count(*) from messages x
                       where x.conversation_id = s.id and x.seq > s.up_to and x.seq <= s.last_seq and x.sender_id = $2)
               end as own_up_to
               from state s where s.up_to > s.read_seq
           )
           update members m
           set read_seq = c.up_to, own_read = c.own_up_to, read_at = now(),
               delivered_seq = greatest(m.delivered_seq, c.up_to),
               delivered_at = case when m.delivered_seq < c.up_to then now() else m.delivered_at end,
               change = current_change()
           from counted c
           where m.conversation_id = c.id and m.user_id = $2 and m.read_seq < c.up_to
           returning m.peer_id as "peer_id?: UserId", c.member_version as "member_version!""#,
        extent.id.0,
        user.0,
        seq
    )
    .fetch_optional(&mut *tx)
    .await?;
    let moved = moved.map(|row| (row.peer_id, row.member_version));
    let told = told(&mut tx, db, user, extent, moved).await?;
    // As of now: what came since is unread as well.
    let row = sqlx::query!(
        r#"select m.read_seq, m.read_at as "read_at?: Timestamp", unread_count(c, m) as "unread_count!"
           from members m join conversations c on c.id = m.conversation_id
           where m.conversation_id = $1 and m.user_id = $2"#,
        extent.id.0,
        user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    // Removed from the group since it was found.
    .ok_or_else(Error::not_a_member)?;
    tx.commit().await?;
    Ok(Marker { seq: row.read_seq, at: row.read_at, unread_count: row.unread_count, told })
}

/// Moves the marker of delivery of a member to `seq`, or to the newest message.
///
/// # Errors
/// Only where the database fails.
pub async fn delivered(db: &Db, user: UserId, extent: Extent, seq: Option<Seq>) -> Result<Marker, Error> {
    let mut tx = db.pool.begin().await?;
    let moved = sqlx::query!(
        r#"update members m
           set delivered_seq = least(coalesce($3, c.last_seq), c.last_seq), delivered_at = now(), change = current_change()
           from conversations c
           where c.id = $1 and m.conversation_id = c.id and m.user_id = $2
             and m.delivered_seq < least(coalesce($3, c.last_seq), c.last_seq)
           returning m.peer_id as "peer_id?: UserId", c.member_version"#,
        extent.id.0,
        user.0,
        seq
    )
    .fetch_optional(&mut *tx)
    .await?;
    let moved = moved.map(|row| (row.peer_id, row.member_version));
    let told = told(&mut tx, db, user, extent, moved).await?;
    // As it is now: an update that has waited for a send sees the new row of the member and the old
    // one of the conversation, and would count wrongly.
    let row = sqlx::query!(
        r#"select m.delivered_seq, m.delivered_at as "delivered_at?: Timestamp", unread_count(c, m) as "unread_count!"
           from members m join conversations c on c.id = m.conversation_id
           where m.conversation_id = $1 and m.user_id = $2"#,
        extent.id.0,
        user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(Error::not_a_member)?;
    tx.commit().await?;
    Ok(Marker { seq: row.delivered_seq, at: row.delivered_at, unread_count: row.unread_count, told })
}

/// Who is to hear of a marker that has moved, in a conversation with this peer or this version of its list.
async fn told(
    connection: &mut PgConnection,
    db: &Db,
    user: UserId,
    extent: Extent,
    moved: Option<(Option<UserId>, i64)>,
) -> Result<Option<MemberIds>, Error> {
    let Some((peer, version)) = moved else { return Ok(None) };
    member_cache::told(connection, &db.member_lists, user, extent.id, peer, version).await.map(Some)
}
