//! The chat list: a user's conversations, the one with the newest message first.

use chrono::{DateTime, Utc};

use super::Db;
use crate::error::Error;
use crate::model::{ConversationFilter, ListPosition, MovingListStart, Timestamp, UserId};
use crate::store::conversations::{ConversationState, select_states};

/// The conversations that a chat list is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatListQuery {
    /// All but spam, or a part of them.
    pub filter: ConversationFilter,
    /// Whether groups without a message are listed.
    pub has_empty_groups: bool,
}

/// Loads a page of a user's chat list.
///
/// # Errors
/// Only if the database fails.
pub async fn page(
    db: &Db,
    asker: UserId,
    query: ChatListQuery,
    limit: i64,
    start: &MovingListStart,
) -> Result<Vec<ConversationState>, Error> {
    use ConversationFilter::{Dialogs, Groups, Spam, Unread};
    let moment = |place: Option<ListPosition>| place.and_then(|place| DateTime::from_timestamp_micros(place.at));
    let (below, moved_above) = (start.start.below, start.moved_above);
    // The page is taken from two parts of the list: what is below the page before, and what has moved
    // to the top since the first page was read. Dialogs come out of two partial indexes in the order of the
    // list, and the scan stops at the end of the page. The filter is a subquery of each dialog: as a join,
    // the generic plan for pages of any length would read all conversations of the user. The groups of a
    // user are bounded in number and are sorted.
    let states = select_states!(
        "with stretches (above_at, above_id, below_at, below_id) as (
             select '-infinity'::timestamptz, 0::bigint,
                    coalesce($8::timestamptz, 'infinity'), coalesce($9::bigint, 0)
             union all
             select $11::timestamptz, $12::bigint, 'infinity', 0 where $11::timestamptz is not null
         ), listed as (
             select d.id, d.at from stretches s cross join lateral (
                 select c.id, c.last_message_at as at
                 from conversations c
                 where $5 and c.low_user_id = $1 and c.last_seq > 0
                   and case when $3 or $4
                            then exists (select from conversation_states s where s.id = c.id and s.user_id = $1
                                         and s.last_seq > s.cleared_seq and s.is_spam = $3
                                         and (not $4 or s.unread_count > 0))
                            else not exists (select from members me join conversations k on k.id = me.conversation_id
                                             where me.conversation_id = c.id and me.user_id = $1
                                             and (me.is_spam or me.cleared_seq > 0)
                                             and (me.is_spam or me.cleared_seq >= k.last_seq)) end
                   and (c.last_message_at, c.id) < (s.below_at, s.below_id)
                   and (c.last_message_at, c.id) > (s.above_at, s.above_id) and c.id <> all($13::bigint[])
                 order by c.last_message_at desc, c.id desc limit $2::bigint + $10::bigint) d
             union all
             select d.id, d.at from stretches s cross join lateral (
                 select c.id, c.last_message_at as at
                 from conversations c
                 where $5 and c.high_user_id = $1 and c.low_user_id <> c.high_user_id and c.last_seq > 0
                   and case when $3 or $4
                            then exists (select from conversation_states s where s.id = c.id and s.user_id = $1
                                         and s.last_seq > s.cleared_seq and s.is_spam = $3
                                         and (not $4 or s.unread_count > 0))
                            else not exists (select from members me join conversations k on k.id = me.conversation_id
                                             where me.conversation_id = c.id and me.user_id = $1
                                             and (me.is_spam or me.cleared_seq > 0)
                                             and (me.is_spam or me.cleared_seq >= k.last_seq)) end
                   and (c.last_message_at, c.id) < (s.below_at, s.below_id)
                   and (c.last_message_at, c.id) > (s.above_at, s.above_id) and c.id <> all($13::bigint[])
                 order by c.last_message_at desc, c.id desc limit $2::bigint + $10::bigint) d
             union all
             select g.id, g.at
             from stretches s join (
                 select c.id, coalesce(c.last_message_at, c.created_at) as at
                 from members me join conversations c on c.id = me.conversation_id
                 where $6 and me.user_id = $1 and me.kind = 'group'
                   and (c.last_seq > me.cleared_seq or ($7 and not me.is_removed))
                   and me.is_spam = $3 and (not $4 or unread_count(c, me) > 0)
                   and c.id <> all($13::bigint[])
             ) g on (g.at, g.id) < (s.below_at, s.below_id) and (g.at, g.id) > (s.above_at, s.above_id)
         )
         select id, row_number() over (order by at desc, id desc) as place
         from listed order by at desc, id desc limit $2 offset $10",
        asker.0,
        limit,
        query.filter == Spam,
        query.filter == Unread,
        query.filter != Groups,
        query.filter != Dialogs,
        query.has_empty_groups,
        moment(below),
        below.map(|place| place.id),
        start.start.skipped,
        moment(moved_above),
        moved_above.map(|place| place.id),
        &start.shown
    );
    Ok(states.fetch_all(&db.pool).await?)
}

/// The place of a conversation in the chat list, from which the next page starts.
#[must_use]
pub fn place(state: &ConversationState) -> ListPosition {
    let Timestamp(at): Timestamp = state.last_activity_at;
    let at: DateTime<Utc> = at;
    ListPosition { at: at.timestamp_micros(), id: state.id.0 }
}
