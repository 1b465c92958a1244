//! Point 5: `unreadCount` is a count over the rows.

use super::log::Log;
use super::{Hearing, Ruling};

/// Counts, for everybody and each of their conversations.
pub(super) fn exact(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 5, "unreadCount equals a count over the rows");
    for (user, (entry, chats)) in &log.chats {
        for chat in *chats {
            let Some((history_entry, rows)) = log.histories.get(&(chat.place, *user)) else { continue };
            let count = rows.iter().filter(|row| row.seq > chat.read_seq && row.sender != *user).count();
            let newest = rows.last().map_or(0, |row| row.seq);
            let what = || format!("{user} is told {chat:?}, and there are {count} unread of {newest}");
            let holds = i64::try_from(count) == Ok(chat.unread) && chat.last_seq == newest;
            hearing.expect(holds, what, [*entry, *history_entry]);
        }
    }
    hearing.end()
}
