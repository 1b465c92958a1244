//! Read and delivery receipts: two markers on `seq` for each member, which only move forward. The unread
//! count is computed from the read marker, without a row per message.

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::{Seq, Timestamp, UserId};
use crate::store::conversations::VisibleRange;
use crate::store::groups::member_cache;
use crate::store::groups::member_cache::MemberIds;

/// A marker after a request to move it.
#[derive(Debug)]
pub struct MarkerUpdate {
    /// Where the marker is now.
    pub seq: Seq,
    /// When it moved there; `None` if it has never moved.
    pub moved_at: Option<Timestamp>,
    /// Messages of others after the read marker.
    pub unread_count: i64,
    /// The members to notify; `None` if the marker has not moved.
    pub members: Option<MemberIds>,
}

impl MarkerUpdate {
    /// The marker of a dialog that has not been started.
    pub const NOT_STARTED: Self = Self { seq: 0, moved_at: None, unread_count: 0, members: None };
}

/// Moves the read marker of a member to `seq`, or to the newest message if that is `None`. The delivery
/// marker moves with it if it is lower.
///
/// The update is one statement, and so reads one snapshot. A snapshot contains all messages of a conversation
/// up to some `seq` and none after, so the number of the member's own messages up to `seq` is right whatever
/// is sent or read meanwhile. It is counted over the shorter distance: from the old marker forward, or from
/// the newest message back.
///
/// # Errors
/// `not_a_member` if the user was removed from the group meanwhile.
pub async fn mark_read(db: &Db, user: UserId, range: VisibleRange, seq: Option<Seq>) -> Result<MarkerUpdate, Error> {
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
        range.id.0,
        user.0,
        seq
    )
    .fetch_optional(&mut *tx)
    .await?;
    let moved = moved.map(|row| (row.peer_id, row.member_version));
    let members = members_to_notify(&mut tx, db, user, range, moved).await?;
    // A second statement, with a new snapshot: what was sent since the first counts as unread as well.
    let row = sqlx::query!(
        r#"select m.read_seq, m.read_at as "read_at?: Timestamp", unread_count(c, m) as "unread_count!"
           from members m join conversations c on c.id = m.conversation_id
           where m.conversation_id = $1 and m.user_id = $2"#,
        range.id.0,
        user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    // Removed from the group since the conversation was found.
    .ok_or_else(Error::not_a_member)?;
    tx.commit().await?;
    Ok(MarkerUpdate { seq: row.read_seq, moved_at: row.read_at, unread_count: row.unread_count, members })
}

/// Moves the delivery marker of a member to `seq`, or to the newest message if that is `None`.
///
/// # Errors
/// `not_a_member` if the user was removed from the group meanwhile.
pub async fn mark_delivered(
    db: &Db,
    user: UserId,
    range: VisibleRange,
    seq: Option<Seq>,
) -> Result<MarkerUpdate, Error> {
    let mut tx = db.pool.begin().await?;
    let moved = sqlx::query!(
        r#"update members m
           set delivered_seq = least(coalesce($3, c.last_seq), c.last_seq), delivered_at = now(), change = current_change()
           from conversations c
           where c.id = $1 and m.conversation_id = c.id and m.user_id = $2
             and m.delivered_seq < least(coalesce($3, c.last_seq), c.last_seq)
           returning m.peer_id as "peer_id?: UserId", c.member_version"#,
        range.id.0,
        user.0,
        seq
    )
    .fetch_optional(&mut *tx)
    .await?;
    let moved = moved.map(|row| (row.peer_id, row.member_version));
    let members = members_to_notify(&mut tx, db, user, range, moved).await?;
    // A second statement, with a new snapshot: an update that has waited for a send sees the new row of
    // the member and the old row of the conversation, and would count wrongly.
    let row = sqlx::query!(
        r#"select m.delivered_seq, m.delivered_at as "delivered_at?: Timestamp", unread_count(c, m) as "unread_count!"
           from members m join conversations c on c.id = m.conversation_id
           where m.conversation_id = $1 and m.user_id = $2"#,
        range.id.0,
        user.0
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(Error::not_a_member)?;
    tx.commit().await?;
    Ok(MarkerUpdate { seq: row.delivered_seq, moved_at: row.delivered_at, unread_count: row.unread_count, members })
}

/// Finds the members to notify of a marker that has moved: `moved` holds the other side of a dialog, and the
/// version of the member list at that moment.
async fn members_to_notify(
    connection: &mut PgConnection,
    db: &Db,
    user: UserId,
    range: VisibleRange,
    moved: Option<(Option<UserId>, i64)>,
) -> Result<Option<MemberIds>, Error> {
    let Some((peer, version)) = moved else { return Ok(None) };
    member_cache::members_at_version(connection, &db.member_cache, user, range.id, peer, version).await.map(Some)
}
