//! Point 1, for what is done to messages: an acknowledged edit, deletion, reaction or marker holds,
//! and nothing is so that nobody asked for.

use std::collections::BTreeMap;

use super::log::{Asked, Log, Outcome};
use super::{Hearing, Ruling};

/// Looks at each message that somebody asked to change, and at each marker.
pub(super) fn hold(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 1, "acknowledged edits, deletions, reactions and markers hold");
    messages(log, &mut hearing);
    reactions(log, &mut hearing);
    markers(log, &mut hearing);
    hearing.end()
}

fn messages(log: &Log<'_>, hearing: &mut Hearing<'_>) {
    let mut edits: BTreeMap<i64, Vec<&Asked>> = BTreeMap::new();
    let mut deletions: BTreeMap<i64, Vec<&Asked>> = BTreeMap::new();
    for asked in &log.asked {
        let Some(id) = asked.params["messageId"].as_i64() else { continue };
        match asked.kind.as_str() {
            "editMessage" => edits.entry(id).or_default().push(asked),
            "deleteMessage" => deletions.entry(id).or_default().push(asked),
            _ => {}
        }
    }
    let mut sent: BTreeMap<&str, &str> = BTreeMap::new();
    for send in log.sends() {
        sent.entry(send.name()).or_insert(send.params["content"].as_str().unwrap_or_default());
    }
    for (id, stored) in &log.stored {
        let (edits, deletions) = (edits.get(id), deletions.get(id));
        let all = || edits.into_iter().chain(deletions).flatten().flat_map(|asked| asked.shown());
        let shown = all().chain([stored.entry]);
        let deletions = deletions.map(Vec::as_slice).unwrap_or_default();
        if stored.message.deleted {
            let asked_for = deletions.iter().any(|asked| asked.outcome() != Outcome::Refused);
            hearing.expect(asked_for, || format!("nobody deleted {:?}", stored.message), shown);
            continue;
        }
        if deletions.iter().any(|asked| asked.is_done()) {
            hearing.expect(false, || format!("a deletion was acknowledged of {:?}", stored.message), shown);
            continue;
        }
        let last = last_of(edits.map(Vec::as_slice).unwrap_or_default());
        let as_edited = last.values.iter().any(|asked| asked.params["content"] == stored.message.content);
        let name = log.names.get(id).map(String::as_str).unwrap_or_default();
        let as_sent = last.may_be_none && sent.get(name) == Some(&stored.message.content.as_str());
        let what = || format!("no request says what is stored: {:?}", stored.message);
        hearing.expect(as_edited || as_sent, what, shown);
    }
}

fn reactions(log: &Log<'_>, hearing: &mut Hearing<'_>) {
    let mut requests: BTreeMap<(i64, i64), Vec<&Asked>> = BTreeMap::new();
    for asked in log.asked.iter().filter(|asked| asked.kind == "reactToMessage") {
        if let Some(id) = asked.params["messageId"].as_i64() {
            requests.entry((id, asked.user)).or_default().push(asked);
        }
    }
    for (id, stored) in &log.stored {
        for (user, reaction) in &stored.message.reactions {
            let asked_for = requests.contains_key(&(*id, *user));
            let what = || format!("nobody asked for {reaction} of {user} to {:?}", stored.message);
            hearing.expect(asked_for, what, [stored.entry]);
        }
    }
    for ((id, user), requests) in requests {
        let Some(stored) = log.stored.get(&id).filter(|stored| !stored.message.deleted) else { continue };
        let reaction = stored.message.reactions.iter().find(|(who, _)| *who == user).map(|(_, what)| what.as_str());
        let last = last_of(&requests);
        let as_asked = last.values.iter().any(|asked| asked.params["reaction"].as_str() == reaction);
        let what = || format!("{user} reacted otherwise than {reaction:?} to {:?}", stored.message);
        let shown = requests.iter().flat_map(|asked| asked.shown()).chain([stored.entry]);
        hearing.expect(as_asked || last.may_be_none && reaction.is_none(), what, shown);
    }
}

/// A marker never goes back. Who comes to a group anew begins at its newest message.
fn markers(log: &Log<'_>, hearing: &mut Hearing<'_>) {
    for asked in log.asked.iter().filter(|asked| asked.kind == "readMessages" && asked.is_done()) {
        let (Some(place), Some(seq)) = (asked.place(), asked.item()["seq"].as_i64()) else { continue };
        let Some((entry, rows)) = log.members.get(&(place, asked.user)) else { continue };
        let Some(member) = rows.iter().find(|member| member.user == asked.user) else { continue };
        let what = || format!("{} has read {seq} of {place}, and the marker is at {}", asked.user, member.read_seq);
        hearing.expect(member.read_seq >= seq, what, asked.shown().chain([*entry]));
    }
}

/// Which of several requests for the same thing may be the last one that was done.
struct Last<'a> {
    values: Vec<&'a Asked>,
    /// Whether perhaps none was.
    may_be_none: bool,
}

/// A request that was answered before another one was made, which is done for certain, is not the last.
fn last_of<'a>(requests: &[&'a Asked]) -> Last<'a> {
    let done: Vec<_> = requests.iter().filter(|asked| asked.is_done()).collect();
    let is_past = |asked: &Asked| {
        // What nobody answered may happen at any time.
        let answered = (asked.outcome() == Outcome::Done).then(|| asked.answered_at()).flatten();
        answered.is_some_and(|at| done.iter().any(|later| later.at > at))
    };
    let possible = |asked: &&&Asked| asked.outcome() != Outcome::Refused && !is_past(asked);
    Last { values: requests.iter().filter(possible).copied().collect(), may_be_none: done.is_empty() }
}
