//! Defects of a server, planted into the history of a correct one.

use serde_json::{Value, json};

use super::frames::{frame_of, item};
use super::model::GROUP;
use crate::history::event::{Change, Conversation, Entry, Event, Message, UserId};

/// Plants a defect into a history; `None` if that is not possible.
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
const REMOVED: &str = "a removed member receives no later message";
const ADDED: &str = "an added member receives every later message";

/// Each defect, the rule that it violates, and how it is planted.
pub(super) const DEFECTS: &[(&str, &str, Plant)] = &[
    ("a lost message", LOST, |entries| change_histories(entries, |rows| rows.pop().map(drop))),
    ("a wrong sender", LOST, |entries| {
        change_histories(entries, |rows| {
            rows.last_mut()?.sender += 100;
            Some(())
        })
    }),
    ("a duplicated message", TWICE, |entries| {
        change_histories(entries, |rows| {
            let copy = rows.iter().rfind(|row| !row.deleted)?.clone();
            let seq = rows.last()?.seq + 1;
            rows.push(Message { id: 77, seq, ..copy });
            Some(())
        })
    }),
    ("a message that nobody sent", TWICE, |entries| {
        change_histories(entries, |rows| {
            let seq = rows.last()?.seq + 1;
            let content = "unknown".to_owned();
            rows.push(Message { id: 77, seq, content, deleted: false, ..rows.last()?.clone() });
            Some(())
        })
    }),
    ("a repeat that is not reported as a duplicate", TWICE, |entries| {
        // A second request for a message that is acknowledged already.
        let (socket, request) = entries.iter().find_map(|entry| match &entry.event {
            Event::Request { socket, frame } if frame.get().contains("messageInGroup") => {
                Some((*socket, frame.clone()))
            }
            _ => None,
        })?;
        let frame = request.get().replacen("\"id\":", "\"id\":9", 1);
        let request: Value = serde_json::from_str(&frame).ok()?;
        let stored = histories(entries)
            .find(|(_, conversation, _)| *conversation == Conversation::Group(GROUP))?
            .2
            .first()?
            .clone();
        let reply = json!({
            "type": "messageInGroup", "success": true, "id": request["id"],
            "params": { "item": { "messageId": stored.id, "seq": stored.seq, "duplicate": false } }
        });
        let at = quiescent_at(entries)?;
        insert(entries, at, Event::Reply { socket, frame: frame_of(&reply) });
        insert(entries, at, Event::Request { socket, frame: frame_of(&request) });
        Some(())
    }),
    ("a gap in seq", ORDER, |entries| change_histories(entries, |rows| (rows.len() > 2).then(|| drop(rows.remove(1))))),
    ("two orders", ORDER, |entries| {
        let rows = history(entries, 2, Conversation::Group(GROUP))?;
        let (seq, other) = (rows[0].seq, rows[1].seq);
        rows.swap(0, 1);
        (rows[0].seq, rows[1].seq) = (seq, other);
        Some(())
    }),
    ("a push of a message that is not stored", PUSHED, |entries| {
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
        let of_socket = |entry: &Entry| match entry.event {
            Event::Push { socket, .. } => Some(socket),
            _ => None,
        };
        let pushes: Vec<_> = pushes(entries).collect();
        let (one, other) = pushes.iter().enumerate().find_map(|(nth, (one, first))| {
            let conversation = Message::conversation(&first["params"]["item"])?;
            let same = |(other, push): &&(usize, Value)| {
                of_socket(&entries[*other]) == of_socket(&entries[*one])
                    && Message::conversation(&push["params"]["item"]) == Some(conversation)
            };
            Some((*one, pushes[nth + 1..].iter().find(same)?.0))
        })?;
        let event = entries[one].event.clone();
        entries[one].event = std::mem::replace(&mut entries[other].event, event);
        Some(())
    }),
    ("a page without an acknowledged message", READ, |entries| {
        let (nth, mut page) = replies(entries, "getlatestMessageGroup").last()?;
        page["params"]["data"].as_array_mut()?.remove(0);
        replace(entries, nth, &page)
    }),
    ("a page with a gap", READ, |entries| {
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
    ("a deletion that nobody requested", CHANGES, |entries| {
        change_histories(entries, |rows| {
            let row = rows.iter_mut().find(|row| !row.deleted && !row.content.contains("edited"))?;
            (row.deleted, row.content) = (true, String::new());
            Some(())
        })
    }),
    ("a reaction that nobody requested", CHANGES, |entries| {
        change_histories(entries, |rows| {
            let row = rows.iter_mut().find(|row| !row.deleted && row.reactions.is_empty())?;
            row.reactions.push((2, "X".to_owned()));
            Some(())
        })
    }),
    ("a marker that went back", CHANGES, |entries| {
        let marker = |entry: &mut Entry| match &mut entry.event {
            Event::Members { user: 1, conversation: Conversation::Group(_), rows } => {
                rows.iter_mut().find(|row| row.user == 1 && row.read_seq > 0).map(|row| row.read_seq = 0)
            }
            _ => None,
        };
        entries.iter_mut().find_map(marker)
    }),
    ("a wrong unread count", UNREAD, |entries| {
        entries.iter_mut().find_map(|entry| match &mut entry.event {
            Event::ChatList { rows, .. } => rows.first_mut().map(|chat| chat.unread += 1),
            _ => None,
        })
    }),
    ("a push to a removed member", REMOVED, |entries| {
        let nth = after_removal(entries)?;
        let Event::Push { frame, .. } = entries[nth].event.clone() else { return None };
        let socket = entries.iter().find_map(|entry| match entry.event {
            Event::Opened { socket, user: 3, .. } => Some(socket),
            _ => None,
        })?;
        insert(entries, nth + 1, Event::Push { socket, frame });
        Some(())
    }),
    ("a page for a removed member", REMOVED, |entries| {
        let nth = after_removal(entries)?;
        let stored = histories(entries)
            .find(|(_, conversation, _)| *conversation == Conversation::Group(GROUP))?
            .2
            .first()?
            .clone();
        let rows = json!([item(Conversation::Group(GROUP), &stored)]);
        let (frame_type, params) = ("getlatestMessageGroup", json!({ "groupId": GROUP }));
        let reply = json!({ "type": frame_type, "success": true, "params": { "data": rows }, "id": 999 });
        insert(entries, nth + 1, Event::Reply { socket: 2, frame: frame_of(&reply) });
        let request = json!({ "type": frame_type, "params": params, "id": 999 });
        insert(entries, nth + 1, Event::Request { socket: 2, frame: frame_of(&request) });
        Some(())
    }),
    ("a message that an added member does not have", ADDED, |entries| {
        history(entries, 2, Conversation::Group(GROUP))?.pop().map(drop)
    }),
    ("a refusal of a member", ADDED, |entries| {
        let (nth, reply) = replies(entries, "messageInGroup").last()?;
        let refusal = json!({ "error": true, "type": "messageInGroup", "code": "not_a_member", "id": reply["id"] });
        replace(entries, nth, &refusal)
    }),
    ("a cursor that skips a message", CURSOR, |entries| {
        change_synced(entries, |change| matches!(change, Change::Message(Conversation::Dialog(..), _)))
    }),
    ("a cursor that skips a marker", CURSOR, |entries| {
        change_synced(entries, |change| {
            matches!(change, Change::Marker { user: 1, conversation: Conversation::Group(_), .. })
        })
    }),
    ("a cursor that skips a membership change", CURSOR, |entries| {
        change_synced(entries, |change| matches!(change, Change::Member { user: 3, .. }))
    }),
    ("a sync that returns less than its cursor covers", CURSOR, |entries| {
        let is_message = |row: &Value| !row["item"]["receiverId"].is_null() && !row["item"]["content"].is_null();
        let (nth, mut reply) = replies(entries, "sync")
            .find(|(_, reply)| reply["params"]["data"].as_array().is_some_and(|rows| rows.iter().any(is_message)))?;
        reply["params"]["data"].as_array_mut()?.retain(|row| !is_message(row));
        replace(entries, nth, &reply)?;
        // The defect shows only for the later cursor.
        let later = reply["params"]["item"]["cursor"].as_str()?.to_owned();
        entries
            .iter()
            .any(|entry| matches!(&entry.event, Event::Synced { cursor, .. } if *cursor == later))
            .then_some(())
    }),
];

fn histories(entries: &mut [Entry]) -> impl Iterator<Item = (UserId, Conversation, &mut Vec<Message>)> {
    entries.iter_mut().filter_map(|entry| match &mut entry.event {
        Event::History { user, conversation, rows } => Some((*user, *conversation, rows)),
        _ => None,
    })
}

fn history(entries: &mut [Entry], user: UserId, conversation: Conversation) -> Option<&mut Vec<Message>> {
    histories(entries)
        .find(|(of, there, rows)| (*of, *there) == (user, conversation) && rows.len() > 1)
        .map(|(_, _, rows)| rows)
}

/// Makes the same change in the group's history of each member.
fn change_histories(entries: &mut [Entry], change: impl Fn(&mut Vec<Message>) -> Option<()>) -> Option<()> {
    let group = histories(entries).filter(|(_, conversation, _)| *conversation == Conversation::Group(GROUP));
    group.map(|(_, _, rows)| change(rows)).collect::<Option<Vec<()>>>()?.pop()
}

/// Removes a change from the result of user 2's first cursor.
fn change_synced(entries: &mut [Entry], is_it: impl Fn(&Change) -> bool) -> Option<()> {
    entries.iter_mut().find_map(|entry| match &mut entry.event {
        Event::Synced { user: 2, changes, .. } => {
            // Of several membership changes of one user, the last one counts.
            let nth = changes.iter().rposition(&is_it)?;
            changes.remove(nth);
            Some(())
        }
        _ => None,
    })
}

fn frames<'a>(entries: &'a [Entry], frame_type: &'a str, pushed: bool) -> impl Iterator<Item = (usize, Value)> + 'a {
    entries.iter().enumerate().filter_map(move |(nth, entry)| {
        let frame = match &entry.event {
            Event::Push { frame, .. } if pushed => frame,
            Event::Reply { frame, .. } if !pushed => frame,
            _ => return None,
        };
        let frame: Value = serde_json::from_str(frame.get()).ok()?;
        (frame["type"] == frame_type).then_some((nth, frame))
    })
}

fn pushes(entries: &[Entry]) -> impl Iterator<Item = (usize, Value)> {
    frames(entries, "messageInGroup", true)
}

fn replies<'a>(entries: &'a [Entry], frame_type: &'a str) -> impl Iterator<Item = (usize, Value)> + 'a {
    frames(entries, frame_type, false).filter(|(_, frame)| frame["success"] == true)
}

fn replace(entries: &mut [Entry], nth: usize, value: &Value) -> Option<()> {
    match &mut entries[nth].event {
        Event::Push { frame, .. } | Event::Reply { frame, .. } => *frame = frame_of(value),
        _ => return None,
    }
    Some(())
}

/// Inserts an entry, with a time shortly after that of the previous one.
pub(super) fn insert(entries: &mut Vec<Entry>, nth: usize, event: Event) {
    let at = entries[nth - 1].at + 1;
    entries.insert(nth, Entry { at, event });
}

pub(super) fn quiescent_at(entries: &[Entry]) -> Option<usize> {
    entries.iter().position(|entry| matches!(entry.event, Event::Quiescent))
}

/// The first push to the group after user 3 was removed.
fn after_removal(entries: &[Entry]) -> Option<usize> {
    let (removed, _) = replies(entries, "removeUserFromGroup").next()?;
    pushes(entries).map(|(nth, _)| nth).find(|nth| *nth > removed)
}
