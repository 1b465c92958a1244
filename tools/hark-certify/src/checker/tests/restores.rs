//! Restores: the history of a correct server whose data is replaced by a backup, and defects planted into it.

use proptest::prelude::*;
use serde_json::json;

use super::defects::{insert, quiescent_at};
use super::frames::{frame_of, item};
use super::model::{Action, GROUP, Model};
use super::support::{action, violated};
use crate::checker::check_history;
use crate::history::event::{Change, Conversation, Entry, Event, Message};

/// Plants a defect into a history; `None` if that is not possible.
type Plant = fn(&mut Vec<Entry>) -> Option<()>;

const LOST: &str = "no acknowledged message is lost";
const HIDDEN: &str = "after a restore no cursor hides what is new";
const NEVER: &str = "a non-member receives nothing of a group";
const REMOVED: &str = "a removed member receives no later message";
const TOKENS: &str = "a token of a lost history opens nothing";
const SEARCH: &str = "search finds what was acknowledged";

const SEND: Action = Action::Send { who: 0, group: true, twice: false };

/// Each defect, the rule that it violates, and how it is planted.
const DEFECTS: &[(&str, &str, Plant)] = &[
    ("a lost message from before the backup", LOST, |entries| {
        let backup = entries.iter().position(|entry| matches!(entry.event, Event::Backup))?;
        let before = entries[..backup].iter().find_map(|entry| match &entry.event {
            Event::Request { frame, .. } if frame.get().contains("messageInGroup") => Some(frame.get().to_owned()),
            _ => None,
        })?;
        let mut is_planted = None;
        for entry in entries {
            if let Event::History { rows, .. } = &mut entry.event {
                rows.retain(|row| !before.contains(&row.content));
                is_planted = Some(());
            }
        }
        is_planted
    }),
    ("a cursor of the lost history that hides what is new", HIDDEN, |entries| {
        let synced = entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
            Event::Synced { user: 2, complete, .. } if !*complete => Some(complete),
            _ => None,
        })?;
        *synced = true;
        Some(())
    }),
    ("a cursor that is issued twice", HIDDEN, |entries| {
        // Cursors without an epoch: the first one after the restore equals the last one of the lost history.
        let lost = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Synced { user: 2, cursor, complete: false, .. } => Some(cursor.clone()),
            _ => None,
        })?;
        let last = entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
            Event::Synced { user: 2, cursor, complete: true, changes } if cursor.starts_with("1.") => {
                Some((cursor, changes))
            }
            _ => None,
        })?;
        *last.0 = lost;
        last.1.clear();
        Some(())
    }),
    ("a push to a member of the lost history", NEVER, |entries| push_to_third(entries)),
    ("a page for a member of the lost history", NEVER, |entries| {
        let stored = newest(entries)?;
        let params = json!({ "groupId": GROUP });
        let rows = json!({ "data": [item(Conversation::Group(GROUP), &stored)] });
        call_by_third(entries, "getlatestMessageGroup", &params, &rows)
    }),
    ("a sync for a member of the lost history", NEVER, |entries| {
        let stored = newest(entries)?;
        let changes = entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
            Event::Synced { user: 3, changes, .. } => Some(changes),
            _ => None,
        })?;
        changes.push(Change::Message(Conversation::Group(GROUP), stored));
        Some(())
    }),
    ("a session of the lost history over HTTP", TOKENS, |entries| show_token(entries, true, "victim")),
    ("a session from before the backup that opens another account", TOKENS, |entries| {
        show_token(entries, false, "victim")
    }),
    ("a search that misses a new message", SEARCH, |entries| {
        let last = entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
            Event::Reply { frame, .. } if frame.get().contains("searchMessages") => Some(frame),
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
    entries.iter().find_map(|entry| match &entry.event {
        Event::History { conversation: Conversation::Group(_), rows, .. } => rows.last().cloned(),
        _ => None,
    })
}

fn socket_of_third(entries: &[Entry]) -> Option<u32> {
    entries.iter().rev().find_map(|entry| match entry.event {
        Event::Opened { socket, user: 3, .. } => Some(socket),
        _ => None,
    })
}

fn push_to_third(entries: &mut Vec<Entry>) -> Option<()> {
    let (socket, stored, at) = (socket_of_third(entries)?, newest(entries)?, quiescent_at(entries)?);
    let params = json!({ "item": item(Conversation::Group(GROUP), &stored) });
    let push = json!({ "type": "messageInGroup", "success": true, "params": params });
    insert(entries, at, Event::Push { socket, frame: frame_of(&push) });
    Some(())
}

fn call_by_third(
    entries: &mut Vec<Entry>,
    frame_type: &str,
    params: &serde_json::Value,
    answer: &serde_json::Value,
) -> Option<()> {
    let (socket, at) = (socket_of_third(entries)?, quiescent_at(entries)?);
    let reply = json!({ "type": frame_type, "success": true, "params": answer, "id": 999 });
    insert(entries, at, Event::Reply { socket, frame: frame_of(&reply) });
    let request = json!({ "type": frame_type, "params": params, "id": 999 });
    insert(entries, at, Event::Request { socket, frame: frame_of(&request) });
    Some(())
}

fn show_token(entries: &mut Vec<Entry>, is_lost: bool, account: &str) -> Option<()> {
    let backup = entries.iter().find(|entry| matches!(entry.event, Event::Backup))?.at;
    let issued = if is_lost { backup + 1 } else { backup - 1 };
    let (owner, account) = ("mallory".to_owned(), Some(account.to_owned()));
    let at = quiescent_at(entries)?;
    insert(entries, at, Event::Token { owner, issued, route: "GET /api/v1/users/me".to_owned(), account });
    Some(())
}

/// The history of actions before a backup, of lost actions, and of actions after the restore. User 3 is added to the
/// group only in the lost history, unless the other actions do it.
fn history(before: &[Action], lost: &[Action], after: &[Action]) -> Vec<Entry> {
    let mut model = Model::new();
    let act = |model: &mut Model, acts: &[Action]| acts.iter().for_each(|act| model.act(*act));
    act(&mut model, &[SEND, Action::Send { who: 1, group: true, twice: false }, Action::Sync { who: 1 }]);
    act(&mut model, before);
    let backup = model.back_up();
    act(
        &mut model,
        &[SEND, Action::Sync { who: 1 }, Action::Toggle, SEND, Action::Sync { who: 0 }, Action::Sync { who: 2 }],
    );
    act(&mut model, lost);
    model.restore(backup);
    act(&mut model, &[SEND, SEND, Action::Sync { who: 1 }, Action::Send { who: 0, group: false, twice: false }]);
    act(&mut model, after);
    act(&mut model, &[SEND]);
    model.search(0, true);
    model.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_restore_has_no_violation(
        before in prop::collection::vec(action(), 0..30),
        lost in prop::collection::vec(action(), 0..30),
        after in prop::collection::vec(action(), 0..30),
    ) {
        let verdict = check_history(&history(&before, &lost, &after));
        prop_assert!(verdict.holds(), "{:#?}", verdict.results);
    }
}

#[test]
fn every_defect_of_a_restore_is_found() {
    let clean = check_history(&history(&[], &[], &[]));
    assert_eq!(violated(&clean), [""; 0]);
    for (name, rule, plant) in DEFECTS {
        let mut entries = history(&[], &[], &[]);
        plant(&mut entries).unwrap_or_else(|| panic!("{name} cannot be planted"));
        let verdict = check_history(&entries);
        assert!(violated(&verdict).contains(rule), "{name} is not found: {:?}", violated(&verdict));
    }
}

#[test]
fn push_to_a_member_removed_after_a_restore_is_found() {
    // User 3 is removed from the group in the lost history, and once more afterwards.
    let mut entries = history(&[Action::Toggle], &[], &[Action::Toggle]);
    assert_eq!(violated(&check_history(&entries)), [""; 0]);
    push_to_third(&mut entries).expect("it can be planted");
    assert_eq!(violated(&check_history(&entries)), [REMOVED]);
}

#[test]
fn session_of_its_owner_is_no_violation() {
    let mut entries = history(&[], &[], &[]);
    show_token(&mut entries, false, "mallory").expect("it can be planted");
    let verdict = check_history(&entries);
    assert_eq!(violated(&verdict), [""; 0]);
    let evidence = |rule| verdict.results.iter().find(|result| result.rule == rule).expect("a result").evidence;
    assert!([TOKENS, HIDDEN, NEVER, SEARCH].into_iter().all(|rule| evidence(rule) > 0));
}
