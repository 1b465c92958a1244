//! What can be wrong with a server, planted into a record of one that does everything right.

use serde_json::{Value, json};

use super::model::{GROUP, frame_of, item};
use crate::certify::record::{Change, Entry, Message, Place, Seen, UserId};

/// Changes a record; None where it has no place for that.
type Plant = fn(&mut Vec<Entry>) -> Option<()>;

const LOST: &str = "no acknowledged message is lost";
const READ: &str = "what is acknowledged can be read at once";
const CHANGES: &str = "acknowledged edits, deletions, reactions and markers hold";
const TWICE: &str = "no message is stored twice";
const PUSHED: &str = "nothing is pushed that is not stored";
const ORDER: &str = "seq has no gap, and all members see one order";
const RISING: &str = "pushes come in the order of seq";
const CURSOR: &str = "a cursor misses nothing";
const UNREAD: &str = "unreadCount equals a count over the rows";
const REMOVED: &str = "who was removed before a message gets it never";
const ADDED: &str = "who was added before a message gets it";

/// What is planted, the rule that it breaks, and how.
pub(super) const DEFECTS: &[(&str, &str, Plant)] = &[
    ("a loss", LOST, |entries| change_histories(entries, |rows| rows.pop().map(drop))),
    ("another sender", LOST, |entries| {
        change_histories(entries, |rows| {
            rows.last_mut()?.sender += 100;
            Some(())
        })
    }),
    ("a double", TWICE, |entries| {
        change_histories(entries, |rows| {
            let copy = rows.iter().rfind(|row| !row.deleted)?.clone();
            let seq = rows.last()?.seq + 1;
            rows.push(Message { id: 77, seq, ..copy });
            Some(())
        })
    }),
    ("a message of nobody", TWICE, |entries| {
        change_histories(entries, |rows| {
            let seq = rows.last()?.seq + 1;
            let content = "unheard of".to_owned();
            rows.push(Message { id: 77, seq, content, deleted: false, ..rows.last()?.clone() });
            Some(())
        })
    }),
    ("a repeat that is not called one", TWICE, |entries| {
        // As if it had been confirmed before.
        let (socket, request) = entries.iter().find_map(|entry| match &entry.seen {
            Seen::Request { socket, frame } if frame.get().contains("messageInGroup") => Some((*socket, frame.clone())),
            _ => None,
        })?;
        let frame = request.get().replacen("\"id\":", "\"id\":9", 1);
        let request: Value = serde_json::from_str(&frame).ok()?;
        let stored = histories(entries).find(|(_, place, _)| *place == Place::Group(GROUP))?.2.first()?.clone();
        let reply = json!({
            "type": "messageInGroup", "success": true, "id": request["id"],
            "params": { "item": { "messageId": stored.id, "seq": stored.seq, "duplicate": false } }
        });
        let at = quiet(entries)?;
        insert(entries, at, Seen::Reply { socket, frame: frame_of(&reply) });
        insert(entries, at, Seen::Request { socket, frame: frame_of(&request) });
        Some(())
    }),
    ("a gap", ORDER, |entries| change_histories(entries, |rows| (rows.len() > 2).then(|| drop(rows.remove(1))))),
    ("two orders", ORDER, |entries| {
        let rows = history(entries, 2, Place::Group(GROUP))?;
        let (seq, other) = (rows[0].seq, rows[1].seq);
        rows.swap(0, 1);
        (rows[0].seq, rows[1].seq) = (seq, other);
        Some(())
    }),
    ("a push of what is not stored", PUSHED, |entries| {
        let (nth, mut push) = pushes(entries).next()?;
        push["params"]["item"]["messageId"] = json!(77);
        replace(entries, nth, &push)
    }),
    ("a push with another content", PUSHED, |entries| {
        let (nth, mut push) = pushes(entries).next()?;
        let content = push["params"]["item"]["content"].as_str()?.to_owned() + " and more";
        push["params"]["item"]["content"] = json!(content);
        replace(entries, nth, &push)
    }),
    ("a push with another seq", PUSHED, |entries| {
        let (nth, mut push) = pushes(entries).last()?;
        push["params"]["item"]["seq"] = json!(push["params"]["item"]["seq"].as_i64()? + 100);
        replace(entries, nth, &push)
    }),
    ("pushes in another order", RISING, |entries| {
        let of_socket = |entry: &Entry| match entry.seen {
            Seen::Push { socket, .. } => Some(socket),
            _ => None,
        };
        let pushes: Vec<_> = pushes(entries).collect();
        let (one, other) = pushes.iter().enumerate().find_map(|(nth, (one, first))| {
            let place = Message::place(&first["params"]["item"])?;
            let same = |(other, push): &&(usize, Value)| {
                of_socket(&entries[*other]) == of_socket(&entries[*one])
                    && Message::place(&push["params"]["item"]) == Some(place)
            };
            Some((*one, pushes[nth + 1..].iter().find(same)?.0))
        })?;
        let seen = entries[one].seen.clone();
        entries[one].seen = std::mem::replace(&mut entries[other].seen, seen);
        Some(())
    }),
    ("a page without what was acknowledged", READ, |entries| {
        let (nth, mut page) = replies(entries, "getlatestMessageGroup").last()?;
        page["params"]["data"].as_array_mut()?.remove(0);
        replace(entries, nth, &page)
    }),
    ("a page with a hole", READ, |entries| {
        let (nth, mut page) = replies(entries, "getlatestMessageGroup").last()?;
        page["params"]["data"].as_array_mut()?.remove(1);
        replace(entries, nth, &page)
    }),
    ("an edit that is undone", CHANGES, |entries| {
        change_histories(entries, |rows| {
            let row = rows.iter_mut().find(|row| row.content.contains("edited"))?;
            row.content = row.content.split(' ').next()?.to_owned() + " hello";
            Some(())
        })
    }),
    ("a deletion that nobody asked for", CHANGES, |entries| {
        change_histories(entries, |rows| {
            let row = rows.iter_mut().find(|row| !row.deleted && !row.content.contains("edited"))?;
            (row.deleted, row.content) = (true, String::new());
            Some(())
        })
    }),
    ("a reaction of nobody", CHANGES, |entries| {
        change_histories(entries, |rows| {
            let row = rows.iter_mut().find(|row| !row.deleted && row.reactions.is_empty())?;
            row.reactions.push((2, "X".to_owned()));
            Some(())
        })
    }),
    ("a marker that went back", CHANGES, |entries| {
        let marker = |entry: &mut Entry| match &mut entry.seen {
            Seen::Members { user: 1, place: Place::Group(_), rows } => {
                rows.iter_mut().find(|row| row.user == 1 && row.read_seq > 0).map(|row| row.read_seq = 0)
            }
            _ => None,
        };
        entries.iter_mut().find_map(marker)
    }),
    ("a wrong count", UNREAD, |entries| {
        entries.iter_mut().find_map(|entry| match &mut entry.seen {
            Seen::Chats { rows, .. } => rows.first_mut().map(|chat| chat.unread += 1),
            _ => None,
        })
    }),
    ("a push to who was removed", REMOVED, |entries| {
        let nth = after_removal(entries)?;
        let Seen::Push { frame, .. } = entries[nth].seen.clone() else { return None };
        let socket = entries.iter().find_map(|entry| match entry.seen {
            Seen::Opened { socket, user: 3, .. } => Some(socket),
            _ => None,
        })?;
        insert(entries, nth + 1, Seen::Push { socket, frame });
        Some(())
    }),
    ("a history for who was removed", REMOVED, |entries| {
        let nth = after_removal(entries)?;
        let stored = histories(entries).find(|(_, place, _)| *place == Place::Group(GROUP))?.2.first()?.clone();
        let rows = json!([item(Place::Group(GROUP), &stored)]);
        let (kind, params) = ("getlatestMessageGroup", json!({ "groupId": GROUP }));
        let reply = json!({ "type": kind, "success": true, "params": { "data": rows }, "id": 999 });
        insert(entries, nth + 1, Seen::Reply { socket: 2, frame: frame_of(&reply) });
        let request = json!({ "type": kind, "params": params, "id": 999 });
        insert(entries, nth + 1, Seen::Request { socket: 2, frame: frame_of(&request) });
        Some(())
    }),
    ("a message that who was added does not have", ADDED, |entries| {
        history(entries, 2, Place::Group(GROUP))?.pop().map(drop)
    }),
    ("a refusal of who is in", ADDED, |entries| {
        let (nth, reply) = replies(entries, "messageInGroup").last()?;
        let refusal = json!({ "error": true, "type": "messageInGroup", "code": "not_a_member", "id": reply["id"] });
        replace(entries, nth, &refusal)
    }),
    ("a cursor that skips a message", CURSOR, |entries| {
        change_synced(entries, |change| matches!(change, Change::Message(Place::Dialog(..), _)))
    }),
    ("a cursor that skips a marker", CURSOR, |entries| {
        change_synced(entries, |change| matches!(change, Change::Marker { user: 1, place: Place::Group(_), .. }))
    }),
    ("a cursor that skips who came", CURSOR, |entries| {
        change_synced(entries, |change| matches!(change, Change::Member { user: 3, .. }))
    }),
    ("a sync that told of less than its cursor says", CURSOR, |entries| {
        let is_message = |row: &Value| !row["item"]["receiverId"].is_null() && !row["item"]["content"].is_null();
        let (nth, mut reply) = replies(entries, "sync")
            .find(|(_, reply)| reply["params"]["data"].as_array().is_some_and(|rows| rows.iter().any(is_message)))?;
        reply["params"]["data"].as_array_mut()?.retain(|row| !is_message(row));
        replace(entries, nth, &reply)?;
        // Only from the later cursor can it be missed.
        let later = reply["params"]["item"]["cursor"].as_str()?.to_owned();
        entries.iter().any(|entry| matches!(&entry.seen, Seen::Synced { cursor, .. } if *cursor == later)).then_some(())
    }),
];

fn histories(entries: &mut [Entry]) -> impl Iterator<Item = (UserId, Place, &mut Vec<Message>)> {
    entries.iter_mut().filter_map(|entry| match &mut entry.seen {
        Seen::History { user, place, rows } => Some((*user, *place, rows)),
        _ => None,
    })
}

fn history(entries: &mut [Entry], user: UserId, place: Place) -> Option<&mut Vec<Message>> {
    histories(entries)
        .find(|(of, there, rows)| (*of, *there) == (user, place) && rows.len() > 1)
        .map(|(_, _, rows)| rows)
}

/// The same in the group's history of everybody.
fn change_histories(entries: &mut [Entry], change: impl Fn(&mut Vec<Message>) -> Option<()>) -> Option<()> {
    let group = histories(entries).filter(|(_, place, _)| *place == Place::Group(GROUP));
    group.map(|(_, _, rows)| change(rows)).collect::<Option<Vec<()>>>()?.pop()
}

/// Leaves a change out of what the first cursor of somebody leads to.
fn change_synced(entries: &mut [Entry], is_it: impl Fn(&Change) -> bool) -> Option<()> {
    entries.iter_mut().find_map(|entry| match &mut entry.seen {
        Seen::Synced { user: 2, changes, .. } => {
            // Of somebody who comes and goes, the last time counts.
            let nth = changes.iter().rposition(&is_it)?;
            changes.remove(nth);
            Some(())
        }
        _ => None,
    })
}

fn frames<'a>(entries: &'a [Entry], kind: &'a str, pushed: bool) -> impl Iterator<Item = (usize, Value)> + 'a {
    entries.iter().enumerate().filter_map(move |(nth, entry)| {
        let frame = match &entry.seen {
            Seen::Push { frame, .. } if pushed => frame,
            Seen::Reply { frame, .. } if !pushed => frame,
            _ => return None,
        };
        let frame: Value = serde_json::from_str(frame.get()).ok()?;
        (frame["type"] == kind).then_some((nth, frame))
    })
}

fn pushes(entries: &[Entry]) -> impl Iterator<Item = (usize, Value)> {
    frames(entries, "messageInGroup", true)
}

fn replies<'a>(entries: &'a [Entry], kind: &'a str) -> impl Iterator<Item = (usize, Value)> + 'a {
    frames(entries, kind, false).filter(|(_, frame)| frame["success"] == true)
}

fn replace(entries: &mut [Entry], nth: usize, value: &Value) -> Option<()> {
    match &mut entries[nth].seen {
        Seen::Push { frame, .. } | Seen::Reply { frame, .. } => *frame = frame_of(value),
        _ => return None,
    }
    Some(())
}

/// Between two others, a little after the one before.
pub(super) fn insert(entries: &mut Vec<Entry>, nth: usize, seen: Seen) {
    let at = entries[nth - 1].at + 1;
    entries.insert(nth, Entry { at, seen });
}

pub(super) fn quiet(entries: &[Entry]) -> Option<usize> {
    entries.iter().position(|entry| matches!(entry.seen, Seen::Quiet))
}

/// A push to the group that was sent after 3 was removed, before they were added again.
fn after_removal(entries: &[Entry]) -> Option<usize> {
    let (removed, _) = replies(entries, "removeUserFromGroup").next()?;
    pushes(entries).map(|(nth, _)| nth).find(|nth| *nth > removed)
}
