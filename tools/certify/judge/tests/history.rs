//! Histories that are lost: what a server that does everything right does when a backup is put in place,
//! and what is planted into the record of that.

use proptest::prelude::*;
use serde_json::json;

use super::defects::{insert, quiet};
use super::model::{Act, GROUP, Model, frame_of, item};
use super::{act, violated};
use crate::certify::judge::judge;
use crate::certify::record::{Change, Entry, Message, Place, Seen};

/// Changes a record; None where it has no place for that.
type Plant = fn(&mut Vec<Entry>) -> Option<()>;

const LOST: &str = "no acknowledged message is lost";
const HIDDEN: &str = "after a restore no cursor hides what is new";
const NEVER: &str = "who was never added to a group gets nothing of it";
const REMOVED: &str = "who was removed before a message gets it never";
const TOKENS: &str = "a token of a lost history opens nothing";
const SEARCH: &str = "search finds what was acknowledged";

const SEND: Act = Act::Send { who: 0, group: true, twice: false };

/// What is planted, the rule that it breaks, and how.
const DEFECTS: &[(&str, &str, Plant)] = &[
    ("a message of before the backup that is lost", LOST, |entries| {
        let backup = entries.iter().position(|entry| matches!(entry.seen, Seen::Backup))?;
        let before = entries[..backup].iter().find_map(|entry| match &entry.seen {
            Seen::Request { frame, .. } if frame.get().contains("messageInGroup") => Some(frame.get().to_owned()),
            _ => None,
        })?;
        let mut is_planted = None;
        for entry in entries {
            if let Seen::History { rows, .. } = &mut entry.seen {
                rows.retain(|row| !before.contains(&row.content));
                is_planted = Some(());
            }
        }
        is_planted
    }),
    ("a cursor of the lost history that hides what is new", HIDDEN, |entries| {
        let synced = entries.iter_mut().rev().find_map(|entry| match &mut entry.seen {
            Seen::Synced { user: 2, complete, .. } if !*complete => Some(complete),
            _ => None,
        })?;
        *synced = true;
        Some(())
    }),
    ("a cursor that comes again", HIDDEN, |entries| {
        // A number without an epoch: the first cursor after the restore is the last one that was lost.
        let lost = entries.iter().rev().find_map(|entry| match &entry.seen {
            Seen::Synced { user: 2, cursor, complete: false, .. } => Some(cursor.clone()),
            _ => None,
        })?;
        let last = entries.iter_mut().rev().find_map(|entry| match &mut entry.seen {
            Seen::Synced { user: 2, cursor, complete: true, changes } if cursor.starts_with("1.") => {
                Some((cursor, changes))
            }
            _ => None,
        })?;
        *last.0 = lost;
        last.1.clear();
        Some(())
    }),
    ("a push to who was added in the lost history", NEVER, |entries| push_to_third(entries)),
    ("a search that finds it for who was added in the lost history", NEVER, |entries| {
        let stored = newest(entries)?;
        let params = json!({ "groupId": GROUP });
        let rows = json!({ "data": [item(Place::Group(GROUP), &stored)] });
        call_by_third(entries, "getlatestMessageGroup", &params, &rows)
    }),
    ("a sync that tells who was added in the lost history", NEVER, |entries| {
        let stored = newest(entries)?;
        let changes = entries.iter_mut().rev().find_map(|entry| match &mut entry.seen {
            Seen::Synced { user: 3, changes, .. } => Some(changes),
            _ => None,
        })?;
        changes.push(Change::Message(Place::Group(GROUP), stored));
        Some(())
    }),
    ("a session of the lost history over HTTP", TOKENS, |entries| show_token(entries, true, "victim")),
    ("a session of before that is somebody else's", TOKENS, |entries| show_token(entries, false, "victim")),
    ("a new message that search does not find", SEARCH, |entries| {
        let last = entries.iter_mut().rev().find_map(|entry| match &mut entry.seen {
            Seen::Reply { frame, .. } if frame.get().contains("searchMessages") => Some(frame),
            _ => None,
        })?;
        let mut reply: serde_json::Value = serde_json::from_str(last.get()).ok()?;
        reply["params"]["data"] = json!([]);
        *last = frame_of(&reply);
        Some(())
    }),
];

/// The newest message of the group.
fn newest(entries: &[Entry]) -> Option<Message> {
    entries.iter().find_map(|entry| match &entry.seen {
        Seen::History { place: Place::Group(_), rows, .. } => rows.last().cloned(),
        _ => None,
    })
}

fn socket_of_third(entries: &[Entry]) -> Option<u32> {
    entries.iter().rev().find_map(|entry| match entry.seen {
        Seen::Opened { socket, user: 3, .. } => Some(socket),
        _ => None,
    })
}

fn push_to_third(entries: &mut Vec<Entry>) -> Option<()> {
    let (socket, stored, at) = (socket_of_third(entries)?, newest(entries)?, quiet(entries)?);
    let params = json!({ "item": item(Place::Group(GROUP), &stored) });
    let push = json!({ "type": "messageInGroup", "success": true, "params": params });
    insert(entries, at, Seen::Push { socket, frame: frame_of(&push) });
    Some(())
}

fn call_by_third(
    entries: &mut Vec<Entry>,
    kind: &str,
    params: &serde_json::Value,
    answer: &serde_json::Value,
) -> Option<()> {
    let (socket, at) = (socket_of_third(entries)?, quiet(entries)?);
    let reply = json!({ "type": kind, "success": true, "params": answer, "id": 999 });
    insert(entries, at, Seen::Reply { socket, frame: frame_of(&reply) });
    let request = json!({ "type": kind, "params": params, "id": 999 });
    insert(entries, at, Seen::Request { socket, frame: frame_of(&request) });
    Some(())
}

fn show_token(entries: &mut Vec<Entry>, is_lost: bool, opened: &str) -> Option<()> {
    let backup = entries.iter().find(|entry| matches!(entry.seen, Seen::Backup))?.at;
    let issued = if is_lost { backup + 1 } else { backup - 1 };
    let (owner, opened) = ("mallory".to_owned(), Some(opened.to_owned()));
    let at = quiet(entries)?;
    insert(entries, at, Seen::Token { owner, issued, route: "GET /api/v1/users/me".to_owned(), opened });
    Some(())
}

/// What was seen of a backup after some acts, of those that were lost, and of those that came after the
/// restore. 3 is added to the group in the lost history alone, unless one of the others does it.
fn record(before: &[Act], lost: &[Act], after: &[Act]) -> Vec<Entry> {
    let mut model = Model::new();
    let act = |model: &mut Model, acts: &[Act]| acts.iter().for_each(|act| model.act(*act));
    act(&mut model, &[SEND, Act::Send { who: 1, group: true, twice: false }, Act::Sync { who: 1 }]);
    act(&mut model, before);
    let backup = model.back_up();
    act(&mut model, &[SEND, Act::Sync { who: 1 }, Act::Toggle, SEND, Act::Sync { who: 0 }, Act::Sync { who: 2 }]);
    act(&mut model, lost);
    model.restore(backup);
    act(&mut model, &[SEND, SEND, Act::Sync { who: 1 }, Act::Send { who: 0, group: false, twice: false }]);
    act(&mut model, after);
    act(&mut model, &[SEND]);
    model.search(0, true);
    model.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restore_that_does_everything_right_is_found_to(
        before in prop::collection::vec(act(), 0..30),
        lost in prop::collection::vec(act(), 0..30),
        after in prop::collection::vec(act(), 0..30),
    ) {
        let verdict = judge(&record(&before, &lost, &after));
        prop_assert!(verdict.holds(), "{:#?}", verdict.rulings);
    }
}

#[test]
fn each_defect_of_a_restore_is_found() {
    let clean = judge(&record(&[], &[], &[]));
    assert_eq!(violated(&clean), [""; 0]);
    for (name, rule, plant) in DEFECTS {
        let mut entries = record(&[], &[], &[]);
        plant(&mut entries).unwrap_or_else(|| panic!("there is no place for {name}"));
        let verdict = judge(&entries);
        assert!(violated(&verdict).contains(rule), "{name} is not found: {:?}", violated(&verdict));
    }
}

#[test]
fn a_member_who_was_removed_after_a_restore_gets_nothing() {
    // 3 is in the group, and is removed in the lost history and once more afterwards.
    let mut entries = record(&[Act::Toggle], &[], &[Act::Toggle]);
    assert_eq!(violated(&judge(&entries)), [""; 0]);
    push_to_third(&mut entries).expect("a place");
    assert_eq!(violated(&judge(&entries)), [REMOVED]);
}

#[test]
fn a_session_that_goes_on_or_ends_is_right() {
    let mut entries = record(&[], &[], &[]);
    show_token(&mut entries, false, "mallory").expect("a place");
    let verdict = judge(&entries);
    assert_eq!(violated(&verdict), [""; 0]);
    let seen = |rule| verdict.rulings.iter().find(|ruling| ruling.rule == rule).expect("a rule").evidence;
    assert!([TOKENS, HIDDEN, NEVER, SEARCH].into_iter().all(|rule| seen(rule) > 0));
}
