//! Histories that are lost: where a backup is put in place of the data, what came after it never was.
//! It is left out of what the other rules see. What it left in the hands of clients is judged here.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::log::Log;
use super::{Hearing, Ruling, members};
use crate::certify::record::{Change, Entry, Micros, Place, Seen, UserId};

/// Where the lost history is in the record: from the backup to the last time that one was put in place.
pub(super) fn lost(entries: &[Entry]) -> Option<Range<usize>> {
    let backup = entries.iter().position(|entry| matches!(entry.seen, Seen::Backup))?;
    let restored = entries.iter().rposition(|entry| matches!(entry.seen, Seen::Restored))?;
    (backup < restored).then_some(backup..restored)
}

/// The record without the frames of the lost history, each entry in its place.
pub(super) fn surviving<'a>(entries: &'a [Entry], lost: Option<&Range<usize>>) -> Cow<'a, [Entry]> {
    let Some(lost) = lost else { return Cow::Borrowed(entries) };
    let survives = |(nth, entry): (usize, &Entry)| {
        let is_frame = matches!(entry.seen, Seen::Request { .. } | Seen::Reply { .. } | Seen::Push { .. });
        let seen = if is_frame && lost.contains(&nth) { Seen::Lost } else { entry.seen.clone() };
        Entry { at: entry.at, seen }
    };
    Cow::Owned(entries.iter().enumerate().map(survives).collect())
}

/// A session that was opened in a lost history is nobody's; one from before is its owner's or nobody's.
pub(super) fn lost_tokens_open_nothing(log: &Log<'_>, lost: Option<&Range<usize>>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "a token of a lost history opens nothing");
    let Some(lost) = lost else { return hearing.end() };
    let (backup, restored) = (log.entries[lost.start].at, log.entries[lost.end].at);
    for (nth, entry) in log.entries.iter().enumerate().skip(lost.end) {
        let Seen::Token { owner, issued, route, opened } = &entry.seen else { continue };
        let is_lost = (backup..restored).contains(issued);
        let is_well = opened.as_ref().is_none_or(|opened| !is_lost && opened == owner);
        let what = || format!("the token of {owner} opens {} at {route}", opened.as_deref().unwrap_or_default());
        hearing.expect(is_well, what, [nth]);
    }
    hearing.end()
}

/// `sync` in the end, from a cursor that was handed out before: where it says `complete`, it tells of all
/// that was sent since, and since the restore where the cursor is of a lost history.
pub(super) fn no_cursor_hides_what_is_new(log: &Log<'_>, entries: &[Entry], lost: Option<&Range<usize>>) -> Ruling {
    let mut hearing = Hearing::of(log, 4, "after a restore no cursor hides what is new");
    let (Some(lost), Some(restored)) = (lost, log.restored) else { return hearing.end() };
    let handed_out = handed_out(log, entries, lost);
    let steps = members::steps(log);
    for synced in &log.synced {
        let Some(since) = handed_out.get(&(synced.user, synced.cursor.to_owned())) else { continue };
        let since = (*since).max(restored);
        hearing.saw();
        if !synced.complete {
            continue;
        }
        let is_told = |change: &Change| match change {
            Change::Message(place, message) => Some((*place, message.id)),
            _ => None,
        };
        let told: BTreeSet<(Place, i64)> = synced.changes.iter().filter_map(is_told).collect();
        for ((place, _), (entry, rows)) in log.histories.iter().filter(|((_, user), _)| *user == synced.user) {
            // Who came meanwhile reads what they were not there for, and need not be told of it.
            let came =
                |group| steps.get(&(group, synced.user)).is_some_and(|steps| steps.iter().any(|s| s.asked > since));
            if matches!(place, Place::Group(group) if came(*group)) {
                continue;
            }
            for row in rows.iter().filter(|row| log.sent_at(row.id).is_some_and(|sent| sent > since)) {
                let what =
                    || format!("{} asks what came after {}: {row:?} of {place} is missing", synced.user, synced.cursor);
                hearing.expect(told.contains(&(*place, row.id)), what, [*entry, synced.entry]);
            }
        }
    }
    hearing.end()
}

/// When each cursor was first handed out, the lost history included. One that was handed out in both
/// histories counts as of the lost one.
fn handed_out(log: &Log<'_>, entries: &[Entry], lost: &Range<usize>) -> BTreeMap<(UserId, String), Micros> {
    let mut handed_out = BTreeMap::new();
    let mut take = |nth: usize, entry: &Entry| {
        let Seen::Reply { socket, frame } = &entry.seen else { return };
        let (Ok(frame), Some(socket)) = (serde_json::from_str::<Value>(frame.get()), log.sockets.get(socket)) else {
            return;
        };
        if let ("sync", Some(cursor)) =
            (frame["type"].as_str().unwrap_or_default(), frame["params"]["item"]["cursor"].as_str())
        {
            let at = if lost.contains(&nth) { 0 } else { entry.at };
            let known = handed_out.entry((socket.user, cursor.to_owned())).or_insert(at);
            *known = at.min(*known);
        }
    };
    entries.iter().enumerate().for_each(|(nth, entry)| take(nth, entry));
    handed_out
}
