//! Point 5 of the contract: `unreadCount` is the number of unread rows.

use crate::checker::index::HistoryIndex;
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;

/// Counts the unread messages of each user in each conversation.
pub(in crate::checker) fn exact(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 5, "unreadCount equals a count over the rows");
    for (user, (entry, chats)) in &index.chats {
        for chat in *chats {
            let Some((history_entry, rows)) = index.histories.get(&(chat.conversation, *user)) else { continue };
            let count = rows.iter().filter(|row| row.seq > chat.read_seq && row.sender != *user).count();
            let newest = rows.last().map_or(0, |row| row.seq);
            let what = || format!("{user} receives {chat:?}, and there are {count} unread of {newest}");
            let holds = i64::try_from(count) == Ok(chat.unread) && chat.last_seq == newest;
            check.expect(holds, what, [*entry, *history_entry]);
        }
    }
    check.finish()
}
