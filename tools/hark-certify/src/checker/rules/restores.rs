//! Restores: when a backup replaces the data, everything after the backup is lost. The other rules do not see that part
//! of the history. This file checks what clients still hold of it: sessions and cursors.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use crate::checker::index::HistoryIndex;
use crate::checker::rule_check::RuleCheck;
use crate::checker::rules::members;
use crate::checker::verdict::RuleResult;
use crate::history::event::{Change, Conversation, Entry, Event, Micros, UserId};

/// The entries of the lost history: from the backup to the last restore.
pub(in crate::checker) fn lost(entries: &[Entry]) -> Option<Range<usize>> {
    let backup = entries.iter().position(|entry| matches!(entry.event, Event::Backup))?;
    let restored = entries.iter().rposition(|entry| matches!(entry.event, Event::Restored))?;
    (backup < restored).then_some(backup..restored)
}

/// The entries with the frames of the lost history omitted; all others keep their numbers.
pub(in crate::checker) fn surviving<'a>(entries: &'a [Entry], lost: Option<&Range<usize>>) -> Cow<'a, [Entry]> {
    let Some(lost) = lost else { return Cow::Borrowed(entries) };
    let survives = |(nth, entry): (usize, &Entry)| {
        let is_frame = matches!(entry.event, Event::Request { .. } | Event::Reply { .. } | Event::Push { .. });
        let event = if is_frame && lost.contains(&nth) { Event::Omitted } else { entry.event.clone() };
        Entry { at: entry.at, event }
    };
    Cow::Owned(entries.iter().enumerate().map(survives).collect())
}

/// A session of the lost history is rejected. One from before the backup opens its owner's account, or is rejected.
pub(in crate::checker) fn lost_sessions_open_nothing(
    index: &HistoryIndex<'_>,
    lost: Option<&Range<usize>>,
) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "a token of a lost history opens nothing");
    let Some(lost) = lost else { return check.finish() };
    let (backup, restored) = (index.entries[lost.start].at, index.entries[lost.end].at);
    for (nth, entry) in index.entries.iter().enumerate().skip(lost.end) {
        let Event::Token { owner, issued, route, account } = &entry.event else { continue };
        let is_lost = (backup..restored).contains(issued);
        let is_right = account.as_ref().is_none_or(|account| !is_lost && account == owner);
        let what = || format!("the token of {owner} opens {} at {route}", account.as_deref().unwrap_or_default());
        check.expect(is_right, what, [nth]);
    }
    check.finish()
}

/// A `sync` in the end with `complete` returns all messages since its cursor was issued, or since the restore
/// where the cursor is of the lost history.
pub(in crate::checker) fn cursors_hide_nothing_new(
    index: &HistoryIndex<'_>,
    entries: &[Entry],
    lost: Option<&Range<usize>>,
) -> RuleResult {
    let mut check = RuleCheck::new(index, 4, "after a restore no cursor hides what is new");
    let (Some(lost), Some(restored)) = (lost, index.restored) else { return check.finish() };
    let issued = issued_at(index, entries, lost);
    let steps = members::steps(index);
    for synced in &index.synced {
        let Some(since) = issued.get(&(synced.user, synced.cursor.to_owned())) else { continue };
        let since = (*since).max(restored);
        check.add_evidence();
        if !synced.complete {
            continue;
        }
        let message_of = |change: &Change| match change {
            Change::Message(conversation, message) => Some((*conversation, message.id)),
            _ => None,
        };
        let returned: BTreeSet<(Conversation, i64)> = synced.changes.iter().filter_map(message_of).collect();
        for ((conversation, _), (entry, rows)) in index.histories.iter().filter(|((_, user), _)| *user == synced.user) {
            // A user who joined since then can read older messages, but `sync` need not return them.
            let joined =
                |group| steps.get(&(group, synced.user)).is_some_and(|steps| steps.iter().any(|s| s.asked_at > since));
            if matches!(conversation, Conversation::Group(group) if joined(*group)) {
                continue;
            }
            for row in rows.iter().filter(|row| index.sent_at(row.id).is_some_and(|sent| sent > since)) {
                let what = || {
                    format!(
                        "{} asks what came after {}: {row:?} of {conversation} is missing",
                        synced.user, synced.cursor
                    )
                };
                check.expect(returned.contains(&(*conversation, row.id)), what, [*entry, synced.entry]);
            }
        }
    }
    check.finish()
}

/// The time when each cursor was first issued, the lost history included. A cursor that was issued in both histories
/// counts as one of the lost history.
fn issued_at(index: &HistoryIndex<'_>, entries: &[Entry], lost: &Range<usize>) -> BTreeMap<(UserId, String), Micros> {
    let mut issued = BTreeMap::new();
    let mut take = |nth: usize, entry: &Entry| {
        let Event::Reply { socket, frame } = &entry.event else { return };
        let (Ok(frame), Some(socket)) = (serde_json::from_str::<Value>(frame.get()), index.sockets.get(socket)) else {
            return;
        };
        if let ("sync", Some(cursor)) =
            (frame["type"].as_str().unwrap_or_default(), frame["params"]["item"]["cursor"].as_str())
        {
            let at = if lost.contains(&nth) { 0 } else { entry.at };
            let known = issued.entry((socket.user, cursor.to_owned())).or_insert(at);
            *known = at.min(*known);
        }
    };
    entries.iter().enumerate().for_each(|(nth, entry)| take(nth, entry));
    issued
}
